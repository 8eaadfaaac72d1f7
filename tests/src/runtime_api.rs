//! A function's own binary under the Lambda Runtime API, served here on loopback: to invoke it as Lambda does, and to see
//! how long it takes to get ready.
//!
//! Source: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::clock::now_ms;

/// Longest from start to the first request for an event.
const READY: Duration = Duration::from_secs(30);

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

/// A running function that waits for events. Its process is killed when this is dropped.
#[derive(Debug)]
pub struct Function {
    child: Child,
    events: mpsc::Sender<(String, Value, Duration)>,
    answers: mpsc::Receiver<(String, Outcome)>,
    server: JoinHandle<()>,
    lines: Arc<std::sync::Mutex<Vec<String>>>,
    ready_after: Duration,
    invocations: u64,
    time: Duration,
}

impl Drop for Function {
    fn drop(&mut self) {
        self.server.abort();
    }
}

struct Served {
    events: Mutex<mpsc::Receiver<(String, Value, Duration)>>,
    answers: mpsc::Sender<(String, Outcome)>,
    /// When the first request for an event came.
    polled: watch::Sender<Option<Instant>>,
}

impl Function {
    /// Starts `binary` with nothing but this environment and what Lambda itself sets, and waits until it asks for its
    /// first event. `time` is the function's timeout.
    ///
    /// # Errors
    /// When it cannot be started, ends, or is not ready within 30 s.
    pub async fn start(binary: &Path, environment: &BTreeMap<String, String>, time: Duration) -> anyhow::Result<Self> {
        let (events, next) = mpsc::channel(1);
        let (answer, answers) = mpsc::channel(1);
        let (polled, mut first_poll) = watch::channel(None);
        let served = Arc::new(Served { events: Mutex::new(next), answers: answer, polled });
        let routes = axum::Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next_event))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .with_state(served);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.context("no free port")?;
        let address = listener.local_addr()?.to_string();
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                eprintln!("the Runtime API stopped: {error}");
            }
        });

        let name = binary.file_name().unwrap_or_default();
        let started = Instant::now();
        let mut child = Command::new(binary)
            .env_clear()
            .envs(environment)
            .env("AWS_LAMBDA_RUNTIME_API", address)
            .env("AWS_LAMBDA_FUNCTION_NAME", name)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "local")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "local")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let lines = Arc::<std::sync::Mutex<Vec<String>>>::default();
        if let Some(stdout) = child.stdout.take() {
            let (kept, mut read) = (Arc::clone(&lines), BufReader::new(stdout).lines());
            // Ends with the process.
            tokio::spawn(async move {
                while let Ok(Some(line)) = read.next_line().await {
                    kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(line);
                }
            });
        }
        let ready = async {
            tokio::select! {
                ready = first_poll.wait_for(Option::is_some) => Ok(*ready.context("the Runtime API is gone")?),
                ended = child.wait() => bail!("{} ended: {}", binary.display(), ended?),
            }
        };
        let ready = timeout(READY, ready).await.with_context(|| format!("{} is not ready", binary.display()))??;
        let ready_after = ready.unwrap_or(started).duration_since(started);
        Ok(Self { child, events, answers, server, lines, ready_after, invocations: 0, time })
    }

    /// From starting the process to its first request for an event.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// What it has logged, line by line. A line is here a moment after it was written.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// The process.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Hands an event over and waits for its end, at most the function's timeout.
    ///
    /// # Errors
    /// When the function ends, or gives no answer in time; then it is of no use any more.
    pub async fn invoke(&mut self, event: Value) -> anyhow::Result<Invoked> {
        self.invocations += 1;
        let id = format!("00000000-0000-4000-8000-{:012}", self.invocations);
        let started = Instant::now();
        self.events.send((id.clone(), event, self.time)).await.context("the Runtime API is gone")?;
        let answered = async {
            tokio::select! {
                answer = self.answers.recv() => answer.context("the Runtime API is gone"),
                ended = self.child.wait() => bail!("the function ended: {}", ended?),
            }
        };
        let (answers_to, outcome) = timeout(self.time, answered).await.context("no answer in time")??;
        anyhow::ensure!(answers_to == id, "answered {answers_to} instead of {id}");
        Ok(Invoked { outcome, took: started.elapsed() })
    }
}

async fn next_event(State(served): State<Arc<Served>>) -> Response {
    served.polled.send_if_modified(|at| {
        let is_first = at.is_none();
        at.get_or_insert_with(Instant::now);
        is_first
    });
    let Some((id, event, time)) = served.events.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    let deadline_ms = now_ms().saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let headers = [
        ("lambda-runtime-aws-request-id", id),
        ("lambda-runtime-deadline-ms", deadline_ms.to_string()),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:000000000000:function:local".to_owned()),
        ("content-type", "application/json".to_owned()),
    ];
    (headers, event.to_string()).into_response()
}

async fn response(State(served): State<Arc<Served>>, UrlPath(id): UrlPath<String>, body: String) -> StatusCode {
    take(&served, id, Outcome::Answered, &body).await
}

async fn error(State(served): State<Arc<Served>>, UrlPath(id): UrlPath<String>, body: String) -> StatusCode {
    take(&served, id, Outcome::Failed, &body).await
}

async fn take(served: &Served, id: String, outcome: fn(Value) -> Outcome, body: &str) -> StatusCode {
    let Ok(body) = serde_json::from_str(body) else { return StatusCode::BAD_REQUEST };
    match served.answers.send((id, outcome(body))).await {
        Ok(()) => StatusCode::ACCEPTED,
        Err(_) => StatusCode::GONE,
    }
}
