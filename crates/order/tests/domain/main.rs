//! The domain from outside: its table cell by cell, and a small world of concurrent workers that drives it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod arbitrary;
mod fixtures;
mod ids;
mod rows;
mod table;
mod totality;
mod ways;
mod world;
