//! recover-orders
fn main() {}
