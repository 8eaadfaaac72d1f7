//! Spans to a collector on loopback: they arrive before the answer, and a collector that is away costs a bound.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lambda_queue::logging::{
    InvocationIds, RecordIds, Settings, Sink, current_traceparent, fail, init, invocation, record_span,
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tracing::instrument::WithSubscriber as _;
use tracing::{Dispatch, Instrument as _, debug, error};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const XRAY: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=";

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<String>>>);

impl Sink for Kept {
    fn line(&self, line: &[u8]) {
        self.0.lock().unwrap().push(String::from_utf8(line.to_vec()).unwrap());
    }
}

impl Kept {
    fn warnings(&self) -> Vec<serde_json::Value> {
        let lines = self.0.lock().unwrap();
        let lines = lines.iter().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter(|line| line["message"] == "spans were not exported").collect()
    }
}

/// What a collector does with a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Takes,
    Refuses,
    Hangs,
}

/// A request, its headers in lower case.
#[derive(Clone)]
struct Seen {
    path: String,
    headers: BTreeMap<String, String>,
    export: ExportTraceServiceRequest,
}

impl Seen {
    fn spans(&self) -> impl Iterator<Item = &Span> {
        self.export.resource_spans.iter().flat_map(|of| &of.scope_spans).flat_map(|of| &of.spans)
    }
}

#[derive(Clone, Default)]
struct Collected(Arc<Mutex<Vec<Seen>>>);

impl Collected {
    fn seen(&self) -> Vec<Seen> {
        self.0.lock().unwrap().clone()
    }

    fn span(&self, name: &str) -> Span {
        let seen = self.seen();
        let found: Vec<&Span> = seen.iter().flat_map(Seen::spans).filter(|span| span.name == name).collect();
        assert_eq!(
            found.len(),
            1,
            "{name} among {:?}",
            seen.iter().flat_map(Seen::spans).map(|span| &span.name).collect::<Vec<_>>()
        );
        found[0].clone()
    }
}

/// A collector on a port of its own, and its base URL.
async fn collector(manner: Manner) -> (String, Collected) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let collected = Collected::default();
    let kept = collected.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, manner, kept.clone()));
        }
    });
    (url, collected)
}

