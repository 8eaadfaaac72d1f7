//! What the invariants are judged by.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use order::{OrderId, Sku};
use serde_json::Value;

use crate::api::{Answer, Who};
use crate::archive::{self, Archived};
use crate::deployed::Deployed;
use crate::ledger::LedgerEntry;
use crate::logs::LogLines;
use crate::queues::Depths;
use crate::tables::{CaseRow, Row};

/// One `POST /orders`.
#[derive(Clone, PartialEq, Debug)]
pub struct Placed {
    /// Who asked.
    pub who: Who,
    /// `Idempotency-Key`.
    pub key: String,
    /// What was asked.
    pub body: Value,
    /// What was answered; 0 where no whole answer came.
    pub status: u16,
    /// Which order the answer named.
    pub order_id: Option<OrderId>,
    /// When it was asked, UTC milliseconds.
    pub at_ms: u64,
}

impl Placed {
    /// What was asked and answered.
    pub fn new(who: &Who, key: &str, body: &Value, at_ms: u64, answer: Option<&Answer>) -> Self {
        Self {
            who: who.clone(),
            key: key.to_owned(),
            body: body.clone(),
            status: answer.map_or(0, |answer| answer.status),
            order_id: answer.and_then(Answer::order_id),
            at_ms,
        }
    }

    /// Whether the answer said yes.
    pub fn is_accepted(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether the answer left open whether the order was accepted: none came, or a 5xx.
    pub fn is_unknown(&self) -> bool {
        self.status == 0 || self.status >= 500
    }
}

/// One `POST /orders/{id}/refunds`.
#[derive(Clone, PartialEq, Debug)]
pub struct RefundAsked {
    /// Of which order.
    pub order_id: OrderId,
    /// `Idempotency-Key`.
    pub key: String,
    /// How much; all that is left where `None`.
    pub amount_minor: Option<u64>,
    /// What was answered; 0 where no whole answer came.
    pub status: u16,
}

/// A function's process that was killed, or whose answer was lost with its Lambda.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kill {
    /// `process-payment`.
    pub function: String,
    /// When, UTC milliseconds.
    pub at_ms: u64,
}

/// How long before its end a killed invocation may have told of a record: the longest timeout of a queue-fed function.
const INVOCATION_MS: u64 = 30_000;
/// How long before its process was killed an invocation may have told of its end, and not been heard.
const ANSWER_MS: u64 = 3_000;

/// Everything the invariants are judged by.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Every request for an order, repeats among them, oldest first.
    pub placed: Vec<Placed>,
    /// Every request for a refund.
    pub refunds: Vec<RefundAsked>,
    /// The orders table.
    pub rows: Vec<Row>,
    /// The providers' own record, oldest first.
    pub ledger: Vec<LedgerEntry>,
    /// What the stock table was seeded with.
    pub seeded: BTreeMap<Sku, u64>,
    /// What it holds now.
    pub stock: BTreeMap<Sku, i64>,
    /// The cases table.
    pub cases: Vec<CaseRow>,
    /// What the queues hold.
    pub queues: Depths,
    /// What the functions logged.
    pub logs: LogLines,
    /// What the archive holds; `None` where it was not read.
    pub archived: Option<Vec<Archived>>,
    /// Effect records and mail claims: key and attempts.
    pub effects: Vec<(String, u64)>,
    /// SQS's ids of the messages in dead-letter queues; empty where they were not read.
    pub dead: BTreeSet<String>,
    /// Functions that were killed.
    pub kills: Vec<Kill>,
}

impl Evidence {
    /// Reads everything of a stack.
    ///
    /// # Errors
    /// When something cannot be read.
    pub async fn collect(
        deployed: &Deployed,
        placed: Vec<Placed>,
        refunds: Vec<RefundAsked>,
        seeded: BTreeMap<Sku, u64>,
        since_ms: u64,
    ) -> anyhow::Result<Self> {
        // First: whatever is in no queue now has had its end, and what is read after tells of it.
        let queues = deployed.queues.depths().await?;
        Ok(Self {
            placed,
            refunds,
            rows: deployed.tables.orders().await?,
            ledger: deployed.ledger.entries()?,
            seeded,
            stock: deployed.tables.stock().await?,
            queues,
            logs: deployed.logs.since(since_ms).await?,
            // Last: a letter that the logs tell of has become its case.
            cases: deployed.tables.cases().await?,
            archived: Some(archive::events(&deployed.clients, &deployed.info).await?),
            effects: deployed.tables.attempts().await?,
            dead: BTreeSet::new(),
            kills: Vec::new(),
        })
    }

    /// The same, but only of these orders and SKUs: what one of many tests beside each other may judge.
    #[must_use]
    pub fn only(mut self, orders: &BTreeSet<OrderId>, skus: &BTreeSet<Sku>) -> Self {
        let ids: BTreeSet<String> = orders.iter().map(OrderId::to_string).collect();
        self.rows.retain(|row| orders.contains(&row.order.order_id));
        self.ledger.retain(|entry| entry.order_id.as_ref().is_some_and(|id| ids.contains(id)));
        self.stock.retain(|sku, _| skus.contains(sku));
        self.seeded.retain(|sku, _| skus.contains(sku));
        if let Some(archived) = &mut self.archived {
            archived.retain(|event| ids.contains(&event.order_id));
        }
        self
    }

    /// Whether an invocation of this function that told of a record then may have been killed before it told of its end.
    pub(crate) fn was_cut_off(&self, function: &str, told_ms: u64) -> bool {
        self.killed_between(function, told_ms, told_ms.saturating_add(INVOCATION_MS))
    }

    /// Whether the answer of an invocation that told of its last record then may not have been heard.
    pub(crate) fn was_unheard(&self, function: &str, told_ms: u64) -> bool {
        self.killed_between(function, told_ms, told_ms.saturating_add(ANSWER_MS))
    }

    fn killed_between(&self, function: &str, from_ms: u64, to_ms: u64) -> bool {
        let near = |at_ms: u64| at_ms.saturating_add(ANSWER_MS) >= from_ms && at_ms <= to_ms;
        self.kills.iter().any(|kill| kill.function == function && near(kill.at_ms))
    }

    /// The rows by id.
    pub(crate) fn row_of(&self) -> HashMap<String, &Row> {
        self.rows.iter().map(|row| (row.order.order_id.to_string(), row)).collect()
    }

    /// The ledger's entries by order. Entries that name none are under the empty text.
    pub(crate) fn ledger_of(&self) -> BTreeMap<&str, Vec<&LedgerEntry>> {
        let mut by_order: BTreeMap<&str, Vec<&LedgerEntry>> = BTreeMap::new();
        for entry in &self.ledger {
            by_order.entry(entry.order_id.as_deref().unwrap_or_default()).or_default().push(entry);
        }
        by_order
    }
}
