//! A breaker of many processes: one row a dependency.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

// As in the local one: in this crate's own unit tests the lock is shuttle's, which works only inside `shuttle::check_*`.
#[cfg(test)]
use shuttle::sync::{Mutex, MutexGuard};
#[cfg(not(test))]
use std::sync::{Mutex, MutexGuard};

use tokio::time::timeout;

use super::events::{Cause, Event, Observer, Observers};
use super::limits::{InvalidSettings, Thresholds, Wait};
use super::row::Row;
use super::rules::{Cancelled, Judge};
use super::slots::Probes;
use super::tally::Tally;
use super::writes::Pen;
use super::{CallError, MOST_PROBES, Pass, Rejected, State};
use crate::ports::store::{StoreError, Write, Written};
use crate::ports::{Store, Tries};
use crate::{Clock, Failure, Ids, Random};

/// How often a write is made whose answer gets lost: each one knows itself again.
const WRITE_TRIES: u32 = 2;
/// How long a row that is not closed is believed at most, milliseconds: whoever is kept away wants to know soon that he is
/// not any more.
const NOT_CLOSED_MS: u64 = 1_000;
/// Processes of one lane overwrite each other's token: see [`Row`].
const LANES: u64 = 8;

/// Settings of a [`DistributedBreaker`]. All that share a row should have the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DistributedSettings {
    /// The table, its key `dependency` (S).
    pub table: String,
    /// When the newest buckets are too bad: the last 5 s, or 10 s, and so on to 30 s, whichever hold enough calls.
    pub thresholds: Thresholds,
    /// How long it stays open. Its jitter is not used.
    pub wait: Wait,
    /// How it finds out that the dependency is back.
    pub probes: Probes,
    /// A row that was read this recently is not read again, milliseconds. One that is not closed is looked at again after a
    /// second, if this is longer.
    pub cache_ms: u64,
    /// Longest wait for the table, milliseconds, at least 1.
    pub store_timeout_ms: u64,
    /// What a dropped call counts as.
    pub cancelled: Cancelled,
}

impl DistributedSettings {
    /// The usual ones: the defaults of the parts, three probes with calls of at most 60 s, a read a second.
    pub fn new(table: impl Into<String>) -> Self {
        Self {
            table: table.into(),
            thresholds: Thresholds::default(),
            wait: Wait::default(),
            probes: Probes::WithCalls { per_round: 3, lease_ms: 60_000 },
            cache_ms: 1_000,
            store_timeout_ms: 1_000,
            cancelled: Cancelled::default(),
        }
    }

    fn check(&self) -> Result<(), InvalidSettings> {
        self.thresholds.check()?;
        self.wait.check()?;
        let probes = match self.probes {
            Probes::WithCalls { per_round, lease_ms } => (1..=MOST_PROBES).contains(&per_round) && lease_ms > 0,
            Probes::Apart { successes } => successes > 0,
        };
        if !probes {
            return Err(InvalidSettings("a round has 1 to 20 probes, each of at least 1 ms"));
        }
        if self.store_timeout_ms == 0 {
            return Err(InvalidSettings("the table is given at least 1 ms"));
        }
        Ok(())
    }

    pub(super) fn needed(&self) -> u32 {
        match self.probes {
            Probes::WithCalls { per_round: needed, .. } | Probes::Apart { successes: needed } => needed,
        }
    }
}

/// A circuit breaker that every process which calls a dependency shares, over one row of a table ([`Row`]).
///
/// - A process that meets no trouble writes nothing, and reads the row at most once in `cache_ms`, while it makes calls.
/// - A process that meets failures or slow calls adds its counts of the last 30 s to the row's buckets, at most once a
///   second, and opens the breaker if the buckets then meet a threshold. So the rate is that of the processes that see
///   trouble.
/// - Every write is conditional on the epoch that its writer read: what belongs to an earlier epoch or an earlier round
///   of probes changes nothing. A write whose answer was lost knows itself again when it is repeated.
/// - If the row cannot be read, calls go through ([`Event::FailedOpen`]), unless what was read before says that the
///   breaker is forced open, or open and still waiting.
///
/// Writes wait for the table, at most `store_timeout_ms` a try, inside [`Pass::finish`] of a call that was trouble and
/// inside [`DistributedBreaker::permit`] of a probe.
pub struct DistributedBreaker<S, P> {
    pub(super) name: String,
    pub(super) settings: DistributedSettings,
    pub(super) store: Arc<S>,
    pub(super) ports: Arc<P>,
    pub(super) lane: String,
    pub(super) observers: Observers,
    /// One reader at a time: the others want what it reads.
    reading: tokio::sync::Mutex<()>,
    shared: Mutex<Shared>,
}

/// What the calls of one process know together.
#[derive(Default, Debug)]
pub(super) struct Shared {
    pub row: Option<Arc<Row>>,
    read_at_ms: Option<u64>,
    /// The last read failed.
    unreadable: bool,
    /// Rows taken over so far: tells whether one came while another was being read.
    adopted: u64,
    pub tally: Tally,
    /// Slots of cancelled probes that are still ours.
    pub held: Vec<Probe>,
    /// A cancelled probe that counts as failed: dropping it could not wait for the table.
    pub failed: Option<Probe>,
}

