//! `make chaos`: orders while AWS, the providers and the functions' own processes fail, then every invariant.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tests::chaos::{self, Settings};
use tests::guard;
use tokio::signal::unix::{SignalKind, signal};

/// Brings up a fresh local stack with a proxy between the functions and AWS, places generated orders while calls, providers
/// and processes fail, lets it come to rest, checks the invariants of the design and writes target/chaos/report.json. Exits
/// with 1 when one does not hold.
#[derive(Parser)]
#[command(name = "chaos")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Subcommand)]
enum Command {
    /// Waits for the end of standard input, then stops the stack in a folder
    #[command(name = guard::SUBCOMMAND, hide = true)]
    StopWhenOrphaned {
        /// Its state folder
        dir: PathBuf,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match carry_out(Cli::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn carry_out(cli: Cli) -> anyhow::Result<ExitCode> {
    if let Some(Command::StopWhenOrphaned { dir }) = cli.command {
        guard::serve(&dir)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // Dropped midway, a run stops what it started.
    tokio::select! {
        held = chaos::run(&cli.settings) => Ok(if held? { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        _ = interrupt.recv() => {
            eprintln!("\ninterrupted: stopping what was started");
            Ok(ExitCode::from(130))
        }
        _ = terminate.recv() => {
            eprintln!("terminated: stopping what was started");
            Ok(ExitCode::from(143))
        }
    }
}
