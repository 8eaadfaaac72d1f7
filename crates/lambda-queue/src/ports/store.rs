//! A table of items, as DynamoDB has them: conditional writes, transactions, queries.
//!
//! Expressions are DynamoDB's own language, so whatever the service can say this port can say.
//!
//! Source: <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.html>

use std::collections::HashMap;
use std::future::Future;

pub use serde_dynamo::AttributeValue as Value;

use crate::Failure;

/// An item, or a key: attributes by name.
pub type Item = HashMap<String, Value>;

/// A text attribute.
pub fn text(value: impl Into<String>) -> Value {
    Value::S(value.into())
}

/// A number attribute.
pub fn number(value: impl ToString) -> Value {
    Value::N(value.to_string())
}

/// The text of an attribute; `None` where it is missing or no text.
pub fn text_of<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    match item.get(name) {
        Some(Value::S(text)) => Some(text),
        Some(_) | None => None,
    }
}

/// The whole number of an attribute; `None` where it is missing, no number, negative or a fraction.
pub fn number_of(item: &Item, name: &str) -> Option<u64> {
    match item.get(name) {
        Some(Value::N(number)) => number.parse().ok(),
        Some(_) | None => None,
    }
}

/// A table, or a bucket, did not answer as asked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing was done: throttled, refused as malformed, a conflict with a transaction; or a read, whose answer may have
    /// been lost.
    #[error("the table did not take it: {0}")]
    NotDone(String),
    /// A write that may have been done: its answer was lost.
    #[error("the table's answer was lost: {0}")]
    Unknown(String),
    /// What is stored is not what this program can read.
    #[error("a stored item is unreadable: {0}")]
    Unreadable(String),
}

impl From<StoreError> for Failure {
    /// A lost answer stays a doubt. Whoever wrote under a condition by which the write knows itself again, and may simply
    /// repeat it, says so: [`StoreError::repeatable`].
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotDone(_) => Self::retry(error),
            StoreError::Unknown(_) => Self::Unknown { key: "a write".to_owned(), until_ms: 0, why: error.to_string() },
            StoreError::Unreadable(_) => Self::bug(error),
        }
    }
}

impl StoreError {
    /// As the failure of a handler whose write may be repeated as often as one likes, such as a conditional one that knows
    /// itself again: a lost answer is then a retry like any other. To claims and leases a retry says that nothing happened,
    /// so never of a write that is the effect they guard.
    pub fn repeatable(self) -> Failure {
        match self {
            Self::NotDone(_) | Self::Unknown(_) => Failure::retry(self),
            Self::Unreadable(_) => Failure::bug(self),
        }
    }
}

/// What a write does to its item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// `PutItem` of the whole item.
    Put(Item),
    /// `UpdateItem`.
    Update {
        /// The item's key.
        key: Item,
        /// `UpdateExpression`.
        expression: String,
    },
    /// `DeleteItem` by key.
    Delete(Item),
    /// `ConditionCheck` by key: only in a transaction.
    Check(Item),
}

/// One write of one item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Write {
    /// The table's name.
    pub table: String,
    /// What to do.
    pub action: Action,
    /// `ConditionExpression`.
    pub condition: Option<String>,
    /// `ExpressionAttributeNames`: `#name` to attribute.
    pub names: HashMap<String, String>,
    /// `ExpressionAttributeValues`: `:value` to value.
    pub values: HashMap<String, Value>,
}

impl Write {
    /// Puts the whole item.
    pub fn put(table: impl Into<String>, item: Item) -> Self {
        Self::of(table, Action::Put(item))
    }

    /// Updates the item of this key.
    pub fn update(table: impl Into<String>, key: Item, expression: impl Into<String>) -> Self {
        Self::of(table, Action::Update { key, expression: expression.into() })
    }

    /// Deletes the item of this key.
    pub fn delete(table: impl Into<String>, key: Item) -> Self {
        Self::of(table, Action::Delete(key))
    }

