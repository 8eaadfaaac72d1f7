//! The sandbox over real HTTP, in one test binary: linking is most of what a test crate costs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod carrier;
mod durability;
mod faults;
mod idempotency;
mod lists;
mod payment;
mod refunds;
mod support;
mod tokens;
