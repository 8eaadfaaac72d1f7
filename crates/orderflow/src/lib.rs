//! The `orderflow` tool's library: the local stack, a client of the HTTP API, and the commands.

#![deny(clippy::print_stdout)]

pub mod api;
pub mod cli;
pub mod stack;
pub mod trace;

/// Whether a command failed only because whoever read its output has left, as `head` does.
pub fn reader_left(error: &anyhow::Error) -> bool {
    let is_broken_pipe = |io: &std::io::Error| io.kind() == std::io::ErrorKind::BrokenPipe;
    error.downcast_ref::<std::io::Error>().is_some_and(is_broken_pipe)
}
