//! reserve-stock
