//! Condition, filter and key condition expressions.
//!
//! Source: <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.OperatorsAndFunctions.html>

use std::cmp::Ordering;

use super::Invalid;
use super::lexer::{Token, Tokens};
use super::path::{Path, Placeholders};
use super::value::{self, type_of};
use crate::ports::store::{Item, Value};

/// The deepest nesting of brackets and NOTs.
const DEEPEST: usize = 100;
/// The most values of an IN.
const MOST_IN: usize = 100;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Comparator {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparator {
    fn sign(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::Unequal => "<>",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }

    pub fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::Unequal => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Operand {
    Path(Path),
    Value(Value),
    Size(Path),
}

impl Operand {
    fn find(&self, item: &Item) -> Option<Value> {
        match self {
            Self::Path(path) => path.find(item).cloned(),
            Self::Value(value) => Some(value.clone()),
            Self::Size(path) => match path.find(item)? {
                Value::S(text) => Some(text.chars().map(char::len_utf16).sum()),
                Value::B(bytes) => Some(bytes.len()),
                Value::Ss(set) | Value::Ns(set) => Some(set.len()),
                Value::Bs(set) => Some(set.len()),
                Value::L(list) => Some(list.len()),
                Value::M(map) => Some(map.len()),
                Value::N(_) | Value::Bool(_) | Value::Null(_) => None,
            }
            .map(|size| Value::N(size.to_string())),
        }
    }

    /// The given value's type, where it is not one of these.
    fn not_of<'a>(&'a self, kinds: &[&str]) -> Option<&'a str> {
        match self {
            Self::Value(value) => Some(type_of(value)).filter(|kind| !kinds.contains(kind)),
            Self::Path(_) | Self::Size(_) => None,
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Path(path) => path.to_string(),
            Self::Value(value) => format!("{value:?}"),
            Self::Size(path) => format!("size({path})"),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Condition {
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Not(Box<Self>),
    Compare(Comparator, Operand, Operand),
    Between(Operand, Operand, Operand),
    In(Operand, Vec<Operand>),
    Exists(Path),
    Missing(Path),
    Type(Path, String),
    BeginsWith(Operand, Operand),
    Contains(Operand, Operand),
}

impl Condition {
    /// Reads an expression of this parameter of the request.
    pub fn parse(what: &'static str, expression: &str, placeholders: &Placeholders<'_>) -> Result<Self, Invalid> {
        let mut tokens = Tokens::of(what, expression)?;
        let condition = Parser { tokens: &mut tokens, placeholders }.either(0)?;
        tokens.end()?;
        Ok(condition)
    }

    /// Whether it holds for an item; for an empty one where there is none.
    pub fn holds(&self, item: &Item) -> bool {
        match self {
            Self::And(left, right) => left.holds(item) && right.holds(item),
            Self::Or(left, right) => left.holds(item) || right.holds(item),
            Self::Not(inner) => !inner.holds(item),
            Self::Compare(comparator, left, right) => match (left.find(item), right.find(item)) {
                (Some(left), Some(right)) => match comparator {
                    Comparator::Equal => left == right,
                    Comparator::Unequal => left != right,
                    Comparator::Less | Comparator::LessOrEqual | Comparator::Greater | Comparator::GreaterOrEqual => {
                        value::compare(&left, &right).is_some_and(|order| comparator.holds(order))
                    }
                },
                // What is not there equals nothing.
                (None, _) | (_, None) => *comparator == Comparator::Unequal,
            },
            Self::Between(operand, low, high) => match (operand.find(item), low.find(item), high.find(item)) {
                (Some(value), Some(low), Some(high)) => {
                    value::compare(&value, &low).is_some_and(Ordering::is_ge)
                        && value::compare(&value, &high).is_some_and(Ordering::is_le)
                }
                (_, _, _) => false,
            },
            Self::In(operand, list) => operand
                .find(item)
                .is_some_and(|value| list.iter().any(|other| other.find(item).as_ref() == Some(&value))),
            Self::Exists(path) => path.find(item).is_some(),
            Self::Missing(path) => path.find(item).is_none(),
            Self::Type(path, kind) => path.find(item).is_some_and(|value| type_of(value) == kind),
            Self::BeginsWith(operand, prefix) => match (operand.find(item), prefix.find(item)) {
                (Some(Value::S(text)), Some(Value::S(prefix))) => text.starts_with(&prefix),
                (Some(Value::B(bytes)), Some(Value::B(prefix))) => bytes.starts_with(&prefix),
                (_, _) => false,
            },
            Self::Contains(operand, part) => match (operand.find(item), part.find(item)) {
                (Some(whole), Some(part)) => contains(&whole, &part),
                (_, _) => false,
            },
        }
    }

    /// The conditions that an AND joins, of a key condition.
    pub fn conjuncts(self) -> Vec<Self> {
        match self {
            Self::And(left, right) => {
                let mut all = left.conjuncts();
                all.extend(right.conjuncts());
                all
            }
            Self::Or(..)
            | Self::Not(_)
            | Self::Compare(..)
            | Self::Between(..)
            | Self::In(..)
            | Self::Exists(_)
            | Self::Missing(_)
            | Self::Type(..)
            | Self::BeginsWith(..)
            | Self::Contains(..) => vec![self],
        }
    }

    /// Whether any of its paths begins at this attribute.
    pub fn mentions(&self, attribute: &str) -> bool {
        let of = |operand: &Operand| match operand {
            Operand::Path(path) | Operand::Size(path) => path.root == attribute,
            Operand::Value(_) => false,
        };
        match self {
            Self::And(left, right) | Self::Or(left, right) => left.mentions(attribute) || right.mentions(attribute),
            Self::Not(inner) => inner.mentions(attribute),
            Self::Compare(_, left, right) | Self::BeginsWith(left, right) | Self::Contains(left, right) => {
                of(left) || of(right)
            }
            Self::Between(value, low, high) => of(value) || of(low) || of(high),
            Self::In(operand, list) => of(operand) || list.iter().any(of),
            Self::Exists(path) | Self::Missing(path) | Self::Type(path, _) => path.root == attribute,
        }
    }
}

fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::S(text), Value::S(part)) => text.contains(part.as_str()),
        (Value::B(bytes), Value::B(part)) => {
            part.is_empty() || bytes.windows(part.len()).any(|window| window == part.as_slice())
        }
        (Value::Ss(set), Value::S(part)) => set.contains(part),
        (Value::Bs(set), Value::B(part)) => set.contains(part),
        (Value::Ns(set), Value::N(part)) => set.contains(part),
        (Value::L(list), part) => list.contains(part),
        (
            Value::S(_)
            | Value::B(_)
            | Value::Ss(_)
            | Value::Bs(_)
            | Value::Ns(_)
            | Value::N(_)
            | Value::Bool(_)
            | Value::Null(_)
            | Value::M(_),
            _,
        ) => false,
    }
}

