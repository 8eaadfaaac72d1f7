//! One transaction: the record and the business writes, together or not at all.

use std::collections::HashMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ports::Tries;
use crate::ports::store::{Item, Reason, Store, StoreError, Transacted, Write, number, text, text_of};
use crate::{Clock, Ids};

use super::call::{Answer, CALL, Call, How, Idempotency, pause, unreadable};
use super::error::IdempotencyError;
use super::record::{COMPLETED, is_owner};
use super::settings::Oversize;

/// How often a transaction is tried that meets another one, or whose answer is lost.
const TRIES: u32 = 6;

/// How a transaction went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Applied<T> {
    /// It is written, now or before: the result, and which.
    Answer(Answer<T>),
    /// Nothing is written: the business writes were refused, one reason each, in their order.
    Refused(Vec<Reason>),
}

impl<S: Store + Sync, W: Clock + Ids + Sync> Idempotency<'_, S, W> {
    /// Writes all of it once for this key: at most 99 writes of other items, and the record with the result. All effects
    /// are inside the table, so there is no lease and no doubt: one transaction does it, or nothing. A replay answers the
    /// stored result; another payload is a conflict.
    ///
    /// One call; twice the write units of each item, the record's 2 a KiB. A transaction that meets another one, or whose
    /// answer is lost, is tried again at once, up to five times; it knows itself by the owner in the record.
    ///
    /// # Errors
    /// [`IdempotencyError::Store`] with `NotDone` says that nothing is written; with `Unknown`, which an answer that was lost
    /// stays until a later try is answered, that all of it may be. The same call again tells.
    pub async fn apply<T>(&self, call: Call<'_>, value: T, writes: Vec<Write>) -> Result<Applied<T>, IdempotencyError>
    where
        T: Serialize + DeserializeOwned,
    {
        let result = serde_json::to_string(&value).map_err(unreadable)?;
        if self.settings.disabled {
            return self.apply_unguarded(value, writes).await;
        }
        if let Some(cached) = self.replay_cached(call)? {
            return Ok(Applied::Answer(cached));
        }
        let fits = result.len() <= self.settings.most_result_bytes;
        if !fits && self.settings.oversize == Oversize::Refuse {
            // Nothing has happened yet: it can be refused before.
            return Err(IdempotencyError::TooLarge { bytes: u64::try_from(result.len()).unwrap_or(u64::MAX) });
        }
        let token = self.leases.fresh_id();
        let expires_s = self.leases.expires_s();
        let mut all = Vec::with_capacity(writes.len().saturating_add(1));
        all.push(self.record_put(call, &token, fits.then_some(result.as_str()), result.len(), expires_s));
        all.extend(writes);
        let mut refused = match self.transact(all).await? {
            Transacted::Done => {
                if fits {
                    self.remember(call, &result, Some(expires_s.saturating_mul(1_000)));
                }
                return Ok(Applied::Answer(Answer { value, how: How::Ran }));
            }
            Transacted::Refused(reasons) => reasons.into_iter(),
        };
        match refused.next() {
            Some(Reason::ConditionFailed(record)) => match record {
                Some(record) if is_owner(&record, &token) => {
                    if fits {
                        self.remember(call, &result, Some(expires_s.saturating_mul(1_000)));
                    }
                    Ok(Applied::Answer(Answer { value, how: How::Ran }))
                }
                Some(record) if text_of(&record, "status") != Some(COMPLETED) => Err(IdempotencyError::OtherUse),
                Some(record) if text_of(&record, "fingerprint") != Some(call.fingerprint.as_str()) => {
                    Err(IdempotencyError::Conflict)
                }
                record => self.replay(call, record.as_ref()).map(Applied::Answer),
            },
            Some(Reason::None | Reason::Conflict | Reason::Other(_)) | None => Ok(Applied::Refused(refused.collect())),
        }
    }

    async fn apply_unguarded<T>(&self, value: T, writes: Vec<Write>) -> Result<Applied<T>, IdempotencyError> {
        Ok(match self.store.transact(writes).await? {
            Transacted::Done => Applied::Answer(Answer { value, how: How::Unguarded }),
            Transacted::Refused(reasons) => Applied::Refused(reasons),
        })
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<Transacted, StoreError> {
        let mut tries = Tries::default();
        for tried in 1..TRIES {
            match tries.judge(self.store.transact(writes.clone()).await) {
                Err(StoreError::NotDone(_) | StoreError::Unknown(_)) => pause(tried).await,
                answer => return answer,
            }
        }
        tries.judge(self.store.transact(writes).await)
    }

    fn record_put(&self, call: Call<'_>, token: &str, result: Option<&str>, bytes: usize, expires_s: u64) -> Write {
        let mut record: Item = HashMap::from([
            ("key".to_owned(), text(call.key.as_str())),
            ("operation".to_owned(), text(CALL)),
            ("status".to_owned(), text(COMPLETED)),
            ("owner".to_owned(), text(token)),
            ("fingerprint".to_owned(), text(call.fingerprint.as_str())),
            ("expires_at".to_owned(), number(expires_s)),
        ]);
        match result {
            Some(result) => record.insert("result".to_owned(), text(result)),
            None => record.insert("result_bytes".to_owned(), number(bytes)),
        };
        let condition = "attribute_not_exists(#key) OR (#status = :completed AND expires_at <= :now)";
        Write::put(self.settings.table.as_str(), record)
            .when(condition)
            .name("#key", "key")
            .name("#status", "status")
            .value(":completed", text(COMPLETED))
            .value(":now", number(self.now_ms() / 1_000))
    }
}
