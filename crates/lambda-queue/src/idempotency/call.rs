//! The idempotent call: a handler that runs once for a key and a payload, and is answered from the table afterwards.

use std::future::Future;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::ports::Tries;
use crate::ports::store::{Item, Store, StoreError, Write, text_of};
use crate::{Clock, Failure, Ids};

use super::cache::Cached;
use super::doubt::{Capability, Decision, Seen, decide};
use super::error::IdempotencyError;
use super::fingerprint::Fingerprint;
use super::key::{Key, hex};
use super::lease::{Claimed, EffectKey, EffectRecords as _, Ended, Lease, MAX_ATTEMPTS, Receipt};
use super::leases::{Found, Kept, Leases, Terms};
use super::record::Stored;
use super::settings::{Oversize, Settings};

/// The operation of a record that only one call uses.
pub(super) const CALL: &str = "call";
/// How often a result's write is tried where the table is busy.
const RECORD_TRIES: u32 = 6;
/// Before the next try, milliseconds, times the try.
const RECORD_PAUSE_MS: u64 = 20;

/// How a call came by its result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// The handler ran.
    Ran,
    /// The handler had run before: from the record.
    Replayed,
    /// The handler had run before: from this process's cache.
    Cached,
    /// The effect had happened, and its answer had been lost: a look-up found it.
    Adopted,
    /// The handler ran, and nothing was kept: idempotency is switched off.
    Unguarded,
}

/// A result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer<T> {
    /// What the handler answered, now or the first time.
    pub value: T,
    /// How it was come by.
    pub how: How,
}

/// One call: what it is for, and until when its worker may be at it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Call<'a> {
    /// Which call is the same call.
    pub key: &'a Key,
    /// Which payload is the same payload.
    pub fingerprint: &'a Fingerprint,
    /// When the lease ends, UTC milliseconds: the invocation's deadline and [`super::LEASE_PAST_DEADLINE_MS`]. The handler
    /// must not run longer.
    pub lease_until_ms: u64,
}

/// Idempotent calls over a table. A first run is two conditional writes (claim, completion), a replay one that is refused
/// with the stored result, or none from the cache.
///
/// ```
/// # #[cfg(feature = "memory")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), lambda_queue::Failure> {
/// # use lambda_queue::{Clock as _, Failure};
/// # use lambda_queue::memory::{KeyType, MemoryStore, Table, World};
/// # use serde_json::json;
/// # let world = World::new(1);
/// # let table = Table::new("idempotency", "key", KeyType::S).expiring_by("expires_at");
/// # let store = MemoryStore::new(world.clone()).with(table);
/// use lambda_queue::idempotency::{Call, Capability, Fingerprint, How, Idempotency, IdempotencyError, Namespace, Settings};
///
/// let settings = Settings::new("idempotency", 30 * 86_400_000).switched_by_env();
/// let idempotency = Idempotency::new(&store, &world, &settings);
/// let payload = json!({"order_id": "o1", "total": 12});
/// let key = Namespace::new("bill", "invoice").and_then(|ns| ns.key_at(&payload, &["/order_id"]));
/// let key = key.map_err(IdempotencyError::from)?;
/// let fingerprint = Fingerprint::of(&payload).map_err(IdempotencyError::from)?;
/// let call = Call { key: &key, fingerprint: &fingerprint, lease_until_ms: world.now_ms() + 20_000 };
///
/// let handler = |_lease| async { Ok::<_, Failure>("invoice 7".to_owned()) };
/// let first = idempotency.run(call, Capability::REPEATABLE, handler).await?;
/// let again = idempotency.run(call, Capability::REPEATABLE, handler).await?;
/// assert_eq!((first.how, again.how), (How::Ran, How::Replayed));
/// assert_eq!(first.value, again.value);
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "memory"))]
/// # fn main() {}
/// ```
#[derive(Debug)]
pub struct Idempotency<'a, S, W> {
    pub(super) store: &'a S,
    world: &'a W,
    pub(super) settings: &'a Settings,
    pub(super) leases: Leases<'a, S, W>,
}

impl<'a, S: Store + Sync, W: Clock + Ids + Sync> Idempotency<'a, S, W> {
    /// Over this store, in this world.
    pub fn new(store: &'a S, world: &'a W, settings: &'a Settings) -> Self {
        Self { store, world, settings, leases: Leases::new(store, world, &settings.table, settings.kept_ms) }
    }

