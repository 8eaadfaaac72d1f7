//! The delivery modes over a table: this crate's own claims and idempotent calls.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use futures::future::BoxFuture;

use super::{ClaimEffect, RunOnce};
use crate::idempotency::{
    Call, Capability, Claim, Claims, Ended, Fingerprint, How, Idempotency, IdempotencyError, LEASE_PAST_DEADLINE_MS,
    Leases, Namespace, Seen, Settings, Taken,
};
use crate::ports::Store;
use crate::ports::store::StoreError;
use crate::{Answer, Clock, Done, Failure, Ids, Record};

/// Claims for [`at_most_once`](super::at_most_once), as [`Claims`] keeps them: one conditional write a call. The table has the
/// key `key` (text) and the time to live `expires_at`.
///
/// A claim has no end until its effect happened; from then on it is kept for `kept_ms`. One whose process died stays for
/// good: it is one small item. What was given back is kept for `kept_ms` too: a claim that arrives late would be nobody's.
#[derive(Clone, Debug)]
pub struct TableClaims<S, P> {
    store: Arc<S>,
    ports: Arc<P>,
    namespace: Namespace,
    table: String,
    kept_ms: u64,
    /// Tells this process's owners from those of another one that got the same receive.
    process: String,
}

impl<S: Store + Sync, P: Clock + Ids + Sync> TableClaims<S, P> {
    /// In this table. `kept_ms`: longer than anything can ask for the effect again, so queue, dead-letter and archive
    /// retention together. One for the life of the process.
    pub fn new(store: Arc<S>, ports: Arc<P>, namespace: Namespace, table: impl Into<String>, kept_ms: u64) -> Self {
        let process = ports.fresh().to_string();
        Self { store, ports, namespace, table: table.into(), kept_ms, process }
    }

    fn claims(&self) -> Claims<'_, S, P> {
        Claims(Leases::new(&*self.store, &*self.ports, &self.table, self.kept_ms))
    }

    fn claim_of(&self, key: &str, owner: &str) -> Result<Claim, IdempotencyError> {
        let record = self.namespace.key_of(&[key])?.as_str().to_owned();
        Ok(Claim { record, owner: format!("{}#{owner}", self.process) })
    }
}

impl<S: Store + Send + Sync, P: Clock + Ids + Send + Sync> ClaimEffect for TableClaims<S, P> {
    async fn claim(&self, key: &str, owner: &str, until_ms: u64) -> Result<bool, Failure> {
        let claim = self.claim_of(key, owner)?;
        match self.claims().take(&claim, until_ms).await? {
            Taken::Ours => Ok(true),
            Taken::Theirs { until_ms } if until_ms > self.ports.now_ms() => {
                Err(Failure::busy(until_ms, "another worker is at it"))
            }
            Taken::Theirs { .. } => Ok(false),
        }
    }

    async fn release(&self, key: &str, owner: &str) -> Result<(), Failure> {
        let claim = self.claim_of(key, owner)?;
        match self.claims().release(&claim).await.map_err(StoreError::repeatable)? {
            Ended::Done | Ended::LeaseLost => Ok(()),
        }
    }

    async fn done(&self, key: &str, owner: &str) -> Result<(), Failure> {
        let claim = self.claim_of(key, owner)?;
        match self.claims().done(&claim, "null").await.map_err(StoreError::repeatable)? {
            Ended::Done | Ended::LeaseLost => Ok(()),
        }
    }
}

type Payload = dyn Fn(&Record) -> Result<Fingerprint, Failure> + Send + Sync;
type LookUp = dyn Fn(String) -> BoxFuture<'static, Result<Seen<Done>, Failure>> + Send + Sync;

