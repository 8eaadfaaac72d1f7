//! One line: fields gathered from an event and its spans, each name once, in an order that does not change.

use std::borrow::Cow;
use std::error::Error;
use std::fmt::{self, Write as _};
use std::io::Write as _;

use tracing::field::{Field, Visit};

use super::deny::Denied;
use super::text::{CUT, string};
use crate::redacted::REDACTED;

/// Most bytes of a line, its end included.
pub(super) const LINE_MAX: usize = 64 * 1024;
/// Of them, kept for what says that something is missing.
const TAIL: usize = 64;

/// Where values stand that every line of an invocation or a record has, after the head and before all others. The third is
/// called as [`Settings::subject_name`](super::Settings::subject_name) says.
const KNOWN: [&str; 10] = [
    "request_id",
    "cold_start",
    SUBJECT_NAME,
    "correlation_id",
    "causation_id",
    "trace_id",
    "xray_trace_id",
    "message_id",
    "receive_count",
    "queue",
];
pub(super) const REQUEST_ID: usize = 0;
const SUBJECT: usize = 2;
const TRACE_ID: usize = 5;

/// What a record is about, unless the settings have another name for it.
pub(super) const SUBJECT_NAME: &str = "subject";
/// The field of it on a record's span: OpenTelemetry's name for the subject of a CloudEvent.
pub(crate) const SUBJECT_FIELD: &str = "cloudevents.event_subject";

/// Names that the line has of itself: a field that is called so gets `field_` before its name.
const RESERVED: [&str; 7] =
    ["timestamp", "level", "message", "service", "function", "function_version", "fields_left_out"];

/// Whether a line has a field of this name anyway, so that its subject cannot be called so.
pub(super) fn is_taken(name: &str) -> bool {
    RESERVED.contains(&name) || known(name, SUBJECT_NAME).is_some_and(|place| place != SUBJECT)
}

/// The known place of a field. Spans carry OpenTelemetry's names, and those of `lambda_runtime`.
fn known(name: &str, subject: &str) -> Option<usize> {
    Some(match name {
        "request_id" | "faas.invocation_id" | "requestId" => REQUEST_ID,
        "cold_start" | "faas.coldstart" => 1,
        SUBJECT_FIELD => SUBJECT,
        "correlation_id" => 3,
        "causation_id" => 4,
        "trace_id" => TRACE_ID,
        "xray_trace_id" | "xrayTraceId" => 6,
        "message_id" | "messaging.message.id" => 7,
        "receive_count" => 8,
        "queue" | "messaging.destination.name" => 9,
        name if name == subject => SUBJECT,
        _ => return None,
    })
}

/// What spans carry for their export and every line would only repeat.
fn only_exported(name: &str) -> bool {
    ["otel.", "messaging.", "faas."].iter().any(|prefix| name.starts_with(prefix)) || name == "error.type"
}

/// From where to where, in [`Fields::bytes`].
type At = (usize, usize);

/// Values as JSON, by name.
#[derive(Default)]
pub(super) struct Fields {
    bytes: Vec<u8>,
    message: Option<At>,
    known: [Option<At>; KNOWN.len()],
    rest: Vec<(&'static str, At)>,
}

impl Fields {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        // A line with long values must not keep its memory for good.
        self.bytes.shrink_to(LINE_MAX);
        self.message = None;
        self.known = Default::default();
        self.rest.clear();
    }

    /// A known value, as JSON.
    pub(super) fn get(&self, known: usize) -> Option<&[u8]> {
        self.known.get(known).copied().flatten().and_then(|at| self.value(at))
    }

    /// Takes over what an outer span has and this has not.
    pub(super) fn inherit(&mut self, outer: &Self) {
        for (known, at) in outer.known.iter().enumerate() {
            if let (Some(None), Some(value)) = (self.known.get(known), at.and_then(|at| outer.value(at))) {
                self.set_known(known, value);
            }
        }
        for (name, at) in &outer.rest {
            if let (false, Some(value)) = (self.rest.iter().any(|(have, _)| have == name), outer.value(*at)) {
                let at = self.append(value);
                self.rest.push((name, at));
            }
        }
    }

    /// The trace, unless a field has said it.
    pub(super) fn trace_id(&mut self, trace_id: &str) {
        if self.get(TRACE_ID).is_none() {
            let value = [b"\"", trace_id.as_bytes(), b"\""].concat();
            self.set_known(TRACE_ID, &value);
        }
    }

    fn set_known(&mut self, known: usize, value: &[u8]) {
        let at = self.append(value);
        if let Some(slot) = self.known.get_mut(known) {
            *slot = Some(at);
        }
    }

    fn append(&mut self, value: &[u8]) -> At {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(value);
        (from, self.bytes.len())
    }

    fn value(&self, (from, to): At) -> Option<&[u8]> {
        self.bytes.get(from..to)
    }
}

/// Fills [`Fields`] from an event or a span.
pub(super) struct Gather<'a> {
    pub(super) fields: &'a mut Fields,
    pub(super) denied: &'a Denied,
    /// What the subject is called.
    pub(super) subject: &'a str,
    /// A span has no message, and carries what is only exported.
    pub(super) of_span: bool,
    /// A later value replaces an earlier one: of `Span::record`.
    pub(super) replace: bool,
}

