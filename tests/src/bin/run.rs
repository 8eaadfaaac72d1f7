//! `make run`: places generated orders against a fresh local stack and checks every invariant. `make outage`: the same
//! with a payment provider that fails for a minute. `make overload`: express orders behind a backlog of bulk ones.
//! `make skew`: orders while programs of two versions change places.

use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tests::guard;
use tests::run::{self, Settings, outage, overload, skew};
use tokio::signal::unix::{SignalKind, signal};

/// Brings up a fresh local stack, places generated orders, waits for their ends, checks the invariants of the design and
/// writes target/run/report.json. Exits with 1 when one does not hold.
#[derive(Parser)]
#[command(name = "run")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Subcommand)]
enum Command {
    /// Makes the payment provider fail for a while under steady orders and measures how the stack stands it: writes
    /// target/outage/report.json, each figure with its bound, and exits with 1 when one is over
    Outage(outage::Settings),
    /// Places a backlog of bulk orders and express orders behind it, beside the same express orders without one; then
    /// tightens bulk's deadline: writes target/overload/report.json, and exits with 1 when a figure misses its bound
    Overload(overload::Settings),
    /// Deploys this program and one that is a message version ahead in place of one another while orders flow, in both
    /// orders and back: writes target/skew/report.json, and exits with 1 when anything is dropped
    Skew(skew::Settings),
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
    let run: Pin<Box<dyn Future<Output = anyhow::Result<bool>>>> = match &cli.command {
        Some(Command::StopWhenOrphaned { dir }) => {
            guard::serve(dir)?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(Command::Outage(settings)) => Box::pin(outage::run(settings)),
        Some(Command::Overload(settings)) => Box::pin(overload::run(settings)),
        Some(Command::Skew(settings)) => Box::pin(skew::run(settings)),
        None => Box::pin(run::run(&cli.settings)),
    };
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // Dropped midway, a run stops what it started.
    tokio::select! {
        held = run => Ok(if held? { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
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
