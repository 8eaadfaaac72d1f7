//! What a record of the idempotency table holds, and how its writes are put together.
//!
//! | attribute | type | holds |
//! | --- | --- | --- |
//! | `key` | S | what the record serialises: the table's key |
//! | `operation` | S | which of the operations that share the record is, or was last, at it |
//! | `status` | S | `FREE`, `IN_PROGRESS`, `COMPLETED`, `SKIPPED`, `CLAIMED` |
//! | `owner` | S | fencing token of the last claim |
//! | `lease_until` | N | UTC milliseconds |
//! | `attempts` | N | claims of this operation |
//! | `generation` | N | part of the provider's key |
//! | `key_since` | N | when this generation's key may first have been used, UTC milliseconds |
//! | `subject_version` | N | the version that the operation was claimed for |
//! | `note` | S | what an attempt kept for whoever looks the effect up |
//! | `fingerprint` | S | of the payload |
//! | `result` | S | the stored result, JSON |
//! | `result_bytes` | N | instead of `result`: how large it was, as it was too large to be kept |
//! | `expires_at` | N | UTC seconds: the table's time to live |

use std::collections::HashMap;

use crate::ports::store::{Item, Value, Write, number_of, text, text_of};

use super::lease::{EffectKey, Lease};

pub(super) const FREE: &str = "FREE";
pub(super) const IN_PROGRESS: &str = "IN_PROGRESS";
pub(super) const COMPLETED: &str = "COMPLETED";
pub(super) const SKIPPED: &str = "SKIPPED";
pub(super) const CLAIMED: &str = "CLAIMED";

/// Condition of every write of a lease's owner.
pub(super) const OWNED: &str = "#owner = :owner AND #status = :in_progress";

/// The key of a record.
pub(super) fn key_of(record: &str) -> Item {
    HashMap::from([("key".to_owned(), text(record))])
}

/// An update of a record. `#name` stands for the attribute `name`: every attribute is written that way, as some are
/// reserved words.
pub(super) fn update(table: &str, record: &str, set: &str, condition: &str, values: Vec<(&str, Value)>) -> Write {
    with(Write::update(table, key_of(record), set).when(condition), set, condition, values)
}

/// A deletion of a record.
pub(super) fn delete(table: &str, record: &str, condition: &str, values: Vec<(&str, Value)>) -> Write {
    with(Write::delete(table, key_of(record)).when(condition), "", condition, values)
}

fn with(mut write: Write, set: &str, condition: &str, values: Vec<(&str, Value)>) -> Write {
    for part in [set, condition] {
        // The first piece comes before any `#`.
        for piece in part.split('#').skip(1) {
            let end = piece.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(piece.len());
            if let Some(attribute) = piece.get(..end)
                && !write.names.contains_key(part_of(attribute).as_str())
            {
                write.names.insert(part_of(attribute), attribute.to_owned());
            }
        }
    }
    write.values = values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    write
}

fn part_of(attribute: &str) -> String {
    let mut placeholder = String::with_capacity(attribute.len().saturating_add(1));
    placeholder.push('#');
    placeholder.push_str(attribute);
    placeholder
}

pub(super) fn is_owner(record: &Item, owner: &str) -> bool {
    text_of(record, "owner") == Some(owner)
}

pub(super) fn lease_of(key: &EffectKey, record: &Item) -> Lease {
    let small = |name: &str| number_of(record, name).and_then(|n| u32::try_from(n).ok()).unwrap_or_default();
    Lease {
        key: key.clone(),
        owner: text_of(record, "owner").unwrap_or_default().to_owned(),
        until_ms: number_of(record, "lease_until").unwrap_or_default(),
        attempts: small("attempts"),
        generation: small("generation"),
        key_since_ms: number_of(record, "key_since"),
        note: text_of(record, "note").map(str::to_owned),
    }
}

/// What a completed record answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    /// The result as it was stored: JSON. `None` where it was completed without one.
    pub result: Option<String>,
    /// How large the result was, where it was too large to be kept.
    pub too_large_bytes: Option<u64>,
    /// The payload's fingerprint, if one was stored.
    pub fingerprint: Option<String>,
    /// When the record ends, UTC milliseconds; `None` while its time to live has not begun.
    pub expires_ms: Option<u64>,
}

impl Stored {
    pub(super) fn of(record: &Item) -> Self {
        Self {
            result: text_of(record, "result").map(str::to_owned),
            too_large_bytes: number_of(record, "result_bytes"),
            fingerprint: text_of(record, "fingerprint").map(str::to_owned),
            expires_ms: number_of(record, "expires_at").map(|expires_s| expires_s.saturating_mul(1_000)),
        }
    }
}