async fn serve(mut stream: TcpStream, manner: Manner, collected: Collected) {
    let mut bytes = Vec::new();
    while stream.read_buf(&mut bytes).await.unwrap_or(0) > 0 {
        let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
        let mut lines = text.lines();
        let path = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
        let headers: BTreeMap<String, String> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let length: usize = headers["content-length"].parse().unwrap();
        let body = head + 4..head + 4 + length;
        if bytes.len() < body.end {
            continue;
        }
        let export = ExportTraceServiceRequest::decode(&bytes[body.clone()]).unwrap();
        bytes.drain(..body.end);
        collected.0.lock().unwrap().push(Seen { path, headers, export });
        let status = match manner {
            Manner::Takes => "200 OK",
            Manner::Refuses => "503 Service Unavailable",
            Manner::Hangs => std::future::pending().await,
        };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

fn logger(variables: &[(&str, &str)]) -> (Dispatch, Kept) {
    let kept = Kept::default();
    let settings =
        Settings::read(|name| variables.iter().find(|(have, _)| *have == name).map(|(_, value)| (*value).to_owned()));
    (settings.dispatch(Arc::new(kept.clone())), kept)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attributes(of: &[KeyValue]) -> BTreeMap<&str, String> {
    of.iter()
        .map(|attribute| {
            let value = match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
                Some(Value::StringValue(text)) => text.clone(),
                Some(Value::BoolValue(flag)) => flag.to_string(),
                Some(Value::IntValue(number)) => number.to_string(),
                other => panic!("{other:?}"),
            };
            (attribute.key.as_str(), value)
        })
        .collect()
}

/// An invocation of one record.
async fn one_record(ids: &InvocationIds<'_>, record: RecordIds<'_>, left: Duration) -> Option<String> {
    let work = async {
        let span = record_span(&record);
        async { current_traceparent() }.instrument(span).await
    };
    invocation(ids, work, |_| None, || left).await
}

const LEFT: Duration = Duration::from_secs(10);

fn message<'a>() -> RecordIds<'a> {
    RecordIds { message_id: "m", receive_count: 2, queue: "pay", ..RecordIds::default() }
}

fn ids<'a>() -> InvocationIds<'a> {
    InvocationIds { request_id: "r", cold_start: true, trigger: "pubsub", ..InvocationIds::default() }
}

#[tokio::test]
async fn spans_arrive_before_the_answer_with_their_parents_and_conventional_names() {
    let (url, collected) = collector(Manner::Takes).await;
    let (dispatch, _) = logger(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &url)]);
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    let record = RecordIds { traceparent: Some(&traceparent), subject: Some("o"), ..message() };
    let sent = one_record(&ids(), record, LEFT).with_subscriber(dispatch).await.unwrap();
    // Nothing waited for the collector but the invocation itself.
    let (whole, record) = (collected.span("invocation"), collected.span("process pay"));
    assert_eq!((hex(&record.trace_id), hex(&record.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
    assert_eq!(sent, format!("00-{TRACE}-{}-01", hex(&record.span_id)), "what is sent is a child of the record");
    assert_eq!(record.links.len(), 1);
    assert_eq!((&record.links[0].trace_id, &record.links[0].span_id), (&whole.trace_id, &whole.span_id));
    assert!(whole.parent_span_id.is_empty());
    assert_eq!((whole.kind, record.kind), (SpanKind::Server as i32, SpanKind::Consumer as i32));
    let of_record = attributes(&record.attributes);
    for (name, value) in [
        ("messaging.system", "aws_sqs"),
        ("messaging.operation.name", "process"),
        ("messaging.operation.type", "process"),
        ("messaging.destination.name", "pay"),
        ("messaging.message.id", "m"),
        ("receive_count", "2"),
        ("subject", "o"),
    ] {
        assert_eq!(of_record.get(name).map(String::as_str), Some(value), "{name}");
    }
    let of_whole = attributes(&whole.attributes);
    assert_eq!((of_whole["faas.invocation_id"].as_str(), of_whole["faas.coldstart"].as_str()), ("r", "true"));
    assert_eq!(of_whole["faas.trigger"], "pubsub");
    assert_eq!(collected.seen()[0].path, "/v1/traces");
    assert_eq!(collected.seen()[0].headers["content-type"], "application/x-protobuf");
}

#[tokio::test]
async fn without_a_context_of_its_own_a_record_is_a_child_of_the_invocation_and_lines_name_the_trace() {
    let (url, collected) = collector(Manner::Takes).await;
    let (dispatch, kept) = logger(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &url)]);
    async {
        let work = async {
            let span = record_span(&message());
            async { error!("said") }.instrument(span).await;
        };
        invocation(&ids(), work, |()| None, || LEFT).await;
    }
    .with_subscriber(dispatch)
    .await;
    let (whole, record) = (collected.span("invocation"), collected.span("process pay"));
    assert_eq!((&record.trace_id, &record.parent_span_id), (&whole.trace_id, &whole.span_id));
    let line: serde_json::Value = serde_json::from_str(&kept.0.lock().unwrap()[0]).unwrap();
    assert_eq!(line["trace_id"], hex(&whole.trace_id));
}

#[tokio::test]
async fn x_ray_is_the_parent_where_it_samples_and_a_link_where_it_does_not() {
    for (sampled, parent) in [("1", "53995c3f42cd8ad8"), ("0", "")] {
        let (url, collected) = collector(Manner::Takes).await;
        let (dispatch, _) = logger(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("{url}/own/path"))]);
        let header = format!("{XRAY}{sampled}");
        let ids = InvocationIds { xray_trace: Some(&header), ..ids() };
        one_record(&ids, message(), LEFT).with_subscriber(dispatch).await;
        let whole = collected.span("invocation");
        assert_eq!(hex(&whole.parent_span_id), parent);
        assert_eq!(whole.links.len(), usize::from(parent.is_empty()));
        assert_eq!(collected.seen()[0].path, "/own/path", "used as it is");
    }
}

