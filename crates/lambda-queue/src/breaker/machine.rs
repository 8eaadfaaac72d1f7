//! The local breaker's state machine: no lock, no clock, no I/O.

use super::events::Cause;
use super::limits::{Counts, InvalidSettings, Mark, Thresholds, Wait};
use super::rules::Cancelled;
use super::window::{Ring, Window};
use super::{FORCED_MS, MOST_PROBES, PROBED_MS, State};

/// Settings of a [`super::LocalBreaker`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LocalSettings {
    /// What is judged.
    pub window: Window,
    /// When it is too bad.
    pub thresholds: Thresholds,
    /// How long it stays open.
    pub wait: Wait,
    /// Probes of one half-open round, 1 to 20.
    pub probes: u32,
    /// A probe that has not ended after this long is given up: its slot comes back, its result is late. Milliseconds, at
    /// least 1.
    pub probe_lease_ms: u64,
    /// What a dropped call counts as.
    pub cancelled: Cancelled,
}

impl Default for LocalSettings {
    /// The defaults of the parts, three probes of at most 60 s.
    fn default() -> Self {
        Self {
            window: Window::default(),
            thresholds: Thresholds::default(),
            wait: Wait::default(),
            probes: 3,
            probe_lease_ms: 60_000,
            cancelled: Cancelled::default(),
        }
    }
}

impl LocalSettings {
    pub(crate) fn check(&self) -> Result<(), InvalidSettings> {
        self.window.check()?;
        self.thresholds.check()?;
        self.wait.check()?;
        if !(1..=MOST_PROBES).contains(&self.probes) || self.probe_lease_ms == 0 {
            return Err(InvalidSettings("a round has 1 to 20 probes, each of at least 1 ms"));
        }
        match self.window {
            Window::Calls(calls) if self.thresholds.minimum_calls > u64::from(calls) => {
                Err(InvalidSettings("a window of fewer calls than minimum_calls never opens"))
            }
            Window::Calls(_) | Window::Time { .. } => Ok(()),
        }
    }
}

/// The right to make one call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ticket {
    pub epoch: u64,
    /// Of a probe: which.
    pub probe: Option<u64>,
}

/// No such right: since when, if known, there may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Refused {
    pub state: State,
    pub forced: bool,
    pub until_ms: u64,
}

/// A change of state, for the observers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Change {
    pub from: State,
    pub to: State,
    pub epoch: u64,
    pub forced: bool,
    pub cause: Cause,
}

/// What became of a result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Told {
    Counted,
    Late,
}

#[derive(Debug)]
enum Phase {
    Closed,
    Open {
        since_ms: u64,
        wait_ms: u64,
    },
    HalfOpen {
        /// Probes under way: serial and end of lease.
        taken: Vec<(u64, u64)>,
        counts: Counts,
    },
}

#[derive(Debug)]
pub(crate) struct Machine {
    settings: LocalSettings,
    phase: Phase,
    epoch: u64,
    forced: bool,
    ring: Ring,
    /// The last wait without its jitter; 0 where the first is next.
    last_wait_ms: u64,
    /// The same of when it was closed and opened last, before failed probes made it longer.
    opening_wait_ms: u64,
    /// When its probes closed it last.
    closed_at_ms: u64,
    probes_begun: u64,
}

impl Machine {
    pub(crate) fn new(settings: LocalSettings) -> Self {
        Self {
            settings,
            phase: Phase::Closed,
            epoch: 0,
            forced: false,
            ring: Ring::new(settings.window),
            last_wait_ms: 0,
            opening_wait_ms: 0,
            closed_at_ms: 0,
            probes_begun: 0,
        }
    }

