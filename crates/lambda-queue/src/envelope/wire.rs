//! Envelopes as JSON: strict on the way in, complete on the way out.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Number, Value};

use super::rules::{EnvelopeError, MOST_EXTENSIONS};
use super::shape::ShapeError;
use super::size::MOST_BYTES;
use super::{Data, Envelope, Extension};

/// What an envelope can carry: every type that serde reads and writes (as `data`), and [`Data`].
pub trait Payload: Sized {
    /// From `data` or `data_base64`.
    fn from_data(data: Data) -> Result<Self, EnvelopeError>;

    /// Writes `data` or `data_base64`.
    fn write<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error>;

    /// The data alone, as bytes, and whether these are JSON; `None` where there is none.
    fn to_bytes(&self) -> Result<Option<(Vec<u8>, bool)>, EnvelopeError>;
}

impl<T: Serialize + DeserializeOwned> Payload for T {
    fn from_data(data: Data) -> Result<Self, EnvelopeError> {
        let value = match data {
            Data::Json(value) => value,
            Data::None => Value::Null,
            Data::Binary(_) => return Err(EnvelopeError::DataForm),
        };
        // serde's messages may quote the data.
        T::deserialize(&value).map_err(|_| EnvelopeError::Data(ShapeError::of::<T>(&value)))
    }

    fn write<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("data", self)
    }

    fn to_bytes(&self) -> Result<Option<(Vec<u8>, bool)>, EnvelopeError> {
        serde_json::to_vec(self).map(|bytes| Some((bytes, true))).map_err(|_| EnvelopeError::Unwritable)
    }
}

impl Payload for Data {
    fn from_data(data: Data) -> Result<Self, EnvelopeError> {
        Ok(data)
    }

    fn write<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        match self {
            Self::None => Ok(()),
            Self::Json(value) => map.serialize_entry("data", value),
            Self::Binary(bytes) => map.serialize_entry("data_base64", &STANDARD.encode(bytes)),
        }
    }

    fn to_bytes(&self) -> Result<Option<(Vec<u8>, bool)>, EnvelopeError> {
        match self {
            Self::None => Ok(None),
            Self::Json(value) => value.to_bytes(),
            Self::Binary(bytes) => Ok(Some((bytes.clone(), false))),
        }
    }
}

impl<T: Payload> Envelope<T> {
    /// Reads a message of at most 1 MiB. Idempotent in effect: what is read is written again as it was.
    pub fn parse(body: &str) -> Result<Self, EnvelopeError> {
        if body.len() > MOST_BYTES {
            return Err(EnvelopeError::Oversize { bytes: body.len(), most: MOST_BYTES });
        }
        let value = strict(body.as_bytes())?;
        Self::from_value(value)
    }

    /// The message as JSON, of at most 1 MiB: attributes are checked before.
    pub fn to_json(&self) -> Result<String, EnvelopeError> {
        self.validate()?;
        let body = serde_json::to_string(self).map_err(|_| EnvelopeError::Unwritable)?;
        if body.len() > MOST_BYTES {
            return Err(EnvelopeError::Oversize { bytes: body.len(), most: MOST_BYTES });
        }
        Ok(body)
    }

    fn from_value(value: Value) -> Result<Self, EnvelopeError> {
        let Value::Object(mut map) = value else { return Err(EnvelopeError::NotAnObject) };
        match map.remove("specversion") {
            Some(Value::String(version)) if version == "1.0" => {}
            Some(_) => return Err(EnvelopeError::Spec),
            None => return Err(EnvelopeError::Missing("specversion")),
        }
        let (data, bytes) = (map.remove("data"), text(&mut map, "data_base64")?);
        let data = match (data, bytes) {
            (None, None) => Data::None,
            (Some(data), None) => Data::Json(data),
            (None, Some(text)) => {
                Data::Binary(STANDARD.decode(text).map_err(|_| EnvelopeError::Invalid("data_base64"))?)
            }
            (Some(_), Some(_)) => return Err(EnvelopeError::DataForm),
        };
        let envelope = Envelope {
            id: required(&mut map, "id")?,
            source: required(&mut map, "source")?,
            kind: required(&mut map, "type")?,
            subject: text(&mut map, "subject")?,
            time: text(&mut map, "time")?,
            dataschema: text(&mut map, "dataschema")?,
            datacontenttype: text(&mut map, "datacontenttype")?,
            traceparent: text(&mut map, "traceparent")?,
            tracestate: text(&mut map, "tracestate")?,
            correlationid: text(&mut map, "correlationid")?,
            causationid: text(&mut map, "causationid")?,
            lane: text(&mut map, "lane")?,
            tenant: text(&mut map, "tenant")?,
            extensions: extensions(map)?,
            data: (),
        };
        envelope.validate()?;
        let data = T::from_data(data)?;
        Ok(envelope.map(|()| data))
    }
}