#[tokio::test]
async fn a_failure_is_the_spans_status_and_denied_values_are_not_exported() {
    let (url, collected) = collector(Manner::Takes).await;
    let (dispatch, _) = logger(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &url)]);
    async {
        let work = async {
            let span = record_span(&message());
            span.in_scope(|| {
                tracing::info_span!("call", authorization = "hunter2", kept = "x".repeat(10_000)).in_scope(|| {
                    error!(email = "hunter2", "refused");
                    debug!("not an event of the span");
                });
            });
            fail(&span, "retry");
        };
        invocation(&ids(), work, |()| Some("records"), || LEFT).await;
    }
    .with_subscriber(dispatch)
    .await;
    let record = collected.span("process pay");
    assert_eq!(record.status.unwrap().code, 2, "STATUS_CODE_ERROR");
    assert_eq!(attributes(&record.attributes)["error.type"], "retry");
    assert_eq!(attributes(&collected.span("invocation").attributes)["error.type"], "records");
    let call = collected.span("call");
    assert_eq!(call.parent_span_id, record.span_id);
    assert_eq!(attributes(&call.attributes)["authorization"], "[redacted]");
    assert_eq!(attributes(&call.attributes)["kept"].len(), 8_192 + "...[cut]".len());
    assert_eq!(call.events.len(), 1);
    assert_eq!(attributes(&call.events[0].attributes)["email"], "[redacted]");
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_hangs_costs_a_quarter_of_what_is_left_and_then_nothing_for_a_while() {
    let (url, collected) = collector(Manner::Hangs).await;
    let (dispatch, kept) = logger(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &url)]);
    async {
        let clock = tokio::time::Instant::now();
        let mut at = Duration::ZERO;
        let mut took = async |left: Duration| {
            assert!(one_record(&ids(), message(), left).await.is_some(), "the invocation answers all the same");
            let took = clock.elapsed() - at;
            at = clock.elapsed();
            took.as_millis()
        };
        assert_eq!(took(Duration::from_secs(2)).await, 500);
        assert_eq!(took(Duration::from_secs(2)).await, 0, "nobody tries again at once");
        assert_eq!(kept.warnings().len(), 1);
        assert_eq!(kept.warnings()[0]["spans"], 2);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(took(Duration::from_secs(60)).await, 11_000, "ten seconds later, a second at most");
        assert_eq!(kept.warnings().len(), 1, "said once a minute");
        tokio::time::advance(Duration::from_secs(60)).await;
        took(Duration::from_secs(60)).await;
        assert_eq!(kept.warnings().len(), 2);
        assert_eq!(kept.warnings()[1]["spans"], 6, "those that were lost in silence are counted");
    }
    .with_subscriber(dispatch)
    .await;
    assert!(collected.seen().len() <= 3);
}

#[tokio::test]
async fn a_collector_that_refuses_or_is_not_there_never_fails_the_invocation() {
    let (refusing, _) = collector(Manner::Refuses).await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for url in [refusing, format!("http://{gone}")] {
        let (dispatch, kept) = logger(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &url)]);
        assert!(one_record(&ids(), message(), LEFT).with_subscriber(dispatch).await.is_some());
        assert_eq!(kept.warnings().len(), 1);
        assert!(!kept.warnings()[0].to_string().contains(&url), "a URL may hold a key: {:?}", kept.warnings());
    }
}

#[test]
fn without_an_endpoint_nothing_starts() {
    let endpoint = |variables: &[(&str, &str)]| {
        Settings::read(|name| variables.iter().find(|(have, _)| *have == name).map(|(_, value)| (*value).to_owned()))
            .otlp
    };
    let set = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318/");
    assert_eq!(endpoint(&[("OTEL_SERVICE_NAME", "shop")]), None);
    assert_eq!(endpoint(&[set, ("OTEL_SDK_DISABLED", "true")]), None);
    assert_eq!(endpoint(&[set, ("OTEL_TRACES_EXPORTER", "none")]), None);
    assert_eq!(endpoint(&[set]).unwrap().url, "http://127.0.0.1:4318/v1/traces");
}

/// Set where this program runs as the function that is observed.
const CHILD: &str = "LAMBDA_QUEUE_TEST_CHILD";

#[tokio::test]
async fn the_standard_variables_of_the_environment_are_honoured() {
    if std::env::var_os(CHILD).is_some() {
        init();
        one_record(&ids(), message(), LEFT).await;
        return;
    }
    let (url, collected) = collector(Manner::Takes).await;
    let child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_standard_variables_of_the_environment_are_honoured"])
        .env(CHILD, "1")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &url)
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-team=orders")
        .env("OTEL_SERVICE_NAME", "shop")
        .env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        .env("AWS_LAMBDA_FUNCTION_NAME", "shop-pay")
        .output()
        .await
        .unwrap();
    assert!(child.status.success(), "{child:?}");
    let seen = collected.seen();
    assert_eq!(seen[0].headers["x-team"], "orders");
    let resource = seen[0].export.resource_spans[0].resource.as_ref().unwrap();
    let resource = attributes(&resource.attributes);
    assert_eq!((resource["service.name"].as_str(), resource["faas.name"].as_str()), ("shop", "shop-pay"));
    assert_eq!(resource["deployment.environment.name"], "test");
    collected.span("shop-pay");
}
