//! What a call may do by the row that its process knows.

use super::events::Cause;
use super::limits::Wait;
use super::row::Row;
use super::{FORCED_MS, PROBED_MS, State};

/// How a breaker that is not closed finds out that its dependency is back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Probes {
    /// By calls: the first ones after the wait.
    WithCalls {
        /// Calls let through in a half-open round, over all processes, 1 to 20. All have to succeed; one that fails opens
        /// again.
        per_round: u32,
        /// A prober that has not answered after this long is taken for dead, and its slot given to another. Longer than a
        /// call takes at most; milliseconds, at least 1.
        lease_ms: u64,
    },
    /// By somebody apart, who says [`super::DistributedBreaker::probe_succeeded`] and `probe_failed`. No call is a probe:
    /// all are rejected until the breaker is closed.
    Apart {
        /// Successes in a row that close it, at least 1.
        successes: u32,
    },
}

/// The next step of a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Through,
    Reject {
        until_ms: u64,
    },
    /// Begin a round of probes, with this call as its first.
    Begin(Cause),
    /// Take a free slot of the round.
    Take,
    /// Take the slot of a prober whose lease is over.
    TakeOver {
        token: String,
        until_ms: u64,
    },
    /// All probes succeeded, and whoever was to close it died.
    Close,
}

pub(super) fn step(row: &Row, probes: &Probes, wait: &Wait, now_ms: u64) -> Step {
    let soon_ms = now_ms.saturating_add(PROBED_MS);
    if row.state == State::Closed {
        return Step::Through;
    }
    if row.forced {
        return Step::Reject { until_ms: now_ms.saturating_add(FORCED_MS) };
    }
    if row.round_is_complete() {
        return Step::Close;
    }
    let Probes::WithCalls { lease_ms, .. } = probes else {
        return Step::Reject { until_ms: soon_ms.max(row.probes_from_ms()) };
    };
    if row.state == State::Open {
        // A time of opening further ahead than any wait is a broken clock's: nobody waits for it.
        let believed = row.opened_at_ms <= now_ms.saturating_add(wait.most_ms);
        return if believed && now_ms < row.probes_from_ms() {
            Step::Reject { until_ms: row.probes_from_ms() }
        } else {
            Step::Begin(Cause::WaitElapsed)
        };
    }
    if row.probes_left > 0 {
        return Step::Take;
    }
    match row.probes_taken().min_by_key(|(_, until_ms)| *until_ms) {
        Some((token, until_ms)) if until_ms <= now_ms => Step::TakeOver { token: token.to_owned(), until_ms },
        Some((_, until_ms)) => Step::Reject { until_ms: until_ms.min(soon_ms) },
        // A round that somebody else began in another way, and has left.
        None if row.changed_at_ms.saturating_add(*lease_ms) <= now_ms => Step::Begin(Cause::ProbesLost),
        None => Step::Reject { until_ms: soon_ms },
    }
}
