//! The words of an expression.

use super::Invalid;

/// The longest expression, bytes.
const LONGEST: usize = 4_096;

/// One word.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Token {
    /// A name or keyword, as written.
    Word(String),
    /// `#name`.
    Name(String),
    /// `:value`.
    Value(String),
    /// Digits.
    Digits(String),
    /// An operator or bracket.
    Sign(&'static str),
}

impl Token {
    pub fn text(&self) -> &str {
        match self {
            Self::Word(text) | Self::Name(text) | Self::Value(text) | Self::Digits(text) => text,
            Self::Sign(text) => text,
        }
    }
}

const SIGNS: [&str; 15] = ["<>", "<=", ">=", "=", "<", ">", "(", ")", "[", "]", ",", ".", "+", "-", "*"];

/// The words of one expression, read from the front.
#[derive(Clone, Debug)]
pub(super) struct Tokens {
    /// Which parameter of the request it is, for errors.
    what: &'static str,
    words: Vec<Token>,
    at: usize,
}

impl Tokens {
    /// Splits an expression into words.
    pub fn of(what: &'static str, expression: &str) -> Result<Self, Invalid> {
        let fail = |why: String| Invalid(format!("Invalid {what}: {why}"));
        if expression.trim().is_empty() {
            return Err(fail("The expression can not be empty;".to_owned()));
        }
        if expression.len() > LONGEST {
            return Err(fail("Expression size has exceeded the maximum allowed size;".to_owned()));
        }
        let mut words = Vec::new();
        let mut rest = expression.trim_start();
        while let Some(first) = rest.chars().next() {
            let (token, length) = if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
                (Token::Sign(sign), sign.len())
            } else {
                let marked = usize::from(matches!(first, '#' | ':'));
                let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
                // After `#` a name may hold a dash or a dot neither way: letters, digits, underscores.
                let body = rest.get(marked..).unwrap_or_default();
                let length = marked.saturating_add(body.find(|c| !part(c)).unwrap_or(body.len()));
                let word = rest.get(..length).unwrap_or_default().to_owned();
                if word.len() == marked {
                    return Err(fail(format!("Syntax error; token: \"{first}\", near: \"{}\"", near(rest))));
                }
                let token = match first {
                    '#' => Token::Name(word),
                    ':' => Token::Value(word),
                    '0'..='9' if word.bytes().all(|byte| byte.is_ascii_digit()) => Token::Digits(word),
                    _ => Token::Word(word),
                };
                (token, length)
            };
            words.push(token);
            rest = rest.get(length..).unwrap_or_default().trim_start();
        }
        Ok(Self { what, words, at: 0 })
    }

    /// An error of this expression.
    pub fn invalid(&self, why: impl AsRef<str>) -> Invalid {
        Invalid(format!("Invalid {}: {}", self.what, why.as_ref()))
    }

    /// What is next stands where it cannot.
    pub fn unexpected(&self) -> Invalid {
        let token = self.peek().map_or("<EOF>", Token::text).to_owned();
        let from = self.at.saturating_sub(1);
        let near: Vec<&str> = self.words.iter().skip(from).take(3).map(Token::text).collect();
        self.invalid(format!("Syntax error; token: \"{token}\", near: \"{}\"", near.join(" ")))
    }

    pub fn peek(&self) -> Option<&Token> {
        self.words.get(self.at)
    }

    pub fn peek_at(&self, ahead: usize) -> Option<&Token> {
        self.words.get(self.at.saturating_add(ahead))
    }

    pub fn next(&mut self) -> Option<Token> {
        let token = self.words.get(self.at).cloned();
        self.at = self.at.saturating_add(1);
        token
    }

    /// Takes this sign if it is next.
    pub fn take(&mut self, sign: &str) -> bool {
        let there = matches!(self.peek(), Some(Token::Sign(next)) if *next == sign);
        if there {
            self.at = self.at.saturating_add(1);
        }
        there
    }

    /// Takes this sign; anything else is a syntax error.
    pub fn expect(&mut self, sign: &str) -> Result<(), Invalid> {
        if self.take(sign) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Whether this keyword is next; its case does not matter.
    pub fn is_keyword(&self, keyword: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(word)) if word.eq_ignore_ascii_case(keyword))
    }

    /// Takes this keyword if it is next.
    pub fn take_keyword(&mut self, keyword: &str) -> bool {
        let there = self.is_keyword(keyword);
        if there {
            self.at = self.at.saturating_add(1);
        }
        there
    }

    /// Nothing may be left.
    pub fn end(&self) -> Result<(), Invalid> {
        if self.peek().is_none() { Ok(()) } else { Err(self.unexpected()) }
    }
}

fn near(rest: &str) -> String {
    rest.chars().take(12).collect()
}
