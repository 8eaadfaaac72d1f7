//! Keys: which call is the same call.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The most bytes of a partition key.
///
/// Source: <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>
pub const KEY_BYTES: usize = 2_048;
/// The most parts of a key.
pub const KEY_PARTS: usize = 32;

/// A key that would stand for more than one thing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// The part is missing or null.
    #[error("part {0} of the idempotency key is null or missing")]
    Null(String),
    /// The part is empty or blank.
    #[error("part {0} of the idempotency key is empty")]
    Empty(String),
    /// The part is an array or an object.
    #[error("part {0} of the idempotency key is no text, number or boolean")]
    NotScalar(String),
    /// There is no part, or there are more than [`KEY_PARTS`].
    #[error("an idempotency key has 1 to {KEY_PARTS} parts, not {0}")]
    Parts(usize),
    /// Function or effect has no name.
    #[error("the namespace of an idempotency key needs a function and an effect")]
    NoNamespace,
    /// The payload is no JSON.
    #[error("the payload cannot be read for its idempotency key: {0}")]
    Payload(String),
}

/// Whose keys: two functions, or two effects of one function, never share a record by accident.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Namespace {
    prefix: String,
}

impl Namespace {
    /// Of this function's effect; neither may be empty.
    pub fn new(function: &str, effect: &str) -> Result<Self, KeyError> {
        if function.trim().is_empty() || effect.trim().is_empty() {
            return Err(KeyError::NoNamespace);
        }
        let mut prefix = String::with_capacity(64);
        push(&mut prefix, 'f', function);
        push(&mut prefix, 'e', effect);
        Ok(Self { prefix })
    }

    /// A key of these parts, in their order. Null, missing, empty and blank parts are refused, as two subjects without a
    /// part would share a key; so are arrays and objects.
    ///
    /// ```
    /// use lambda_queue::idempotency::{KeyError, Namespace};
    /// use serde_json::json;
    ///
    /// let mail = Namespace::new("notify-customer", "mail")?;
    /// assert_ne!(mail.key([json!("a"), json!("bc")])?, mail.key([json!("ab"), json!("c")])?);
    /// assert_eq!(mail.key([json!("a"), json!(null)]), Err(KeyError::Null("1".into())));
    /// # Ok::<(), KeyError>(())
    /// ```
    pub fn key(&self, parts: impl IntoIterator<Item = Value>) -> Result<Key, KeyError> {
        let mut made = self.begin();
        for (at, part) in parts.into_iter().enumerate() {
            made.value(Some(&part), || at.to_string())?;
        }
        made.finish()
    }

    /// A key of texts. Empty and blank ones are refused.
    pub fn key_of(&self, parts: &[&str]) -> Result<Key, KeyError> {
        let mut made = self.begin();
        for (at, part) in parts.iter().enumerate() {
            made.text(part, || at.to_string())?;
        }
        made.finish()
    }

    /// A key of what these JSON pointers (RFC 6901) find in the payload.
    ///
    /// ```
    /// use lambda_queue::idempotency::{KeyError, Namespace};
    /// use serde_json::json;
    ///
    /// let payload = json!({"order": {"id": "o1"}, "line": 3});
    /// let namespace = Namespace::new("reserve-stock", "reserve")?;
    /// let key = namespace.key_at(&payload, &["/order/id", "/line"])?;
    /// assert_eq!(key, namespace.key([json!("o1"), json!(3)])?);
    /// assert_eq!(namespace.key_at(&payload, &["/order/no"]), Err(KeyError::Null("/order/no".into())));
    /// # Ok::<(), KeyError>(())
    /// ```
    pub fn key_at(&self, payload: &Value, pointers: &[&str]) -> Result<Key, KeyError> {
        let mut made = self.begin();
        for pointer in pointers {
            made.value(payload.pointer(pointer), || (*pointer).to_owned())?;
        }
        made.finish()
    }

    /// A key of what the closure picks from a typed payload: anything that serialises to an array of scalars, a tuple.
    ///
    /// ```
    /// use lambda_queue::idempotency::{KeyError, Namespace};
    /// struct Ship { order: String, parcel: u32, }
    /// let ship = Ship { order: "o1".into(), parcel: 2 };
    /// let key = Namespace::new("ship", "parcel")?.key_from(&ship, |ship| (ship.order.clone(), ship.parcel))?;
    /// # Ok::<(), KeyError>(())
    /// ```
    pub fn key_from<P, K: Serialize>(&self, payload: &P, pick: impl FnOnce(&P) -> K) -> Result<Key, KeyError> {
        match serde_json::to_value(pick(payload)).map_err(|error| KeyError::Payload(error.to_string()))? {
            Value::Array(parts) => self.key(parts),
            scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
                self.key([scalar])
            }
        }
    }

    fn begin(&self) -> Making {
        let mut text = String::with_capacity(self.prefix.len().saturating_add(128));
        text.push_str(&self.prefix);
        Making { text, parts: 0 }
    }
}

struct Making {
    text: String,
    parts: usize,
}

impl Making {
    fn value(&mut self, part: Option<&Value>, named: impl Fn() -> String) -> Result<(), KeyError> {
        match part {
            None | Some(Value::Null) => Err(KeyError::Null(named())),
            Some(Value::String(part)) => self.text(part, named),
            Some(Value::Bool(part)) => {
                self.push('b', if *part { "true" } else { "false" });
                Ok(())
            }
            Some(Value::Number(part)) => {
                self.push('n', &part.to_string());
                Ok(())
            }
            Some(Value::Array(_) | Value::Object(_)) => Err(KeyError::NotScalar(named())),
        }
    }

    fn text(&mut self, part: &str, named: impl Fn() -> String) -> Result<(), KeyError> {
        if part.trim().is_empty() {
            return Err(KeyError::Empty(named()));
        }
        self.push('s', part);
        Ok(())
    }

    fn push(&mut self, kind: char, part: &str) {
        push(&mut self.text, kind, part);
        self.parts = self.parts.saturating_add(1);
    }

    fn finish(self) -> Result<Key, KeyError> {
        if self.parts == 0 || self.parts > KEY_PARTS {
            return Err(KeyError::Parts(self.parts));
        }
        if self.text.len() <= KEY_BYTES {
            return Ok(Key(self.text));
        }
        Ok(Key(format!("sha256:{}", hex(&Sha256::digest(self.text.as_bytes())))))
    }
}

/// Kind, length, text: no two lists of parts run together.
fn push(to: &mut String, kind: char, part: &str) {
    to.push(kind);
    // Writing into a string cannot fail.
    if write!(to, "{}", part.len()).is_ok() {
        to.push(':');
        to.push_str(part);
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS.get(usize::from(nibble & 15)).copied().unwrap_or(b'0'));
    let mut text = String::with_capacity(bytes.len().saturating_mul(2));
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(*byte));
    }
    text
}

/// A record's key: `f<length>:<function>e<length>:<effect>` and one `s`, `n` or `b<length>:<part>` a part. One of more
/// than [`KEY_BYTES`] bytes is `sha256:` and its hash.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Key(String);

impl Key {
    /// As it stands in the table.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str(&self.0)
    }
}
