//! How every provider call runs: idempotency, then faults, then the work in one piece, then the disk, then the answer.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::faults::{Call, FaultKind, Faults};
use crate::journal::Journal;
use crate::ledger::Provider;
use crate::net::{HangUp, peer_port};
use crate::tokens::Issuer;
use crate::world::{IDEMPOTENCY_WINDOW_MS, StoredAnswer, Tx, World, new_id};
use crate::{carrier, payment};

/// How long a hang lasts before the connection is closed, unless the fault says otherwise.
const HANG_MS: u64 = 60_000;
/// How late a late effect comes, unless the fault says otherwise.
const LATE_MS: u64 = 2_000;

/// Everything the handlers share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) world: Mutex<World>,
    pub(crate) journal: Journal,
    pub(crate) clock: Clock,
    pub(crate) faults: Mutex<Faults>,
    pub(crate) issuer: Issuer,
    /// `http://127.0.0.1:PORT`.
    pub(crate) base_url: String,
    /// Requests whose work is accepted and not done: late effects, and calls their callers gave up.
    pub(crate) under_way: AtomicUsize,
    pub(crate) stopping: watch::Receiver<bool>,
    /// Dropped last, when the ledger is written out and released.
    pub(crate) _gone: oneshot::Sender<()>,
}

/// What the provider would say.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) body: String,
    pub(crate) retry_after_s: Option<u64>,
    /// Whether the endpoint began to execute, so that the answer belongs to the idempotency key.
    pub(crate) keep: bool,
}

impl Reply {
    pub(crate) fn json(status: StatusCode, body: &serde_json::Value) -> Self {
        Self { status, body: body.to_string(), retry_after_s: None, keep: true }
    }

    pub(crate) fn not_kept(self) -> Self {
        Self { keep: false, ..self }
    }
}

/// A request that came with an `Idempotency-Key`.
#[derive(Debug, Clone)]
pub(crate) struct Keyed {
    pub(crate) key: String,
    pub(crate) path: String,
    pub(crate) params: String,
}

/// What a key says about a request.
enum Begun {
    Fresh(Option<Claim>),
    Replay(StoredAnswer),
    Refused(Reply),
}

/// Holds a key while its first request is under way.
struct Claim {
    app: Arc<App>,
    keyed: Keyed,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.app.world().in_flight.remove(&self.keyed.key);
    }
}

