//! DynamoDB.

use std::borrow::Cow;
use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Builder;
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::types::{
    AttributeValue, CancellationReason, ConditionCheck, Delete, KeysAndAttributes, Put, ReturnValue,
    ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};

use super::attempts::{LostAttempts, follows_a_lost_one};
use super::errors::{read_error, store_error};
use crate::ports::store::{
    Action, Item, Names, Page, Query, Reason, Returned, Store, StoreError, Transacted, Value, Values, Write, Written,
};

/// Rounds of asking again for keys that a batch read left out.
const BATCH_ROUNDS: u32 = 5;

type SdkItem = HashMap<String, AttributeValue>;

/// [`Store`] over DynamoDB.
///
/// The client may retry: a write that was refused or throttled after an attempt whose answer was lost is `Unknown`, by the
/// interceptor [`LostAttempts`].
#[derive(Clone, Debug)]
pub struct Dynamo(Client);

impl Dynamo {
    /// Over a client of this configuration: an `&SdkConfig`, DynamoDB's own, or that of a client that is there already
    /// (`client.config().to_builder()`).
    pub fn new(config: impl Into<Builder>) -> Self {
        Self(Client::from_conf(config.into().interceptor(LostAttempts).build()))
    }

    /// The client, for what the port does not have.
    pub fn client(&self) -> &Client {
        &self.0
    }
}

fn to_sdk(item: Item) -> SdkItem {
    item.into_iter().map(|(name, value)| (name, value.into())).collect()
}

fn from_sdk(item: SdkItem) -> Item {
    item.into_iter().map(|(name, value)| (name, Value::from(value))).collect()
}

fn names(names: Names) -> Option<HashMap<String, String>> {
    let owned = |(placeholder, attribute): (Cow<'static, str>, Cow<'static, str>)| {
        (placeholder.into_owned(), attribute.into_owned())
    };
    (!names.is_empty()).then(|| names.into_iter().map(owned).collect())
}

