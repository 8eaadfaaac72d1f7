//! Metrics rule by rule.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::wildcard_enum_match_arm)]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use lambda_queue::Clock;
use lambda_queue::metrics::{self, Document, Metrics, Number, Part, Settings, SettingsError, Sink, Unit, Why};
use serde_json::{Value, json};

const NOW_MS: u64 = 1_795_426_200_123;

struct Fixed;
impl Clock for Fixed {
    fn now_ms(&self) -> u64 {
        NOW_MS
    }
}

/// A writer that keeps each write, and can fail.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<(Vec<Vec<u8>>, bool)>>);

impl Kept {
    fn lines(&self) -> Vec<Value> {
        self.0.lock().unwrap().0.iter().map(|line| serde_json::from_slice(line).unwrap()).collect()
    }

    fn fail(&self, fail: bool) {
        self.0.lock().unwrap().1 = fail;
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = self.0.lock().unwrap();
        if kept.1 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        kept.0.push(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn document() -> Document {
    Document::with(Arc::new(Settings::new("Test").unwrap()), "done")
}

fn lines(document: Document) -> Vec<Value> {
    document.lines(NOW_MS).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn line(document: Document) -> Value {
    let lines = lines(document);
    assert_eq!(lines.len(), 1);
    lines.into_iter().next().unwrap()
}

fn metric_names(line: &Value) -> Vec<String> {
    let metrics = line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap();
    metrics.iter().map(|metric| metric["Name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_document_declares_its_metrics_and_dimensions_and_keeps_its_properties() {
    let whole = document()
        .dimension("function", "validate-order")
        .dimension("lane", "")
        .metric("latency_ms", "Milliseconds", 12_u64)
        .high_resolution("load", Unit::Percent, 0.5)
        .property("order_id", "o-\"1\"")
        .property("order_id", "o-2");
    let expected = json!({
        "_aws": { "Timestamp": NOW_MS, "CloudWatchMetrics": [{
            "Namespace": "Test", "Dimensions": [["function"]],
            "Metrics": [
                { "Name": "latency_ms", "Unit": "Milliseconds" },
                { "Name": "load", "Unit": "Percent", "StorageResolution": 1 },
            ],
        }] },
        "level": "INFO", "message": "done", "timestamp": "2026-11-23T09:30:00.123Z",
        "function": "validate-order", "latency_ms": 12, "load": 0.5, "order_id": "o-2",
    });
    assert_eq!(line(whole), expected);
}

#[test]
fn a_document_without_metrics_is_a_log_line() {
    let line = line(document().dimension("route", "GET /").property("status", 200));
    assert!(line.get("_aws").is_none());
    assert_eq!((&line["route"], &line["status"]), (&json!("GET /"), &json!(200)));
}

#[test]
fn what_would_break_a_document_is_refused_and_the_rest_goes_out() {
    let broken = document()
        .dimension("function", "f")
        .metric("a", Unit::Count, 1_u32)
        .metric("function", Unit::Count, 1_u32)
        .metric("_aws", Unit::Count, 1_u32)
        .metric("timestamp", Unit::Count, 1_u32)
        .metric("nan", Unit::Count, f64::NAN)
        .metric("huge", Unit::Count, 2.4e108)
        .metric("unit", "Furlongs", 1_u32)
        .metric("a", Unit::Bytes, 1_u32)
        .high_resolution("a", Unit::Count, 1_u32)
        .metric("n".repeat(256), Unit::Count, 1_u32)
        .property("a", 1)
        .dimension("a", "x")
        .dimension("function", "g")
        .dimension("order_id", "o-1")
        .dimension("Tenant-ID", "acme")
        .dimension("long", &"v".repeat(1_025));
    let refusals: Vec<(Part, Why)> = broken.refusals().iter().map(|refusal| (refusal.part, refusal.why)).collect();
    assert_eq!(
        refusals,
        [
            (Part::Metric, Why::Collision),
            (Part::Metric, Why::Reserved),
            (Part::Metric, Why::Reserved),
            (Part::Metric, Why::Number),
            (Part::Metric, Why::Number),
            (Part::Metric, Why::Unit),
            (Part::Metric, Why::Differs),
            (Part::Metric, Why::Differs),
            (Part::Metric, Why::Name),
            (Part::Property, Why::Collision),
            (Part::Dimension, Why::Collision),
            (Part::Dimension, Why::Collision),
            (Part::Dimension, Why::Denied),
            (Part::Dimension, Why::Denied),
            (Part::Dimension, Why::Value),
        ]
    );
    let line = line(broken);
    assert_eq!(metric_names(&line), ["a"]);
    assert_eq!((&line["a"], &line["function"]), (&json!(1), &json!("f")));
    assert_eq!(line["_aws"]["CloudWatchMetrics"][0]["Dimensions"], json!([["function"]]));
}

#[test]
fn of_many_refusals_sixteen_are_kept() {
    let broken = (0..100).fold(document(), |document, _| document.metric("", Unit::Count, 1_u32));
    assert_eq!(broken.refusals().len(), 16);
}

#[test]
fn a_metric_added_again_is_an_array_and_over_a_hundred_values_or_metrics_are_several_documents() {
    let thrice = (0..3_u32).fold(document(), |document, value| document.metric("a", Unit::Count, value));
    assert_eq!(line(thrice)["a"], json!([0, 1, 2]));

    let values = (0..250_u32)
        .fold(document().metric("b", Unit::Count, 7_u32), |document, value| document.metric("a", Unit::Count, value));
    let split = lines(values.dimension("function", "f").property("p", 1));
    assert_eq!(split.iter().map(metric_names).collect::<Vec<_>>(), [vec!["b", "a"], vec!["a"], vec!["a"]]);
    let all: Vec<&Value> = split.iter().flat_map(|line| line["a"].as_array().unwrap()).collect();
    assert_eq!(all, (0..250).map(Value::from).collect::<Vec<_>>().iter().collect::<Vec<_>>());
    assert!(split.iter().all(|line| line["function"] == "f" && line["p"] == 1));

    let metrics = (0..201_u32).fold(document(), |document, at| document.metric(format!("m{at}"), Unit::Count, at));
    let split = lines(metrics);
    assert_eq!(split.iter().map(|line| metric_names(line).len()).collect::<Vec<_>>(), [100, 100, 1]);
}

#[test]
fn a_document_stays_under_256_kib_and_a_large_property_has_a_line_of_its_own() {
    let value = f64::from_bits(0x565b_5c5d_5e5f_6061);
    let large = (0..100_u32).fold(document(), |document, at| {
        let name = format!("{at:03}{}", "\"".repeat(250));
        (0..100).fold(document, |document, _| document.metric(name.clone(), Unit::KilobytesPerSecond, value))
    });
    assert!(large.refusals().is_empty());
    let lines_of = large.lines(NOW_MS);
    assert!(lines_of.len() > 1 && lines_of.iter().all(|line| line.len() < 256 * 1024));

    let ids: Vec<String> = (0..10_000).map(|at| format!("message-{at:028}")).collect();
    let split =
        lines(document().metric("a", Unit::Count, 1_u32).property("request_id", "r").property("ids", json!(ids)));
    assert_eq!(split.len(), 2);
    assert!(split[0].get("ids").is_none() && split[1].get("_aws").is_none());
    assert_eq!((split[1]["ids"].as_array().unwrap().len(), &split[1]["request_id"]), (10_000, &json!("r")));
    let too_large = document().property("ids", "x".repeat(800_001));
    assert_eq!(too_large.refusals()[0].why, Why::TooMany);
}

#[test]
fn each_set_of_dimensions_has_the_default_ones_and_at_most_thirty() {
    let settings = Settings::new("Test").unwrap().dimension("service", "orders").unwrap();
    let with = || Document::with(Arc::new(settings.clone()), "done").metric("a", Unit::Count, 1_u32);
    let sets = with()
        .dimension("function", "f")
        .dimension_set(&[("lane", "express"), ("function", "f")])
        .dimension("lane", "express")
        .dimension_set(&[])
        .dimension("last", "l");
    assert!(sets.refusals().is_empty(), "{:?}", sets.refusals());
    let sets = line(sets);
    assert_eq!(
        sets["_aws"]["CloudWatchMetrics"][0]["Dimensions"],
        json!([["service", "function", "lane", "last"], ["service", "lane", "function"], ["service"]])
    );
    assert_eq!(sets["service"], "orders");
    let many = (0..40).fold(with(), |document, at| document.dimension(format!("d{at}"), "x"));
    assert_eq!(many.refusals().len(), 11);
    assert_eq!(line(many)["_aws"]["CloudWatchMetrics"][0]["Dimensions"][0].as_array().unwrap().len(), 30);
    assert_eq!(with().property("service", 1).refusals()[0].why, Why::Collision);
}

#[test]
fn a_time_that_cloudwatch_would_not_take_is_the_present_instead() {
    for (at_ms, taken) in [
        (NOW_MS - 14 * 86_400_000, NOW_MS - 14 * 86_400_000),
        (NOW_MS - 14 * 86_400_000 - 1, NOW_MS),
        (NOW_MS + 7_200_000, NOW_MS + 7_200_000),
        (NOW_MS + 7_200_001, NOW_MS),
        (0, NOW_MS),
        (u64::MAX, NOW_MS),
    ] {
        let line = line(document().metric("a", Unit::Count, 1_u32).at(at_ms));
        assert_eq!(line["_aws"]["Timestamp"], taken);
    }
}

#[test]
fn settings_come_from_the_environment_as_powertools_reads_it() {
    let settings = |vars: &[(&str, &str)]| {
        Settings::from_vars(|name| vars.iter().find(|(there, _)| *there == name).map(|(_, value)| (*value).to_owned()))
    };
    let powertools = [("POWERTOOLS_METRICS_NAMESPACE", "Theirs"), ("POWERTOOLS_SERVICE_NAME", "theirs")];
    let ours = [("LAMBDA_QUEUE_METRICS_NAMESPACE", "Ours"), ("LAMBDA_QUEUE_SERVICE", "ours")];
    let new = |namespace: &str, service: &str| Settings::new(namespace).unwrap().dimension("service", service).unwrap();
    assert_eq!(settings(&[]), Ok(Settings::new("LambdaQueue").unwrap()));
    assert_eq!(settings(&powertools), Ok(new("Theirs", "theirs")));
    assert_eq!(settings(&[powertools, ours].concat()), Ok(new("Ours", "ours")));
    for namespace in ["AWS/Lambda", ":x", "näme", "a\tb"] {
        let refused = settings(&[("POWERTOOLS_METRICS_NAMESPACE", namespace)]);
        assert_eq!(refused, Err(SettingsError::Namespace(namespace.into())));
    }
    for (name, value) in [("tenant", "x"), ("_aws", "x"), ("", "x"), ("a", ""), ("service", "twice")] {
        assert!(new("N", "s").dimension(name, value).is_err(), "{name}");
    }
    let open = Document::with(Arc::new(Settings::new("N").unwrap().deny(["Region_Code"])), "m");
    let open = open.dimension("order_id", "allowed now").dimension("region.code", "denied now");
    assert_eq!((open.refusals().len(), open.refusals()[0].name.as_str()), (1, "region.code"));
}

#[tokio::test]
async fn what_was_recorded_goes_out_when_the_handler_answers_fails_or_panics() {
    for end in ["answers", "fails", "panics"] {
        let kept = Kept::default();
        let sink = Sink::to(kept.clone());
        let handler = tokio::spawn(async move {
            let metrics = Metrics::begin_to(&Fixed, document().dimension("function", "f"), sink);
            metrics
                .around(async {
                    metrics::record("a", Unit::Count, 1_u32);
                    match end {
                        "answers" => Ok(()),
                        "fails" => Err("no"),
                        _ => panic!("on purpose"),
                    }
                })
                .await
        });
        assert_eq!(handler.await.is_err(), end == "panics");
        let lines = kept.lines();
        assert_eq!((lines.len(), &lines[0]["a"], &lines[0]["function"]), (1, &json!(1), &json!("f")), "{end}");
    }
    // Outside of an invocation nothing is recorded, and nothing breaks.
    metrics::record("a", Unit::Count, 1_u32);
}

#[tokio::test]
async fn invocations_that_run_side_by_side_do_not_mix() {
    let kept = Kept::default();
    let sink = Sink::to(kept.clone());
    let barrier = Arc::new(tokio::sync::Barrier::new(20));
    let invocations = (0..20_u32).map(|invocation| {
        let (sink, barrier) = (sink.clone(), Arc::clone(&barrier));
        tokio::spawn(async move {
            let metrics = Metrics::begin_to(&Fixed, document().property("invocation", invocation), sink);
            let recorder = metrics.recorder();
            metrics
                .around(async {
                    for _ in 0..5 {
                        metrics::record("value", Unit::Count, invocation);
                        barrier.wait().await;
                    }
                })
                .await;
            // A task of its own is handed a recorder.
            tokio::spawn(async move { recorder.metric("value", Unit::Count, invocation) }).await.unwrap();
        })
    });
    for invocation in invocations.collect::<Vec<_>>() {
        invocation.await.unwrap();
    }
    let lines = kept.lines();
    assert_eq!(lines.len(), 20);
    for line in lines {
        assert_eq!(line["value"], json!(vec![line["invocation"].clone(); 6]));
    }
}

#[test]
fn a_flush_in_between_keeps_dimensions_and_nothing_goes_out_twice() {
    let kept = Kept::default();
    let metrics = Metrics::begin_to(&Fixed, document().dimension("function", "f"), Sink::to(kept.clone()));
    let recorder = metrics.recorder();
    recorder.metric("a", Unit::Count, 1_u32);
    metrics.flush();
    metrics.flush();
    recorder.metric("b", Unit::Count, Number::from(-2_i32));
    drop(metrics);
    recorder.metric("late", Unit::Count, 1_u32);
    let lines = kept.lines();
    assert_eq!(lines.iter().map(metric_names).collect::<Vec<_>>(), [["a"], ["b"]]);
    assert!(lines.iter().all(|line| line["function"] == "f"));
}

#[test]
fn a_big_invocation_loses_no_metric_what_is_too_much_at_once_goes_out_before_its_end() {
    let kept = Kept::default();
    let metrics = Metrics::begin_to(&Fixed, document().dimension("function", "f"), Sink::to(kept.clone()));
    let recorder = metrics.recorder();
    recorder.property("request_id", "r");
    // Over ten thousand values, then over a thousand names.
    for value in 0..10_000_u32 {
        recorder.metric("a", Unit::Count, value);
    }
    assert_eq!(kept.lines().len(), 0, "there was room");
    for value in 10_000..25_001_u32 {
        recorder.metric("a", Unit::Count, value);
    }
    assert_eq!(kept.lines().len(), 200, "twice a hundred documents of a hundred values");
    for at in 0..2_500_u32 {
        recorder.metric(format!("m{at}"), Unit::Count, at);
    }
    recorder.high_resolution("b", Unit::Count, f64::NAN);
    drop(metrics);

    let lines = kept.lines();
    let values = |line: &Value, name: &str| match &line[name] {
        Value::Array(values) => values.clone(),
        Value::Null => Vec::new(),
        value => vec![value.clone()],
    };
    let all: Vec<Value> = lines.iter().flat_map(|line| values(line, "a")).collect();
    assert_eq!(all, (0..25_001_u32).map(Value::from).collect::<Vec<_>>());
    let mut names: Vec<String> = lines.iter().flat_map(metric_names).filter(|name| name != "a").collect();
    names.sort();
    let mut expected: Vec<String> = (0..2_500).map(|at| format!("m{at}")).collect();
    expected.sort();
    assert_eq!(names, expected, "each once");
    assert!(lines.iter().all(|line| line["function"] == "f" && line["request_id"] == "r"));
    for line in &lines {
        let at_ms = line["_aws"]["Timestamp"].as_u64().unwrap();
        assert!((NOW_MS..NOW_MS + 600_000).contains(&at_ms), "by the invocation's clock: {at_ms}");
    }
    let refused = (0..10_001_u32).fold(document(), |document, value| document.metric("a", Unit::Count, value));
    assert_eq!(refused.refusals()[0].why, Why::TooMany, "of one document there is no other to go on with");
}

#[test]
fn a_line_is_one_write_and_lost_lines_are_told_by_the_next_that_is_written() {
    let kept = Kept::default();
    let sink = Sink::to(kept.clone());
    document().metric("a", Unit::Count, 1_u32).emit_to(&sink, NOW_MS);
    assert!(kept.0.lock().unwrap().0[0].ends_with(b"}\n"));
    kept.fail(true);
    document().metric("b", Unit::Count, 1_u32).emit_to(&sink, NOW_MS);
    document().metric("c", Unit::Count, 1_u32).emit_to(&sink, NOW_MS);
    assert_eq!(sink.lost(), 2);
    kept.fail(false);
    document().metric("d", Unit::Count, 1_u32).emit_to(&sink, NOW_MS);
    document().metric("e", Unit::Count, 1_u32).emit_to(&sink, NOW_MS);
    let lines = kept.lines();
    assert_eq!((lines.len(), sink.lost()), (3, 0));
    assert_eq!((&lines[1]["metrics_lines_lost"], lines[2].get("metrics_lines_lost")), (&json!(2), None));
}

#[test]
fn a_single_metric_and_a_cold_start_are_documents_of_their_own() {
    let single = line(Document::single("a", Unit::Seconds, 1.5).dimension("only", "here"));
    assert_eq!((metric_names(&single), &single["a"]), (vec!["a".to_owned()], &json!(1.5)));
    let cold = line(Document::cold_start("f"));
    assert_eq!(
        (metric_names(&cold), &cold["cold_start"], &cold["function"]),
        (vec!["cold_start".to_owned()], &json!(1), &json!("f"))
    );
}
