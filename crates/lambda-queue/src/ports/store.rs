//! A table of items, as DynamoDB has them: conditional writes, transactions, queries.
//!
//! Expressions are DynamoDB's own language, so whatever the service can say this port can say.
//!
//! Source: <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.html>

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
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

impl StoreError {
    /// The same with the table's name before its words: two tables that throttle are two troubles.
    #[must_use]
    pub fn of(self, table: &str) -> Self {
        match self {
            Self::NotDone(why) => Self::NotDone(format!("{table}: {why}")),
            Self::Unknown(why) => Self::Unknown(format!("{table}: {why}")),
            Self::Unreadable(why) => Self::Unreadable(why),
        }
    }

    /// A transaction was cancelled, and no condition failed. Says each reason once, in their own order, and not how many
    /// items it was asked for: the same trouble has the same words.
    pub fn cancelled(reasons: &[Reason]) -> Self {
        let words: BTreeSet<&str> = reasons
            .iter()
            .filter_map(|reason| match reason {
                Reason::None => None,
                Reason::ConditionFailed(_) => Some("ConditionalCheckFailed"),
                Reason::Conflict => Some("TransactionConflict"),
                Reason::Other(code) => Some(code),
            })
            .collect();
        let words: Vec<&str> = words.into_iter().collect();
        let words = if words.is_empty() { "no reason given".to_owned() } else { words.join(", ") };
        Self::NotDone(format!("the transaction was cancelled: {words}"))
    }
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

/// Placeholders of an expression and what they stand for. A handful as a rule, so a list: most expressions are constants of
/// the program, and then neither they nor their placeholders are copied.
#[derive(Clone, Debug)]
pub struct Placeholders<V>(Vec<(Cow<'static, str>, V)>);

/// `ExpressionAttributeNames`: `#name` to attribute.
pub type Names = Placeholders<Cow<'static, str>>;

/// `ExpressionAttributeValues`: `:value` to value.
pub type Values = Placeholders<Value>;

impl<V> Placeholders<V> {
    /// None.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// None, with room for so many.
    pub fn with_capacity(most: usize) -> Self {
        Self(Vec::with_capacity(most))
    }

    /// The placeholder stands for this; what it stood for before is answered.
    pub fn insert(&mut self, placeholder: impl Into<Cow<'static, str>>, of: impl Into<V>) -> Option<V> {
        let (placeholder, of) = (placeholder.into(), of.into());
        match self.0.iter_mut().find(|(known, _)| *known == placeholder) {
            Some((_, old)) => Some(std::mem::replace(old, of)),
            None => {
                self.0.push((placeholder, of));
                None
            }
        }
    }

    /// [`Placeholders::insert`] of one that is not there: nothing is looked for.
    pub(crate) fn push(&mut self, placeholder: &'static str, of: V) {
        self.0.push((Cow::Borrowed(placeholder), of));
    }

    /// What the placeholder stands for.
    pub fn get(&self, placeholder: &str) -> Option<&V> {
        self.iter().find_map(|(known, of)| (known == placeholder).then_some(of))
    }

    /// All of them, in the order in which they were given.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        self.0.iter().map(|(placeholder, of)| (placeholder.as_ref(), of))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none: the service refuses an empty list.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<V> Default for Placeholders<V> {
    fn default() -> Self {
        Self::new()
    }
}

/// In any order.
impl<V: PartialEq> PartialEq for Placeholders<V> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|(placeholder, of)| other.get(placeholder) == Some(of))
    }
}

impl<V: Eq> Eq for Placeholders<V> {}

impl<V, P: Into<Cow<'static, str>>, W: Into<V>> FromIterator<(P, W)> for Placeholders<V> {
    fn from_iter<I: IntoIterator<Item = (P, W)>>(all: I) -> Self {
        let all = all.into_iter();
        let mut placeholders = Self::with_capacity(all.size_hint().0);
        for (placeholder, of) in all {
            placeholders.insert(placeholder, of);
        }
        placeholders
    }
}

impl<V, P: Into<Cow<'static, str>>, W: Into<V>, const N: usize> From<[(P, W); N]> for Placeholders<V> {
    fn from(all: [(P, W); N]) -> Self {
        all.into_iter().collect()
    }
}

impl<V> IntoIterator for Placeholders<V> {
    type Item = (Cow<'static, str>, V);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
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
        expression: Cow<'static, str>,
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
    pub condition: Option<Cow<'static, str>>,
    /// `ExpressionAttributeNames`.
    pub names: Names,
    /// `ExpressionAttributeValues`.
    pub values: Values,
    /// What is answered of an updated item; [`Returned::New`] unless it is said otherwise. A transaction answers nothing.
    pub returned: Returned,
}

/// `ReturnValues` of an update.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Returned {
    /// `ALL_NEW`: the item as it is now.
    #[default]
    New,
    /// `NONE`: for whoever only wants to know that it is written, so that a large item is neither sent nor read.
    Nothing,
}

impl Write {
    /// Puts the whole item.
    pub fn put(table: impl Into<String>, item: Item) -> Self {
        Self::of(table, Action::Put(item))
    }

    /// Updates the item of this key.
    pub fn update(table: impl Into<String>, key: Item, expression: impl Into<Cow<'static, str>>) -> Self {
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
        let (names, values) = (Names::new(), Values::new());
        Self { table: table.into(), action, condition: None, names, values, returned: Returned::New }
    }

    /// On this condition.
    #[must_use]
    pub fn when(mut self, condition: impl Into<Cow<'static, str>>) -> Self {
        self.condition = Some(condition.into());
        self
    }

    /// `#name` in the expressions stands for this attribute.
    #[must_use]
    pub fn name(mut self, placeholder: impl Into<Cow<'static, str>>, attribute: impl Into<Cow<'static, str>>) -> Self {
        self.names.insert(placeholder, attribute);
        self
    }

    /// `:value` in the expressions stands for this.
    #[must_use]
    pub fn value(mut self, placeholder: impl Into<Cow<'static, str>>, value: Value) -> Self {
        self.values.insert(placeholder, value);
        self
    }

    /// Without the updated item in the answer ([`Returned::Nothing`]).
    #[must_use]
    pub fn without_item(mut self) -> Self {
        self.returned = Returned::Nothing;
        self
    }
}

/// How a write went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Written {
    /// It is written. Of an update, this is the item as it is now, if that was asked for ([`Returned::New`]); of a put or a
    /// delete it is empty.
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
    pub names: Names,
    /// `ExpressionAttributeValues`.
    pub values: Values,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancelled_transaction_has_the_same_words_whatever_item_met_it_and_however_many() {
        let conflict = "the table did not take it: the transaction was cancelled: TransactionConflict";
        for reasons in [
            vec![Reason::Conflict],
            vec![Reason::None, Reason::Conflict],
            vec![Reason::Conflict, Reason::None, Reason::None],
            vec![Reason::Conflict, Reason::None, Reason::Conflict],
        ] {
            assert_eq!(StoreError::cancelled(&reasons).to_string(), conflict, "{reasons:?}");
        }
        let both = [Reason::Conflict, Reason::Other("ThrottlingError".to_owned())];
        let turned = [both[1].clone(), Reason::None, both[0].clone()];
        assert_eq!(StoreError::cancelled(&both), StoreError::cancelled(&turned));
        assert!(StoreError::cancelled(&both).to_string().ends_with(": ThrottlingError, TransactionConflict"));
        assert!(StoreError::cancelled(&[Reason::None]).to_string().ends_with(": no reason given"));
    }
}
