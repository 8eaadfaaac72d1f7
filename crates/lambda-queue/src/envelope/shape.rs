//! What is wrong with data that are not of the type that was asked for, without a word of what they say.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Longest path that is told.
const LONGEST_PATH: usize = 64;
const UNKNOWN_FIELD: &str = "unknown field";

/// Where data are not of the expected type, and in what way. Tells names of fields and kinds of values, never a value. The keys
/// of a map count as names, as long as they are of small letters, digits and `_`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShapeError {
    /// From the data's root, as `lines[0].sku`; empty for the root itself.
    path: String,
    what: What,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum What {
    Missing(String),
    Kind { wrong: &'static str, found: &'static str },
    Said(&'static str),
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "`{}`: ", self.path)?;
        }
        match &self.what {
            What::Missing(field) => write!(f, "missing field `{field}`"),
            What::Kind { wrong, found } => write!(f, "invalid {wrong}: {found}"),
            What::Said(said) => f.write_str(said),
        }
    }
}

impl ShapeError {
    /// Why this is not a `T`.
    pub(super) fn of<T: DeserializeOwned>(data: &Value) -> Self {
        match serde_path_to_error::deserialize::<_, T>(data) {
            Ok(_) => Self { path: String::new(), what: What::Said("read at the second try only") },
            Err(error) => {
                let path = error.path().to_string();
                let what = What::of(&error.into_inner().to_string());
                // A field that nobody knows was named by whoever wrote the data.
                let is_named = what == What::Said(UNKNOWN_FIELD);
                Self { path: if is_named { String::new() } else { told(path) }, what }
            }
        }
    }
}

/// A path of names and places. One that is not is made of somebody's values.
fn told(path: String) -> String {
    let is_told = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.' | '[' | ']');
    if path != "." && path.len() <= LONGEST_PATH && path.chars().all(is_told) { path } else { String::new() }
}

impl What {
    /// Of serde's own words, which quote values: in them only the names of a type's own fields are in backticks alone.
    fn of(said: &str) -> Self {
        if let Some(field) = said.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
            return Self::Missing(field.to_owned());
        }
        for wrong in ["type", "value"] {
            let found = said.strip_prefix("invalid ").and_then(|rest| rest.strip_prefix(wrong)?.strip_prefix(": "));
            if let Some(found) = found {
                return Self::Kind { wrong, found: kind(found) };
            }
        }
        let known = ["invalid length", "unknown variant", UNKNOWN_FIELD, "duplicate field"];
        Self::Said(known.into_iter().find(|known| said.starts_with(known)).unwrap_or("a value that is refused"))
    }
}

/// The kind of value that serde names first.
fn kind(found: &str) -> &'static str {
    const KINDS: [&str; 7] = ["boolean", "integer", "floating point", "string", "sequence", "map", "null"];
    KINDS.into_iter().find(|kind| found.starts_with(kind)).unwrap_or("something else")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it can be read counts")]
    struct Data {
        order_id: uuid::Uuid,
        version: u64,
        #[serde(default)]
        lane: Option<Lane>,
        #[serde(default)]
        lines: Vec<BTreeMap<String, u8>>,
    }

    #[derive(Deserialize, Debug)]
    #[serde(rename_all = "lowercase")]
    enum Lane {
        Bulk,
    }

    #[test]
    fn it_says_where_and_what_and_never_a_value() {
        let id = "0b8e6c1e-5d7f-8a2b-9c3d-4e5f60718293";
        for (data, expected) in [
            (json!({ "order_id": id }), "missing field `version`"),
            (json!({ "version": 1 }), "missing field `order_id`"),
            (json!("Ada"), "invalid type: string"),
            (json!(null), "invalid type: null"),
            (json!({ "order_id": id, "version": "Ada, expected u64" }), "`version`: invalid type: string"),
            (json!({ "order_id": id, "version": 1.5 }), "`version`: invalid type: floating point"),
            (json!({ "order_id": id, "version": -7 }), "`version`: invalid value: integer"),
            (json!({ "order_id": "Ada", "version": 1 }), "`order_id`: a value that is refused"),
            (json!({ "order_id": id, "version": 1, "lane": "Ada" }), "`lane`: unknown variant"),
            (json!({ "order_id": id, "version": 1, "ada": 1 }), "unknown field"),
            (json!({ "order_id": id, "version": 1, "lines": [{ "Ada": 300 }] }), "invalid value: integer"),
            (json!({ "order_id": id, "version": 1, "lines": [{}, []] }), "`lines[1]`: invalid type: sequence"),
        ] {
            let error = ShapeError::of::<Data>(&data);
            assert_eq!(error.to_string(), expected, "{data}");
            assert!(serde_json::from_value::<Data>(data).is_err());
        }
    }
}
