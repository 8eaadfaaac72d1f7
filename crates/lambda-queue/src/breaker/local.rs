//! A breaker of one process.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, PoisonError};

// In this crate's own unit tests lock and gate are shuttle's, which work only inside `shuttle::check_*`; every other test
// of the breaker is an integration test.
#[cfg(test)]
use shuttle::sync::atomic::{AtomicU64, Ordering};
#[cfg(test)]
use shuttle::sync::{Mutex, MutexGuard};
#[cfg(not(test))]
use std::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(test))]
use std::sync::{Mutex, MutexGuard};

use super::events::{Cause, Event, Observer, Observers};
use super::limits::{Counts, InvalidSettings, Mark};
use super::machine::{Change, LocalSettings, Machine, Ticket, Told};
use super::manual::Manual;
use super::rules::{Judge, Outcome};
use super::{CallError, Rejected, State};
use crate::{Clock, Failure, Random};

/// A circuit breaker for the calls of this process to one dependency.
///
/// A call that is let through while the breaker is closed costs one atomic read, two readings of the clock, and one
/// short lock when it ends.
///
/// ```
/// # struct Ports;
/// # impl lambda_queue::Clock for Ports { fn now_ms(&self) -> u64 { 0 } }
/// # impl lambda_queue::Random for Ports { fn below(&self, _: u64) -> u64 { 0 } }
/// # async fn charge() -> Result<u32, String> { Ok(7) }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use lambda_queue::breaker::{LocalBreaker, LocalSettings, Rules};
///
/// let breaker = LocalBreaker::new("payments", LocalSettings::default(), Arc::new(Ports)).unwrap();
/// let rules = Rules::default().ignore(|error: &String| error.contains("declined"));
/// assert_eq!(breaker.call(&rules, charge()).await, Ok(7));
/// # });
/// ```
pub struct LocalBreaker<P> {
    name: String,
    settings: LocalSettings,
    ports: Arc<P>,
    machine: Mutex<Machine>,
    /// Twice the epoch, plus one while it is closed: what a call has to know to go through. Written under the lock.
    gate: AtomicU64,
    observers: Observers,
}

/// The right to make one call. Tell it how the call ended; dropping it says that the call was cancelled.
#[must_use = "dropped at once, the call counts as cancelled"]
pub struct Permit<'a, P: Clock + Random> {
    breaker: &'a LocalBreaker<P>,
    ticket: Ticket,
    started_ms: u64,
    ended: bool,
}

impl<P: Clock + Random> LocalBreaker<P> {
    /// A closed breaker of this dependency.
    ///
    /// # Errors
    /// Settings outside their ranges.
    pub fn new(name: impl Into<String>, settings: LocalSettings, ports: Arc<P>) -> Result<Self, InvalidSettings> {
        settings.check()?;
        Ok(Self {
            name: name.into(),
            settings,
            ports,
            machine: Mutex::new(Machine::new(settings)),
            gate: AtomicU64::new(1),
            observers: Observers::default(),
        })
    }

