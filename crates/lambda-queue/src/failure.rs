//! What a handler answers: done, or one kind of failure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Outgoing;

/// How a record was dealt with. As JSON it is its name ([`Verdict::name`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The work was done now.
    Done,
    /// It had been done before, or is no longer wanted.
    Already,
    /// It had been done before, and what it owes is sent once more.
    Resent,
    /// It can never succeed and stands in the dead-letter queue. Only the batch loop says so.
    DeadLettered,
    /// A deferral close to the queue's `maxReceiveCount` that the hook took over. Only the batch loop says so.
    TakenOver,
}

/// What a handler answers for its record: there is no answer for a whole batch.
pub type Answer = Result<Done, Failure>;

/// A handled record: it is acknowledged once everything that it owes is sent.
///
/// As JSON it lies in idempotency tables: its fields, and those of [`Outgoing`], are part of what a version promises.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Done {
    /// How.
    pub verdict: Verdict,
    /// Messages that have to leave before the record may be acknowledged. To one group of a FIFO target they leave in this
    /// order, in one call each: many of them to one group take as many round trips.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owes: Vec<Outgoing>,
}

impl Done {
    /// Done, owing these messages.
    pub fn now(owes: Vec<Outgoing>) -> Self {
        Self { verdict: Verdict::Done, owes }
    }

    /// Nothing to do.
    pub fn already() -> Self {
        Self { verdict: Verdict::Already, owes: Vec::new() }
    }

    /// Nothing to do but to send again what was owed.
    pub fn resent(owes: Vec<Outgoing>) -> Self {
        Self { verdict: Verdict::Resent, owes }
    }
}

/// Why a record was not handled. The batch loop maps it in one place ([`crate::batch`]).
///
/// That the business says no is none of these: it is an outcome that a handler commits and answers as [`Done`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Failure {
    /// It surely did not run, and may be tried again: connection refused, throttled, a lost race.
    #[error("not run: {why}")]
    Retry {
        /// When to try again; without it a full-jitter backoff by receive count.
        after: Option<Duration>,
        /// For the log.
        why: String,
    },
    /// It must not run yet: a breaker is open, a lease is held, too little time is left. Not an attempt.
    #[error("deferred: {why}")]
    Defer {
        /// UTC milliseconds; the loop waits at most 60 s at a time.
        until_ms: u64,
        /// For the log.
        why: String,
    },
    /// Somebody else is at it and mostly done soon, surely by then: a held lease. A deferral like `Defer`, but a record's
    /// first receive comes back after 1 s; each later one at that moment ([`crate::retry::busy_s`]).
    #[error("busy: {why}")]
    Busy {
        /// From when on it is surely free, UTC milliseconds.
        until_ms: u64,
        /// For the log.
        why: String,
    },
    /// The effect may have happened. Whoever takes the message next looks it up first.
    #[error("outcome unknown for {key}: {why}")]
    Unknown {
        /// The effect's key.
        key: String,
        /// From when on a look-up may be believed, UTC milliseconds.
        until_ms: u64,
        /// For the log.
        why: String,
    },
    /// It can never succeed: to the dead-letter queue.
    #[error("poison: {reason}")]
    Poison {
        /// For the log and the dead letter. Holds no customer data.
        reason: String,
    },
    /// A broken invariant. Loud; never acknowledged.
    #[error("bug: {what}")]
    Bug {
        /// What cannot be.
        what: String,
    },
}

impl Failure {
    /// A retry with the usual backoff.
    pub fn retry(why: impl std::fmt::Display) -> Self {
        Self::Retry { after: None, why: why.to_string() }
    }

    /// A retry as soon as the queue will: for lost races.
    pub fn again(why: impl std::fmt::Display) -> Self {
        Self::Retry { after: Some(Duration::from_secs(1)), why: why.to_string() }
    }

    /// A deferral to a moment, UTC milliseconds: a breaker is open, too little time is left.
    pub fn defer(until_ms: u64, why: impl std::fmt::Display) -> Self {
        Self::Defer { until_ms, why: why.to_string() }
    }

    /// A deferral behind somebody who mostly ends soon, and surely by then, UTC milliseconds: a held lease.
    pub fn busy(until_ms: u64, why: impl std::fmt::Display) -> Self {
        Self::Busy { until_ms, why: why.to_string() }
    }

    /// What can never succeed. The reason is logged and stands in the dead letter: no customer data.
    pub fn poison(reason: impl std::fmt::Display) -> Self {
        Self::Poison { reason: reason.to_string() }
    }

    /// Whether it is no attempt: the work surely did not start.
    pub fn is_deferral(&self) -> bool {
        match self {
            Self::Defer { .. } | Self::Busy { .. } => true,
            Self::Retry { .. } | Self::Unknown { .. } | Self::Poison { .. } | Self::Bug { .. } => false,
        }
    }

    /// A broken invariant.
    pub fn bug(what: impl std::fmt::Display) -> Self {
        Self::Bug { what: what.to_string() }
    }

    /// Its name in logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Retry { .. } => "retry",
            Self::Defer { .. } => "defer",
            Self::Busy { .. } => "busy",
            Self::Unknown { .. } => "unknown",
            Self::Poison { .. } => "poison",
            Self::Bug { .. } => "bug",
        }
    }
}

impl Verdict {
    /// Its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Already => "already",
            Self::Resent => "resent",
            Self::DeadLettered => "dead_lettered",
            Self::TakenOver => "taken_over",
        }
    }
}
