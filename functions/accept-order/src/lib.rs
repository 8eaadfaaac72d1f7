//! accept-order