struct Parser<'a, 'b> {
    tokens: &'a mut Tokens,
    placeholders: &'a Placeholders<'b>,
}

impl Parser<'_, '_> {
    fn either(&mut self, depth: usize) -> Result<Condition, Invalid> {
        let mut left = self.both(depth)?;
        while self.tokens.take_keyword("OR") {
            left = Condition::Or(Box::new(left), Box::new(self.both(depth)?));
        }
        Ok(left)
    }

    fn both(&mut self, depth: usize) -> Result<Condition, Invalid> {
        let mut left = self.one(depth)?;
        while self.tokens.take_keyword("AND") {
            left = Condition::And(Box::new(left), Box::new(self.one(depth)?));
        }
        Ok(left)
    }

    fn one(&mut self, depth: usize) -> Result<Condition, Invalid> {
        if depth > DEEPEST {
            return Err(self.tokens.invalid("The expression is nested too deeply"));
        }
        let deeper = depth.saturating_add(1);
        if self.tokens.take_keyword("NOT") {
            return Ok(Condition::Not(Box::new(self.one(deeper)?)));
        }
        if self.tokens.take("(") {
            let inner = self.either(deeper)?;
            self.tokens.expect(")")?;
            return Ok(inner);
        }
        if let Some(function) = self.function() {
            return self.call(&function);
        }
        self.comparison()
    }

