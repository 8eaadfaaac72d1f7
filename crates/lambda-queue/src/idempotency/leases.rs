//! Leases over a table.

use crate::ports::Tries;
use crate::ports::store::{
    Item, Reason, Store, StoreError, Value, Values, Write, Written, number, number_of, text, text_of,
};
use crate::{Clock, Failure, Ids};

use super::lease::{Claimed, EffectKey, EffectRecords, Ended, Lease, Receipt};
use super::record::{COMPLETED, FREE, IN_PROGRESS, OWNED, SKIPPED, Stored, delete, is_owner, lease_of, update};

/// How often a write is sent whose answers are lost, before the caller hears of it.
const TRIES: u32 = 3;

/// Leases of the records of one table, each method one conditional write (1 write unit a KiB of the record, a refused
/// one too). A write whose answer was lost is sent again up to twice, and knows itself by its owner token.
///
/// ```
/// # #[cfg(feature = "memory")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), lambda_queue::Failure> {
/// use lambda_queue::Clock as _;
/// use lambda_queue::idempotency::{Claimed, EffectKey, EffectRecords as _, Leases, Receipt};
/// use lambda_queue::memory::{KeyType, MemoryStore, Table, World};
///
/// let world = World::new(1);
/// let table = Table::new("idempotency", "key", KeyType::S).expiring_by("expires_at");
/// let store = MemoryStore::new(world.clone()).with(table);
/// let leases = Leases::new(&store, &world, "idempotency", 393 * 86_400_000);
/// let key = EffectKey { record: "payment#1".into(), operation: "authorize#0".into(), version: 2 };
/// let until_ms = world.now_ms() + 20_000;
/// let Claimed::Fresh(lease) = leases.claim(&key, until_ms, 30_000).await? else { unreachable!("nobody was there") };
/// // Now the provider is called with `lease.provider_key()`, and then:
/// leases.complete(&lease, None, Receipt::Stands).await?;
/// assert_eq!(leases.claim(&key, until_ms, 30_000).await?, Claimed::Completed);
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "memory"))]
/// # fn main() {}
/// ```
#[derive(Debug)]
pub struct Leases<'a, S, W> {
    store: &'a S,
    world: &'a W,
    table: &'a str,
    kept_ms: u64,
}

impl<S, W> Clone for Leases<'_, S, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S, W> Copy for Leases<'_, S, W> {}

/// What a claim asks for beyond the effect's key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Terms<'a> {
    /// Kept in the record.
    pub fingerprint: Option<&'a str>,
    /// A completed record whose time to live is over counts as none.
    pub renew_expired: bool,
}

/// What a claim met.
pub(super) enum Found {
    /// With the record that stood in the way of a first claim.
    Claimed(Claimed, Option<Item>),
    /// The record is of another payload; it stays as it is.
    Conflict,
}

impl<'a, S: Store + Sync, W: Clock + Ids + Sync> Leases<'a, S, W> {
    /// Leases in this table (key `key`, text; time to live `expires_at`). Completed records are kept for `kept_ms`: longer
    /// than anything can ask for the effect again, so queue, dead-letter and archive retention together.
    pub fn new(store: &'a S, world: &'a W, table: &'a str, kept_ms: u64) -> Self {
        Self { store, world, table, kept_ms }
    }

    /// Sends a write that knows itself again; again where its answer was lost, and then also where the next try is not
    /// taken: it stays `Unknown` until one is answered. It is made anew for each try: a copy in store for a try that hardly
    /// ever comes would cost more than all else here.
    pub(super) async fn send(&self, write: impl Fn() -> Write) -> Result<Written, StoreError> {
        let mut tries = Tries::default();
        for _ in 1..TRIES {
            match tries.judge(self.store.write(write()).await) {
                Err(StoreError::Unknown(why)) => tracing::debug!(why, "a record's answer was lost: sent again"),
                answer => return answer,
            }
        }
        tries.judge(self.store.write(write()).await)
    }

