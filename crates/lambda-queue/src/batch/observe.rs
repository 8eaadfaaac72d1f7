//! Watching what became of the records, without a say in it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::drive::panic_text;
use futures::future::BoxFuture;

use super::{Invocation, Record};
use crate::{Failure, Verdict};

/// Is told of every record's end and of every invocation's, after the answer is settled and before it is given. It cannot
/// change the answer: it only reads, and a panic in it is caught and logged.
///
/// It runs in the invocation's time: whatever takes long belongs into the handler, or out of the process.
pub trait Observer: Send + Sync {
    /// A record was acknowledged.
    fn succeeded(&self, _: &Finished<'_>, _: Verdict) {}

    /// A record goes back to its queue.
    fn failed(&self, _: &Finished<'_>, _: Failed<'_>) {}

    /// All records of the invocation were told.
    fn finished(&self, _: &Summary<'_>) {}
}

/// A record at its end.
#[derive(Clone, Copy, Debug)]
pub struct Finished<'a> {
    /// The function's name.
    pub function: &'a str,
    /// The invocation.
    pub invocation: &'a Invocation,
    /// The queue's name.
    pub queue: &'a str,
    /// The record.
    pub record: &'a Record,
    /// Calls of services made for it alone ([`crate::meter`]).
    pub calls: &'a BTreeMap<&'static str, u64>,
    /// UTC milliseconds.
    pub now_ms: u64,
}

/// Why a record goes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failed<'a> {
    /// Its own failure.
    Itself(&'a Failure),
    /// It stands behind a failed record of its FIFO group.
    Follower,
}

impl Failed<'_> {
    /// Its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Itself(failure) => failure.name(),
            Self::Follower => "follower",
        }
    }
}

/// An invocation at its end.
#[derive(Clone, Copy, Debug)]
pub struct Summary<'a> {
    /// The function's name.
    pub function: &'a str,
    /// The invocation.
    pub invocation: &'a Invocation,
    /// The queue's name; empty for a stream.
    pub queue: &'a str,
    /// How many records it brought, each message once.
    pub records: usize,
    /// Their ids, in their order. Empty for a stream.
    pub received_ids: &'a [&'a str],
    /// Those that go back. Of a stream the sequence number from which on the batch comes again.
    pub failed_ids: &'a [String],
    /// How many go back. Of a stream, all from that number on.
    pub failed: usize,
    /// How many of them were deferred: no attempt was made.
    pub deferred: usize,
    /// Calls of services made for the batch, beside those for single records.
    pub calls: &'a BTreeMap<&'static str, u64>,
    /// Send calls of what the batch owes, by target queue.
    pub sends: &'a BTreeMap<String, u64>,
    /// UTC milliseconds.
    pub started_ms: u64,
    /// UTC milliseconds.
    pub now_ms: u64,
}

/// Tells an observer, and outlives it.
pub(super) fn tell(observer: &dyn Observer, what: impl FnOnce(&dyn Observer)) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| what(observer))) {
        tracing::error!(panic = panic_text(&*panic), "an observer panicked: the answer stands");
    }
}

/// Does something of the process's own after each batch: once its records are settled, before the answer is given. It has no
/// say in the answer, which waits for it: what takes too long is cut off, and a panic is caught and logged.
pub trait Afterwards: Send + Sync {
    /// After this batch.
    fn worked<'a>(&'a self, of: Worked<'a>) -> BoxFuture<'a, ()>;
}

/// What a batch came to.
#[derive(Clone, Copy, Debug)]
pub struct Worked<'a> {
    /// The queue's ARN.
    pub queue_arn: &'a str,
    /// Its name.
    pub queue: &'a str,
    /// How many records were received for the first time.
    pub first_receives: u64,
    /// How long these had waited together when the batch began, milliseconds.
    pub waited_ms: u64,
    /// How many records, whenever they were received, are acknowledged.
    pub done: u64,
    /// The invocation's deadline, UTC milliseconds.
    pub deadline_ms: u64,
}
