use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use aws_lambda_events::event::{dynamodb, kinesis};
use lambda_queue::batch::stream::{StreamBatch, StreamItem};
use lambda_queue::batch::{BatchError, Invocation};
use lambda_queue::{Failure, Verdict};
use proptest::prelude::*;
use serde_json::json;

use crate::support::*;

struct Item {
    number: String,
    key: &'static str,
    ms: u64,
    ok: bool,
}

impl StreamItem for Item {
    fn sequence_number(&self) -> Option<&str> {
        Some(&self.number)
    }

    fn key(&self) -> Cow<'_, str> {
        self.key.into()
    }
}

fn items(of: &[(&'static str, u64, bool)]) -> Vec<Item> {
    let item = |(at, (key, ms, ok)): (usize, &(&'static str, u64, bool))| Item {
        number: format!("{:05}", 100 + at),
        key,
        ms: *ms,
        ok: *ok,
    };
    of.iter().enumerate().map(item).collect()
}

/// Answers where it starts again, and what was begun, in order.
async fn run(of: &[(&'static str, u64, bool)], concurrency: usize) -> (Option<String>, Vec<String>) {
    let (world, begun) = (World::default(), Mutex::new(Vec::new()));
    let stream = StreamBatch::new("test", &world).quiet().concurrency(concurrency);
    let answer = stream
        .run(items(of), &invocation(), |item| {
            let begun = &begun;
            async move {
                begun.lock().unwrap().push(item.number.clone());
                tokio::time::sleep(Duration::from_millis(item.ms)).await;
                if item.ok { Ok(Verdict::Done) } else { Err(Failure::retry("no")) }
            }
        })
        .await
        .unwrap();
    (answer.restart_at().map(str::to_owned), begun.into_inner().unwrap())
}

#[tokio::test(start_paused = true)]
async fn the_answer_is_the_first_unfinished_number_and_what_was_before_it_is_still_finished() {
    // The second fails at once, the first is slow and fails later: the first is the answer.
    assert_eq!(run(&[("a", 50, false), ("b", 0, false), ("c", 0, true)], 2).await.0.as_deref(), Some("00100"));
    assert_eq!(run(&[("a", 50, true), ("b", 0, false), ("c", 0, true)], 2).await.0.as_deref(), Some("00101"));
    assert_eq!(run(&[("a", 5, true), ("b", 0, true)], 2).await.0, None);
    assert_eq!(run(&[], 2).await.0, None);
}

#[tokio::test(start_paused = true)]
async fn behind_a_failure_nothing_is_started_any_more() {
    let (restart, begun) =
        run(&[("a", 1, true), ("b", 2, false), ("a", 9, true), ("c", 0, true), ("d", 0, true)], 2).await;
    assert_eq!(restart.as_deref(), Some("00101"));
    assert_eq!(begun, ["00100", "00101", "00102"]);
}

#[tokio::test(start_paused = true)]
async fn what_has_not_finished_in_time_is_where_the_stream_starts_again() {
    let (restart, _) = run(&[("a", 0, true), ("b", 60_000, true), ("c", 0, true)], 10).await;
    assert_eq!(restart.as_deref(), Some("00101"));
}

#[tokio::test(start_paused = true)]
async fn a_short_invocation_handles_what_it_has_time_for() {
    let world = World::default();
    let of = Invocation { deadline_ms: START_MS + 1_000, ..invocation() };
    let stream = StreamBatch::new("test", &world).quiet();
    let work = items(&[("a", 700, true), ("b", 800, true)]);
    let answer = stream
        .run(work, &of, |item| async move {
            tokio::time::sleep(Duration::from_millis(item.ms)).await;
            Ok(Verdict::Done)
        })
        .await
        .unwrap();
    assert_eq!(answer.restart_at(), Some("00101"), "a quarter of the second is kept");
}

#[tokio::test]
async fn a_panic_is_where_the_stream_starts_again() {
    let world = World::default();
    let stream = StreamBatch::new("test", &world).quiet();
    let work = items(&[("a", 0, true), ("b", 1, true), ("c", 0, true)]);
    let answer = stream
        .run(work, &invocation(), |item| async move {
            assert_ne!(item.ms, 1, "on purpose");
            Ok(Verdict::Already)
        })
        .await
        .unwrap();
    assert_eq!(serde_json::to_value(&answer).unwrap(), json!({ "batchItemFailures": [{ "itemIdentifier": "00101" }] }));
    assert_eq!(answer.unfinished_from, Some(1));
    assert!(matches!(answer.failure, Some(Failure::Bug { .. })));
}

#[tokio::test]
async fn rounds_hold_no_key_twice_and_a_round_waits_for_the_last() {
    let world = World::default();
    let keys = ["a", "b", "c", "a", "d", "d", "e"];
    for (bad, expected) in [
        (None, &[&["00100", "00101"][..], &["00102", "00103"], &["00104"], &["00105", "00106"]][..]),
        (Some("00102"), &[&["00100", "00101"][..], &["00102", "00103"]]),
        (Some("00103"), &[&["00100", "00101"][..], &["00102", "00103"]]),
    ] {
        let rounds = Mutex::new(Vec::new());
        let of: Vec<_> = keys.into_iter().map(|key| (key, 0, true)).collect();
        let stream = StreamBatch::new("test", &world).quiet();
        let answer = stream
            .run_in_rounds(items(&of), &invocation(), 2, |round| {
                let numbers: Vec<String> = round.iter().map(|item| item.number.clone()).collect();
                rounds.lock().unwrap().push(numbers.clone());
                async move {
                    let one = |number: &String| {
                        if Some(number.as_str()) == bad { Err(Failure::retry("no")) } else { Ok(Verdict::Done) }
                    };
                    numbers.iter().map(one).collect()
                }
            })
            .await
            .unwrap();
        assert_eq!(answer.restart_at(), bad);
        assert_eq!(rounds.into_inner().unwrap(), expected);
    }
}

#[tokio::test]
async fn a_round_that_answers_too_little_has_failed_from_there_on() {
    let world = World::default();
    let stream = StreamBatch::new("test", &world).quiet();
    let work = items(&[("a", 0, true), ("b", 0, true)]);
    let answer = stream.run_in_rounds(work, &invocation(), 10, |_| async { vec![Ok(Verdict::Done)] }).await.unwrap();
    assert_eq!(answer.restart_at(), Some("00101"));
}

#[tokio::test]
async fn a_record_without_a_sequence_number_fails_the_invocation_before_anything_is_handled() {
    let world = World::default();
    let mut work = items(&[("a", 0, true), ("b", 0, true)]);
    work[1].number.clear();
    let stream = StreamBatch::new("test", &world);
    let answer = stream.run(work, &invocation(), |_| async { panic!("handled") }).await;
    assert_eq!(answer, Err(BatchError::NoSequenceNumber { position: 1 }));
}

#[test]
fn a_change_of_an_item_is_keyed_by_its_item_and_a_kinesis_record_by_its_partition_key() {
    let change = |keys: serde_json::Value, number: &str| -> dynamodb::EventRecord {
        serde_json::from_value(json!({
            "awsRegion": "us-east-1", "eventID": "e", "eventName": "MODIFY",
            "dynamodb": { "Keys": keys, "SequenceNumber": number, "SizeBytes": 1, "ApproximateCreationDateTime": 1.0 },
        }))
        .unwrap()
    };
    let one = change(json!({ "id": { "S": "1" }, "at": { "N": "2" } }), "111");
    let same = change(json!({ "at": { "N": "2" }, "id": { "S": "1" } }), "112");
    assert_eq!((one.key(), one.sequence_number()), (same.key(), Some("111")));
    assert_ne!(one.key(), change(json!({ "id": { "S": "1" }, "at": { "S": "2" } }), "113").key());
    let record: kinesis::KinesisEventRecord = serde_json::from_value(json!({
        "kinesis": { "data": "aGVsbG8=", "partitionKey": "p", "sequenceNumber": "49", "approximateArrivalTimestamp": 1.5,
            "kinesisSchemaVersion": "1.0" },
    }))
    .unwrap();
    assert_eq!((record.key(), record.sequence_number()), ("p".into(), Some("49")));
}

proptest! {
    #[test]
    fn whatever_ends_first_the_stream_starts_again_at_the_first_failure_and_keys_keep_their_order(
        of in proptest::collection::vec((prop_oneof![Just("a"), Just("b"), Just("c")], 0_u64..20, prop::bool::weighted(0.8)), 0..20),
        concurrency in 1_usize..5,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let (restart, begun) = runtime.block_on(run(&of, concurrency));
        let first = of.iter().position(|(_, _, ok)| !ok);
        prop_assert_eq!(restart, first.map(|at| format!("{:05}", 100 + at)));
        let numbers: Vec<usize> = begun.iter().map(|number| number.parse::<usize>().unwrap() - 100).collect();
        let before: HashSet<usize> = (0..first.map_or(of.len(), |at| at + 1)).collect();
        prop_assert!(before.is_subset(&numbers.iter().copied().collect()), "all before it was begun");
        for key in ["a", "b", "c"] {
            let of_key: Vec<usize> = numbers.iter().copied().filter(|at| of[*at].0 == key).collect();
            prop_assert!(of_key.is_sorted());
        }
    }
}
