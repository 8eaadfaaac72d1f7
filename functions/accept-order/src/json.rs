//! Strict JSON: what serde lets pass (duplicate keys, any depth up to 128) is refused here, with its place.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::problem::{Code, Problem};

/// Deepest nesting of arrays and objects.
pub const MAX_DEPTH: usize = 32;
/// What a key of the client's is cut to inside a pointer, characters.
const KEY_SHOWN: usize = 64;

/// Parses a body: exactly one JSON value in UTF-8, no byte order mark, no key twice in an object, at most
/// [`MAX_DEPTH`] deep. Lone surrogates in escapes are refused by serde_json itself.
pub fn parse(body: &[u8]) -> Result<Value, Problem> {
    let malformed = |detail: String| Problem::at(Code::MalformedJson, "", detail);
    if body.starts_with(b"\xef\xbb\xbf") {
        return Err(malformed("The body begins with a byte order mark.".to_owned()));
    }
    let text = std::str::from_utf8(body)
        .map_err(|error| malformed(format!("The body is not UTF-8 from byte {} on.", error.valid_up_to())))?;
    let place = Place::default();
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Strict { place: &place, depth: 0 }.deserialize(&mut reader);
    let value = value.and_then(|value| reader.end().map(|()| value));
    value.map_err(|error| {
        place.fault.take().unwrap_or_else(|| {
            // serde's own message may quote the body; its place and category do not.
            let what = if error.is_eof() { "ends too early" } else { "is not JSON" };
            malformed(format!("The body {what} at line {}, column {}.", error.line(), error.column()))
        })
    })
}

/// A JSON pointer to a member of an object, `~` and `/` escaped (RFC 6901).
pub fn member(parent: &str, key: &str) -> String {
    let key: String = key.chars().take(KEY_SHOWN).collect();
    format!("{parent}/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// Where the parser is, and what it found wrong there.
#[derive(Default)]
struct Place {
    pointer: RefCell<String>,
    fault: RefCell<Option<Problem>>,
}

impl Place {
    /// Parses something one step further down.
    fn inside<T>(&self, step: &str, parse: impl FnOnce() -> T) -> T {
        let outer = self.pointer.borrow().clone();
        let inner = member(&outer, step);
        self.pointer.replace(inner);
        let parsed = parse();
        self.pointer.replace(outer);
        parsed
    }

    fn refuse<E: serde::de::Error>(&self, code: Code, detail: &'static str) -> E {
        self.fault.replace(Some(Problem::at(code, self.pointer.borrow().clone(), detail)));
        E::custom("refused")
    }
}

/// One value.
#[derive(Clone, Copy)]
struct Strict<'a> {
    place: &'a Place,
    depth: usize,
}

impl Strict<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(self.place.refuse(Code::TooDeep, "Arrays and objects nest at most 32 deep."));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;
    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let below = self.deeper()?;
        let mut values = Vec::new();
        loop {
            let index = values.len().to_string();
            match self.place.inside(&index, || items.next_element_seed(below))? {
                Some(value) => values.push(value),
                None => return Ok(Value::Array(values)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let below = self.deeper()?;
        let mut object = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            let value = self.place.inside(&key, || {
                if object.contains_key(&key) {
                    return Err(self.place.refuse(Code::DuplicateKey, "The object has this key twice."));
                }
                members.next_value_seed(below)
            })?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}
