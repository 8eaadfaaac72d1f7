//! ship-order
