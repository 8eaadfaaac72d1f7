//! CloudEvents 1.0 in the JSON format, with the extensions that follow a message through the system; versions, W3C trace
//! context, sizes, and the claim check for what is too large.
//!
//! - [`Envelope`] is a message or an event. [`Envelope::parse`] reads strictly, [`Envelope::to_json`] writes only what it
//!   would read again. Errors never quote the body.
//! - [`Versions`] takes the current and the previous version, brings older ones up, and tells a newer one apart.
//! - [`TraceParent`] makes each hop a span of its own.
//! - [`size()`] counts as SQS does; [`ClaimCheck`] puts larger data into a bucket.
//!
//! Sources: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md> and
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>

use std::collections::BTreeMap;

use crate::Random;

mod claim;
mod rules;
mod shape;
mod size;
mod trace;
mod version;
mod wire;

pub use claim::{ClaimCheck, ClaimError};
pub use rules::EnvelopeError;
pub use shape::ShapeError;
pub(crate) use size::attribute_size;
pub use size::{MOST_ATTRIBUTES, MOST_BYTES, Oversize, check, size};
pub use trace::{TraceError, TraceParent, TraceState};
pub use version::{NEWER_RECEIVES, NEWER_WAITS_MS, VersionError, Versions, newer_version, split_version};
pub use wire::Payload;

/// A message or an event: CloudEvents' attributes, our extensions, further ones kept as they came, and its data.
///
/// `T` is the data's type: any that serde reads and writes, or [`Data`] where it is not known yet. JSON names are
/// CloudEvents' own (`kind` is `type`); `specversion` is always `1.0` and written by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Envelope<T> {
    /// With `source`, what makes a repeat a repeat. Not empty.
    pub id: String,
    /// Who says so: a URI reference, not empty.
    pub source: String,
    /// `type`: what it is, its version last: `orderflow.payment.authorize.v1`.
    pub kind: String,
    /// What it is about.
    pub subject: Option<String>,
    /// When it happened, RFC 3339.
    pub time: Option<String>,
    /// Where its schema is: a URI.
    pub dataschema: Option<String>,
    /// The media type of the data; JSON where it is missing.
    pub datacontenttype: Option<String>,
    /// Extension: where in which trace it was sent ([`TraceParent`]).
    pub traceparent: Option<String>,
    /// Extension: what tracing systems carry along ([`TraceState`]).
    pub tracestate: Option<String>,
    /// Extension: the whole story that this belongs to.
    pub correlationid: Option<String>,
    /// Extension: the message that brought this about.
    pub causationid: Option<String>,
    /// Extension: the priority lane.
    pub lane: Option<String>,
    /// Extension: whose it is.
    pub tenant: Option<String>,
    /// Further extensions, by name.
    pub extensions: BTreeMap<String, Extension>,
    /// The payload.
    pub data: T,
}

/// The value of an extension.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Extension {
    /// CloudEvents' Boolean.
    Bool(bool),
    /// CloudEvents' Integer.
    Integer(i32),
    /// CloudEvents' String, and all that is written as one: binary (base64), URI, timestamp.
    Text(String),
}

/// Data whose type is not known yet.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Data {
    /// There is none.
    #[default]
    None,
    /// `data`.
    Json(serde_json::Value),
    /// `data_base64`: bytes.
    Binary(Vec<u8>),
}

impl<T> Envelope<T> {
    /// A message of JSON data that follows from nothing: its story is its own id.
    pub fn new(id: impl Into<String>, source: impl Into<String>, kind: impl Into<String>, data: T) -> Self {
        let id = id.into();
        Self {
            correlationid: Some(id.clone()),
            id,
            source: source.into(),
            kind: kind.into(),
            subject: None,
            time: None,
            dataschema: None,
            datacontenttype: Some(JSON.to_owned()),
            traceparent: None,
            tracestate: None,
            causationid: None,
            lane: None,
            tenant: None,
            extensions: BTreeMap::new(),
            data,
        }
    }

    /// About this.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Happened then, UTC milliseconds.
    #[must_use]
    pub fn at(mut self, at_ms: u64) -> Self {
        self.time = Some(rfc3339(at_ms));
        self
    }

    /// The schema of its data.
    #[must_use]
    pub fn schema(mut self, uri: impl Into<String>) -> Self {
        self.dataschema = Some(uri.into());
        self
    }

    /// In this trace.
    #[must_use]
    pub fn trace(mut self, trace: TraceParent) -> Self {
        self.traceparent = Some(trace.to_string());
        self
    }

