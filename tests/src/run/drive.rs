//! Places the orders at their pace, does with each what is planned, and waits for the end.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use order::{OrderId, State};
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::task::JoinSet;

use super::progress::Progress;
use super::{Plan, PlannedOrder};
use crate::api::{Answer, Client};
use crate::check::{Placed, RefundAsked};
use crate::clock::now_ms;
use crate::deployed::Deployed;
use crate::queues::Depths;
use crate::tables::Glimpse;

/// Requests under way at once where nothing paces them.
const UNPACED: usize = 24;
/// A client that was told to come again does so this often.
const TRIES: u32 = 5;
/// The same where much is failing around it.
const ROUGH_TRIES: u32 = 25;
/// Between a client's tries, times the try, ...
const TRY_PAUSE: Duration = Duration::from_millis(300);
/// ... and at most.
const LONGEST_TRY_PAUSE: Duration = Duration::from_secs(3);
/// So long the local AWS may not answer the one who looks, in rough weather.
const UNSEEN: Duration = Duration::from_secs(90);
/// The least time between two looks at the table: looking costs the local AWS something, too.
const LOOK_EVERY: Duration = Duration::from_millis(700);
/// Looking takes at most one part in so many of the time.
const LOOK_SHARE: u32 = 15;

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    /// The plan.
    pub orders: Vec<PlannedOrder>,
    /// Every request for an order, with its answer, oldest first.
    pub placed: Vec<Placed>,
    /// Every request for a refund.
    pub refunds: Vec<RefundAsked>,
    /// Cancels that were taken, and that came too late.
    pub cancels: (usize, usize),
    /// How long the API took for each accepted `POST /orders`, milliseconds.
    pub accept_ms: Vec<u64>,
    /// From the first request to the last first request, seconds.
    pub placing_s: f64,
    /// What went wrong on this side, or was answered as it should not be.
    pub troubles: Vec<String>,
    /// What was still going on when the run was given up; empty when it came to its end.
    pub stuck: Vec<String>,
    /// Requests that were answered 5xx or not at all, where that is no trouble: see [`Manner::rough`].
    pub unanswered: usize,
    /// When all had ended, UTC milliseconds.
    pub ended_ms: u64,
}

/// How a run is driven.
pub(crate) struct Manner {
    /// Orders a second; as fast as they are taken where there is none.
    rate: Option<f64>,
    /// Given up when nothing has moved for so long.
    stuck_after: Duration,
    /// A client's tries.
    tries: u32,
    rough: Option<Weather>,
}

/// Rough weather: requests that are not answered are repeated and are no trouble, and the run neither ends before the
/// weather is over nor goes on after a given instant.
struct Weather {
    /// Set once every order was asked for.
    asked: watch::Sender<bool>,
    /// Set once the weather is over: then the run has until this instant.
    over: watch::Receiver<Option<Instant>>,
}

impl Manner {
    /// Every request has to be answered.
    pub(crate) fn calm(rate: Option<f64>, stuck_after: Duration) -> Self {
        Self { rate, stuck_after, tries: TRIES, rough: None }
    }

    /// In rough weather. `asked` is told when every order was asked for; the run ends only after `over` is set, at the
    /// latest at the instant it is set to.
    pub(crate) fn rough(rate: f64, asked: watch::Sender<bool>, over: watch::Receiver<Option<Instant>>) -> Self {
        Self { rate: Some(rate), stuck_after: Duration::MAX, tries: ROUGH_TRIES, rough: Some(Weather { asked, over }) }
    }

    /// Whether the run may end by itself, and whether it has to.
    fn may_end(&self) -> (bool, bool) {
        match &self.rough {
            None => (true, false),
            Some(weather) => {
                let until = *weather.over.borrow();
                (until.is_some(), until.is_some_and(|until| Instant::now() >= until))
            }
        }
    }
}

type Seen = Arc<HashMap<OrderId, Glimpse>>;

struct Shared {
    deployed: Arc<Deployed>,
    journal: Mutex<Journal>,
    seen: watch::Receiver<Seen>,
    accepted: AtomicUsize,
    manner: Manner,
}

