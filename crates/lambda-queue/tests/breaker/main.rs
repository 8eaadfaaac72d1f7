//! The circuit breakers' rules, each by its name.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod distributed;
#[cfg(feature = "aws")]
mod dynamodb_local;
mod flapping;
mod histories;
mod local;
mod lost_answers;
mod manual;
mod model;
mod scenarios;
mod support;
