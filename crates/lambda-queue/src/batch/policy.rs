//! What a batch is told, and how it may fail as a whole.

/// Kept of every invocation for sends, visibility changes and the answer, milliseconds.
pub const KEPT_MS: u64 = 2_000;
/// Of the kept time, kept for the answer itself, milliseconds.
pub(super) const ANSWER_MS: u64 = 200;
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
