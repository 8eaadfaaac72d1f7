//! A captured message, made into the event that its function got, and what a process may do while it handles it.

mod guard;

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};
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

/// Other variables that hold an address and lead nowhere: a queue's is a parameter of a call that goes to AWS's address.
const QUEUES: [&str; 2] = ["DLQ_URL", "QUEUE_URL_PREFIX"];
/// What AWS's SDK may be told: where AWS is, and as whom. Every other variable of it may lead around a guard
/// (`AWS_ENDPOINT_URL_SQS`, `AWS_CONFIG_FILE`, `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS`).
const AWS: [&str; 8] = [
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_LAMBDA_FUNCTION_NAME",
];

/// Takes out of an environment what leads around the guards of AWS's address and the providers', and answers the names. What
/// spans are exported to is among it: the deployed function's spans are not ours to write.
///
/// # Errors
/// Where something holds an address that nobody here knows, or a proxy: it is not run at all.
pub(crate) fn close_ways_out(environment: &mut BTreeMap<String, String>) -> anyhow::Result<Vec<String>> {
    let neutral = |name: &str| name.starts_with("OTEL_") || (name.starts_with("AWS_") && !AWS.contains(&name));
    let closed: Vec<String> = environment.keys().filter(|name| neutral(name)).cloned().collect();
    environment.retain(|name, _| !neutral(name));
    let known = |name: &str| PROVIDERS.contains(&name) || QUEUES.contains(&name) || AWS.contains(&name);
    let addresses = |name: &str, value: &str| {
        let name = name.to_ascii_uppercase();
        let ends = ["_URL", "_URI", "_ENDPOINT", "_HOST", "_ADDRESS", "_PROXY"];
        value.contains("://") || ends.iter().any(|end| name.ends_with(end))
    };
    let open: Vec<&str> = environment
        .iter()
        .filter(|(name, value)| !value.is_empty() && !known(name) && addresses(name, value))
        .map(|(name, _)| name.as_str())
        .collect();
    ensure!(
        open.is_empty(),
        "the function's environment has {}: no guard stands before it, so what it does cannot be held back",
        open.join(", ")
    );
    Ok(closed)
}

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
    fn a_way_around_the_guards_is_closed_and_one_that_nobody_knows_is_not_taken() {
        let plain = [
            ("AWS_ENDPOINT_URL", "http://a"),
            ("AWS_REGION", "eu-west-1"),
            ("PAYMENT_API_URL", "http://b"),
            ("DLQ_URL", "http://c/1/shop-stock-dlq"),
            ("QUEUE_URL_PREFIX", "http://c/1/shop-"),
            ("ORDERS_TABLE", "orders"),
            ("LOG_LEVEL", "info"),
        ];
        let plain = plain.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let plain: BTreeMap<String, String> = plain.into();
        for (name, value) in [
            ("AWS_ENDPOINT_URL_SQS", "http://x"),
            ("AWS_ENDPOINT_URL_DYNAMODB", "http://x"),
            ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"),
            ("AWS_CONFIG_FILE", "/etc/aws"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://x"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://x"),
        ] {
            let mut all = plain.clone();
            all.insert(name.to_owned(), value.to_owned());
            assert_eq!(close_ways_out(&mut all).unwrap(), [name]);
            assert_eq!(all, plain, "{name}");
        }
        for (name, value) in [
            ("FRAUD_API_URL", "http://x"),
            ("FRAUD_API_URL", "fraud.internal:80"),
            ("WEBHOOK", "https://x"),
            ("TAX_ENDPOINT", "x:1"),
            ("https_proxy", "x:3128"),
        ] {
            let mut all = plain.clone();
            all.insert(name.to_owned(), value.to_owned());
            let refused = close_ways_out(&mut all).unwrap_err().to_string();
            assert!(refused.contains(name), "{refused}");
        }
        let mut unset = plain.clone();
        unset.insert("FRAUD_API_URL".to_owned(), String::new());
        assert_eq!(close_ways_out(&mut unset).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn what_a_process_can_reach_is_told_and_no_key_with_it() {
        let environment =
            [("ORDERS_TABLE", "t"), ("PAYMENT_API_URL", "u"), ("AWS_SECRET_ACCESS_KEY", "s"), ("STAGE", "x")];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(reach(&environment), ["ORDERS_TABLE=t", "PAYMENT_API_URL=u"]);
    }
}