/// Places the plan's orders at their pace, and waits until all have ended and the queues are empty, or until it is given
/// up.
pub(crate) async fn drive(deployed: Arc<Deployed>, plan: Plan, manner: Manner) -> anyhow::Result<Journal> {
    for order in &plan.orders {
        deployed.api.token(&order.who).await?;
    }
    let total = plan.orders.len();
    let (tell, seen) = watch::channel(Seen::default());
    let journal = Mutex::new(Journal { orders: plan.orders.clone(), ..Journal::default() });
    let deployed_ = Arc::clone(&deployed);
    let shared = Arc::new(Shared { deployed: deployed_, journal, seen, accepted: AtomicUsize::new(0), manner });

    let placing = tokio::spawn(place_all(Arc::clone(&shared), plan.orders));
    let placing_stops = placing.abort_handle();
    let mut progress = Progress::start(total);
    let mut moved = (Instant::now(), String::new());
    let mut seen_at = Instant::now();
    let stuck = loop {
        let looked = Instant::now();
        let glimpses = match deployed.tables.glimpses().await {
            Err(_) if shared.manner.rough.is_some() && seen_at.elapsed() < UNSEEN => {
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
            glimpses => glimpses?,
        };
        seen_at = Instant::now();
        let (may_end, mut has_to) = shared.manner.may_end();
        progress.show(shared.accepted.load(Ordering::Relaxed), &glimpses);
        let settled = glimpses.values().all(Glimpse::is_settled);
        let mut state = format!("{:?}", fingerprint(&glimpses));
        tell.send_replace(Arc::new(glimpses));
        if settled && placing.is_finished() && may_end {
            let depths = deployed.queues.depths().await?;
            if depths.are_drained() {
                break Vec::new();
            }
            state.push_str(&depths.describe());
        }
        if moved.1 != state {
            moved = (Instant::now(), state);
        } else if moved.0.elapsed() > shared.manner.stuck_after {
            has_to = true;
        }
        if has_to {
            break what_is_stuck(&deployed, shared.seen.borrow().as_ref(), placing.is_finished()).await?;
        }
        tokio::time::sleep(LOOK_EVERY.max(looked.elapsed() * LOOK_SHARE)).await;
    };
    progress.finish();
    if stuck.is_empty() {
        placing.await??;
    } else {
        placing_stops.abort();
    }
    let mut journal = std::mem::take(&mut *shared.journal.lock().await);
    journal.stuck = stuck;
    journal.ended_ms = now_ms();
    journal.placed.sort_by_key(|placed| placed.at_ms);
    Ok(journal)
}

/// Changes when anything moves.
fn fingerprint(glimpses: &HashMap<OrderId, Glimpse>) -> (usize, u64) {
    (glimpses.len(), glimpses.values().map(|glimpse| glimpse.version).sum())
}

async fn what_is_stuck(
    deployed: &Deployed,
    glimpses: &HashMap<OrderId, Glimpse>,
    placed_all: bool,
) -> anyhow::Result<Vec<String>> {
    let mut stuck: Vec<String> = glimpses
        .iter()
        .filter(|(_, glimpse)| !glimpse.is_settled())
        .map(|(id, glimpse)| format!("order {id} is {} at version {}", glimpse.state, glimpse.version))
        .collect();
    stuck.sort();
    let depths: Depths = deployed.queues.depths().await?;
    stuck.push(depths.describe());
    if !placed_all {
        stuck.push("requests are still under way".to_owned());
    }
    Ok(stuck)
}

/// Starts every order at its time, and waits for all of their customers.
async fn place_all(shared: Arc<Shared>, orders: Vec<PlannedOrder>) -> anyhow::Result<()> {
    let started = tokio::time::Instant::now();
    let lanes = Arc::new(Semaphore::new(UNPACED));
    let mut customers = JoinSet::new();
    for (at, order) in orders.into_iter().enumerate() {
        let permit = match shared.manner.rate {
            Some(rate) => {
                #[allow(clippy::cast_precision_loss, reason = "orders are counted in thousands")]
                let due = Duration::from_secs_f64(at as f64 / rate.max(0.01));
                tokio::time::sleep_until(started + due).await;
                None
            }
            None => Some(Arc::clone(&lanes).acquire_owned().await?),
        };
        let shared = Arc::clone(&shared);
        customers.spawn(async move {
            let accepted = place(&shared, &order).await;
            drop(permit);
            if accepted {
                follow_up(&shared, &order).await;
            }
        });
    }
    shared.journal.lock().await.placing_s = started.elapsed().as_secs_f64();
    if let Some(weather) = &shared.manner.rough {
        weather.asked.send_replace(true);
    }
    while let Some(ended) = customers.join_next().await {
        ended?;
    }
    Ok(())
}

/// Places an order, again under the same key where it may not have been taken, as a good client does.
async fn place(shared: &Shared, order: &PlannedOrder) -> bool {
    for nth in 1..=shared.manner.tries {
        let (answer, took_ms) = place_once(shared, order, &order.body).await;
        if let Some(answer) = answer {
            if answer.is_success() {
                shared.accepted.fetch_add(1, Ordering::Relaxed);
                shared.journal.lock().await.accept_ms.push(took_ms);
                return true;
            }
            let again = match shared.manner.rough {
                Some(_) => is_to_repeat(&answer),
                None => matches!(answer.status, 429 | 502..=504),
            };
            if !again {
                trouble(shared, order, &format!("placing was answered {} {}", answer.status, answer.text)).await;
                return false;
            }
        }
        tokio::time::sleep((TRY_PAUSE * nth).min(LONGEST_TRY_PAUSE)).await;
    }
    trouble(shared, order, "was never taken").await;
    false
}

async fn place_once(shared: &Shared, order: &PlannedOrder, body: &serde_json::Value) -> (Option<Answer>, u64) {
    let at_ms = now_ms();
    let answer = match shared.deployed.api.place(&order.who, &order.key, body).await {
        Ok(answer) => Some(answer),
        Err(error) => {
            unanswered(shared, order, &format!("{error:#}")).await;
            None
        }
    };
    // A gateway that refused has not asked the API: nothing is known of the order.
    let told = answer.as_ref().filter(|answer| !is_gateways_refusal(answer));
    let placed = Placed::new(&order.who, &order.key, body, at_ms, told);
    shared.journal.lock().await.placed.push(placed);
    (answer, now_ms().saturating_sub(at_ms))
}

async fn trouble(shared: &Shared, order: &PlannedOrder, what: &str) {
    shared.journal.lock().await.troubles.push(format!("order {}: {what}", order.order_id));
}

/// Whether a good client asks again: it was told to come again, or not told.
fn is_to_repeat(answer: &Answer) -> bool {
    matches!(answer.status, 429 | 500..=599) || is_gateways_refusal(answer)
}

/// A 401 in the gateway's own shape: it could not get the issuer's keys, as one that has just started may not.
fn is_gateways_refusal(answer: &Answer) -> bool {
    answer.status == 401 && answer.code().is_empty()
}

/// A request that got no answer, or a 5xx.
async fn unanswered(shared: &Shared, order: &PlannedOrder, what: &str) {
    match shared.manner.rough {
        Some(_) => shared.journal.lock().await.unanswered += 1,
        None => trouble(shared, order, what).await,
    }
}

/// Asks until it is told, as a good client does: once in calm weather, where every request has to be answered.
async fn until_told<W: Future<Output = anyhow::Result<Answer>>>(
    shared: &Shared,
    order: &PlannedOrder,
    what: &str,
    ask: impl Fn() -> W,
) -> Option<Answer> {
    for nth in 1..=shared.manner.tries {
        let why = match ask().await {
            Ok(answer) if !is_to_repeat(&answer) => return Some(answer),
            Ok(answer) => format!("{what} was answered {} {}", answer.status, answer.text),
            Err(error) => format!("{what}: {error:#}"),
        };
        unanswered(shared, order, &why).await;
        shared.manner.rough.as_ref()?;
        tokio::time::sleep((TRY_PAUSE * nth).min(LONGEST_TRY_PAUSE)).await;
    }
    trouble(shared, order, &format!("{what} was never answered")).await;
    None
}

/// What the customer does with an accepted order.
async fn follow_up(shared: &Shared, order: &PlannedOrder) {
    let after = |ms: Option<u64>| async move {
        match ms {
            Some(ms) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                true
            }
            None => false,
        }
    };
    let cancel = async {
        if after(order.cancel_after_ms).await {
            cancel(shared, order).await;
        }
    };
    let repeat = async {
        if after(order.repeat_after_ms).await {
            place_once(shared, order, &order.body).await;
        }
    };
    let misuse = async {
        if after(order.misuse_after_ms).await {
            place_once(shared, order, &order.misuse()).await;
        }
    };
    tokio::join!(cancel, repeat, misuse, refund(shared, order));
}