fn values(values: Values) -> Option<SdkItem> {
    let owned = |(placeholder, value): (Cow<'static, str>, Value)| (placeholder.into_owned(), value.into());
    (!values.is_empty()).then(|| values.into_iter().map(owned).collect())
}

/// A request, or an item of a transaction, on the write's condition. The SDK has a type of its own for each, and no trait.
macro_rules! on_condition {
    ($request:expr, $write:ident) => {
        $request
            .table_name($write.table)
            .set_condition_expression($write.condition.map(Cow::into_owned))
            .set_expression_attribute_names(names($write.names))
            .set_expression_attribute_values(values($write.values))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    };
}

/// Sends a write: done, refused with the item that stands there, or failed.
macro_rules! send {
    ($request:expr, $error:ident, $new:expr) => {
        match $request.send().await {
            Ok(answer) => Ok(Written::Done($new(answer))),
            Err(error) => match error.as_service_error() {
                Some($error::ConditionalCheckFailedException(refused)) => {
                    Ok(Written::Refused(refused.item().cloned().map(from_sdk)))
                }
                Some(_) | None => Err(store_error(&error)),
            },
        }
    };
}

fn malformed(error: BuildError) -> StoreError {
    StoreError::NotDone(error.to_string())
}

impl Store for Dynamo {
    async fn get(&self, table: &str, key: Item, consistent: bool) -> Result<Option<Item>, StoreError> {
        let get = self.0.get_item().table_name(table).consistent_read(consistent).set_key(Some(to_sdk(key)));
        Ok(get.send().await.map_err(|error| read_error(&error))?.item.map(from_sdk))
    }

    async fn get_all(&self, table: &str, keys: Vec<Item>, consistent: bool) -> Result<Vec<Item>, StoreError> {
        let mut found = Vec::with_capacity(keys.len());
        let mut wanted: Vec<SdkItem> = keys.into_iter().map(to_sdk).collect();
        for _ in 0..BATCH_ROUNDS {
            if wanted.is_empty() {
                return Ok(found);
            }
            let asked = KeysAndAttributes::builder().set_keys(Some(wanted)).consistent_read(consistent).build();
            let asked = asked.map_err(malformed)?;
            let answer = self.0.batch_get_item().request_items(table, asked).send().await;
            let answer = answer.map_err(|error| read_error(&error))?;
            let rows = answer.responses.unwrap_or_default().remove(table).unwrap_or_default();
            found.extend(rows.into_iter().map(from_sdk));
            let left = answer.unprocessed_keys.unwrap_or_default().remove(table);
            wanted = left.map(|left| left.keys).unwrap_or_default();
        }
        if wanted.is_empty() { Ok(found) } else { Err(StoreError::NotDone("the table is too busy".to_owned())) }
    }

    async fn query(&self, query: Query) -> Result<Page, StoreError> {
        let page = self
            .0
            .query()
            .table_name(query.table)
            .set_index_name(query.index)
            .key_condition_expression(query.key_condition)
            .set_filter_expression(query.filter)
            .set_expression_attribute_names(names(query.names))
            .set_expression_attribute_values(values(query.values))
            .scan_index_forward(!query.descending)
            .consistent_read(query.consistent)
            .set_limit(query.limit.map(|limit| i32::try_from(limit).unwrap_or(i32::MAX)))
            .set_exclusive_start_key(query.start.map(to_sdk))
            .send()
            .await
            .map_err(|error| read_error(&error))?;
        Ok(Page {
            items: page.items.unwrap_or_default().into_iter().map(from_sdk).collect(),
            next: page.last_evaluated_key.map(from_sdk),
        })
    }

    async fn write(&self, write: Write) -> Result<Written, StoreError> {
        let returned = match write.returned {
            Returned::New => ReturnValue::AllNew,
            Returned::Nothing => ReturnValue::None,
        };
        match write.action {
            Action::Put(item) => {
                let put = self.0.put_item().set_item(Some(to_sdk(item)));
                send!(on_condition!(put, write), PutItemError, |_| Item::new())
            }
            Action::Update { key, expression } => {
                let update = self.0.update_item().set_key(Some(to_sdk(key))).update_expression(expression);
                let update = on_condition!(update.return_values(returned), write);
                send!(update, UpdateItemError, |answer: UpdateItemOutput| {
                    answer.attributes.map(from_sdk).unwrap_or_default()
                })
            }
            Action::Delete(key) => {
                let delete = self.0.delete_item().set_key(Some(to_sdk(key)));
                send!(on_condition!(delete, write), DeleteItemError, |_| Item::new())
            }
            Action::Check(_) => Err(StoreError::NotDone("a check stands in a transaction only".to_owned())),
        }
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<Transacted, StoreError> {
        let items = writes.into_iter().map(transact_item).collect::<Result<Vec<_>, _>>().map_err(malformed)?;
        match self.0.transact_write_items().set_transact_items(Some(items)).send().await {
            Ok(_) => Ok(Transacted::Done),
            Err(error) => match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                    let reasons: Vec<Reason> = cancelled.cancellation_reasons().iter().map(reason).collect();
                    if reasons.iter().any(|reason| matches!(reason, Reason::ConditionFailed(_))) {
                        Ok(Transacted::Refused(reasons))
                    } else if follows_a_lost_one(&error) {
                        Err(StoreError::Unknown("of an earlier attempt; the last one was cancelled".to_owned()))
                    } else {
                        Err(StoreError::cancelled(&reasons))
                    }
                }
                Some(_) | None => Err(store_error(&error)),
            },
        }
    }
}

fn reason(reason: &CancellationReason) -> Reason {
    match reason.code() {
        None | Some("None") => Reason::None,
        Some("ConditionalCheckFailed") => Reason::ConditionFailed(reason.item.clone().map(from_sdk)),
        Some("TransactionConflict") => Reason::Conflict,
        Some(other) => Reason::Other(other.to_owned()),
    }
}

fn transact_item(write: Write) -> Result<TransactWriteItem, BuildError> {
    let item = TransactWriteItem::builder();
    Ok(match write.action {
        Action::Put(new) => item.put(on_condition!(Put::builder().set_item(Some(to_sdk(new))), write).build()?),
        Action::Update { key, expression } => {
            let update = Update::builder().set_key(Some(to_sdk(key))).update_expression(expression);
            item.update(on_condition!(update, write).build()?)
        }
        Action::Delete(key) => item.delete(on_condition!(Delete::builder().set_key(Some(to_sdk(key))), write).build()?),
        Action::Check(key) => {
            item.condition_check(on_condition!(ConditionCheck::builder().set_key(Some(to_sdk(key))), write).build()?)
        }
    }
    .build())
}
