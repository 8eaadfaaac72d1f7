//! Writes: read and checked first, then tried on the item that is there.

use super::condition::Condition;
use super::path::Placeholders;
use super::schema::{Key, Schema};
use super::table::State;
use super::update::Update;
use super::{Invalid, value};
use crate::ports::store::{Action, Item, Write};

/// The largest item, bytes.
const ITEM_BYTES: usize = 400 * 1024;

/// A write that may be tried: nothing in it is malformed.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub table: String,
    pub key: Key,
    /// Bytes that it counts in a transaction.
    pub bytes: usize,
    key_item: Item,
    effect: Effect,
    condition: Option<Condition>,
}

#[derive(Clone, Debug)]
enum Effect {
    Put(Item),
    Update(Update),
    Delete,
    Check,
}

/// What a write would do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// The item becomes this; `None` is deleted.
    Becomes(Option<Item>),
    /// It stays as it is: a check that held.
    Stays,
    /// The condition does not hold.
    Refused,
}

impl Prepared {
    /// Checks everything that needs no item. What is wrong with the expressions fails the request (the outer error); an
    /// item or key that does not fit the table (the inner one) is in a transaction only its item's failure.
    pub fn of(write: &Write, state: &State) -> Result<Result<Self, Invalid>, Invalid> {
        if write.condition.is_none() && !matches!(write.action, Action::Update { .. }) {
            if !write.names.is_empty() {
                let why = "ExpressionAttributeNames can only be specified when using expressions";
                return Err(Invalid(why.to_owned()));
            }
            if !write.values.is_empty() {
                let why = "ExpressionAttributeValues can only be specified when using expressions";
                return Err(Invalid(why.to_owned()));
            }
        }
        let placeholders =
            Placeholders::of(write.names.iter().map(|(name, of)| (name, of.as_ref())), write.values.iter())?;
        let update = match &write.action {
            Action::Update { expression, .. } => Some(Update::parse(expression, &placeholders)?),
            Action::Put(_) | Action::Delete(_) | Action::Check(_) => None,
        };
        let condition = write.condition.as_ref();
        let condition = condition.map(|it| Condition::parse("ConditionExpression", it, &placeholders)).transpose()?;
        if condition.is_none() && matches!(write.action, Action::Check(_)) {
            return Err(Invalid("The expression can not be empty;".to_owned()));
        }
        placeholders.all_used()?;
        let put = match &write.action {
            Action::Put(item) => Some(value::stored_item(item.clone())?),
            Action::Update { .. } | Action::Delete(_) | Action::Check(_) => None,
        };
        Ok(Self::fitting(write, put, update, state).map(|prepared| Self { condition, ..prepared }))
    }

    /// What has to fit the table: the key, the item that is put, the attributes that are updated.
    fn fitting(write: &Write, put: Option<Item>, update: Option<Update>, state: &State) -> Result<Self, Invalid> {
        let schema = &state.table.schema;
        let (key_item, bytes, effect) = match (&write.action, put, update) {
            (_, Some(item), _) => {
                schema.key_of(&item)?;
                state.fits_indexes(&item)?;
                let bytes = value::size_of_item(&item);
                if bytes > ITEM_BYTES {
                    return Err(Invalid("Item size has exceeded the maximum allowed size".to_owned()));
                }
                (schema.key_item(&item), bytes, Effect::Put(item))
            }
            (Action::Update { key, .. }, _, Some(update)) => {
                update.leaves_key(schema)?;
                (key.clone(), value::size_of_item(key), Effect::Update(update))
            }
            (Action::Delete(key), ..) => (key.clone(), value::size_of_item(key), Effect::Delete),
            (Action::Put(key) | Action::Update { key, .. } | Action::Check(key), ..) => {
                (key.clone(), value::size_of_item(key), Effect::Check)
            }
        };
        let key_item = value::stored_item(key_item)?;
        let key = schema.exact_key(&key_item)?;
        Ok(Self { table: write.table.clone(), key, bytes, key_item, effect, condition: None })
    }

    /// What it does to the item that is there.
    pub fn try_on(&self, state: &State) -> Result<Outcome, Invalid> {
        let there = state.get(&self.key);
        let empty = Item::new();
        if self.condition.as_ref().is_some_and(|condition| !condition.holds(there.unwrap_or(&empty))) {
            return Ok(Outcome::Refused);
        }
        match &self.effect {
            Effect::Put(item) => Ok(Outcome::Becomes(Some(item.clone()))),
            Effect::Delete => Ok(Outcome::Becomes(None)),
            Effect::Check => Ok(Outcome::Stays),
            Effect::Update(update) => {
                let item = update.apply(there.unwrap_or(&self.key_item))?;
                state.fits_indexes(&item)?;
                if value::size_of_item(&item) > ITEM_BYTES {
                    let why = "Item size to update has exceeded the maximum allowed size";
                    return Err(Invalid(why.to_owned()));
                }
                Ok(Outcome::Becomes(Some(item)))
            }
        }
    }
}

/// The key of each item that a write names, for the fault hook: of a put, the whole item.
pub(super) fn named(write: &Write) -> (String, Item) {
    let item = match &write.action {
        Action::Put(item) | Action::Delete(item) | Action::Check(item) => item,
        Action::Update { key, .. } => key,
    };
    (write.table.clone(), item.clone())
}

/// The key of an item to be read.
pub(super) fn read_key(schema: &Schema, key: Item) -> Result<Key, Invalid> {
    schema.exact_key(&value::stored_item(key)?)
}
