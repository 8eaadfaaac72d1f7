//! Starts ministack and the sandbox on free loopback ports and waits until they answer.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::process::{Guard, Process};
use super::{ACCESS_KEY, Launcher, Options, REGION, StackInfo, artifacts};

/// ministack loads in about two seconds; a machine busy compiling takes longer.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// The first request starts a function process.
const API_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);
/// Between choosing a free port and binding it, someone else may take it.
const PORT_ATTEMPTS: usize = 5;

/// ministack keeps its pid file and the unpacked functions in the temporary folder: one of our own.
const SCRATCH: &str = "tmp";

/// A running ministack.
pub(crate) struct Ministack {
    pub(crate) process: Process,
    pub(crate) endpoint: String,
}

/// A running sandbox.
pub(crate) struct Sandbox {
    pub(crate) process: Process,
    pub(crate) url: String,
    pub(crate) ledger: PathBuf,
}

/// Starts ministack through the pinned launcher.
pub(crate) async fn start_ministack(options: &Options, dir: &Path, guard: &mut Guard) -> anyhow::Result<Ministack> {
    let log = dir.join("ministack.log");
    let scratch = dir.join(SCRATCH);
    if scratch.exists() {
        std::fs::remove_dir_all(&scratch).with_context(|| format!("cannot clear {}", scratch.display()))?;
    }
    std::fs::create_dir_all(&scratch)?;
    for _ in 0..PORT_ATTEMPTS {
        let port = options.port.map_or_else(free_port, Ok)?;
        let endpoint = format!("http://127.0.0.1:{port}");
        let process = Process::start(ministack_command(options, dir, port, &endpoint)?, &log)?;
        guard.watch(&process);
        if answers(&process, &format!("{endpoint}/_ministack/health"), START_TIMEOUT).await {
            return Ok(Ministack { process, endpoint });
        }
        let said = tail(&log);
        if !said.contains("already in use") {
            bail!("ministack did not start; {} ends:\n{said}", log.display());
        }
    }
    bail!("no free port for ministack after {PORT_ATTEMPTS} attempts")
}

fn ministack_command(options: &Options, dir: &Path, port: u16, endpoint: &str) -> anyhow::Result<Command> {
    let python = python(&options.root);
    ensure!(python.is_file(), "{} is not there: run `make setup`", python.display());
    let scratch = dir.join(SCRATCH);
    let seen_by_functions = options
        .function_endpoint
        .as_deref()
        .map_or_else(|| endpoint.to_owned(), |template| template.replace("{endpoint}", endpoint));

    let mut command = Command::new(python);
    command.arg(options.root.join("tools/ministack/launch.py"));
    match options.launcher {
        Launcher::Patched => {
            command.arg("--patched");
        }
        Launcher::Plain => {}
    }
    // Everything the functions inherit is chosen here, and nothing of the caller's AWS configuration gets in.
    command
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| matches!(name.to_str(), Some("PATH" | "HOME" | "LANG" | "USER"))))
        .envs([
            ("AWS_ENDPOINT_URL", seen_by_functions.as_str()),
            ("AWS_REGION", REGION),
            ("AWS_DEFAULT_REGION", REGION),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", "local"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("BIND_HOST", "127.0.0.1"),
            // A line a call costs more than most calls do, and what a function logs is in its log group.
            ("LOG_LEVEL", "WARNING"),
            // Two listeners of services that this project does not use, one of them on a fixed port.
            ("IOT_MTLS_ENABLED", "0"),
            ("SFTP_ENABLED", "0"),
        ])
        .env("GATEWAY_PORT", port.to_string())
        .env("TMPDIR", &scratch)
        .env("STATE_DIR", scratch.join("state"))
        .env("S3_DATA_DIR", scratch.join("s3"));
    if options.keep_state {
        command.envs([("PERSIST_STATE", "1"), ("S3_PERSIST", "1")]);
    }
    Ok(command)
}

