//! The spans around an invocation and its records, and what they are called in a log: with the feature `logging` those of
//! [`crate::logging`], without it nothing.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use tracing::Span;

use super::Record;
use crate::Answer;

/// Most characters of an id of the body that are logged.
const LONGEST: usize = 64;

/// What the CloudEvent in a body says of itself. Empty for any other body: nothing else of it is looked at.
#[derive(Deserialize, Default)]
#[cfg_attr(not(feature = "logging"), allow(dead_code, reason = "only spans carry all of it"))]
pub(super) struct Story<'b> {
    #[serde(borrow, default)]
    subject: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    correlationid: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    causationid: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    traceparent: Option<Cow<'b, str>>,
}

impl<'b> Story<'b> {
    pub(super) fn of(body: &'b str) -> Self {
        serde_json::from_str(body).unwrap_or_default()
    }

    /// Its subject, cut.
    pub(super) fn subject(&self) -> Option<&str> {
        cut(self.subject.as_deref())
    }
}

/// The beginning: an id is short, and what is not was written by somebody else.
fn cut(text: Option<&str>) -> Option<&str> {
    let text = text?;
    text.char_indices().nth(LONGEST).and_then(|(at, _)| text.get(..at)).or(Some(text))
}

/// A record's span on its way.
#[derive(Default)]
enum Kept {
    #[default]
    None,
    /// Whatever becomes of it: if it ends as a failure, that is one.
    Open(Span),
    /// The handler put it off: no failure.
    Deferred(Span),
}

/// The spans of a batch's records. One is kept until its record's end is known: what it owes may not be sent, it may run
/// out of time, and only then is it known whether its held lines are wanted. A success that owes nothing ends at once.
pub(super) struct Spans<'s> {
    queue: &'s str,
    kept: Vec<Mutex<Kept>>,
}

impl<'s> Spans<'s> {
    /// For so many records of this queue.
    pub(super) fn new(queue: &'s str, records: usize) -> Self {
        Self { queue, kept: std::iter::repeat_with(Mutex::default).take(records).collect() }
    }

    /// Opens the span of the record at this place.
    pub(super) fn open(&self, place: usize, record: &Record) -> Span {
        let span = record_span(record, self.queue);
        self.put(place, Kept::Open(span.clone()));
        span
    }

    /// What the handler answered.
    pub(super) fn answered(&self, place: usize, answer: &Answer) {
        match answer {
            Ok(done) if done.owes.is_empty() => {
                self.put(place, Kept::None);
            }
            Err(failure) if failure.is_deferral() => {
                if let Kept::Open(span) = self.put(place, Kept::None) {
                    self.put(place, Kept::Deferred(span));
                }
            }
            Ok(_) | Err(_) => {}
        }
    }

    /// Ends the span of a record that fails in this way, or of one that does not, and answers it: lines about the end belong
    /// to it. A deferral by the handler is no failure; that the time ran out, or that a dead letter was needed, is one.
    pub(super) fn end(&self, place: usize, failed: Option<&'static str>) -> Span {
        match (self.put(place, Kept::None), failed) {
            (Kept::Open(span), Some(kind)) => {
                fail(&span, kind);
                span
            }
            (Kept::Open(span) | Kept::Deferred(span), _) => span,
            (Kept::None, _) => Span::none(),
        }
    }

    fn put(&self, place: usize, new: Kept) -> Kept {
        let Some(kept) = self.kept.get(place) else { return Kept::None };
        std::mem::replace(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner), new)
    }
}

#[cfg(feature = "logging")]
mod with {
    use std::future::Future;
    use std::time::Duration;

    use tracing::Span;

    use super::{Story, cut};
    use crate::batch::{BatchError, Invocation, Record};
    use crate::logging::{self, InvocationIds, RecordIds};

    pub(super) fn record_span(record: &Record, queue: &str) -> Span {
        let story = Story::of(&record.body);
        logging::record_span(&RecordIds {
            message_id: &record.message_id,
            receive_count: record.context.receive_count,
            queue,
            subject: story.subject(),
            correlation_id: cut(story.correlationid.as_deref()),
            causation_id: cut(story.causationid.as_deref()),
            traceparent: story.traceparent.as_deref(),
            aws_trace_header: record.aws_trace_header.as_deref(),
        })
    }

    pub(super) fn fail(span: &Span, kind: &'static str) {
        logging::fail(span, kind);
    }

    /// Runs an invocation's work inside its span, unless whoever called has entered one ([`crate::serve`] does).
    pub(in crate::batch) async fn invocation<T>(
        of: &Invocation,
        now_ms: impl FnOnce() -> u64,
        work: impl Future<Output = Result<T, BatchError>>,
    ) -> Result<T, BatchError> {
        if logging::in_invocation() {
            return work.await;
        }
        let ids = InvocationIds {
            request_id: &of.request_id,
            cold_start: of.cold_start,
            trigger: "pubsub",
            ..InvocationIds::default()
        };
        let failed = |answer: &Result<T, BatchError>| answer.as_ref().err().map(|_| "batch");
        let left = || Duration::from_millis(of.deadline_ms.saturating_sub(now_ms()));
        logging::invocation(&ids, work, failed, left).await
    }
}

#[cfg(not(feature = "logging"))]
mod with {
    use std::future::Future;

    use tracing::Span;

    use crate::batch::{BatchError, Invocation, Record};

    pub(super) fn record_span(record: &Record, _: &str) -> Span {
        tracing::info_span!("record", message_id = record.message_id, receive_count = record.context.receive_count)
    }

    pub(super) fn fail(_: &Span, _: &'static str) {}

    pub(in crate::batch) async fn invocation<T>(
        _: &Invocation,
        _: impl FnOnce() -> u64,
        work: impl Future<Output = Result<T, BatchError>>,
    ) -> Result<T, BatchError> {
        work.await
    }
}

pub(super) use with::invocation;
use with::{fail, record_span};
