//! Update expressions.
//!
//! Source: <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.UpdateExpressions.html>

use super::lexer::{Token, Tokens};
use super::path::{Path, Placeholders, Relation, Step};
use super::schema::Schema;
use super::value::type_of;
use super::{Invalid, number};
use crate::ports::store::{Item, Value};

#[derive(Clone, PartialEq, Eq, Debug)]
enum Term {
    Path(Path),
    Value(Value),
    IfNotExists(Path, Box<Term>),
    ListAppend(Box<Term>, Box<Term>),
    Plus(Box<Term>, Box<Term>),
    Minus(Box<Term>, Box<Term>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Action {
    Set(Path, Term),
    Remove(Path),
    Add(Path, Value),
    Delete(Path, Value),
}

impl Action {
    fn path(&self) -> &Path {
        match self {
            Self::Set(path, _) | Self::Remove(path) | Self::Add(path, _) | Self::Delete(path, _) => path,
        }
    }
}

/// What an update does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Update(Vec<Action>);

const WHAT: &str = "UpdateExpression";

impl Update {
    pub fn parse(expression: &str, placeholders: &Placeholders<'_>) -> Result<Self, Invalid> {
        let mut tokens = Tokens::of(WHAT, expression)?;
        let mut parser = Parser { tokens: &mut tokens, placeholders };
        let mut actions = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        while parser.tokens.peek().is_some() {
            let clause = ["SET", "REMOVE", "ADD", "DELETE"].into_iter().find(|it| parser.tokens.is_keyword(it));
            let Some(clause) = clause else { return Err(parser.tokens.unexpected()) };
            if seen.contains(&clause) {
                return Err(parser
                    .tokens
                    .invalid(format!("The \"{clause}\" section can only be used once in an update expression;")));
            }
            seen.push(clause);
            parser.tokens.next();
            loop {
                actions.push(parser.action(clause)?);
                if !parser.tokens.take(",") {
                    break;
                }
            }
        }
        let update = Self(actions);
        update.apart(&tokens)?;
        Ok(update)
    }

    /// No two of its paths may touch.
    fn apart(&self, tokens: &Tokens) -> Result<(), Invalid> {
        for (at, one) in self.0.iter().enumerate() {
            for other in self.0.iter().skip(at.saturating_add(1)) {
                let (one, other) = (one.path(), other.path());
                let why = match one.relation(other) {
                    Relation::Apart => continue,
                    Relation::Overlap => {
                        "Two document paths overlap with each other; must remove or rewrite one of these"
                    }
                    Relation::Conflict => {
                        "Two document paths conflict with each other; must remove or rewrite one of these"
                    }
                };
                return Err(tokens.invalid(format!("{why} paths; path one: {one}, path two: {other}")));
            }
        }
        Ok(())
    }

    /// A key is never changed.
    pub fn leaves_key(&self, schema: &Schema) -> Result<(), Invalid> {
        match self.0.iter().map(Action::path).find(|path| schema.has(&path.root)) {
            Some(path) => Err(Invalid(format!(
                "One or more parameter values were invalid: Cannot update attribute {}. This attribute is part of the key",
                path.root
            ))),
            None => Ok(()),
        }
    }

    /// The item as it is then. Every operand is what it was before.
    pub fn apply(&self, old: &Item) -> Result<Item, Invalid> {
        let mut item = old.clone();
        let mut sets = Vec::new();
        for action in &self.0 {
            match action {
                Action::Set(path, term) => sets.push((path, term.value(old)?)),
                Action::Add(path, more) => {
                    let sum = add(path.find(old), more)?;
                    set(&mut item, path, sum)?;
                }
                Action::Delete(path, less) => match path.find(old).map(|had| minus(had, less)).transpose()? {
                    Some(Some(rest)) => set(&mut item, path, rest)?,
                    Some(None) => remove(&mut item, path)?,
                    // What has no such set has nothing to delete; but the way there has to be.
                    None => remove(&mut item, path)?,
                },
                Action::Remove(_) => {}
            }
        }
        // Of one list from its front, as indexes past its end append.
        sets.sort_by_key(|(path, _)| last_index(path));
        for (path, value) in sets {
            set(&mut item, path, value)?;
        }
        // Of one list from its end, as an index is the one before the update.
        let mut removes: Vec<&Path> = self
            .0
            .iter()
            .filter_map(|action| match action {
                Action::Remove(path) => Some(path),
                Action::Set(..) | Action::Add(..) | Action::Delete(..) => None,
            })
            .collect();
        removes.sort_by_key(|path| std::cmp::Reverse(last_index(path)));
        for path in removes {
            remove(&mut item, path)?;
        }
        Ok(item)
    }
}

fn last_index(path: &Path) -> usize {
    match path.steps.last() {
        Some(Step::At(at)) => *at,
        Some(Step::Field(_)) | None => 0,
    }
}

fn no_way() -> Invalid {
    Invalid("The document path provided in the update expression is invalid for update".to_owned())
}

fn wrong_operand() -> Invalid {
    Invalid("An operand in the update expression has an incorrect data type".to_owned())
}

fn set(item: &mut Item, path: &Path, value: Value) -> Result<(), Invalid> {
    let Some(last) = path.steps.last() else {
        item.insert(path.root.clone(), value);
        return Ok(());
    };
    match (last, path.parent(item)) {
        (Step::Field(name), Some(Value::M(map))) => {
            map.insert(name.clone(), value);
            Ok(())
        }
        (Step::At(at), Some(Value::L(list))) => {
            match list.get_mut(*at) {
                Some(place) => *place = value,
                None => list.push(value),
            }
            Ok(())
        }
        (Step::Field(_) | Step::At(_), _) => Err(no_way()),
    }
}

fn remove(item: &mut Item, path: &Path) -> Result<(), Invalid> {
    let Some(last) = path.steps.last() else {
        item.remove(&path.root);
        return Ok(());
    };
    match (last, path.parent(item)) {
        (Step::Field(name), Some(Value::M(map))) => {
            map.remove(name);
            Ok(())
        }
        (Step::At(at), Some(Value::L(list))) => {
            if *at < list.len() {
                list.remove(*at);
            }
            Ok(())
        }
        (Step::Field(_) | Step::At(_), _) => Err(no_way()),
    }
}

fn add(had: Option<&Value>, more: &Value) -> Result<Value, Invalid> {
    match (had, more) {
        (None, more) => Ok(more.clone()),
        (Some(Value::N(had)), Value::N(more)) => sum(had, more),
        (Some(Value::Ss(had)), Value::Ss(more)) => Ok(Value::Ss(union(had, more))),
        (Some(Value::Bs(had)), Value::Bs(more)) => Ok(Value::Bs(union(had, more))),
        (Some(Value::Ns(had)), Value::Ns(more)) => Ok(Value::Ns(in_order(union(had, more))?)),
        (Some(_), _) => Err(wrong_operand()),
    }
}

fn sum(left: &str, right: &str) -> Result<Value, Invalid> {
    let sum = number::check(number::parse(left)? + number::parse(right)?)?;
    Ok(Value::N(number::show(&sum)))
}

fn union<T: Ord + Clone>(left: &[T], right: &[T]) -> Vec<T> {
    let mut all: Vec<T> = left.iter().chain(right).cloned().collect();
    all.sort();
    all.dedup();
    all
}

/// Numbers of a set are kept by value.
fn in_order(set: Vec<String>) -> Result<Vec<String>, Invalid> {
    let mut numbers = set.iter().map(|text| number::parse(text)).collect::<Result<Vec<_>, _>>()?;
    numbers.sort();
    Ok(numbers.iter().map(number::show).collect())
}

/// The set without these; `None` where nothing is left.
fn minus(had: &Value, less: &Value) -> Result<Option<Value>, Invalid> {
    fn rest<T: PartialEq + Clone>(had: &[T], less: &[T]) -> Vec<T> {
        had.iter().filter(|one| !less.contains(one)).cloned().collect()
    }
    match (had, less) {
        (Value::Ss(had), Value::Ss(less)) => Ok(Some(rest(had, less)).filter(|set| !set.is_empty()).map(Value::Ss)),
        (Value::Ns(had), Value::Ns(less)) => Ok(Some(rest(had, less)).filter(|set| !set.is_empty()).map(Value::Ns)),
        (Value::Bs(had), Value::Bs(less)) => Ok(Some(rest(had, less)).filter(|set| !set.is_empty()).map(Value::Bs)),
        (
            Value::Ss(_)
            | Value::Ns(_)
            | Value::Bs(_)
            | Value::S(_)
            | Value::N(_)
            | Value::B(_)
            | Value::Bool(_)
            | Value::Null(_)
            | Value::M(_)
            | Value::L(_),
            _,
        ) => Err(wrong_operand()),
    }
}

impl Term {
    fn value(&self, item: &Item) -> Result<Value, Invalid> {
        match self {
            Self::Value(value) => Ok(value.clone()),
            Self::Path(path) => path.find(item).cloned().ok_or_else(|| {
                Invalid("The provided expression refers to an attribute that does not exist in the item".to_owned())
            }),
            Self::IfNotExists(path, other) => match path.find(item) {
                Some(value) => Ok(value.clone()),
                None => other.value(item),
            },
            Self::ListAppend(front, back) => match (front.value(item)?, back.value(item)?) {
                (Value::L(mut front), Value::L(back)) => {
                    front.extend(back);
                    Ok(Value::L(front))
                }
                (_, _) => Err(wrong_operand()),
            },
            Self::Plus(left, right) => match (left.value(item)?, right.value(item)?) {
                (Value::N(left), Value::N(right)) => sum(&left, &right),
                (_, _) => Err(wrong_operand()),
            },
            Self::Minus(left, right) => match (left.value(item)?, right.value(item)?) {
                (Value::N(left), Value::N(right)) => {
                    let less = number::check(number::parse(&left)? - number::parse(&right)?)?;
                    Ok(Value::N(number::show(&less)))
                }
                (_, _) => Err(wrong_operand()),
            },
        }
    }

    /// A given value that is not of this type.
    fn is_not(&self, kind: &str) -> Option<&'static str> {
        match self {
            Self::Value(value) => Some(type_of(value)).filter(|it| *it != kind),
            Self::Path(_) => None,
            Self::IfNotExists(_, other) => other.is_not(kind),
            Self::ListAppend(..) => Some("L").filter(|it| *it != kind),
            Self::Plus(..) | Self::Minus(..) => Some("N").filter(|it| *it != kind),
        }
    }
}

struct Parser<'a, 'b> {
    tokens: &'a mut Tokens,
    placeholders: &'a Placeholders<'b>,
}

impl Parser<'_, '_> {
    fn action(&mut self, clause: &str) -> Result<Action, Invalid> {
        let path = self.placeholders.path(self.tokens)?;
        Ok(match clause {
            "SET" => {
                self.tokens.expect("=")?;
                Action::Set(path, self.sum()?)
            }
            "REMOVE" => Action::Remove(path),
            "ADD" => Action::Add(path, self.value("ADD", &["N", "SS", "NS", "BS"])?),
            _ => Action::Delete(path, self.value("DELETE", &["SS", "NS", "BS"])?),
        })
    }

