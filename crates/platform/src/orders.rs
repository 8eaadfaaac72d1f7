//! The orders table.

use std::collections::HashMap;

use lambda_queue::ports::store::{Query, Write, Written, number_of};
use order::{CustomerId, Order, OrderId, TenantId};
use ports::{AcceptOrder, Accepted, Commit, CommitOrder, ListOrders, LoadOrder, OrderPage, StoreError};

use crate::item::{self, Item, number, text};
use crate::{Backend, Platform};

impl<B: Backend> LoadOrder for Platform<B> {
    async fn load_order(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        let row = self.backend.get(&self.names.orders_table, item::key(id), true).await?;
        row.map(item::to_order).transpose()
    }
}

impl<B: Backend> CommitOrder for Platform<B> {
    async fn commit_order(&self, before: &Order, after: &Order) -> Result<Commit, StoreError> {
        let commit_id = self.backend.fresh().to_string();
        let update = item::update(&self.names.orders_table, before, after, &commit_id)?;
        match self.backend.write(update).await? {
            Written::Done(_) => Ok(Commit::Done),
            Written::Refused(old) => lost(old, &commit_id, after.order_id),
        }
    }

    async fn postpone(&self, order: &Order, due_at_ms: u64, nudges: u32) -> Result<bool, StoreError> {
        // A row that is due at no time owes nothing.
        let Some(found) = order.due_at else { return Ok(false) };
        let set = "SET due_at = :due_at, nudges = :nudges, open_shard = :shard";
        let update = Write::update(&self.names.orders_table, item::key(order.order_id), set)
            .when("#version = :version AND due_at = :found")
            .name("#version", "version")
            .value(":due_at", number(due_at_ms))
            .value(":nudges", number(nudges))
            .value(":shard", number(order.order_id.shard(item::SHARDS)))
            .value(":found", number(found))
            .value(":version", number(order.version))
            .without_item();
        match self.backend.write(update).await? {
            Written::Done(_) => Ok(true),
            // This very write, whose answer was lost, or one that says the same.
            Written::Refused(Some(row)) => Ok(number_of(&row, "version") == Some(order.version)
                && number_of(&row, "due_at") == Some(due_at_ms)
                && number_of(&row, "nudges") == Some(u64::from(nudges))),
            Written::Refused(None) => Ok(false),
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

impl<B: Backend> AcceptOrder for Platform<B> {
    async fn accept_order(&self, order: &Order) -> Result<Accepted, StoreError> {
        let commit_id = self.backend.fresh().to_string();
        let put = item::put_new(&self.names.orders_table, order, &commit_id)?;
        match self.backend.write(put).await? {
            Written::Done(_) => Ok(Accepted::New),
            Written::Refused(old) => match lost(old, &commit_id, order.order_id)? {
                Commit::Done => Ok(Accepted::New),
                Commit::Lost(row) => Ok(Accepted::Known(row)),
            },
        }
    }
}

impl<B: Backend> ListOrders for Platform<B> {
    async fn list_orders(
        &self,
        tenant: &TenantId,
        customer: &CustomerId,
        limit: u32,
        after: Option<&str>,
    ) -> Result<OrderPage, StoreError> {
        let owner = item::owner(tenant, customer);
        let start = after.map(|cursor| start_key(cursor, &owner)).transpose()?;
        let query = Query {
            table: self.names.orders_table.clone(),
            index: Some("customer".to_owned()),
            key_condition: "#owner = :owner".to_owned(),
            names: [("#owner", "owner")].into(),
            values: [(":owner", text(owner))].into(),
            descending: true,
            limit: Some(limit.clamp(1, 100)),
            start,
            ..Query::default()
        };
        let page = self.backend.query(query).await?;
        let next = page.next.as_ref().and_then(cursor);
        let ids: Vec<String> = page.items.iter().filter_map(|item| item::text_of(item, "order_id")).collect();
        let mut rows = self.load_all(&ids).await?;
        let orders = ids.iter().filter_map(|id| readable(id, rows.remove(id)?)).collect();
        Ok(OrderPage { orders, next })
    }
}

impl<B: Backend> Platform<B> {
    /// Rows by id, strongly consistent.
    async fn load_all(&self, ids: &[String]) -> Result<HashMap<String, Item>, StoreError> {
        let table = &self.names.orders_table;
        let keys: Vec<Item> = ids.iter().map(|id| HashMap::from([("order_id".to_owned(), text(id.clone()))])).collect();
        let found = self.backend.get_all(table, keys, true).await?;
        Ok(found.into_iter().filter_map(|item| Some((item::text_of(&item, "order_id")?, item))).collect())
    }
}

/// An order of a list. One that cannot be read, as a newer program wrote it, is told and left out: it is not to take its
/// customer's others with it.
fn readable(id: &str, row: Item) -> Option<Order> {
    let why = match item::to_order(row) {
        Ok(order) => return Some(order),
        Err(why) => why,
    };
    tracing::error!(order_id = id, %why, "a row that cannot be read is left out of its customer's list");
    None
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
