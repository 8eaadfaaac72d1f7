//! process-payment
