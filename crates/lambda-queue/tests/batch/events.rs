use aws_lambda_events::event::sqs::SqsEvent;
use lambda_queue::batch::Event;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::*;

#[test]
fn what_is_no_sqs_event_is_refused_and_not_quoted() {
    for text in [
        r#"{}"#,
        r#"{"Records":null}"#,
        r#"{"Records":"secret"}"#,
        r#"{"records":[]}"#,
        "[]",
        "null",
        "secret",
        r#"{"Records":["secret"]}"#,
        "",
    ] {
        let error = Event::from_json(text).unwrap_err().to_string();
        assert!(error.starts_with("not an SQS event") && !error.contains("secret"), "{error}");
        assert!(serde_json::from_str::<Event>(text).is_err());
    }
}

#[test]
fn no_records_are_an_event_of_none() {
    assert_eq!(Event::from_json(r#"{"Records":[],"more":{}}"#).unwrap(), Event::default());
}

#[tokio::test]
async fn a_body_that_is_null_or_absent_or_no_text_is_that_records_poison() {
    let world = World::default();
    let mut records: Vec<_> = (0..4).map(|id| record(STANDARD, &id.to_string(), "fine", None)).collect();
    records[1]["body"] = Value::Null;
    records[2].as_object_mut().unwrap().remove("body");
    records[3]["body"] = json!({ "an": ["object"] });
    let handler = |record: std::sync::Arc<lambda_queue::Record>| {
        assert_eq!(record.message_id, "0", "no handler sees a record without a body");
        obey(record)
    };
    assert!(failed_of(&batch(&world), event_of(&records), handler).await.is_empty());
    assert_eq!(world.sends(), [["null", "null", "null"]]);
}

#[tokio::test]
async fn a_field_of_another_type_harms_its_own_record_only() {
    let world = World::default();
    let mut records: Vec<_> = (0..8).map(|id| record(STANDARD, &id.to_string(), "fine", None)).collect();
    records[0]["attributes"] = Value::Null;
    records[1]["attributes"] = json!([1, { "a": "b" }]);
    records[2]["attributes"] = json!({ "ApproximateReceiveCount": 3, "SentTimestamp": "soon", "MessageGroupId": [] });
    records[3]["messageAttributes"] = json!("none");
    records[4]["messageAttributes"] = json!({ "a": 5, "b": { "stringValue": 7 }, "c": null });
    records[5]["receiptHandle"] = json!(true);
    records[6]["eventSourceARN"] = json!(1.5);
    records[7]["receiptHandle"] = Value::Null;
    records[7]["body"] = json!("retry");
    assert_eq!(failed_of(&batch(&world), event_of(&records), obey).await, ["7"]);
    assert!(world.waits().is_empty(), "without a receipt handle nothing is changed");
}

fn attribute() -> impl Strategy<Value = Value> {
    prop_oneof![
        ".{1,12}".prop_map(|text| json!({ "stringValue": text, "dataType": "String", "stringListValues": [] })),
        (0_u32..9).prop_map(|number| json!({ "stringValue": number.to_string(), "dataType": "Number" })),
        Just(json!({ "binaryValue": "aGVsbG8=", "dataType": "Binary", "binaryListValues": [] })),
    ]
}

proptest! {
    #[test]
    fn our_own_event_is_what_aws_lambda_events_makes_of_the_same_text(
        records in proptest::collection::vec(
            (".{0,8}", ".{0,40}", proptest::option::of("[a-z]{1,4}"), proptest::collection::btree_map("[a-z]{1,6}", attribute(), 0..4)),
            0..6,
        ),
    ) {
        let records: Vec<Value> = records
            .into_iter()
            .map(|(id, body, group, attributes)| {
                let mut record = record(FIFO, &id, &body, group.as_deref());
                record["messageAttributes"] = json!(attributes);
                record
            })
            .collect();
        let text = json!({ "Records": records }).to_string();
        let theirs: SqsEvent = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(Event::from_json(&text).unwrap(), Event::from(theirs));
    }
}

/// A member as Lambda sends it, or as nobody should.
fn odd() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!(true)),
        Just(json!(-1.5e3)),
        Just(json!([])),
        Just(json!(["a", ["b"]])),
        Just(json!({ "a": { "b": [1, "c"] } })),
        Just(json!("9")),
        "[ -~é\u{1F600}\n\t\u{1}\"\\\\]{0,40}".prop_map(Value::from),
    ]
}

const MEMBERS: [&str; 12] = [
    "messageId",
    "receiptHandle",
    "body",
    "attributes",
    "messageAttributes",
    "eventSourceARN",
    "awsRegion",
    "Records",
    "ApproximateReceiveCount",
    "SentTimestamp",
    "MessageGroupId",
    "AWSTraceHeader",
];

