//! The Lambda Runtime API on a loopback port, for one function process: it hands out invocations and takes the answers.
//!
//! Served: `GET /2018-06-01/runtime/invocation/next` (waits for an invocation), `POST .../invocation/{id}/response`,
//! `POST .../invocation/{id}/error`, `POST .../init/error`. Streamed responses and the extensions' API are not.
//!
//! Source: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// Lambda takes 6 MB of answer; a little more here, so that a function is not cut off where Lambda would tell it so.
const MOST_BYTES: usize = 8 << 20;

/// How long an invocation may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// The function's timeout: from the hand-over to the deadline that the function is told, and acts by.
    pub timeout: Duration,
    /// How long its answer is waited for here. Longer than the timeout while somebody looks at the process in a debugger: a
    /// function that believed in so late a deadline would hold its leases as long.
    pub patience: Duration,
}

impl From<Duration> for Limit {
    /// As Lambda: nothing is waited for beyond the timeout.
    fn from(timeout: Duration) -> Self {
        Self { timeout, patience: timeout }
    }
}

/// How a function answered one invocation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// `POST .../response`: the body as it was sent.
    Response(Bytes),
    /// `POST .../error`: the error document as it was sent.
    Error(Bytes),
}

/// An invocation that was not answered.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// The function took too long, or never asked for it.
    #[error("no answer within {0:?}")]
    TooLate(Duration),
    /// The function said that it cannot start (`POST .../init/error`).
    #[error("the function cannot start: {0}")]
    InitError(String),
    /// The API was stopped.
    #[error("the Runtime API is stopped")]
    Stopped,
}

struct Invocation {
    event: Bytes,
    deadline_ms: u64,
    answer: oneshot::Sender<Answer>,
}

/// What the function did so far.
#[derive(Clone, Debug, Default)]
struct Seen {
    first_poll: Option<Instant>,
    polls: u64,
    init_error: Option<String>,
}

struct Shared {
    waiting: tokio::sync::Mutex<mpsc::UnboundedReceiver<Invocation>>,
    running: Mutex<HashMap<String, oneshot::Sender<Answer>>>,
    next_id: AtomicU64,
    seen: watch::Sender<Seen>,
}

/// The Runtime API of one function process. Stops when dropped.
pub struct RuntimeApi {
    address: SocketAddr,
    invocations: mpsc::UnboundedSender<Invocation>,
    invoked: AtomicU64,
    seen: watch::Receiver<Seen>,
    server: JoinHandle<io::Result<()>>,
}

