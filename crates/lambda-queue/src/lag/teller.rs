//! Who tells how late a process's queues are.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::{Instant, timeout_at};

use super::row::{self, LATE_MS, Row, SLOT_MS, SLOTS};
use crate::batch::{Afterwards, Worked};
use crate::breaker::Draft;
use crate::meter;
use crate::metrics::Document;
use crate::ports::store::{Item, Store, StoreError, Write, Written, number};
use crate::ports::{Clock, QueueDepth};

/// A process tells of a queue at most so often, milliseconds.
pub const TELL_EVERY_MS: u64 = 5_000;
/// Longest that telling may hold an answer up, milliseconds.
const PATIENCE_MS: u64 = 500;
/// Dead slots that may lie until the next word; more are removed at once, as a process of one word has no next.
const MANY_DEAD: usize = 12;
/// Of the invocation's time, kept for the answer, milliseconds.
const KEPT_MS: u64 = 500;

/// Where a queue's word belongs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The lane.
    pub lane: String,
    /// The step on its way, letters and digits: attributes are named after it.
    pub step: String,
}

type PlaceOf = dyn Fn(&str) -> Option<Place> + Send + Sync;

/// Tells, after a batch, how late its queue is: to the lane's [`Row`], and as metric `lane_lag_ms` by lane and step.
///
/// - At most every [`TELL_EVERY_MS`] a queue, and never of one that brought nothing.
/// - The lag is the mean time from a record's sending to the batch it was first received in. A record that comes again says
///   nothing of it: its age is its own.
/// - How many wait is asked of the queue only where the lag makes it late ([`LATE_MS`]).
/// - It takes at most half a second, and nothing where less than a second of the invocation is left. What fails is logged and
///   told with the next word; the batch's answer stands. A write whose answer was lost is not repeated here; where the SDK
///   does so, its records are counted twice.
/// - Counts that are over go with the next word, or at once where there are more than a dozen.
///
/// Its calls are counted under `lanes` ([`meter::apart`]).
pub struct Teller<S> {
    world: Arc<S>,
    table: String,
    place: Box<PlaceOf>,
    tallies: Mutex<BTreeMap<String, Tally>>,
}

impl<S> fmt::Debug for Teller<S> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Teller").field("table", &self.table).finish_non_exhaustive()
    }
}

/// What was not told yet of one queue.
#[derive(Default)]
struct Tally {
    told_at_ms: Option<u64>,
    /// First receives, and how long they had waited together, milliseconds.
    received: u64,
    waited_ms: u64,
    /// The last lag: of a batch that brought only records that came again, it is the one before.
    lag_ms: u64,
    slots: BTreeMap<u64, Done>,
    /// Attributes of the row that are to go.
    swept: Vec<String>,
}

#[derive(Clone, Copy, Default)]
struct Done {
    all: u64,
    /// Of these, those of late batches; `None`: no batch came late.
    late: Option<u64>,
}

async fn in_time<T>(until: Instant, what: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout_at(until, what).await.unwrap_or_else(|_| Err(StoreError::Unknown("no answer in time".to_owned())))
}

/// What is told.
struct Told {
    place: Place,
    lag_ms: u64,
    slots: BTreeMap<u64, Done>,
    swept: Vec<String>,
}