/// Effects for [`effectively_once`](super::effectively_once), as [`Idempotency::run`] keeps them: two conditional writes,
/// a replay one that is refused, or none from the cache.
///
/// The lease ends with the record's deadline and [`LEASE_PAST_DEADLINE_MS`]. What is stored is the whole [`Done`] as JSON:
/// a replay sends again what it owes ([`Done::resent`]), or is [`Done::already`]. So what it owes has to fit a stored result
/// ([`Settings::results`]), and lies in the table as long as the record.
///
/// One key with another payload is poison. The payload is the body, as canonical JSON where it is JSON: what differs from
/// one sending to the next (an event's `id` or `time`) makes it another one, unless [`TableEffects::payload`] leaves it out.
///
/// The handler is not told the lease: its effect has the same provider's key in every attempt. Where that will not do, call
/// [`Idempotency::run_looking_up`] in the handler.
pub struct TableEffects<S, P> {
    store: Arc<S>,
    ports: Arc<P>,
    settings: Settings,
    namespace: Namespace,
    capability: Capability,
    payload: Box<Payload>,
    look_up: Option<Box<LookUp>>,
}

impl<S, P> fmt::Debug for TableEffects<S, P> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("TableEffects")
            .field("settings", &self.settings)
            .field("namespace", &self.namespace)
            .field("capability", &self.capability)
            .finish_non_exhaustive()
    }
}

impl<S: Store + Sync, P: Clock + Ids + Sync> TableEffects<S, P> {
    /// In the table of these settings. `capability` says what is done about an outcome that is unknown: a handler that may
    /// run again whatever became of it ([`Capability::REPEATABLE`]) does so, one of which nothing is known
    /// ([`Capability::UNKNOWN`]) is left to a person. One for the life of the process.
    pub fn new(store: Arc<S>, ports: Arc<P>, settings: Settings, namespace: Namespace, capability: Capability) -> Self {
        Self { store, ports, settings, namespace, capability, payload: Box::new(body), look_up: None }
    }

    /// With another fingerprint than the whole body's.
    #[must_use]
    pub fn payload(
        mut self,
        fingerprint: impl Fn(&Record) -> Result<Fingerprint, Failure> + Send + Sync + 'static,
    ) -> Self {
        self.payload = Box::new(fingerprint);
        self
    }

    /// With a look-up at the effect's provider, by the key that the record has. It is asked only about an effect in doubt,
    /// once lease and settle time are over.
    #[must_use]
    pub fn looking_up<F>(mut self, look_up: impl Fn(String) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Seen<Done>, Failure>> + Send + 'static,
    {
        self.look_up = Some(Box::new(move |key| Box::pin(look_up(key))));
        self
    }

    async fn seen(&self, key: &str) -> Result<Seen<Done>, Failure> {
        match &self.look_up {
            Some(look_up) => look_up(key.to_owned()).await,
            None => Ok(Seen::NotLooked),
        }
    }
}

impl<S: Store + Send + Sync, P: Clock + Ids + Send + Sync> RunOnce for TableEffects<S, P> {
    async fn once<W>(&self, key: &str, record: &Record, work: W) -> Answer
    where
        W: Future<Output = Answer> + Send,
    {
        let scoped = self.namespace.key_of(&[key]).map_err(IdempotencyError::from)?;
        let fingerprint = (self.payload)(record)?;
        let lease_until_ms = record.context.deadline_ms.saturating_add(LEASE_PAST_DEADLINE_MS);
        let call = Call { key: &scoped, fingerprint: &fingerprint, lease_until_ms };
        let idempotency = Idempotency::new(&*self.store, &*self.ports, &self.settings);
        let answer = idempotency.run_looking_up(call, self.capability, |_| self.seen(key), |_| work).await?;
        Ok(match answer.how {
            How::Ran | How::Adopted | How::Unguarded => answer.value,
            How::Replayed | How::Cached if answer.value.owes.is_empty() => Done::already(),
            How::Replayed | How::Cached => Done::resent(answer.value.owes),
        })
    }
}

/// The fingerprint of the body: of what it says, where it is JSON.
fn body(record: &Record) -> Result<Fingerprint, Failure> {
    let fingerprint = match serde_json::from_str::<serde_json::Value>(&record.body) {
        Ok(payload) => Fingerprint::of_value(&payload),
        Err(_) => Fingerprint::of(&record.body),
    };
    Ok(fingerprint.map_err(IdempotencyError::from)?)
}