impl Gather<'_> {
    fn put(&mut self, field: &Field, write: impl FnOnce(&mut Vec<u8>)) {
        let name = field.name();
        let place = known(name, self.subject);
        if self.of_span && place.is_none() && only_exported(name) {
            return;
        }
        let fields = &mut *self.fields;
        let from = fields.bytes.len();
        if self.denied.denies(if name == SUBJECT_FIELD { self.subject } else { name }) {
            string(&mut fields.bytes, |text| text.write_str(REDACTED));
        } else {
            write(&mut fields.bytes);
        }
        let at = (from, fields.bytes.len());
        if name == "message" && !self.of_span {
            fields.message.get_or_insert(at);
        } else if let Some(slot) = place.and_then(|place| fields.known.get_mut(place)) {
            if slot.is_none() || self.replace {
                *slot = Some(at);
            }
        } else if let Some((_, have)) = fields.rest.iter_mut().find(|(have, _)| *have == name) {
            if self.replace {
                *have = at;
            }
        } else {
            fields.rest.push((name, at));
        }
    }

    fn number(&mut self, field: &Field, number: fmt::Arguments<'_>) {
        // Writing to memory does not fail.
        self.put(field, |out| out.write_fmt(number).unwrap_or_default());
    }

    fn text(&mut self, field: &Field, shown: fmt::Arguments<'_>) {
        self.put(field, |out| string(out, |text| text.write_fmt(shown)));
    }
}

impl Visit for Gather<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, |out| string(out, |text| text.write_str(value)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format_args!("{value:?}"));
    }

    /// An error and its causes, joined by `: `.
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.put(field, |out| {
            string(out, |text| {
                write!(text, "{value}")?;
                // Bounded by the length of the value, also where an error is its own cause.
                let mut cause = value.source();
                while let Some(error) = cause {
                    write!(text, ": {error}")?;
                    cause = error.source();
                }
                Ok(())
            });
        });
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.number(field, format_args!("{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field, format_args!("{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field, format_args!("{value}"));
    }

    /// A number where every reader of JSON reads it exactly, else text.
    fn record_i128(&mut self, field: &Field, value: i128) {
        match i64::try_from(value) {
            Ok(value) => self.record_i64(field, value),
            Err(_) => self.text(field, format_args!("{value}")),
        }
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        match u64::try_from(value) {
            Ok(value) => self.record_u64(field, value),
            Err(_) => self.text(field, format_args!("{value}")),
        }
    }

    /// JSON has no infinity and no NaN: those are text.
    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.number(field, format_args!("{value:?}"));
        } else {
            self.text(field, format_args!("{value}"));
        }
    }
}

/// Memory that a thread uses for line after line.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) fields: Fields,
    pub(super) line: Vec<u8>,
    second: u64,
    second_text: String,
}

impl Scratch {
    /// Writes the line into `self.line`.
    pub(super) fn write(&mut self, at_ms: u64, level: &'static str, name: &str, head: &[u8], subject: &str) {
        let Self { fields, line, second, second_text } = self;
        if *second != at_ms / 1_000 || second_text.is_empty() {
            *second = at_ms / 1_000;
            *second_text = crate::envelope::rfc3339(at_ms);
            // Up to and with the point: `2026-11-23T09:30:00.`
            second_text.truncate(second_text.len().saturating_sub(4));
        }
        line.clear();
        line.shrink_to(LINE_MAX);
        line.extend_from_slice(b"{\"timestamp\":\"");
        line.extend_from_slice(second_text.as_bytes());
        line.write_fmt(format_args!("{:03}Z\",\"level\":\"{level}\",\"message\":", at_ms % 1_000)).unwrap_or_default();
        match fields.message.and_then(|at| fields.value(at)) {
            Some(message) => line.extend_from_slice(message),
            None => string(line, |text| text.write_str(name)),
        }
        line.extend_from_slice(head);
        let mut left_out = 0_u64;
        for (place, (name, at)) in KNOWN.iter().zip(fields.known).enumerate() {
            let Some(value) = at.and_then(|at| fields.value(at)) else { continue };
            left_out += u64::from(!add(line, if place == SUBJECT { subject } else { *name }, value));
        }
        for (name, at) in &fields.rest {
            left_out += u64::from(!add(line, &unreserved(name), fields.value(*at).unwrap_or(b"null")));
        }
        if left_out > 0 {
            line.write_fmt(format_args!(",\"fields_left_out\":{left_out}")).unwrap_or_default();
        }
        line.extend_from_slice(b"}\n");
    }
}

/// Adds a field, or says that the line has no room for it.
fn add(line: &mut Vec<u8>, name: &str, value: &[u8]) -> bool {
    let before = line.len();
    line.push(b',');
    string(line, |text| text.write_str(name));
    line.push(b':');
    // A name that was cut could be the same as another.
    let fits = line.len() + value.len() + TAIL <= LINE_MAX && name.len() <= 256 && !line.ends_with(CUT.as_bytes());
    if fits {
        line.extend_from_slice(value);
    } else {
        line.truncate(before);
    }
    fits
}

/// A name that the line does not have of itself. Two names never become one.
fn unreserved(name: &str) -> Cow<'_, str> {
    let mut bare = name;
    while let Some(rest) = bare.strip_prefix("field_") {
        bare = rest;
    }
    // The aliases of known names are taken out before: they stand in their own places.
    if RESERVED.contains(&bare) { Cow::Owned(format!("field_{name}")) } else { Cow::Borrowed(name) }
}
