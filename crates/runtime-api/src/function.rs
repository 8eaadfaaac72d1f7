//! A function's process under the Runtime API, with what it prints.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::{Answer, Limit, RuntimeApi};

/// Longest from start to the first request for an event.
const READY: Duration = Duration::from_secs(30);
/// Longest from an answer to the next request for an event: what a function does after its answer.
const IDLE: Duration = Duration::from_secs(5);

/// What a function answered to an event.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// The payload of `/response`.
    Answered(Value),
    /// The body of `/error`: `errorType` and `errorMessage`.
    Failed(Value),
}

/// One invocation.
#[derive(Clone, PartialEq, Debug)]
pub struct Invoked {
    /// How it ended.
    pub outcome: Outcome,
    /// From handing the event over to the answer.
    pub took: Duration,
}

/// What a process has printed, line by line.
type Lines = Arc<Mutex<Vec<String>>>;

/// A running function that waits for events. Its process is killed when this is dropped.
pub struct Function {
    api: RuntimeApi,
    child: Child,
    lines: Lines,
    /// One for stdout, one for stderr: each ends with its stream.
    readers: Vec<JoinHandle<()>>,
    ready_after: Duration,
    limit: Limit,
}

impl Function {
    /// Starts `binary` with nothing but this environment and what Lambda itself sets, and waits until it asks for its
    /// first event. `limit` is of each invocation; a `Duration` is the function's timeout.
    ///
    /// # Errors
    /// When it cannot be started, ends, or is not ready within 30 s. The error tells what it printed.
    pub async fn start(
        binary: &Path,
        environment: &BTreeMap<String, String>,
        limit: impl Into<Limit>,
    ) -> anyhow::Result<Self> {
        let limit = limit.into();
        let api = RuntimeApi::start().await.context("cannot serve the Runtime API")?;
        let started = Instant::now();
        let mut child = Command::new(binary)
            .env_clear()
            .env("AWS_LAMBDA_FUNCTION_NAME", binary.file_name().unwrap_or_default())
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "local")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "local")
            .envs(environment)
            .env("AWS_LAMBDA_RUNTIME_API", api.address())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let lines = Lines::default();
        let mut readers = Vec::new();
        readers.extend(child.stdout.take().map(|stdout| read(stdout, &lines)));
        readers.extend(child.stderr.take().map(|stderr| read(stderr, &lines)));
        let mut function = Self { api, child, lines, readers, ready_after: Duration::ZERO, limit };
        match function.first_poll().await {
            Ok(at) => function.ready_after = at.saturating_duration_since(started),
            Err(error) => {
                let printed = function.end().await.join("\n");
                return Err(error.context(format!("{} does not start; it printed:\n{printed}", binary.display())));
            }
        }
        Ok(function)
    }

    async fn first_poll(&mut self) -> anyhow::Result<Instant> {
        tokio::select! {
            polled = self.api.first_poll(READY) => Ok(polled?),
            ended = self.child.wait() => bail!("it ended: {}", ended?),
        }
    }

    /// From starting the process to its first request for an event.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// What it has printed so far, on stdout and stderr. A line is here a moment after it was written.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The process; `None` once it has ended.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Hands an event over and waits for its end, as long as patience lasts.
    ///
    /// # Errors
    /// When the function ends, answers what is no JSON, or gives no answer in time; then it is of no use any more.
    pub async fn invoke(&mut self, event: Value) -> anyhow::Result<Invoked> {
        let event = serde_json::to_vec(&event)?;
        let began = Instant::now();
        let answer = tokio::select! {
            answer = self.api.invoke(event, self.limit) => answer?,
            ended = self.child.wait() => bail!("the function ended: {}", ended?),
        };
        let took = began.elapsed();
        let read = |body: &[u8]| serde_json::from_slice(body).context("it answered what is no JSON");
        let outcome = match &answer {
            Answer::Response(body) => Outcome::Answered(read(body)?),
            Answer::Error(body) => Outcome::Failed(read(body)?),
        };
        Ok(Invoked { outcome, took })
    }

    /// Ends the process once it asks for more or a few seconds have passed, and answers all that it printed.
    pub async fn end(mut self) -> Vec<String> {
        tokio::select! {
            // Whether it does or not, it is ended.
            _ = self.api.idle(IDLE) => {}
            _ = self.child.wait() => {}
        }
        // One that has ended by itself is no trouble.
        self.child.kill().await.ok();
        for reader in self.readers.drain(..) {
            // A child of its own may hold the pipe open: what came until now counts.
            tokio::time::timeout(IDLE, reader).await.ok();
        }
        self.lines()
    }
}

/// Keeps what a stream says until it ends.
fn read(stream: impl AsyncRead + Unpin + Send + 'static, lines: &Lines) -> JoinHandle<()> {
    let (kept, mut read) = (Arc::clone(lines), BufReader::new(stream));
    tokio::spawn(async move {
        let mut line = Vec::new();
        // By bytes: a line that is no UTF-8 does not end it.
        while let Ok(1..) = read.read_until(b'\n', &mut line).await {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            kept.lock().unwrap_or_else(PoisonError::into_inner).push(text);
            line.clear();
        }
    })
}
