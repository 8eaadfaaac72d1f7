//! After the handlers: who follows whom back, what a hook takes over, when the failed come back.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::stream;
use futures::{FutureExt, StreamExt};

use super::drive::{Fate, panic_text};
use super::owed::MOST_ENTRIES;
use super::record::Slot;
use super::{AfterPoison, Batch, Deferral, End, NEAR, Source, Worked, groups};
use crate::retry::{self, Received};
use crate::{Clock, Entry, Failure, Queue, Random, Verdict};

/// Calls of the queue, or of the hook, at a time.
const CALLS: usize = 10;
/// When a follower comes back whose head is settled, seconds.
const SOON_S: u32 = 1;

impl<P: Clock + Random + Queue> Batch<'_, P> {
    /// The records' ends as they are answered. What was not started is deferred; what was cut off may have had its effect;
    /// on FIFO, everything behind a failed record of its group has to come back too.
    pub(super) fn ends(&self, slots: &[Slot], ended: Vec<Fate>, fifo: bool) -> Vec<End> {
        let until_ms = self.ports.now_ms();
        let end_of = |(slot, fate): (&Slot, Fate)| {
            End::Ended(match fate {
                Fate::Ended(ended) => ended,
                Fate::Waiting => Err(Failure::defer(until_ms, "the invocation's time ran out")),
                Fate::Cut => Err(cut_off(slot.record.message_id.clone(), until_ms)),
            })
        };
        if !fifo {
            return slots.iter().zip(ended).map(end_of).collect();
        }
        let mut stopped: HashSet<Option<&str>> = HashSet::new();
        let mut ends = Vec::with_capacity(slots.len());
        for ((slot, group), fate) in slots.iter().zip(groups(slots)).zip(ended) {
            if stopped.contains(&group) {
                ends.push(End::Follower);
                continue;
            }
            let stops = match &fate {
                Fate::Ended(Ok(Verdict::DeadLettered)) => self.after_poison == AfterPoison::Stop,
                Fate::Ended(Ok(_)) => false,
                Fate::Ended(Err(_)) | Fate::Cut | Fate::Waiting => true,
            };
            if stops {
                stopped.insert(group);
            }
            ends.push(end_of((slot, fate)));
        }
        ends
    }

    /// Cuts off what would outlast the invocation: an answer that is late fails the whole batch.
    pub(super) async fn in_time(&self, end_ms: u64, what: &str, work: impl Future<Output = ()>) {
        let left_ms = end_ms.saturating_sub(self.ports.now_ms());
        if tokio::time::timeout(Duration::from_millis(left_ms), work).await.is_err() {
            tracing::warn!(what, "cut off for the answer's sake: what is not done stays failed");
        }
    }

    /// Offers the deferrals that are near the queue's last receive to the hook. On FIFO there are none: a head that somebody
    /// takes over is done later than the followers that come back.
    pub(super) async fn take_over(&self, slots: &[Slot], ends: &mut [End], fifo: bool) {
        let (Some(hook), Some(most), false) = (&self.on_deferral, self.max_receive_count, fifo) else { return };
        let near = |slot: &Slot| slot.record.context.receive_count.saturating_add(NEAR) >= most;
        let mut offers = Vec::new();
        for (place, (slot, end)) in slots.iter().zip(ends.iter()).enumerate() {
            match end {
                End::Ended(Err(failure)) if failure.is_deferral() && near(slot) => {
                    let (record, failure) = (slot.record.clone(), failure.clone());
                    offers.push(async move {
                        // The hook is called in here, so that a panic before its future is caught too.
                        let took = async { hook(record, failure).await };
                        (place, AssertUnwindSafe(took).catch_unwind().await)
                    });
                }
                End::Ended(_) | End::Follower => {}
            }
        }
        let mut offers = stream::iter(offers).buffer_unordered(CALLS);
        while let Some((place, outcome)) = offers.next().await {
            match (outcome, ends.get_mut(place)) {
                (Ok(Deferral::TakenOver), Some(end)) => *end = End::Ended(Ok(Verdict::TakenOver)),
                (Ok(_), _) => {}
                (Err(panic), _) => {
                    tracing::error!(
                        panic = panic_text(&*panic),
                        "the hook for deferrals panicked: the record goes back"
                    );
                }
            }
        }
    }

    /// Sets when the failed records come back. A change that fails is harmless: the queue's own timeout stands.
    pub(super) async fn delay(&self, slots: &[Slot], ends: &[End], source: &Source) {
        let now_ms = self.ports.now_ms();
        let budget = self.budget.as_deref();
        let mut group_wait: HashMap<Option<&str>, u32> = HashMap::new();
        let mut entries = Vec::new();
        for ((slot, end), group) in slots.iter().zip(ends).zip(groups(slots)) {
            let context = &slot.record.context;
            let visible_in_s = match end {
                End::Ended(Ok(_)) => continue,
                End::Ended(Err(failure)) => {
                    let age_ms = now_ms.saturating_sub(context.sent_ms);
                    let received = Received { count: context.receive_count, age_ms };
                    let seconds = retry::wait_s(failure, received, now_ms, budget, self.ports);
                    if source.fifo {
                        group_wait.insert(group, seconds);
                    }
                    seconds
                }
                End::Follower => group_wait.get(&group).copied().unwrap_or(SOON_S),
            };
            if let Some(receipt_handle) = slot.receipt_handle.clone() {
                entries.push(Entry { receipt_handle, visible_in_s });
            }
        }
        let arn = source.arn.as_str();
        let mut changes = Vec::with_capacity(entries.len().div_ceil(MOST_ENTRIES));
        for chunk in entries.chunks(MOST_ENTRIES) {
            changes.push(self.ports.change_visibility(arn, chunk));
        }
        let mut changes = stream::iter(changes).buffer_unordered(CALLS);
        while let Some(results) = changes.next().await {
            for why in results.into_iter().filter_map(Result::err) {
                tracing::warn!(why, "visibility not changed: the queue's timeout stands");
            }
        }
    }
}

