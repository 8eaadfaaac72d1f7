//! Publishes every version of every order, in order. Consumes the orders table's stream, emits `orderflow.order.*.v1` to
//! the topic and the bus.

use std::collections::HashSet;

use aws_lambda_events::event::dynamodb::{Event as StreamEvent, EventRecord};
use lambda_queue::batch::Invocation;
use lambda_queue::meter::Meter;
use lambda_queue::metrics::Document;
use lambda_queue::{Clock, Failure};
use order::Order;
use ports::{Publication, PublishEvents};
use serde::Deserialize;
use serde_json::{Value, json};

/// What this step may touch: its IAM role grants exactly this.
pub trait Ports: PublishEvents + Clock {}
impl<P: PublishEvents + Clock> Ports for P {}

/// Entries of one `PublishBatch` and one `PutEvents`.
const BATCH: usize = 10;
/// Nothing is started with less than this left, milliseconds.
const KEPT_MS: u64 = 6_000;

/// A stream record that cannot even be answered: without a sequence number there is nothing to restart at.
#[derive(Debug, thiserror::Error)]
#[error("record {0} of the stream event has no sequence number: the batch cannot be answered in part")]
pub struct NoSequenceNumber(usize);

/// A stream record, read as far as needed.
struct Change {
    sequence_number: String,
    /// `None`: nothing to publish, the version did not change.
    publication: Option<Publication>,
    committed_ms: u64,
}

/// Takes one batch of the stream. Answers `{"batchItemFailures":[{"itemIdentifier": <first unpublished sequence number>}]}`,
/// an empty list where all is published.
///
/// At most one version of an order is in a `PublishBatch`, and the next goes only after it succeeded: so versions leave in
/// order. At least once: what follows a failure is published again, under the same event ids and deduplication ids.
pub async fn handle(
    ports: &impl Ports,
    event: StreamEvent,
    invocation: &Invocation,
) -> Result<Value, NoSequenceNumber> {
    let started_ms = ports.now_ms();
    let meter = Meter::default();
    let records = event.records.len();
    let changes: Vec<Change> =
        event.records.into_iter().enumerate().map(|(at, record)| read(at, record)).collect::<Result<_, _>>()?;
    let failed = meter.around(publish_all(ports, &changes, invocation.deadline_ms)).await;
    let now_ms = ports.now_ms();
    let published = changes
        .iter()
        .take(failed.unwrap_or(changes.len()))
        .filter_map(|change| change.publication.as_ref().map(|publication| (publication, change.committed_ms)));
    for (publication, committed_ms) in published {
        Document::new("record finished")
            .dimension("function", "publish-events")
            .metric("latency_ms", "Milliseconds", now_ms.saturating_sub(committed_ms))
            .property("request_id", invocation.request_id.as_str())
            .property("order_id", publication.order_id.as_str())
            .property("version", publication.version)
            .property("verdict", "done")
            .property("receive_count", 1)
            .emit(now_ms);
    }
    Document::new("invocation finished")
        .dimension("function", "publish-events")
        .metric("records", "Count", records as u64)
        .metric("failed", "Count", failed.map_or(0, |at| changes.len().saturating_sub(at)) as u64)
        .metric("duration_ms", "Milliseconds", now_ms.saturating_sub(started_ms))
        .property("request_id", invocation.request_id.as_str())
        .property("calls", json!(meter.calls()))
        .property("cold_start", invocation.cold_start)
        .emit(now_ms);
    let first = failed.and_then(|at| changes.get(at)).map(|change| json!({ "itemIdentifier": change.sequence_number }));
    Ok(json!({ "batchItemFailures": first.into_iter().collect::<Vec<_>>() }))
}

/// Publishes in stream order, a batch at a time; answers the place of the first change that is not published.
async fn publish_all(ports: &impl Ports, changes: &[Change], deadline_ms: u64) -> Option<usize> {
    let mut at = 0;
    while at < changes.len() {
        if ports.now_ms().saturating_add(KEPT_MS) > deadline_ms {
            return Some(at);
        }
        let (batch, next) = batch_from(changes, at);
        let publications: Vec<Publication> = batch.iter().map(|(_, publication)| (*publication).clone()).collect();
        if !publications.is_empty() {
            let results = ports.publish_events(&publications).await;
            for (number, (place, publication)) in batch.iter().enumerate() {
                let why = match results.get(number) {
                    Some(Ok(())) => continue,
                    Some(Err(why)) => why.as_str(),
                    None => "no answer for it",
                };
                tracing::warn!(order_id = publication.order_id, version = publication.version, why, "not published");
                return Some(*place);
            }
        }
        at = next;
    }
    None
}

/// The next changes that may leave together: at most ten, of as many orders. Answers them with their places, and where
/// the batch after them begins.
fn batch_from(changes: &[Change], from: usize) -> (Vec<(usize, &Publication)>, usize) {
    let mut orders = HashSet::new();
    let mut batch = Vec::with_capacity(BATCH);
    for (place, change) in changes.iter().enumerate().skip(from) {
        let Some(publication) = &change.publication else { continue };
        if batch.len() == BATCH || !orders.insert(publication.order_id.as_str()) {
            return (batch, place);
        }
        batch.push((place, publication));
    }
    (batch, changes.len())
}

/// The attributes by which a row is told that cannot be read whole.
#[derive(Deserialize, Default)]
struct Head {
    #[serde(default)]
    order_id: String,
    #[serde(default)]
    version: u64,
}

fn read(at: usize, record: EventRecord) -> Result<Change, NoSequenceNumber> {
    let sequence_number = record.change.sequence_number.clone().filter(|number| !number.is_empty());
    let sequence_number = sequence_number.ok_or(NoSequenceNumber(at))?;
    let new = record.change.new_image;
    let head: Head = serde_dynamo::from_item(new.clone()).unwrap_or_default();
    let old: Head = serde_dynamo::from_item(record.change.old_image).unwrap_or_default();
    if head.order_id.is_empty() || head.version <= old.version {
        // A row is never deleted; what changes without a version (when it is due) is nobody's business.
        return Ok(Change { sequence_number, publication: None, committed_ms: 0 });
    }
    Ok(match serde_dynamo::from_item::<_, Order>(new) {
        Ok(order) => Change {
            sequence_number,
            committed_ms: order.last_event().map_or(0, |entry| entry.at_ms),
            publication: Some(Publication::of(&order)),
        },
        Err(error) => {
            tracing::error!(order_id = head.order_id, version = head.version, %error, "row cannot be read: told as changed");
            Change {
                sequence_number,
                committed_ms: 0,
                publication: Some(Publication::changed(&head.order_id, head.version)),
            }
        }
    })
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
