//! Idempotency: its rules one by one, its promise as a model, and against DynamoDB Local.

#![cfg(feature = "memory")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm
)]

mod cache;
mod cache_shuttle;
mod calls;
mod doubts;
#[cfg(feature = "aws")]
mod dynamodb;
mod guards;
mod keys;
mod leases;
mod model;
#[cfg(feature = "aws")]
mod proofs;
#[cfg(feature = "aws")]
mod proxy;

use lambda_queue::idempotency::{Fingerprint, Key, Leases, Namespace};
use lambda_queue::memory::{Fault, KeyType, MemoryStore, Table, World};
use serde_json::json;

const TABLE: &str = "idempotency";
const ROWS: &str = "rows";
const DAY_MS: u64 = 86_400_000;
const KEPT_MS: u64 = 393 * DAY_MS;

fn table() -> Table {
    Table::new(TABLE, "key", KeyType::S).expiring_by("expires_at")
}

fn setup() -> (MemoryStore, World) {
    let world = World::new(1);
    let store = MemoryStore::new(world.clone()).with(table()).with(Table::new(ROWS, "id", KeyType::S));
    (store, world)
}

fn leases<'a>(store: &'a MemoryStore, world: &'a World) -> Leases<'a, MemoryStore, World> {
    Leases::new(store, world, TABLE, KEPT_MS)
}

fn key(name: &str) -> Key {
    Namespace::new("bill", "invoice").unwrap().key([json!(name)]).unwrap()
}

fn fingerprint(payload: u32) -> Fingerprint {
    Fingerprint::of(&json!({ "payload": payload })).unwrap()
}

/// The calls from now on have these faults, one each, and those after them none.
fn faults(store: &MemoryStore, faults: &[Fault]) {
    let mut faults = faults.to_vec().into_iter();
    store.set_faults(move |_| faults.next().unwrap_or_default());
}

/// The n-th call from now on has this fault, counted from 0.
fn fault_at(store: &MemoryStore, at: usize, fault: Fault) {
    let mut calls = 0_usize;
    store.set_faults(move |_| {
        calls += 1;
        if calls == at + 1 { fault.clone() } else { Fault::None }
    });
}
