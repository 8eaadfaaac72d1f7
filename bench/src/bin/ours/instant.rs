//! A store that answers at once, so that what remains is the library's own work: it knows the two writes of an idempotent
//! call by their conditions and keeps records in a map. What DynamoDB itself makes of them, `lambda-queue`'s tests check.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use lambda_queue::ports::store::{
    Action, Item, Page, Query, Returned, Store, StoreError, Transacted, Value, Values, Write, Written, text_of,
};

/// Which of a claim's values a record holds under which name: what a first claim sets.
const CLAIMED: [(&str, &str); 9] = [
    ("operation", ":operation"),
    ("status", ":in_progress"),
    ("owner", ":owner"),
    ("lease_until", ":until"),
    ("attempts", ":one"),
    ("generation", ":zero"),
    ("subject_version", ":version"),
    ("key_since", ":now"),
    ("fingerprint", ":fingerprint"),
];
/// What a completion sets.
const COMPLETED: [(&str, &str); 3] = [("status", ":completed"), ("result", ":result"), ("expires_at", ":expires_at")];

/// A record: attributes by the names that the two lists above give them.
type Kept = Vec<(&'static str, Value)>;

/// The records by key.
#[derive(Debug, Default)]
pub(crate) struct Instant(Mutex<HashMap<String, Kept>>);

fn unexpected(what: &str) -> StoreError {
    StoreError::NotDone(format!("an idempotent call does not {what}"))
}

/// Moves the values to the names under which they stand.
fn set(record: &mut Kept, values: Values, names: &[(&'static str, &'static str)]) {
    for (placeholder, value) in values {
        let Some((name, _)) = names.iter().find(|(_, known)| *known == placeholder) else { continue };
        match record.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => record.push((name, value)),
        }
    }
}

/// The record as it is answered.
fn item(record: &Kept) -> Item {
    record.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

impl Store for Instant {
    async fn write(&self, write: Write) -> Result<Written, StoreError> {
        let Action::Update { key, .. } = write.action else { return Err(unexpected("put or delete")) };
        let Some(key) = text_of(&key, "key") else { return Err(unexpected("use another key")) };
        let claims = write.condition.is_some_and(|condition| condition.starts_with("attribute_not_exists(#key)"));
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if claims && let Some(record) = records.get(key) {
            return Ok(Written::Refused(Some(item(record))));
        }
        let record = match records.get_mut(key) {
            Some(record) => {
                set(record, write.values, &COMPLETED);
                record
            }
            None if claims => {
                let record = records.entry(key.to_owned()).or_default();
                record.reserve(CLAIMED.len() + COMPLETED.len());
                set(record, write.values, &CLAIMED);
                record
            }
            None => return Ok(Written::Refused(None)),
        };
        Ok(Written::Done(if write.returned == Returned::New { item(record) } else { Item::new() }))
    }

    async fn get(&self, _: &str, _: Item, _: bool) -> Result<Option<Item>, StoreError> {
        Err(unexpected("read"))
    }

    async fn get_all(&self, _: &str, _: Vec<Item>, _: bool) -> Result<Vec<Item>, StoreError> {
        Err(unexpected("read"))
    }

    async fn query(&self, _: Query) -> Result<Page, StoreError> {
        Err(unexpected("query"))
    }

    async fn transact(&self, _: Vec<Write>) -> Result<Transacted, StoreError> {
        Err(unexpected("transact"))
    }
}