/// Whether both readings answer the same event, or none.
fn same(text: &[u8]) -> Result<(), TestCaseError> {
    let slow = serde_json::from_slice::<Event>(text);
    let quick = Event::from_slice(text);
    let shown = String::from_utf8_lossy(text);
    match (&slow, &quick) {
        (Ok(slow), Ok(quick)) => prop_assert_eq!(slow, quick, "{}", shown),
        (Err(slow), Err(quick)) => {
            prop_assert_eq!((slow.line(), slow.column()), (quick.line, quick.column), "{}", shown);
        }
        (slow, quick) => prop_assert!(false, "{slow:?} is not {quick:?}: {shown}"),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// The event is read in one of two ways. Bodies with escapes of each kind, members of other types, members twice, other
    /// spaces: whatever the one says, the other says.
    #[test]
    fn both_ways_of_reading_an_event_are_one(
        bodies in proptest::collection::vec((".{0,30}", "[ -~é\u{1F600}\n\t\u{1}\"\\\\]{0,60}"), 0..4),
        attributes in proptest::collection::btree_map("[a-z\"]{1,6}", attribute(), 0..3),
        changes in proptest::collection::vec((0_usize..4, 0_usize..MEMBERS.len(), any::<bool>(), odd()), 0..4),
        pretty in any::<bool>(),
        ascii in any::<bool>(),
    ) {
        let mut records: Vec<Value> =
            bodies.iter().map(|(id, body)| record(STANDARD, id, body, Some("g"))).collect();
        for (at, member, inner, value) in changes {
            let Some(record) = records.get_mut(at) else { continue };
            record["messageAttributes"] = json!(attributes);
            let place = if inner { &mut record["attributes"] } else { record };
            if let Some(members) = place.as_object_mut() {
                members.insert(MEMBERS[member].to_owned(), value);
            }
        }
        let event = json!({ "Records": records, "more": "texts" });
        let text = if pretty { serde_json::to_string_pretty(&event) } else { serde_json::to_string(&event) }.unwrap();
        // As writers of ASCII do, with pairs of surrogates.
        let escape = |c: char| c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04X}")).collect::<String>();
        let text = if ascii {
            text.chars().map(|c| if c.is_ascii() { c.to_string() } else { escape(c) }).collect()
        } else {
            text
        };
        same(text.as_bytes())?;
    }

    /// Bytes taken out, put in and cut off: what is no JSON any more is refused by both, at the same place.
    #[test]
    fn a_broken_event_is_judged_by_the_slow_reader(
        cut in 0_usize..700,
        changes in proptest::collection::vec((0_usize..700, any::<bool>(), prop_oneof![
            proptest::sample::select(br#"{}[]",:\ u0nx"#.to_vec()), any::<u8>(),
        ]), 0..3),
    ) {
        let body = "{\"a\":\"b\\u00e9/\n\"}";
        let records = [record(STANDARD, "one", body, None), record(FIFO, "two", "plain", Some("g"))];
        let mut text = json!({ "Records": records }).to_string().into_bytes();
        for (at, replace, byte) in changes {
            let at = at % text.len();
            if replace { text[at] = byte } else { text.insert(at, byte) }
        }
        if cut < text.len() / 2 {
            text.truncate(text.len() - cut);
        }
        same(&text)?;
    }
}

#[test]
fn members_that_are_there_twice_are_read_alike() {
    for text in [
        r#"{"Records":[{"messageId":"a","messageId":"b","body":"c","body":7}],"Records":[]}"#,
        r#"{"Records":[],"Records":[{"messageId":"a","attributes":{"MessageGroupId":"g"},"attributes":{}}]}"#,
        r#"{"Records":[{"attributes":{"SentTimestamp":"1","SentTimestamp":"x","AWSTraceHeader":"a","AWSTraceHeader":"b"}}]}"#,
        r#"{"Records":[{"messageAttributes":{"a":{"stringValue":"1","binaryValue":"2"},"a":{"dataType":"String"}}}]}"#,
        r#"{"Records":[{"eventSourceARN":""},{"eventSourceARN":"a"},{"eventSourceARN":"b"}]} "#,
        r#"{"Records":[{"messageId":"\u00e9\u0041\ud83d\ude00","body":"\u+041"}]}"#,
        r#"{"Records":[{"body":"\ud83d"}]}"#,
        r#"{"Records":[]}{}"#,
        "\u{feff}{\"Records\":[]}",
    ] {
        same(text.as_bytes()).unwrap();
    }
}

#[test]
fn the_event_of_lambdas_documentation_is_read_whole() {
    // https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html#example-standard-queue-message-event
    let text = r#"{
        "Records": [
            {
                "messageId": "059f36b4-87a3-44ab-83d2-661975830a7d",
                "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a...",
                "body": "Test message.",
                "attributes": {
                    "ApproximateReceiveCount": "1",
                    "SentTimestamp": "1545082649183",
                    "SenderId": "AIDAIENQZJOLO23YVJ4VO",
                    "ApproximateFirstReceiveTimestamp": "1545082649185",
                    "AWSTraceHeader": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
                },
                "messageAttributes": {
                    "myAttribute": {
                        "stringValue": "myValue",
                        "stringListValues": [],
                        "binaryListValues": [],
                        "dataType": "String"
                    }
                },
                "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:us-east-2:123456789012:my-queue",
                "awsRegion": "us-east-2"
            }
        ]
    }"#;
    let event = Event::from_json(text).unwrap();
    assert_eq!(event.queue_arn, "arn:aws:sqs:us-east-2:123456789012:my-queue");
    let [message] = event.records.as_slice() else { panic!("{event:?}") };
    assert_eq!(message.message_id.as_deref(), Some("059f36b4-87a3-44ab-83d2-661975830a7d"));
    assert_eq!((message.receive_count, message.sent_ms), (Some(1), Some(1_545_082_649_183)));
    assert!(message.aws_trace_header.as_deref().is_some_and(|header| header.starts_with("Root=1-5759e988-")));
    let [attribute] = message.attributes.as_slice() else { panic!("{event:?}") };
    assert_eq!((attribute.name.as_str(), attribute.value.as_str()), ("myAttribute", "myValue"));
}
