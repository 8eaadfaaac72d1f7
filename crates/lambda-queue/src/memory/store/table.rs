//! A table's items and its indexes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::changes::Log;
use super::condition::{Comparator, Condition, Operand};
use super::path::Placeholders;
use super::schema::{Key, Scalar, Schema, Table};
use super::{Invalid, value};
use crate::ports::store::{Item, Page, Query, Value};

/// The most that one page of a query looks at, bytes.
const PAGE_BYTES: usize = 1024 * 1024;

#[derive(Debug)]
pub(super) struct State {
    pub table: Table,
    items: BTreeMap<Key, Item>,
    /// By index: place in it, then key in the table.
    indexes: HashMap<String, BTreeSet<(Key, Key)>>,
    pub log: Log,
}

impl State {
    pub fn new(table: Table) -> Self {
        let indexes = table.indexes.iter().map(|index| (index.name.clone(), BTreeSet::new())).collect();
        Self { table, items: BTreeMap::new(), indexes, log: Log::new() }
    }

    pub fn get(&self, key: &Key) -> Option<&Item> {
        self.items.get(key)
    }

    pub fn items(&self) -> impl Iterator<Item = (&Key, &Item)> {
        self.items.iter()
    }

    /// Refuses an item that an index could not hold.
    pub fn fits_indexes(&self, item: &Item) -> Result<(), Invalid> {
        self.table.indexes.iter().try_for_each(|index| index.place(item).map(drop))
    }

    /// Writes an item, or deletes it; with its indexes and the stream.
    pub fn replace(&mut self, key: &Key, new: Option<Item>, at_ms: u64, expired: bool) {
        let old = match &new {
            Some(item) => self.items.insert(key.clone(), item.clone()),
            None => self.items.remove(key),
        };
        for index in &self.table.indexes {
            let Some(places) = self.indexes.get_mut(&index.name) else { continue };
            // What an index cannot hold was refused before.
            let place = |item: &Item| index.place(item).ok().flatten().map(|place| (place, key.clone()));
            if let Some(place) = old.as_ref().and_then(place) {
                places.remove(&place);
            }
            places.extend(new.as_ref().and_then(place));
        }
        self.log.push(&self.table.name, &self.table.schema, (old, new), (at_ms, expired));
    }

