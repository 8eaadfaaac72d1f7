//! The tables, read whole.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, bail};
use aws_sdk_dynamodb::types::AttributeValue;
use order::{Order, OrderId, Sku, State};
use orderflow::stack::StackInfo;

/// An item as DynamoDB has it.
pub type Item = HashMap<String, AttributeValue>;

/// An order row.
#[derive(Clone, Debug)]
pub struct Row {
    /// As the domain reads it.
    pub order: Order,
    /// As it is.
    pub raw: Item,
}

/// What progress needs of an order row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Glimpse {
    /// Where it stands.
    pub state: State,
    /// Its version.
    pub version: u64,
    /// Whether a command is owed.
    pub owes: bool,
    /// Whether it waits for an operator.
    pub parked: bool,
}

impl Glimpse {
    /// Whether nothing more will happen by itself.
    pub fn is_settled(&self) -> bool {
        self.parked || (self.state.is_terminal() && !self.owes)
    }
}

/// A case.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CaseRow {
    /// Key.
    pub case_id: String,
    /// `open` or otherwise.
    pub status: String,
    /// The order it is about, where it is about one.
    pub order_id: Option<String>,
    /// The message that was given up, by the id it had first.
    pub message_id: Option<String>,
    /// What groups it.
    pub fingerprint: String,
    /// One line.
    pub digest: String,
}

/// A breaker's row, as far as a test looks at it.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Breaker {
    /// `closed`, `open`, `half_open`.
    pub state: String,
    /// +1 with every change.
    pub epoch: u64,
    /// Whether nothing automatic changes it.
    pub forced: bool,
    /// When it was last changed, UTC milliseconds.
    pub changed_at_ms: u64,
    /// By what, for people.
    pub cause: String,
    /// Acts by hand that stand on it.
    pub acts: usize,
}

/// The tables of one stack.
#[derive(Clone, Debug)]
pub struct Tables {
    dynamodb: aws_sdk_dynamodb::Client,
    orders: String,
    stock: String,
    idempotency: String,
    cases: String,
    breakers: String,
}

fn text(item: &Item, name: &str) -> Option<String> {
    item.get(name).and_then(|value| value.as_s().ok()).cloned()
}

fn number<N: std::str::FromStr>(item: &Item, name: &str) -> Option<N> {
    item.get(name).and_then(|value| value.as_n().ok()).and_then(|text| text.parse().ok())
}

/// A row as the table keeps it, with the attributes of the indexes.
fn item_of(order: &Order) -> anyhow::Result<Item> {
    let mut item: Item = serde_dynamo::to_item(order)?;
    let owner = format!("{}#{}#{}", order.tenant.as_str().len(), order.tenant.as_str(), order.customer.as_str());
    item.insert("owner".to_owned(), AttributeValue::S(owner));
    if order.due_at.is_some() {
        item.insert("open_shard".to_owned(), AttributeValue::N(order.order_id.shard(16).to_string()));
    }
    Ok(item)
}

impl Tables {
    /// Of a running stack.
    ///
    /// # Errors
    /// When the stack lacks an output.
    pub fn new(dynamodb: aws_sdk_dynamodb::Client, info: &StackInfo) -> anyhow::Result<Self> {
        Ok(Self {
            dynamodb,
            orders: info.output("OrdersTable")?.to_owned(),
            stock: info.output("StockTable")?.to_owned(),
            idempotency: info.output("IdempotencyTable")?.to_owned(),
            cases: info.output("CasesTable")?.to_owned(),
            breakers: info.output("BreakersTable")?.to_owned(),
        })
    }

    async fn scan(&self, table: &str) -> anyhow::Result<Vec<Item>> {
        let mut pages = self.dynamodb.scan().table_name(table).consistent_read(true).into_paginator().items().send();
        let mut items = Vec::new();
        while let Some(item) = pages.next().await {
            items.push(item.with_context(|| format!("cannot scan {table}"))?);
        }
        Ok(items)
    }

    /// Every order.
    ///
    /// # Errors
    /// When the table cannot be read, or a row is none.
    pub async fn orders(&self) -> anyhow::Result<Vec<Row>> {
        self.scan(&self.orders).await?.into_iter().map(row).collect()
    }

    /// One order, as it is now.
    ///
    /// # Errors
    /// When the table cannot be read, or the row is none.
    pub async fn order(&self, id: OrderId) -> anyhow::Result<Option<Row>> {
        let get = self.dynamodb.get_item().table_name(&self.orders).consistent_read(true);
        let answer =
            get.key("order_id", AttributeValue::S(id.to_string())).send().await.context("cannot read a row")?;
        answer.item.map(row).transpose()
    }

    /// A provider's breaker, as it is now; of one that was never written, a closed one in epoch 0.
    ///
    /// # Errors
    /// When the table cannot be read, or the row is none.
    pub async fn breaker(&self, dependency: &str) -> anyhow::Result<Breaker> {
        let get = self.dynamodb.get_item().table_name(&self.breakers).consistent_read(true);
        let key = AttributeValue::S(dependency.to_owned());
        let item = get.key("dependency", key).send().await.context("cannot read a breaker")?.item.unwrap_or_default();
        let forced = item.get("forced").and_then(|value| value.as_bool().ok()).copied();
        Ok(Breaker {
            state: text(&item, "state").unwrap_or_else(|| "closed".to_owned()),
            epoch: number(&item, "epoch").unwrap_or(0),
            forced: forced.unwrap_or(false),
            changed_at_ms: number(&item, "changed_at").unwrap_or(0),
            cause: text(&item, "cause").unwrap_or_default(),
            acts: item.keys().filter(|name| name.starts_with("act_")).count(),
        })
    }

