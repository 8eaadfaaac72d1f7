//! What the loop's work logs: whose ids, and whose held lines come out.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lambda_queue::batch::Invocation;
use lambda_queue::batch::stream::{StreamBatch, StreamItem};
use lambda_queue::logging::{InvocationIds, Settings, Sink, invocation as in_invocation};
use lambda_queue::{Answer, Batch, Done, Failure, Record, Verdict};
use serde_json::{Value, json};
use tracing::instrument::WithSubscriber as _;

use crate::support::{FIFO, STANDARD, START_MS, World, event_of, invocation, obey, owes, record};

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Value>>>);

impl Sink for Kept {
    fn line(&self, line: &[u8]) {
        self.0.lock().unwrap().push(serde_json::from_slice(line).unwrap());
    }
}

impl Kept {
    /// Whose lines of this text there are.
    fn whose(&self, message: &str) -> Vec<String> {
        let lines = self.0.lock().unwrap();
        let of = lines.iter().filter(|line| line["message"] == message);
        of.map(|line| line["message_id"].as_str().unwrap_or("none").to_owned()).collect()
    }
}

/// Logs at debug and does as its body says.
async fn talk(record: Arc<Record>) -> Answer {
    tracing::debug!("at work");
    obey(record).await
}

/// Runs a batch of these bodies, whose ids are their places, and answers what is logged.
async fn logged(batch: &Batch<'_, World>, arn: &str, bodies: &[&str]) -> Kept {
    let kept = Kept::default();
    let records: Vec<Value> =
        bodies.iter().enumerate().map(|(at, body)| record(arn, &at.to_string(), body, Some("g"))).collect();
    let dispatch = Settings::default().dispatch(Arc::new(kept.clone()));
    let answer = batch.run(event_of(&records), invocation(), talk).with_subscriber(dispatch).await;
    assert!(answer.is_ok() || bodies.iter().all(|body| *body == "retry"));
    kept
}

fn loud(world: &World) -> Batch<'_, World> {
    Batch::new("test", world).dead_letters("dead.fifo")
}

#[tokio::test(start_paused = true)]
async fn a_record_without_a_traceparent_belongs_to_the_trace_of_its_x_ray_header() {
    const XRAY: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
    const W3C: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let world = World::default();
    let mut records: Vec<Value> = (0..2).map(|id| record(STANDARD, &id.to_string(), "retry", None)).collect();
    records[1]["body"] = json!(json!({ "traceparent": W3C }).to_string());
    for record in &mut records {
        record["attributes"]["AWSTraceHeader"] = json!(XRAY);
    }
    let kept = Kept::default();
    let dispatch = Settings::default().dispatch(Arc::new(kept.clone()));
    let handler = |_: Arc<Record>| async {
        tracing::info!("at work");
        Ok(Done::now(Vec::new()))
    };
    loud(&world).run(event_of(&records), invocation(), handler).with_subscriber(dispatch).await.unwrap();
    let lines = kept.0.lock().unwrap();
    let traces: Vec<&Value> =
        lines.iter().filter(|line| line["message"] == "at work").map(|line| &line["trace_id"]).collect();
    assert_eq!(traces, ["5759e988bd862e3fe1be46a994272793", "0af7651916cd43dd8448eb211c80319c"]);
}