    /// One page.
    pub fn query(&self, query: &Query) -> Result<Page, Invalid> {
        let placeholders =
            Placeholders::of(query.names.iter().map(|(name, of)| (name, of.as_ref())), query.values.iter())?;
        let index = match &query.index {
            None => None,
            Some(name) => Some(
                self.table
                    .indexes
                    .iter()
                    .find(|index| index.name == *name)
                    .ok_or_else(|| Invalid(format!("The table does not have the specified index: {name}")))?,
            ),
        };
        if index.is_some() && query.consistent {
            return Err(Invalid("Consistent reads are not supported on global secondary indexes".to_owned()));
        }
        if query.limit == Some(0) {
            return Err(Invalid(
                "1 validation error detected: Value '0' at 'limit' failed to satisfy constraint: Member must have value \
                 greater than or equal to 1"
                    .to_owned(),
            ));
        }
        let schema = index.map_or(&self.table.schema, |index| &index.schema);
        let range = Condition::parse("KeyConditionExpression", &query.key_condition, &placeholders)?;
        let filter = query.filter.as_ref();
        let filter = filter.map(|filter| Condition::parse("FilterExpression", filter, &placeholders)).transpose()?;
        placeholders.all_used()?;
        let range = KeyRange::of(range, schema)?;
        let roots = filter.as_ref().map(Condition::roots).unwrap_or_default();
        if let Some(name) = roots.iter().find(|name| schema.has(name)) {
            return Err(Invalid(format!(
                "Filter Expression can only contain non-primary key attributes: Primary key attribute: {name}"
            )));
        }
        if let Some(index) = index
            && let Some(name) = roots.iter().find(|name| !index.holds(&self.table.schema, name))
        {
            return Err(Invalid(format!(
                "One or more parameter values were invalid: Secondary index {} does not project one or more filter \
                 attributes: [{name}]",
                index.name
            )));
        }
        let start = query.start.as_ref().map(|start| self.start(schema, index.is_some(), start)).transpose()?;
        if let Some((place, _)) = &start {
            if place.hash != range.hash {
                let why = "The provided starting key is outside query boundaries based on provided conditions";
                return Err(Invalid(why.to_owned()));
            }
            if !range.holds(place) || range.ends_at(place, query.descending) {
                return Err(Invalid("The provided starting key does not match the range key predicate".to_owned()));
            }
        }

        // Places in order, of this partition: key by which they are sorted, key in the table.
        let least = Key { hash: range.hash.clone(), range: None };
        let of = |place: &Key| place.hash == range.hash;
        let mut places: Vec<(&Key, &Key)> = match index.and_then(|index| self.indexes.get(&index.name)) {
            None => self.items.range(&least..).map(|(key, _)| (key, key)).take_while(|(key, _)| of(key)).collect(),
            Some(places) => {
                // A place sorts before any that begins with it.
                let after = places.iter().skip_while(|(place, _)| *place < least);
                after.map(|(place, key)| (place, key)).take_while(|(place, _)| of(place)).collect()
            }
        };
        if query.descending {
            places.reverse();
        }
        let mut page = Page::default();
        let (mut looked, mut bytes) = (0_u32, 0_usize);
        for (place, key) in places {
            let passed = start.as_ref().is_some_and(|(start, at)| {
                let order = (place, key).cmp(&(start, at));
                if query.descending { order.is_ge() } else { order.is_le() }
            });
            if passed || !range.holds(place) {
                continue;
            }
            let Some(item) = self.items.get(key) else { continue };
            let item = index.map_or_else(|| item.clone(), |index| index.project(&self.table.schema, item));
            looked = looked.saturating_add(1);
            bytes = bytes.saturating_add(value::size_of_item(&item));
            let full = query.limit == Some(looked) || bytes >= PAGE_BYTES;
            // What is full with the range's last place is the last page.
            let next = (full && !range.ends_at(place, query.descending)).then(|| {
                let mut next = self.table.schema.key_item(&item);
                next.extend(schema.key_item(&item));
                next
            });
            if filter.as_ref().is_none_or(|filter| filter.holds(&item)) {
                page.items.push(item);
            }
            if full {
                page.next = next;
                break;
            }
        }
        Ok(page)
    }

    /// Where a page begins: after this place.
    fn start(&self, schema: &Schema, indexed: bool, start: &Item) -> Result<(Key, Key), Invalid> {
        let start = value::stored_item(start.clone())?;
        let names = |item: &Item| {
            let table = self.table.schema.attributes().all(|(name, _)| item.contains_key(name));
            let own = schema.attributes().all(|(name, _)| item.contains_key(name));
            let none_else = item.keys().all(|name| schema.has(name) || self.table.schema.has(name));
            table && own && none_else
        };
        let odd = || {
            let why = if indexed {
                "The provided starting key is invalid"
            } else {
                "The provided starting key is invalid: The provided key element does not match the schema"
            };
            Invalid(why.to_owned())
        };
        if !names(&start) {
            return Err(odd());
        }
        let place = schema.key_of(&start).map_err(|_| odd())?;
        let key = self.table.schema.key_of(&start).map_err(|_| odd())?;
        Ok((place, key))
    }
}

/// What a key condition says: a partition, and maybe a part of it.
struct KeyRange {
    hash: Scalar,
    rest: Option<Part>,
}

enum Part {
    Compared(Comparator, Scalar),
    Between(Scalar, Scalar),
    Begins(Scalar),
}

