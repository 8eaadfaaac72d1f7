//! Effect records and at-most-once claims: the idempotency table.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update};
use lambda_queue::idempotency::{Claimed, EffectKey, EffectRecords, Lease};
use lambda_queue::{Clock, Failure, Ids};
use order::Order;
use ports::{ClaimOnce, Commit, EffectCommit, EffectEnd, Effects, Once, Skip, StoreError};

use crate::Aws;
use crate::item::{self, Item, number, number_of, text, text_of};
use crate::orders::lost;
use crate::stock::{Transacted, is_refusal};
use lambda_queue::aws::store_error;

/// How long a completed record is kept, seconds: queue and dead-letter retention, and the archive's, so that no replay
/// out of any of them finds the record gone.
const KEPT_S: u64 = (14 + 14 + 365) * 24 * 60 * 60;

const FREE: &str = "FREE";
const IN_PROGRESS: &str = "IN_PROGRESS";
const COMPLETED: &str = "COMPLETED";
const SKIPPED: &str = "SKIPPED";
const CLAIMED: &str = "CLAIMED";

/// One conditional write of a record: expression, condition, values.
struct Write<'a> {
    record: &'a str,
    set: &'a str,
    condition: &'a str,
    values: Vec<(&'static str, aws_sdk_dynamodb::types::AttributeValue)>,
}

/// What a conditional write met.
enum Written {
    /// It is written; this is the record now.
    Done(Item),
    /// The condition failed; this is the record.
    Refused(Item),
}

impl Aws {
    async fn write(&self, write: Write<'_>) -> Result<Written, StoreError> {
        let names = names(write.set, write.condition);
        let sent = self
            .dynamodb()
            .update_item()
            .table_name(&self.names.idempotency_table)
            .key("key", text(write.record))
            .update_expression(write.set)
            .condition_expression(write.condition)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values(write.values)))
            .return_values(aws_sdk_dynamodb::types::ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match sent {
            Ok(answer) => Ok(Written::Done(answer.attributes.unwrap_or_default())),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                    Ok(Written::Refused(refused.item().cloned().unwrap_or_default()))
                }
                Some(_) | None => Err(store_error(&error)),
            },
        }
    }

    /// A write by the lease's owner; a record that is somebody else's is a lost race.
    async fn write_owned(&self, lease: &Lease, set: &str, more: Values) -> Result<Lease, Failure> {
        let mut values = vec![(":owner", text(lease.owner.clone())), (":in_progress", text(IN_PROGRESS))];
        values.extend(more);
        let condition = "#owner = :owner AND #status = :in_progress";
        match self.write(Write { record: &lease.key.record, set, condition, values }).await? {
            Written::Done(record) => Ok(lease_of(&lease.key, &record)),
            Written::Refused(_) => Err(Failure::again("the lease was taken over")),
        }
    }

    /// Takes a record over from the owner it was read with.
    async fn take_over(
        &self,
        key: &EffectKey,
        old: &Item,
        until_ms: u64,
        status: &str,
    ) -> Result<Option<Lease>, Failure> {
        let owner = self.fresh().to_string();
        let written = self
            .write(Write {
                record: &key.record,
                set: "SET #status = :in_progress, #owner = :owner, #lease_until = :until, #attempts = #attempts + :one",
                condition: "#owner = :old AND #status = :status AND #operation = :operation",
                values: vec![
                    (":in_progress", text(IN_PROGRESS)),
                    (":owner", text(owner.clone())),
                    (":until", number(until_ms)),
                    (":one", number(1)),
                    (":old", text(text_of(old, "owner").unwrap_or_default())),
                    (":status", text(status)),
                    (":operation", text(key.operation.clone())),
                ],
            })
            .await?;
        Ok(match written {
            Written::Done(record) => Some(lease_of(key, &record)),
            Written::Refused(record) if is_owner(&record, &owner) => Some(lease_of(key, &record)),
            Written::Refused(_) => None,
        })
    }
}

