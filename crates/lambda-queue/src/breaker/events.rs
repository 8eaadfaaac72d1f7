//! What a breaker tells of itself.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::limits::Met;
use super::{Outcome, Rejected, State};

/// Why a breaker changed its state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cause {
    /// Too many calls failed.
    FailureRate {
        /// Their share.
        percent: u64,
        /// Of how many.
        calls: u64,
    },
    /// Too many calls were slow.
    SlowRate {
        /// Their share.
        percent: u64,
        /// Of how many.
        calls: u64,
    },
    /// The wait is over: probes may go.
    WaitElapsed,
    /// The probes' results never came.
    ProbesLost,
    /// A probe failed.
    ProbeFailed,
    /// Enough probes succeeded.
    ProbesSucceeded,
    /// Somebody said so.
    Manual {
        /// Who.
        who: String,
        /// Why.
        reason: String,
    },
    /// Another process changed the row; what it wrote.
    Elsewhere(String),
}

impl From<Met> for Cause {
    fn from(met: Met) -> Self {
        match met {
            Met::Failures { percent, calls } => Self::FailureRate { percent, calls },
            Met::Slow { percent, calls } => Self::SlowRate { percent, calls },
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FailureRate { percent, calls } => write!(to, "{percent} % of {calls} calls failed"),
            Self::SlowRate { percent, calls } => write!(to, "{percent} % of {calls} calls were slow"),
            Self::WaitElapsed => to.write_str("the wait is over"),
            Self::ProbesLost => to.write_str("the probes' results never came"),
            Self::ProbeFailed => to.write_str("a probe failed"),
            Self::ProbesSucceeded => to.write_str("the probes succeeded"),
            Self::Manual { who, reason } => write!(to, "{who}: {reason}"),
            Self::Elsewhere(cause) => to.write_str(cause),
        }
    }
}

/// One thing that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The state, or only the epoch, changed.
    Changed {
        /// The state before.
        from: State,
        /// The state since.
        to: State,
        /// The epoch since.
        epoch: u64,
        /// Whether nothing automatic changes it any more.
        forced: bool,
        /// Why.
        cause: Cause,
        /// Whether this breaker did it; otherwise it has only read of it.
        here: bool,
    },
    /// A call was not let through.
    Rejected(Rejected),
    /// A call that was let through has ended.
    Recorded {
        /// What it counts as.
        outcome: Outcome,
        /// Whether it took longer than a call may.
        slow: bool,
        /// How long it took, milliseconds.
        elapsed_ms: u64,
    },
    /// A result came when the breaker had moved on: it changed nothing.
    Late {
        /// The epoch in which the call was let through.
        epoch: u64,
        /// The epoch in which its result came.
        now: u64,
    },
    /// A call was let through and dropped before it ended.
    Cancelled {
        /// How long it had run, milliseconds.
        elapsed_ms: u64,
    },
    /// The row could not be read, and nothing known says that the breaker is open: calls go through.
    FailedOpen {
        /// What the table said.
        why: String,
    },
    /// A write to the row failed. The call that brought it about is not harmed.
    StoreFailed {
        /// Which write.
        what: &'static str,
        /// What the table said.
        why: String,
    },
}

/// Is told of every event, in the order in which this breaker saw them, after the breaker's own lock is released. It
/// can change nothing; a panic in it is logged and goes no further. It runs inside the call: keep it short.
pub trait Observer: Send + Sync {
    /// `breaker` is its name: the dependency.
    fn observe(&self, breaker: &str, event: &Event);
}

impl<F: Fn(&str, &Event) + Send + Sync> Observer for F {
    fn observe(&self, breaker: &str, event: &Event) {
        self(breaker, event);
    }
}

/// Logs through `tracing`: changes, failed reads and failed writes as warnings, the rest as debug lines.
#[derive(Clone, Copy, Default, Debug)]
pub struct Logged;

impl Observer for Logged {
    fn observe(&self, breaker: &str, event: &Event) {
        match event {
            Event::Changed { from, to, epoch, forced, cause, here } => {
                let (from, to) = (from.name(), to.name());
                tracing::warn!(breaker, from, to, epoch, forced, %cause, here, "breaker changed");
            }
            Event::FailedOpen { why } => tracing::warn!(breaker, why, "breaker row unreadable: calls go through"),
            Event::StoreFailed { what, why } => tracing::warn!(breaker, what, why, "breaker row not written"),
            Event::Rejected(rejected) => tracing::debug!(breaker, %rejected, "call rejected"),
            Event::Recorded { .. } | Event::Late { .. } | Event::Cancelled { .. } => {
                tracing::debug!(breaker, ?event, "call ended");
            }
        }
    }
}

/// A breaker's observers.
#[derive(Clone, Default)]
pub(crate) struct Observers(Vec<Arc<dyn Observer>>);

impl Observers {
    pub(crate) fn push(&mut self, observer: Arc<dyn Observer>) {
        self.0.push(observer);
    }

    /// Tells everybody. The event is made only if there is somebody to tell.
    pub(crate) fn tell(&self, breaker: &str, event: impl FnOnce() -> Event) {
        if self.0.is_empty() {
            return;
        }
        let event = event();
        for observer in &self.0 {
            if catch_unwind(AssertUnwindSafe(|| observer.observe(breaker, &event))).is_err() {
                tracing::error!(breaker, "an observer of the breaker panicked");
            }
        }
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} observers", self.0.len())
    }
}
