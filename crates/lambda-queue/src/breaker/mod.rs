//! Circuit breakers: calls to a dependency that is down are turned away instead of made.
//!
//! [`LocalBreaker`] lives in one process. [`DistributedBreaker`] has one row a dependency in a table, so that a hundred
//! Lambda environments open together, and only a few probe. Both let a call through ([`LocalBreaker::permit`]) and are
//! told its result; [`LocalBreaker::call`] and [`LocalBreaker::guard`] do both.
//!
//! - A result counts only in the epoch that let its call through. Every change of state starts a new epoch, so a late
//!   result never moves the present state.
//! - A call that is dropped before it ends counts as nothing, unless [`Cancelled`] says otherwise. A dropped probe gives
//!   its slot back.
//! - A rejection is a [`Rejected`], which is a [`Failure::Defer`] to the batch loop: not an attempt.
//!
//! The pattern: <https://learn.microsoft.com/azure/architecture/patterns/circuit-breaker>

use std::fmt;

use crate::Failure;

mod distributed;
mod events;
mod limits;
mod local;
mod machine;
mod manual;
mod pass;
mod row;
mod rules;
mod slots;
mod tally;
mod window;
mod writes;

pub use distributed::{DistributedBreaker, DistributedSettings};
pub use events::{Cause, Event, Logged, Observer};
pub use limits::{Counts, InvalidSettings, Thresholds, Wait};
pub use local::{LocalBreaker, Permit};
pub use machine::LocalSettings;
pub use manual::{Manual, Moved};
pub use pass::Pass;
pub use row::{BUCKET_MS, BUCKETS, Row};
pub use rules::{Cancelled, FailureRules, Judge, Outcome, Rules};
pub use slots::Probes;
pub use window::Window;
pub(crate) use writes::Draft;

/// Whether calls go through.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum State {
    /// They do.
    #[default]
    Closed,
    /// They do not.
    Open,
    /// A few do, as probes.
    HalfOpen,
}

impl State {
    /// Its name in the row, in logs and metrics: `closed`, `open`, `half_open`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }

    /// The state of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Closed, Self::Open, Self::HalfOpen].into_iter().find(|state| state.name() == name)
    }
}

/// A call that was not let through.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejected {
    /// The breaker's name.
    pub breaker: String,
    /// Its state: open or half-open.
    pub state: State,
    /// Whether somebody forced it open.
    pub forced: bool,
    /// From when on it is worth another try, UTC milliseconds.
    pub until_ms: u64,
}

impl fmt::Display for Rejected {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let forced = if self.forced { ", forced" } else { "" };
        write!(to, "the breaker of {} is {}{forced}", self.breaker, self.state.name())
    }
}

impl std::error::Error for Rejected {}

impl From<Rejected> for Failure {
    fn from(rejected: Rejected) -> Self {
        Self::Defer { until_ms: rejected.until_ms, why: rejected.to_string() }
    }
}

/// How a guarded call did not succeed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CallError<E> {
    /// It was not made.
    #[error("{0}")]
    Rejected(Rejected),
    /// It was made, and failed.
    #[error("{0}")]
    Failed(E),
}

/// How long a rejection that nothing bounds asks its caller to stay away: a breaker forced open, milliseconds.
pub(crate) const FORCED_MS: u64 = 60_000;
/// Most probes of a round: their leases have to fit into one update of the row.
pub(crate) const MOST_PROBES: u32 = 20;
/// How long a rejection asks its caller to stay away while others probe, milliseconds. Each return of a message is a
/// receive, and a queue gives it only so many.
pub(crate) const PROBED_MS: u64 = 5_000;
