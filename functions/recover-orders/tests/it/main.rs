//! Runs over an index in memory: which rows are sent again, which are put off, and which hide nobody.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod backlog;
mod outages;
mod pages;
#[path = "../../src/sample.rs"]
mod sample;
mod world;