    /// Tells this observer too.
    #[must_use]
    pub fn observed(mut self, observer: impl Observer + 'static) -> Self {
        self.observers.push(Arc::new(observer));
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its state. An open breaker whose wait is over is open until somebody asks for a call.
    pub fn state(&self) -> State {
        self.lock().state()
    }

    /// How often it has changed.
    pub fn epoch(&self) -> u64 {
        self.lock().epoch()
    }

    /// Whether nothing automatic changes its state.
    pub fn is_forced(&self) -> bool {
        self.lock().forced()
    }

    /// What its window holds. Empty unless it is closed.
    pub fn counts(&self) -> Counts {
        self.lock().counts(self.ports.now_ms())
    }

    /// Asks for a call.
    ///
    /// # Errors
    /// [`Rejected`] while it is open, or half-open with all its probes under way.
    pub fn permit(&self) -> Result<Permit<'_, P>, Rejected> {
        // Acquire, paired with the Release of whoever closed it: what was counted before is not counted after.
        let gate = self.gate.load(Ordering::Acquire);
        let started_ms = self.ports.now_ms();
        let permit = |ticket| Permit { breaker: self, ticket, started_ms, ended: false };
        if gate & 1 == 1 {
            return Ok(permit(Ticket { epoch: gate >> 1, probe: None }));
        }
        let (asked, change) = self.change(|machine| machine.ask(started_ms));
        self.tell_change(change);
        asked.map(permit).map_err(|refused| {
            let (state, forced, until_ms) = (refused.state, refused.forced, refused.until_ms);
            let rejected = Rejected { breaker: self.name.clone(), state, forced, until_ms };
            self.observers.tell(&self.name, || Event::Rejected(rejected.clone()));
            rejected
        })
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
        let permit = self.permit().map_err(CallError::Rejected)?;
        let result = work.await;
        permit.finish(judge.outcome(&result));
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

    /// Opens it. Forced, it stays open until somebody closes, probes or releases it; otherwise it goes on by itself after
    /// its wait.
    pub fn open(&self, manual: Manual) {
        let now_ms = self.ports.now_ms();
        self.act(manual, |machine, cause| machine.open(cause, now_ms, |bound| self.ports.below(bound)));
    }

    /// Closes it, with an empty window. Forced, it stays closed whatever fails.
    pub fn close(&self, manual: Manual) {
        self.act(manual, Machine::close);
    }

    /// Begins a round of probes at once. Nothing forced about it: `forced` is not looked at.
    pub fn probe(&self, manual: Manual) {
        self.act(Manual { forced: false, ..manual }, Machine::half_open);
    }

    /// Lifts the force: closed goes on with an empty window, open with a new wait.
    pub fn release(&self, manual: Manual) {
        let now_ms = self.ports.now_ms();
        self.act(Manual { forced: false, ..manual }, |machine, cause| match machine.state() {
            State::Closed => machine.close(cause),
            State::Open => machine.open(cause, now_ms, |bound| self.ports.below(bound)),
            State::HalfOpen => machine.half_open(cause),
        });
    }

    fn act(&self, manual: Manual, turn: impl FnOnce(&mut Machine, Cause) -> Change) {
        let ((), change) = self.change(|machine| {
            machine.force(manual.forced);
            ((), Some(turn(machine, Cause::Manual { who: manual.who, reason: manual.reason })))
        });
        self.tell_change(change);
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something under the lock, and moves the gate before it lets go.
    fn change<A>(&self, act: impl FnOnce(&mut Machine) -> (A, Option<Change>)) -> (A, Option<Change>) {
        let mut machine = self.lock();
        let (answer, change) = act(&mut machine);
        if change.is_some() {
            let closed = u64::from(machine.state() == State::Closed);
            self.gate.store(machine.epoch() << 1 | closed, Ordering::Release);
        }
        (answer, change)
    }

    fn tell_change(&self, change: Option<Change>) {
        if let Some(Change { from, to, epoch, forced, cause }) = change {
            self.observers.tell(&self.name, || Event::Changed { from, to, epoch, forced, cause, here: true });
        }
    }

    fn end(&self, ticket: Ticket, mark: Option<Mark>, now_ms: u64) {
        let (told, change) = self.change(|machine| machine.tell(ticket, mark, now_ms, |bound| self.ports.below(bound)));
        if told == Told::Late {
            let now = self.gate.load(Ordering::Acquire) >> 1;
            self.observers.tell(&self.name, || Event::Late { epoch: ticket.epoch, now });
        }
        self.tell_change(change);
    }
}

impl<P> fmt::Debug for LocalBreaker<P> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("LocalBreaker").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<P: Clock + Random> fmt::Debug for Permit<'_, P> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Permit").field("breaker", self.breaker).field("ticket", &self.ticket).finish_non_exhaustive()
    }
}

/// What a result is in the counts.
pub(crate) fn mark(outcome: Outcome, slow: bool) -> Option<Mark> {
    match outcome {
        Outcome::Success if slow => Some(Mark::Slow),
        Outcome::Success => Some(Mark::Good),
        Outcome::Failure => Some(Mark::Failed),
        Outcome::Ignored => None,
    }
}

impl<P: Clock + Random> Permit<'_, P> {
    /// Whether the call is a probe.
    pub fn is_probe(&self) -> bool {
        self.ticket.probe.is_some()
    }

    /// Says how the call ended. How long it took is measured from the permit on, by the clock.
    pub fn finish(mut self, outcome: Outcome) {
        self.ended = true;
        let (now_ms, elapsed_ms, slow) = self.elapsed();
        self.breaker.observers.tell(&self.breaker.name, || Event::Recorded { outcome, slow, elapsed_ms });
        self.breaker.end(self.ticket, mark(outcome, slow), now_ms);
    }

    fn elapsed(&self) -> (u64, u64, bool) {
        let now_ms = self.breaker.ports.now_ms();
        let elapsed_ms = now_ms.saturating_sub(self.started_ms);
        (now_ms, elapsed_ms, elapsed_ms > self.breaker.settings.thresholds.slow_call_ms)
    }
}

impl<P: Clock + Random> Drop for Permit<'_, P> {
    fn drop(&mut self) {
        if !self.ended {
            let (now_ms, elapsed_ms, slow) = self.elapsed();
            self.breaker.observers.tell(&self.breaker.name, || Event::Cancelled { elapsed_ms });
            let outcome = self.breaker.settings.cancelled.outcome(slow);
            self.breaker.end(self.ticket, mark(outcome, slow), now_ms);
        }
    }
}

#[cfg(test)]
#[path = "local_shuttle.rs"]
mod under_shuttle;