    /// Only checks a condition on the item of this key: part of a transaction.
    pub fn check(table: impl Into<String>, key: Item) -> Self {
        Self::of(table, Action::Check(key))
    }

    fn of(table: impl Into<String>, action: Action) -> Self {
        Self { table: table.into(), action, condition: None, names: HashMap::new(), values: HashMap::new() }
    }

    /// On this condition.
    #[must_use]
    pub fn when(mut self, condition: impl Into<String>) -> Self {
        self.condition = Some(condition.into());
        self
    }

    /// `#name` in the expressions stands for this attribute.
    #[must_use]
    pub fn name(mut self, placeholder: impl Into<String>, attribute: impl Into<String>) -> Self {
        self.names.insert(placeholder.into(), attribute.into());
        self
    }

    /// `:value` in the expressions stands for this.
    #[must_use]
    pub fn value(mut self, placeholder: impl Into<String>, value: Value) -> Self {
        self.values.insert(placeholder.into(), value);
        self
    }
}

/// How a write went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Written {
    /// It is written. Of an update, this is the item as it is now (`ALL_NEW`); of a put or a delete it is empty.
    Done(Item),
    /// The condition failed; this is the item that stands there (`ReturnValuesOnConditionCheckFailure=ALL_OLD`), if any.
    Refused(Option<Item>),
}

/// Why a transaction was refused: one an item, in their order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Nothing stood against this item.
    None,
    /// `ConditionalCheckFailed`: an answer. With the item that stands there, if any.
    ConditionFailed(Option<Item>),
    /// `TransactionConflict`: another transaction, or write, was at the item. May be tried again.
    Conflict,
    /// Another code: `ThrottlingError`, `ValidationError`, ...
    Other(String),
}

/// How a transaction went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Transacted {
    /// All of it is written.
    Done,
    /// None of it: at least one condition failed, or the reason of every item would be `Conflict` or `Other` (then it is
    /// [`StoreError::NotDone`] instead).
    Refused(Vec<Reason>),
}

/// One page of a query.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Query {
    /// The table.
    pub table: String,
    /// `IndexName`; `None` is the table itself.
    pub index: Option<String>,
    /// `KeyConditionExpression`.
    pub key_condition: String,
    /// `FilterExpression`.
    pub filter: Option<String>,
    /// `ExpressionAttributeNames`.
    pub names: HashMap<String, String>,
    /// `ExpressionAttributeValues`.
    pub values: HashMap<String, Value>,
    /// `ScanIndexForward=false`.
    pub descending: bool,
    /// Strongly consistent: not on a global index.
    pub consistent: bool,
    /// Most items looked at.
    pub limit: Option<u32>,
    /// `ExclusiveStartKey`.
    pub start: Option<Item>,
}

/// What a query found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Page {
    /// The items, in index order.
    pub items: Vec<Item>,
    /// `LastEvaluatedKey`: where the next page begins.
    pub next: Option<Item>,
}

/// Tables. Every method is one call of the service (its SDK's repeats apart), except as said.
pub trait Store {
    /// `GetItem`.
    fn get(
        &self,
        table: &str,
        key: Item,
        consistent: bool,
    ) -> impl Future<Output = Result<Option<Item>, StoreError>> + Send;

    /// `BatchGetItem` of at most 100 different keys, in any order; what the service left out is asked for again, a few times.
    fn get_all(
        &self,
        table: &str,
        keys: Vec<Item>,
        consistent: bool,
    ) -> impl Future<Output = Result<Vec<Item>, StoreError>> + Send;

    /// `Query`: one page.
    fn query(&self, query: Query) -> impl Future<Output = Result<Page, StoreError>> + Send;

    /// One conditional write.
    fn write(&self, write: Write) -> impl Future<Output = Result<Written, StoreError>> + Send;

    /// `TransactWriteItems`: all or none, at most 100, no item twice. Repeats of a lost answer by the SDK are safe for ten
    /// minutes (`ClientRequestToken`).
    fn transact(&self, writes: Vec<Write>) -> impl Future<Output = Result<Transacted, StoreError>> + Send;
}
