//! The logger's rules, each by its name.
#![cfg(feature = "logging")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod held;
mod levels;
mod lines;
mod spans;
mod support;
