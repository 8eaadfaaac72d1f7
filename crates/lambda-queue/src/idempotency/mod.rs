//! One effect, once: three ways, and which one when.
//!
//! | what the effect is | way | calls | write units (records of up to 1 KiB) |
//! | --- | --- | --- | --- |
//! | one row of a table | [`Guard`]: one conditional write of that row | 1 | 1 |
//! | several items of tables | [`Idempotency::apply`]: one transaction, the record in it | 1 | 2 an item, 2 the record |
//! | anything outside | [`Idempotency::run`], or [`Leases`] where operations share a record | 2 | 1 + 1 |
//! | outside, no key, no look-up, rather never than twice | [`Claims`] | 2 | 1 + 1 |
//!
//! Around the whole handler of a batch, over the same table: [`crate::batch::delivery`].
//!
//! A replay of a call is one refused write (1 unit a KiB of the record), or none from the [`ResultCache`].
//!
//! # A lease
//! The record's life: `FREE` (or absent) -> `IN_PROGRESS` (owner, lease) -> `COMPLETED`, or back to `FREE` when the effect
//! surely did not run. A lease that ended while `IN_PROGRESS` is **in doubt**, never free: whoever takes it over looks the
//! effect up first, once the provider's settle time has passed too. [`decide`] says what follows. `SKIPPED` is a
//! tombstone: the effect never ran and never will.
//!
//! Every later write, and every deletion, is conditional on the owner, so a process whose lease was taken can change nothing
//! any more; a write whose answer was lost finds its own token in the record, and stays in doubt until a try is answered. A
//! record has no time to live until it is completed and the receipt stands ([`Receipt`]). The service deletes late, so expiry
//! is compared here as well.

mod cache;
mod call;
mod claims;
mod doubt;
mod error;
mod fingerprint;
mod guard;
mod key;
mod lease;
mod leases;
mod record;
mod settings;
mod transaction;

/// What the cache locks with: tests put a model checker's in its place.
mod sync {
    pub(super) use std::sync::{Mutex, PoisonError};
}

pub use cache::{Cached, ResultCache};
pub use call::{Answer, Call, How, Idempotency};
pub(crate) use claims::Taken;
pub use claims::{Claim, Claims};
pub use doubt::{Capability, Decision, Lookup, Seen, decide};
pub use error::IdempotencyError;
pub use fingerprint::{Fingerprint, FingerprintError};
pub use guard::{Guard, GuardError, Guarded};
pub use key::{KEY_BYTES, KEY_PARTS, Key, KeyError, Namespace};
pub use lease::{Claimed, EffectKey, EffectRecords, Ended, LEASE_PAST_DEADLINE_MS, Lease, MAX_ATTEMPTS, Receipt};
pub use leases::Leases;
pub use record::Stored;
pub use settings::{OFF_SWITCH, Oversize, RESULT_BYTES, ReplayHook, Settings};
pub use transaction::Applied;
