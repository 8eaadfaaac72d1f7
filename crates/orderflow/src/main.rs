//! `orderflow`: runs, reads and repairs an Orderflow stack.

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    match orderflow::cli::run(orderflow::cli::Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        // What a shell shows of a program that SIGPIPE ended (128 + 13): Rust programs ignore that signal.
        Err(error) if orderflow::reader_left(&error) => ExitCode::from(141),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(orderflow::Ended::code_of(&error))
        }
    }
}
