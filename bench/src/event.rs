//! The events that all contestants get: the same bytes.

use serde_json::{Value, json};

/// The queue they say they come from.
pub const QUEUE_ARN: &str = "arn:aws:sqs:us-east-1:000000000000:bench";

/// An SQS event as Lambda sends it, one record a body. Message ids are `<prefix>-<position>` in the form of a UUID, so
/// that an answer can be checked.
pub fn sqs(bodies: impl IntoIterator<Item = Value>) -> Value {
    let records: Vec<Value> = bodies.into_iter().enumerate().map(|(at, body)| record(at, &body)).collect();
    json!({ "Records": records })
}

/// The message id of the record at this position.
pub fn message_id(at: usize) -> String {
    format!("059f36b4-87a3-44ab-83d2-{at:012x}")
}

/// The body of an order: what every handler here reads.
pub fn order(order_id: &str, quantity: i64) -> Value {
    json!({
        "order_id": order_id,
        "quantity": quantity,
        "currency": "EUR",
        "sku": "TEE-S-BLK",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    })
}

/// All the fields of AWS's sample event, of the lengths that they have in life.
/// <https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html#example-standard-queue-message-event>
fn record(at: usize, body: &Value) -> Value {
    json!({
        "messageId": message_id(at),
        "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a".repeat(5),
        "body": body.to_string(),
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": "1795426200123",
            "SenderId": "AIDAIENQZJOLO23YVJ4VO",
            "ApproximateFirstReceiveTimestamp": "1795426200456",
        },
        "messageAttributes": {},
        "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
        "eventSource": "aws:sqs",
        "eventSourceARN": QUEUE_ARN,
        "awsRegion": "us-east-1",
    })
}
