//! reserve-stock
fn main() {}
