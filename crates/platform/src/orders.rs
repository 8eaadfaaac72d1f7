//! The orders table.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{KeysAndAttributes, ReturnValuesOnConditionCheckFailure};
use lambda_queue::Ids;
use order::{CustomerId, Order, OrderId, TenantId};
use ports::{AcceptOrder, Accepted, Commit, CommitOrder, ListOrders, LoadOrder, OrderPage, StoreError};

use crate::Aws;
use crate::item::{self, Item, number, text};
use lambda_queue::aws::store_error;

/// Rounds of asking again for keys that a batch read left out.
const BATCH_ROUNDS: u32 = 5;

impl LoadOrder for Aws {
    async fn load_order(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        let get = self.dynamodb().get_item().table_name(&self.names.orders_table).consistent_read(true);
        let answer = get.set_key(Some(item::key(id))).send().await.map_err(|error| store_error(&error))?;
        answer.item.map(item::to_order).transpose()
    }
}

impl CommitOrder for Aws {
    async fn commit_order(&self, before: &Order, after: &Order) -> Result<Commit, StoreError> {
        let commit_id = self.fresh().to_string();
        let update = item::update(&self.names.orders_table, before, after, &commit_id)?;
        let sent = self
            .dynamodb()
            .update_item()
            .table_name(update.table_name)
            .set_key(Some(update.key))
            .update_expression(update.update_expression)
            .set_condition_expression(update.condition_expression)
            .set_expression_attribute_names(update.expression_attribute_names)
            .set_expression_attribute_values(update.expression_attribute_values)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match sent {
            Ok(_) => Ok(Commit::Done),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                    lost(refused.item().cloned(), &commit_id, after.order_id)
                }
                Some(_) | None => Err(store_error(&error)),
            },
        }
    }

    async fn postpone(&self, order: &Order, due_at_ms: u64, nudges: u32) -> Result<bool, StoreError> {
        let sent = self
            .dynamodb()
            .update_item()
            .table_name(&self.names.orders_table)
            .set_key(Some(item::key(order.order_id)))
            .update_expression("SET due_at = :due_at, nudges = :nudges, open_shard = :shard")
            .condition_expression("#version = :version AND attribute_exists(due_at)")
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":due_at", number(due_at_ms))
            .expression_attribute_values(":nudges", number(nudges))
            .expression_attribute_values(":shard", number(order.order_id.shard(item::SHARDS)))
            .expression_attribute_values(":version", number(order.version))
            .send()
            .await;
        match sent {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(false),
                Some(_) | None => Err(store_error(&error)),
            },
        }
    }
}

/// What a refused commit means: the row in its way, unless the row is this commit's own.
pub(crate) fn lost(old: Option<Item>, commit_id: &str, id: OrderId) -> Result<Commit, StoreError> {
    match old {
        Some(old) if item::is_by(&old, commit_id) => Ok(Commit::Done),
        Some(old) => Ok(Commit::Lost(Box::new(item::to_order(old)?))),
        None => Err(StoreError::Unreadable(format!("order {id} has no row any more"))),
    }
}

impl AcceptOrder for Aws {
    async fn accept_order(&self, order: &Order) -> Result<Accepted, StoreError> {
        let commit_id = self.fresh().to_string();
        let put = item::put_new(&self.names.orders_table, order, &commit_id)?;
        let sent = self
            .dynamodb()
            .put_item()
            .table_name(put.table_name)
            .set_item(Some(put.item))
            .set_condition_expression(put.condition_expression)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match sent {
            Ok(_) => Ok(Accepted::New),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(refused)) => {
                    match lost(refused.item().cloned(), &commit_id, order.order_id)? {
                        Commit::Done => Ok(Accepted::New),
                        Commit::Lost(row) => Ok(Accepted::Known(row)),
                    }
                }
                Some(_) | None => Err(store_error(&error)),
            },
        }
    }
}

impl ListOrders for Aws {
    async fn list_orders(
        &self,
        tenant: &TenantId,
        customer: &CustomerId,
        limit: u32,
        after: Option<&str>,
    ) -> Result<OrderPage, StoreError> {
        let owner = item::owner(tenant, customer);
        let start = after.map(|cursor| start_key(cursor, &owner)).transpose()?;
        let page = self
            .dynamodb()
            .query()
            .table_name(&self.names.orders_table)
            .index_name("customer")
            .key_condition_expression("#owner = :owner")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":owner", text(owner))
            .scan_index_forward(false)
            .limit(i32::try_from(limit.clamp(1, 100)).unwrap_or(100))
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(|error| store_error(&error))?;
        let next = page.last_evaluated_key.as_ref().and_then(cursor);
        let ids: Vec<String> =
            page.items.unwrap_or_default().iter().filter_map(|item| item::text_of(item, "order_id")).collect();
        let mut rows = self.load_all(&ids).await?;
        let orders = ids.iter().filter_map(|id| rows.remove(id)).map(item::to_order).collect::<Result<_, _>>()?;
        Ok(OrderPage { orders, next })
    }
}

impl Aws {
    /// Rows by id, strongly consistent.
    async fn load_all(&self, ids: &[String]) -> Result<HashMap<String, Item>, StoreError> {
        let table = &self.names.orders_table;
        let keys: Vec<Item> = ids.iter().map(|id| HashMap::from([("order_id".to_owned(), text(id.clone()))])).collect();
        let found = self.read_batch(table, keys, true).await?;
        Ok(found.into_iter().filter_map(|item| Some((item::text_of(&item, "order_id")?, item))).collect())
    }

    /// `BatchGetItem` of at most 100 keys, asking again for what was left out.
    pub(crate) async fn read_batch(
        &self,
        table: &str,
        keys: Vec<Item>,
        consistent: bool,
    ) -> Result<Vec<Item>, StoreError> {
        let mut found = Vec::with_capacity(keys.len());
        let mut wanted = keys;
        for _ in 0..BATCH_ROUNDS {
            if wanted.is_empty() {
                return Ok(found);
            }
            let asked = KeysAndAttributes::builder().set_keys(Some(wanted)).consistent_read(consistent).build();
            let asked = asked.map_err(|error| StoreError::Unreadable(error.to_string()))?;
            let answer = self.dynamodb().batch_get_item().request_items(table, asked).send().await;
            let answer = answer.map_err(|error| store_error(&error))?;
            found.extend(answer.responses.unwrap_or_default().remove(table).unwrap_or_default());
            wanted =
                answer.unprocessed_keys.unwrap_or_default().remove(table).map(|left| left.keys).unwrap_or_default();
        }
        if wanted.is_empty() { Ok(found) } else { Err(StoreError::NotDone("the table is too busy".to_owned())) }
    }
}

fn cursor(last: &Item) -> Option<String> {
    Some(format!("{}_{}", item::number_of(last, "created_at")?, item::text_of(last, "order_id")?))
}

fn start_key(cursor: &str, owner: &str) -> Result<Item, StoreError> {
    let parts = cursor
        .split_once('_')
        .and_then(|(created_at, id)| Some((created_at.parse::<u64>().ok()?, id.parse::<OrderId>().ok()?)));
    let (created_at, id) = parts.ok_or_else(|| StoreError::NotDone("not a cursor of this list".to_owned()))?;
    Ok(HashMap::from([
        ("owner".to_owned(), text(owner)),
        ("created_at".to_owned(), number(created_at)),
        ("order_id".to_owned(), text(id.to_string())),
    ]))
}
