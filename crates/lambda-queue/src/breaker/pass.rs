//! Calls through a distributed breaker: how they get in, and what their results do.

use std::fmt;
use std::sync::Arc;

use super::distributed::{Answer, DistributedBreaker, Probe};
use super::events::{Cause, Event};
use super::limits::{Counts, Mark};
use super::local::mark;
use super::row::Row;
use super::rules::Outcome;
use super::slots::{Probes, Step, step};
use super::{PROBED_MS, Rejected, State};
use crate::ports::Store;
use crate::{Clock, Ids, Random};

/// A stretch of fewer buckets than this is short: the present one, a fast clock's, and those of 10 s before.
const SHORT_BUCKETS: usize = 4;
/// Of the calls of a short stretch, how many have to fail, percent.
const SHORT_PERCENT: u64 = 80;

/// Steps of one call before it gives up: each one lost to another process.
const STEPS: u32 = 6;

/// The right to make one call. Tell it how the call ended; dropping it says that the call was cancelled.
#[must_use = "dropped at once, the call counts as cancelled"]
pub struct Pass<'a, S: Store, P: Clock + Random + Ids> {
    breaker: &'a DistributedBreaker<S, P>,
    epoch: u64,
    probe: Option<Probe>,
    started_ms: u64,
    ended: bool,
}

