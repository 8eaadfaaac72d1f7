//! The spans of an invocation and of a record: what a line inside them carries, and what is exported.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::{Dispatch, Instrument as _, Span, field, info_span, span};
use tracing_subscriber::Registry;
use tracing_subscriber::registry::LookupSpan as _;

use super::held::{Held, LetOut};
use super::layer::{Lines, RecordFailed, Trace};
use crate::envelope::TraceParent;

pub(super) const TARGET: &str = "lambda_queue::logging::span";
pub(super) const INVOCATION: &str = "invocation";
pub(super) const RECORD: &str = "record";

/// An invocation, for its span.
#[derive(Clone, Copy, Default, Debug)]
pub struct InvocationIds<'a> {
    /// Lambda's request id.
    pub request_id: &'a str,
    /// Whether it is the process's first.
    pub cold_start: bool,
    /// X-Ray's header for this invocation: `Context::xray_trace_id` of the Lambda runtime.
    pub xray_trace: Option<&'a str>,
    /// `faas.trigger`: `pubsub` for a queue, stream or topic, `http`, `timer`. Empty is left out.
    pub trigger: &'a str,
}

/// A record of a batch, for its span. What is `None` is not on its lines.
#[derive(Clone, Copy, Default, Debug)]
pub struct RecordIds<'a> {
    /// SQS's message id.
    pub message_id: &'a str,
    /// `ApproximateReceiveCount`.
    pub receive_count: u32,
    /// The queue's name.
    pub queue: &'a str,
    /// What the message is about: of a CloudEvent its `subject`. [`Settings::subject_name`](super::Settings::subject_name) is
    /// what lines and exported spans call it.
    pub subject: Option<&'a str>,
    /// The story it belongs to.
    pub correlation_id: Option<&'a str>,
    /// The message that brought it about.
    pub causation_id: Option<&'a str>,
    /// W3C trace context of the sender.
    pub traceparent: Option<&'a str>,
    /// X-Ray's, the system attribute `AWSTraceHeader`. Read where there is no `traceparent`.
    pub aws_trace_header: Option<&'a str>,
}

