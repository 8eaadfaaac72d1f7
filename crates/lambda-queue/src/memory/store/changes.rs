//! The stream of a table: every change, old image and new.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::json;
use tokio::sync::watch;

use super::MemoryStore;
use super::schema::Schema;
use crate::ports::store::Item;

/// How long a change is kept, milliseconds: a day, as a DynamoDB stream does.
const KEPT_MS: u64 = 24 * 60 * 60 * 1_000;

/// One change of one item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Its place in the table's stream: one more than that of the change before it.
    pub sequence: u64,
    /// The table.
    pub table: String,
    /// The item's key.
    pub key: Item,
    /// The item before; `None` where there was none.
    pub old: Option<Item>,
    /// The item after; `None` where it was deleted.
    pub new: Option<Item>,
    /// When, UTC milliseconds.
    pub at_ms: u64,
    /// Whether the time to live deleted it.
    pub expired: bool,
}

impl Change {
    /// The record that Lambda gives a function (`NEW_AND_OLD_IMAGES`), to be put into `Records`.
    pub fn record(&self) -> serde_json::Value {
        let name = match (&self.old, &self.new) {
            (None, _) => "INSERT",
            (Some(_), Some(_)) => "MODIFY",
            (Some(_), None) => "REMOVE",
        };
        let image = |item: &Item| json!(serde_dynamo::Item::from(item.clone()));
        let mut change = json!({
            "ApproximateCreationDateTime": self.at_ms / 1_000,
            "Keys": image(&self.key),
            "SequenceNumber": format!("{:021}", self.sequence),
            "SizeBytes": super::value::size_of_item(self.new.as_ref().or(self.old.as_ref()).unwrap_or(&self.key)),
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        });
        if let Some(map) = change.as_object_mut() {
            map.extend(self.old.as_ref().map(|old| ("OldImage".to_owned(), image(old))));
            map.extend(self.new.as_ref().map(|new| ("NewImage".to_owned(), image(new))));
        }
        let mut record = json!({
            "eventID": format!("{}-{}", self.table, self.sequence),
            "eventName": name,
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": "us-east-1",
            "eventSourceARN": format!("arn:aws:dynamodb:us-east-1:000000000000:table/{}/stream/1", self.table),
            "dynamodb": change,
        });
        if let Some(map) = record.as_object_mut().filter(|_| self.expired) {
            let service = json!({"type": "Service", "principalId": "dynamodb.amazonaws.com"});
            map.insert("userIdentity".to_owned(), service);
        }
        record
    }
}

/// A table's stream so far.
#[derive(Debug)]
pub(super) struct Log {
    kept: VecDeque<Arc<Change>>,
    latest: watch::Sender<u64>,
}

impl Log {
    pub fn new() -> Self {
        Self { kept: VecDeque::new(), latest: watch::Sender::new(0) }
    }

    /// A change that changed nothing is none.
    pub fn push(&mut self, table: &str, schema: &Schema, (old, new): (Option<Item>, Option<Item>), now: (u64, bool)) {
        let Some(key) = new.as_ref().or(old.as_ref()).map(|item| schema.key_item(item)) else { return };
        if old == new {
            return;
        }
        let (at_ms, expired) = now;
        let sequence = self.latest.borrow().saturating_add(1);
        self.kept.push_back(Arc::new(Change { sequence, table: table.to_owned(), key, old, new, at_ms, expired }));
        while self.kept.front().is_some_and(|change| change.at_ms.saturating_add(KEPT_MS) < at_ms) {
            self.kept.pop_front();
        }
        self.latest.send_replace(sequence);
    }

    pub fn latest(&self) -> u64 {
        *self.latest.borrow()
    }

    pub fn watch(&self) -> watch::Receiver<u64> {
        self.latest.subscribe()
    }

    pub fn after(&self, sequence: u64, most: usize) -> Vec<Change> {
        let after = self.kept.iter().filter(|change| change.sequence > sequence);
        after.take(most).map(|change| Change::clone(change)).collect()
    }
}

/// A reader of one table's stream, from where it was subscribed.
#[derive(Debug)]
pub struct Changes {
    pub(super) store: MemoryStore,
    pub(super) table: String,
    pub(super) read: u64,
    pub(super) latest: watch::Receiver<u64>,
}

impl Changes {
    /// What has come since, in order, at most so many; nothing where nothing has. Changes that have left the stream,
    /// a day after they were made, are skipped.
    pub fn take(&mut self, most: usize) -> Vec<Change> {
        let changes = self.store.changes_after(&self.table, self.read, most);
        self.read = changes.last().map_or(self.read, |last| last.sequence);
        changes
    }

    /// Goes back to after this change: a batch that failed is read again.
    pub fn rewind(&mut self, sequence: u64) {
        self.read = sequence;
    }

    /// Waits until there is something, and takes it. Never answers an empty list unless `most` is 0 or the table is gone.
    pub async fn next(&mut self, most: usize) -> Vec<Change> {
        loop {
            self.latest.mark_unchanged();
            let changes = self.take(most);
            if !changes.is_empty() || most == 0 || self.latest.changed().await.is_err() {
                return changes;
            }
        }
    }
}
