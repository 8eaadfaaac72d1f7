//! A function's process under the Runtime API: its environment, what it prints, its CPU time, its memory.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use runtime_api::{Answer, RuntimeApi};
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::watch;

/// The longest that a process may take from its start to its first poll.
const START_LIMIT: Duration = Duration::from_secs(20);
/// The longest that one invocation may take.
const INVOCATION_LIMIT: Duration = Duration::from_secs(60);

/// How a function's process is started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Its name, in messages and of its log file.
    pub name: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// What it needs of its environment beyond what Lambda sets.
    pub env: Vec<(String, String)>,
}

/// What a function printed.
#[derive(Clone, Debug, Default)]
pub struct Printed {
    /// Lines so far.
    pub lines: u64,
    /// The last whole line.
    pub last: Vec<u8>,
}

/// A running function. Its process is killed when this is dropped.
pub struct Function {
    name: String,
    api: RuntimeApi,
    child: Child,
    pid: u32,
    started: Instant,
    printed: watch::Receiver<Printed>,
}

impl Function {
    /// Starts the process, with the environment that Lambda gives one and the launch's own. What it says on stderr goes
    /// to `<log_dir>/<name>.stderr.log`, what it prints is read through a pipe, as on Lambda.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub async fn start(launch: &Launch, log_dir: &Path) -> anyhow::Result<Self> {
        let api = RuntimeApi::start().await.context("cannot serve the Runtime API")?;
        let (program, arguments) = launch.command.split_first().context("a launch names no program")?;
        let log = log_dir.join(format!("{}.stderr.log", launch.name));
        let stderr = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs(lambda_environment(&launch.name, &api.address()))
            .envs(launch.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .kill_on_drop(true);
        let started = Instant::now();
        let mut child = command.spawn().with_context(|| format!("cannot start {program}"))?;
        let pid = child.id().context("a process without an id")?;
        let stdout = child.stdout.take().context("a process without stdout")?;
        let (sender, printed) = watch::channel(Printed::default());
        tokio::spawn(drain(stdout, sender));
        Ok(Self { name: launch.name.clone(), api, child, pid, started, printed })
    }

    /// Waits for its first poll: how long after the process's start it came.
    ///
    /// # Errors
    /// When it ends before, or does not poll in time.
    pub async fn first_poll(&mut self) -> anyhow::Result<Duration> {
        tokio::select! {
            polled = self.api.first_poll(START_LIMIT) => {
                let polled = polled.with_context(|| format!("{} did not start", self.name))?;
                Ok(polled.saturating_duration_since(self.started))
            }
            ended = self.child.wait() => bail!("{} ended at its start: {}", self.name, ended?),
        }
    }

    /// One invocation: the answer and how long it took, the Runtime API's two requests included.
    ///
    /// # Errors
    /// When the function answers with an error, ends, or takes too long.
    pub async fn invoke(&mut self, event: &Value) -> anyhow::Result<(Value, Duration)> {
        let event = serde_json::to_vec(event)?;
        let began = Instant::now();
        let answer = tokio::select! {
            answer = self.api.invoke(event, INVOCATION_LIMIT) => answer.with_context(|| self.name.clone())?,
            ended = self.child.wait() => bail!("{} ended: {}", self.name, ended?),
        };
        let took = began.elapsed();
        match answer {
            Answer::Response(body) => {
                let body = serde_json::from_slice(&body);
                Ok((body.with_context(|| format!("{} answered no JSON", self.name))?, took))
            }
            Answer::Error(body) => bail!("{} failed: {}", self.name, String::from_utf8_lossy(&body)),
        }
    }

    /// Waits until it has answered everything and polls again, so that its CPU time is complete.
    ///
    /// # Errors
    /// When it does not poll.
    pub async fn idle(&self) -> anyhow::Result<()> {
        self.api.idle(INVOCATION_LIMIT).await.with_context(|| self.name.clone())
    }

    /// Lines it has printed so far.
    pub fn lines(&self) -> u64 {
        self.printed.borrow().lines
    }

