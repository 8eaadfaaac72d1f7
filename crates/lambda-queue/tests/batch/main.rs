//! The batch loop's rules, each by its name.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod answer;
#[cfg(feature = "memory")]
mod breaker;
mod dead_letter;
mod delivery;
mod events;
mod fifo;
mod observers;
mod owed;
mod retry;
#[cfg(feature = "logging")]
mod spans;
mod stream;
mod support;
mod time;