/// A slot of a round.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Probe {
    pub epoch: u64,
    pub token: String,
    pub until_ms: u64,
}

impl Shared {
    pub fn epoch(&self) -> u64 {
        self.row.as_ref().map_or(0, |row| row.epoch)
    }
}

impl<S, P> fmt::Debug for DistributedBreaker<S, P> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("DistributedBreaker").field("name", &self.name).finish_non_exhaustive()
    }
}

/// How a write went; the row as it is now.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Done(Arc<Row>),
    Refused(Arc<Row>),
}

impl<S: Store, P: Clock + Random + Ids> DistributedBreaker<S, P> {
    /// The breaker of this dependency: the key of its row.
    ///
    /// # Errors
    /// Settings outside their ranges.
    pub fn new(
        dependency: impl Into<String>,
        settings: DistributedSettings,
        store: Arc<S>,
        ports: Arc<P>,
    ) -> Result<Self, InvalidSettings> {
        settings.check()?;
        let lane = format!("flush_{}", ports.below(LANES));
        let (name, shared) = (dependency.into(), Mutex::new(Shared::default()));
        let reading = tokio::sync::Mutex::default();
        Ok(Self { name, settings, store, ports, lane, observers: Observers::default(), reading, shared })
    }

    /// Tells this observer too.
    #[must_use]
    pub fn observed(mut self, observer: impl Observer + 'static) -> Self {
        self.observers.push(Arc::new(observer));
        self
    }

    /// The dependency.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The row as this process last knew it; `None` before its first call. No read.
    pub fn known(&self) -> Option<Arc<Row>> {
        self.lock().row.clone()
    }

    /// Makes a call, if it may be made. Dropping the future cancels it.
    ///
    /// # Errors
    /// [`CallError::Rejected`] without having polled `work`; [`CallError::Failed`] with its error.
    pub async fn call<T, E>(
        &self,
        judge: &impl Judge<T, E>,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, CallError<E>> {
        let pass = self.permit().await.map_err(CallError::Rejected)?;
        let result = work.await;
        pass.finish(judge.outcome(&result)).await;
        result.map_err(CallError::Failed)
    }

    /// The same for a handler's work: a rejection is a [`Failure::Defer`], so the batch loop brings the record back when
    /// the breaker may let it through.
    ///
    /// # Errors
    /// The work's, or the deferral.
    pub async fn guard<T>(
        &self,
        judge: &impl Judge<T, Failure>,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        self.call(judge, work).await.map_err(|error| match error {
            CallError::Rejected(rejected) => rejected.into(),
            CallError::Failed(failure) => failure,
        })
    }

    /// Asks for a call.
    ///
    /// # Errors
    /// [`Rejected`] while it is open, or half-open with all its probes under way.
    pub async fn permit(&self) -> Result<Pass<'_, S, P>, Rejected> {
        let now_ms = self.ports.now_ms();
        if let Some(epoch) = self.closed_and_fresh(now_ms) {
            return Ok(Pass::through(self, epoch, now_ms));
        }
        self.refresh(now_ms).await;
        self.settle_failed_probe().await;
        self.admit().await.inspect_err(|rejected| {
            self.observers.tell(&self.name, || Event::Rejected(rejected.clone()));
        })
    }

    /// The healthy path: nothing to ask, nothing to read.
    pub(super) fn closed_and_fresh(&self, now_ms: u64) -> Option<u64> {
        let shared = self.lock();
        let row = shared.row.as_ref()?;
        let through = row.state == State::Closed && !shared.unreadable && self.is_fresh(&shared, now_ms);
        through.then_some(row.epoch)
    }

    fn is_fresh(&self, shared: &Shared, now_ms: u64) -> bool {
        let closed = shared.row.as_ref().is_none_or(|row| row.state == State::Closed);
        let cache_ms = if closed { self.settings.cache_ms } else { self.settings.cache_ms.min(NOT_CLOSED_MS) };
        shared.read_at_ms.is_some_and(|read_at_ms| now_ms.abs_diff(read_at_ms) < cache_ms)
    }

    /// The row to go by: `None` lets calls through, since nothing known speaks against it.
    pub(super) fn believed(&self, now_ms: u64) -> Option<Arc<Row>> {
        let shared = self.lock();
        let row = shared.row.clone()?;
        let waiting = row.state == State::Open && now_ms < row.probes_from_ms();
        let stands = row.state != State::Closed && (row.forced || waiting);
        (!shared.unreadable || stands).then_some(row)
    }

    /// Reads the row, unless it was read just now.
    pub(super) async fn refresh(&self, now_ms: u64) {
        let _turn = self.reading.lock().await;
        let adopted = {
            let shared = self.lock();
            if self.is_fresh(&shared, now_ms) {
                return;
            }
            shared.adopted
        };
        if let Err(why) = self.read(now_ms, adopted).await {
            {
                let mut shared = self.lock();
                shared.unreadable = true;
                shared.read_at_ms = Some(now_ms);
            }
            self.observers.tell(&self.name, || Event::FailedOpen { why: why.to_string() });
        }
    }

