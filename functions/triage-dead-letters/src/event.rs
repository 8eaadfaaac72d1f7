//! The event of a dead-letter queue: as the batch loop reads it, and each message as it came.

use std::collections::HashMap;

use lambda_queue::batch::Event;
use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};

/// What of a record is kept: all that the queue held. A receipt handle is of this receive and opens the queue.
const KEPT: [&str; 5] = ["messageId", "body", "attributes", "messageAttributes", "eventSourceARN"];

/// A batch of dead letters.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeadLetters {
    /// For the batch loop.
    pub event: Event,
    /// The messages as they came, by `messageId`.
    pub raw: HashMap<String, Value>,
}

impl<'de> Deserialize<'de> for DeadLetters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let whole = Value::deserialize(deserializer)?;
        let event = Event::from_json(&whole.to_string()).map_err(de::Error::custom)?;
        let records = whole.get("Records").and_then(Value::as_array).into_iter().flatten();
        let raw =
            records.filter_map(|record| Some((record.get("messageId")?.as_str()?.to_owned(), kept(record)))).collect();
        Ok(Self { event, raw })
    }
}

fn kept(record: &Value) -> Value {
    let fields = KEPT.into_iter().filter_map(|name| Some((name.to_owned(), record.get(name)?.clone())));
    Value::Object(fields.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn all_that_the_queue_held_is_kept_and_no_handle() {
        let record = json!({
            "messageId": "m", "receiptHandle": "secret", "body": "b", "md5OfBody": "x", "eventSource": "aws:sqs",
            "attributes": { "SentTimestamp": "1", "MessageGroupId": "g" },
            "messageAttributes": { "event": { "stringValue": "shipped", "dataType": "String" } },
            "eventSourceARN": "arn:aws:sqs:us-east-1:1:shop-notify-dlq.fifo",
        });
        let dead: DeadLetters = serde_json::from_value(json!({ "Records": [record] })).unwrap();
        assert_eq!(dead.event.records.len(), 1);
        assert_eq!(dead.event.records[0].group.as_deref(), Some("g"));
        let kept = &dead.raw["m"];
        assert_eq!(kept["attributes"]["MessageGroupId"], "g");
        assert_eq!(kept["messageAttributes"]["event"]["stringValue"], "shipped");
        assert_eq!(kept.get("receiptHandle"), None);
    }

    #[test]
    fn what_is_no_event_of_a_queue_is_refused() {
        for event in [json!([]), json!({}), json!({ "Records": "none" })] {
            assert!(serde_json::from_value::<DeadLetters>(event).is_err());
        }
    }
}
