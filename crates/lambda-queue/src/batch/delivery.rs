//! Delivery modes: how often a record's effect may happen.
//!
//! | mode | effect happens | price | a handler is |
//! | --- | --- | --- | --- |
//! | at least once | one or more times | none: as SQS has it | any handler |
//! | at most once | never twice, perhaps not at all | one write before it ([`Claims`]) | wrapped by [`at_most_once`] |
//! | effectively once | as if once | by the implementation of [`Idempotency`] | wrapped by [`effectively_once`] |
//!
//! Both wrappers take a function from the record to its key. The key has to name the work, not the message: a replay from
//! a dead-letter queue has another message id. An empty key would be shared by all that lack one, so it is poison.

use std::future::Future;
use std::sync::Arc;

use super::Record;
use crate::{Answer, Done, Failure};

/// Claims of effects that have no second chance: kept for good, or as long as the effect may be asked for again.
pub trait Claims: Send + Sync {
    /// Claims the effect, by one conditional write; `false` where another owner has it. `owner` is of this receive alone: an
    /// implementation keeps it with the claim and answers `true` to the same owner, so that a write whose answer was lost
    /// knows itself again.
    fn claim(&self, key: &str, owner: &str) -> impl Future<Output = Result<bool, Failure>> + Send;

    /// Gives the claim back, if this owner has it: the effect surely did not happen.
    fn release(&self, key: &str, owner: &str) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Runs effects as if once: the seam to a store of idempotency records.
pub trait Idempotency: Send + Sync {
    /// Runs `work` under this key, unless that was done before: then it answers what was answered before (or
    /// [`Done::already`]). Somebody else who is at it is a [`Failure::busy`]; what was in doubt is looked up first. `record`
    /// has the deadline that a lease has to outlast.
    fn once<W>(&self, key: &str, record: &Record, work: W) -> impl Future<Output = Answer> + Send
    where
        W: Future<Output = Answer> + Send;
}

/// A handler whose effect happens at most once: it is claimed first.
///
/// A failure that says that the effect surely did not happen (`Retry`, `Defer`, `Busy`, `Poison`) releases the claim, so
/// the record is tried again. After any other (`Unknown`, `Bug`, a panic, the end of the time) the claim stays, and the
/// record's next receive is acknowledged as [`Done::already`]: the effect may have happened. If a claim cannot be released
/// the record fails as it did, and its next receive is acknowledged without the effect: that is the price of this mode.
pub fn at_most_once<C, K, F, W>(
    claims: Arc<C>,
    key: K,
    handler: F,
) -> impl Fn(Arc<Record>) -> futures::future::BoxFuture<'static, Answer> + Clone
where
    C: Claims + 'static,
    K: Fn(&Record) -> Result<String, Failure> + Clone + Send + Sync + 'static,
    F: Fn(Arc<Record>) -> W + Clone + Send + Sync + 'static,
    W: Future<Output = Answer> + Send + 'static,
{
    move |record| {
        let (claims, key, handler) = (Arc::clone(&claims), key.clone(), handler.clone());
        Box::pin(async move {
            let key = checked(key(&record)?)?;
            let owner = owner(&record);
            if !claims.claim(&key, &owner).await? {
                return Ok(Done::already());
            }
            let answer = handler(record).await;
            if let Err(failure) = &answer
                && surely_not_done(failure)
                && let Err(why) = claims.release(&key, &owner).await
            {
                tracing::error!(%failure, %why, "a claim was not released: the effect will not be tried again");
            }
            answer
        })
    }
}

/// A handler whose effect happens as if once, by [`Idempotency`].
pub fn effectively_once<I, K, F, W>(
    idempotency: Arc<I>,
    key: K,
    handler: F,
) -> impl Fn(Arc<Record>) -> futures::future::BoxFuture<'static, Answer> + Clone
where
    I: Idempotency + 'static,
    K: Fn(&Record) -> Result<String, Failure> + Clone + Send + Sync + 'static,
    F: Fn(Arc<Record>) -> W + Clone + Send + Sync + 'static,
    W: Future<Output = Answer> + Send + 'static,
{
    move |record| {
        let (idempotency, key, handler) = (Arc::clone(&idempotency), key.clone(), handler.clone());
        Box::pin(async move {
            let key = checked(key(&record)?)?;
            let work = handler(Arc::clone(&record));
            idempotency.once(&key, &record, work).await
        })
    }
}

fn checked(key: String) -> Result<String, Failure> {
    if key.is_empty() { Err(Failure::poison("the key of its effect is empty")) } else { Ok(key) }
}

/// Of this receive alone: no two receives of a message are of invocations with the same deadline.
fn owner(record: &Record) -> String {
    let context = &record.context;
    format!("{}#{}@{}", record.message_id, context.receive_count, context.deadline_ms)
}

fn surely_not_done(failure: &Failure) -> bool {
    match failure {
        Failure::Retry { .. } | Failure::Defer { .. } | Failure::Busy { .. } | Failure::Poison { .. } => true,
        Failure::Unknown { .. } | Failure::Bug { .. } => false,
    }
}
