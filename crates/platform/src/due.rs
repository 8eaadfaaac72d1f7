//! The index of open orders by when they are due.

use std::collections::HashMap;
use std::ops::Range;

use lambda_queue::ports::store::{Item, Query, Write, Written, number, number_of, text, text_of};
use ports::{DueRow, FindDue, SetAside, StoreError};

use crate::{Backend, Platform};

impl<B: Backend> FindDue for Platform<B> {
    async fn find_due(
        &self,
        shard: u16,
        due: Range<u64>,
        limit: u32,
        after: Option<&DueRow>,
    ) -> Result<Vec<DueRow>, StoreError> {
        let start = after.map(|row| {
            HashMap::from([
                ("open_shard".to_owned(), number(shard)),
                ("due_at".to_owned(), number(row.due_at_ms)),
                ("order_id".to_owned(), text(row.key.clone())),
            ])
        });
        let query = Query {
            table: self.names.orders_table.clone(),
            index: Some("open_shard-due_at".to_owned()),
            // Not BETWEEN: a page that ends with a row at the very end of that has no next one, though there may be more such rows.
            key_condition: "open_shard = :shard AND due_at >= :from".to_owned(),
            values: [(":shard", number(shard)), (":from", number(due.start))].into(),
            limit: Some(limit),
            start,
            ..Query::default()
        };
        let page = self.backend.query(query).await?;
        let row = |item: Item| {
            let key = text_of(&item, "order_id")?.to_owned();
            Some(DueRow { key, due_at_ms: number_of(&item, "due_at")? })
        };
        // Both are keys of the index: an item without them is not in it.
        let rows = page.items.into_iter().map(|item| {
            row(item).ok_or_else(|| StoreError::Unreadable("a row of the index without its keys".to_owned()))
        });
        let is_later = |row: &Result<DueRow, StoreError>| row.as_ref().is_ok_and(|row| row.due_at_ms >= due.end);
        rows.take_while(|row| !is_later(row)).collect()
    }
}

impl<B: Backend> SetAside for Platform<B> {
    async fn set_aside(&self, row: &DueRow, due_at_ms: u64) -> Result<bool, StoreError> {
        let key = HashMap::from([("order_id".to_owned(), text(row.key.clone()))]);
        let write = Write::update(&self.names.orders_table, key, "SET due_at = :due_at")
            .when("due_at = :found")
            .value(":due_at", number(due_at_ms))
            .value(":found", number(row.due_at_ms))
            .without_item();
        match self.backend.write(write).await? {
            Written::Done(_) => Ok(true),
            Written::Refused(_) => Ok(false),
        }
    }
}