    /// Runs the handler once for this key.
    ///
    /// What the handler answers decides what becomes of the lease: a result completes it; `Retry` and `Defer` give it back,
    /// as it surely did not run; `Poison` gives it back and counts; `Unknown`, `Bug`, a panic and a dropped future leave the
    /// effect in doubt. `capability` says what is done about a doubt later: without a look-up that is to run again under
    /// the same key while it is honoured ([`Capability::REPEATABLE`]: always), else to park.
    pub async fn run<T, F, R>(
        &self,
        call: Call<'_>,
        capability: Capability,
        handler: F,
    ) -> Result<Answer<T>, IdempotencyError>
    where
        T: Serialize + DeserializeOwned,
        F: FnOnce(Lease) -> R,
        R: Future<Output = Result<T, Failure>>,
    {
        self.run_looking_up(call, capability, |_| async { Ok(Seen::NotLooked) }, handler).await
    }

    /// [`Idempotency::run`] of a handler whose effect can be looked up at its provider, by the lease's note or
    /// [`Lease::provider_key`]. The look-up is asked only about an effect in doubt, once lease and settle time are over.
    pub async fn run_looking_up<T, L, M, F, R>(
        &self,
        call: Call<'_>,
        capability: Capability,
        look_up: L,
        handler: F,
    ) -> Result<Answer<T>, IdempotencyError>
    where
        T: Serialize + DeserializeOwned,
        L: FnOnce(Lease) -> M,
        M: Future<Output = Result<Seen<T>, Failure>>,
        F: FnOnce(Lease) -> R,
        R: Future<Output = Result<T, Failure>>,
    {
        if self.settings.disabled {
            let value = handler(self.unguarded(call)).await.map_err(IdempotencyError::Handler)?;
            return Ok(Answer { value, how: How::Unguarded });
        }
        if let Some(answer) = self.replay_cached(call)? {
            return Ok(answer);
        }
        let key = EffectKey { record: call.key.as_str().to_owned(), operation: CALL.to_owned(), version: 0 };
        let terms = Terms { fingerprint: Some(call.fingerprint.as_str()), renew_expired: true };
        let settle_ms = capability.settle_ms;
        let found = self.leases.claim_on(&key, call.lease_until_ms, settle_ms, terms).await;
        let (claimed, record) = match found.map_err(IdempotencyError::Handler)? {
            Found::Claimed(claimed, record) => (claimed, record),
            Found::Conflict => return Err(IdempotencyError::Conflict),
        };
        match claimed {
            Claimed::Completed => self.replay(call, record.as_ref()),
            Claimed::Held { until_ms, live } => Err(IdempotencyError::InProgress { until_ms, live }),
            Claimed::Skipped | Claimed::Busy { .. } => Err(IdempotencyError::OtherUse),
            Claimed::Fresh(lease) if lease.attempts > MAX_ATTEMPTS => {
                self.park(&lease, settle_ms, format!("{MAX_ATTEMPTS} attempts came to nothing")).await
            }
            Claimed::Fresh(lease) => self.perform(call, capability, lease, Doubt::None, handler).await,
            Claimed::InDoubt(lease) => {
                let seen = match look_up(lease.clone()).await {
                    Ok(seen) => seen,
                    Err(failure) => return Err(in_doubt(&lease, settle_ms, format!("look-up failed: {failure}"))),
                };
                // A call under the old key may be at the provider that long.
                let calls_until_ms = lease.until_ms.saturating_add(settle_ms);
                let decision = decide(capability, seen, lease.key_since_ms, calls_until_ms);
                match decision {
                    Decision::Adopt(value) => self.complete(call, capability, &lease, value, How::Adopted).await,
                    Decision::Park { why } => self.park(&lease, settle_ms, why.to_owned()).await,
                    Decision::SameKey | Decision::NewKey if lease.attempts > MAX_ATTEMPTS => {
                        self.park(&lease, settle_ms, format!("{MAX_ATTEMPTS} attempts came to nothing")).await
                    }
                    Decision::SameKey => self.perform(call, capability, lease, Doubt::Earlier, handler).await,
                    Decision::NewKey => {
                        let raised = self.leases.raise_generation(&lease).await;
                        let lease = raised.map_err(IdempotencyError::Handler)?;
                        self.perform(call, capability, lease, Doubt::None, handler).await
                    }
                }
            }
        }
    }

