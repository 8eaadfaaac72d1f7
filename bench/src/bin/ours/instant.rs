//! A store that answers at once, so that what remains is the library's own work: it knows the two writes of an idempotent
//! call by their conditions and keeps records in a map. What DynamoDB itself makes of them, `lambda-queue`'s tests check.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use lambda_queue::ports::store::{
    Action, Item, Page, Query, Store, StoreError, Transacted, Value, Write, Written, text_of,
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

/// The records by key.
#[derive(Debug, Default)]
pub(crate) struct Instant(Mutex<HashMap<String, Item>>);

fn unexpected(what: &str) -> StoreError {
    StoreError::NotDone(format!("an idempotent call does not {what}"))
}

/// Moves the values to the names under which they stand.
fn set(record: &mut Item, mut values: HashMap<String, Value>, names: &[(&str, &str)]) {
    for (name, value) in names {
        if let Some(value) = values.remove(*value) {
            record.insert((*name).to_owned(), value);
        }
    }
}

impl Store for Instant {
    async fn write(&self, write: Write) -> Result<Written, StoreError> {
        let Action::Update { key, .. } = write.action else { return Err(unexpected("put or delete")) };
        let Some(key) = text_of(&key, "key") else { return Err(unexpected("use another key")) };
        let claims = write.condition.is_some_and(|condition| condition.starts_with("attribute_not_exists(#key)"));
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if claims {
            if let Some(record) = records.get(key) {
                return Ok(Written::Refused(Some(record.clone())));
            }
            let mut record = Item::with_capacity(CLAIMED.len() + COMPLETED.len());
            set(&mut record, write.values, &CLAIMED);
            records.insert(key.to_owned(), record.clone());
            return Ok(Written::Done(record));
        }
        let Some(record) = records.get_mut(key) else { return Ok(Written::Refused(None)) };
        set(record, write.values, &COMPLETED);
        Ok(Written::Done(Item::new()))
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
