//! What a record of the idempotency table holds, and how its writes are put together.
//!
//! | attribute | type | holds |
//! | --- | --- | --- |
//! | `key` | S | what the record serialises: the table's key |
//! | `operation` | S | which of the operations that share the record is, or was last, at it |
//! | `status` | S | `FREE`, `IN_PROGRESS`, `COMPLETED`, `SKIPPED`, `CLAIMED` |
//! | `owner` | S | fencing token of the last claim |
//! | `lease_until` | N | UTC milliseconds; of a claim: until then its owner may be at work, 0 where it did not say |
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

use crate::ports::store::{Item, Names, Values, Write, number_of, text, text_of};

use super::lease::{EffectKey, Lease};

pub(super) const FREE: &str = "FREE";
pub(super) const IN_PROGRESS: &str = "IN_PROGRESS";
pub(super) const COMPLETED: &str = "COMPLETED";
pub(super) const SKIPPED: &str = "SKIPPED";
pub(super) const CLAIMED: &str = "CLAIMED";

/// Attributes whose names are reserved words of DynamoDB's: `key`, `owner`, `result`, `status`.
const RESERVED: usize = 4;

/// Condition of every write of a lease's owner.
pub(super) const OWNED: &str = "#owner = :owner AND #status = :in_progress";

/// The key of a record.
pub(super) fn key_of(record: &str) -> Item {
    HashMap::from([("key".to_owned(), text(record))])
}

/// An update of a record. `#name` in an expression stands for the attribute `name`: so are those written that are reserved
/// words. The updated record is answered, unless the caller says that it is not wanted.
pub(super) fn update(
    table: &str,
    record: &str,
    set: &'static str,
    condition: &'static str,
    values: impl Into<Values>,
) -> Write {
    let write = Write::update(table, key_of(record), set).when(condition);
    Write { names: names_in([set, condition]), values: values.into(), ..write }
}

/// A deletion of a record.
pub(super) fn delete(table: &str, record: &str, condition: &'static str, values: impl Into<Values>) -> Write {
    let write = Write::delete(table, key_of(record)).when(condition);
    Write { names: names_in([condition]), values: values.into(), ..write }
}

/// The names that these expressions have placeholders for. They are pieces of the expressions: nothing is copied.
fn names_in<const N: usize>(expressions: [&'static str; N]) -> Names {
    let mut names = Names::with_capacity(RESERVED);
    for expression in expressions {
        let mut rest = expression;
        while let Some(at) = rest.find('#') {
            let (_, from) = rest.split_at(at);
            let end = from.bytes().skip(1).position(|byte| !(byte.is_ascii_alphanumeric() || byte == b'_'));
            let (placeholder, behind) = from.split_at(end.map_or(from.len(), |end| end.saturating_add(1)));
            if let Some(attribute) = placeholder.get(1..) {
                names.insert(placeholder, attribute);
            }
            rest = behind;
        }
    }
    names
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
