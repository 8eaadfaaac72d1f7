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
