//! A world for the loop: a clock that follows tokio's, a queue that keeps what it is told.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lambda_queue::batch::{BatchError, Event, Invocation};
use lambda_queue::{Answer, Batch, Clock, Done, Entry, Failure, Outgoing, Queue, Random, Record};
use serde_json::{Value, json};
use tokio::time::Instant;

pub const STANDARD: &str = "arn:aws:sqs:us-east-1:000000000000:work";
pub const FIFO: &str = "arn:aws:sqs:us-east-1:000000000000:work.fifo";
/// When a test begins, UTC milliseconds.
pub const START_MS: u64 = 1_000_000;

pub struct World {
    /// When the test began, by tokio.
    pub began: Instant,
    /// Every send: when, milliseconds from the beginning, and what.
    pub sent: Mutex<Vec<(u64, Vec<Outgoing>)>>,
    /// Every call that changed visibilities.
    pub delayed: Mutex<Vec<Vec<Entry>>>,
    /// What goes to the queue with this in its body is refused.
    pub refusing: Option<&'static str>,
    /// No send ever ends.
    pub hanging: bool,
    /// How long a send takes.
    pub send_ms: u64,
    /// No change of visibility is taken.
    pub stuck: bool,
}

impl Default for World {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            sent: Mutex::default(),
            delayed: Mutex::default(),
            refusing: None,
            hanging: false,
            send_ms: 0,
            stuck: false,
        }
    }
}

impl Clock for World {
    fn now_ms(&self) -> u64 {
        START_MS + u64::try_from(self.began.elapsed().as_millis()).unwrap()
    }
}

impl Random for World {
    fn below(&self, bound: u64) -> u64 {
        bound.saturating_sub(1)
    }
}

impl Queue for World {
    async fn send(&self, queue: &str, messages: &[Outgoing]) -> Vec<Result<(), String>> {
        assert!(messages.len() <= 10 && messages.iter().all(|message| message.queue == queue));
        let at_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap();
        self.sent.lock().unwrap().push((at_ms, messages.to_vec()));
        if self.hanging {
            std::future::pending::<()>().await;
        }
        if self.send_ms > 0 {
            tokio::time::sleep(Duration::from_millis(self.send_ms)).await;
        }
        let refuses = |message: &Outgoing| self.refusing.is_some_and(|body| message.body.contains(body));
        messages.iter().map(|message| if refuses(message) { Err("refused".to_owned()) } else { Ok(()) }).collect()
    }

    async fn change_visibility(&self, _: &str, entries: &[Entry]) -> Vec<Result<(), String>> {
        assert!(entries.len() <= 10);
        self.delayed.lock().unwrap().push(entries.to_vec());
        entries.iter().map(|_| if self.stuck { Err("no such receipt".to_owned()) } else { Ok(()) }).collect()
    }
}

impl World {
    /// The waits that were set, in the order of the calls.
    pub fn waits(&self) -> Vec<(String, u32)> {
        let entries = self.delayed.lock().unwrap().concat();
        entries.into_iter().map(|entry| (entry.receipt_handle, entry.visible_in_s)).collect()
    }

    /// The bodies of each send.
    pub fn sends(&self) -> Vec<Vec<String>> {
        let sent = self.sent.lock().unwrap();
        sent.iter().map(|(_, messages)| messages.iter().map(|message| message.body.clone()).collect()).collect()
    }
}

/// A record of an event: id, body, group.
pub fn record(arn: &str, id: &str, body: &str, group: Option<&str>) -> Value {
    let mut attributes = json!({ "ApproximateReceiveCount": "1", "SentTimestamp": "999000" });
    if let Some(group) = group {
        attributes["MessageGroupId"] = json!(group);
    }
    json!({
        "messageId": id, "receiptHandle": format!("receipt-{id}"), "body": body, "md5OfBody": "x",
        "attributes": attributes, "messageAttributes": {}, "eventSource": "aws:sqs", "eventSourceARN": arn,
        "awsRegion": "us-east-1",
    })
}

pub fn event_of(records: &[Value]) -> Event {
    Event::from_json(&json!({ "Records": records }).to_string()).unwrap()
}

pub fn event(arn: &str, records: &[(&str, &str, &str)]) -> Event {
    event_of(&records.iter().map(|(id, body, group)| record(arn, id, body, Some(group))).collect::<Vec<_>>())
}

/// Fifteen seconds.
pub fn invocation() -> Invocation {
    Invocation { request_id: "r".to_owned(), deadline_ms: START_MS + 15_000, cold_start: false }
}

pub fn owes(queue: &str, body: &str) -> Outgoing {
    Outgoing { queue: queue.to_owned(), body: body.to_owned(), group: None, dedup: None, attributes: Vec::new() }
}

/// What a body asks its handler to do.
pub async fn obey(record: Arc<Record>) -> Answer {
    match record.body.as_str() {
        "panic" => panic!("on purpose"),
        "retry" => Err(Failure::retry("not now")),
        "after" => Err(Failure::Retry { after: Some(std::time::Duration::from_millis(6_500)), why: "wait".to_owned() }),
        "defer" => Err(Failure::defer(START_MS + 30_000, "held")),
        "busy" => Err(Failure::busy(START_MS + 90_000, "held")),
        "poison" => Err(Failure::poison("never")),
        "hang" => std::future::pending().await,
        body if body.starts_with("owe") => Ok(Done::now(vec![owes("next", body)])),
        _ => Ok(Done::now(Vec::new())),
    }
}

pub fn batch(world: &World) -> Batch<'_, World> {
    Batch::new("test", world).dead_letters("dead.fifo").quiet()
}

pub async fn failed_of<F, W>(batch: &Batch<'_, World>, event: Event, handler: F) -> Vec<String>
where
    F: Fn(Arc<Record>) -> W,
    W: Future<Output = Answer>,
{
    ids(batch.run(event, invocation(), handler).await)
}

pub fn ids(answer: Result<aws_lambda_events::event::sqs::SqsBatchResponse, BatchError>) -> Vec<String> {
    answer.unwrap().batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect()
}

pub async fn failed(world: &World, arn: &str, records: &[(&str, &str, &str)]) -> Vec<String> {
    failed_of(&batch(world), event(arn, records), obey).await
}
