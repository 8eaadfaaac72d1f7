//! The `orderflow` tool's library: the local stack, a client of the HTTP API, and the commands.

#![deny(clippy::print_stdout)]

pub mod api;
pub mod cli;
mod replay;
pub mod stack;
mod strangers;
pub mod trace;

/// Whether a command failed only because whoever read its output has left, as `head` does.
pub fn reader_left(error: &anyhow::Error) -> bool {
    let is_broken_pipe = |io: &std::io::Error| io.kind() == std::io::ErrorKind::BrokenPipe;
    error.downcast_ref::<std::io::Error>().is_some_and(is_broken_pipe)
}

/// A command that ends with an exit code of its own.
#[derive(Debug)]
pub struct Ended {
    code: u8,
    why: String,
}

impl Ended {
    fn new(code: u8, why: String) -> Self {
        Self { code, why }
    }

    /// The exit code of a command that failed with this: its own, or 1.
    pub fn code_of(error: &anyhow::Error) -> u8 {
        error.downcast_ref::<Self>().map_or(1, |ended| ended.code)
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Ended {}
