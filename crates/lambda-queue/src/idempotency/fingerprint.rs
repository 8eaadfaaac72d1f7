//! Fingerprints: whether two payloads of one key are the same payload.

use std::borrow::Cow;
use std::io;

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::key::hex;

/// Greatest whole number that a double holds exactly with all below it: 2^53 - 1. RFC 8785 writes every number as a double.
const EXACT: u64 = 9_007_199_254_740_991;

/// A payload that has no fingerprint.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the payload has no fingerprint: {0}")]
pub struct FingerprintError(String);

/// SHA-256 over the canonical JSON (RFC 8785) of a payload, or of parts of it, in hexadecimal.
///
/// The order of an object's members and white space make no difference, nor does `1.0` for `1`. A whole number over
/// 2^53 - 1, which RFC 8785 would round, is taken as it is.
///
/// Source: <https://www.rfc-editor.org/rfc/rfc8785>
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Of the whole payload.
    ///
    /// ```
    /// use lambda_queue::idempotency::Fingerprint;
    /// use serde_json::json;
    /// let one = Fingerprint::of(&json!({"total": 1, "sku": "a"}))?;
    /// assert_eq!(one, Fingerprint::of(&json!({"sku": "a", "total": 1.0}))?);
    /// assert_ne!(one, Fingerprint::of(&json!({"sku": "a", "total": 2}))?);
    /// # Ok::<(), lambda_queue::idempotency::FingerprintError>(())
    /// ```
    pub fn of<P: Serialize + ?Sized>(payload: &P) -> Result<Self, FingerprintError> {
        let mut hash = Hash(Sha256::new());
        let value = serde_json::to_value(payload).map_err(|error| FingerprintError(error.to_string()))?;
        hash.add(&value)?;
        Ok(hash.finish())
    }

    /// [`Fingerprint::of`] what is a [`Value`] already: without a copy of it.
    pub fn of_value(payload: &Value) -> Result<Self, FingerprintError> {
        let mut hash = Hash(Sha256::new());
        hash.add(payload)?;
        Ok(hash.finish())
    }

    /// Of what these JSON pointers (RFC 6901) find in the payload, in this order. A part that is missing is none that is
    /// null.
    pub fn of_parts(payload: &Value, pointers: &[&str]) -> Result<Self, FingerprintError> {
        let mut hash = Hash(Sha256::new());
        for pointer in pointers {
            match payload.pointer(pointer) {
                // JSON texts one after the other run together only where both are numbers, so each ends in a line break,
                // which canonical JSON never holds.
                Some(part) => hash.add(part)?,
                None => hash.0.update(b"-"),
            }
            hash.0.update(b"\n");
        }
        Ok(hash.finish())
    }

    /// As it stands in the record: 64 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

struct Hash(Sha256);

impl Hash {
    fn add(&mut self, value: &Value) -> Result<(), FingerprintError> {
        let wrong = |error: serde_json::Error| FingerprintError(error.to_string());
        if is_canonical(value) {
            self.0.update(serde_json::to_vec(value).map_err(wrong)?);
            return Ok(());
        }
        let mut value = Cow::Borrowed(value);
        if has_large(&value) {
            spell_large(value.to_mut());
        }
        serde_json_canonicalizer::to_writer(&*value, self).map_err(wrong)
    }

    fn finish(self) -> Fingerprint {
        Fingerprint(hex(&self.0.finalize()))
    }
}

impl io::Write for Hash {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn is_large(number: &serde_json::Number) -> bool {
    number.as_u64().is_some_and(|whole| whole > EXACT)
        || number.as_i64().is_some_and(|whole| whole.unsigned_abs() > EXACT)
}

/// Whether what `serde_json` writes is canonical as it is, as it is for most payloads: no number but whole ones that a
/// double holds, and members in order. Names of ASCII only, as RFC 8785 orders the others by UTF-16. Both escape strings alike.
fn is_canonical(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => true,
        Value::Number(number) => !number.is_f64() && !is_large(number),
        Value::Array(values) => values.iter().all(is_canonical),
        Value::Object(members) => {
            // The map is in order, unless somebody's build turns `serde_json`'s `preserve_order` on.
            members.keys().is_sorted() && members.iter().all(|(name, value)| name.is_ascii() && is_canonical(value))
        }
    }
}

fn has_large(value: &Value) -> bool {
    match value {
        Value::Number(number) => is_large(number),
        Value::Array(values) => values.iter().any(has_large),
        Value::Object(members) => members.values().any(has_large),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

/// Writes whole numbers that would be rounded as text in an array of one in an object: nothing that a payload would hold.
fn spell_large(value: &mut Value) {
    match value {
        Value::Number(number) if is_large(number) => {
            *value = serde_json::json!({"\u{0}whole": number.to_string()});
        }
        Value::Array(values) => values.iter_mut().for_each(spell_large),
        Value::Object(members) => members.values_mut().for_each(spell_large),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn whole_numbers_that_a_double_would_round_stay_apart() {
        let of = |total: u64| Fingerprint::of(&json!({ "total": total })).unwrap();
        assert_ne!(of(9_007_199_254_740_992), of(9_007_199_254_740_993));
        assert_ne!(Fingerprint::of(&i64::MIN).unwrap(), Fingerprint::of(&(i64::MIN + 1)).unwrap());
    }

    #[test]
    fn parts_do_not_run_together_and_missing_is_not_null() {
        let of = |payload: Value| Fingerprint::of_parts(&payload, &["/a", "/b"]).unwrap();
        assert_ne!(of(json!({"a": 1, "b": 23})), of(json!({"a": 12, "b": 3})));
        assert_ne!(of(json!({"a": 1, "b": null})), of(json!({"a": 1})));
        assert_eq!(of(json!({"a": 1, "b": 2, "c": 3})), of(json!({"c": 4, "b": 2, "a": 1})));
    }

    #[test]
    fn the_fingerprint_is_the_hash_of_the_canonical_text() {
        // printf '{"a":1,"b":"x"}' | sha256sum
        assert_eq!(
            Fingerprint::of(&json!({"b": "x", "a": 1})).unwrap().as_str(),
            "ecf9e98ec0641e23113ff3ce8bdc78d0ddd249886517fd4a7f68cc83d4e65667"
        );
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            ".{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(".{0,4}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_needs_no_canonical_writer_is_written_as_that_one_writes_it(value in json_value()) {
            prop_assume!(is_canonical(&value));
            prop_assert_eq!(serde_json::to_vec(&value).unwrap(), serde_json_canonicalizer::to_vec(&value).unwrap());
        }

        #[test]
        fn two_payloads_have_one_fingerprint_only_if_they_are_equal(one in json_value(), other in json_value()) {
            let text = serde_json::to_string_pretty(&one).unwrap();
            let again: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(Fingerprint::of(&one).unwrap(), Fingerprint::of_value(&again).unwrap());
            prop_assert_eq!(one == other, Fingerprint::of(&one).unwrap() == Fingerprint::of(&other).unwrap());
        }
    }
}
