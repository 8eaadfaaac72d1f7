//! What a table is: its key, its indexes, the attribute of its time to live.

use bigdecimal::BigDecimal;

use super::{Invalid, number, value};
use crate::ports::store::{Item, Value};

/// Most bytes of a partition key's value.
const HASH_BYTES: usize = 2_048;
/// Most bytes of a sort key's value.
const RANGE_BYTES: usize = 1_024;

/// The type of a key attribute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyType {
    /// Text.
    S,
    /// Number.
    N,
    /// Bytes.
    B,
}

impl KeyType {
    fn name(self) -> &'static str {
        match self {
            Self::S => "S",
            Self::N => "N",
            Self::B => "B",
        }
    }
}

/// What an index holds of an item, beside the keys of table and index.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Projection {
    /// `KEYS_ONLY`.
    KeysOnly,
    /// `INCLUDE` these attributes.
    Include(Vec<String>),
    /// `ALL`.
    All,
}

/// A key: partition attribute and, if there is one, sort attribute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Schema {
    pub hash: (String, KeyType),
    pub range: Option<(String, KeyType)>,
}

/// A global secondary index. Items without its key attributes are not in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Index {
    pub(super) name: String,
    pub(super) schema: Schema,
    pub(super) projection: Projection,
}

impl Index {
    /// An index of everything (`ALL`), by this partition key.
    pub fn new(name: impl Into<String>, hash: impl Into<String>, kind: KeyType) -> Self {
        Self { name: name.into(), schema: Schema::new(hash, kind), projection: Projection::All }
    }

    /// With a sort key.
    #[must_use]
    pub fn sorted(mut self, range: impl Into<String>, kind: KeyType) -> Self {
        self.schema.range = Some((range.into(), kind));
        self
    }

    /// Holding this of each item.
    #[must_use]
    pub fn projecting(mut self, projection: Projection) -> Self {
        self.projection = projection;
        self
    }
}

/// A table to create.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table {
    pub(super) name: String,
    pub(super) schema: Schema,
    pub(super) indexes: Vec<Index>,
    pub(super) expires: Option<String>,
}

impl Table {
    /// A table by this partition key.
    pub fn new(name: impl Into<String>, hash: impl Into<String>, kind: KeyType) -> Self {
        Self { name: name.into(), schema: Schema::new(hash, kind), indexes: Vec::new(), expires: None }
    }

    /// With a sort key.
    #[must_use]
    pub fn sorted(mut self, range: impl Into<String>, kind: KeyType) -> Self {
        self.schema.range = Some((range.into(), kind));
        self
    }

    /// With an index.
    #[must_use]
    pub fn index(mut self, index: Index) -> Self {
        self.indexes.push(index);
        self
    }

    /// With a time to live: the attribute that holds UTC seconds. See [`MemoryStore::expire`](super::MemoryStore::expire).
    #[must_use]
    pub fn expiring_by(mut self, attribute: impl Into<String>) -> Self {
        self.expires = Some(attribute.into());
        self
    }
}

/// A key's value, ordered as DynamoDB orders it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Scalar {
    N(BigDecimal),
    S(String),
    B(Vec<u8>),
}

impl Scalar {
    /// `None` of a value that cannot be a key.
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::N(text) => number::parse(text).ok().map(Self::N),
            Value::S(text) => Some(Self::S(text.clone())),
            Value::B(bytes) => Some(Self::B(bytes.clone())),
            Value::Bool(_)
            | Value::Null(_)
            | Value::M(_)
            | Value::L(_)
            | Value::Ss(_)
            | Value::Ns(_)
            | Value::Bs(_) => None,
        }
    }

    /// Whether it is of this type.
    pub fn is(&self, kind: KeyType) -> bool {
        self.kind() == kind
    }

    fn kind(&self) -> KeyType {
        match self {
            Self::N(_) => KeyType::N,
            Self::S(_) => KeyType::S,
            Self::B(_) => KeyType::B,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::N(_) => 1,
            Self::S(text) => text.len(),
            Self::B(bytes) => bytes.len(),
        }
    }
}

/// The values of a key, in its order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Key {
    pub hash: Scalar,
    pub range: Option<Scalar>,
}

impl Schema {
    fn new(hash: impl Into<String>, kind: KeyType) -> Self {
        Self { hash: (hash.into(), kind), range: None }
    }