    pub(super) fn table(&self) -> &'a str {
        self.table
    }

    pub(super) fn fresh_id(&self) -> String {
        self.world.fresh().to_string()
    }

    /// UTC seconds: when a record that is completed now ends.
    pub(super) fn expires_s(&self) -> u64 {
        self.world.now_ms().saturating_add(self.kept_ms) / 1_000
    }

    fn expires_at(&self) -> Value {
        number(self.expires_s())
    }

    /// A write by the lease's owner; a record that is somebody else's is a lost race.
    async fn write_owned<const N: usize>(
        &self,
        lease: &Lease,
        set: &'static str,
        more: [(&'static str, Value); N],
    ) -> Result<Lease, Failure> {
        let write = || {
            let mut values = owned(lease);
            for (placeholder, value) in &more {
                values.insert(*placeholder, value.clone());
            }
            update(self.table, &lease.key.record, set, OWNED, values)
        };
        match self.send(write).await? {
            Written::Done(record) => Ok(lease_of(&lease.key, &record)),
            Written::Refused(_) => Err(Failure::again("the lease was taken over")),
        }
    }

    /// Takes a record over from the owner it was read with.
    async fn take_over(&self, key: &EffectKey, old: &Item, until_ms: u64) -> Result<Option<Lease>, StoreError> {
        let owner = self.world.fresh().to_string();
        let set = "SET #status = :in_progress, #owner = :owner, lease_until = :until, attempts = attempts + :one";
        let condition = "#owner = :old AND #status = :status AND operation = :operation";
        let write = || {
            let values = [
                (":in_progress", text(IN_PROGRESS)),
                (":owner", text(owner.as_str())),
                (":until", number(until_ms)),
                (":one", number(1)),
                (":old", text(text_of(old, "owner").unwrap_or_default())),
                (":status", text(text_of(old, "status").unwrap_or_default())),
                (":operation", text(key.operation.as_str())),
            ];
            update(self.table, &key.record, set, condition, values)
        };
        Ok(match self.send(write).await? {
            Written::Done(record) => Some(lease_of(key, &record)),
            Written::Refused(Some(record)) if is_owner(&record, &owner) => Some(lease_of(key, &record)),
            Written::Refused(_) => None,
        })
    }

    pub(super) async fn claim_on(
        &self,
        key: &EffectKey,
        lease_until_ms: u64,
        settle_ms: u64,
        terms: Terms<'_>,
    ) -> Result<Found, Failure> {
        let now_ms = self.world.now_ms();
        let owner = self.world.fresh().to_string();
        let first = self.send(|| self.first_claim(key, &owner, lease_until_ms, now_ms, terms)).await;
        // A claim is no effect: one that may stand is taken over, or its own, when the message comes again.
        let old = match first.map_err(StoreError::repeatable)? {
            // All that a lease is made of was in the write: the record is not asked for.
            Written::Done(_) => {
                let first = Lease {
                    key: key.clone(),
                    owner,
                    until_ms: lease_until_ms,
                    attempts: 1,
                    generation: 0,
                    key_since_ms: Some(now_ms),
                    note: None,
                };
                return Ok(Found::Claimed(Claimed::Fresh(first), None));
            }
            Written::Refused(Some(record)) if is_owner(&record, &owner) => {
                return Ok(Found::Claimed(Claimed::Fresh(lease_of(key, &record)), None));
            }
            Written::Refused(record) => record.unwrap_or_default(),
        };
        let operation = text_of(&old, "operation").unwrap_or_default();
        if operation != key.operation {
            let ended = matches!(text_of(&old, "status"), Some(COMPLETED | SKIPPED));
            let found = if ended { Claimed::Completed } else { Claimed::Busy { operation: operation.to_owned() } };
            return Ok(Found::Claimed(found, Some(old)));
        }
        // Before a lease is taken over: another payload's lease must stay as it is.
        if terms.fingerprint.is_some_and(|asked| text_of(&old, "fingerprint").is_some_and(|stored| stored != asked)) {
            return Ok(Found::Conflict);
        }
        let lease_end_ms = number_of(&old, "lease_until").unwrap_or_default();
        let free_at_ms = lease_end_ms.saturating_add(settle_ms);
        let taken = |lease: Result<Option<Lease>, StoreError>| {
            lease.map_err(StoreError::repeatable)?.ok_or_else(|| Failure::again("another worker was first"))
        };
        let found = match text_of(&old, "status") {
            Some(COMPLETED) => Claimed::Completed,
            Some(SKIPPED) => Claimed::Skipped,
            Some(FREE) => Claimed::Fresh(taken(self.take_over(key, &old, lease_until_ms).await)?),
            Some(IN_PROGRESS) if free_at_ms > now_ms => {
                Claimed::Held { until_ms: free_at_ms, live: lease_end_ms > now_ms }
            }
            Some(IN_PROGRESS) => Claimed::InDoubt(taken(self.take_over(key, &old, lease_until_ms).await)?),
            other => return Err(Failure::bug(format!("effect record {} has status {other:?}", key.record))),
        };
        Ok(Found::Claimed(found, Some(old)))
    }

    /// The claim of a record that is not there, or that its last operation has left.
    fn first_claim(&self, key: &EffectKey, owner: &str, until_ms: u64, now_ms: u64, terms: Terms<'_>) -> Write {
        let mut values = Values::with_capacity(11);
        values.push(":version", number(key.version));
        values.push(":operation", text(key.operation.as_str()));
        values.push(":in_progress", text(IN_PROGRESS));
        values.push(":completed", text(COMPLETED));
        values.push(":owner", text(owner));
        values.push(":until", number(until_ms));
        values.push(":one", number(1));
        values.push(":zero", number(0));
        values.push(":now", number(now_ms));
        let (set, condition);
        if let Some(fingerprint) = terms.fingerprint {
            values.push(":fingerprint", text(fingerprint));
            set = "SET operation = :operation, #status = :in_progress, #owner = :owner, lease_until = :until, \
                   attempts = :one, generation = :zero, subject_version = :version, key_since = :now, \
                   fingerprint = :fingerprint REMOVE note, expires_at, #result, result_bytes";
        } else {
            set = "SET operation = :operation, #status = :in_progress, #owner = :owner, lease_until = :until, \
                   attempts = :one, generation = :zero, subject_version = :version, key_since = :now \
                   REMOVE note, expires_at, #result, result_bytes, fingerprint";
        }
        if terms.renew_expired {
            values.push(":now_s", number(now_ms / 1_000));
            condition = "attribute_not_exists(#key) OR (#status = :completed AND expires_at <= :now_s)";
        } else {
            values.push(":skipped", text(SKIPPED));
            condition = "attribute_not_exists(#key) OR (#status IN (:completed, :skipped) \
                         AND operation <> :operation AND subject_version < :version)";
        }
        update(self.table, &key.record, set, condition, values).without_item()
    }

    /// The write that completes a lease, on the condition that it is still its owner's: for the caller's own transaction.
    /// [`Leases::ended`] reads the reason, if it is refused. `result` is kept for replays.
    pub fn completion(&self, lease: &Lease, result: Option<&str>, receipt: Receipt) -> Write {
        self.completion_of(lease, result.map(Kept::Whole), receipt)
    }

    pub(super) fn completion_of(&self, lease: &Lease, result: Option<Kept<'_>>, receipt: Receipt) -> Write {
        let mut values = owned(lease);
        values.push(":completed", text(COMPLETED));
        if receipt == Receipt::Stands {
            values.push(":expires_at", self.expires_at());
        }
        match result {
            Some(Kept::Whole(result)) => values.push(":result", text(result)),
            Some(Kept::TooLarge(bytes)) => values.push(":bytes", number(bytes)),
            None => {}
        }
        let set = match (receipt, result) {
            (Receipt::Stands, Some(Kept::Whole(_))) => {
                "SET #status = :completed, expires_at = :expires_at, #result = :result"
            }
            (Receipt::Stands, Some(Kept::TooLarge(_))) => {
                "SET #status = :completed, expires_at = :expires_at, result_bytes = :bytes"
            }
            (Receipt::Stands, None) => "SET #status = :completed, expires_at = :expires_at",
            (Receipt::Pending, Some(Kept::Whole(_))) => "SET #status = :completed, #result = :result",
            (Receipt::Pending, Some(Kept::TooLarge(_))) => "SET #status = :completed, result_bytes = :bytes",
            (Receipt::Pending, None) => "SET #status = :completed",
        };
        update(self.table, &lease.key.record, set, OWNED, values).without_item()
    }

    /// The write that leaves an effect to a person: it stays in doubt, so that whoever resumes looks first; its attempts
    /// are counted anew.
    pub fn parking(&self, lease: &Lease) -> Write {
        self.leaving_in_doubt(lease, 0)
    }

    /// The same where the effect of the last attempt may come yet: the lease runs on to its end, and nobody looks before the
    /// settle time after it.
    pub fn parking_in_doubt(&self, lease: &Lease) -> Write {
        let mut values = owned(lease);
        values.push(":attempts", number(0));
        update(self.table, &lease.key.record, "SET attempts = :attempts", OWNED, values).without_item()
    }

    /// The write that ends a lease now and leaves its effect in doubt.
    fn leaving_in_doubt(&self, lease: &Lease, attempts: u32) -> Write {
        let mut values = owned(lease);
        values.push(":now", number(self.world.now_ms()));
        values.push(":attempts", number(attempts));
        let set = "SET lease_until = :now, attempts = :attempts";
        update(self.table, &lease.key.record, set, OWNED, values).without_item()
    }

    /// The write of an effect's tombstone, refused if the effect was started: it never ran and never will. `token` is a
    /// fresh id, by which [`Leases::skipped`] knows the write again.
    pub fn skipping(&self, key: &EffectKey, token: &str) -> Write {
        let set = "SET operation = :operation, #status = :skipped, #owner = :owner, lease_until = :zero, \
                   attempts = :zero, generation = :zero, subject_version = :version, expires_at = :expires_at \
                   REMOVE note, #result, result_bytes, fingerprint, key_since";
        let condition = "attribute_not_exists(#key) \
             OR (#status IN (:completed, :skipped) AND operation <> :operation AND subject_version < :version) \
             OR (#status = :free AND operation = :operation)";
        let values = [
            (":operation", text(key.operation.as_str())),
            (":version", number(key.version)),
            (":skipped", text(SKIPPED)),
            (":completed", text(COMPLETED)),
            (":free", text(FREE)),
            (":owner", text(token)),
            (":zero", number(0)),
            (":expires_at", self.expires_at()),
        ];
        update(self.table, &key.record, set, condition, values).without_item()
    }

    /// Whether a refused [`Leases::skipping`] had been written before, by this very token.
    pub fn skipped(record: Option<&Item>, token: &str) -> bool {
        record.is_some_and(|record| is_owner(record, token) && text_of(record, "status") == Some(SKIPPED))
    }

    /// What the refusal of a lease's last write means: it was written before, or the lease is somebody else's.
    pub fn ended(lease: &Lease, record: Option<&Item>) -> Ended {
        let ended = |record: &Item| is_owner(record, &lease.owner) && text_of(record, "status") == Some(COMPLETED);
        let ours = record.is_some_and(ended);
        if ours { Ended::Done } else { Ended::LeaseLost }
    }

    /// [`Leases::ended`] of a transaction's reason for this item. `None` where this item was not what it was refused for.
    pub fn ended_by(lease: &Lease, reason: &Reason) -> Option<Ended> {
        match reason {
            Reason::ConditionFailed(record) => Some(Self::ended(lease, record.as_ref())),
            Reason::None | Reason::Conflict | Reason::Other(_) => None,
        }
    }

    /// Completes a lease in a write of its own.
    pub async fn complete(&self, lease: &Lease, result: Option<&str>, receipt: Receipt) -> Result<Ended, StoreError> {
        self.end(lease, || self.completion(lease, result, receipt)).await
    }

    /// Leaves an effect to a person, in a write of its own.
    pub async fn park(&self, lease: &Lease) -> Result<Ended, StoreError> {
        self.end(lease, || self.parking(lease)).await
    }

    /// [`Leases::parking_in_doubt`] by itself.
    pub async fn park_in_doubt(&self, lease: &Lease) -> Result<Ended, StoreError> {
        self.end(lease, || self.parking_in_doubt(lease)).await
    }

    /// Ends a lease now and leaves its effect in doubt: this attempt surely had no effect, but nobody knows of an earlier
    /// one. It is no attempt.
    pub async fn leave_in_doubt(&self, lease: &Lease) -> Result<Ended, StoreError> {
        self.end(lease, || self.leaving_in_doubt(lease, lease.attempts.saturating_sub(1))).await
    }

    pub(super) async fn end(&self, lease: &Lease, write: impl Fn() -> Write) -> Result<Ended, StoreError> {
        Ok(match self.send(write).await? {
            Written::Done(_) => Ended::Done,
            Written::Refused(record) => Self::ended(lease, record.as_ref()),
        })
    }

    /// Begins the time to live of a record that was completed with [`Receipt::Pending`]. Answers whether it did: not
    /// where the record is at another operation, or gone.
    pub async fn receipt_stands(&self, key: &EffectKey) -> Result<bool, StoreError> {
        let condition = "#status = :completed AND operation = :operation";
        let write = || {
            let values = [
                (":completed", text(COMPLETED)),
                (":operation", text(key.operation.as_str())),
                (":expires_at", self.expires_at()),
            ];
            update(self.table, &key.record, "SET expires_at = :expires_at", condition, values).without_item()
        };
        Ok(matches!(self.send(write).await?, Written::Done(_)))
    }

    /// Deletes the record of a first attempt that surely had no effect, so that nothing is left of it. Answers whether
    /// nothing of this lease is left; a record of another owner stays as it is.
    pub async fn forget(&self, lease: &Lease) -> Result<bool, StoreError> {
        let condition = "#owner = :owner AND #status = :in_progress AND attempts = :one AND generation = :zero \
                         AND attribute_not_exists(note)";
        let write = || {
            let mut values = owned(lease);
            values.push(":one", number(1));
            values.push(":zero", number(0));
            delete(self.table, &lease.key.record, condition, values)
        };
        Ok(match self.send(write).await? {
            Written::Done(_) | Written::Refused(None) => true,
            Written::Refused(Some(_)) => false,
        })
    }

    /// Whether an operation of this record is at work or in doubt, strongly consistent. 1 read unit for 4 KiB.
    pub async fn in_progress(&self, record: &str) -> Result<bool, StoreError> {
        let record = self.store.get(self.table, super::record::key_of(record), true).await?;
        Ok(record.is_some_and(|record| text_of(&record, "status") == Some(IN_PROGRESS)))
    }

    /// Reads what a completed operation stored, strongly consistent; `None` where it is not completed. 1 read unit for 4 KiB.
    pub async fn stored(&self, key: &EffectKey) -> Result<Option<Stored>, StoreError> {
        let record = self.store.get(self.table, super::record::key_of(&key.record), true).await?;
        let done = |record: &Item| {
            text_of(record, "operation") == Some(key.operation.as_str()) && text_of(record, "status") == Some(COMPLETED)
        };
        Ok(record.filter(done).map(|record| Stored::of(&record)))
    }
}

/// The values of [`OWNED`], with room for the few that a write adds.
fn owned(lease: &Lease) -> Values {
    let mut values = Values::with_capacity(6);
    values.push(":owner", text(lease.owner.as_str()));
    values.push(":in_progress", text(IN_PROGRESS));
    values
}

/// What is kept of a result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kept<'a> {
    Whole(&'a str),
    TooLarge(usize),
}

impl<S: Store + Sync, W: Clock + Ids + Sync> EffectRecords for Leases<'_, S, W> {
    async fn claim(&self, key: &EffectKey, lease_until_ms: u64, settle_ms: u64) -> Result<Claimed, Failure> {
        match self.claim_on(key, lease_until_ms, settle_ms, Terms::default()).await? {
            Found::Claimed(claimed, _) => Ok(claimed),
            Found::Conflict => Err(Failure::bug("a claim without a payload met another payload")),
        }
    }

    async fn note(&self, lease: &Lease, note: &str) -> Result<Lease, Failure> {
        self.write_owned(lease, "SET note = :note", [(":note", text(note))]).await
    }

    async fn raise_generation(&self, lease: &Lease) -> Result<Lease, Failure> {
        // Not an increment: a repeat of this write after a lost answer must not raise twice.
        let raised = number(lease.generation.saturating_add(1));
        let values = [(":raised", raised), (":now", number(self.world.now_ms()))];
        self.write_owned(lease, "SET generation = :raised, key_since = :now", values).await
    }

    async fn free(&self, lease: &Lease, counts: bool) -> Result<(), Failure> {
        // Not a decrement: a repeat of this write after a lost answer must not take off twice.
        let attempts = if counts { lease.attempts } else { lease.attempts.saturating_sub(1) };
        let write = || {
            let mut values = owned(lease);
            values.push(":attempts", number(attempts));
            values.push(":free", text(FREE));
            let set = "SET #status = :free, attempts = :attempts";
            update(self.table, &lease.key.record, set, OWNED, values).without_item()
        };
        match self.send(write).await.map_err(StoreError::repeatable)? {
            Written::Done(_) => Ok(()),
            Written::Refused(Some(record)) if is_owner(&record, &lease.owner) => Ok(()),
            Written::Refused(_) => Err(Failure::again("the lease was taken over")),
        }
    }
}