    /// A lease that nobody keeps.
    fn unguarded(&self, call: Call<'_>) -> Lease {
        let record = call.key.as_str().to_owned();
        Lease {
            key: EffectKey { record, operation: CALL.to_owned(), version: 0 },
            owner: self.leases.fresh_id(),
            until_ms: call.lease_until_ms,
            attempts: 1,
            generation: 0,
            key_since_ms: Some(self.world.now_ms()),
            note: None,
        }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.world.now_ms()
    }

    /// The result that this process remembers.
    pub(super) fn replay_cached<T: DeserializeOwned>(
        &self,
        call: Call<'_>,
    ) -> Result<Option<Answer<T>>, IdempotencyError> {
        let cache = self.settings.cache.as_ref();
        let Some(cached) = cache.and_then(|cache| cache.get(call.key.as_str(), self.now_ms())) else { return Ok(None) };
        if cached.fingerprint != call.fingerprint.as_str() {
            return Err(IdempotencyError::Conflict);
        }
        let stored = Stored {
            result: Some(cached.result),
            too_large_bytes: None,
            fingerprint: Some(cached.fingerprint),
            expires_ms: Some(cached.expires_ms),
        };
        Ok(Some(Answer { value: self.replayed(stored)?, how: How::Cached }))
    }

    pub(super) fn remember(&self, call: Call<'_>, result: &str, expires_ms: Option<u64>) {
        if let (Some(cache), Some(expires_ms)) = (&self.settings.cache, expires_ms) {
            let fingerprint = call.fingerprint.as_str().to_owned();
            cache.put(call.key.as_str(), Cached { fingerprint, result: result.to_owned(), expires_ms });
        }
    }

    pub(super) fn replay<T: DeserializeOwned>(
        &self,
        call: Call<'_>,
        record: Option<&Item>,
    ) -> Result<Answer<T>, IdempotencyError> {
        let ours = record.filter(|record| text_of(record, "operation") == Some(CALL));
        let stored = ours.map(Stored::of).ok_or(IdempotencyError::OtherUse)?;
        if let Some(result) = &stored.result {
            self.remember(call, result, stored.expires_ms);
        }
        Ok(Answer { value: self.replayed(stored)?, how: How::Replayed })
    }

    fn replayed<T: DeserializeOwned>(&self, stored: Stored) -> Result<T, IdempotencyError> {
        if let Some(bytes) = stored.too_large_bytes {
            return Err(IdempotencyError::TooLarge { bytes });
        }
        let result = stored.result.as_deref().unwrap_or("null");
        let Some(hook) = &self.settings.on_replay else { return serde_json::from_str(result).map_err(unreadable) };
        let value = hook(serde_json::from_str(result).map_err(unreadable)?, &stored);
        serde_json::from_value(value.map_err(IdempotencyError::Handler)?).map_err(unreadable)
    }

    async fn perform<T, F, R>(
        &self,
        call: Call<'_>,
        capability: Capability,
        lease: Lease,
        doubt: Doubt,
        handler: F,
    ) -> Result<Answer<T>, IdempotencyError>
    where
        T: Serialize,
        F: FnOnce(Lease) -> R,
        R: Future<Output = Result<T, Failure>>,
    {
        let failure = match handler(lease.clone()).await {
            Ok(value) => return self.complete(call, capability, &lease, value, How::Ran).await,
            Err(failure) => failure,
        };
        match &failure {
            Failure::Retry { .. } | Failure::Defer { .. } | Failure::Busy { .. } => {
                self.give_back(&lease, doubt, false).await;
            }
            Failure::Poison { .. } => self.give_back(&lease, doubt, true).await,
            Failure::Unknown { .. } | Failure::Bug { .. } => {}
        }
        Err(IdempotencyError::Handler(failure))
    }