type Values = Vec<(&'static str, aws_sdk_dynamodb::types::AttributeValue)>;

fn values(values: Values) -> HashMap<String, aws_sdk_dynamodb::types::AttributeValue> {
    values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// `#name` stands for `name`: every attribute is written that way, as some are reserved words.
fn names(set: &str, condition: &str) -> HashMap<String, String> {
    format!("{set} {condition}")
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '#'))
        .filter_map(|word| word.strip_prefix('#').map(|name| (word.to_owned(), name.to_owned())))
        .collect()
}

fn is_owner(record: &Item, owner: &str) -> bool {
    text_of(record, "owner").as_deref() == Some(owner)
}

fn lease_of(key: &EffectKey, record: &Item) -> Lease {
    let small = |name: &str| number_of(record, name).and_then(|n| u32::try_from(n).ok()).unwrap_or_default();
    Lease {
        key: key.clone(),
        owner: text_of(record, "owner").unwrap_or_default(),
        until_ms: number_of(record, "lease_until").unwrap_or_default(),
        attempts: small("attempts"),
        generation: small("generation"),
        key_since_ms: number_of(record, "key_since"),
        note: text_of(record, "note"),
    }
}

impl EffectRecords for Aws {
    async fn claim(&self, key: &EffectKey, lease_until_ms: u64, settle_ms: u64) -> Result<Claimed, Failure> {
        let owner = self.fresh().to_string();
        let written = self
            .write(Write {
                record: &key.record,
                set: "SET #operation = :operation, #status = :in_progress, #owner = :owner, #lease_until = :until, \
                      #attempts = :one, #generation = :zero, #subject_version = :version REMOVE #note, #expires_at",
                condition: "attribute_not_exists(#key) \
                            OR (#status IN (:completed, :skipped) AND #operation <> :operation \
                            AND #subject_version < :version)",
                values: vec![
                    (":version", number(key.version)),
                    (":operation", text(key.operation.clone())),
                    (":in_progress", text(IN_PROGRESS)),
                    (":completed", text(COMPLETED)),
                    (":skipped", text(SKIPPED)),
                    (":owner", text(owner.clone())),
                    (":until", number(lease_until_ms)),
                    (":one", number(1)),
                    (":zero", number(0)),
                ],
            })
            .await?;
        let old = match written {
            Written::Done(record) => return Ok(Claimed::Fresh(lease_of(key, &record))),
            Written::Refused(record) if is_owner(&record, &owner) => return Ok(Claimed::Fresh(lease_of(key, &record))),
            Written::Refused(record) => record,
        };
        let operation = text_of(&old, "operation").unwrap_or_default();
        let ended = matches!(text_of(&old, "status").as_deref(), Some(COMPLETED | SKIPPED));
        if operation != key.operation && ended {
            return Ok(Claimed::Completed);
        }
        if operation != key.operation {
            return Ok(Claimed::Busy { operation });
        }
        let free_at_ms = number_of(&old, "lease_until").unwrap_or_default().saturating_add(settle_ms);
        match text_of(&old, "status").as_deref() {
            Some(COMPLETED) => Ok(Claimed::Completed),
            Some(SKIPPED) => Ok(Claimed::Skipped),
            Some(FREE) => match self.take_over(key, &old, lease_until_ms, FREE).await? {
                Some(lease) => Ok(Claimed::Fresh(lease)),
                None => Err(Failure::again("another worker was first")),
            },
            Some(IN_PROGRESS) if free_at_ms > self.now_ms() => Ok(Claimed::Held { until_ms: free_at_ms }),
            Some(IN_PROGRESS) => match self.take_over(key, &old, lease_until_ms, IN_PROGRESS).await? {
                Some(lease) => Ok(Claimed::InDoubt(lease)),
                None => Err(Failure::again("another worker was first")),
            },
            other => Err(Failure::bug(format!("effect record {} has status {other:?}", key.record))),
        }
    }