impl<P: Clock + Random + Queue> Batch<'_, P> {
    /// Lets whoever wants to do something of his own after the batch do it: see [`Afterwards`](super::Afterwards).
    pub(super) async fn after(&self, slots: &[Slot], ends: &[End], source: &Source, started_ms: u64, end_ms: u64) {
        let Some(afterwards) = self.afterwards.as_ref().filter(|_| !slots.is_empty()) else { return };
        let waited_ms = |slot: &Slot| {
            let context = &slot.record.context;
            (context.receive_count <= 1).then(|| started_ms.saturating_sub(context.sent_ms))
        };
        let waited: Vec<u64> = slots.iter().filter_map(waited_ms).collect();
        let done = ends.iter().filter(|end| matches!(end, End::Ended(Ok(_)))).count();
        let worked = Worked {
            queue_arn: &source.arn,
            queue: source.name(),
            first_receives: count(waited.len()),
            waited_ms: waited.into_iter().fold(0, u64::saturating_add),
            done: count(done),
            deadline_ms: slots.first().map_or(end_ms, |slot| slot.record.context.deadline_ms),
        };
        // It is called in here, so that a panic before its future is caught too.
        let work = AssertUnwindSafe(async { afterwards.worked(worked).await }).catch_unwind();
        let work = async {
            if let Err(panic) = work.await {
                tracing::error!(panic = panic_text(&*panic), "what is done after a batch panicked: the answer stands");
            }
        };
        self.in_time(end_ms, "work of the process's own", work).await;
    }
}

fn count(of: usize) -> u64 {
    u64::try_from(of).unwrap_or(u64::MAX)
}

/// What a handler that was dropped is said to have met.
pub(super) const CUT_OFF: &str = "the invocation's time ran out while it was at work";

/// A handler that was dropped as the time was up: nobody knows how far it came. It may be tried at once, by who looks first.
pub(super) fn cut_off(key: String, until_ms: u64) -> Failure {
    Failure::Unknown { key, until_ms, why: CUT_OFF.to_owned() }
}
