//! `sandbox`: a payment provider, a carrier and a token issuer on one loopback port.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Parser;
use sandbox::Config;
use tokio::signal::unix::{SignalKind, signal};

/// A local payment provider, carrier and token issuer with an fsynced ledger of every effect.
#[derive(Debug, Parser)]
#[command(name = "sandbox", version)]
struct Args {
    /// Port on 127.0.0.1; 0 takes a free one
    #[arg(long, env = "SANDBOX_PORT", default_value_t = 0)]
    port: u16,
    /// The ledger: made if it is not there, continued if it is
    #[arg(long, env = "SANDBOX_LEDGER", value_name = "FILE")]
    ledger: PathBuf,
    /// Where to write the port once the sandbox answers
    #[arg(long, env = "SANDBOX_PORT_FILE", value_name = "FILE")]
    port_file: Option<PathBuf>,
    /// Seed of the faults
    #[arg(long, env = "SANDBOX_SEED", default_value_t = 1)]
    seed: u64,
    /// Every provider call takes at least this long
    #[arg(long, env = "SANDBOX_LATENCY_MS", default_value_t = 0, value_name = "MS")]
    latency_ms: u64,
    /// And up to this much longer
    #[arg(long, env = "SANDBOX_JITTER_MS", default_value_t = 0, value_name = "MS")]
    jitter_ms: u64,
    /// Log each request (method, path, status, time) to stderr
    #[arg(long, env = "SANDBOX_LOG_REQUESTS")]
    log_requests: bool,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let running = sandbox::serve(Config {
        port: args.port,
        ledger: args.ledger,
        seed: args.seed,
        base_latency_ms: args.latency_ms,
        jitter_ms: args.jitter_ms,
        log_requests: args.log_requests,
    })
    .await?;
    tracing::info!(url = running.url(), "listening");
    if let Some(path) = &args.port_file {
        write_port(path, running.addr.port()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    running.shutdown().await
}

/// Whoever waits for the file finds the whole number in it or no file.
fn write_port(path: &Path, port: u16) -> std::io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    std::fs::write(&new, format!("{port}\n"))?;
    std::fs::rename(&new, path)
}