async fn cancel(shared: &Shared, order: &PlannedOrder) {
    let ask = || shared.deployed.api.cancel(&order.who, order.order_id);
    match until_told(shared, order, "cancel", ask).await {
        Some(answer) if answer.is_success() => shared.journal.lock().await.cancels.0 += 1,
        Some(answer) if answer.status == 409 => shared.journal.lock().await.cancels.1 += 1,
        Some(answer) => trouble(shared, order, &format!("cancel was answered {}", answer.status)).await,
        None => {}
    }
}

/// Asks money back, one amount after the other, once the order has shipped. The last request is repeated with its key.
async fn refund(shared: &Shared, order: &PlannedOrder) {
    if order.refunds.is_empty() {
        return;
    }
    let mut seen = shared.seen.clone();
    let shipped = |orders: &Seen| {
        orders.get(&order.order_id).is_some_and(|glimpse| glimpse.state.is_terminal() || glimpse.parked)
    };
    let has_shipped = match seen.wait_for(shipped).await {
        Ok(orders) => orders.get(&order.order_id).is_some_and(|glimpse| glimpse.state == State::Shipped),
        Err(_) => false,
    };
    if !has_shipped {
        return;
    }
    let api: &Client = &shared.deployed.api;
    let again = order.refunds.last().map(|amount| (order.refunds.len() - 1, *amount));
    for (nth, amount_minor) in order.refunds.iter().copied().enumerate().chain(again) {
        let key = format!("{}-refund-{nth}", order.key);
        let ask = || api.refund(&order.who, order.order_id, &key, amount_minor);
        let status = match until_told(shared, order, "refund", ask).await {
            Some(answer) => {
                if !answer.is_success() {
                    trouble(shared, order, &format!("refund was answered {} {}", answer.status, answer.text)).await;
                }
                answer.status
            }
            None => 0,
        };
        let asked = RefundAsked { order_id: order.order_id, key, amount_minor, status };
        shared.journal.lock().await.refunds.push(asked);
    }
}
