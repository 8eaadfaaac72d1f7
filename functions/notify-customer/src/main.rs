//! notify-customer
fn main() {}