impl Envelope<Data> {
    /// The same with its data read as what it should be.
    pub fn typed<T: Payload>(mut self) -> Result<Envelope<T>, EnvelopeError> {
        let data = T::from_data(std::mem::take(&mut self.data))?;
        Ok(self.map(|_| data))
    }
}

/// As it is, unchecked: [`Envelope::to_json`] checks.
impl<T: Payload> Serialize for Envelope<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("specversion", "1.0")?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("source", &self.source)?;
        map.serialize_entry("type", &self.kind)?;
        for (name, value) in [
            ("subject", &self.subject),
            ("time", &self.time),
            ("dataschema", &self.dataschema),
            ("datacontenttype", &self.datacontenttype),
        ] {
            if let Some(value) = value {
                map.serialize_entry(name, value)?;
            }
        }
        self.data.write(&mut map)?;
        for (name, value) in [
            ("traceparent", &self.traceparent),
            ("tracestate", &self.tracestate),
            ("correlationid", &self.correlationid),
            ("causationid", &self.causationid),
            ("lane", &self.lane),
            ("tenant", &self.tenant),
        ] {
            if let Some(value) = value {
                map.serialize_entry(name, value)?;
            }
        }
        for (name, value) in &self.extensions {
            match value {
                Extension::Bool(value) => map.serialize_entry(name, value)?,
                Extension::Integer(value) => map.serialize_entry(name, value)?,
                Extension::Text(value) => map.serialize_entry(name, value)?,
            }
        }
        map.end()
    }
}

impl<'de, T: Payload> Deserialize<'de> for Envelope<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_value(Strict.deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// A text attribute; null is the same as none.
fn text(map: &mut Map<String, Value>, name: &'static str) -> Result<Option<String>, EnvelopeError> {
    match map.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Err(EnvelopeError::Invalid(name))
        }
    }
}

fn required(map: &mut Map<String, Value>, name: &'static str) -> Result<String, EnvelopeError> {
    text(map, name)?.ok_or(EnvelopeError::Missing(name))
}

fn extensions(map: Map<String, Value>) -> Result<BTreeMap<String, Extension>, EnvelopeError> {
    if map.len() > MOST_EXTENSIONS {
        return Err(EnvelopeError::Extensions);
    }
    let given = map.into_iter().filter(|(_, value)| !value.is_null());
    let read = given.map(|(name, value)| {
        let value = match value {
            Value::Bool(value) => Some(Extension::Bool(value)),
            Value::Number(value) => value.as_i64().and_then(|value| i32::try_from(value).ok()).map(Extension::Integer),
            Value::String(value) => Some(Extension::Text(value)),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        };
        Ok((name, value.ok_or(EnvelopeError::ExtensionValue)?))
    });
    read.collect()
}

/// What a second key of one object is called on its way through serde's error.
const DUPLICATE: &str = "a key stands twice in one object";

/// JSON whose objects have no key twice.
pub(super) fn strict(body: &[u8]) -> Result<Value, EnvelopeError> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = Strict.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    read.map_err(|error| {
        let (line, column) = (error.line(), error.column());
        // Only this module makes an error of these words: the parser's own never begin so.
        if error.to_string().starts_with(DUPLICATE) {
            return EnvelopeError::DuplicateKey { line, column };
        }
        EnvelopeError::Json { what: wrong(body, &error), line, column }
    })
}

/// What is wrong with JSON, quoting none of it.
fn wrong(body: &[u8], error: &serde_json::Error) -> String {
    if body.starts_with("\u{feff}".as_bytes()) {
        return "a byte order mark in front".to_owned();
    }
    match error.classify() {
        serde_json::error::Category::Eof => "it ends too early".to_owned(),
        serde_json::error::Category::Io | serde_json::error::Category::Data => {
            "a value that JSON does not have".to_owned()
        }
        serde_json::error::Category::Syntax => {
            let said = error.to_string();
            match said.split(" at line ").next().unwrap_or_default() {
                // Of a word that begins as `true`, `false` or `null` do.
                "expected ident" => "expected value".to_owned(),
                said => said.to_owned(),
            }
        }
    }
}

/// Reads any JSON, refusing a key that stands twice in one object. Depth is bounded by serde_json (128).
#[derive(Clone, Copy)]
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("no JSON number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut read = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            read.push(item);
        }
        Ok(Value::Array(read))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut read = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if read.contains_key(&key) {
                return Err(A::Error::custom(DUPLICATE));
            }
            let value = entries.next_value_seed(self)?;
            read.insert(key, value);
        }
        Ok(Value::Object(read))
    }
}
