//! recover-orders
