//! One value for what asks for several ports.

use std::future::Future;

use uuid::Uuid;

use super::store::{Item, Page, Query, Store, StoreError, Transacted, Write, Written};
use super::{Clock, Entry, Ids, Outgoing, Queue, QueueDepth, Random};

/// Several ports in one: a [`Batch`](crate::Batch) asks for a clock, randomness and a queue, an idempotent call for a clock,
/// ids and a store. Every call goes to the part that has the port. A part that is not needed may be `()`.
///
/// `aws::Aws` and `memory::Memory` are the usual ones. A test may put its own part among others:
///
/// ```
/// use lambda_queue::{Batch, Clock, Entry, Outgoing, Ports, Queue, Random};
///
/// struct Noon;
/// impl Clock for Noon {
///     fn now_ms(&self) -> u64 {
///         1_767_268_800_000
///     }
/// }
/// impl Random for Noon {
///     fn below(&self, _: u64) -> u64 {
///         0
///     }
/// }
///
/// struct Gone;
/// impl Queue for Gone {
///     async fn send(&self, _: &str, messages: &[Outgoing]) -> Vec<Result<(), String>> {
///         vec![Err("gone".to_owned()); messages.len()]
///     }
///     async fn change_visibility(&self, _: &str, entries: &[Entry]) -> Vec<Result<(), String>> {
///         vec![Err("gone".to_owned()); entries.len()]
///     }
/// }
///
/// let ports = Ports { world: Noon, queues: Gone, store: () };
/// let batch = Batch::new("greet", &ports);
/// # drop(batch);
/// ```
#[derive(Clone, Copy, Default, Debug)]
pub struct Ports<W, Q, S> {
    /// Clock, randomness and ids.
    pub world: W,
    /// Queues.
    pub queues: Q,
    /// Tables.
    pub store: S,
}

impl<W: Clock, Q, S> Clock for Ports<W, Q, S> {
    fn now_ms(&self) -> u64 {
        self.world.now_ms()
    }
}

impl<W: Random, Q, S> Random for Ports<W, Q, S> {
    fn below(&self, bound: u64) -> u64 {
        self.world.below(bound)
    }
}

impl<W: Ids, Q, S> Ids for Ports<W, Q, S> {
    fn fresh(&self) -> Uuid {
        self.world.fresh()
    }
}

impl<W, Q: Queue, S> Queue for Ports<W, Q, S> {
    fn send(&self, queue: &str, messages: &[Outgoing]) -> impl Future<Output = Vec<Result<(), String>>> + Send {
        self.queues.send(queue, messages)
    }

    fn change_visibility(
        &self,
        queue_arn: &str,
        entries: &[Entry],
    ) -> impl Future<Output = Vec<Result<(), String>>> + Send {
        self.queues.change_visibility(queue_arn, entries)
    }
}

impl<W, Q: QueueDepth, S> QueueDepth for Ports<W, Q, S> {
    fn queue_depth(&self, queue_arn: &str) -> impl Future<Output = Result<u64, StoreError>> + Send {
        self.queues.queue_depth(queue_arn)
    }
}

impl<W, Q, S: Store> Store for Ports<W, Q, S> {
    fn get(
        &self,
        table: &str,
        key: Item,
        consistent: bool,
    ) -> impl Future<Output = Result<Option<Item>, StoreError>> + Send {
        self.store.get(table, key, consistent)
    }

    fn get_all(
        &self,
        table: &str,
        keys: Vec<Item>,
        consistent: bool,
    ) -> impl Future<Output = Result<Vec<Item>, StoreError>> + Send {
        self.store.get_all(table, keys, consistent)
    }

    fn query(&self, query: Query) -> impl Future<Output = Result<Page, StoreError>> + Send {
        self.store.query(query)
    }

    fn write(&self, write: Write) -> impl Future<Output = Result<Written, StoreError>> + Send {
        self.store.write(write)
    }

    fn transact(&self, writes: Vec<Write>) -> impl Future<Output = Result<Transacted, StoreError>> + Send {
        self.store.transact(writes)
    }
}
