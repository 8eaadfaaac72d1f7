//! The ports in memory, by the rules of DynamoDB, SQS and S3: for tests and for simulations.
//!
//! Everything here is driven by a [`World`]: its clock moves only as it is told (or with tokio's), its dice are seeded.
//! The same program under the same seed does the same, call by call, as long as it runs on one thread.
//!
//! - [`MemoryStore`]: tables with indexes, DynamoDB's expressions, transactions that meet each other, streams.
//! - [`MemoryQueue`]: standard and FIFO queues, dead letters, duplicate and disordered delivery.
//! - [`MemoryObjects`], buckets with their objects.
//!
//! [`Memory`] is what a consumer needs of them, in one value.

mod objects;
mod queue;
mod store;
mod world;

pub use objects::MemoryObjects;
pub use queue::{Counts, Disorder, MemoryQueue, QueueCall, QueueConfig, QueueFault};
pub use store::{
    Call, Change, Changes, Fault, Index, KeyType, MemoryStore, Operation, Projection, Table, validation_error,
};
pub use world::World;

use crate::ports::Ports;

/// The ports of a consumer, in memory: what `aws::Aws` is in a real function.
///
/// ```
/// use lambda_queue::memory::{KeyType, Memory, QueueConfig, Table};
///
/// let memory = Memory::new(7);
/// memory.queues.create(QueueConfig::new("work").visibility_s(90).redrive("work-dlq", 10));
/// memory.queues.create(QueueConfig::new("work-dlq"));
/// memory.store.create(Table::new("effects", "key", KeyType::S).expiring_by("expires_at"));
/// ```
pub type Memory = Ports<World, MemoryQueue, MemoryStore>;

impl Memory {
    /// Without queues and tables, in a world of this seed whose time stands still until it is moved.
    pub fn new(seed: u64) -> Self {
        Self::of(World::new(seed))
    }

    /// Without queues and tables, in this world.
    pub fn of(world: World) -> Self {
        Self { queues: MemoryQueue::new(world.clone()), store: MemoryStore::new(world.clone()), world }
    }
}