    async fn read(&self, now_ms: u64, adopted: u64) -> Result<Arc<Row>, StoreError> {
        let read = self.store.get(&self.settings.table, Row::key(&self.name), true);
        let item = timeout(Duration::from_millis(self.settings.store_timeout_ms), read).await;
        let item = item.unwrap_or_else(|_| Err(StoreError::Unknown("no answer in time".to_owned())))?;
        let row = item.map_or_else(|| Ok(Row::absent(&self.name)), |item| Row::from_item(&self.name, &item))?;
        Ok(self.adopt(row, now_ms, None, Some(adopted)))
    }

    /// The row as it is now, read consistently.
    ///
    /// # Errors
    /// The table's, or an unreadable row.
    pub async fn row(&self) -> Result<Arc<Row>, StoreError> {
        let adopted = self.lock().adopted;
        self.read(self.ports.now_ms(), adopted).await
    }

    /// Takes a row over, unless a later one is known; answers the later one. `ours` is the cause, where this process made
    /// the change. A read that overlapped with nothing (`since`) is believed also where the epoch is lower: somebody
    /// deleted the row.
    fn adopt(&self, row: Row, now_ms: u64, ours: Option<Cause>, since: Option<u64>) -> Arc<Row> {
        let (row, change) = {
            let mut shared = self.lock();
            let (known, from) = (shared.epoch(), shared.row.as_ref().map_or(State::Closed, |row| row.state));
            if row.epoch < known && since.is_none_or(|since| since != shared.adopted) {
                return shared.row.clone().unwrap_or_else(|| Arc::new(row));
            }
            let first = shared.row.is_none();
            let row = Arc::new(row);
            shared.row = Some(row.clone());
            shared.read_at_ms = Some(now_ms);
            shared.unreadable = false;
            shared.adopted += 1;
            if row.epoch != known {
                shared.tally.clear();
                shared.held.clear();
            }
            let told = if first { row.state != State::Closed } else { row.epoch != known };
            (row, told.then_some(from))
        };
        if let Some(from) = change {
            self.observers.tell(&self.name, || Event::Changed {
                from,
                to: row.state,
                epoch: row.epoch,
                forced: row.forced,
                here: ours.is_some(),
                cause: ours.unwrap_or_else(|| Cause::Elsewhere(row.cause.clone().unwrap_or_default())),
            });
        }
        row
    }

    /// Writes, once more where the answer is lost, and takes over the row that it finds. `by` is the write's token and its
    /// cause, where it changes the state.
    pub(super) async fn write(
        &self,
        what: &'static str,
        write: Write,
        by: Option<(&str, &Cause)>,
    ) -> Result<Answer, StoreError> {
        let patience = Duration::from_millis(self.settings.store_timeout_ms);
        let mut last = StoreError::NotDone("not tried".to_owned());
        let mut tries = Tries::default();
        for _ in 0..WRITE_TRIES {
            let written = timeout(patience, self.store.write(write.clone())).await;
            let written = written.unwrap_or_else(|_| Err(StoreError::Unknown("no answer in time".to_owned())));
            last = match tries.judge(written) {
                Ok(written) => return self.answer(written, by).inspect_err(|error| self.failed(what, error)),
                Err(lost @ StoreError::Unknown(_)) => lost,
                Err(error @ (StoreError::NotDone(_) | StoreError::Unreadable(_))) => {
                    self.failed(what, &error);
                    return Err(error);
                }
            };
        }
        self.failed(what, &last);
        Err(last)
    }

    fn answer(&self, written: Written, by: Option<(&str, &Cause)>) -> Result<Answer, StoreError> {
        let (item, done) = match written {
            Written::Done(item) => (item, true),
            Written::Refused(item) => (item.unwrap_or_default(), false),
        };
        let row = Row::from_item(&self.name, &item)?;
        // Refused by our own write, whose answer was lost on its way.
        let ours = by.filter(|(token, _)| row.by.as_deref() == Some(*token));
        let done = done || ours.is_some();
        let row = self.adopt(row, self.ports.now_ms(), ours.map(|(_, cause)| cause.clone()), None);
        Ok(if done { Answer::Done(row) } else { Answer::Refused(row) })
    }

    fn failed(&self, what: &'static str, why: &StoreError) {
        self.observers.tell(&self.name, || Event::StoreFailed { what, why: why.to_string() });
    }

    pub(super) fn pen<'a>(&'a self, token: &'a str) -> Pen<'a> {
        Pen { table: &self.settings.table, token, now_ms: self.ports.now_ms() }
    }

    pub(super) fn token(&self) -> String {
        self.ports.fresh().simple().to_string()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, feature = "memory"))]
#[path = "distributed_shuttle.rs"]
mod under_shuttle;