impl RuntimeApi {
    /// Serves on a free loopback port.
    ///
    /// # Errors
    /// Where no port can be bound.
    pub async fn start() -> io::Result<Self> {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        // Answers are small: held back by Nagle's algorithm they would cost 40 ms each.
        let listener = listener.tap_io(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::warn!(%error, "TCP_NODELAY was refused");
            }
        });
        let (invocations, waiting) = mpsc::unbounded_channel();
        let (seen, watched) = watch::channel(Seen::default());
        let shared = Arc::new(Shared {
            waiting: tokio::sync::Mutex::new(waiting),
            running: Mutex::default(),
            next_id: AtomicU64::new(1),
            seen,
        });
        let routes = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .route("/2018-06-01/runtime/init/error", post(init_error))
            .layer(DefaultBodyLimit::max(MOST_BYTES))
            .with_state(shared);
        let server = tokio::spawn(axum::serve(listener, routes).into_future());
        Ok(Self { address, invocations, invoked: AtomicU64::new(0), seen: watched, server })
    }

    /// `host:port`, the value of `AWS_LAMBDA_RUNTIME_API`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Waits for the first `GET next` and says when it came.
    ///
    /// # Errors
    /// When it does not come in time, or the function says that it cannot start.
    pub async fn first_poll(&self, limit: Duration) -> Result<Instant, Unanswered> {
        let seen = self.wait(limit, |seen| seen.first_poll.is_some()).await?;
        seen.first_poll.ok_or(Unanswered::TooLate(limit))
    }

    /// Waits until the function has answered everything and polls for more.
    ///
    /// # Errors
    /// When it does not within the limit.
    pub async fn idle(&self, limit: Duration) -> Result<(), Unanswered> {
        let invoked = self.invoked.load(Ordering::Relaxed);
        self.wait(limit, |seen| seen.polls > invoked).await.map(|_| ())
    }

    /// Hands the function one event and waits for its answer. A `Duration` is the function's timeout and the patience in one.
    ///
    /// # Errors
    /// When patience ends before the answer comes.
    pub async fn invoke(&self, event: impl Into<Bytes>, limit: impl Into<Limit>) -> Result<Answer, Unanswered> {
        let (answer, answered) = oneshot::channel();
        let Limit { timeout, patience } = limit.into();
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let deadline_ms = now_ms().saturating_add(timeout_ms);
        let invocation = Invocation { event: event.into(), deadline_ms, answer };
        self.invocations.send(invocation).map_err(|_| Unanswered::Stopped)?;
        self.invoked.fetch_add(1, Ordering::Relaxed);
        match tokio::time::timeout(patience, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Unanswered::Stopped),
            Err(_) => Err(Unanswered::TooLate(patience)),
        }
    }

    async fn wait(&self, limit: Duration, until: impl Fn(&Seen) -> bool) -> Result<Seen, Unanswered> {
        let mut seen = self.seen.clone();
        let waited = tokio::time::timeout(limit, seen.wait_for(|seen| until(seen) || seen.init_error.is_some())).await;
        let seen = match waited {
            Ok(Ok(seen)) => seen.clone(),
            Ok(Err(_)) => return Err(Unanswered::Stopped),
            Err(_) => return Err(Unanswered::TooLate(limit)),
        };
        match seen.init_error {
            Some(error) => Err(Unanswered::InitError(error)),
            None => Ok(seen),
        }
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn next(State(shared): State<Arc<Shared>>) -> Response {
    let now = Instant::now();
    shared.seen.send_modify(|seen| {
        seen.first_poll.get_or_insert(now);
        seen.polls += 1;
    });
    let Some(invocation) = shared.waiting.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    let number = shared.next_id.fetch_add(1, Ordering::Relaxed);
    let id = format!("00000000-0000-4000-8000-{number:012x}");
    let headers = [
        (HeaderName::from_static("content-type"), "application/json".to_owned()),
        (HeaderName::from_static("lambda-runtime-aws-request-id"), id.clone()),
        (HeaderName::from_static("lambda-runtime-deadline-ms"), invocation.deadline_ms.to_string()),
        (
            HeaderName::from_static("lambda-runtime-invoked-function-arn"),
            "arn:aws:lambda:us-east-1:000000000000:function:local".to_owned(),
        ),
        (
            HeaderName::from_static("lambda-runtime-trace-id"),
            format!("Root=1-5bef4de7-{number:024x};Parent=53995c3f42cd8ad8;Sampled=0"),
        ),
    ];
    shared.running.lock().unwrap_or_else(PoisonError::into_inner).insert(id, invocation.answer);
    (headers, invocation.event).into_response()
}

async fn response(State(shared): State<Arc<Shared>>, Path(id): Path<String>, body: Bytes) -> Response {
    shared.answer(&id, Answer::Response(body))
}

async fn error(State(shared): State<Arc<Shared>>, Path(id): Path<String>, body: Bytes) -> Response {
    shared.answer(&id, Answer::Error(body))
}

async fn init_error(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let kind = headers.get("lambda-runtime-function-error-type").and_then(|kind| kind.to_str().ok()).unwrap_or("");
    let error = format!("{kind} {}", String::from_utf8_lossy(&body));
    shared.seen.send_modify(|seen| seen.init_error = Some(error));
    accepted()
}

impl Shared {
    fn answer(&self, id: &str, answer: Answer) -> Response {
        let waiting = self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        let Some(waiting) = waiting else {
            let unknown = r#"{"errorMessage":"unknown or answered request id","errorType":"InvalidRequestID"}"#;
            return (StatusCode::BAD_REQUEST, unknown).into_response();
        };
        // Nobody listens any more where the invocation's time had run out; the function is told the same.
        waiting.send(answer).ok();
        accepted()
    }
}

fn accepted() -> Response {
    (StatusCode::ACCEPTED, r#"{"status":"OK"}"#).into_response()
}

#[allow(clippy::disallowed_methods, reason = "deadlines are of the wall clock, as Lambda's; nothing here is simulated")]
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
