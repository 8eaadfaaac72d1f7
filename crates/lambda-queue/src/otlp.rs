//! Spans to an OpenTelemetry collector, over OTLP/HTTP with protobuf, before the invocation answers: Lambda freezes the
//! process afterwards, so no background task could.
//!
//! It starts where `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` (used as it is) or `OTEL_EXPORTER_OTLP_ENDPOINT` (`/v1/traces`
//! is appended) is set, and neither `OTEL_SDK_DISABLED=true` nor `OTEL_TRACES_EXPORTER=none` is. Then
//! `OTEL_SERVICE_NAME` (else `service.name` of `OTEL_RESOURCE_ATTRIBUTES`, else `SERVICE_NAME`),
//! `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_EXPORTER_OTLP_HEADERS` and `..._TRACES_HEADERS`, and `OTEL_TRACES_SAMPLER` with its
//! `_ARG` hold, as the OpenTelemetry SDK reads them. Without an endpoint nothing starts and nothing is kept.
//!
//! **It never fails an invocation.** [`logging::flush`](crate::logging::flush) takes at most a second, and at most a
//! quarter of the time that is left. What fails is not tried again: its spans are gone, a warning says so at most once a
//! minute, and for ten seconds nobody tries, so that a collector that hangs costs the bound once, not in every
//! invocation. Spans wait in memory meanwhile, at most 2,048 of them; the oldest give way.
//!
//! Values of denied fields ([`logging::Denied`](crate::logging::Denied)) are not exported, and text is cut at 8 KiB.
//!
//! Source: <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_otlp::{RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, Span as SdkSpan, SpanData, SpanExporter as _, SpanProcessor};
use tokio::time::{Instant, timeout};
use tracing::instrument::WithSubscriber as _;
use tracing::subscriber::NoSubscriber;
use tracing::{Level, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

use crate::envelope::TraceParent;
use crate::logging::{Denied, SUBJECT_FIELD};
use crate::redacted::REDACTED;

/// Longest an export may take.
const LONGEST: Duration = Duration::from_secs(1);
/// With less than this nobody tries: spans wait for the next invocation.
const SHORTEST: Duration = Duration::from_millis(5);
/// Of the time that is left, what an export may take: one part in so many.
const SHARE: u32 = 4;
/// Most finished spans that wait.
const WAITING: usize = 2_048;
/// After a failure nobody tries for so long.
const REST: Duration = Duration::from_secs(10);
/// A failure is said at most once in so long.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// Most bytes of a text attribute.
const TEXT_MAX: usize = 8 * 1024;
/// Whose spans are none of ours, and what would export its own export.
const FOREIGN: [&str; 6] = ["lambda_runtime", "h2", "hyper", "opentelemetry", "reqwest", "rustls"];

/// Where spans go, and who sends them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// The whole URL.
    pub url: String,
    /// `service.name`. `None`: as the SDK finds it in the environment.
    pub service: Option<String>,
    /// More attributes of the resource: `faas.name` and such.
    pub attributes: Vec<(String, String)>,
}

impl Endpoint {
    /// Reads the standard variables. What cannot be done is noted.
    pub(crate) fn read(variable: impl Fn(&str) -> Option<String>, notes: &mut Vec<String>) -> Option<Self> {
        let on = |name: &str, value: &str| variable(name).is_some_and(|have| have.eq_ignore_ascii_case(value));
        if on("OTEL_SDK_DISABLED", "true") || on("OTEL_TRACES_EXPORTER", "none") {
            return None;
        }
        let url = variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| {
            variable("OTEL_EXPORTER_OTLP_ENDPOINT").map(|base| format!("{}/v1/traces", base.trim_end_matches('/')))
        })?;
        let protocol =
            variable("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL").or_else(|| variable("OTEL_EXPORTER_OTLP_PROTOCOL"));
        if let Some(other) = protocol.filter(|protocol| protocol != "http/protobuf") {
            notes.push(format!("OTEL_EXPORTER_OTLP_PROTOCOL: `{other}` is not spoken here; http/protobuf holds"));
        }
        let in_resource = variable("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|text| text.contains("service.name="));
        let service = variable("OTEL_SERVICE_NAME").or_else(|| variable("SERVICE_NAME").filter(|_| !in_resource));
        let mut attributes = Vec::new();
        for (name, from) in [
            ("faas.name", "AWS_LAMBDA_FUNCTION_NAME"),
            ("faas.version", "AWS_LAMBDA_FUNCTION_VERSION"),
            ("cloud.region", "AWS_REGION"),
        ] {
            attributes.extend(variable(from).map(|value| (name.to_owned(), value)));
        }
        if variable("AWS_LAMBDA_FUNCTION_NAME").is_some() {
            attributes.push(("cloud.provider".to_owned(), "aws".to_owned()));
            attributes.push(("cloud.platform".to_owned(), "aws_lambda".to_owned()));
        }
        Some(Self { url, service, attributes })
    }

    /// `subject` is what lines call the subject of a record.
    pub(crate) fn exporter(self, denied: Arc<Denied>, subject: String) -> Result<Exporter, String> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(LONGEST)
            .timeout(LONGEST)
            .build()
            .map_err(|error| error.to_string())?;
        let mut sender = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(&self.url)
            .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
            .with_timeout(LONGEST)
            .with_retry_policy(RetryPolicy::disabled())
            .build()
            .map_err(|error| error.to_string())?;
        let attributes = self.attributes.into_iter().map(|(name, value)| KeyValue::new(name, value));
        let mut resource = Resource::builder().with_attributes(attributes);
        if let Some(service) = self.service {
            resource = resource.with_service_name(service);
        }
        let resource = resource.build();
        sender.set_resource(&resource);
        let finished = Finished(Arc::new(Waiting { spans: Mutex::default(), denied, subject }));
        let provider =
            SdkTracerProvider::builder().with_resource(resource).with_span_processor(finished.clone()).build();
        Ok(Exporter {
            url: self.url,
            provider,
            finished,
            sender: tokio::sync::Mutex::new(sender),
            pace: Mutex::default(),
        })
    }
}

