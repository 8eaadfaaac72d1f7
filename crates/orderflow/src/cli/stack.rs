//! `orderflow stack up|down|status`.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use super::output::{self, out};
use crate::stack::{self, Launcher, Options, StackInfo, Status};

/// The local stack.
#[derive(Debug, Subcommand)]
pub(super) enum StackCommand {
    /// Start ministack and the sandbox, deploy the template, seed the catalogue; leaves them running
    Up(Up),
    /// Stop what `up` started
    Down(Place),
    /// Show processes, addresses and queues
    Status(Place),
    /// Print a function's environment as `NAME=VALUE` lines, for `cargo lambda watch --env-file`
    Env(Env),
}

/// Which stack.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// State folder; several stacks run side by side from several folders [default: .local in the project]
    #[arg(long, value_name = "FOLDER", env = "ORDERFLOW_STACK_DIR")]
    dir: Option<PathBuf>,
}

/// Whose environment.
#[derive(Debug, Args)]
pub(super) struct Env {
    /// The function, as its folder under functions/ is called
    function: String,
    #[command(flatten)]
    place: Place,
}

/// How to start it.
#[derive(Debug, Args)]
pub(super) struct Up {
    #[command(flatten)]
    place: Place,
    /// CloudFormation stack name
    #[arg(long, default_value = "orderflow")]
    name: String,
    /// Start ministack as it comes, without the patches of tools/ministack/launch.py
    #[arg(long)]
    plain: bool,
    /// Deploy what is compiled already
    #[arg(long)]
    no_build: bool,
    /// Another value for a template parameter, as Name=Value
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = name_value)]
    parameters: Vec<(String, String)>,
}

fn name_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("expected Name=Value".to_owned()),
    }
}

impl Place {
    pub(super) fn dir(&self) -> anyhow::Result<PathBuf> {
        match &self.dir {
            Some(dir) => Ok(dir.clone()),
            None => Ok(Options::discover()?.dir),
        }
    }
}

pub(super) async fn run(command: StackCommand, json: bool) -> anyhow::Result<()> {
    match command {
        StackCommand::Up(up) => run_up(up, json).await,
        StackCommand::Down(place) => {
            let dir = place.dir()?;
            let found = stack::down(&dir)?;
            if json {
                writeln!(out(), "{}", serde_json::json!({ "stopped": found }))?;
            } else if found {
                writeln!(out(), "stopped; logs and ledger stay in {}", dir.display())?;
            } else {
                writeln!(out(), "no stack is running from {}", dir.display())?;
            }
            Ok(())
        }
        StackCommand::Status(place) => {
            let dir = place.dir()?;
            let Some(status) = stack::status(&dir).await? else {
                bail!("no stack in {}; start one with `make up` or `orderflow stack up`", dir.display());
            };
            if json {
                writeln!(out(), "{}", serde_json::to_string_pretty(&status)?)?;
            } else {
                print_status(&status)?;
            }
            Ok(())
        }
        StackCommand::Env(env) => {
            let dir = env.place.dir()?;
            let Some(info) = StackInfo::load(&dir)?.filter(StackInfo::is_running) else {
                bail!("no stack is running from {}; start one with `make up`", dir.display());
            };
            for (name, value) in stack::function_environment(&info, &env.function).await? {
                writeln!(out(), "{name}={value}")?;
            }
            Ok(())
        }
    }
}

async fn run_up(up: Up, json: bool) -> anyhow::Result<()> {
    let mut options = Options::discover()?;
    if let Some(dir) = up.place.dir {
        options.dir = dir;
    }
    options.stack_name = up.name;
    options.launcher = if up.plain { Launcher::Plain } else { Launcher::Patched };
    options.compile = !up.no_build;
    options.parameters = up.parameters;
    // With --json the result alone goes to stdout.
    options.progress = Arc::new(|line| eprintln!("{line}"));

    let mut terminated = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let stack = tokio::select! {
        stack = stack::up(&options) => stack?,
        _ = tokio::signal::ctrl_c() => bail!("interrupted; what was started is stopped"),
        _ = terminated.recv() => bail!("terminated; what was started is stopped"),
    };
    let info = stack.detach();
    if json {
        writeln!(out(), "{}", serde_json::to_string_pretty(&info)?)?;
    } else {
        writeln!(out(), "API       {}", info.api_url)?;
        writeln!(out(), "AWS       {}   (AWS_ENDPOINT_URL)", info.endpoint)?;
        writeln!(out(), "sandbox   {}   (payment, carrier, tokens)", info.sandbox_url)?;
        writeln!(out(), "mail      {}/_ministack/ses/messages", info.endpoint)?;
        writeln!(out(), "stop it   make down")?;
    }
    Ok(())
}

fn print_status(status: &Status) -> std::io::Result<()> {
    let running = |yes: bool| if yes { "running" } else { "gone" };
    let info = &status.info;
    let mut table = output::table();
    table.add_row(["stack", &info.stack_name]);
    table.add_row([
        "ministack",
        &format!("{} (pid {}, {})", running(status.ministack_running), info.ministack_pid, info.launcher),
    ]);
    table.add_row(["sandbox", &format!("{} (pid {})", running(status.sandbox_running), info.sandbox_pid)]);
    table.add_row(["API", &info.api_url]);
    table.add_row(["AWS", &info.endpoint]);
    table.add_row(["sandbox address", &info.sandbox_url]);
    table.add_row(["ledger", &info.ledger.display().to_string()]);
    for (name, value) in &info.outputs {
        table.add_row([name, value]);
    }
    writeln!(out(), "{table}")?;
    if status.queues.is_empty() {
        return Ok(());
    }
    let mut table = output::table();
    table.set_header(["queue", "visible", "in flight", "delayed"]);
    for queue in &status.queues {
        table.add_row([
            queue.name.clone(),
            queue.visible.to_string(),
            queue.in_flight.to_string(),
            queue.delayed.to_string(),
        ]);
    }
    writeln!(out(), "{table}")?;
    Ok(())
}