    async fn note(&self, lease: &Lease, note: &str) -> Result<Lease, Failure> {
        self.write_owned(lease, "SET #note = :note", vec![(":note", text(note))]).await
    }

    async fn raise_generation(&self, lease: &Lease) -> Result<Lease, Failure> {
        // Not an increment: a repeat of this write after a lost answer must not raise twice.
        let raised = number(lease.generation.saturating_add(1));
        self.write_owned(lease, "SET #generation = :raised", vec![(":raised", raised)]).await
    }

    async fn free(&self, lease: &Lease, counts: bool) -> Result<(), Failure> {
        // Not a decrement: a repeat of this write after a lost answer must not take off twice.
        let attempts = if counts { lease.attempts } else { lease.attempts.saturating_sub(1) };
        let values = vec![
            (":attempts", number(attempts)),
            (":free", text(FREE)),
            (":owner", text(lease.owner.clone())),
            (":in_progress", text(IN_PROGRESS)),
        ];
        let condition = "#owner = :owner AND #status = :in_progress";
        let write =
            Write { record: &lease.key.record, set: "SET #status = :free, #attempts = :attempts", condition, values };
        match self.write(write).await? {
            Written::Done(_) => Ok(()),
            Written::Refused(record) if is_owner(&record, &lease.owner) => Ok(()),
            Written::Refused(_) => Err(Failure::again("the lease was taken over")),
        }
    }
}

impl Effects for Aws {
    async fn commit_effect(
        &self,
        lease: &Lease,
        end: EffectEnd,
        before: &Order,
        after: &Order,
    ) -> Result<EffectCommit, StoreError> {
        let now_ms = self.now_ms();
        let condition = "#owner = :owner AND #status = :in_progress";
        let mut ended = vec![(":owner", text(lease.owner.clone())), (":in_progress", text(IN_PROGRESS))];
        let set = match end {
            EffectEnd::Completed => {
                ended.push((":completed", text(COMPLETED)));
                ended.push((":expires_at", number(now_ms / 1000 + KEPT_S)));
                "SET #status = :completed, #expires_at = :expires_at"
            }
            // It stays in doubt, so that whoever resumes looks first; its attempts are counted anew.
            EffectEnd::Parked => {
                ended.push((":now", number(now_ms)));
                ended.push((":zero", number(0)));
                "SET #lease_until = :now, #attempts = :zero"
            }
        };
        if before.version == after.version {
            let written = self.write(Write { record: &lease.key.record, set, condition, values: ended }).await?;
            return Ok(match written {
                Written::Done(_) => EffectCommit::Done,
                Written::Refused(record) if is_owner(&record, &lease.owner) => EffectCommit::Done,
                Written::Refused(_) => EffectCommit::LeaseLost,
            });
        }
        let commit_id = self.fresh().to_string();
        let record = self.record_update(&lease.key, set, condition, ended)?;
        let row = item::update(&self.names.orders_table, before, after, &commit_id)?;
        let items =
            vec![TransactWriteItem::builder().update(record).build(), TransactWriteItem::builder().update(row).build()];
        let Transacted::Refused(reasons) = self.transact(items).await? else { return Ok(EffectCommit::Done) };
        let mut reasons = reasons.into_iter();
        let (record, row) = (reasons.next(), reasons.next());
        if let Some(row) = row.filter(is_refusal) {
            return Ok(match lost(row.item, &commit_id, after.order_id)? {
                Commit::Done => EffectCommit::Done,
                Commit::Lost(row) if record.is_some_and(|record| is_refusal(&record)) => {
                    tracing::debug!(version = row.version, "row and lease are both somebody else's");
                    EffectCommit::LeaseLost
                }
                Commit::Lost(row) => EffectCommit::Lost(row),
            });
        }
        Ok(EffectCommit::LeaseLost)
    }