    /// The name of the function that is called here.
    fn function(&self) -> Option<String> {
        match (self.tokens.peek(), self.tokens.peek_at(1)) {
            (Some(Token::Word(word)), Some(Token::Sign("("))) if word != "size" => Some(word.clone()),
            (_, _) => None,
        }
    }

    fn call(&mut self, function: &str) -> Result<Condition, Invalid> {
        self.tokens.next();
        self.tokens.expect("(")?;
        let mut operands = vec![self.operand()?];
        while self.tokens.take(",") {
            operands.push(self.operand()?);
        }
        self.tokens.expect(")")?;
        let takes = match function {
            "attribute_exists" | "attribute_not_exists" => 1,
            "attribute_type" | "begins_with" | "contains" => 2,
            other => {
                let why = match other {
                    "if_not_exists" | "list_append" => "The function is not allowed in this expression",
                    _ => "Invalid function name",
                };
                return Err(self.tokens.invalid(format!("{why}; function: {other}")));
            }
        };
        if operands.len() != takes {
            return Err(self.tokens.invalid(format!(
                "Incorrect number of operands for operator or function; operator or function: {function}, number of \
                 operands: {}",
                operands.len()
            )));
        }
        let mut operands = operands.into_iter();
        let (first, second) = (operands.next(), operands.next());
        match (function, first, second) {
            ("attribute_exists", Some(Operand::Path(path)), _) => Ok(Condition::Exists(path)),
            ("attribute_not_exists", Some(Operand::Path(path)), _) => Ok(Condition::Missing(path)),
            ("attribute_exists" | "attribute_not_exists", _, _) => Err(self
                .tokens
                .invalid(format!("Operator or function requires a document path; operator or function: {function}"))),
            ("attribute_type", Some(Operand::Path(path)), Some(Operand::Value(Value::S(kind)))) => {
                if !["S", "SS", "N", "NS", "B", "BS", "BOOL", "NULL", "L", "M"].contains(&kind.as_str()) {
                    return Err(self.tokens.invalid(format!(
                        "Invalid attribute type name found; type: {kind}, valid types: {{B,NULL,SS,BOOL,L,BS,N,NS,S,M}}"
                    )));
                }
                Ok(Condition::Type(path, kind))
            }
            ("attribute_type", _, second) => Err(self.wrong_type("attribute_type", second.as_ref())),
            ("begins_with", Some(first), Some(second)) => {
                for operand in [&first, &second] {
                    if operand.not_of(&["S", "B"]).is_some() {
                        return Err(self.wrong_type("begins_with", Some(operand)));
                    }
                }
                self.distinct("begins_with", &first, &[&second])?;
                Ok(Condition::BeginsWith(first, second))
            }
            ("contains", Some(first), Some(second)) => {
                self.distinct("contains", &first, &[&second])?;
                Ok(Condition::Contains(first, second))
            }
            (_, _, _) => Err(self.tokens.unexpected()),
        }
    }

    fn wrong_type(&self, operator: &str, operand: Option<&Operand>) -> Invalid {
        let kind = match operand {
            Some(Operand::Value(value)) => type_of(value),
            Some(Operand::Path(_) | Operand::Size(_)) | None => "document path",
        };
        self.tokens.invalid(format!(
            "Incorrect operand type for operator or function; operator or function: {operator}, operand type: {kind}"
        ))
    }

    fn distinct(&self, operator: &str, first: &Operand, rest: &[&Operand]) -> Result<(), Invalid> {
        if matches!(first, Operand::Value(_)) || !rest.contains(&first) {
            return Ok(());
        }
        Err(self.tokens.invalid(format!(
            "The first operand must be distinct from the remaining operands for this operator or function; operator: \
             {operator}, first operand: {}",
            first.show()
        )))
    }

