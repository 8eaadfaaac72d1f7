//! Values: what may be stored, how large it is, how two compare.

use std::cmp::Ordering;

use super::{Invalid, number};
use crate::ports::store::{Item, Value};

/// The deepest nesting of lists and maps.
const DEEPEST: usize = 32;

/// The name of a value's type.
pub(super) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::N(_) => "N",
        Value::S(_) => "S",
        Value::Bool(_) => "BOOL",
        Value::B(_) => "B",
        Value::Null(_) => "NULL",
        Value::M(_) => "M",
        Value::L(_) => "L",
        Value::Ss(_) => "SS",
        Value::Ns(_) => "NS",
        Value::Bs(_) => "BS",
    }
}

/// A whole item as it is stored.
pub(super) fn stored_item(item: Item) -> Result<Item, Invalid> {
    item.into_iter().map(|(name, value)| Ok((name, stored(value)?))).collect()
}

/// The one form of a value that is stored and compared: numbers without zeros that say nothing, sets in order. Refuses
/// what the service refuses.
pub(super) fn stored(value: Value) -> Result<Value, Invalid> {
    stored_at(value, 0)
}

fn stored_at(value: Value, depth: usize) -> Result<Value, Invalid> {
    if depth > DEEPEST {
        return Err(Invalid("Nesting Levels have exceeded supported limits".to_owned()));
    }
    Ok(match value {
        Value::N(text) => Value::N(number::show(&number::parse(&text)?)),
        Value::Null(false) => {
            return Err(invalid("Null attribute value types must have the value of true"));
        }
        Value::M(map) => {
            let deeper = |(name, value)| Ok((name, stored_at(value, depth.saturating_add(1))?));
            Value::M(map.into_iter().map(deeper).collect::<Result<_, Invalid>>()?)
        }
        Value::L(list) => {
            let deeper = |value| stored_at(value, depth.saturating_add(1));
            Value::L(list.into_iter().map(deeper).collect::<Result<_, Invalid>>()?)
        }
        Value::Ss(set) => Value::Ss(set_of(set, "An string set  may not be empty")?),
        Value::Bs(set) => Value::Bs(set_of(set, "Binary sets should not be empty")?),
        Value::Ns(set) => {
            let numbers = set.iter().map(|text| number::parse(text)).collect::<Result<Vec<_>, _>>()?;
            let numbers = set_of(numbers, "An number set  may not be empty")?;
            Value::Ns(numbers.iter().map(number::show).collect())
        }
        Value::S(_) | Value::Bool(_) | Value::B(_) | Value::Null(true) => value,
    })
}

fn invalid(why: &str) -> Invalid {
    Invalid(format!("One or more parameter values were invalid: {why}"))
}

fn set_of<T: Ord>(mut set: Vec<T>, empty: &str) -> Result<Vec<T>, Invalid> {
    let given = set.len();
    if given == 0 {
        return Err(invalid(empty));
    }
    set.sort();
    set.dedup();
    if set.len() < given {
        return Err(invalid("Input collection contains duplicates."));
    }
    Ok(set)
}

/// How two scalars of one type compare: numbers by value, text and bytes by byte. `None` of anything else.
pub(super) fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::S(left), Value::S(right)) => Some(left.as_bytes().cmp(right.as_bytes())),
        (Value::B(left), Value::B(right)) => Some(left.cmp(right)),
        (Value::N(left), Value::N(right)) => Some(number::parse(left).ok()?.cmp(&number::parse(right).ok()?)),
        (
            Value::S(_)
            | Value::N(_)
            | Value::B(_)
            | Value::Bool(_)
            | Value::Null(_)
            | Value::M(_)
            | Value::L(_)
            | Value::Ss(_)
            | Value::Ns(_)
            | Value::Bs(_),
            _,
        ) => None,
    }
}

/// Bytes of a whole item.
///
/// Source: <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>
pub(super) fn size_of_item(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len().saturating_add(size(value))).sum()
}

/// Bytes of a value.
pub(super) fn size(value: &Value) -> usize {
    match value {
        Value::N(text) => number::size(text),
        Value::S(text) => text.len(),
        Value::B(bytes) => bytes.len(),
        Value::Bool(_) | Value::Null(_) => 1,
        Value::M(map) => size_of_item(map).saturating_add(map.len()).saturating_add(3),
        Value::L(list) => list.iter().map(size).sum::<usize>().saturating_add(list.len()).saturating_add(3),
        Value::Ss(set) => set.iter().map(String::len).sum(),
        Value::Ns(set) => set.iter().map(|text| number::size(text)).sum(),
        Value::Bs(set) => set.iter().map(Vec::len).sum(),
    }
}
