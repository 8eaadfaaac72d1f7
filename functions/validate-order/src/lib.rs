//! validate-order
