//! The commands. One file a group: its arguments, its effect, its output.

mod breaker;
mod case;
mod operate;
mod operator;
mod order;
mod output;
mod queue;
mod reconcile;
mod stack;
mod stock;
mod target;
mod trace;

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
    /// What a person has to decide: parked orders, unreadable rows, dead letters
    #[command(subcommand)]
    Case(case::CaseCommand),
    /// What is in the queues
    #[command(subcommand)]
    Queue(queue::QueueCommand),
    /// All that is known of one order, in time order: row, messages, log lines, effects, cases, operators
    Trace(trace::Trace),
    /// Breakers: whether payment provider, carrier and mail service are called
    #[command(subcommand)]
    Breaker(breaker::BreakerCommand),
    /// Compare the payment provider's ledger with the orders, and say what to do about each difference
    Reconcile(Box<reconcile::Reconcile>),
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
        Command::Case(command) => case::run(command, cli.json).await,
        Command::Queue(command) => queue::run(command, cli.json).await,
        Command::Trace(what) => trace::run(what, cli.json).await,
        Command::Breaker(command) => breaker::run(command, cli.json).await,
        Command::Reconcile(what) => reconcile::run(*what, cli.json).await,
        Command::Stock(command) => stock::run(command, cli.json).await,
        Command::Stack(command) => stack::run(command, cli.json).await,
    }
}
