//! The outside world of an order, on one loopback port: a payment provider (Stripe's PaymentIntents API), a carrier
//! and a token issuer, with the providers' real behaviour and an fsynced [`ledger`] of every effect they had.
//!
//! It is a test double for money: what it answered is on disk first, `kill -9` loses nothing that was answered, and
//! [`faults`] make it fail the way real providers fail, repeatably.
//!
//! | path | what | where |
//! | --- | --- | --- |
//! | `/v1/...` | payment | `payment` |
//! | `/carrier/...` | carrier | `carrier` |
//! | `/auth/...` | tokens | `tokens` |
//! | `/_sandbox/...` | ledger, faults, latency, clock, health | `admin` |

mod admin;
mod app;
mod carrier;
mod clock;
pub mod faults;
mod journal;
pub mod ledger;
mod net;
mod payment;
mod tokens;
mod world;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

pub use tokens::DEFAULT_AUDIENCE;

use crate::app::App;
use crate::clock::Clock;
use crate::faults::{Faults, Latency};
use crate::journal::Journal;
use crate::net::{Cuttable, Line};
use crate::tokens::Issuer;
use crate::world::World;

/// How long requests under way may take to finish when the sandbox is asked to stop.
const GRACE: Duration = Duration::from_secs(2);

/// How to run a sandbox.
#[derive(Debug, Clone)]
pub struct Config {
    /// Port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// The ledger file, made if it is not there; state and stored answers are taken from it. The issuer's key is
    /// kept beside it (`<ledger>.key.pem`).
    pub ledger: PathBuf,
    /// Seed of the faults.
    pub seed: u64,
    /// Every provider call takes at least this many milliseconds.
    pub base_latency_ms: u64,
    /// And up to this many more.
    pub jitter_ms: u64,
    /// Whether each request is logged (method, path, status, time; never a body or a key).
    pub log_requests: bool,
}

impl Config {
    /// A free port, no latency, no log.
    pub fn new(ledger: impl Into<PathBuf>) -> Self {
        Self { port: 0, ledger: ledger.into(), seed: 1, base_latency_ms: 0, jitter_ms: 0, log_requests: false }
    }
}

/// A sandbox that runs. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub addr: SocketAddr,
    stop: watch::Sender<bool>,
    server: JoinHandle<std::io::Result<()>>,
    gone: oneshot::Receiver<()>,
}

impl Running {
    /// `http://127.0.0.1:PORT`, the base of the payment API.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Base of the carrier's API.
    pub fn carrier_url(&self) -> String {
        format!("{}/carrier", self.url())
    }

    /// Issuer of the tokens.
    pub fn issuer(&self) -> String {
        format!("{}/auth", self.url())
    }

    /// Stops: no new connections, requests under way finish (at most 2 s), the ledger is written out and released.
    ///
    /// # Errors
    /// When the server failed while it ran.
    pub async fn shutdown(self) -> anyhow::Result<()> {
        let Self { stop, server, gone, .. } = self;
        stop.send_replace(true);
        server.await.context("the sandbox panicked")??;
        // Nothing is ever sent: the channel closes when the last request has let go of the ledger.
        match tokio::time::timeout(GRACE, gone).await {
            Ok(_) => Ok(()),
            Err(_) => anyhow::bail!("a request did not end within {GRACE:?} of the stop"),
        }
    }
}

/// Starts a sandbox in this process.
///
/// # Errors
/// When the port or the ledger cannot be had, the ledger is damaged, or another sandbox uses it.
pub async fn serve(config: Config) -> anyhow::Result<Running> {
    let (journal, groups) = Journal::open(&config.ledger)?;
    let mut world = World::default();
    for group in groups {
        world.apply(group.entries, group.commit);
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, config.port))
        .await
        .with_context(|| format!("cannot listen on port {}", config.port))?;
    let addr = listener.local_addr()?;
    let base_url = format!("http://{addr}");
    let issuer = Issuer::open(format!("{base_url}/auth"), &key_path(&config.ledger))?;
    let (stop, stopping) = watch::channel(false);
    let (gone_tx, gone) = oneshot::channel();
    let latency = Latency { base_ms: config.base_latency_ms, jitter_ms: config.jitter_ms };
    let app = Arc::new(App {
        clock: Clock::new(world.clock_offset_ms),
        world: Mutex::new(world),
        journal,
        faults: Mutex::new(Faults::new(config.seed, latency)),
        issuer,
        base_url,
        under_way: AtomicUsize::new(0),
        stopping: stopping.clone(),
        _gone: gone_tx,
    });
    let router = routes(app, config.log_requests);
    let server = tokio::spawn(run(listener, router, stopping));
    Ok(Running { addr, stop, server, gone })
}

fn routes(app: Arc<App>, log_requests: bool) -> Router {
    let mut router = Router::new()
        .nest("/v1", payment::routes())
        .nest("/carrier", carrier::routes())
        .nest("/auth", admin::auth_routes())
        .nest("/_sandbox", admin::routes())
        .with_state(app)
        .layer(middleware::from_fn(net::cut_marked));
    if log_requests {
        router = router.layer(middleware::from_fn(log_request));
    }
    router
}

async fn run(listener: TcpListener, router: Router, stopping: watch::Receiver<bool>) -> std::io::Result<()> {
    let stopped = |mut stopping: watch::Receiver<bool>| async move {
        // Also when the sender is gone: nobody holds the handle any more.
        stopping.wait_for(|stopping| *stopping).await.is_ok()
    };
    let asked = stopped(stopping.clone());
    let server = axum::serve(Cuttable(listener), router.into_make_service_with_connect_info::<Line>())
        .with_graceful_shutdown(async move {
            asked.await;
        });
    tokio::select! {
        ended = server => ended,
        () = async { stopped(stopping).await; tokio::time::sleep(GRACE).await } => Ok(()),
    }
}

async fn log_request(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let started = std::time::Instant::now();
    let response = next.run(request).await;
    let status = response.status().as_u16();
    let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(%method, path, status, took_ms, "request");
    response
}

fn key_path(ledger: &Path) -> PathBuf {
    let mut path = ledger.as_os_str().to_owned();
    path.push(".key.pem");
    path.into()
}