    pub fn attributes(&self) -> impl Iterator<Item = &(String, KeyType)> {
        std::iter::once(&self.hash).chain(self.range.as_ref())
    }

    pub fn has(&self, name: &str) -> bool {
        self.attributes().any(|(attribute, _)| attribute == name)
    }

    /// Only the key's attributes of an item.
    pub fn key_item(&self, item: &Item) -> Item {
        let pick = |(name, _): &(String, KeyType)| item.get(name).map(|value| (name.clone(), value.clone()));
        self.attributes().filter_map(pick).collect()
    }

    /// The key of an item that is to be stored.
    pub fn key_of(&self, item: &Item) -> Result<Key, Invalid> {
        let part = |(name, kind): &(String, KeyType), most: usize| -> Result<Scalar, Invalid> {
            let Some(value) = item.get(name) else {
                return Err(Invalid(format!(
                    "One or more parameter values were invalid: Missing the key {name} in the item"
                )));
            };
            match Scalar::of(value) {
                Some(scalar) if scalar.kind() == *kind => sized(scalar, name, most),
                Some(_) | None => Err(Invalid(format!(
                    "One or more parameter values were invalid: Type mismatch for key {name} expected: {} actual: {}",
                    kind.name(),
                    value::type_of(value)
                ))),
            }
        };
        let hash = part(&self.hash, HASH_BYTES)?;
        Ok(Key { hash, range: self.range.as_ref().map(|range| part(range, RANGE_BYTES)).transpose()? })
    }

    /// The key that a request names: exactly the key's attributes.
    pub fn exact_key(&self, key: &Item) -> Result<Key, Invalid> {
        if key.len() != self.attributes().count() || !self.attributes().all(|(name, _)| key.contains_key(name)) {
            return Err(Invalid("The provided key element does not match the schema".to_owned()));
        }
        for (name, kind) in self.attributes() {
            if key.get(name).and_then(Scalar::of).map(|scalar| scalar.kind()) != Some(*kind) {
                return Err(Invalid("The provided key element does not match the schema".to_owned()));
            }
        }
        self.key_of(key)
    }
}

fn sized(scalar: Scalar, name: &str, most: usize) -> Result<Scalar, Invalid> {
    let what = if matches!(scalar, Scalar::S(_)) { "string" } else { "binary" };
    if scalar.len() == 0 {
        return Err(Invalid(format!(
            "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty \
             {what} value. Key: {name}"
        )));
    }
    if scalar.len() > most {
        let which = if most == HASH_BYTES { "hashkey" } else { "rangekey" };
        return Err(Invalid(format!(
            "One or more parameter values were invalid: Size of {which} has exceeded the maximum size limit of{most} \
             bytes"
        )));
    }
    Ok(scalar)
}

impl Index {
    /// The item's place in the index: `None` where it has none. An attribute of the wrong type is refused.
    pub(super) fn place(&self, item: &Item) -> Result<Option<Key>, Invalid> {
        for (name, kind) in self.schema.attributes() {
            let Some(value) = item.get(name) else { continue };
            match Scalar::of(value) {
                Some(scalar) if scalar.kind() == *kind => {
                    if scalar.len() == 0 {
                        let what = if *kind == KeyType::S { "string" } else { "binary" };
                        return Err(Invalid(format!(
                            "One or more parameter values are not valid. A value specified for a secondary index key is \
                             not supported. The AttributeValue for a key attribute cannot contain an empty {what} value. \
                             IndexName: {}, IndexKey: {name}",
                            self.name
                        )));
                    }
                }
                Some(_) | None => {
                    return Err(Invalid(format!(
                        "One or more parameter values were invalid: Type mismatch for Index Key {name} Expected: {} \
                         Actual: {} IndexName: {}",
                        kind.name(),
                        value::type_of(value),
                        self.name
                    )));
                }
            }
        }
        if self.schema.attributes().all(|(name, _)| item.contains_key(name)) {
            self.schema.key_of(item).map(Some)
        } else {
            Ok(None)
        }
    }

    /// What the index holds of an item.
    pub(super) fn project(&self, table: &Schema, item: &Item) -> Item {
        let keeps = |name: &str| match &self.projection {
            Projection::All => true,
            Projection::KeysOnly => self.schema.has(name) || table.has(name),
            Projection::Include(more) => {
                self.schema.has(name) || table.has(name) || more.iter().any(|other| other == name)
            }
        };
        item.iter().filter(|(name, _)| keeps(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}