/// Starts the sandbox with an empty ledger.
pub(crate) async fn start_sandbox(root: &Path, dir: &Path, guard: &mut Guard) -> anyhow::Result<Sandbox> {
    let binary = artifacts::binaries(root).join("sandbox");
    ensure!(binary.is_file(), "{} is not there: compile first with `make build`", binary.display());
    let (ledger, port_file, log) = (dir.join("ledger.jsonl"), dir.join("sandbox.port"), dir.join("sandbox.log"));
    for old in [&ledger, &port_file] {
        if old.exists() {
            std::fs::remove_file(old).with_context(|| format!("cannot remove {}", old.display()))?;
        }
    }
    let mut command = Command::new(binary);
    command.args(["--port", "0"]).arg("--ledger").arg(&ledger).arg("--port-file").arg(&port_file);
    let process = Process::start(command, &log)?;
    guard.watch(&process);

    let until = Instant::now() + START_TIMEOUT;
    let port = loop {
        if let Some(port) = std::fs::read_to_string(&port_file).ok().and_then(|text| text.trim().parse::<u16>().ok()) {
            break port;
        }
        if !process.is_running() || Instant::now() > until {
            bail!("the sandbox did not start; {} ends:\n{}", log.display(), tail(&log));
        }
        tokio::time::sleep(POLL).await;
    };
    let url = format!("http://127.0.0.1:{port}");
    if !answers(&process, &format!("{url}/_sandbox/health"), START_TIMEOUT).await {
        bail!("the sandbox does not answer at {url}; {} ends:\n{}", log.display(), tail(&log));
    }
    Ok(Sandbox { process, url, ledger })
}

/// Starts the ministack that has ended once more, on its port, with the state it left.
pub(crate) async fn restart_ministack(
    options: &Options,
    dir: &Path,
    info: &StackInfo,
    guard: &mut Guard,
) -> anyhow::Result<Process> {
    let log = dir.join("ministack-restarted.log");
    let port =
        info.endpoint.rsplit(':').next().and_then(|port| port.parse().ok()).context("an endpoint without a port")?;
    for _ in 0..PORT_ATTEMPTS {
        let process = Process::start(ministack_command(options, dir, port, &info.endpoint)?, &log)?;
        guard.watch(&process);
        if answers(&process, &format!("{}/_ministack/health", info.endpoint), START_TIMEOUT).await {
            return Ok(process);
        }
        process.stop();
        // Somebody's outgoing connection may have the port for a moment.
        tokio::time::sleep(POLL * 10).await;
    }
    bail!("ministack did not come up again; {} ends:\n{}", log.display(), tail(&log))
}

/// Starts the sandbox that is gone once more, on its port and ledger: it carries on where it was.
pub(crate) async fn restart_sandbox(
    root: &Path,
    dir: &Path,
    info: &StackInfo,
    guard: &mut Guard,
) -> anyhow::Result<Process> {
    let (url, log) = (&info.sandbox_url, dir.join("sandbox-restarted.log"));
    let port = url.rsplit(':').next().unwrap_or_default();
    for _ in 0..PORT_ATTEMPTS {
        let mut command = Command::new(artifacts::binaries(root).join("sandbox"));
        command.args(["--port", port]).arg("--ledger").arg(&info.ledger);
        let process = Process::start(command, &log)?;
        guard.watch(&process);
        if answers(&process, &format!("{url}/_sandbox/health"), START_TIMEOUT).await {
            return Ok(process);
        }
        process.stop();
        // Somebody's outgoing connection may have the port for a moment.
        tokio::time::sleep(POLL * 10).await;
    }
    bail!("the sandbox did not come up again at {url}; {} ends:\n{}", log.display(), tail(&log))
}

/// Waits for the API's health route: gateway, function process and route are there.
pub(crate) async fn wait_for_api(api_url: &str) -> anyhow::Result<()> {
    let url = format!("{api_url}/healthz");
    let until = Instant::now() + API_TIMEOUT;
    let mut said = "nothing".to_owned();
    while Instant::now() < until {
        match reqwest::get(&url).await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => said = format!("{} {}", answer.status(), answer.text().await.unwrap_or_default()),
            Err(error) => said = error.to_string(),
        }
        tokio::time::sleep(POLL).await;
    }
    bail!("the API does not answer at {url} (last: {said}); see ministack.log in the state folder")
}

/// Polls until the address answers with success; gives up when the process ends or the time is over.
async fn answers(process: &Process, url: &str, timeout: Duration) -> bool {
    let until = Instant::now() + timeout;
    while Instant::now() < until {
        if reqwest::get(url).await.is_ok_and(|answer| answer.status().is_success()) {
            return true;
        }
        if !process.is_running() {
            return false;
        }
        tokio::time::sleep(POLL).await;
    }
    false
}

/// The Python of the project's own environment.
pub(crate) fn python(root: &Path) -> PathBuf {
    root.join(".venv/bin/python")
}

/// A loopback port that nobody listens on now.
///
/// # Errors
/// When there is none.
pub fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free loopback port")?;
    Ok(listener.local_addr().context("no free loopback port")?.port())
}

/// The last lines of a log.
pub(crate) fn tail(path: &Path) -> String {
    let text = std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<_> = text.lines().rev().take(15).collect();
    lines.into_iter().rev().fold(String::new(), |out, line| out + "  " + line + "\n")
}
