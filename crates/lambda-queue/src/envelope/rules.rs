//! What CloudEvents asks of attributes.

use super::shape::ShapeError;
use super::{Envelope, Extension};

/// Most further extensions.
pub(super) const MOST_EXTENSIONS: usize = 64;
/// Longest attribute value, bytes. CloudEvents sets no limit; a message has to have one.
const LONGEST_VALUE: usize = 8 * 1024;
/// Longest attribute name. CloudEvents advises 20.
const LONGEST_NAME: usize = 64;

/// Why something is no CloudEvent of ours. It never quotes the body: attributes are named only where they are known ones,
/// and of the data no more than [`ShapeError`] says.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// More bytes than a message may have.
    #[error("{bytes} bytes, {most} are allowed")]
    Oversize {
        /// What it has.
        bytes: usize,
        /// What it may have.
        most: usize,
    },
    /// No JSON.
    #[error("no JSON ({what}, at line {line}, column {column})")]
    Json {
        /// In serde_json's words, which quote nothing: `expected value`, `trailing characters`. However a body is cut short, it is
        /// `it ends too early`.
        what: String,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// One key twice in one object, anywhere in the body.
    #[error("a key stands twice in one object (line {line}, column {column})")]
    DuplicateKey {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// JSON, but no object.
    #[error("not an object")]
    NotAnObject,
    /// `specversion` is not `1.0`.
    #[error("not CloudEvents 1.0")]
    Spec,
    /// A required attribute is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// An attribute is of the wrong type, empty, or not made as its type asks.
    #[error("{0} is not what it has to be")]
    Invalid(&'static str),
    /// A name that is not made of lower-case letters and digits.
    #[error("an extension's name is not of 1 to 64 lower-case letters and digits, or is reserved")]
    ExtensionName,
    /// An extension that is no text, integer of 32 bits or truth value.
    #[error("an extension's value is not what it has to be")]
    ExtensionValue,
    /// Too many extensions.
    #[error("too many extensions")]
    Extensions,
    /// `data` and `data_base64` both, or binary where JSON is needed.
    #[error("the data is not given as it has to be")]
    DataForm,
    /// The data is not of the expected type.
    #[error("the data is not of the expected shape: {0}")]
    Data(ShapeError),
    /// The data cannot be written as JSON.
    #[error("the data cannot be written as JSON")]
    Unwritable,
}

impl EnvelopeError {
    /// A short code for dead letters: `envelope_duplicate_key`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Oversize { .. } => "envelope_oversize",
            Self::Json { .. } => "envelope_json",
            Self::DuplicateKey { .. } => "envelope_duplicate_key",
            Self::NotAnObject => "envelope_not_an_object",
            Self::Spec => "envelope_spec",
            Self::Missing(_) => "envelope_missing",
            Self::Invalid(_) => "envelope_invalid",
            Self::ExtensionName | Self::ExtensionValue | Self::Extensions => "envelope_extension",
            Self::DataForm | Self::Data(_) => "envelope_data",
            Self::Unwritable => "envelope_unwritable",
        }
    }
}

impl From<EnvelopeError> for crate::Failure {
    /// Poison: what is no message will never be one.
    fn from(error: EnvelopeError) -> Self {
        Self::Poison { reason: format!("{}: {error}", error.code()) }
    }
}

/// Names that are no extension's.
pub(super) const OWN: [&str; 16] = [
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "dataschema",
    "datacontenttype",
    "traceparent",
    "tracestate",
    "correlationid",
    "causationid",
    "lane",
    "tenant",
    "data",
    "data_base64",
];

impl<T> Envelope<T> {
    /// Whether the attributes are what CloudEvents asks.
    pub fn validate(&self) -> Result<(), EnvelopeError> {
        rule("id", Some(&self.id), |_| true)?;
        rule("source", Some(&self.source), is_uri_reference)?;
        rule("type", Some(&self.kind), |_| true)?;
        rule("subject", self.subject.as_ref(), |_| true)?;
        rule("time", self.time.as_ref(), is_rfc3339)?;
        rule("dataschema", self.dataschema.as_ref(), |uri| is_uri_reference(uri) && has_scheme(uri))?;
        rule("datacontenttype", self.datacontenttype.as_ref(), is_media_type)?;
        rule("traceparent", self.traceparent.as_ref(), |_| true)?;
        rule("tracestate", self.tracestate.as_ref(), |_| true)?;
        rule("correlationid", self.correlationid.as_ref(), |_| true)?;
        rule("causationid", self.causationid.as_ref(), |_| true)?;
        rule("lane", self.lane.as_ref(), |_| true)?;
        rule("tenant", self.tenant.as_ref(), |_| true)?;
        if self.extensions.len() > MOST_EXTENSIONS {
            return Err(EnvelopeError::Extensions);
        }
        for (name, value) in &self.extensions {
            if !is_name(name) || OWN.contains(&name.as_str()) {
                return Err(EnvelopeError::ExtensionName);
            }
            match value {
                Extension::Text(text) if !is_text(text) => return Err(EnvelopeError::ExtensionValue),
                Extension::Text(_) | Extension::Integer(_) | Extension::Bool(_) => {}
            }
        }
        Ok(())
    }
}

/// A known attribute: where it is given, it is not empty, a CloudEvents string, and made as its type asks.
fn rule(name: &'static str, value: Option<&String>, made: fn(&str) -> bool) -> Result<(), EnvelopeError> {
    let holds = value.is_none_or(|text| !text.is_empty() && is_text(text) && made(text));
    holds.then_some(()).ok_or(EnvelopeError::Invalid(name))
}

fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// CloudEvents' String: no control characters (C0, DEL, C1), no noncharacters.
fn is_text(text: &str) -> bool {
    let noncharacter = |c: char| matches!(u32::from(c), 0xfdd0..=0xfdef) || u32::from(c) & 0xfffe == 0xfffe;
    text.len() <= LONGEST_VALUE && !text.chars().any(|c| c.is_control() || noncharacter(c))
}

/// RFC 3986, as far as its characters go.
fn is_uri_reference(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && !br#""<>\^`{|}"#.contains(&byte))
}

fn has_scheme(uri: &str) -> bool {
    uri.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
    })
}

/// RFC 2046: `type/subtype`, parameters after it.
fn is_media_type(text: &str) -> bool {
    let token = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    let essence = text.split(';').next().unwrap_or_default().trim_end();
    essence.split_once('/').is_some_and(|(kind, subtype)| token(kind) && token(subtype))
}

/// RFC 3339 `date-time`: its form here, its calendar by jiff.
fn is_rfc3339(text: &str) -> bool {
    let mut rest = text.as_bytes();
    let mut take = |form: &[u8]| {
        let Some((head, tail)) = rest.split_at_checked(form.len()) else { return false };
        let fits = head.iter().zip(form).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            b'T' => matches!(byte, b'T' | b't'),
            _ => byte == form,
        });
        rest = if fits { tail } else { rest };
        fits
    };
    if !take(b"0000-00-00T00:00:00") {
        return false;
    }
    if take(b".0") {
        while take(b"0") {}
    }
    // `0` stands for any digit: these are all offsets.
    let zone = take(b"Z") || take(b"z") || take(b"+00:00") || take(b"-00:00");
    zone && rest.is_empty() && text.to_ascii_uppercase().parse::<jiff::Timestamp>().is_ok()
}