    fn comparison(&mut self) -> Result<Condition, Invalid> {
        let left = self.operand()?;
        if self.tokens.take_keyword("BETWEEN") {
            return self.between(left);
        }
        if self.tokens.take_keyword("IN") {
            return self.within(left);
        }
        let comparator = match self.tokens.peek() {
            Some(Token::Sign("=")) => Comparator::Equal,
            Some(Token::Sign("<>")) => Comparator::Unequal,
            Some(Token::Sign("<")) => Comparator::Less,
            Some(Token::Sign("<=")) => Comparator::LessOrEqual,
            Some(Token::Sign(">")) => Comparator::Greater,
            Some(Token::Sign(">=")) => Comparator::GreaterOrEqual,
            Some(Token::Sign(_) | Token::Word(_) | Token::Name(_) | Token::Value(_) | Token::Digits(_)) | None => {
                return Err(self.tokens.unexpected());
            }
        };
        self.tokens.next();
        let right = self.operand()?;
        if !matches!(comparator, Comparator::Equal | Comparator::Unequal) {
            for operand in [&left, &right] {
                if operand.not_of(&["S", "N", "B"]).is_some() {
                    return Err(self.wrong_type(comparator.sign(), Some(operand)));
                }
            }
        }
        self.distinct(comparator.sign(), &left, &[&right])?;
        Ok(Condition::Compare(comparator, left, right))
    }

    fn between(&mut self, operand: Operand) -> Result<Condition, Invalid> {
        let low = self.operand()?;
        if !self.tokens.take_keyword("AND") {
            return Err(self.tokens.unexpected());
        }
        let high = self.operand()?;
        for bound in [&operand, &low, &high] {
            if bound.not_of(&["S", "N", "B"]).is_some() {
                return Err(self.wrong_type("BETWEEN", Some(bound)));
            }
        }
        if let (Operand::Value(low), Operand::Value(high)) = (&low, &high) {
            match value::compare(low, high) {
                None => {
                    return Err(self.tokens.invalid(format!(
                        "The BETWEEN operator requires same data type for lower and upper bounds; lower bound operand: \
                         {low:?}, upper bound operand: {high:?}"
                    )));
                }
                Some(Ordering::Greater) => {
                    return Err(self.tokens.invalid(format!(
                        "The BETWEEN operator requires upper bound to be greater than or equal to lower bound; lower \
                         bound operand: {low:?}, upper bound operand: {high:?}"
                    )));
                }
                Some(Ordering::Less | Ordering::Equal) => {}
            }
        }
        self.distinct("BETWEEN", &operand, &[&low, &high])?;
        Ok(Condition::Between(operand, low, high))
    }

    fn within(&mut self, operand: Operand) -> Result<Condition, Invalid> {
        self.tokens.expect("(")?;
        let mut list = vec![self.operand()?];
        while self.tokens.take(",") {
            list.push(self.operand()?);
        }
        self.tokens.expect(")")?;
        if list.len() > MOST_IN {
            return Err(self.tokens.invalid(format!(
                "Invalid number of operands for IN; number of operands: {}, maximum: {MOST_IN}",
                list.len()
            )));
        }
        self.distinct("IN", &operand, &list.iter().collect::<Vec<_>>())?;
        Ok(Condition::In(operand, list))
    }

    fn operand(&mut self) -> Result<Operand, Invalid> {
        match (self.tokens.peek(), self.tokens.peek_at(1)) {
            (Some(Token::Value(placeholder)), _) => {
                let value = self.placeholders.value(self.tokens, &placeholder.clone())?;
                self.tokens.next();
                Ok(Operand::Value(value))
            }
            (Some(Token::Word(word)), Some(Token::Sign("("))) if word == "size" => {
                self.tokens.next();
                self.tokens.expect("(")?;
                let path = self.placeholders.path(self.tokens)?;
                self.tokens.expect(")")?;
                Ok(Operand::Size(path))
            }
            // A bracket around one operand changes nothing.
            (Some(Token::Sign("(")), _) => {
                self.tokens.next();
                let operand = self.bare()?;
                self.tokens.expect(")")?;
                Ok(operand)
            }
            (_, _) => self.placeholders.path(self.tokens).map(Operand::Path),
        }
    }

    fn bare(&mut self) -> Result<Operand, Invalid> {
        if matches!(self.tokens.peek(), Some(Token::Sign("("))) {
            return Err(self.tokens.unexpected());
        }
        self.operand()
    }
}