    fn value(&mut self, operator: &str, kinds: &[&str]) -> Result<Value, Invalid> {
        let Some(Token::Value(placeholder)) = self.tokens.peek().cloned() else {
            return Err(self.tokens.unexpected());
        };
        let value = self.placeholders.value(self.tokens, &placeholder)?;
        self.tokens.next();
        if !kinds.contains(&type_of(&value)) {
            return Err(self.tokens.invalid(format!(
                "Incorrect operand type for operator or function; operator: {operator}, operand type: {}",
                type_of(&value)
            )));
        }
        Ok(value)
    }

    fn sum(&mut self) -> Result<Term, Invalid> {
        let left = self.term()?;
        let (sign, make): (_, fn(Box<Term>, Box<Term>) -> Term) = if self.tokens.take("+") {
            ("+", Term::Plus)
        } else if self.tokens.take("-") {
            ("-", Term::Minus)
        } else {
            return Ok(left);
        };
        let right = self.term()?;
        for operand in [&left, &right] {
            self.typed(operand, "N", sign)?;
        }
        Ok(make(Box::new(left), Box::new(right)))
    }

    fn typed(&self, operand: &Term, kind: &str, operator: &str) -> Result<(), Invalid> {
        match operand.is_not(kind) {
            Some(other) => Err(self.tokens.invalid(format!(
                "Incorrect operand type for operator or function; operator or function: {operator}, operand type: {other}"
            ))),
            None => Ok(()),
        }
    }