#[tokio::test(start_paused = true)]
async fn a_records_debug_lines_come_out_when_it_fails_and_only_then() {
    for (body, comes_out) in [
        ("done", false),
        ("owe 1", false),
        ("retry", true),
        ("panic", true),
        ("poison", true),
        ("hang", true),
        ("defer", false),
        ("busy", false),
    ] {
        let world = World::default();
        let kept = logged(&loud(&world), STANDARD, &[body, "done"]).await;
        assert_eq!(kept.whose("at work"), if comes_out { vec!["0"] } else { vec![] }, "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_succeeded_and_whose_message_could_not_be_sent_has_failed() {
    let world = World { refusing: Some("owe 1"), ..World::default() };
    let kept = logged(&loud(&world), STANDARD, &["owe 1", "owe 2"]).await;
    assert_eq!(kept.whose("at work"), ["0"]);
    assert_eq!(kept.whose("record failed"), ["0"]);
}

#[tokio::test(start_paused = true)]
async fn a_follower_has_no_failure_of_its_own() {
    let world = World::default();
    let kept = logged(&loud(&world), FIFO, &["retry", "done"]).await;
    assert_eq!(kept.whose("at work"), ["0"]);
}

#[tokio::test(start_paused = true)]
async fn an_invocation_that_fails_lets_all_lines_out_and_frees_them() {
    let world = World::default();
    let failing = loud(&world).all_failed(lambda_queue::batch::AllFailed::Fail);
    let kept = logged(&failing, STANDARD, &["retry", "retry"]).await;
    assert_eq!(kept.whose("at work"), ["0", "1"]);
}

#[tokio::test(start_paused = true)]
async fn a_line_has_the_ids_of_invocation_message_queue_and_cloud_event() {
    let world = World::default();
    let kept = Kept::default();
    let body = json!({
        "specversion": "1.0", "subject": "order-1", "correlationid": "story-1", "causationid": "cause-1",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "data": { "email": "ada@example.test" },
    });
    let event = event_of(&[record(STANDARD, "1", &body.to_string(), None)]);
    let dispatch = Settings::default().dispatch(Arc::new(kept.clone()));
    let handler = |_| async {
        tracing::info!("hello");
        Err(Failure::retry("not now"))
    };
    loud(&world).run(event, invocation(), handler).with_subscriber(dispatch).await.unwrap();
    let lines = kept.0.lock().unwrap().clone();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for line in lines {
        for (name, value) in [
            ("request_id", json!("r")),
            ("cold_start", json!(false)),
            ("subject", json!("order-1")),
            ("correlation_id", json!("story-1")),
            ("causation_id", json!("cause-1")),
            ("trace_id", json!("4bf92f3577b34da6a3ce929d0e0e4736")),
            ("message_id", json!("1")),
            ("receive_count", json!(1)),
            ("queue", json!("work")),
        ] {
            assert_eq!(line[name], value, "{name} of {line}");
        }
        assert!(!line.to_string().contains("ada@"), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_invocation_around_the_loop_is_the_one() {
    let world = World::default();
    let kept = Kept::default();
    let of = InvocationIds { request_id: "outer", ..InvocationIds::default() };
    let batch = loud(&world);
    let event = event_of(&[record(STANDARD, "1", "retry", None)]);
    let work = async { batch.run(event, invocation(), talk).await };
    let dispatch = Settings::default().dispatch(Arc::new(kept.clone()));
    let work = in_invocation(&of, work, |_| None, || Duration::from_secs(1)).with_subscriber(dispatch);
    work.await.unwrap();
    let lines = kept.0.lock().unwrap().clone();
    let ids: Vec<_> = lines.iter().map(|line| line["request_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["outer"; 2], "{lines:?}");
    assert_eq!(kept.whose("at work"), ["1"]);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_loop_has_no_spans() {
    let world = World::default();
    let kept = Kept::default();
    let dispatch = Settings::default().dispatch(Arc::new(kept.clone()));
    let event = event_of(&[record(STANDARD, "1", "x", None)]);
    let handler = |_| async {
        assert!(tracing::Span::current().is_disabled());
        tracing::info!("hello");
        Ok(Done::now(vec![owes("next", "owed")]))
    };
    loud(&world).quiet().run(event, invocation(), handler).with_subscriber(dispatch).await.unwrap();
    let lines = kept.0.lock().unwrap().clone();
    assert_eq!((lines.len(), &lines[0]["message_id"]), (1, &Value::Null));
}

struct Change(&'static str);

impl StreamItem for Change {
    fn sequence_number(&self) -> Option<&str> {
        Some(self.0)
    }

    fn key(&self) -> Cow<'_, str> {
        self.0.into()
    }
}

#[tokio::test(start_paused = true)]
async fn a_streams_lines_have_the_id_of_their_invocation() {
    let world = World::default();
    let kept = Kept::default();
    let stream = StreamBatch::new("test", &world);
    let handler = |_: Arc<Change>| async {
        tracing::info!("hello");
        Ok(Verdict::Done)
    };
    let of = invocation();
    let work = stream.run(vec![Change("1"), Change("2")], &of, handler);
    work.with_subscriber(Settings::default().dispatch(Arc::new(kept.clone()))).await.unwrap();
    let lines = kept.0.lock().unwrap().clone();
    let ids: Vec<_> = lines.iter().map(|line| line["request_id"].as_str()).collect();
    assert_eq!(ids, [Some("r"); 2], "{lines:?}");
}

/// The errors of a run, each with how much time it says was left.
fn errors(kept: &Kept) -> Vec<(String, u64)> {
    let lines = kept.0.lock().unwrap();
    let of = lines.iter().filter(|line| line["level"] == "ERROR");
    of.map(|line| (line["message"].as_str().unwrap().to_owned(), line["left_ms"].as_u64().unwrap())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_batch_or_stream_that_has_no_time_to_start_anything_says_so_at_error() {
    let nothing = "no time to start a single record: all of them come back";
    for (deadline_ms, expected) in [(START_MS, vec![(nothing.to_owned(), 0)]), (START_MS + 1_000, vec![])] {
        let of = Invocation { deadline_ms, ..invocation() };
        let (world, kept) = (World::default(), Kept::default());
        let dispatch = Settings::default().dispatch(Arc::new(kept.clone()));
        let event = event_of(&[record(STANDARD, "1", "fine", None)]);
        loud(&world).quiet().run(event, of.clone(), obey).with_subscriber(dispatch).await.unwrap();
        assert_eq!(errors(&kept), expected);

        let (world, kept) = (World::default(), Kept::default());
        let dispatch = Settings::default().dispatch(Arc::new(kept.clone()));
        let stream = StreamBatch::new("test", &world).quiet();
        let work = stream.run(vec![Change("1")], &of, |_| async { Ok(Verdict::Done) });
        work.with_subscriber(dispatch).await.unwrap();
        assert_eq!(errors(&kept), expected);
    }
    let (world, kept) = (World::default(), Kept::default());
    let dispatch = Settings::default().dispatch(Arc::new(kept.clone()));
    let of = Invocation { deadline_ms: START_MS, ..invocation() };
    loud(&world).run(event_of(&[]), of, obey).with_subscriber(dispatch).await.unwrap();
    assert!(errors(&kept).is_empty(), "an empty batch needs no time");
}
