//! What a batch is told, and how it may fail as a whole.

/// Most that is kept of an invocation for sends, visibility changes and the answer, milliseconds. Where less than four times
/// as much is left when the batch begins, a quarter of that is kept: a function with a short timeout has time to work, too.
pub const KEPT_MS: u64 = 2_000;
/// Of what is left, what is kept at most: one part in so many.
const SHARE: u64 = 4;
/// Of the kept time, what is kept for the answer itself: one part in so many.
const ANSWER: u64 = 10;
/// A deferral is near the queue's `maxReceiveCount` with this many receives left.
pub const NEAR: u32 = 5;

/// The invocation that brought the batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invocation {
    /// Lambda's request id.
    pub request_id: String,
    /// UTC milliseconds.
    pub deadline_ms: u64,
    /// Whether it is the process's first.
    pub cold_start: bool,
}

/// How an invocation's time is shared out, from the moment its batch begins. UTC milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Shares {
    /// Handlers are dropped.
    pub(super) handlers_end_ms: u64,
    /// Sends are dropped.
    pub(super) sends_end_ms: u64,
    /// What comes after them is cut off for the answer's sake.
    pub(super) calls_end_ms: u64,
}

impl Shares {
    /// Of what is left now until this deadline.
    pub(super) fn of(deadline_ms: u64, now_ms: u64) -> Self {
        let kept_ms = KEPT_MS.min(deadline_ms.saturating_sub(now_ms) / SHARE);
        let answer_ms = kept_ms / ANSWER;
        Self {
            handlers_end_ms: deadline_ms.saturating_sub(kept_ms),
            sends_end_ms: deadline_ms.saturating_sub(answer_ms),
            calls_end_ms: deadline_ms.saturating_sub(answer_ms / 2),
        }
    }
}

/// The invocation has to fail: nothing is deleted, the whole batch comes back.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BatchError {
    /// A record has no messageId, so no answer could name it.
    #[error("record {position} of the event has no messageId: the batch cannot be answered per record")]
    NoMessageId {
        /// Its place in the event.
        position: usize,
    },
    /// A stream record has no sequence number, so there is nothing to restart at.
    #[error("record {position} of the stream event has no sequence number: the batch cannot be answered in part")]
    NoSequenceNumber {
        /// Its place in the event.
        position: usize,
    },
    /// Every record failed, and the policy is [`AllFailed::Fail`].
    #[error("all {} records failed: {}", .failed_ids.len(), .failed_ids.join(", "))]
    AllFailed {
        /// The answer that was not given.
        failed_ids: Vec<String>,
    },
}

/// Whether a FIFO group goes on past a head that was dead-lettered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AfterPoison {
    /// It goes on: the head is settled.
    #[default]
    Skip,
    /// It stops; what follows comes back, and goes on then without the head.
    Stop,
}

/// What is answered when every record of a batch failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AllFailed {
    /// The list, as always. Lambda keeps its pace.
    #[default]
    Answer,
    /// An error ([`BatchError::AllFailed`]): Lambda slows its polling down.
    Fail,
}

/// What the hook for deferrals did with one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deferral {
    /// Nothing: it goes back to its queue as any deferral does.
    Left,
    /// It sees to it that the work is done later: the record is acknowledged.
    TakenOver,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_seconds_are_kept_and_of_a_short_time_a_quarter() {
        for (left_ms, handlers_ms, sends_ms) in [
            (900_000, 898_000, 899_800),
            (15_000, 13_000, 14_800),
            (8_000, 6_000, 7_800),
            (3_000, 2_250, 2_925),
            (2_000, 1_500, 1_950),
            (1_000, 750, 975),
            (0, 0, 0),
        ] {
            let shares = Shares::of(50_000 + left_ms, 50_000);
            assert_eq!(shares.handlers_end_ms, 50_000 + handlers_ms, "{left_ms}");
            assert_eq!(shares.sends_end_ms, 50_000 + sends_ms, "{left_ms}");
            assert!((shares.sends_end_ms..=50_000 + left_ms).contains(&shares.calls_end_ms), "{left_ms}");
        }
        let late = Shares::of(50_000, 60_000);
        assert_eq!((late.handlers_end_ms, late.calls_end_ms), (50_000, 50_000), "nothing is left");
    }
}
