//! The lease around one effect outside, and the types that its users share.

use std::future::Future;

use crate::Failure;

/// Attempts of one effect before a person has to look.
pub const MAX_ATTEMPTS: u32 = 12;

/// A lease ends this long after its owner's Lambda deadline, milliseconds.
pub const LEASE_PAST_DEADLINE_MS: u64 = 5_000;

/// Which effect: `record` is the key that serialises effects (one record an order and provider), `operation` tells the
/// effects apart that share it, its ordinal included: `refund#2`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct EffectKey {
    /// `<namespace>#<subject>`: the table's key, at most 2,048 bytes.
    pub record: String,
    /// `<effect>#<ordinal>`.
    pub operation: String,
    /// The subject's version that asks for it: it only grows, so a copy that read an old version cannot begin an operation
    /// again after a later one has ended.
    pub version: u64,
}

/// The right to run an effect, until it ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    /// Of what.
    pub key: EffectKey,
    /// Fencing token: of this claim only.
    pub owner: String,
    /// UTC milliseconds.
    pub until_ms: u64,
    /// How often this operation was claimed, this time included.
    pub attempts: u32,
    /// Raised only after a look-up proved that the last one had no effect: a provider replays what it stored for a key.
    pub generation: u32,
    /// When this generation's key may first have been used, UTC milliseconds. `None` in a record of a program that did not
    /// keep it: then no window is believed to be open still.
    pub key_since_ms: Option<u64>,
    /// What an earlier attempt kept: the provider's id of an object made before the effect.
    pub note: Option<String>,
}

impl Lease {
    /// The provider's idempotency key: the same for every attempt of one generation.
    pub fn provider_key(&self) -> String {
        format!("{}/{}/{}", self.key.record, self.key.operation, self.generation)
    }
}

/// What a claim found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Claimed {
    /// Nobody is at it, and no earlier attempt is in doubt.
    Fresh(Lease),
    /// An earlier owner's lease and the settle time ran out: look the effect up before anything else.
    InDoubt(Lease),
    /// Somebody holds it, or it is in doubt and not yet to be looked up: come back then, UTC milliseconds.
    Held {
        /// UTC milliseconds.
        until_ms: u64,
    },
    /// This operation is done, or a later one is: what the caller read is old.
    Completed,
    /// This operation was given up before it ran.
    Skipped,
    /// The record is in the middle of another operation, which must end first.
    Busy {
        /// That operation.
        operation: String,
    },
}

/// Whether the effect's receipt stands where it is read from later. Only then may the record's time to live begin: a
/// record that ends before its receipt is written would let the effect happen again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Receipt {
    /// It is in the record itself, or is written in the same transaction, or was written before.
    Stands,
    /// It is still to be written. [`super::Leases::receipt_stands`] begins the time to live.
    Pending,
}

/// How a write that ends a lease went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ended {
    /// It is written, now or by an earlier try of the same call.
    Done,
    /// Nothing is written: the lease is somebody else's.
    LeaseLost,
}

/// The records. Every method is one conditional write; a write whose answer was lost recognises itself by its owner
/// token when it is repeated.
pub trait EffectRecords {
    /// Takes the lease, or tells why not. `settle_ms`: how long after a lease's end the provider may still be working.
    fn claim(
        &self,
        key: &EffectKey,
        lease_until_ms: u64,
        settle_ms: u64,
    ) -> impl Future<Output = Result<Claimed, Failure>> + Send;

    /// Keeps a note in the record. `Retry` where the lease was lost.
    fn note(&self, lease: &Lease, note: &str) -> impl Future<Output = Result<Lease, Failure>> + Send;

    /// Raises the generation, after a look-up proved that the present one had no effect.
    fn raise_generation(&self, lease: &Lease) -> impl Future<Output = Result<Lease, Failure>> + Send;

    /// Gives the lease back: this attempt surely had no effect. Whether it counts as an attempt is the caller's to say: one
    /// that was never started, or that the provider had no room for, does not.
    fn free(&self, lease: &Lease, counts: bool) -> impl Future<Output = Result<(), Failure>> + Send;
}
