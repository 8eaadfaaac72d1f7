//! validate-order
fn main() {}