    /// Gives back the lease of an attempt that surely had no effect. Where an earlier one may have had it, the doubt stays.
    ///
    /// Where that fails the record stays as it is: held to the lease's end, then in doubt, so that somebody looks. Nothing
    /// can happen twice by that, so the caller is told what the handler said: poison is dead-lettered all the same, and a
    /// provider's `Retry-After` is kept.
    async fn give_back(&self, lease: &Lease, doubt: Doubt, counts: bool) {
        let first = !counts && lease.attempts == 1 && lease.generation == 0 && lease.note.is_none();
        let given = match doubt {
            Doubt::Earlier => self.leases.leave_in_doubt(lease).await.map(drop).map_err(Failure::from),
            Doubt::None if first => match self.leases.forget(lease).await {
                Ok(true) => Ok(()),
                // A note that the handler made is not in this lease: the record then stays, and is freed.
                Ok(false) => self.leases.free(lease, counts).await,
                Err(error) => Err(error.into()),
            },
            Doubt::None => self.leases.free(lease, counts).await,
        };
        if let Err(why) = given {
            let (record, until_ms) = (reference(lease), lease.until_ms);
            tracing::warn!(record, until_ms, %why, "a lease was not given back: from its end on it counts as in doubt");
        }
    }

    async fn complete<T: Serialize>(
        &self,
        call: Call<'_>,
        capability: Capability,
        lease: &Lease,
        value: T,
        how: How,
    ) -> Result<Answer<T>, IdempotencyError> {
        let result = serde_json::to_string(&value).map_err(unreadable)?;
        let fits = result.len() <= self.settings.most_result_bytes;
        let kept = if fits { Kept::Whole(&result) } else { Kept::TooLarge(result.len()) };
        let expires_ms = self.leases.expires_s().saturating_mul(1_000);
        match self.record(lease, || self.leases.completion_of(lease, Some(kept), Receipt::Stands)).await {
            Ok(Ended::Done) => {}
            Ok(Ended::LeaseLost) => return Err(lease_lost(lease, capability.settle_ms)),
            Err(error) => return Err(in_doubt(lease, capability.settle_ms, format!("it ran, but {error}"))),
        }
        if fits {
            self.remember(call, &result, Some(expires_ms));
        } else if self.settings.oversize == Oversize::Refuse {
            let bytes = u64::try_from(result.len()).unwrap_or(u64::MAX);
            return Err(IdempotencyError::TooLarge { bytes });
        }
        Ok(Answer { value, how })
    }

    /// The effect stands: a busy table is worth another try now, else the effect would wait to be looked up.
    async fn record(&self, lease: &Lease, write: impl Fn() -> Write) -> Result<Ended, StoreError> {
        let mut tries = Tries::default();
        for tried in 1..RECORD_TRIES {
            match tries.judge(self.leases.end(lease, &write).await) {
                Err(StoreError::NotDone(_) | StoreError::Unknown(_)) => pause(tried).await,
                ended => return ended,
            }
        }
        tries.judge(self.leases.end(lease, write).await)
    }

    async fn park<T>(&self, lease: &Lease, settle_ms: u64, why: String) -> Result<Answer<T>, IdempotencyError> {
        match self.leases.park(lease).await? {
            Ended::Done => Err(IdempotencyError::Parked { why }),
            Ended::LeaseLost => Err(lease_lost(lease, settle_ms)),
        }
    }
}

/// Whether an earlier attempt under the lease's key may have had its effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Doubt {
    None,
    Earlier,
}

pub(super) async fn pause(tried: u32) {
    tokio::time::sleep(Duration::from_millis(RECORD_PAUSE_MS.saturating_mul(u64::from(tried)))).await;
}

/// What the record is called where its key is not to be seen.
fn reference(lease: &Lease) -> String {
    let mut reference = hex(&Sha256::digest(lease.key.record.as_bytes()));
    reference.truncate(16);
    reference
}

fn in_doubt(lease: &Lease, settle_ms: u64, why: String) -> IdempotencyError {
    let until_ms = lease.until_ms.saturating_add(settle_ms);
    IdempotencyError::InDoubt { reference: reference(lease), until_ms, why }
}

fn lease_lost(lease: &Lease, settle_ms: u64) -> IdempotencyError {
    IdempotencyError::LeaseLost { reference: reference(lease), until_ms: lease.until_ms.saturating_add(settle_ms) }
}

pub(super) fn unreadable(error: serde_json::Error) -> IdempotencyError {
    IdempotencyError::Unreadable(error.to_string())
}
