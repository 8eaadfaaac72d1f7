//! notify-customer
