//! What is told of rows that cannot be read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Mutex;

use aws_lambda_events::event::dynamodb::Event;
use lambda_queue::Clock;
use lambda_queue::batch::Invocation;
use ports::{Publication, PublishEvents};
use serde_json::{Value, json};

const NOW_MS: u64 = 1_795_426_200_000;
const ID: &str = "6274a7cd-17b9-8f6c-80c0-45bc88dbba23";

#[derive(Default)]
struct World(Mutex<Vec<Publication>>);

impl Clock for World {
    fn now_ms(&self) -> u64 {
        NOW_MS
    }
}

impl PublishEvents for World {
    async fn publish_events(&self, events: &[Publication]) -> Vec<Result<(), String>> {
        self.0.lock().unwrap().extend_from_slice(events);
        vec![Ok(()); events.len()]
    }
}

/// What is published of one record, by kind, order and version.
async fn told(name: &str, old: Option<Value>, new: Option<Value>) -> Vec<(String, String, u64)> {
    let mut change = json!({
        "Keys": { "order_id": { "S": ID } }, "SequenceNumber": "111", "SizeBytes": 1, "StreamViewType": "NEW_AND_OLD_IMAGES",
    });
    for (field, image) in [("OldImage", old), ("NewImage", new)] {
        if let Some(image) = image {
            change[field] = image;
        }
    }
    let event: Event = serde_json::from_value(json!({ "Records": [{
        "eventID": "1", "eventName": name, "eventVersion": "1.1", "eventSource": "aws:dynamodb", "awsRegion": "us-east-1",
        "eventSourceARN": "arn:aws:dynamodb:us-east-1:000000000000:table/orders/stream/1", "dynamodb": change,
    }]}))
    .unwrap();
    let world = World::default();
    let of = Invocation { request_id: "r".to_owned(), deadline_ms: NOW_MS + 60_000, cold_start: false };
    assert_eq!(publish_events::handle(&world, event, &of).await.unwrap().restart_at(), None);
    let published = world.0.into_inner().unwrap();
    published.into_iter().map(|event| (event.kind, event.order_id, event.version)).collect()
}

fn changed(version: u64) -> Vec<(String, String, u64)> {
    vec![("orderflow.order.changed.v1".to_owned(), ID.to_owned(), version)]
}

fn row(version: Value) -> Option<Value> {
    Some(json!({ "order_id": { "S": ID }, "version": version }))
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_told_as_changed_be_it_that_not_even_its_version_can() {
    let four = || row(json!({ "N": "4" }));
    assert_eq!(told("MODIFY", row(json!({ "N": "3" })), four()).await, changed(4), "the rest of the row is missing");
    for odd in [row(json!({ "S": "five" })), row(json!({ "N": "-1" })), Some(json!({ "order_id": { "S": ID } })), None]
    {
        assert_eq!(told("MODIFY", four(), odd.clone()).await, changed(5), "{odd:?}");
    }
    let no_id = Some(json!({ "order_id": { "N": "1" }, "version": { "N": "5" } }));
    assert_eq!(told("MODIFY", four(), no_id).await, changed(5));
    assert_eq!(told("MODIFY", row(json!({ "S": "four" })), row(json!({ "N": "5" }))).await, changed(5));
}

#[tokio::test]
async fn nothing_is_told_of_a_version_that_was_told_before_nor_of_a_deleted_row() {
    let four = || row(json!({ "N": "4" }));
    assert_eq!(told("MODIFY", four(), four()).await, []);
    assert_eq!(told("REMOVE", four(), None).await, []);
}
