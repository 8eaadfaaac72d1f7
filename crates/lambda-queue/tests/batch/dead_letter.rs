use lambda_queue::batch::Attribute;
use lambda_queue::dead_letter::{ATTRIBUTE, DeadLetter, Folded, MOST_ATTRIBUTES, MOST_BYTES, message_bytes};
use lambda_queue::{Outgoing, Record, RecordContext};
use proptest::prelude::*;
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn poison_goes_to_the_dead_letter_queue_with_one_attribute_and_is_acknowledged() {
    let world = World::default();
    assert!(
        failed(&world, STANDARD, &[("1", "poison", "g"), ("2", "fine", "g"), ("3", "poison", "h")]).await.is_empty()
    );
    let sent = world.sent.lock().unwrap();
    assert_eq!(sent.len(), 1, "letters leave together");
    let letter = &sent[0].1[0];
    assert_eq!((letter.queue.as_str(), letter.body.as_str()), ("dead.fifo", "poison"));
    assert_eq!((letter.group.as_deref(), letter.dedup.as_deref()), (Some("g"), Some("1")));
    let (name, value) = &letter.attributes[0];
    assert_eq!(name, "dead_letter");
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(value).unwrap(),
        json!({ "reason": "never", "code": "poison", "attempts": 1, "source_queue": "work", "message_id": "1",
            "first_seen_ms": 999_000 })
    );
}

#[tokio::test]
async fn poison_that_cannot_be_moved_or_has_nowhere_to_go_stays_failed() {
    let world = World { refusing: Some("poison"), ..World::default() };
    assert_eq!(failed(&world, STANDARD, &[("1", "poison", "g"), ("2", "fine", "g")]).await, ["1"]);
    let world = World::default();
    let batch = lambda_queue::Batch::new("test", &world).quiet();
    assert_eq!(failed_of(&batch, event(STANDARD, &[("1", "poison", "g")]), obey).await, ["1"]);
}

fn record_of(body: String, attributes: Vec<Attribute>) -> Record {
    let context = RecordContext { receive_count: 3, sent_ms: 7, group: None, handler_deadline_ms: 0, deadline_ms: 0 };
    Record { attributes, ..Record::new("0d1f9a5e-6a52-4c0e-8a41-3a7f1f6f4f11", body, context) }
}

fn text(name: &str, value: &str) -> Attribute {
    Attribute { name: name.to_owned(), data_type: "String".to_owned(), value: value.to_owned() }
}

fn letter() -> DeadLetter {
    DeadLetter {
        reason: "x".repeat(600),
        code: "poison".to_owned(),
        source_queue: "work".to_owned(),
        ..DeadLetter::default()
    }
}

fn read(message: &Outgoing) -> DeadLetter {
    serde_json::from_str(&message.attributes[0].1).unwrap()
}

#[test]
fn the_senders_attributes_go_along_and_of_ten_the_tracing_one_is_folded() {
    let mut own: Vec<Attribute> = (0..9).map(|at| text(&format!("n{at}"), "v")).collect();
    own.insert(0, text("traceparent", "00-1"));
    own.push(text("dead_letter", "an earlier one"));
    let message = letter().to_message(&record_of("b".to_owned(), own), "dead");
    let names: Vec<&str> = message.attributes.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, [ATTRIBUTE, "n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8"]);
    let folded = Folded { data_type: "String".to_owned(), value: "00-1".to_owned() };
    assert_eq!(read(&message).folded, [("traceparent".to_owned(), folded)].into());
    assert_eq!(read(&message).reason.len(), 512);
    assert_eq!(message.group, None, "a standard queue needs none");
}

#[test]
fn an_attribute_of_another_type_than_string_is_folded_with_its_type() {
    let number = Attribute { name: "n".to_owned(), data_type: "Number".to_owned(), value: "5".to_owned() };
    let message = letter().to_message(&record_of("b".to_owned(), vec![number, text("s", "t")]), "dead.fifo");
    assert_eq!(message.attributes[1], ("s".to_owned(), "t".to_owned()));
    assert_eq!(read(&message).folded["n"], Folded { data_type: "Number".to_owned(), value: "5".to_owned() });
    assert_eq!(message.group.as_deref(), Some("0d1f9a5e-6a52-4c0e-8a41-3a7f1f6f4f11"), "FIFO takes no message without");
}

#[test]
fn the_letter_shrinks_as_the_body_nears_the_limit_and_a_body_at_it_goes_without() {
    let own = || vec![text("s", "along"), Attribute { data_type: "Number".to_owned(), ..text("n", "5") }];
    let of = |room: usize| letter().to_message(&record_of("x".repeat(MOST_BYTES - room), own()), "dead");
    assert_eq!((read(&of(1_000)).folded.len(), read(&of(1_000)).reason.len()), (1, 512));
    assert_eq!((read(&of(660)).folded.len(), read(&of(660)).dropped, read(&of(660)).reason.len()), (0, 1, 512));
    assert_eq!((read(&of(300)).reason.len(), of(300).attributes.len()), (64, 2));
    assert_eq!((read(&of(200)).reason.len(), of(200).attributes.len()), (0, 2));
    assert_eq!((read(&of(120)).dropped, of(120).attributes.len()), (2, 1));
    assert_eq!(of(100).attributes, []);
    assert_eq!(of(0).attributes, []);
}

#[test]
fn a_reason_has_only_characters_that_sqs_takes() {
    let strange = DeadLetter { reason: "a\u{0}b\nc\u{85}d\u{ffff}e".to_owned(), ..DeadLetter::default() };
    assert!(strange.to_attribute().contains(r#""reason":"abcde""#));
}

proptest! {
    #[test]
    fn a_letter_is_within_what_sqs_takes_whatever_the_senders_attributes_are(
        body in 0_usize..1_200,
        attributes in proptest::collection::btree_map(
            "[a-z]{1,9}|dead_letter|traceparent",
            (prop_oneof![Just("String"), Just("Number"), Just("Binary"), Just("String.json")], ".{0,300}"),
            0..10,
        ),
    ) {
        let own: Vec<Attribute> = attributes
            .into_iter()
            .map(|(name, (data_type, value))| Attribute { name, data_type: data_type.to_owned(), value })
            .collect();
        let record = record_of("x".repeat(MOST_BYTES - body), own.clone());
        let message = letter().to_message(&record, "dead");
        prop_assert!(message_bytes(&message) <= MOST_BYTES);
        prop_assert!(message.attributes.len() <= MOST_ATTRIBUTES);
        prop_assert!(message.attributes.iter().all(|(_, value)| !value.is_empty()));
        prop_assert_eq!(message.body.len(), record.body.len());
        if body > 200 {
            let read = read(&message);
            let known = own.iter().filter(|attribute| attribute.name != ATTRIBUTE).count();
            prop_assert_eq!(message.attributes.len() - 1 + read.folded.len() + read.dropped, known, "each is told");
        }
    }
}
