//! The batch loop's rules, each by its name.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Mutex;
use std::time::Duration;

use aws_lambda_events::event::sqs::SqsEvent;
use lambda_queue::batch::Invocation;
use lambda_queue::{Batch, Clock, Done, Entry, Failure, Outgoing, Queue, Random, Record};
use serde_json::json;

const STANDARD: &str = "arn:aws:sqs:us-east-1:000000000000:work";
const FIFO: &str = "arn:aws:sqs:us-east-1:000000000000:work.fifo";

/// A queue that keeps what it is told, and refuses what goes to `refusing`.
#[derive(Default)]
struct World {
    sent: Mutex<Vec<(String, Vec<Outgoing>)>>,
    delayed: Mutex<Vec<Entry>>,
    refusing: Option<&'static str>,
}

impl Clock for World {
    fn now_ms(&self) -> u64 {
        1_000_000
    }
}

impl Random for World {
    fn below(&self, bound: u64) -> u64 {
        bound.saturating_sub(1)
    }
}

impl Queue for World {
    async fn send(&self, queue: &str, messages: &[Outgoing]) -> Vec<Result<(), String>> {
        self.sent.lock().unwrap().push((queue.to_owned(), messages.to_vec()));
        let refuses = |message: &Outgoing| self.refusing.is_some_and(|body| message.body.contains(body));
        messages.iter().map(|message| if refuses(message) { Err("refused".to_owned()) } else { Ok(()) }).collect()
    }

    async fn change_visibility(&self, _: &str, entries: &[Entry]) -> Vec<Result<(), String>> {
        self.delayed.lock().unwrap().extend(entries.iter().cloned());
        entries.iter().map(|_| Ok(())).collect()
    }
}

fn event(arn: &str, records: &[(&str, &str, &str)]) -> SqsEvent {
    let records: Vec<_> = records
        .iter()
        .map(|(id, body, group)| {
            json!({
                "messageId": id, "receiptHandle": format!("receipt-{id}"), "body": body, "eventSourceARN": arn,
                "attributes": { "ApproximateReceiveCount": "1", "SentTimestamp": "999000", "MessageGroupId": group },
                "messageAttributes": {},
            })
        })
        .collect();
    serde_json::from_value(json!({ "Records": records })).unwrap()
}

fn invocation() -> Invocation {
    Invocation { request_id: "r".to_owned(), deadline_ms: 1_015_000, cold_start: false }
}

fn owes(queue: &str, body: &str) -> Outgoing {
    Outgoing { queue: queue.to_owned(), body: body.to_owned(), group: None, dedup: None, attributes: Vec::new() }
}

/// What a body asks its handler to do.
async fn obey(record: Record) -> Result<Done, Failure> {
    match record.body.as_str() {
        "panic" => panic!("on purpose"),
        "retry" => Err(Failure::retry("not now")),
        "defer" => Err(Failure::Defer { until_ms: 1_030_000, why: "held".to_owned() }),
        "poison" => Err(Failure::Poison { reason: "never".to_owned() }),
        "hang" => std::future::pending().await,
        body if body.starts_with("owe") => Ok(Done::now(vec![owes("next", body)])),
        _ => Ok(Done::now(Vec::new())),
    }
}

async fn failed(world: &World, arn: &str, records: &[(&str, &str, &str)]) -> Vec<String> {
    let batch = Batch { function: "test", ports: world, dead_letters: Some("dead.fifo".to_owned()), concurrency: 10 };
    let answer = batch.run(event(arn, records), invocation(), obey).await.unwrap();
    answer.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect()
}

#[tokio::test]
async fn the_answer_names_exactly_the_unhandled_in_input_order() {
    let records = [("1", "retry", "g"), ("2", "fine", "g"), ("3", "defer", "g"), ("4", "fine", "g")];
    assert_eq!(failed(&World::default(), STANDARD, &records).await, ["1", "3"]);
}

#[tokio::test]
async fn one_record_of_ten_panics_and_the_other_nine_are_answered() {
    let ids: Vec<String> = (0..10).map(|id| id.to_string()).collect();
    let records: Vec<_> = ids.iter().map(|id| (id.as_str(), if id == "4" { "panic" } else { "fine" }, "g")).collect();
    assert_eq!(failed(&World::default(), STANDARD, &records).await, ["4"]);
}

#[tokio::test]
async fn no_records_are_an_empty_answer() {
    assert!(failed(&World::default(), STANDARD, &[]).await.is_empty());
}

