//! Stock and rows together.

use std::collections::HashMap;

use lambda_queue::ports::store::{Reason, Transacted, Write};
use order::{Line, Order};
use ports::{Commit, CommitStock, StockCommit, StockMove, StoreError};

use crate::item::{self, number, text};
use crate::orders::lost;
use crate::{Backend, Platform};

impl<B: Backend> CommitStock for Platform<B> {
    async fn commit_stock(&self, before: &Order, after: &Order, way: StockMove) -> Result<StockCommit, StoreError> {
        let commit_id = self.backend.fresh().to_string();
        let row = item::update(&self.names.orders_table, before, after, &commit_id)?;
        let mut writes = vec![row];
        writes.extend(before.lines.iter().map(|line| self.moved(line, way)));
        let reasons = match self.backend.transact(writes).await? {
            Transacted::Done => return Ok(StockCommit::Done),
            Transacted::Refused(reasons) => reasons,
        };
        let mut reasons = reasons.into_iter();
        if let Some(Reason::ConditionFailed(row)) = reasons.next() {
            return Ok(match lost(row, &commit_id, after.order_id)? {
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

pub(crate) fn is_refusal(reason: &Reason) -> bool {
    matches!(reason, Reason::ConditionFailed(_))
}

impl<B> Platform<B> {
    fn moved(&self, line: &Line, way: StockMove) -> Write {
        let (expression, condition) = match way {
            StockMove::Take => ("SET available = available - :quantity", "available >= :quantity"),
            StockMove::Return => ("SET available = available + :quantity", "attribute_exists(sku)"),
        };
        let key = HashMap::from([("sku".to_owned(), text(line.sku.as_str()))]);
        let update = Write::update(&self.names.stock_table, key, expression).when(condition);
        update.value(":quantity", number(line.quantity))
    }
}