    fn term(&mut self) -> Result<Term, Invalid> {
        match (self.tokens.peek().cloned(), self.tokens.peek_at(1)) {
            (Some(Token::Value(placeholder)), _) => {
                let value = self.placeholders.value(self.tokens, &placeholder)?;
                self.tokens.next();
                Ok(Term::Value(value))
            }
            (Some(Token::Sign("(")), _) => {
                self.tokens.next();
                if matches!(self.tokens.peek(), Some(Token::Sign("("))) {
                    return Err(self.tokens.unexpected());
                }
                let inner = self.sum()?;
                self.tokens.expect(")")?;
                Ok(inner)
            }
            (Some(Token::Word(function)), Some(Token::Sign("("))) => {
                self.tokens.next();
                self.tokens.expect("(")?;
                let call = match function.as_str() {
                    "if_not_exists" => {
                        let path = self.placeholders.path(self.tokens)?;
                        self.tokens.expect(",")?;
                        Term::IfNotExists(path, Box::new(self.flat()?))
                    }
                    "list_append" => {
                        let front = self.flat()?;
                        self.tokens.expect(",")?;
                        let back = self.flat()?;
                        for operand in [&front, &back] {
                            self.typed(operand, "L", "list_append")?;
                        }
                        Term::ListAppend(Box::new(front), Box::new(back))
                    }
                    other => {
                        let known = [
                            "attribute_exists",
                            "attribute_not_exists",
                            "attribute_type",
                            "begins_with",
                            "contains",
                            "size",
                        ];
                        let why = if known.contains(&other) {
                            "The function is not allowed in an update expression"
                        } else {
                            "Invalid function name"
                        };
                        return Err(self.tokens.invalid(format!("{why}; function: {other}")));
                    }
                };
                self.tokens.expect(")")?;
                Ok(call)
            }
            (_, _) => self.placeholders.path(self.tokens).map(Term::Path),
        }
    }

    /// An operand of a function: what nests no deeper than one more function.
    fn flat(&mut self) -> Result<Term, Invalid> {
        let nested =
            matches!((self.tokens.peek(), self.tokens.peek_at(1)), (Some(Token::Word(_)), Some(Token::Sign("("))));
        if nested || !matches!(self.tokens.peek(), Some(Token::Sign("("))) {
            return self.term();
        }
        Err(self.tokens.unexpected())
    }
}
