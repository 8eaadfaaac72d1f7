//! What the toolkit needs of the world, each a trait: [`Clock`], [`Random`], [`Ids`], [`Queue`], tables ([`store`]) and
//! [`Objects`]. Adapters: `aws` (the SDK) and `memory`; [`Ports`] makes one value of several.

use std::future::Future;

mod all;
mod objects;
pub mod store;

pub use all::Ports;
pub use objects::Objects;
pub use store::Store;

use store::StoreError;

/// The present.
pub trait Clock {
    /// UTC milliseconds since the epoch.
    fn now_ms(&self) -> u64;
}

/// Randomness, for jitter.
pub trait Random {
    /// A number below `bound`, uniformly; 0 where `bound` is 0.
    fn below(&self, bound: u64) -> u64;
}

/// Fresh ids.
pub trait Ids {
    /// An id that nobody had before: a UUIDv7.
    fn fresh(&self) -> uuid::Uuid;
}

/// A message on its way out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outgoing {
    /// The queue, by name or URL: whatever the [`Queue`] port understands.
    pub queue: String,
    /// The body, at most 1 MiB with the attributes.
    pub body: String,
    /// `MessageGroupId`: order on a FIFO queue, fairness on a standard one.
    pub group: Option<String>,
    /// `MessageDeduplicationId`, on a FIFO queue.
    pub dedup: Option<String>,
    /// String attributes, at most ten.
    pub attributes: Vec<(String, String)>,
}

/// One change of a received message's visibility.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The receipt handle of this receive.
    pub receipt_handle: String,
    /// Seconds from now. SQS refuses what ends over 43,200 s after the receive.
    pub visible_in_s: u32,
}

/// Sends messages and changes visibilities. Both take at most ten entries and answer each: an `Err` holds what the
/// service said, for the log. A call that failed as a whole answers the same `Err` for every entry.
pub trait Queue {
    /// `SendMessageBatch` to one queue.
    fn send(&self, queue: &str, messages: &[Outgoing]) -> impl Future<Output = Vec<Result<(), String>>> + Send;

    /// `ChangeMessageVisibilityBatch` on the queue of this ARN.
    fn change_visibility(
        &self,
        queue_arn: &str,
        entries: &[Entry],
    ) -> impl Future<Output = Vec<Result<(), String>>> + Send;
}

/// Looks at queues.
pub trait QueueDepth {
    /// How many messages wait in the queue of this ARN (`ApproximateNumberOfMessages`): neither those in flight nor those
    /// delayed. Approximate: it may lag a minute.
    fn queue_depth(&self, queue_arn: &str) -> impl Future<Output = Result<u64, StoreError>> + Send;
}