    /// A part of this story.
    #[must_use]
    pub fn correlation(mut self, id: impl Into<String>) -> Self {
        self.correlationid = Some(id.into());
        self
    }

    /// Brought about by the message of this id.
    #[must_use]
    pub fn causation(mut self, id: impl Into<String>) -> Self {
        self.causationid = Some(id.into());
        self
    }

    /// In this priority lane.
    #[must_use]
    pub fn lane(mut self, lane: impl Into<String>) -> Self {
        self.lane = Some(lane.into());
        self
    }

    /// Of this tenant.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// With a further extension.
    #[must_use]
    pub fn extension(mut self, name: impl Into<String>, value: Extension) -> Self {
        self.extensions.insert(name.into(), value);
        self
    }

    /// Brought about by `cause`: its story (its own id where it tells none), itself as the causation, its lane and
    /// tenant, and its trace with a span that this message's id always has there, so that a message which is made again is
    /// the same message. A trace context that cannot be read is left out, as W3C wants it.
    #[must_use]
    pub fn caused_by<C>(mut self, cause: &Envelope<C>) -> Self {
        self.traceparent = cause.trace_parent().map(|parent| parent.child_of(&self.id).to_string());
        self.follows(cause)
    }

    /// An answer to this message, with a span of its own by chance: for ids that are fresh each time anyway.
    pub fn reply<R>(
        &self,
        id: impl Into<String>,
        source: impl Into<String>,
        kind: impl Into<String>,
        data: R,
        random: &impl Random,
    ) -> Envelope<R> {
        let mut reply = Envelope::new(id, source, kind, data);
        reply.traceparent = self.trace_parent().map(|parent| parent.child(random).to_string());
        reply.follows(self)
    }

    fn follows<C>(mut self, cause: &Envelope<C>) -> Self {
        // A state without its parent means nothing.
        self.tracestate = self.traceparent.as_ref().and_then(|_| cause.trace_state()).map(|state| state.to_string());
        self.correlationid = Some(cause.correlationid.as_ref().unwrap_or(&cause.id).clone());
        self.causationid = Some(cause.id.clone());
        self.lane.clone_from(&cause.lane);
        self.tenant.clone_from(&cause.tenant);
        self
    }

    /// Where in which trace it was sent; `None` where that is missing or cannot be read.
    pub fn trace_parent(&self) -> Option<TraceParent> {
        self.traceparent.as_ref()?.parse().ok()
    }

    /// What tracing systems carry along; `None` where that is missing, empty or cannot be read.
    pub fn trace_state(&self) -> Option<TraceState> {
        self.tracestate.as_ref()?.parse().ok().filter(|state: &TraceState| !state.is_empty())
    }

    /// The name of its type and its version.
    pub fn version(&self) -> Option<(&str, u32)> {
        split_version(&self.kind)
    }

    /// The attributes alone.
    fn attributes(&self) -> Envelope<()> {
        Envelope {
            id: self.id.clone(),
            source: self.source.clone(),
            kind: self.kind.clone(),
            subject: self.subject.clone(),
            time: self.time.clone(),
            dataschema: self.dataschema.clone(),
            datacontenttype: self.datacontenttype.clone(),
            traceparent: self.traceparent.clone(),
            tracestate: self.tracestate.clone(),
            correlationid: self.correlationid.clone(),
            causationid: self.causationid.clone(),
            lane: self.lane.clone(),
            tenant: self.tenant.clone(),
            extensions: self.extensions.clone(),
            data: (),
        }
    }

    /// The same with other data.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Envelope<U> {
        Envelope {
            id: self.id,
            source: self.source,
            kind: self.kind,
            subject: self.subject,
            time: self.time,
            dataschema: self.dataschema,
            datacontenttype: self.datacontenttype,
            traceparent: self.traceparent,
            tracestate: self.tracestate,
            correlationid: self.correlationid,
            causationid: self.causationid,
            lane: self.lane,
            tenant: self.tenant,
            extensions: self.extensions,
            data: change(self.data),
        }
    }
}

/// The media type of JSON data.
const JSON: &str = "application/json";

/// UTC milliseconds as RFC 3339 with milliseconds: `2026-11-23T09:30:00.000Z`. A time that no calendar has is shown as
/// the epoch's start.
pub fn rfc3339(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    format!("{:.3}", at.unwrap_or(jiff::Timestamp::UNIX_EPOCH))
}
