//! The `orderflow` tool's library: the local stack, a client of the HTTP API, and the commands.

pub mod api;
pub mod cli;
pub mod stack;