#[tokio::test]
async fn a_record_without_an_id_fails_the_invocation() {
    let world = World::default();
    let batch = Batch { function: "test", ports: &world, dead_letters: None, concurrency: 10 };
    for id in [json!(null), json!("")] {
        let mut event = event(STANDARD, &[("1", "fine", "g"), ("2", "fine", "g")]);
        event.records[1].message_id = id.as_str().map(str::to_owned);
        assert!(batch.run(event, invocation(), obey).await.is_err());
    }
}

#[tokio::test]
async fn a_message_that_is_twice_in_a_batch_is_handled_once() {
    let world = World::default();
    assert!(failed(&world, STANDARD, &[("1", "owe a", "g"), ("1", "owe a", "g")]).await.is_empty());
    assert_eq!(world.sent.lock().unwrap().iter().map(|(_, messages)| messages.len()).sum::<usize>(), 1);
}

#[tokio::test]
async fn what_records_owe_to_one_queue_leaves_in_one_send() {
    let world = World::default();
    let records = [("1", "owe a", "g"), ("2", "owe b", "g"), ("3", "fine", "g"), ("4", "owe c", "g")];
    assert!(failed(&world, STANDARD, &records).await.is_empty());
    let sent = world.sent.lock().unwrap();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].1.len(), 3);
}

#[tokio::test]
async fn a_message_that_was_not_sent_fails_its_record_and_only_that() {
    let world = World { refusing: Some("owe b"), ..World::default() };
    assert_eq!(failed(&world, STANDARD, &[("1", "owe a", "g"), ("2", "owe b", "g")]).await, ["2"]);
}

#[tokio::test]
async fn poison_goes_to_the_dead_letter_queue_with_one_attribute_and_is_acknowledged() {
    let world = World::default();
    assert!(failed(&world, STANDARD, &[("1", "poison", "g"), ("2", "fine", "g")]).await.is_empty());
    let sent = world.sent.lock().unwrap();
    assert_eq!((sent.len(), sent[0].0.as_str(), sent[0].1[0].body.as_str()), (1, "dead.fifo", "poison"));
    let (name, letter) = &sent[0].1[0].attributes[0];
    let letter: serde_json::Value = serde_json::from_str(letter).unwrap();
    assert_eq!(name, "dead_letter");
    assert_eq!(
        (&letter["reason"], &letter["source_queue"], &letter["message_id"]),
        (&json!("never"), &json!("work"), &json!("1"))
    );
}

#[tokio::test]
async fn poison_that_cannot_be_moved_stays_failed() {
    let world = World { refusing: Some("poison"), ..World::default() };
    assert_eq!(failed(&world, STANDARD, &[("1", "poison", "g"), ("2", "fine", "g")]).await, ["1"]);
}

#[tokio::test]
async fn on_fifo_a_failure_fails_the_rest_of_its_group_and_only_that() {
    let world = World::default();
    let records = [("1", "fine", "a"), ("2", "defer", "a"), ("3", "fine", "b"), ("4", "fine", "a"), ("5", "fine", "a")];
    assert_eq!(failed(&world, FIFO, &records).await, ["2", "4", "5"]);
    let delays: Vec<u32> = world.delayed.lock().unwrap().iter().map(|entry| entry.visible_in_s).collect();
    assert_eq!(delays, [30, 30, 30], "followers come back with their head");
}

#[tokio::test]
async fn on_fifo_poison_that_cannot_be_moved_holds_its_group_back() {
    let world = World { refusing: Some("poison"), ..World::default() };
    let records = [("1", "poison", "a"), ("2", "fine", "a"), ("3", "fine", "b")];
    assert_eq!(failed(&world, FIFO, &records).await, ["1", "2"]);
}

#[tokio::test]
async fn a_standard_queue_with_groups_is_not_fifo() {
    assert_eq!(failed(&World::default(), STANDARD, &[("1", "retry", "a"), ("2", "fine", "a")]).await, ["1"]);
}

#[tokio::test(start_paused = true)]
async fn what_has_not_finished_in_time_goes_back_before_the_function_is_stopped() {
    let started = tokio::time::Instant::now();
    assert_eq!(failed(&World::default(), STANDARD, &[("1", "hang", "g"), ("2", "owe a", "g")]).await, ["1"]);
    assert!(started.elapsed() <= Duration::from_secs(13), "two of fifteen seconds are kept");
}
