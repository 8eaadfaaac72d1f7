//! The API as its clients meet it, over ports in memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod bad_input;
mod cancelling;
mod contract;
mod keys;
mod overload;
mod placing;
mod reading;
mod refunding;
mod samples;
mod support;
mod tables;
mod tokens;
