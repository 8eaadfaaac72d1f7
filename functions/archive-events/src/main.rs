//! archive-events
fn main() {}