    /// Waits until it has printed this many lines, and answers the last one.
    ///
    /// # Errors
    /// When it does not print them, or the last is no JSON document.
    pub async fn printed(&self, lines: u64) -> anyhow::Result<Value> {
        let mut printed = self.printed.clone();
        let enough = tokio::time::timeout(START_LIMIT, printed.wait_for(|printed| printed.lines >= lines)).await;
        let printed = match enough {
            Ok(Ok(printed)) => printed.clone(),
            Ok(Err(_)) | Err(_) => bail!("{} printed {} lines, not {lines}", self.name, self.lines()),
        };
        serde_json::from_slice(&printed.last).with_context(|| {
            format!("{} printed what is no JSON: {}", self.name, String::from_utf8_lossy(&printed.last))
        })
    }

    /// The CPU time of each of its threads up to now.
    ///
    /// # Errors
    /// Where `/proc` does not tell.
    pub fn cpu(&self) -> anyhow::Result<CpuTime> {
        CpuTime::of(self.pid)
    }

    /// The most memory it ever had (`VmHWM`), bytes.
    ///
    /// # Errors
    /// Where `/proc` does not tell.
    pub fn peak_memory(&self) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/status", self.pid);
        let status = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM in /proc")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().context("VmHWM is no number")?;
        Ok(kib * 1024)
    }

    /// Ends the process and waits for its end.
    ///
    /// # Errors
    /// Where it cannot be killed.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.child.kill().await.with_context(|| format!("cannot stop {}", self.name))
    }
}

/// What each thread of a process has run, nanoseconds: `/proc/<pid>/task/*/schedstat`. Finer than the ticks of
/// `/proc/<pid>/stat`, and exact once the process waits.
#[derive(Clone, Debug)]
pub struct CpuTime(HashMap<u32, u64>);

impl CpuTime {
    fn of(pid: u32) -> anyhow::Result<Self> {
        let tasks = format!("/proc/{pid}/task");
        let mut threads = HashMap::new();
        for task in std::fs::read_dir(&tasks).with_context(|| format!("cannot read {tasks}: this needs Linux"))? {
            let task = task?;
            let Some(thread) = task.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // A thread may end while its folder is read.
            let Ok(text) = std::fs::read_to_string(task.path().join("schedstat")) else { continue };
            let ran = text.split_whitespace().next().and_then(|ran| ran.parse().ok());
            threads.insert(thread, ran.context("schedstat is no number: this needs a kernel with CONFIG_SCHED_INFO")?);
        }
        Ok(Self(threads))
    }

    /// What ran since then. A thread that ended meanwhile counts as idle: none of the contestants starts and ends threads
    /// at work.
    pub fn since(&self, earlier: &Self) -> Duration {
        let ran = self.0.iter().map(|(thread, ran)| ran.saturating_sub(earlier.0.get(thread).copied().unwrap_or(0)));
        Duration::from_nanos(ran.sum())
    }

    /// All of it.
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.0.values().sum())
    }
}

/// What Lambda sets for every function.
/// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime>
fn lambda_environment(name: &str, runtime_api: &str) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_LAMBDA_RUNTIME_API", runtime_api.to_owned()),
        ("AWS_LAMBDA_FUNCTION_NAME", name.to_owned()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1024".to_owned()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".to_owned()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{name}")),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "2026/11/24/[$LATEST]0".to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_DEFAULT_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "000000000000".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("LANG", "en_US.UTF-8".to_owned()),
        ("TZ", ":UTC".to_owned()),
        ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
    ]
}

/// Reads what the function prints until it ends.
async fn drain(mut stdout: ChildStdout, printed: watch::Sender<Printed>) {
    let mut buffer = vec![0; 64 << 10];
    let mut begun: Vec<u8> = Vec::new();
    loop {
        let chunk = match stdout.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(length) => buffer.get(..length).unwrap_or_default(),
        };
        let mut lines = chunk.split(|byte| *byte == b'\n');
        let rest = lines.next_back().unwrap_or_default();
        let (mut count, mut last) = (0, None);
        for line in lines {
            if count == 0 {
                begun.extend_from_slice(line);
                last = Some(std::mem::take(&mut begun));
            } else {
                last = Some(line.to_vec());
            }
            count += 1;
        }
        begun.extend_from_slice(rest);
        if let Some(last) = last {
            printed.send_modify(|printed| {
                printed.lines += count;
                printed.last = last;
            });
        }
    }
}
