//! `make bench`: measures the four contestants and the order system's functions, prints the tables, writes the files.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};
use bench::contestant::Places;
use bench::dynamodb::DynamoDb;
use bench::report::Measured;
use bench::work::{Store, Works};
use bench::{functions, panics, start, work};
use clap::Parser;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

/// lambda-queue beside Powertools for Python and TypeScript and a bare handler.
#[derive(Debug, Parser)]
struct Arguments {
    /// The repository.
    #[arg(long, default_value = ".")]
    root: PathBuf,
    /// Where the optimised Rust programs are; by default where this one is.
    #[arg(long)]
    binaries: Option<PathBuf>,
    /// What `make bench` installed.
    #[arg(long, default_value = ".local/bench")]
    installed: PathBuf,
    /// Where the reports go.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    /// Turns of each contestant at each work.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Starts of each process.
    #[arg(long, default_value_t = 10)]
    starts: usize,
    /// Leave the order system's functions out.
    #[arg(long)]
    no_functions: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Whatever ends first: dropping the run ends every process that it started.
    let ended = tokio::select! {
        ended = run(&arguments) => ended,
        stopped = stopped() => stopped,
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn stopped() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed.context("cannot listen for Ctrl-C")?,
        _ = terminate.recv() => {}
    }
    bail!("stopped before the end; nothing was written")
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let began = Instant::now();
    let root = arguments.root.canonicalize().context("there is no such folder")?;
    let beside = std::env::current_exe().context("where is this program?")?;
    let beside = beside.parent().context("this program is in no folder")?.to_owned();
    let places = Places {
        binaries: arguments.binaries.clone().unwrap_or(beside),
        installed: root.join(&arguments.installed),
        out: root.join(&arguments.out),
        root,
    };
    std::fs::create_dir_all(&places.out).with_context(|| format!("cannot make {}", places.out.display()))?;
    let say = |what: &str| eprintln!("{:>4} s  {what}", began.elapsed().as_secs());

    say("one record of ten panics, the other nine are answered");
    panics::check(&places).await?;
    let dynamodb = DynamoDb::start().await?;
    let mut measured = Measured::default();
    let rounds = arguments.rounds;

    let mut works = Works::start(&places, &dynamodb).await?;
    for records in [10, 10_000] {
        say(&format!("batch core, {records} records"));
        measured.samples.extend(works.batch(records, rounds).await?);
    }
    say("idempotent calls outside the network");
    measured.samples.extend(works.idempotent(Store::Memory, rounds).await?);
    say("idempotent calls with DynamoDB");
    measured.samples.extend(works.idempotent(Store::Dynamodb, rounds).await?);
    say("metrics and log lines");
    measured.samples.extend(works.emf(rounds).await?);
    measured.samples.extend(works.log(rounds).await?);
    works.stop().await?;

    say("whole warm invocations");
    measured.samples.extend(work::invocations(&places, &dynamodb, rounds).await?);
    say("start to first poll");
    let (starts, memory) = start::contestants(&places, &dynamodb, arguments.starts).await?;
    measured.samples.extend(starts);
    measured.memory = memory;
    if !arguments.no_functions {
        say("the order system's functions");
        measured.functions = functions::measure(&places, arguments.starts).await?;
    }
    drop(dynamodb);

    measured.write(&places.out, &machine(&places).await)?;
    println!("{}", measured.tables());
    say(&format!("written: {}", places.out.display()));
    Ok(())
}

/// What it was measured on, and with which versions.
async fn machine(places: &Places) -> Value {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map(|model| model.trim_start_matches([':', ' ', '\t']));
    let python = places.installed.join("python/bin/python");
    let powertools = "import importlib.metadata as m; print(m.version('aws-lambda-powertools'), m.version('boto3'))";
    json!({
        "cpu": model,
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": output("uname", &["-sr"]).await,
        "rustc": output("rustc", &["--version"]).await,
        "python": output(&python.to_string_lossy(), &["--version"]).await,
        "powertools_python_and_boto3": output(&python.to_string_lossy(), &["-c", powertools]).await,
        "node": output("node", &["--version"]).await,
        "load_average_after": std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim(),
    })
}

/// What a program says of itself; `null` where it is not there.
async fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().await.ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
