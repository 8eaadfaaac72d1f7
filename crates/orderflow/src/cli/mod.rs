//! The commands. One file a group: its arguments, its effect, its output.

mod breaker;
mod order;
mod output;
mod stack;
mod stock;
mod target;

use clap::{Parser, Subcommand};

/// Orderflow's command line.
#[derive(Debug, Parser)]
#[command(name = "orderflow", version, about = "Runs, reads and repairs an Orderflow stack", propagate_version = true)]
pub struct Cli {
    /// Print JSON instead of tables
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Orders, over the HTTP API
    #[command(subcommand)]
    Order(order::OrderCommand),
    /// Breakers: whether payment provider, carrier and mail service are called
    #[command(subcommand)]
    Breaker(breaker::BreakerCommand),
    /// The catalogue: products, prices, how many there are
    #[command(subcommand)]
    Stock(stock::StockCommand),
    /// The local stack: ministack, the sandbox and the deployed template
    #[command(subcommand)]
    Stack(stack::StackCommand),
}

/// Runs the command that was given.
///
/// # Errors
/// When it fails; the message says what to do.
pub async fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Order(command) => order::run(command, cli.json).await,
        Command::Breaker(command) => breaker::run(command, cli.json).await,
        Command::Stock(command) => stock::run(command, cli.json).await,
        Command::Stack(command) => stack::run(command, cli.json).await,
    }
}
