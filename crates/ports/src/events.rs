//! Order events: one for every version of a row.

use std::future::Future;

use lambda_queue::envelope::Envelope;
use order::{EventKind, Order, OrderId, State, TimelineEntry};
use serde::{Deserialize, Serialize};

use crate::message::span_of;
use crate::{SOURCE, StoreError};

/// The version of order events that this program writes, and the newest it reads.
pub const EVENT_VERSION: u32 = 1;

/// The payload of an order event: what other teams may know. No customer data.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EventData {
    /// Which order.
    pub order_id: OrderId,
    /// The version that the event made.
    pub version: u64,
    /// What happened; `None` in `orderflow.order.changed.v1`, which is sent where nothing more can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventKind>,
    /// Where the order stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Minor units, from validation on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_minor: Option<u64>,
    /// Of the total.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Why it did not end shipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Minor units that went back, or are asked back.
    #[serde(default)]
    pub refunds_minor: u64,
}

/// An order event.
pub type Event = Envelope<EventData>;

/// An event on its way out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Publication {
    /// Which order: the FIFO group.
    pub order_id: String,
    /// Which version: with the order the deduplication id.
    pub version: u64,
    /// For subscription filters: the event's name, `changed` where there is none.
    pub event: String,
    /// The lane, or empty.
    pub lane: String,
    /// The CloudEvents type: EventBridge's detail-type.
    pub kind: String,
    /// The event as JSON.
    pub body: String,
}

impl Publication {
    /// The event of a row's present version.
    pub fn of(order: &Order) -> Self {
        order.last_event().filter(|entry| entry.version == order.version).map_or_else(
            || Self::changed(&order.order_id.to_string(), order.version),
            |entry| Self::rendered(order, entry),
        )
    }

    /// The whole story again, one event a version, told from the row. What the row no longer knows of an old version
    /// (the state then) is left out; ids are those of the first time.
    pub fn story_of(order: &Order) -> Vec<Self> {
        order.timeline.iter().map(|entry| Self::rendered(order, entry)).collect()
    }

    fn rendered(order: &Order, entry: &TimelineEntry) -> Self {
        let present = entry.version == order.version;
        let kind = format!("orderflow.order.{}.v1", entry.event.name());
        let data = EventData {
            order_id: order.order_id,
            version: entry.version,
            event: Some(entry.event),
            state: present.then_some(order.state),
            total_minor: order.total.map(|total| total.amount_minor),
            currency: Some(order.currency.code().to_owned()),
            reason: order.reason.as_ref().and_then(|reason| {
                serde_json::to_value(reason.code).ok().and_then(|code| code.as_str().map(str::to_owned))
            }),
            refunds_minor: order.refunds_minor(),
        };
        let mut event = Event::new(entry.event_id(order.order_id).to_string(), SOURCE, kind.clone(), data)
            .subject(order.order_id.to_string())
            .at(entry.at_ms)
            .schema("urn:orderflow:order-event:v1")
            .correlation(order.order_id.to_string())
            .lane(order.lane.name())
            .tenant(order.tenant.as_str());
        event.traceparent = span_of(order, &event.id);
        Self {
            order_id: order.order_id.to_string(),
            version: entry.version,
            event: entry.event.name().to_owned(),
            lane: order.lane.name().to_owned(),
            kind,
            body: serde_json::json!(event).to_string(),
        }
    }

    /// What is said of a version that this program cannot read: that it is there.
    pub fn changed(order_id: &str, version: u64) -> Self {
        let kind = "orderflow.order.changed.v1".to_owned();
        let body = serde_json::json!({
            "specversion": "1.0",
            "id": format!("{order_id}/{version}"),
            "source": SOURCE,
            "type": kind,
            "subject": order_id,
            "datacontenttype": "application/json",
            "data": { "order_id": order_id, "version": version },
            "correlationid": order_id,
        });
        Self {
            order_id: order_id.to_owned(),
            version,
            event: "changed".to_owned(),
            lane: String::new(),
            kind,
            body: body.to_string(),
        }
    }
}

/// Publishes order events to the topic and the bus. `sns`: Publish, `events`: PutEvents.
pub trait PublishEvents {
    /// One `PublishBatch` and one `PutEvents` of at most ten events, of ten different orders; answers each: published to
    /// both, or why not.
    fn publish_events(&self, events: &[Publication]) -> impl Future<Output = Vec<Result<(), String>>> + Send;
}

/// Keeps events for analytics and audit. `s3`: PutObject.
pub trait ArchiveEvents {
    /// Writes one object of JSON lines (gzip). The same key is the same content: a repeat overwrites itself.
    fn archive_events(&self, key: &str, lines: &[String]) -> impl Future<Output = Result<(), StoreError>> + Send;
}