impl<S: Store + QueueDepth + Clock + Send + Sync> Teller<S> {
    /// To this table, whose key is `dependency` (S). `place` says where the queue of a name belongs; of one that belongs
    /// nowhere nothing is told.
    pub fn new(
        world: Arc<S>,
        table: impl Into<String>,
        place: impl Fn(&str) -> Option<Place> + Send + Sync + 'static,
    ) -> Self {
        Self { world, table: table.into(), place: Box::new(place), tallies: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Tally>> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the batch, and takes what is to be told, if it is time.
    fn take(&self, of: &Worked<'_>, place: Place, now_ms: u64) -> Option<Told> {
        let mut tallies = self.lock();
        let tally = tallies.entry(of.queue.to_owned()).or_default();
        tally.lag_ms = of.waited_ms.checked_div(of.first_receives).unwrap_or(tally.lag_ms);
        tally.received += of.first_receives;
        tally.waited_ms = tally.waited_ms.saturating_add(of.waited_ms);
        let done = tally.slots.entry(now_ms / SLOT_MS).or_default();
        done.all += of.done;
        // A late batch counts also where nothing of it was done; but of records that come again alone nobody knows how late.
        if tally.lag_ms >= LATE_MS && of.done + of.first_receives > 0 {
            done.late = Some(done.late.unwrap_or(0) + of.done);
        }
        let due = tally.told_at_ms.is_none_or(|told_at_ms| now_ms.abs_diff(told_at_ms) >= TELL_EVERY_MS);
        if !due || now_ms.saturating_add(PATIENCE_MS + KEPT_MS) > of.deadline_ms {
            return None;
        }
        tally.told_at_ms = Some(now_ms);
        let lag_ms = tally.waited_ms.checked_div(tally.received).unwrap_or(tally.lag_ms);
        (tally.received, tally.waited_ms) = (0, 0);
        let oldest = (now_ms / SLOT_MS).saturating_sub(SLOTS + 1);
        let slots = std::mem::take(&mut tally.slots).into_iter().filter(|(slot, _)| *slot >= oldest).collect();
        Some(Told { place, lag_ms, slots, swept: std::mem::take(&mut tally.swept) })
    }

    /// Tells it; answers the row since.
    async fn tell(&self, queue_arn: &str, told: &Told, now_ms: u64) -> Result<Item, StoreError> {
        let depth = if told.lag_ms >= LATE_MS { Some(self.world.queue_depth(queue_arn).await?) } else { None };
        match self.world.write(told.write(&self.table, depth, now_ms)).await? {
            Written::Done(item) => Ok(item),
            Written::Refused(_) => Err(StoreError::NotDone("refused, though there is no condition".to_owned())),
        }
    }

    async fn after(&self, of: Worked<'_>) {
        let now_ms = self.world.now_ms();
        let Some(place) = (self.place)(of.queue) else { return };
        let Some(told) = self.take(&of, place, now_ms) else { return };
        told.emit(now_ms);
        let until = Instant::now() + Duration::from_millis(PATIENCE_MS);
        let tell = in_time(until, self.tell(of.queue_arn, &told, now_ms));
        match meter::apart("lanes", tell).await {
            Ok(item) => {
                let sweep = in_time(until, self.sweep(of.queue, &told.place, &item, now_ms));
                if let Err(error) = meter::apart("lanes", sweep).await {
                    tracing::warn!(queue = of.queue, %error, "old counts of the lane stay: the next word removes them");
                }
            }
            Err(error) => {
                tracing::warn!(queue = of.queue, %error, "how late it is could not be told: the next word will");
                self.keep(of.queue, told, &error);
            }
        }
    }

    /// Remembers which slots are to go with the next word, or removes them where they are many.
    async fn sweep(&self, queue: &str, place: &Place, item: &Item, now_ms: u64) -> Result<(), StoreError> {
        let Some(word) = Row::from_item(item)?.steps.remove(&place.step) else { return Ok(()) };
        let dead = row::swept(&word, &place.step, now_ms);
        if dead.len() > MANY_DEAD {
            let draft = Draft::of(&self.table, Row::key(&place.lane));
            self.world.write(dead.iter().fold(draft, |draft, name| draft.remove(name)).done()).await?;
        } else if let Some(tally) = self.lock().get_mut(queue) {
            tally.swept = dead;
        }
        Ok(())
    }

    /// Counts that were surely not written are told with the next word; others may have been.
    fn keep(&self, queue: &str, told: Told, error: &StoreError) {
        if let (StoreError::NotDone(_), Some(tally)) = (error, self.lock().get_mut(queue)) {
            for (slot, done) in told.slots {
                let kept = tally.slots.entry(slot).or_default();
                kept.all += done.all;
                kept.late = kept.late.into_iter().chain(done.late).reduce(|kept, late| kept + late);
            }
        }
    }
}

impl<S: Store + QueueDepth + Clock + Send + Sync> Afterwards for Teller<S> {
    fn worked<'a>(&'a self, of: Worked<'a>) -> BoxFuture<'a, ()> {
        Box::pin(self.after(of))
    }
}

impl Told {
    fn emit(&self, now_ms: u64) {
        Document::new("lane told")
            .dimension("lane", &self.place.lane)
            .dimension("step", &self.place.step)
            .metric("lane_lag_ms", "Milliseconds", self.lag_ms)
            .emit(now_ms);
    }

    fn write(&self, table: &str, depth: Option<u64>, now_ms: u64) -> Write {
        let Place { lane, step } = &self.place;
        let draft = Draft::of(table, Row::key(lane))
            .set(&format!("lag_{step}"), number(self.lag_ms))
            .set(&format!("at_{step}"), number(now_ms));
        // One that is on time leaves what a late one said: it counts until its time is over.
        let mut draft = match depth {
            Some(depth) => {
                draft.set(&format!("lateat_{step}"), number(now_ms)).set(&format!("depth_{step}"), number(depth))
            }
            None => draft,
        };
        for (slot, done) in &self.slots {
            let all = (done.all > 0).then_some(done.all);
            for (what, count) in [("done", all), ("late", done.late)] {
                if let Some(count) = count {
                    let name = row::slot_name(what, step, *slot);
                    draft = draft.add(&name, i64::try_from(count).unwrap_or(i64::MAX));
                }
            }
        }
        self.swept.iter().fold(draft, |draft, name| draft.remove(name)).done()
    }
}
