//! process-payment
fn main() {}
