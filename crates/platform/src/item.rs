//! Rows as DynamoDB items.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, Put, ReturnValuesOnConditionCheckFailure, Update};
use order::{CustomerId, Order, OrderId, TenantId};
use ports::StoreError;

/// An item.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// Shards of the index of open orders.
pub(crate) const SHARDS: u16 = 16;
/// Who wrote this version: how a write whose answer was lost knows itself again.
const COMMIT_ID: &str = "commit_id";

pub(crate) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(crate) fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

pub(crate) fn text_of(item: &Item, name: &str) -> Option<String> {
    item.get(name).and_then(|value| value.as_s().ok()).cloned()
}

pub(crate) fn number_of(item: &Item, name: &str) -> Option<u64> {
    item.get(name).and_then(|value| value.as_n().ok()).and_then(|text| text.parse().ok())
}

pub(crate) fn key(order_id: OrderId) -> Item {
    HashMap::from([("order_id".to_owned(), text(order_id.to_string()))])
}

/// The hash key of the index by customer: no two pairs run together.
pub(crate) fn owner(tenant: &TenantId, customer: &CustomerId) -> String {
    format!("{}#{}#{}", tenant.as_str().len(), tenant.as_str(), customer.as_str())
}

/// The row's attributes, the derived ones of the indexes among them.
pub(crate) fn from_order(order: &Order) -> Result<Item, StoreError> {
    let mut item: Item = serde_dynamo::to_item(order).map_err(|error| StoreError::Unreadable(error.to_string()))?;
    item.insert("owner".to_owned(), text(owner(&order.tenant, &order.customer)));
    if order.due_at.is_some() {
        item.insert("open_shard".to_owned(), number(order.order_id.shard(SHARDS)));
    }
    Ok(item)
}

pub(crate) fn to_order(item: Item) -> Result<Order, StoreError> {
    let id = text_of(&item, "order_id").unwrap_or_default();
    serde_dynamo::from_item(item).map_err(|error| StoreError::Unreadable(format!("order {id}: {error}")))
}

/// Whether the row was last written by this commit.
pub(crate) fn is_by(item: &Item, commit_id: &str) -> bool {
    text_of(item, COMMIT_ID).as_deref() == Some(commit_id)
}

/// The put of a new row.
pub(crate) fn put_new(table: &str, order: &Order, commit_id: &str) -> Result<Put, StoreError> {
    let mut item = from_order(order)?;
    item.insert(COMMIT_ID.to_owned(), text(commit_id));
    Put::builder()
        .table_name(table)
        .set_item(Some(item))
        .condition_expression("attribute_not_exists(order_id)")
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .build()
        .map_err(|error| StoreError::Unreadable(error.to_string()))
}

/// The update that makes `after` of `before`: only what differs, so that attributes of a newer program stay.
pub(crate) fn update(table: &str, before: &Order, after: &Order, commit_id: &str) -> Result<Update, StoreError> {
    let (old, mut new) = (from_order(before)?, from_order(after)?);
    new.insert(COMMIT_ID.to_owned(), text(commit_id));
    let mut names = HashMap::from([("#version".to_owned(), "version".to_owned())]);
    let mut values = HashMap::from([(":read".to_owned(), number(before.version))]);
    let (mut sets, mut removes) = (Vec::new(), Vec::new());
    // When it is due may have been moved since it was read, without a new version.
    let moves = |name: &str| matches!(name, "due_at" | "nudges" | "open_shard");
    let changed = new.into_iter().filter(|(name, value)| moves(name) || old.get(name) != Some(value));
    for (at, (name, value)) in changed.enumerate() {
        sets.push(format!("#s{at} = :s{at}"));
        names.insert(format!("#s{at}"), name);
        values.insert(format!(":s{at}"), value);
    }
    let kept = from_order(after)?;
    for (at, name) in old.into_keys().filter(|name| !kept.contains_key(name)).enumerate() {
        removes.push(format!("#r{at}"));
        names.insert(format!("#r{at}"), name);
    }
    let mut expression = format!("SET {}", sets.join(", "));
    if !removes.is_empty() {
        expression.push_str(&format!(" REMOVE {}", removes.join(", ")));
    }
    Update::builder()
        .table_name(table)
        .set_key(Some(key(after.order_id)))
        .update_expression(expression)
        .condition_expression("#version = :read")
        .set_expression_attribute_names(Some(names))
        .set_expression_attribute_values(Some(values))
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .build()
        .map_err(|error| StoreError::Unreadable(error.to_string()))
}
