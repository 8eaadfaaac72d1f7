//! A captured message, made into the event that its function got, and what a process may do while it handles it.

mod guard;

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use lambda_queue::dead_letter::{ATTRIBUTE, DeadLetter};
use order::Lane;
use ports::Letter;
use serde_json::{Map, Value, json};

pub(crate) use guard::{Guard, Held, What};

/// Where the event is for.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Replay {
    /// The function's package and binary.
    pub(crate) function: &'static str,
    /// The queue that the message is said to be from, by name.
    pub(crate) queue: String,
    /// The event: one record.
    pub(crate) event: Value,
}

/// Makes the event of a captured message (`raw`, as triage kept it), as if it had just been sent: its age is not that of the
/// letter, or every old one would be no more than expired.
///
/// # Errors
/// When it is not a message of a queue that one function consumes, or not as triage keeps them.
pub(crate) fn event(stack: &str, letter: &Letter, raw: &Value, now_ms: u64) -> anyhow::Result<Replay> {
    let message =
        raw.get("message").and_then(Value::as_object).context("the raw message is not as triage keeps them")?;
    let text = |name: &str| message.get(name).and_then(Value::as_str);
    let body = text("body").context("the raw message has no body")?;
    let arn = text("eventSourceARN").context("the raw message does not say where it was")?;
    let queue = source(stack, &letter.queue, body);
    let function = function_of(stack, &queue)?;
    let arn = match arn.rsplit_once(':') {
        Some((before, _)) => format!("{before}:{queue}"),
        None => bail!("{arn} is no ARN"),
    };
    let mut attributes = message.get("attributes").and_then(Value::as_object).cloned().unwrap_or_default();
    for (name, value) in [
        ("ApproximateReceiveCount", "1".to_owned()),
        ("SentTimestamp", now_ms.to_string()),
        ("ApproximateFirstReceiveTimestamp", now_ms.to_string()),
    ] {
        attributes.insert(name.to_owned(), json!(value));
    }
    attributes.remove("DeadLetterQueueSourceArn");
    let record = json!({
        "messageId": letter.message_id,
        // Of no receive: what is done with it is refused by SQS.
        "receiptHandle": "replay-local",
        "body": body,
        "attributes": attributes,
        "messageAttributes": senders(message.get("messageAttributes").and_then(Value::as_object)),
        "eventSource": "aws:sqs",
        "eventSourceARN": arn,
        "awsRegion": arn.split(':').nth(3).unwrap_or_default(),
    });
    Ok(Replay { function, queue, event: json!({ "Records": [record] }) })
}

/// The attributes as the sender set them: without the letter's, and with those that were folded into it.
fn senders(attributes: Option<&Map<String, Value>>) -> Map<String, Value> {
    let mut all = attributes.cloned().unwrap_or_default();
    let letter = all.remove(ATTRIBUTE);
    let letter = letter.as_ref().and_then(|letter| letter.get("stringValue")).and_then(Value::as_str);
    let letter: Option<DeadLetter> = letter.and_then(|text| serde_json::from_str(text).ok());
    for (name, folded) in letter.map(|letter| letter.folded).unwrap_or_default() {
        let field = if folded.data_type.starts_with("Binary") { "binaryValue" } else { "stringValue" };
        all.insert(name, json!({ "dataType": folded.data_type, field: folded.value }));
    }
    all
}

/// The queue that it came from. Where only the dead-letter queue is known: its step's queue of the lane that the message names.
fn source(stack: &str, known: &str, body: &str) -> String {
    let is_fifo = known.ends_with(".fifo");
    let Some(step) = known.trim_end_matches(".fifo").strip_suffix("-dlq") else { return known.to_owned() };
    if is_fifo {
        return format!("{step}.fifo");
    }
    if step == format!("{stack}-archive") {
        return step.to_owned();
    }
    let lane = serde_json::from_str::<Value>(body).ok();
    let lane = lane.as_ref().and_then(|body| body.get("lane")).and_then(Value::as_str);
    let lane = lane.and_then(|lane| lane.parse::<Lane>().ok()).unwrap_or(Lane::Standard);
    format!("{step}-{}", lane.name())
}

fn function_of(stack: &str, queue: &str) -> anyhow::Result<&'static str> {
    let own = queue.strip_prefix(stack).and_then(|rest| rest.strip_prefix('-')).unwrap_or(queue);
    let step = own.split(['-', '.']).next().unwrap_or_default();
    Ok(match step {
        "validate" => "validate-order",
        "payment" => "process-payment",
        "stock" => "reserve-stock",
        "shipping" => "ship-order",
        "notify" => "notify-customer",
        "archive" => "archive-events",
        _ => bail!("no function consumes {queue}: there is nothing to run it through"),
    })
}

