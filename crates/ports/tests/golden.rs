//! The gate of message versions (ADR 15). Every version ever sent stands in `events/golden/` and does not change any more
//! (`events/golden.sha256`); this program reads them all as what they say, and writes what it sends as they are.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lambda_queue::Failure;
use order::{Command, EventKind, Fingerprint, Order, State, Step};
use ports::{CommandData, CommandVersion, EVENT_VERSION, Event, Publication, command_message_in, parse_command};
use serde_json::{Value, json};

const CHANGED: &str = "order.changed.v1";

fn events() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events")
}

/// Names and texts; not those of `next/`, which nobody has sent.
fn golden() -> Vec<(String, String)> {
    let files = std::fs::read_dir(events().join("golden")).unwrap().map(|file| file.unwrap().path());
    files
        .filter(|path| path.is_file())
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

/// The order that every golden message is about, and its version there.
const ORDER: &str = "4285c9f3-20d0-813a-b5f9-cbbfd1fd2175";
const VERSION: u64 = 3;

#[test]
fn a_golden_message_never_changes_and_never_goes() {
    let list = std::fs::read_to_string(events().join("golden.sha256")).unwrap();
    let pinned: BTreeMap<String, String> = list
        .lines()
        .map(|line| line.split_once("  golden/").unwrap())
        .map(|(digest, file)| (file.trim_end_matches(".json").to_owned(), digest.to_owned()))
        .collect();
    assert_eq!(pinned.len(), list.lines().count(), "a file is listed twice");
    let there: BTreeMap<String, String> =
        golden().into_iter().map(|(name, text)| (name, Fingerprint::of(text.as_bytes()).to_string())).collect();
    for (name, digest) in &pinned {
        assert_eq!(
            there.get(name),
            Some(digest),
            "events/golden/{name}.json changed or is gone. It is a message that may have been sent, and be in a queue, a \
             dead-letter queue or the archive: put it back. Another shape is another version with a file of its own."
        );
    }
    let new: Vec<&String> = there.keys().filter(|name| !pinned.contains_key(*name)).collect();
    assert!(
        new.is_empty(),
        "not pinned yet: {new:?}. Pin it in the commit that adds it: in events/, sha256sum golden/<name>.json >> \
         golden.sha256"
    );
}

#[test]
fn every_golden_message_is_named_by_its_type_and_is_read_as_what_it_says() {
    let about = CommandData { order_id: ORDER.parse().unwrap(), version: VERSION };
    for (name, text) in golden() {
        assert_eq!(kind(&text), format!("orderflow.{name}"));
        let named = name.rsplit_once(".v").unwrap().0;
        if let Ok(command) = named.parse::<Command>() {
            let read = parse_command(&text, command.step(), 1, 0);
            let read = read.unwrap_or_else(|failure| panic!("{name} is not read any more: {failure}"));
            assert_eq!((read.command, read.data), (command, about), "{name}");
            continue;
        }
        let read = serde_json::from_str::<Event>(&text);
        let read = read.unwrap_or_else(|error| panic!("{name} is not read any more: {error}")).data;
        // What cannot be rendered is told as changed, without an event of the table.
        let says = read.event.map_or(CHANGED.trim_end_matches(".v1").to_owned(), |event| format!("order.{event}"));
        let version = if name == CHANGED { 4 } else { VERSION };
        assert_eq!((says.as_str(), read.order_id, read.version), (named, about.order_id, version), "{name}");
    }
}

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const AT_MS: u64 = 1_795_426_200_123;

/// A row of the golden messages' order, with this in its place.
fn row(state: State, rest: &Value) -> Order {
    let mut row = json!({
        "order_id": ORDER, "version": VERSION, "state": state, "tenant": "acme", "customer": "ada", "lane": "express",
        "fingerprint": Fingerprint::of(b"request"), "created_at": 0, "lines": [], "currency": "USD", "timeline": [],
        "traceparent": TRACE,
    });
    row.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    serde_json::from_value(row).unwrap()
}

/// What was written, as its golden message has it where both have a rule of their own: the golden ids and spans are older
/// than what makes them today.
fn beside(golden: &Value, written: &str) -> Value {
    let mut written: Value = serde_json::from_str(written).unwrap();
    let trace_of = |message: &Value| message["traceparent"].as_str().unwrap()[..36].to_owned();
    assert_eq!(trace_of(&written), trace_of(golden), "the order's own trace");
    for own in ["id", "traceparent"] {
        assert!(written[own].is_string());
        written[own] = golden[own].clone();
    }
    written
}

#[test]
fn each_version_that_can_be_sent_is_what_its_golden_message_says() {
    let golden: BTreeMap<String, String> = golden().into_iter().collect();
    let can_be_sent = Command::ALL.iter().flat_map(|command| CommandVersion::all().map(|version| (*command, version)));
    for (command, version) in can_be_sent {
        let state = match command {
            Command::ValidateOrder => State::Accepted,
            Command::AuthorizePayment => State::Validated,
            Command::ReserveStock => State::Authorized,
            Command::CapturePayment => State::Reserved,
            Command::CreateShipment => State::Paid,
            Command::ReleaseStock => State::Releasing,
            Command::VoidPayment => State::Voiding,
            Command::RefundPayment => State::Refunding,
        };
        let row = row(state, &json!({ "refunds": [{ "amount_minor": 3_800, "status": "requested" }] }));
        assert_eq!(row.next_command(), Some(command));
        let sent = command_message_in(version, &row, Some("6f9619ff-8b86-5d01-b42d-00c04fc964ff"), AT_MS).unwrap();
        let name = format!("{}.v{version}", command.name());
        let golden: Value = serde_json::from_str(&golden[&name]).unwrap();
        assert_eq!(beside(&golden, &sent.body), golden, "{name} says something else now: that is another version");
    }
}

#[test]
fn what_is_told_is_what_the_golden_message_of_its_version_says() {
    for (name, text) in golden() {
        let golden: Value = serde_json::from_str(&text).unwrap();
        let data = &golden["data"];
        let Ok(event) = serde_json::from_value::<EventKind>(data["event"].clone()) else { continue };
        let refunds = match data["refunds_minor"].as_u64().unwrap() {
            0 => json!([]),
            minor => json!([{ "amount_minor": minor, "status": "requested" }]),
        };
        let mut rest = json!({
            "refunds": refunds, "timeline": [{ "version": VERSION, "event": event, "at_ms": AT_MS }],
            "total": { "amount_minor": data["total_minor"], "currency": data["currency"] },
        });
        if let Some(code) = data.get("reason") {
            rest["reason"] = json!({ "code": code, "message": "told nobody" });
        }
        let row = row(serde_json::from_value(data["state"].clone()).unwrap(), &rest);
        let told = Publication::of(&row);
        assert_eq!(beside(&golden, &told.body), golden, "{name} says something else now: that is another version");
    }
}

#[test]
fn every_command_and_every_event_has_a_golden_message() {
    let there: BTreeSet<String> = golden().into_iter().map(|(name, _)| name).collect();
    let sent = |command: Command| CommandVersion::all().map(move |version| format!("{}.v{version}", command.name()));
    let commands = Command::ALL.into_iter().flat_map(sent);
    let events = EventKind::ALL.iter().map(|event| format!("order.{}.v{EVENT_VERSION}", event.name()));
    let owed: BTreeSet<String> = commands.chain(events).chain([CHANGED.to_owned()]).collect();
    let missing: Vec<&String> = owed.difference(&there).collect();
    assert!(missing.is_empty(), "sent, and without a golden message: {missing:?}");
}

#[test]
fn what_cannot_be_rendered_is_told_as_its_golden_message_says() {
    let (_, text) = golden().into_iter().find(|(name, _)| name == CHANGED).unwrap();
    let said = Publication::changed(ORDER, 4);
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