    pub(crate) fn state(&self) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) fn forced(&self) -> bool {
        self.forced
    }

    pub(crate) fn counts(&mut self, now_ms: u64) -> Counts {
        self.ring.counts(now_ms)
    }

    /// Asks for a call.
    pub(crate) fn ask(&mut self, now_ms: u64) -> (Result<Ticket, Refused>, Option<Change>) {
        let mut change = None;
        if let Phase::Open { since_ms, wait_ms } = &mut self.phase
            && !self.forced
        {
            // A clock that stepped back would wait for the step too.
            *since_ms = now_ms.min(*since_ms);
            let until_ms = since_ms.saturating_add(*wait_ms);
            if now_ms < until_ms {
                return (Err(Refused { state: State::Open, forced: false, until_ms }), None);
            }
            change = Some(self.half_open(Cause::WaitElapsed));
        }
        let (state, forced, lease_ms) = (self.state(), self.forced, self.settings.probe_lease_ms);
        let ticket = match &mut self.phase {
            Phase::Closed => Ok(Ticket { epoch: self.epoch, probe: None }),
            Phase::Open { .. } => Err(Refused { state, forced, until_ms: now_ms.saturating_add(FORCED_MS) }),
            Phase::HalfOpen { taken, counts } => {
                let latest_ms = now_ms.saturating_add(lease_ms);
                taken.retain(|(_, until_ms)| (now_ms + 1..=latest_ms).contains(until_ms));
                if (taken.len() as u64).saturating_add(counts.calls) < u64::from(self.settings.probes) {
                    self.probes_begun += 1;
                    taken.push((self.probes_begun, latest_ms));
                    Ok(Ticket { epoch: self.epoch, probe: Some(self.probes_begun) })
                } else {
                    let until_ms = taken.iter().map(|(_, until_ms)| *until_ms).min().unwrap_or(now_ms);
                    Err(Refused { state, forced, until_ms: until_ms.min(now_ms.saturating_add(PROBED_MS)) })
                }
            }
        };
        (ticket, change)
    }

    /// Takes the result of a call: `None` counts as nothing. `jitter` answers a number below its argument.
    pub(crate) fn tell(
        &mut self,
        ticket: Ticket,
        mark: Option<Mark>,
        now_ms: u64,
        jitter: impl FnOnce(u64) -> u64,
    ) -> (Told, Option<Change>) {
        if ticket.epoch != self.epoch {
            return (Told::Late, None);
        }
        let (thresholds, probes) = (self.settings.thresholds, u64::from(self.settings.probes));
        match &mut self.phase {
            Phase::Closed => {
                let Some(mark) = mark else { return (Told::Counted, None) };
                self.ring.record(mark, now_ms);
                // Only a bad call can make it too bad; only a judged one costs.
                if self.forced || mark == Mark::Good {
                    return (Told::Counted, None);
                }
                let met = thresholds.met(self.ring.counts(now_ms));
                (Told::Counted, met.map(|met| self.open(met.into(), now_ms, jitter)))
            }
            // Nothing is let through in this epoch.
            Phase::Open { .. } => (Told::Late, None),
            Phase::HalfOpen { taken, counts } => {
                let before = taken.len();
                taken.retain(|(serial, until_ms)| Some(*serial) != ticket.probe || *until_ms <= now_ms);
                if taken.len() == before {
                    return (Told::Late, None);
                }
                let Some(mark) = mark else { return (Told::Counted, None) };
                counts.add(mark);
                let counts = *counts;
                // Judged as if the missing probes succeed: what is too bad then is too bad already.
                if thresholds.met_of(counts, probes).is_some() {
                    (Told::Counted, Some(self.open(Cause::ProbeFailed, now_ms, jitter)))
                } else if counts.calls >= probes {
                    (Told::Counted, Some(self.recover(now_ms)))
                } else {
                    (Told::Counted, None)
                }
            }
        }
    }

    pub(crate) fn open(&mut self, cause: Cause, now_ms: u64, jitter: impl FnOnce(u64) -> u64) -> Change {
        let closed = matches!(self.phase, Phase::Closed);
        if closed && now_ms.saturating_sub(self.closed_at_ms) >= self.settings.wait.calm_ms {
            self.last_wait_ms = 0;
        }
        self.last_wait_ms = self.settings.wait.after(self.last_wait_ms);
        if closed {
            self.opening_wait_ms = self.last_wait_ms;
        }
        let most_off_ms = self.settings.wait.jitter_ms(self.last_wait_ms);
        let off_ms = if most_off_ms == 0 { 0 } else { jitter(most_off_ms.saturating_add(1)) };
        let wait_ms = self.last_wait_ms.saturating_sub(off_ms).max(1);
        self.turn(Phase::Open { since_ms: now_ms, wait_ms }, cause)
    }

    /// Its probes went well. Whether that lasts is not known yet, so the wait of this opening stays; what failed probes added
    /// to it goes.
    fn recover(&mut self, now_ms: u64) -> Change {
        self.closed_at_ms = now_ms;
        self.last_wait_ms = self.opening_wait_ms;
        self.turn(Phase::Closed, Cause::ProbesSucceeded)
    }

    /// By hand: it begins anew.
    pub(crate) fn close(&mut self, cause: Cause) -> Change {
        (self.last_wait_ms, self.opening_wait_ms) = (0, 0);
        self.turn(Phase::Closed, cause)
    }

    pub(crate) fn half_open(&mut self, cause: Cause) -> Change {
        self.turn(Phase::HalfOpen { taken: Vec::new(), counts: Counts::default() }, cause)
    }

    /// Makes the state one that nothing automatic leaves, or lifts that.
    pub(crate) fn force(&mut self, forced: bool) {
        self.forced = forced;
    }

    fn turn(&mut self, phase: Phase, cause: Cause) -> Change {
        let from = self.state();
        self.phase = phase;
        self.epoch += 1;
        self.ring.clear();
        Change { from, to: self.state(), epoch: self.epoch, forced: self.forced, cause }
    }
}