impl KeyRange {
    fn of(condition: Condition, schema: &Schema) -> Result<Self, Invalid> {
        let odd = || Invalid("Query key condition not supported".to_owned());
        let (hash_name, hash_kind) = &schema.hash;
        let typed = |value: &Value, kind: super::KeyType| {
            Scalar::of(value).filter(|scalar| scalar.is(kind)).ok_or_else(|| {
                Invalid(
                    "One or more parameter values were invalid: Condition parameter type does not match schema type"
                        .to_owned(),
                )
            })
        };
        let parts = condition.conjuncts();
        if parts.len() > 2 {
            return Err(Invalid("Conditions can be of length 1 or 2 only".to_owned()));
        }
        let (mut hash, mut rest) = (None, None);
        for part in parts {
            let path = match &part {
                Condition::Compare(_, Operand::Path(path), Operand::Value(_))
                | Condition::Between(Operand::Path(path), Operand::Value(_), Operand::Value(_))
                | Condition::BeginsWith(Operand::Path(path), Operand::Value(_)) => path,
                Condition::Compare(..)
                | Condition::Between(..)
                | Condition::BeginsWith(..)
                | Condition::And(..)
                | Condition::Or(..)
                | Condition::Not(_)
                | Condition::In(..)
                | Condition::Exists(_)
                | Condition::Missing(_)
                | Condition::Type(..)
                | Condition::Contains(..) => {
                    return Err(Invalid(
                        "Invalid KeyConditionExpression: Invalid operator used in KeyConditionExpression".to_owned(),
                    ));
                }
            };
            let range = schema.range.as_ref().filter(|(name, _)| path.steps.is_empty() && *name == path.root);
            if path.steps.is_empty() && path.root == *hash_name {
                let Condition::Compare(Comparator::Equal, _, Operand::Value(value)) = &part else { return Err(odd()) };
                if hash.is_some() {
                    return Err(odd());
                }
                hash = Some(typed(value, *hash_kind)?);
            } else if let Some((_, kind)) = range {
                if rest.is_some() {
                    return Err(odd());
                }
                rest = Some(match &part {
                    Condition::Compare(Comparator::Unequal, ..) => return Err(odd()),
                    Condition::Compare(comparator, _, Operand::Value(value)) => {
                        Part::Compared(*comparator, typed(value, *kind)?)
                    }
                    Condition::Between(_, Operand::Value(low), Operand::Value(high)) => {
                        Part::Between(typed(low, *kind)?, typed(high, *kind)?)
                    }
                    Condition::BeginsWith(_, Operand::Value(prefix)) => Part::Begins(typed(prefix, *kind)?),
                    Condition::Compare(..)
                    | Condition::Between(..)
                    | Condition::BeginsWith(..)
                    | Condition::And(..)
                    | Condition::Or(..)
                    | Condition::Not(_)
                    | Condition::In(..)
                    | Condition::Exists(_)
                    | Condition::Missing(_)
                    | Condition::Type(..)
                    | Condition::Contains(..) => return Err(odd()),
                });
            } else {
                return Err(Invalid(format!("Query condition missed key schema element: {hash_name}")));
            }
        }
        let missed = || Invalid(format!("Query condition missed key schema element: {hash_name}"));
        Ok(Self { hash: hash.ok_or_else(missed)?, rest })
    }

    /// Whether the range ends with this place, its bound, in the order of the query: a page that began after it would be
    /// empty.
    fn ends_at(&self, place: &Key, descending: bool) -> bool {
        let Some(range) = &place.range else { return false };
        match &self.rest {
            Some(Part::Between(low, high)) => range == if descending { low } else { high },
            Some(Part::Compared(Comparator::GreaterOrEqual, bound)) => descending && range == bound,
            Some(Part::Compared(Comparator::LessOrEqual, bound)) => !descending && range == bound,
            Some(Part::Compared(..) | Part::Begins(_)) | None => false,
        }
    }

    fn holds(&self, place: &Key) -> bool {
        match (&self.rest, &place.range) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(Part::Compared(comparator, with)), Some(range)) => comparator.holds(range.cmp(with)),
            (Some(Part::Between(low, high)), Some(range)) => (low..=high).contains(&range),
            (Some(Part::Begins(prefix)), Some(range)) => match (range, prefix) {
                (Scalar::S(text), Scalar::S(prefix)) => text.starts_with(prefix.as_str()),
                (Scalar::B(bytes), Scalar::B(prefix)) => bytes.starts_with(prefix),
                (Scalar::S(_) | Scalar::B(_) | Scalar::N(_), _) => false,
            },
        }
    }
}