impl<S: Store, P: Clock + Random + Ids> DistributedBreaker<S, P> {
    /// Lets a call through by the row, as a probe if need be, or rejects it.
    pub(super) async fn admit(&self) -> Result<Pass<'_, S, P>, Rejected> {
        let Some(mut row) = self.believed(self.ports.now_ms()) else {
            return Ok(Pass::through(self, self.lock().epoch(), self.ports.now_ms()));
        };
        for _ in 0..STEPS {
            let now_ms = self.ports.now_ms();
            if let Some(probe) = self.held(&row, now_ms) {
                return Ok(Pass::probe(self, probe, now_ms));
            }
            let next = step(&row, &self.settings.probes, &self.settings.wait, now_ms);
            let answer = match &next {
                Step::Through => return Ok(Pass::through(self, row.epoch, now_ms)),
                Step::Reject { until_ms } => return Err(self.rejected(&row, *until_ms)),
                Step::Close => self.change("close", Cause::ProbesSucceeded, |pen, cause| pen.close(&row, cause)).await,
                Step::Begin(_) | Step::Take | Step::TakeOver { .. } => match self.take(&row, &next).await {
                    // The call begins now: what the table took is not its time.
                    Ok(Ok(probe)) => return Ok(Pass::probe(self, probe, self.ports.now_ms())),
                    Ok(Err(row)) => Ok(Answer::Refused(row)),
                    Err(error) => Err(error),
                },
            };
            row = match answer {
                Ok(Answer::Done(row) | Answer::Refused(row)) => row,
                // Readable, but not writable: who cannot take a slot does not probe.
                Err(_) => break,
            };
        }
        Err(self.rejected(&row, self.ports.now_ms().saturating_add(PROBED_MS)))
    }

    fn rejected(&self, row: &Row, until_ms: u64) -> Rejected {
        Rejected { breaker: self.name.clone(), state: row.state, forced: row.forced, until_ms }
    }

    /// Whether calls are let through, without asking for one: for work of several calls, which is not to stop half-way. Ask
    /// before it begins, and count each of its calls with [`Self::begin`]. Reads as [`Self::permit`] does, writes nothing. A
    /// breaker whose probes are calls lets those through that could be one.
    ///
    /// # Errors
    /// [`Rejected`], as from [`Self::permit`].
    pub async fn check(&self) -> Result<(), Rejected> {
        let now_ms = self.ports.now_ms();
        if self.closed_and_fresh(now_ms).is_some() {
            return Ok(());
        }
        self.refresh(now_ms).await;
        let Some(row) = self.believed(self.ports.now_ms()) else { return Ok(()) };
        match step(&row, &self.settings.probes, &self.settings.wait, now_ms) {
            Step::Through | Step::Begin(_) | Step::Take | Step::TakeOver { .. } | Step::Close => Ok(()),
            Step::Reject { until_ms } => {
                let rejected = self.rejected(&row, until_ms);
                self.observers.tell(&self.name, || Event::Rejected(rejected.clone()));
                Err(rejected)
            }
        }
    }

    /// A call of work that [`Self::check`] let through: it is made whatever the breaker says by now. Its result counts if the
    /// epoch is still the same. Reads nothing.
    pub fn begin(&self) -> Pass<'_, S, P> {
        Pass::through(self, self.lock().epoch(), self.ports.now_ms())
    }

    /// A slot of this round that a cancelled call of this process has left.
    fn held(&self, row: &Row, now_ms: u64) -> Option<Probe> {
        if row.state != State::HalfOpen || row.forced {
            return None;
        }
        let mut shared = self.lock();
        shared.held.retain(|probe| probe.epoch == row.epoch && probe.until_ms > now_ms);
        shared.held.pop()
    }

    /// Takes a slot; `Err` of the inner result is the row that another process made meanwhile.
    async fn take(
        &self,
        row: &Arc<Row>,
        step: &Step,
    ) -> Result<Result<Probe, Arc<Row>>, crate::ports::store::StoreError> {
        let Probes::WithCalls { per_round, lease_ms } = self.settings.probes else { return Ok(Err(row.clone())) };
        let token = self.token();
        let pen = self.pen(&token);
        let until_ms = pen.now_ms.saturating_add(lease_ms);
        let answer = match step {
            Step::Begin(cause) => {
                let write = pen.begin_round(row, per_round, until_ms, cause);
                self.write("begin probes", write, Some((&token, cause))).await?
            }
            Step::TakeOver { token: dead, until_ms: dead_until_ms } => {
                let write = pen.take_over(row, dead, *dead_until_ms, until_ms);
                self.write("take a dead probe over", write, None).await?
            }
            Step::Take | Step::Through | Step::Reject { .. } | Step::Close => {
                self.write("take a probe", pen.take_slot(row, until_ms), None).await?
            }
        };
        let (Answer::Done(row) | Answer::Refused(row)) = answer;
        // Also where the write was refused: a lease of our token is our own write, whose answer was lost.
        let ours = row.probes_taken().any(|(taken, until)| taken == token && until == until_ms);
        let epoch = row.epoch;
        Ok(if ours { Ok(Probe { epoch, token, until_ms }) } else { Err(row) })
    }

    /// One change of the state. A failed write has been told to the observers.
    pub(super) async fn change(
        &self,
        what: &'static str,
        cause: Cause,
        write: impl FnOnce(&super::writes::Pen<'_>, &Cause) -> crate::ports::store::Write,
    ) -> Result<Answer, crate::ports::store::StoreError> {
        let token = self.token();
        let write = write(&self.pen(&token), &cause);
        self.write(what, write, Some((&token, &cause))).await
    }

    /// A cancelled probe that counts as failed, told at the next chance.
    pub(super) async fn settle_failed_probe(&self) {
        let failed = self.lock().failed.take();
        if let Some(probe) = failed {
            self.probe_ended(&probe, Some(Mark::Failed)).await;
        }
    }

    /// What a probe's result does. The row that is known may be newer than the probe's round: then nothing.
    async fn probe_ended(&self, probe: &Probe, mark: Option<Mark>) {
        let Some(row) = self.known().filter(|row| row.epoch == probe.epoch) else {
            self.late(probe.epoch);
            return;
        };
        let failed = match mark {
            Some(Mark::Failed) => true,
            Some(Mark::Slow) => self.settings.thresholds.slow_counts_as_failure,
            Some(Mark::Good) | None => false,
        };
        let answer = if failed {
            let wait = &self.settings.wait;
            let write = |pen: &super::writes::Pen<'_>, _: &Cause| pen.probe_failed(&row, &probe.token, wait);
            self.change("open after a probe", Cause::ProbeFailed, write).await
        } else if mark.is_none() {
            self.write("give a probe back", self.pen(&probe.token).give_back(&row), None).await
        } else {
            self.write("count a probe", self.pen(&probe.token).probe_ok(&row), None).await
        };
        // A failed write was told. The lease brings the slot back.
        let Ok(answer) = answer else { return };
        if let Answer::Refused(now) = &answer
            && now.epoch != probe.epoch
        {
            self.late(probe.epoch);
        }
        // Refused in the same round: our own write, whose answer was lost, or another took our slot over.
        let (Answer::Done(row) | Answer::Refused(row)) = answer;
        if row.epoch == probe.epoch && row.round_is_complete() {
            let closed = self.change("close", Cause::ProbesSucceeded, |pen, cause| pen.close(&row, cause)).await;
            // A failed write was told; whoever reads the row next closes it.
            closed.ok();
        }
    }

    fn late(&self, epoch: u64) {
        self.observers.tell(&self.name, || Event::Late { epoch, now: self.lock().epoch() });
    }

    /// Counts a call of a closed breaker.
    fn count(&self, epoch: u64, mark: Option<Mark>, now_ms: u64) {
        let late = {
            let mut shared = self.lock();
            let late = shared.epoch() != epoch;
            if let (Some(mark), false) = (mark, late) {
                shared.tally.count(mark, now_ms);
            }
            late
        };
        if late {
            self.late(epoch);
        }
    }

    /// Adds what was counted to the row, if there is trouble to tell of and a second has passed, and judges what it
    /// finds there.
    async fn flush(&self) {
        let now_ms = self.ports.now_ms();
        let (flush, row) = {
            let mut shared = self.lock();
            let row = shared.row.clone().unwrap_or_else(|| Arc::new(Row::absent(&self.name)));
            if row.forced || row.state != State::Closed {
                return;
            }
            match shared.tally.begin(now_ms, || self.token()) {
                Some(flush) => (flush, row),
                None => return,
            }
        };
        let mut under_way = UnderWay { breaker: self, token: &flush.token, written: false };
        let write = self.pen(&flush.token).flush(&row, &self.lane, &flush.counts);
        let answer = self.write("add counts", write, None).await;
        // Refused in the same epoch, it is our own write, whose answer was lost; in another one the counts are void.
        let Ok(Answer::Done(now) | Answer::Refused(now)) = answer else { return };
        under_way.written = true;
        drop(under_way);
        if now.epoch != row.epoch || now.state != State::Closed || now.forced {
            return;
        }
        // The shortest stretch up to now that holds enough calls: what went well before would hide an outage for as long again.
        // Only who sees failures tells its counts, so a short stretch shows more of them than there are: there an outage is
        // most calls, not half of them.
        let judged = |(buckets, counts): (usize, Counts)| {
            let most_fail =
                (counts.failures + counts.slow).saturating_mul(100) >= counts.calls.saturating_mul(SHORT_PERCENT);
            self.settings.thresholds.met(counts).filter(|_| buckets >= SHORT_BUCKETS || most_fail)
        };
        if let Some(met) = now.newest(now_ms).enumerate().find_map(judged) {
            let opened = self.change("open", met.into(), |pen, cause| pen.open(&now, &self.settings.wait, cause)).await;
            // A failed write was told; the next failure judges again.
            opened.ok();
        }
    }
}