/// Finished spans that nobody has sent yet.
#[derive(Clone, Debug)]
struct Finished(Arc<Waiting>);

#[derive(Debug)]
struct Waiting {
    spans: Mutex<(VecDeque<SpanData>, u64)>,
    denied: Arc<Denied>,
    subject: String,
}

impl Finished {
    fn lock(&self) -> MutexGuard<'_, (VecDeque<SpanData>, u64)> {
        self.0.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SpanProcessor for Finished {
    fn on_start(&self, _: &mut SdkSpan, _: &Context) {}

    fn on_end(&self, mut span: SpanData) {
        let events = span.events.events.iter_mut().flat_map(|event| &mut event.attributes);
        for attribute in span.attributes.iter_mut().chain(events) {
            if attribute.key.as_str() == SUBJECT_FIELD {
                attribute.key = self.0.subject.clone().into();
            }
            if self.0.denied.denies(attribute.key.as_str()) {
                attribute.value = Value::from(REDACTED);
            } else if let Value::String(text) = &attribute.value
                && text.as_str().len() > TEXT_MAX
            {
                let end = text.as_str().floor_char_boundary(TEXT_MAX);
                let cut = format!("{}...[cut]", text.as_str().get(..end).unwrap_or_default());
                attribute.value = Value::from(cut);
            }
        }
        let mut waiting = self.lock();
        if waiting.0.len() >= WAITING {
            waiting.0.pop_front();
            waiting.1 += 1;
        }
        waiting.0.push_back(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        // Sending is asynchronous: `Exporter::flush`.
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// When to try, and when to speak.
#[derive(Default)]
struct Pace {
    rests_until: Option<Instant>,
    said_at: Option<Instant>,
    /// Spans that were lost and not spoken of.
    lost: u64,
}

/// Keeps finished spans and sends them.
pub(crate) struct Exporter {
    url: String,
    provider: SdkTracerProvider,
    finished: Finished,
    /// One export at a time.
    sender: tokio::sync::Mutex<SpanExporter>,
    pace: Mutex<Pace>,
}

impl Exporter {
    /// Makes OpenTelemetry spans of those down to `info`, with warnings and errors as their events.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let ours = filter_fn(|metadata| {
            let least = if metadata.is_span() { Level::INFO } else { Level::WARN };
            *metadata.level() <= least && !FOREIGN.iter().any(|foreign| metadata.target().starts_with(foreign))
        });
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("lambda-queue"))
            .with_context_activation(false)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_error_events_to_status(false)
            .with_filter(ours)
    }

    /// Sends what has finished: see [the module](self).
    pub(crate) async fn flush(&self, left: Duration) {
        let (now, most) = (Instant::now(), LONGEST.min(left / SHARE));
        if most < SHORTEST {
            return;
        }
        if self.lock().rests_until.is_some_and(|until| now < until) {
            return;
        }
        let (spans, dropped) = std::mem::take(&mut *self.finished.lock());
        if spans.is_empty() {
            return;
        }
        let count = spans.len() as u64;
        // What the HTTP client logs and traces meanwhile is about the export, not about the invocation.
        let sending =
            async { self.sender.lock().await.export(spans.into()).await }.with_subscriber(NoSubscriber::new());
        let why = match timeout(most, sending).await {
            Ok(Ok(())) => None,
            // A URL may hold a key.
            Ok(Err(error)) => Some(error.to_string().replace(&self.url, "the endpoint")),
            Err(_) => Some("the collector did not answer in time".to_owned()),
        };
        let mut pace = self.lock();
        pace.lost += dropped;
        if why.is_some() {
            pace.lost += count;
            pace.rests_until = Some(Instant::now() + REST);
        }
        let why = why.unwrap_or_else(|| "too many were waiting".to_owned());
        if pace.lost == 0 || pace.said_at.is_some_and(|said| now.duration_since(said) < SAY_EVERY) {
            return;
        }
        let spans = std::mem::take(&mut pace.lost);
        pace.said_at = Some(now);
        drop(pace);
        tracing::warn!(spans, why, "spans were not exported");
    }

    fn lock(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts a span into its trace, before it starts: a child of `remote` where it continues that one, linked to the span
/// around it; else a child of the span around it, linked to `remote`. Answers where it stands. `None` without an exporter.
pub(crate) fn adopt(span: &Span, remote: Option<TraceParent>, continues: bool) -> Option<TraceParent> {
    if let Some(remote) = remote.map(context) {
        if continues {
            let around = Span::current().context().span().span_context().clone();
            // An `Err` says that there is no exporter, or that the span is off.
            span.set_parent(Context::new().with_remote_span_context(remote)).ok()?;
            if around.is_valid() {
                span.add_link(around);
            }
        } else {
            span.add_link(remote);
        }
    }
    let context = span.context();
    let at = context.span().span_context().clone();
    // An `Err` says that the span is in no trace.
    let (trace_id, span_id) = (at.trace_id().to_bytes(), at.span_id().to_bytes());
    TraceParent::of(u128::from_be_bytes(trace_id), u64::from_be_bytes(span_id).into(), at.trace_flags().to_u8()).ok()
}

fn context(remote: TraceParent) -> SpanContext {
    let flags = if remote.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
    let (trace_id, span_id) = (TraceId::from(remote.trace_id()), SpanId::from(remote.parent_id()));
    SpanContext::new(trace_id, span_id, flags, true, TraceState::NONE)
}
