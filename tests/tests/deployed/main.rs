//! Black-box tests of the deployed stack: real Lambda binaries, deployed by the real `sam deploy` into a local AWS, with
//! a payment provider and a carrier that keep a ledger. One stack serves all tests; each test is a shop of its own with
//! products of its own, and when it closes, every invariant has to hold over its orders.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod api;
mod books;
mod cancels;
mod cases;
mod compensations;
mod differences;
mod faults;
mod fences;
mod happy;
mod overload;
mod poison;
mod proofs;
mod recovery;
mod refunds;
mod repeats;
mod samples;
mod shop;
mod story;
mod versions;
