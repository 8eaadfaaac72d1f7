//! Events for the examples.

/// An event of these messages: id, group, body.
pub fn event(queue_arn: &str, sent_ms: u64, messages: &[(&str, Option<&str>, &str)]) -> serde_json::Value {
    let records: Vec<_> = messages
        .iter()
        .map(|(id, group, body)| {
            serde_json::json!({
                "messageId": id, "receiptHandle": format!("receipt of {id}"), "body": body,
                "attributes": {
                    "ApproximateReceiveCount": "1", "SentTimestamp": sent_ms.to_string(), "MessageGroupId": group,
                },
                "messageAttributes": {}, "eventSource": "aws:sqs", "eventSourceARN": queue_arn,
            })
        })
        .collect();
    serde_json::json!({ "Records": records })
}
