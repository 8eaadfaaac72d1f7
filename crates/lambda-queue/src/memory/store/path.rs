//! Document paths and the placeholders in them.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::fmt;

use super::lexer::{Token, Tokens};
use super::{Invalid, reserved, value};
use crate::ports::store::{Item, Value};

/// The deepest path.
const DEEPEST: usize = 32;

/// A step of a path below its first attribute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Of a map.
    Field(String),
    /// Of a list.
    At(usize),
}

/// `attribute.field[0]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Path {
    pub root: String,
    pub steps: Vec<Step>,
}

impl fmt::Display for Path {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "[{}", self.root)?;
        for step in &self.steps {
            match step {
                Step::Field(name) => write!(to, ", {name}")?,
                Step::At(at) => write!(to, ", [{at}]")?,
            }
        }
        write!(to, "]")
    }
}

/// How two paths of one update relate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Relation {
    /// They do not touch.
    Apart,
    /// One holds the other, or they are the same.
    Overlap,
    /// They disagree on what a value is: a list here, a map there.
    Conflict,
}

impl Path {
    /// What it leads to in an item.
    pub fn find<'a>(&self, item: &'a Item) -> Option<&'a Value> {
        let mut value = item.get(&self.root)?;
        for step in &self.steps {
            value = match (step, value) {
                (Step::Field(name), Value::M(map)) => map.get(name)?,
                (Step::At(at), Value::L(list)) => list.get(*at)?,
                (Step::Field(_) | Step::At(_), _) => return None,
            };
        }
        Some(value)
    }

    /// What holds its last step, to be changed; `None` where that is not there, or of another kind.
    pub fn parent<'a>(&self, item: &'a mut Item) -> Option<&'a mut Value> {
        let (_, upper) = self.steps.split_last()?;
        let mut value = item.get_mut(&self.root)?;
        for step in upper {
            value = match (step, value) {
                (Step::Field(name), Value::M(map)) => map.get_mut(name)?,
                (Step::At(at), Value::L(list)) => list.get_mut(*at)?,
                (Step::Field(_) | Step::At(_), _) => return None,
            };
        }
        Some(value)
    }

    pub fn relation(&self, other: &Self) -> Relation {
        if self.root != other.root {
            return Relation::Apart;
        }
        for (left, right) in self.steps.iter().zip(&other.steps) {
            match (left, right) {
                (Step::Field(left), Step::Field(right)) if left == right => {}
                (Step::At(left), Step::At(right)) if left == right => {}
                (Step::Field(_), Step::Field(_)) | (Step::At(_), Step::At(_)) => return Relation::Apart,
                (Step::Field(_), Step::At(_)) | (Step::At(_), Step::Field(_)) => return Relation::Conflict,
            }
        }
        Relation::Overlap
    }
}

/// The placeholders of a request, and which of them were used.
#[derive(Debug)]
pub(super) struct Placeholders<'a> {
    names: HashMap<&'a str, &'a str>,
    values: HashMap<&'a str, Value>,
    used: RefCell<BTreeSet<String>>,
}

impl<'a> Placeholders<'a> {
    /// Takes them in: the values as they would be stored.
    pub fn of(
        names: impl Iterator<Item = (&'a str, &'a str)>,
        values: impl Iterator<Item = (&'a str, &'a Value)>,
    ) -> Result<Self, Invalid> {
        let names: HashMap<&str, &str> = names.collect();
        let values: HashMap<&str, &Value> = values.collect();
        let odd = |key: &str, mark: char| {
            !key.strip_prefix(mark).is_some_and(|name| {
                !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            })
        };
        if let Some(key) = names.keys().find(|key| odd(key, '#')) {
            return Err(Invalid(format!(
                "ExpressionAttributeNames contains invalid key: Syntax error; key: \"{key}\""
            )));
        }
        if let Some(key) = values.keys().find(|key| odd(key, ':')) {
            return Err(Invalid(format!(
                "ExpressionAttributeValues contains invalid key: Syntax error; key: \"{key}\""
            )));
        }
        let mut stored = HashMap::with_capacity(values.len());
        for (key, value) in values {
            let value = value::stored(value.clone()).map_err(|Invalid(why)| {
                Invalid(format!("ExpressionAttributeValues contains invalid value: {why} for key {key}"))
            })?;
            stored.insert(key, value);
        }
        Ok(Self { names, values: stored, used: RefCell::new(BTreeSet::new()) })
    }

    pub fn value(&self, tokens: &Tokens, placeholder: &str) -> Result<Value, Invalid> {
        self.used.borrow_mut().insert(placeholder.to_owned());
        self.values.get(placeholder).cloned().ok_or_else(|| {
            tokens.invalid(format!(
                "An expression attribute value used in expression is not defined; attribute value: {placeholder}"
            ))
        })
    }

    fn name(&self, tokens: &Tokens, placeholder: &str) -> Result<String, Invalid> {
        self.used.borrow_mut().insert(placeholder.to_owned());
        self.names.get(placeholder).map(|name| (*name).to_owned()).ok_or_else(|| {
            tokens.invalid(format!(
                "An expression attribute name used in the document path is not defined; attribute name: {placeholder}"
            ))
        })
    }

    /// Every one has to have been used.
    pub fn all_used(&self) -> Result<(), Invalid> {
        let used = self.used.borrow();
        let unused = |keys: Vec<&str>, what: &str| {
            let mut unused: Vec<&str> = keys.into_iter().filter(|key| !used.contains(*key)).collect();
            unused.sort_unstable();
            if unused.is_empty() {
                return Ok(());
            }
            Err(Invalid(format!("Value provided in {what} unused in expressions: keys: {{{}}}", unused.join(", "))))
        };
        unused(self.names.keys().copied().collect(), "ExpressionAttributeNames")?;
        unused(self.values.keys().copied().collect(), "ExpressionAttributeValues")
    }

    /// Reads a path.
    pub fn path(&self, tokens: &mut Tokens) -> Result<Path, Invalid> {
        let root = self.segment(tokens)?;
        let mut steps = Vec::new();
        loop {
            if tokens.take(".") {
                steps.push(Step::Field(self.segment(tokens)?));
            } else if tokens.take("[") {
                match tokens.peek() {
                    Some(Token::Digits(digits)) => {
                        let at = digits
                            .parse()
                            .map_err(|_| tokens.invalid("List index is not within the allowable range"))?;
                        tokens.next();
                        steps.push(Step::At(at));
                    }
                    Some(Token::Word(_) | Token::Name(_) | Token::Value(_) | Token::Sign(_)) | None => {
                        return Err(tokens.unexpected());
                    }
                }
                tokens.expect("]")?;
            } else {
                break;
            }
            if steps.len() > DEEPEST {
                return Err(tokens.invalid("The document path has too many nesting elements"));
            }
        }
        Ok(Path { root, steps })
    }

    fn segment(&self, tokens: &mut Tokens) -> Result<String, Invalid> {
        let segment = match tokens.peek() {
            Some(Token::Word(word)) if word.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                if reserved::is_reserved(word) {
                    return Err(
                        tokens.invalid(format!("Attribute name is a reserved keyword; reserved keyword: {word}"))
                    );
                }
                word.clone()
            }
            Some(Token::Name(placeholder)) => self.name(tokens, placeholder)?,
            Some(Token::Word(_) | Token::Value(_) | Token::Digits(_) | Token::Sign(_)) | None => {
                return Err(tokens.unexpected());
            }
        };
        tokens.next();
        Ok(segment)
    }
}
