//! Every message version ever sent stands in `events/golden/`; this program reads them all.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::Path;

use lambda_queue::Failure;
use order::{Command, EventKind, Step};
use ports::{Event, Publication, parse_command};
use serde_json::Value;

const CHANGED: &str = "order.changed.v1";

fn golden() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events/golden");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(&path).unwrap())
        })
        .collect()
}

fn kind(text: &str) -> String {
    let message: Value = serde_json::from_str(text).unwrap();
    message.get("type").and_then(Value::as_str).unwrap().to_owned()
}

#[test]
fn every_golden_message_is_named_by_its_type_and_is_read() {
    for (name, text) in golden() {
        assert_eq!(kind(&text), format!("orderflow.{name}"));
        let read_as_command = Step::ALL.iter().any(|step| parse_command(&text, *step, 1, 0).is_ok());
        // What cannot be rendered is told as changed, without an event of the table.
        let says = |event: Event| event.data.event.is_some() || name == CHANGED;
        let read_as_event = serde_json::from_str::<Event>(&text).is_ok_and(says);
        assert!(read_as_command || read_as_event, "{name} is not read any more");
    }
}

#[test]
fn every_command_and_every_event_has_a_golden_message() {
    let there: BTreeSet<String> = golden().into_iter().map(|(name, _)| name).collect();
    let commands = Command::ALL.iter().map(|command| format!("{}.v1", command.name()));
    let events = EventKind::ALL.iter().map(|event| format!("order.{}.v1", event.name()));
    assert_eq!(there, commands.chain(events).chain([CHANGED.to_owned()]).collect());
}

#[test]
fn what_cannot_be_rendered_is_told_as_its_golden_message_says() {
    let (_, text) = golden().into_iter().find(|(name, _)| name == CHANGED).unwrap();
    let said = Publication::changed("4285c9f3-20d0-813a-b5f9-cbbfd1fd2175", 4);
    assert_eq!(serde_json::from_str::<Value>(&said.body).unwrap(), serde_json::from_str::<Value>(&text).unwrap());
}

#[test]
fn every_sample_of_a_command_has_the_id_that_such_a_message_has() {
    for (function, step) in [
        ("validate-order", Step::Validate),
        ("process-payment", Step::Payment),
        ("reserve-stock", Step::Stock),
        ("ship-order", Step::Shipping),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../events/{function}.json"));
        let sample: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let body = sample.pointer("/Records/0/body").and_then(Value::as_str).unwrap();
        let message = parse_command(body, step, 1, 0).unwrap();
        let id = message.command.message_id(message.data.order_id, message.data.version);
        assert_eq!(message.id, id.to_string(), "{function}");
    }
}

#[test]
fn an_event_is_written_as_it_was_read() {
    for (name, text) in golden() {
        let Ok(event) = serde_json::from_str::<Event>(&text) else { continue };
        if event.data.event.is_none() {
            continue;
        }
        let written: Value = serde_json::to_value(&event).unwrap();
        assert_eq!(written, serde_json::from_str::<Value>(&text).unwrap(), "{name}");
    }
}

#[test]
fn a_command_of_another_step_or_a_broken_one_is_poison_and_a_newer_one_waits() {
    let (_, validate) = golden().into_iter().find(|(name, _)| name == "order.validate.v1").unwrap();
    let poison = [
        validate.replace("order.validate", "payment.capture"),
        validate.replace("\"1.0\"", "\"0.3\""),
        validate.replace("\"version\": 3", "\"version\": \"3\""),
        validate.replacen("4285c9f3", "5285c9f3", 1),
        validate.replace(".v1", ".v01"),
        "null".to_owned(),
        String::new(),
        "[]".to_owned(),
    ];
    for body in poison {
        let answer = parse_command(&body, Step::Validate, 1, 0);
        assert!(matches!(answer, Err(Failure::Poison { .. })), "{answer:?} for {body}");
    }
    let newer = validate.replace("validate.v1", "validate.v2");
    let waits = parse_command(&newer, Step::Validate, 1, 1_000);
    assert!(matches!(waits, Err(Failure::Defer { until_ms: 61_000, .. })), "{waits:?}");
    assert!(matches!(parse_command(&newer, Step::Validate, 10, 0), Err(Failure::Poison { .. })));
}
