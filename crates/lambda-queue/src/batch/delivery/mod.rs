//! Delivery modes: how often a record's effect may happen.
//!
//! | mode | effect happens | calls | a handler is | over a table |
//! | --- | --- | --- | --- | --- |
//! | at least once | one or more times | none: as SQS has it | any handler | - |
//! | at most once | never twice, perhaps not at all | one write before it and one after ([`ClaimEffect`]) | wrapped by [`at_most_once`] | [`TableClaims`] |
//! | effectively once | as if once | one write before it and one after, a replay one ([`RunOnce`]) | wrapped by [`effectively_once`] | [`TableEffects`] |
//!
//! Both wrappers take a function from the record to its key. The key has to name the work, not the message: a replay from
//! a dead-letter queue has another message id. An empty key would be shared by all that lack one, so it is poison.
//!
//! The two traits are the seam to another store; [`TableClaims`] and [`TableEffects`] are this crate's own
//! [`crate::idempotency`] behind it.

mod table;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::BoxFuture;

use super::Record;
use crate::{Answer, Done, Failure};

pub use table::{TableClaims, TableEffects};

/// Claims of effects that have no second chance: kept for good, or as long as the effect may be asked for again.
pub trait ClaimEffect: Send + Sync {
    /// Claims the effect, by one conditional write; `false` where another owner has it who did it, or is no more at it.
    /// `owner` is of this receive alone: an implementation keeps it with the claim and answers `true` to the same owner, so
    /// that a write whose answer was lost knows itself again. It also keeps `until_ms` (UTC milliseconds): until then the owner
    /// may be at work, and may yet give the claim back.
    ///
    /// # Errors
    /// `Unknown` and `Bug` say that nobody knows whether it is claimed: the caller does not begin the effect, and releases.
    /// Any other failure says that it surely is not: nothing is released. [`Failure::busy`] where another owner has it whose
    /// `until_ms` is not over and who did not say that it is done.
    fn claim(&self, key: &str, owner: &str, until_ms: u64) -> impl Future<Output = Result<bool, Failure>> + Send;

    /// Gives the claim back, if this owner has it: the effect surely did not happen. That it has none is no error. After a
    /// claim that failed, its write may still be on its way: an implementation sees to it that it claims nothing when it lands.
    fn release(&self, key: &str, owner: &str) -> impl Future<Output = Result<(), Failure>> + Send;

