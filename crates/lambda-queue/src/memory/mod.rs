//! The ports in memory, by the rules of DynamoDB, SQS and S3: for tests and for simulations.
//!
//! Everything here is driven by a [`World`]: its clock moves only as it is told (or with tokio's), its dice are seeded.
//! The same program under the same seed does the same, call by call, as long as it runs on one thread.
//!
//! - [`MemoryStore`]: tables with indexes, DynamoDB's expressions, transactions that meet each other, streams.

mod store;
mod world;

pub use store::{
    Call, Change, Changes, Fault, Index, KeyType, MemoryStore, Operation, Projection, Table, validation_error,
};
pub use world::World;
