//! The only crate that names `aws_sdk_*`: an adapter for every port, and where functions get their settings from.
//!
//! [`Platform`] is the order system's ports over a [`Backend`]: tables, queues, clock, randomness and ids. [`Aws`] is the one
//! over AWS, with one client a service, made when first used; every attempt of every call is counted by an interceptor
//! ([`lambda_queue::meter`]). `memory` (a feature) is the one in memory.

mod archive;
mod aws;
mod breakers;
mod cases;
mod catalogue;
mod decisions;
mod due;
mod effects;
mod events;
mod item;
mod lanes;
mod mail;
mod mappings;
#[cfg(feature = "memory")]
pub mod memory;
mod orders;
mod settings;
mod stock;
mod tenants;

use lambda_queue::ports::store::{Item, Page, Query, Store, Transacted, Write, Written};
use lambda_queue::{Clock, Entry, Ids, Outgoing, Queue, QueueDepth, Random};
use ports::{CommandVersion, SendCommands, StoreError};
use uuid::Uuid;

pub use aws::{Aws, Cloud, StartError};
pub use breakers::{Breaker, Breakers, Guarded, SLOW_CALL_MS, breaker, breaker_settings, outcome};
pub use cases::Walked;
pub use catalogue::{Changed, Expected, ProductChange};
pub use lanes::lane_teller;
pub use mappings::mapping_of;
pub use settings::{Names, Retention, address, command_version, init_logging, setting};

/// What a platform stands on.
pub trait Backend: Store + Queue + QueueDepth + Clock + Random + Ids + Send + Sync {}

impl<B: Store + Queue + QueueDepth + Clock + Random + Ids + Send + Sync> Backend for B {}

/// The order system's ports over a backend.
#[derive(Debug)]
pub struct Platform<B> {
    pub(crate) backend: B,
    pub(crate) names: Names,
}

impl<B> Platform<B> {
    /// Over this backend, with names of what is there.
    pub fn over(backend: B, names: Names) -> Self {
        Self { backend, names }
    }

    /// The names it works with.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// What it stands on.
    pub fn backend(&self) -> &B {
        &self.backend
    }
}

impl<B: Clock> Clock for Platform<B> {
    fn now_ms(&self) -> u64 {
        self.backend.now_ms()
    }
}

impl<B: Random> Random for Platform<B> {
    fn below(&self, bound: u64) -> u64 {
        self.backend.below(bound)
    }
}

impl<B: Ids> Ids for Platform<B> {
    fn fresh(&self) -> Uuid {
        self.backend.fresh()
    }
}

impl<B: Backend> Queue for Platform<B> {
    async fn send(&self, queue: &str, messages: &[Outgoing]) -> Vec<Result<(), String>> {
        self.backend.send(queue, messages).await
    }

    async fn change_visibility(&self, queue_arn: &str, entries: &[Entry]) -> Vec<Result<(), String>> {
        self.backend.change_visibility(queue_arn, entries).await
    }
}

impl<B: Backend> QueueDepth for Platform<B> {
    async fn queue_depth(&self, queue_arn: &str) -> Result<u64, StoreError> {
        self.backend.queue_depth(queue_arn).await
    }
}

impl<B: Backend> Store for Platform<B> {
    async fn get(&self, table: &str, key: Item, consistent: bool) -> Result<Option<Item>, StoreError> {
        self.backend.get(table, key, consistent).await
    }

    async fn get_all(&self, table: &str, keys: Vec<Item>, consistent: bool) -> Result<Vec<Item>, StoreError> {
        self.backend.get_all(table, keys, consistent).await
    }

    async fn query(&self, query: Query) -> Result<Page, StoreError> {
        self.backend.query(query).await
    }

    async fn write(&self, write: Write) -> Result<Written, StoreError> {
        self.backend.write(write).await
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<Transacted, StoreError> {
        self.backend.transact(writes).await
    }
}

impl<B: Backend> SendCommands for Platform<B> {
    fn command_version(&self) -> CommandVersion {
        self.names.command_version
    }
}
