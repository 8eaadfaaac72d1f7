//! Keeps every order event for analytics and audit. Consumes order events in large batches, emits one gzip object of JSON
//! lines a batch: `events/date=2026-11-23/hour=09/<hash of the batch>.ndjson.gz`.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use aws_lambda_events::event::sqs::SqsBatchResponse;
use futures::FutureExt;
use lambda_queue::batch::{BatchError, Event, Invocation};
use lambda_queue::envelope::rfc3339;
use lambda_queue::{Batch, Clock, Done, Failure, Queue, Random};
use ports::ArchiveEvents;
use serde_json::error::Category;
use sha2::{Digest, Sha256};

/// What this step may touch: its IAM role grants exactly this.
pub trait Ports: ArchiveEvents + Clock {}
impl<P: ArchiveEvents + Clock> Ports for P {}

/// Takes one batch of the archive queue: all of its events in one object, acknowledged together; what is no JSON is
/// poison by itself.
///
/// Idempotent: the object's key is a hash of the batch's message ids, so the same batch overwrites itself; an event that
/// comes in two batches is in two objects, with the same id.
pub async fn handle<P: Ports + Random + Queue>(
    batch: &Batch<'_, P>,
    event: Event,
    invocation: Invocation,
) -> Result<SqsBatchResponse, BatchError> {
    let bodies = event.records.iter().filter_map(|record| record.body.as_deref());
    let lines: Vec<String> = bodies.filter_map(|body| line(body).ok()).collect();
    let key = key(&event, batch.ports().now_ms());
    let write = async {
        if lines.is_empty() { Ok(()) } else { batch.ports().archive_events(&key, &lines).await.map_err(Failure::from) }
    };
    // A panic is that of every record, and not of the one alone that happened to be first.
    let written = async {
        match AssertUnwindSafe(write).catch_unwind().await {
            Ok(written) => written,
            Err(panic) => Err(bug(&*panic)),
        }
    }
    .shared();
    batch
        .run(event, invocation, |record| {
            let written = written.clone();
            async move {
                line(&record.body).map_err(Failure::poison)?;
                written.await?;
                Ok(Done::now(Vec::new()))
            }
        })
        .await
}

fn bug(panic: &(dyn Any + Send)) -> Failure {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Failure::bug(format!("panic: {}", text.unwrap_or("of no text")))
}

/// The body as one line of JSON, or why it is none.
fn line(body: &str) -> Result<String, &'static str> {
    let value: Result<serde_json::Map<String, serde_json::Value>, serde_json::Error> = serde_json::from_str(body);
    match value {
        Ok(value) => Ok(serde_json::Value::Object(value).to_string()),
        Err(error) => Err(match error.classify() {
            Category::Eof => "no JSON: it ends too early",
            Category::Syntax | Category::Io => "no JSON",
            Category::Data => match serde_json::from_str(body) {
                Ok(serde_json::Value::Array(_)) => "a JSON list and no object",
                Ok(serde_json::Value::String(_)) => "a JSON text and no object",
                Ok(_) | Err(_) => "not a JSON object",
            },
        }),
    }
}

fn key(event: &Event, now_ms: u64) -> String {
    let mut hash = Sha256::new();
    for id in event.records.iter().filter_map(|record| record.message_id.as_deref()) {
        hash.update(id.as_bytes());
        hash.update(b"\n");
    }
    let hash: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let now = rfc3339(now_ms);
    let (date, time) = now.split_once('T').unwrap_or((&now, ""));
    let hour: String = time.chars().take(2).collect();
    format!("events/date={date}/hour={hour}/{hash}.ndjson.gz")
}