/// The span of an invocation. Whatever runs inside it (`work.instrument(span)`) logs with its ids, and its debug lines
/// are held back until [`fail`] or [`end`]. Exported, it is one of kind `server`, named by the function.
///
/// X-Ray's context is its parent where X-Ray samples the request; where it does not, it would silence the whole trace,
/// and only names the trace.
///
/// Source: <https://opentelemetry.io/docs/specs/semconv/faas/aws-lambda/>
pub fn invocation_span(of: &InvocationIds<'_>) -> Span {
    let function = std::env::var("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default();
    let span = info_span!(
        target: TARGET,
        INVOCATION,
        otel.name = if function.is_empty() { INVOCATION } else { &function },
        otel.kind = "server",
        otel.status_code = field::Empty,
        "error.type" = field::Empty,
        faas.invocation_id = of.request_id,
        faas.coldstart = of.cold_start,
        faas.trigger = some(of.trigger),
    );
    let remote = of.xray_trace.and_then(xray);
    trace(&span, remote, remote.is_some_and(TraceParent::is_sampled));
    span
}

/// The span of one record. Make it inside the invocation's: that is its parent. Where the message brings a trace context
/// that continues, so that one trace tells the whole way of an order, and is linked to the invocation.
///
/// Exported, it is one of kind `consumer`, named `process <queue>`, with the attributes of OpenTelemetry's conventions.
///
/// Source: <https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/>,
/// <https://opentelemetry.io/docs/specs/semconv/messaging/sqs/>
pub fn record_span(of: &RecordIds<'_>) -> Span {
    let span = info_span!(
        target: TARGET,
        RECORD,
        otel.name = format_args!("process {}", of.queue),
        otel.kind = "consumer",
        otel.status_code = field::Empty,
        "error.type" = field::Empty,
        messaging.system = "aws_sqs",
        messaging.operation.name = "process",
        "messaging.operation.type" = "process",
        messaging.destination.name = of.queue,
        messaging.message.id = of.message_id,
        messaging.message.conversation_id = of.correlation_id,
        receive_count = of.receive_count,
        cloudevents.event_subject = of.subject,
        correlation_id = of.correlation_id,
        causation_id = of.causation_id,
    );
    let w3c = of.traceparent.and_then(|header| header.trim().parse::<TraceParent>().ok());
    let from_header = w3c.is_none();
    let remote = w3c.or_else(|| of.aws_trace_header.and_then(xray));
    let continues = remote.is_some_and(|remote| remote.is_sampled() || !from_header);
    trace(&span, remote, continues);
    span
}

/// Runs an invocation's work inside its span. Afterwards: where `failed` names a kind of failure, or the work panics or
/// is cancelled, the held lines are let out; the buffer is freed; and finished spans are exported, which takes at most a
/// second and a quarter of what `left` says is left of the invocation.
pub async fn invocation<T>(
    of: &InvocationIds<'_>,
    work: impl Future<Output = T>,
    failed: impl FnOnce(&T) -> Option<&'static str>,
    left: impl FnOnce() -> Duration,
) -> T {
    let mut ending = Ending { span: invocation_span(of), known: false };
    let answer = work.instrument(ending.span.clone()).await;
    if let Some(kind) = failed(&answer) {
        fail(&ending.span, kind);
    }
    ending.known = true;
    drop(ending);
    flush(left()).await;
    answer
}

/// Ends the invocation also where its work never came to an end.
struct Ending {
    span: Span,
    known: bool,
}

impl Drop for Ending {
    fn drop(&mut self) {
        if !self.known {
            fail(&self.span, if std::thread::panicking() { "panic" } else { "cancelled" });
        }
        end(&self.span);
    }
}

/// Says that what this span stands for has failed, and how: a word of few, such as `retry`. An invocation's held lines
/// are let out, all of them; a record's, its own, where the policy says so. What it logs at debug from here on goes out
/// at once.
pub fn fail(span: &Span, kind: &'static str) {
    span.record("otel.status_code", "ERROR").record("error.type", kind);
    let dropped = span.with_subscriber(|(id, dispatch)| let_out(id, dispatch)).unwrap_or_default();
    if dropped > 0 {
        tracing::warn!(parent: span, dropped, "held debug lines were dropped: the buffer is bounded");
    }
}

fn let_out(id: &span::Id, dispatch: &Dispatch) -> u64 {
    let Some((lines, registry)) = dispatch.downcast_ref::<Lines>().zip(dispatch.downcast_ref::<Registry>()) else {
        return 0;
    };
    let Some(span) = registry.span(id) else { return 0 };
    let (whole, record) = {
        let extensions = span.extensions();
        let record = extensions.get::<RecordFailed>();
        if let Some(failed) = record {
            failed.0.store(true, Ordering::Relaxed);
        }
        (extensions.get::<Arc<Held>>().cloned(), record.is_some())
    };
    if let Some(held) = whole {
        return held.let_out(&lines.sink);
    }
    if !record || lines.let_out != LetOut::Record {
        return 0;
    }
    let held = span.scope().skip(1).find_map(|outer| outer.extensions().get::<Arc<Held>>().cloned());
    held.map_or(0, |held| held.let_out_record(id.into_u64(), &lines.sink))
}

/// Says that an invocation is over: its held lines are gone, and whatever it left running holds nothing.
pub fn end(span: &Span) {
    let held = span.with_subscriber(|(id, dispatch)| {
        let registry = dispatch.downcast_ref::<Registry>()?;
        registry.span(id)?.extensions().get::<Arc<Held>>().cloned()
    });
    if let Some(held) = held.flatten() {
        held.end();
    }
}

/// The `traceparent` for a message that is sent now: that of the record or invocation around it, if there is one.
///
/// Without an exporter it is the one that came in: no span of ours stands between.
pub fn current_traceparent() -> Option<String> {
    Span::current()
        .with_subscriber(|(id, dispatch)| {
            let registry = dispatch.downcast_ref::<Registry>()?;
            let mut scope = registry.span(id)?.scope();
            scope.find_map(|span| span.extensions().get::<Trace>().map(|trace| trace.traceparent.clone()))
        })
        .flatten()
}

/// Whether an invocation's span is around.
pub(crate) fn in_invocation() -> bool {
    let around = |(id, dispatch): (&span::Id, &Dispatch)| {
        let registry = dispatch.downcast_ref::<Registry>()?;
        Some(registry.span(id)?.scope().any(|span| span.extensions().get::<Arc<Held>>().is_some()))
    };
    Span::current().with_subscriber(around).flatten().unwrap_or_default()
}

/// Exports the spans that have ended, in at most a second and at most a quarter of `left`. Without an endpoint, or
/// without the feature `otlp`, there is nothing to do.
#[cfg(feature = "otlp")]
pub async fn flush(left: Duration) {
    let exporter = tracing::dispatcher::get_default(|dispatch| {
        dispatch.downcast_ref::<Lines>().and_then(|lines| lines.exporter.clone())
    });
    if let Some(exporter) = exporter {
        exporter.flush(left).await;
    }
}

/// Exports the spans that have ended: without the feature `otlp` there are none.
#[cfg(not(feature = "otlp"))]
pub async fn flush(_: Duration) {}

fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// X-Ray's header, where it names a parent: Lambda's does not, where nothing above recorded the request.
fn xray(header: &str) -> Option<TraceParent> {
    TraceParent::from_xray(header).ok()
}

/// Notes the trace that a span belongs to. `continues`: the remote context is its parent.
#[cfg_attr(not(feature = "otlp"), expect(unused_variables, reason = "only an exported span has a parent"))]
fn trace(span: &Span, remote: Option<TraceParent>, continues: bool) {
    #[cfg(feature = "otlp")]
    let ours = crate::otlp::adopt(span, remote, continues);
    #[cfg(not(feature = "otlp"))]
    let ours: Option<TraceParent> = None;
    let Some(trace) = ours.or(remote) else { return };
    let trace = Trace { trace_id: format!("{:032x}", trace.trace_id()), traceparent: trace.to_string() };
    span.with_subscriber(|(id, dispatch)| {
        if let Some(span) = dispatch.downcast_ref::<Registry>().and_then(|registry| registry.span(id)) {
            span.extensions_mut().replace(trace);
        }
    });
}