    /// The effect happened: the claim may end once nobody can ask for the effect any more. That this owner has none is no
    /// error. An implementation whose claims never end does nothing.
    fn done(&self, key: &str, owner: &str) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Runs effects as if once: the seam to a store of idempotency records.
pub trait RunOnce: Send + Sync {
    /// Runs `work` under this key, unless that was done before: then it answers what was answered before (or
    /// [`Done::already`]). Somebody else who is at it is a [`Failure::busy`]; what was in doubt is looked up first. `record`
    /// has the deadline that a lease has to outlast. Nothing of `work` has begun when it is handed over.
    fn once<W>(&self, key: &str, record: &Record, work: W) -> impl Future<Output = Answer> + Send
    where
        W: Future<Output = Answer> + Send;
}

/// A handler whose effect happens at most once: it is claimed first.
///
/// A failure that says that the effect surely did not happen (`Retry`, `Defer`, `Busy`, `Poison`) releases the claim, so
/// the record is tried again. After any other (`Unknown`, `Bug`, a panic, the end of the time) the claim stays, and the
/// record's next receive is acknowledged as [`Done::already`]: the effect may have happened. Until the claimant's invocation is
/// over a copy is [`Failure::busy`] instead, as the claimant may yet say that it surely did not. If a claim cannot be released
/// the record fails as it did, and its next receive is acknowledged without the effect: that is the price of this mode.
///
/// A claim of which nobody knows whether it stands is released too, as its effect was not begun, and the record is tried again.
/// What a handler owes counts as part of its effect: it is not sent again if its sending fails.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use std::sync::Arc;
///
/// use lambda_queue::batch::delivery::{TableClaims, at_most_once};
/// use lambda_queue::idempotency::Namespace;
/// use lambda_queue::memory::{KeyType, MemoryStore, Table, World};
/// use lambda_queue::{Done, Failure, Record};
///
/// # fn example() -> Result<(), lambda_queue::idempotency::KeyError> {
/// let world = World::new(1);
/// let table = Table::new("idempotency", "key", KeyType::S).expiring_by("expires_at");
/// let store = Arc::new(MemoryStore::new(world.clone()).with(table)); // or `aws::Dynamo`
/// let mails = Namespace::new("notify", "mail")?;
/// let claims = Arc::new(TableClaims::new(store, Arc::new(world), mails, "idempotency", 28 * 86_400_000));
///
/// let key = |record: &Record| Ok::<_, Failure>(record.body.clone());
/// let handler = at_most_once(claims, key, |_record| async {
///     // The mail is sent here.
///     Ok(Done::now(Vec::new()))
/// });
/// // `serve::sqs(Batch::new("notify", ports), handler)`
/// # let _ = |record| handler(record);
/// # Ok(())
/// # }
/// # example().unwrap();
/// # }
/// ```
pub fn at_most_once<C, K, F, W>(
    claims: Arc<C>,
    key: K,
    handler: F,
) -> impl Fn(Arc<Record>) -> BoxFuture<'static, Answer> + Clone
where
    C: ClaimEffect + 'static,
    K: Fn(&Record) -> Result<String, Failure> + Clone + Send + Sync + 'static,
    F: Fn(Arc<Record>) -> W + Clone + Send + Sync + 'static,
    W: Future<Output = Answer> + Send + 'static,
{
    let turns = Arc::new(AtomicU64::new(0));
    move |record| {
        let (claims, key, handler, turns) = (Arc::clone(&claims), key.clone(), handler.clone(), Arc::clone(&turns));
        Box::pin(async move {
            let key = checked(key(&record)?)?;
            let owner = owner(&record, turns.fetch_add(1, Ordering::Relaxed));
            match claims.claim(&key, &owner, record.context.deadline_ms).await {
                Ok(true) => {}
                Ok(false) => return Ok(Done::already()),
                Err(failure) if surely_not_done(&failure) => return Err(failure),
                Err(failure) => {
                    release(&*claims, &key, &owner, &failure).await;
                    return Err(not_begun(failure));
                }
            }
            let answer = handler(record).await;
            match &answer {
                Ok(_) => {
                    if let Err(why) = claims.done(&key, &owner).await {
                        tracing::warn!(%why, "a claim was not completed: it stays for good");
                    }
                }
                Err(failure) if surely_not_done(failure) => release(&*claims, &key, &owner, failure).await,
                Err(_) => {}
            }
            answer
        })
    }
}

/// A handler whose effect happens as if once, by [`RunOnce`].
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use std::sync::Arc;
///
/// use lambda_queue::batch::delivery::{TableEffects, effectively_once};
/// use lambda_queue::idempotency::{Capability, Namespace, Settings};
/// use lambda_queue::memory::{KeyType, MemoryStore, Table, World};
/// use lambda_queue::{Done, Failure, Record};
///
/// # fn example() -> Result<(), lambda_queue::idempotency::KeyError> {
/// let world = World::new(1);
/// let table = Table::new("idempotency", "key", KeyType::S).expiring_by("expires_at");
/// let store = Arc::new(MemoryStore::new(world.clone()).with(table)); // or `aws::Dynamo`
/// let settings = Settings::new("idempotency", 28 * 86_400_000);
/// let invoices = Namespace::new("bill", "invoice")?;
/// let effects = TableEffects::new(store, Arc::new(world), settings, invoices, Capability::REPEATABLE);
///
/// let key = |record: &Record| Ok::<_, Failure>(record.body.clone());
/// let handler = effectively_once(Arc::new(effects), key, |_record| async { Ok(Done::now(Vec::new())) });
/// # let _ = |record| handler(record);
/// # Ok(())
/// # }
/// # example().unwrap();
/// # }
/// ```
pub fn effectively_once<I, K, F, W>(
    effects: Arc<I>,
    key: K,
    handler: F,
) -> impl Fn(Arc<Record>) -> BoxFuture<'static, Answer> + Clone
where
    I: RunOnce + 'static,
    K: Fn(&Record) -> Result<String, Failure> + Clone + Send + Sync + 'static,
    F: Fn(Arc<Record>) -> W + Clone + Send + Sync + 'static,
    W: Future<Output = Answer> + Send + 'static,
{
    move |record| {
        let (effects, key, handler) = (Arc::clone(&effects), key.clone(), handler.clone());
        Box::pin(async move {
            let key = checked(key(&record)?)?;
            let own = Arc::clone(&record);
            // The handler itself is called in here: it may do something before its future is polled.
            let work = async move { handler(own).await };
            effects.once(&key, &record, work).await
        })
    }
}

fn checked(key: String) -> Result<String, Failure> {
    if key.is_empty() { Err(Failure::poison("the key of its effect is empty")) } else { Ok(key) }
}

/// Of this receive alone. Receive count and deadline are not enough: SQS may deliver a message twice at the same time.
fn owner(record: &Record, turn: u64) -> String {
    let context = &record.context;
    format!("{}#{}@{}/{turn}", record.message_id, context.receive_count, context.deadline_ms)
}

async fn release<C: ClaimEffect>(claims: &C, key: &str, owner: &str, failure: &Failure) {
    if let Err(why) = claims.release(key, owner).await {
        tracing::error!(%failure, %why, "a claim was not released: if it stands, the effect will not be tried again");
    }
}

/// What a doubt about a claim is to the record: its effect was not begun, so there is none about that.
fn not_begun(failure: Failure) -> Failure {
    match failure {
        Failure::Unknown { why, .. } => Failure::retry(why),
        Failure::Retry { .. }
        | Failure::Defer { .. }
        | Failure::Busy { .. }
        | Failure::Poison { .. }
        | Failure::Bug { .. } => failure,
    }
}

fn surely_not_done(failure: &Failure) -> bool {
    match failure {
        Failure::Retry { .. } | Failure::Defer { .. } | Failure::Busy { .. } | Failure::Poison { .. } => true,
        Failure::Unknown { .. } | Failure::Bug { .. } => false,
    }
}
