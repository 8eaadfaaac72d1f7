//! Stock and rows together.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{CancellationReason, TransactWriteItem, Update};
use lambda_queue::Ids;
use order::{Line, Order};
use ports::{Commit, CommitStock, StockCommit, StockMove, StoreError};

use crate::Aws;
use crate::item::{self, number, text};
use crate::orders::lost;
use lambda_queue::aws::store_error;

impl CommitStock for Aws {
    async fn commit_stock(&self, before: &Order, after: &Order, way: StockMove) -> Result<StockCommit, StoreError> {
        let commit_id = self.fresh().to_string();
        let row = item::update(&self.names.orders_table, before, after, &commit_id)?;
        let mut items = vec![TransactWriteItem::builder().update(row).build()];
        for line in &before.lines {
            items.push(TransactWriteItem::builder().update(self.moved(line, way)?).build());
        }
        let reasons = match self.transact(items).await? {
            Transacted::Done => return Ok(StockCommit::Done),
            Transacted::Refused(reasons) => reasons,
        };
        let mut reasons = reasons.into_iter();
        if let Some(row) = reasons.next().filter(is_refusal) {
            return Ok(match lost(row.item, &commit_id, after.order_id)? {
                Commit::Done => StockCommit::Done,
                Commit::Lost(row) => StockCommit::Lost(row),
            });
        }
        let short = before.lines.iter().zip(reasons).find(|(_, reason)| is_refusal(reason));
        match (short, way) {
            (Some((line, _)), StockMove::Take) => Ok(StockCommit::Short(line.sku.clone())),
            (Some((line, _)), StockMove::Return) => {
                Err(StoreError::Unreadable(format!("the catalogue has lost {}", line.sku)))
            }
            (None, _) => Err(StoreError::NotDone("the transaction met another one".to_owned())),
        }
    }
}

/// How a transaction went.
pub(crate) enum Transacted {
    /// All of it.
    Done,
    /// None of it: at least one condition failed. One reason an item, in their order.
    Refused(Vec<CancellationReason>),
}

pub(crate) fn is_refusal(reason: &CancellationReason) -> bool {
    reason.code() == Some("ConditionalCheckFailed")
}

impl Aws {
    /// One `TransactWriteItems`. A conflict with another transaction, or a throttle, is `NotDone`. The SDK's client
    /// request token makes its own repeats of a lost answer safe for ten minutes.
    pub(crate) async fn transact(&self, items: Vec<TransactWriteItem>) -> Result<Transacted, StoreError> {
        let sent = self.dynamodb().transact_write_items().set_transact_items(Some(items)).send().await;
        match sent {
            Ok(_) => Ok(Transacted::Done),
            Err(error) => match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(cancelled))
                    if cancelled.cancellation_reasons().iter().any(is_refusal) =>
                {
                    Ok(Transacted::Refused(cancelled.cancellation_reasons().to_vec()))
                }
                Some(_) | None => Err(store_error(&error)),
            },
        }
    }

    fn moved(&self, line: &Line, way: StockMove) -> Result<Update, StoreError> {
        let (expression, condition) = match way {
            StockMove::Take => ("SET available = available - :quantity", "available >= :quantity"),
            StockMove::Return => ("SET available = available + :quantity", "attribute_exists(sku)"),
        };
        Update::builder()
            .table_name(&self.names.stock_table)
            .set_key(Some(HashMap::from([("sku".to_owned(), text(line.sku.as_str()))])))
            .update_expression(expression)
            .condition_expression(condition)
            .expression_attribute_values(":quantity", number(line.quantity))
            .build()
            .map_err(|error| StoreError::Unreadable(error.to_string()))
    }
}
