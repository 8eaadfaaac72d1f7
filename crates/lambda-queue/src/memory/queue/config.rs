//! What a queue is, and what may go wrong with a call to one.

use std::fmt;

/// A queue to create. FIFO, if its name ends with `.fifo`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueueConfig {
    pub(super) name: String,
    pub(super) visibility_ms: u64,
    pub(super) retention_ms: u64,
    pub(super) delay_ms: u64,
    pub(super) content_dedup: bool,
    pub(super) redrive: Option<(String, u32)>,
}

impl QueueConfig {
    /// A queue with the service's defaults: visibility 30 s, retention 4 days, no delay, no dead-letter queue.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            visibility_ms: 30_000,
            retention_ms: 4 * 24 * 60 * 60 * 1_000,
            delay_ms: 0,
            content_dedup: false,
            redrive: None,
        }
    }

    /// `VisibilityTimeout`, seconds.
    #[must_use]
    pub fn visibility_s(mut self, seconds: u32) -> Self {
        self.visibility_ms = u64::from(seconds).saturating_mul(1_000);
        self
    }

    /// `MessageRetentionPeriod`, seconds.
    #[must_use]
    pub fn retention_s(mut self, seconds: u32) -> Self {
        self.retention_ms = u64::from(seconds).saturating_mul(1_000);
        self
    }

    /// `DelaySeconds`.
    #[must_use]
    pub fn delay_s(mut self, seconds: u32) -> Self {
        self.delay_ms = u64::from(seconds).saturating_mul(1_000);
        self
    }

    /// `ContentBasedDeduplication`, on FIFO: a message without an id of its own is told by its body.
    #[must_use]
    pub fn content_dedup(mut self) -> Self {
        self.content_dedup = true;
        self
    }

    /// `RedrivePolicy`: a message that was received so often goes there instead of being received again.
    #[must_use]
    pub fn redrive(mut self, dead_letters: impl Into<String>, max_receive_count: u32) -> Self {
        self.redrive = Some((dead_letters.into(), max_receive_count));
        self
    }

    pub(super) fn is_fifo(&self) -> bool {
        self.name.ends_with(".fifo")
    }
}

/// Messages of a queue, by where they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// `ApproximateNumberOfMessages`: could be received.
    pub visible: usize,
    /// `ApproximateNumberOfMessagesNotVisible`: received, neither deleted nor back.
    pub in_flight: usize,
    /// `ApproximateNumberOfMessagesDelayed`.
    pub delayed: usize,
}

/// A call that is about to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum QueueCall {
    /// `SendMessageBatch` of so many messages to this queue.
    Send {
        /// The queue's name.
        queue: String,
        /// Messages.
        entries: usize,
    },
    /// `ChangeMessageVisibilityBatch` of so many messages of this queue.
    ChangeVisibility {
        /// The queue's name.
        queue: String,
        /// Messages.
        entries: usize,
    },
}

/// What happens to a call.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum QueueFault {
    /// Nothing.
    #[default]
    None,
    /// It is refused as a whole: surely not done.
    Throttle,
    /// It is done, and the answer is lost: every entry answers an error.
    Lost,
    /// It never arrives: every entry answers an error.
    Vanished,
    /// These entries, by their places, fail alone (`InternalError`); the others are done.
    Partial(Vec<usize>),
}

/// How far from the best case standard queues go. FIFO queues never do.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Disorder {
    /// How likely a received message stays to be received once more, though it was not given back: 0 never, 1 always.
    pub duplicates: f64,
    /// Whether a receive takes messages in any order, rather than the oldest first.
    pub shuffled: bool,
}

pub(super) struct Hook(pub Box<dyn FnMut(&QueueCall) -> QueueFault + Send>);

impl fmt::Debug for Hook {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("Hook")
    }
}