    /// Where every order stands.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn glimpses(&self) -> anyhow::Result<HashMap<OrderId, Glimpse>> {
        let scan = self
            .dynamodb
            .scan()
            .table_name(&self.orders)
            .consistent_read(true)
            .projection_expression("order_id, #state, #version, due_at, parked")
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#version", "version");
        let mut pages = scan.into_paginator().items().send();
        let mut glimpses = HashMap::new();
        while let Some(item) = pages.next().await {
            let item = item.context("cannot scan the orders")?;
            let id = text(&item, "order_id").and_then(|id| id.parse().ok()).context("a row without an id")?;
            let name = text(&item, "state").context("a row without a state")?;
            let Some(state) = State::ALL.into_iter().find(|state| state.name() == name) else {
                bail!("order {id} is in no state: {name}");
            };
            let glimpse = Glimpse {
                state,
                version: number(&item, "version").context("a row without a version")?,
                // Present exactly while a command is owed.
                owes: item.contains_key("due_at"),
                parked: item.contains_key("parked"),
            };
            glimpses.insert(id, glimpse);
        }
        Ok(glimpses)
    }

    /// Writes a row as acceptance would, with its derived attributes, and with any other instant to be looked at.
    ///
    /// # Errors
    /// When the table does not take it.
    pub async fn put_order(&self, order: &Order) -> anyhow::Result<()> {
        let put = self.dynamodb.put_item().table_name(&self.orders).set_item(Some(item_of(order)?));
        put.condition_expression("attribute_not_exists(order_id)").send().await.context("cannot put a row")?;
        Ok(())
    }

    /// Puts the next version of a row in the place of the present one, as a commit does.
    ///
    /// # Errors
    /// When the table does not take it, or the row is not the one before.
    pub async fn replace_order(&self, order: &Order) -> anyhow::Result<()> {
        let put = self.dynamodb.put_item().table_name(&self.orders).set_item(Some(item_of(order)?));
        let put = put.condition_expression("#version = :before").expression_attribute_names("#version", "version");
        let before = order.version.saturating_sub(1).to_string();
        let put = put.expression_attribute_values(":before", AttributeValue::N(before));
        put.send().await.context("cannot replace a row")?;
        Ok(())
    }

    /// Puts a product on sale.
    ///
    /// # Errors
    /// When the table does not take it.
    pub async fn put_product(&self, sku: &str, price_minor: u64, available: u64) -> anyhow::Result<()> {
        let put = self
            .dynamodb
            .put_item()
            .table_name(&self.stock)
            .item("sku", AttributeValue::S(sku.to_owned()))
            .item("name", AttributeValue::S(format!("The {sku}")))
            .item("price_minor", AttributeValue::N(price_minor.to_string()))
            .item("currency", AttributeValue::S("USD".to_owned()))
            .item("available", AttributeValue::N(available.to_string()));
        put.send().await.context("cannot put a product")?;
        Ok(())
    }

    /// What is available of every product; signed, so that a negative one shows.
    ///
    /// # Errors
    /// When the table cannot be read, or an item is no product.
    pub async fn stock(&self) -> anyhow::Result<BTreeMap<Sku, i64>> {
        let product = |item: Item| {
            let sku = text(&item, "sku").and_then(|sku| sku.parse().ok()).context("a product without a sku")?;
            let available = number(&item, "available").with_context(|| format!("{sku} without `available`"))?;
            Ok((sku, available))
        };
        self.scan(&self.stock).await?.into_iter().map(product).collect()
    }

    /// Every effect record and mail claim.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn idempotency(&self) -> anyhow::Result<Vec<Item>> {
        self.scan(&self.idempotency).await
    }

    /// Every effect record and mail claim: its key, and how often it was attempted.
    ///
    /// # Errors
    /// When the table cannot be read, or an item has no key.
    pub async fn attempts(&self) -> anyhow::Result<Vec<(String, u64)>> {
        let attempts = |item: Item| {
            let key = text(&item, "key").context("a record without a key")?;
            Ok((key, number(&item, "attempts").unwrap_or_default()))
        };
        self.idempotency().await?.into_iter().map(attempts).collect()
    }

    /// Every case. What stands beside them without a status are audit records.
    ///
    /// # Errors
    /// When the table cannot be read, or an item is no case.
    pub async fn cases(&self) -> anyhow::Result<Vec<CaseRow>> {
        let case = |item: Item| {
            Ok(CaseRow {
                case_id: text(&item, "case_id").context("a case without an id")?,
                status: text(&item, "status").unwrap_or_default(),
                order_id: text(&item, "order_id"),
                message_id: text(&item, "message_id"),
                fingerprint: text(&item, "fingerprint").unwrap_or_default(),
                digest: text(&item, "digest").unwrap_or_default(),
            })
        };
        let is_case = |item: &Item| item.contains_key("status");
        self.scan(&self.cases).await?.into_iter().filter(is_case).map(case).collect()
    }
}

fn row(raw: Item) -> anyhow::Result<Row> {
    let id = text(&raw, "order_id").unwrap_or_default();
    let order = serde_dynamo::from_item(raw.clone()).with_context(|| format!("the row of {id} cannot be read"))?;
    Ok(Row { order, raw })
}
