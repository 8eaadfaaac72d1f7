//! Rows as items.

use std::collections::HashMap;

use lambda_queue::ports::store::{self, Names, Values, Write};
use order::{CustomerId, Order, OrderId, TenantId};
use ports::StoreError;

pub(crate) use lambda_queue::ports::store::{Item, number, number_of, text};

/// Shards of the index of open orders.
pub(crate) const SHARDS: u16 = 16;
/// Who wrote this version: how a write whose answer was lost knows itself again.
const COMMIT_ID: &str = "commit_id";

pub(crate) fn text_of(item: &Item, name: &str) -> Option<String> {
    store::text_of(item, name).map(str::to_owned)
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
    let row = serde_path_to_error::deserialize(serde_dynamo::Deserializer::from_attribute_value(store::Value::M(item)));
    row.map_err(|error| {
        let path = match error.path().to_string() {
            root if root == "." => String::new(),
            path => format!("`{path}`: "),
        };
        StoreError::Unreadable(format!("order {id}: {path}{}", error.into_inner()))
    })
}

/// Whether the row was last written by this commit.
pub(crate) fn is_by(item: &Item, commit_id: &str) -> bool {
    text_of(item, COMMIT_ID).as_deref() == Some(commit_id)
}

/// The put of a new row.
pub(crate) fn put_new(table: &str, order: &Order, commit_id: &str) -> Result<Write, StoreError> {
    let mut item = from_order(order)?;
    item.insert(COMMIT_ID.to_owned(), text(commit_id));
    Ok(Write::put(table, item).when("attribute_not_exists(order_id)"))
}

/// The update that makes `after` of `before`: only what differs, so that attributes of a newer program stay.
pub(crate) fn update(table: &str, before: &Order, after: &Order, commit_id: &str) -> Result<Write, StoreError> {
    let (old, mut new) = (from_order(before)?, from_order(after)?);
    new.insert(COMMIT_ID.to_owned(), text(commit_id));
    let mut names = Names::from([("#version", "version")]);
    let mut values = Values::from([(":read", number(before.version))]);
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
    let update = Write::update(table, key(after.order_id), expression).when("#version = :read").without_item();
    Ok(Write { names, values, ..update })
}
