//! Reading parsed JSON field by field, each fault with its place.

use std::str::FromStr;

use serde_json::{Map, Value};

use crate::json::member;
use crate::problem::{Code, Problem};

/// The largest integer that JSON carries safely between programs (RFC 8259, section 6).
const MAX_SAFE: u64 = (1 << 53) - 1;

/// A value and where it is.
#[derive(Clone, Debug)]
pub struct Field<'a> {
    value: &'a Value,
    at: String,
}

impl<'a> Field<'a> {
    /// The whole body.
    pub fn root(value: &'a Value) -> Self {
        Self { value, at: String::new() }
    }

    /// A problem right here.
    pub fn problem(&self, code: Code, detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
        Problem::at(code, self.at.clone(), detail)
    }

    /// An object that has no other fields than these. An array is none, whatever serde thinks.
    pub fn object(self, known: &'static [&'static str]) -> Result<Object<'a>, Problem> {
        let Some(fields) = self.value.as_object() else {
            return Err(self.problem(Code::WrongType, "This has to be an object."));
        };
        match fields.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(Problem::at(Code::UnknownField, member(&self.at, key), "There is no such field.")),
            None => Ok(Object { fields, at: self.at }),
        }
    }

    /// An array.
    pub fn items(&self) -> Result<impl ExactSizeIterator<Item = Field<'a>>, Problem> {
        let Some(items) = self.value.as_array() else {
            return Err(self.problem(Code::WrongType, "This has to be an array."));
        };
        let at = self.at.clone();
        Ok(items.iter().enumerate().map(move |(index, value)| Field { value, at: format!("{at}/{index}") }))
    }

    /// A string.
    pub fn string(&self) -> Result<&'a str, Problem> {
        self.value.as_str().ok_or_else(|| self.problem(Code::WrongType, "This has to be a string."))
    }

    /// A string that a newtype takes.
    pub fn parsed<T: FromStr<Err: ToString>>(&self, code: Code) -> Result<T, Problem> {
        self.string()?.parse().map_err(|error: T::Err| self.problem(code, error.to_string()))
    }

    /// A text for people: 1 to `most` characters, not all blank, no control, bidi or line-separating characters.
    pub fn text(&self, most: usize) -> Result<String, Problem> {
        let text = self.string()?;
        if text.trim().is_empty() || text.chars().count() > most {
            return Err(
                self.problem(Code::InvalidText, format!("This has to be 1 to {most} characters, not all blank."))
            );
        }
        if text.chars().any(is_hidden) {
            return Err(self.problem(Code::InvalidText, "Control and bidi characters are not taken."));
        }
        Ok(text.to_owned())
    }

    /// An integer, written as one (`1.0`, `1e0` and `"1"` are none), within bounds.
    pub fn integer(&self, code: Code, least: u64, most: u64) -> Result<u64, Problem> {
        let most = most.min(MAX_SAFE);
        self.value
            .as_u64()
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| self.problem(code, format!("This has to be an integer from {least} to {most}.")))
    }
}

/// Characters that change how a text reads without being seen: controls (Cc), the bidirectional formatting characters
/// of UAX #9, line and paragraph separators, the byte order mark.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{feff}'
                | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// An object and where it is.
#[derive(Clone, Debug)]
pub struct Object<'a> {
    fields: &'a Map<String, Value>,
    at: String,
}

impl<'a> Object<'a> {
    /// A field that may be left out. `null` is not leaving it out.
    pub fn optional(&self, name: &str) -> Option<Field<'a>> {
        self.fields.get(name).map(|value| Field { value, at: member(&self.at, name) })
    }

    /// A field that has to be there.
    pub fn required(&self, name: &str) -> Result<Field<'a>, Problem> {
        self.optional(name)
            .ok_or_else(|| Problem::at(Code::MissingField, member(&self.at, name), "This field is needed."))
    }
}