/// Ends a write of counts also where its call is dropped meanwhile: then it is repeated.
struct UnderWay<'a, S: Store, P: Clock + Random + Ids> {
    breaker: &'a DistributedBreaker<S, P>,
    token: &'a str,
    written: bool,
}

impl<S: Store, P: Clock + Random + Ids> Drop for UnderWay<'_, S, P> {
    fn drop(&mut self) {
        self.breaker.lock().tally.end(self.token, self.written);
    }
}

impl<'a, S: Store, P: Clock + Random + Ids> Pass<'a, S, P> {
    pub(super) fn through(breaker: &'a DistributedBreaker<S, P>, epoch: u64, started_ms: u64) -> Self {
        Self { breaker, epoch, probe: None, started_ms, ended: false }
    }

    fn probe(breaker: &'a DistributedBreaker<S, P>, probe: Probe, started_ms: u64) -> Self {
        Self { breaker, epoch: probe.epoch, probe: Some(probe), started_ms, ended: false }
    }

    /// Whether the call is a probe.
    pub fn is_probe(&self) -> bool {
        self.probe.is_some()
    }

    /// Says how the call ended. How long it took is measured from the permit on, by the clock. A call that was trouble, and
    /// a probe, wait for the table here; what fails there is told to the observers, and changes nothing for the caller.
    pub async fn finish(mut self, outcome: Outcome) {
        self.ended = true;
        let (now_ms, elapsed_ms, slow) = self.elapsed();
        let breaker = self.breaker;
        breaker.observers.tell(&breaker.name, || Event::Recorded { outcome, slow, elapsed_ms });
        match self.probe.take() {
            Some(probe) => breaker.probe_ended(&probe, mark(outcome, slow)).await,
            None => {
                breaker.count(self.epoch, mark(outcome, slow), now_ms);
                breaker.flush().await;
            }
        }
    }

    fn elapsed(&self) -> (u64, u64, bool) {
        let now_ms = self.breaker.ports.now_ms();
        let elapsed_ms = now_ms.saturating_sub(self.started_ms);
        (now_ms, elapsed_ms, elapsed_ms > self.breaker.settings.thresholds.slow_call_ms)
    }
}

impl<S: Store, P: Clock + Random + Ids> fmt::Debug for Pass<'_, S, P> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (breaker, probe) = (&self.breaker.name, &self.probe);
        to.debug_struct("Pass").field("breaker", breaker).field("probe", probe).finish_non_exhaustive()
    }
}

impl<S: Store, P: Clock + Random + Ids> Drop for Pass<'_, S, P> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let (now_ms, elapsed_ms, slow) = self.elapsed();
        let breaker = self.breaker;
        breaker.observers.tell(&breaker.name, || Event::Cancelled { elapsed_ms });
        let outcome = breaker.settings.cancelled.outcome(slow);
        match (self.probe.take(), outcome) {
            (Some(probe), Outcome::Failure) => breaker.lock().failed = Some(probe),
            (Some(probe), Outcome::Success | Outcome::Ignored) => breaker.lock().held.push(probe),
            (None, outcome) => breaker.count(self.epoch, mark(outcome, slow), now_ms),
        }
    }
}
