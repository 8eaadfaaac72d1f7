//! Publishes every version of every order, in order. Consumes the orders table's stream, emits `orderflow.order.*.v1` to
//! the topic and the bus.

use std::borrow::Cow;
use std::sync::Arc;

use aws_lambda_events::event::dynamodb::{Event as StreamEvent, EventRecord};
use lambda_queue::batch::stream::{StreamAnswer, StreamBatch, StreamItem, StreamVerdict};
use lambda_queue::batch::{BatchError, Invocation};
use lambda_queue::metrics::Document;
use lambda_queue::{Clock, Failure, Verdict};
use order::Order;
use ports::{Publication, PublishEvents};
use serde::Deserialize;

/// What this step may touch: its IAM role grants exactly this.
pub trait Ports: PublishEvents + Clock {}
impl<P: PublishEvents + Clock> Ports for P {}

/// In logs and metrics.
const FUNCTION: &str = "publish-events";
/// Entries of one `PublishBatch` and one `PutEvents`.
const BATCH: usize = 10;
/// Nothing is started with less than this left, milliseconds.
const KEPT_MS: u64 = 6_000;

/// A stream record, read as far as needed.
struct Change {
    sequence_number: String,
    publication: Publication,
    /// `None` of a row that cannot be read.
    committed_ms: Option<u64>,
}

impl StreamItem for Change {
    fn sequence_number(&self) -> Option<&str> {
        Some(&self.sequence_number)
    }

    fn key(&self) -> Cow<'_, str> {
        self.publication.order_id.as_str().into()
    }
}

/// Takes one batch of the stream. Answers `{"batchItemFailures":[{"itemIdentifier": <first unpublished sequence number>}]}`,
/// an empty list where all is published.
///
/// At most one version of an order is in a `PublishBatch`, and the next goes only after it succeeded: so versions leave in
/// order. At least once: what follows a failure is published again, under the same event ids and deduplication ids.
///
/// # Errors
/// When a record has no sequence number: the invocation has to fail.
pub async fn handle(
    ports: &impl Ports,
    event: StreamEvent,
    invocation: &Invocation,
) -> Result<StreamAnswer, BatchError> {
    let changes = event.records.into_iter().enumerate().filter_map(|(at, record)| read(at, record).transpose());
    let changes: Vec<Change> = changes.collect::<Result<_, _>>()?;
    let told: Vec<(String, u64, Option<u64>)> = changes
        .iter()
        .map(|change| (change.publication.order_id.to_string(), change.publication.version, change.committed_ms))
        .collect();
    let stream = StreamBatch::new(FUNCTION, ports);
    let deadline_ms = invocation.deadline_ms;
    let answer = stream
        .run_in_rounds(changes, invocation, BATCH, |round| async move { publish(ports, &round, deadline_ms).await })
        .await?;
    let now_ms = ports.now_ms();
    let published = answer.unfinished_from.unwrap_or(told.len());
    for (order_id, version, committed_ms) in told.into_iter().take(published) {
        let mut line = Document::new("record finished").dimension("function", FUNCTION);
        if let Some(committed_ms) = committed_ms {
            line = line.metric("latency_ms", "Milliseconds", now_ms.saturating_sub(committed_ms));
        }
        line.property("request_id", invocation.request_id.as_str())
            .property("order_id", order_id)
            .property("version", version)
            .property("verdict", Verdict::Done.name())
            .property("receive_count", 1)
            .emit(now_ms);
    }
    Ok(answer)
}

/// Publishes a round: at most ten versions, of as many orders.
async fn publish(ports: &impl Ports, round: &[Arc<Change>], deadline_ms: u64) -> Vec<StreamVerdict> {
    let now_ms = ports.now_ms();
    if now_ms.saturating_add(KEPT_MS) > deadline_ms {
        return vec![Err(Failure::defer(now_ms, "too little time left to publish")); round.len()];
    }
    let publications: Vec<Publication> = round.iter().map(|change| change.publication.clone()).collect();
    let results = ports.publish_events(&publications).await.into_iter();
    results.map(|result| result.map(|()| Verdict::Done).map_err(Failure::retry)).collect()
}

/// The attributes by which a row is told that cannot be read whole.
#[derive(Deserialize, Default)]
struct Head {
    #[serde(default)]
    order_id: String,
    #[serde(default)]
    version: u64,
}

/// What there is to publish of a record; `None` where the version did not change.
fn read(position: usize, record: EventRecord) -> Result<Option<Change>, BatchError> {
    let sequence_number = record.change.sequence_number.filter(|number| !number.is_empty());
    let sequence_number = sequence_number.ok_or(BatchError::NoSequenceNumber { position })?;
    let key: Head = serde_dynamo::from_item(record.change.keys).unwrap_or_default();
    if record.event_name == "REMOVE" {
        tracing::error!(order_id = key.order_id, sequence_number, "an order's row was deleted, which nobody may");
        return Ok(None);
    }
    // An old image that cannot be read hides no version: what is published too often does no harm.
    let old: Head = serde_dynamo::from_item(record.change.old_image).unwrap_or_default();
    let new = record.change.new_image;
    let head = match serde_dynamo::from_item::<_, Head>(new.clone()) {
        Ok(head) if !head.order_id.is_empty() && head.version > 0 => head,
        unreadable => {
            let why =
                unreadable.err().map_or_else(|| "no order_id or no version".to_owned(), |error| error.to_string());
            tracing::error!(
                order_id = key.order_id,
                sequence_number,
                why,
                "a row without id or version: told as changed"
            );
            if key.order_id.is_empty() {
                // Nothing is known that could be told.
                return Ok(None);
            }
            let publication = Publication::changed(&key.order_id, old.version.saturating_add(1));
            return Ok(Some(Change { sequence_number, publication, committed_ms: None }));
        }
    };
    if head.version <= old.version {
        // What changes without a version (when it is due) is nobody's business.
        return Ok(None);
    }
    let (publication, committed_ms) = match serde_dynamo::from_item::<_, Order>(new) {
        Ok(order) => (Publication::of(&order), order.last_event().map(|entry| entry.at_ms)),
        Err(error) => {
            tracing::error!(order_id = head.order_id, version = head.version, %error, "row cannot be read: told as changed");
            (Publication::changed(&head.order_id, head.version), None)
        }
    };
    Ok(Some(Change { sequence_number, publication, committed_ms }))
}

/// Publishes an order's whole story again, one version after the other. For operators.
pub async fn republish(ports: &impl Ports, order: &Order) -> Result<usize, Failure> {
    let story = Publication::story_of(order);
    for publication in &story {
        for result in ports.publish_events(std::slice::from_ref(publication)).await {
            result
                .map_err(|why| Failure::retry(format!("version {} was not published: {why}", publication.version)))?;
        }
    }
    Ok(story.len())
}