    async fn skip_effect(&self, key: &EffectKey, before: &Order, after: &Order) -> Result<Skip, StoreError> {
        let commit_id = self.fresh().to_string();
        let tombstone = vec![
            (":operation", text(key.operation.clone())),
            (":version", number(key.version)),
            (":skipped", text(SKIPPED)),
            (":completed", text(COMPLETED)),
            (":free", text(FREE)),
            (":owner", text(commit_id.clone())),
            (":zero", number(0)),
            (":expires_at", number(self.now_ms() / 1000 + KEPT_S)),
        ];
        let record = self.record_update(
            key,
            "SET #operation = :operation, #status = :skipped, #owner = :owner, #lease_until = :zero, \
             #attempts = :zero, #generation = :zero, #subject_version = :version, #expires_at = :expires_at REMOVE #note",
            "attribute_not_exists(#key) \
             OR (#status IN (:completed, :skipped) AND #operation <> :operation AND #subject_version < :version) \
             OR (#status = :free AND #operation = :operation)",
            tombstone,
        )?;
        let row = item::update(&self.names.orders_table, before, after, &commit_id)?;
        let items =
            vec![TransactWriteItem::builder().update(record).build(), TransactWriteItem::builder().update(row).build()];
        let Transacted::Refused(reasons) = self.transact(items).await? else { return Ok(Skip::Done) };
        let mut reasons = reasons.into_iter();
        let (record, row) = (reasons.next(), reasons.next());
        if let Some(row) = row.filter(is_refusal) {
            return Ok(match lost(row.item, &commit_id, after.order_id)? {
                Commit::Done => Skip::Done,
                Commit::Lost(row) => Skip::Lost(row),
            });
        }
        Ok(if record.is_some_and(|record| is_refusal(&record)) { Skip::Started } else { Skip::Done })
    }
}

impl Aws {
    fn record_update(&self, key: &EffectKey, set: &str, condition: &str, ended: Values) -> Result<Update, StoreError> {
        Update::builder()
            .table_name(&self.names.idempotency_table)
            .set_key(Some(HashMap::from([("key".to_owned(), text(key.record.clone()))])))
            .update_expression(set)
            .condition_expression(condition)
            .set_expression_attribute_names(Some(names(set, condition)))
            .set_expression_attribute_values(Some(values(ended)))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(|error| StoreError::Unreadable(error.to_string()))
    }
}

impl ClaimOnce for Aws {
    async fn claim_once(&self, key: &str) -> Result<Once, StoreError> {
        let owner = self.fresh().to_string();
        let values = vec![(":claimed", text(CLAIMED)), (":free", text(FREE)), (":owner", text(owner.clone()))];
        let written = self
            .write(Write {
                record: key,
                set: "SET #status = :claimed, #owner = :owner",
                condition: "attribute_not_exists(#key) OR #status = :free",
                values,
            })
            .await?;
        Ok(match written {
            Written::Done(_) => Once::Ours,
            Written::Refused(record) if is_owner(&record, &owner) => Once::Ours,
            Written::Refused(_) => Once::Taken,
        })
    }

    async fn unclaim(&self, key: &str) -> Result<(), StoreError> {
        let values = vec![(":free", text(FREE)), (":claimed", text(CLAIMED))];
        let condition = "#status = :claimed";
        self.write(Write { record: key, set: "SET #status = :free", condition, values }).await.map(drop)
    }

    async fn claim_done(&self, key: &str, result: &str) -> Result<(), StoreError> {
        let values = vec![
            (":completed", text(COMPLETED)),
            (":result", text(result)),
            (":claimed", text(CLAIMED)),
            (":expires_at", number(self.now_ms() / 1000 + KEPT_S)),
        ];
        let set = "SET #status = :completed, #result = :result, #expires_at = :expires_at";
        self.write(Write { record: key, set, condition: "#status = :claimed", values }).await.map(drop)
    }
}