/// The variables that name a provider's address.
pub(crate) const PROVIDERS: [&str; 2] = ["PAYMENT_API_URL", "CARRIER_API_URL"];

/// What of an environment names something that a process can read or change, for a person to read.
pub(crate) fn reach(environment: &BTreeMap<String, String>) -> Vec<String> {
    let tells = |name: &str| {
        ["_TABLE", "_URL", "_URL_PREFIX", "_BUCKET", "_BUS_NAME", "_TOPIC_ARN"].iter().any(|end| name.ends_with(end))
    };
    environment.iter().filter(|(name, _)| tells(name)).map(|(name, value)| format!("{name}={value}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(queue: &str) -> Letter {
        Letter {
            queue: queue.to_owned(),
            message_id: "first".to_owned(),
            letter_id: "letter".to_owned(),
            raw: "key".to_owned(),
            sent_at_ms: 1,
            attempts: 3,
        }
    }

    fn raw(body: &str) -> Value {
        let letter = json!({
            "code": "poison", "attempts": 3, "source_queue": "shop-payment-bulk", "message_id": "first", "first_seen_ms": 1,
            "folded": { "count": { "type": "Number", "value": "7" }, "blob": { "type": "Binary", "value": "AA==" } },
        });
        json!({ "message": {
            "messageId": "letter",
            "body": body,
            "attributes": { "MessageGroupId": "acme", "ApproximateReceiveCount": "9", "SentTimestamp": "1" },
            "messageAttributes": {
                "dead_letter": { "dataType": "String", "stringValue": letter.to_string() },
                "traceparent": { "dataType": "String", "stringValue": "00-1" },
            },
            "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:shop-payment-dlq",
        } })
    }

    #[test]
    fn the_event_is_what_its_function_got_and_just_sent() {
        let replay = event("shop", &letter("shop-payment-bulk"), &raw("not JSON"), 5_000).unwrap();
        assert_eq!((replay.function, replay.queue.as_str()), ("process-payment", "shop-payment-bulk"));
        let record = &replay.event["Records"][0];
        assert_eq!(record["messageId"], "first");
        assert_eq!(record["body"], "not JSON");
        assert_eq!(record["eventSourceARN"], "arn:aws:sqs:eu-west-1:123456789012:shop-payment-bulk");
        assert_eq!(record["awsRegion"], "eu-west-1");
        assert_eq!(record["attributes"]["ApproximateReceiveCount"], "1");
        assert_eq!(record["attributes"]["SentTimestamp"], "5000");
        assert_eq!(record["attributes"]["MessageGroupId"], "acme");
        let attributes = record["messageAttributes"].as_object().unwrap();
        assert_eq!(attributes.keys().collect::<Vec<_>>(), ["blob", "count", "traceparent"]);
        assert_eq!(attributes["count"]["stringValue"], "7");
        assert_eq!(attributes["blob"]["binaryValue"], "AA==");
    }

    #[test]
    fn each_queue_has_its_function_and_a_dead_letter_queue_stands_for_those_that_feed_it() {
        let express = r#"{"lane":"express"}"#;
        for (known, body, queue, function) in [
            ("shop-validate-express", "", "shop-validate-express", "validate-order"),
            ("shop-stock-dlq", express, "shop-stock-express", "reserve-stock"),
            ("shop-shipping-dlq", "not JSON", "shop-shipping-standard", "ship-order"),
            ("shop-notify-dlq.fifo", express, "shop-notify.fifo", "notify-customer"),
            ("shop-archive-dlq", express, "shop-archive", "archive-events"),
        ] {
            let replay = event("shop", &letter(known), &raw(body), 0).unwrap();
            assert_eq!((replay.queue.as_str(), replay.function), (queue, function), "{known}");
        }
        let nobodys = event("shop", &letter("shop-events-dlq"), &raw("{}"), 0).unwrap_err();
        assert!(nobodys.to_string().contains("no function"), "{nobodys}");
    }

    #[test]
    fn what_triage_did_not_keep_is_refused() {
        assert!(event("shop", &letter("shop-stock-bulk"), &json!({}), 0).is_err());
        assert!(event("shop", &letter("shop-stock-bulk"), &json!({ "message": { "body": "b" } }), 0).is_err());
    }

    #[test]
    fn what_a_process_can_reach_is_told_and_no_key_with_it() {
        let environment =
            [("ORDERS_TABLE", "t"), ("PAYMENT_API_URL", "u"), ("AWS_SECRET_ACCESS_KEY", "s"), ("STAGE", "x")];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(reach(&environment), ["ORDERS_TABLE=t", "PAYMENT_API_URL=u"]);
    }
}
