//! ship-order
fn main() {}
