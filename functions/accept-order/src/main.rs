//! accept-order
fn main() {}