/// The work of one request.
pub(crate) type Work = Box<dyn FnOnce(&mut Tx<'_>) -> Reply + Send>;

/// The work of one request under way, and the group its answer waits for.
type Task = JoinHandle<Option<(Reply, u64)>>;

/// None when the sandbox stopped first.
async fn done(task: Task) -> Option<(Reply, u64)> {
    task.await.ok().flatten()
}

impl App {
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `work` and writes down what came of it. Returns the answer and the group to wait for.
    ///
    /// The whole of it happens under the world's lock, so it is atomic, and the journal's order is the world's.
    pub(crate) fn execute(
        &self,
        keyed: Option<&Keyed>,
        request_id: &str,
        work: Work,
        answer: impl FnOnce(Reply) -> Reply,
    ) -> (Reply, u64) {
        let mut world = self.world();
        let mut tx = Tx::new(&world, self.clock.now_ms(), keyed.map(|keyed| keyed.key.clone()));
        let reply = answer(work(&mut tx));
        let (entries, mut commit, at_ms) = (tx.entries, tx.commit, tx.now_ms);
        if let Some(keyed) = keyed.filter(|_| reply.keep) {
            commit.answers.push(StoredAnswer {
                key: keyed.key.clone(),
                path: keyed.path.clone(),
                params: keyed.params.clone(),
                status: reply.status.as_u16(),
                body: reply.body.clone(),
                request_id: request_id.to_owned(),
                at_ms,
            });
        }
        if entries.is_empty() && commit.is_empty() {
            return (reply, self.journal.last());
        }
        match self.journal.append(&entries, &commit) {
            Ok(number) => {
                world.apply(entries, commit);
                (reply, number)
            }
            Err(error) => {
                tracing::error!(%error, "a change could not be written as JSON and was not made");
                (Reply { keep: false, ..internal_error(Provider::Payment) }, self.journal.last())
            }
        }
    }

    fn begin(self: &Arc<Self>, keyed: Option<Keyed>) -> Begun {
        let Some(keyed) = keyed else { return Begun::Fresh(None) };
        let now_ms = self.clock.now_ms();
        let mut world = self.world();
        if let Some(stored) = world.answers.get(&keyed.key)
            && now_ms.saturating_sub(stored.at_ms) < IDEMPOTENCY_WINDOW_MS
        {
            return match payment::error::key_misuse(&keyed, &stored.path, &stored.params) {
                Some(refusal) => Begun::Refused(refusal),
                None => Begun::Replay(stored.clone()),
            };
        }
        if let Some((path, params)) = world.in_flight.get(&keyed.key) {
            let refusal = payment::error::key_misuse(&keyed, path, params);
            return Begun::Refused(refusal.unwrap_or_else(|| payment::error::key_in_use(&keyed.key)));
        }
        world.in_flight.insert(keyed.key.clone(), (keyed.path.clone(), keyed.params.clone()));
        drop(world);
        Begun::Fresh(Some(Claim { app: Arc::clone(self), keyed }))
    }

    /// Runs one provider call from its first to its last byte.
    pub(crate) async fn call(self: &Arc<Self>, call: Call, keyed: Option<Keyed>, work: Work) -> Response<Body> {
        let echo = keyed.as_ref().map(|keyed| keyed.key.clone());
        let request_id = new_id("req_", 14);
        let claim = match self.begin(keyed) {
            Begun::Fresh(claim) => claim,
            Begun::Refused(reply) => {
                return self.answer(reply, self.journal.last(), &request_id, echo.as_deref(), None).await;
            }
            Begun::Replay(stored) => return self.replay(&call, stored, &request_id).await,
        };
        let plan = self.faults().plan(&call, false, peer_port());
        let latency = Duration::from_millis(plan.latency_ms);
        let provider = call.provider;
        let Some((kind, delay_ms)) = plan.fault else {
            let task = self.detach(latency, claim, request_id.clone(), work, |reply| reply);
            return self.answer_when_done(task, &request_id, echo.as_deref()).await;
        };
        match kind {
            FaultKind::Throttle429 => {
                drop(claim);
                let reply = throttled(provider, delay_ms);
                self.answer(reply, self.journal.last(), &request_id, echo.as_deref(), None).await
            }
            FaultKind::Reset => hang_up(),
            FaultKind::Hang => {
                drop(claim);
                self.hang(delay_ms).await
            }
            FaultKind::Error500 => {
                let fail: Work = Box::new(move |_| internal_error(provider));
                let task = self.detach(latency, claim, request_id.clone(), fail, |reply| reply);
                self.answer_when_done(task, &request_id, echo.as_deref()).await
            }
            FaultKind::Error500AfterEffect => {
                // A request that never got as far as executing keeps its own answer.
                let hide = move |reply: Reply| if reply.keep { internal_error(provider) } else { reply };
                let task = self.detach(latency, claim, request_id.clone(), work, hide);
                self.answer_when_done(task, &request_id, echo.as_deref()).await
            }
            FaultKind::EffectThenReset => {
                done(self.detach(latency, claim, request_id, work, |reply| reply)).await;
                hang_up()
            }
            FaultKind::EffectThenHang => {
                done(self.detach(latency, claim, request_id, work, |reply| reply)).await;
                self.hang(delay_ms).await
            }
            FaultKind::LateEffect => {
                let late = latency + Duration::from_millis(delay_ms.unwrap_or(LATE_MS));
                // Started here and now, so that the effect comes even if the caller's connection goes first.
                drop(self.detach(late, claim, request_id, work, |reply| reply));
                self.hang(None).await
            }
            // `plan` adds latency up instead of choosing it.
            FaultKind::Latency => hang_up(),
        }
    }

    async fn replay(self: &Arc<Self>, call: &Call, stored: StoredAnswer, request_id: &str) -> Response<Body> {
        let plan = self.faults().plan(call, true, peer_port());
        if !self.sleep(Duration::from_millis(plan.latency_ms)).await {
            return hang_up();
        }
        let lost = plan.fault.map(|(kind, delay_ms)| match kind {
            FaultKind::Throttle429 => Ok(throttled(call.provider, delay_ms)),
            FaultKind::Reset | FaultKind::EffectThenReset => Err(None),
            FaultKind::Hang | FaultKind::EffectThenHang => Err(Some(delay_ms)),
            FaultKind::LateEffect => Err(Some(None)),
            FaultKind::Error500 | FaultKind::Error500AfterEffect | FaultKind::Latency => Err(None),
        });
        match lost {
            Some(Ok(reply)) => self.answer(reply, self.journal.last(), request_id, Some(&stored.key), None).await,
            Some(Err(None)) => hang_up(),
            Some(Err(Some(delay_ms))) => self.hang(delay_ms).await,
            None => {
                let reply = Reply {
                    status: StatusCode::from_u16(stored.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                    body: stored.body,
                    retry_after_s: None,
                    keep: false,
                };
                let original = Some(stored.request_id.as_str());
                self.answer(reply, self.journal.last(), request_id, Some(&stored.key), original).await
            }
        }
    }

    /// Starts the work in a task of its own: a caller that hangs up does not stop a provider that has begun.
    /// The task gives the answer; None when the sandbox stopped before the work began.
    fn detach(
        self: &Arc<Self>,
        after: Duration,
        claim: Option<Claim>,
        request_id: String,
        work: Work,
        answer: impl FnOnce(Reply) -> Reply + Send + 'static,
    ) -> Task {
        let guard = UnderWay::new(self);
        let app = Arc::clone(self);
        tokio::spawn(async move {
            let _guard = guard;
            if !app.sleep(after).await {
                return None;
            }
            let done = app.execute(claim.as_ref().map(|claim| &claim.keyed), &request_id, work, answer);
            app.journal.durable(done.1).await;
            drop(claim);
            Some(done)
        })
    }

    async fn answer_when_done(&self, task: Task, request_id: &str, key: Option<&str>) -> Response<Body> {
        match done(task).await {
            Some((reply, group)) => self.answer(reply, group, request_id, key, None).await,
            None => hang_up(),
        }
    }

    /// Answers a request that never came as far as a call.
    pub(crate) async fn say(&self, reply: Reply) -> Response<Body> {
        self.answer(reply, self.journal.last(), &new_id("req_", 14), None, None).await
    }

    async fn answer(
        &self,
        reply: Reply,
        group: u64,
        request_id: &str,
        key: Option<&str>,
        original: Option<&str>,
    ) -> Response<Body> {
        // Also an answer that only read the state waits: it may tell of an effect that is not on disk yet.
        if !self.journal.durable(group).await {
            return hang_up();
        }
        let mut response = Response::new(Body::from(reply.body));
        *response.status_mut() = reply.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut put = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        put("request-id", request_id);
        if let Some(key) = key {
            put("idempotency-key", key);
        }
        if let Some(original) = original {
            put("idempotent-replayed", "true");
            put("original-request", original);
        }
        if let Some(seconds) = reply.retry_after_s {
            put("retry-after", &seconds.to_string());
        }
        response
    }

    async fn hang(&self, delay_ms: Option<u64>) -> Response<Body> {
        self.sleep(Duration::from_millis(delay_ms.unwrap_or(HANG_MS))).await;
        hang_up()
    }

    /// False when the sandbox is stopping.
    async fn sleep(&self, duration: Duration) -> bool {
        if duration.is_zero() {
            return true;
        }
        let mut stopping = self.stopping.clone();
        tokio::select! {
            () = tokio::time::sleep(duration) => true,
            _ = stopping.wait_for(|stopping| *stopping) => false,
        }
    }
}

struct UnderWay(Arc<App>);

impl UnderWay {
    fn new(app: &Arc<App>) -> Self {
        app.under_way.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(app))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Tells the connection to close without a byte.
fn hang_up() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(HangUp);
    response
}

fn internal_error(provider: Provider) -> Reply {
    match provider {
        Provider::Payment => payment::error::internal(),
        Provider::Carrier => carrier::problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something went wrong."),
    }
}

fn throttled(provider: Provider, delay_ms: Option<u64>) -> Reply {
    let reply = match provider {
        Provider::Payment => payment::error::rate_limited(),
        Provider::Carrier => carrier::problem(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "Too many requests."),
    };
    Reply { retry_after_s: Some(delay_ms.unwrap_or(1_000).div_ceil(1_000)), ..reply }
}
