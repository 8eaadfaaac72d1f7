//! Kinds that nobody had looked at when the rule was mended for the first ones: written before their first measurement.

use lambda_queue::memory::Fault as StoreFault;
use lambda_queue::ports::store::{Item, text};
use order::State;
use ports::{ProviderError, StoreError};
use serde_json::json;

use crate::kinds::{Fault, Meanwhile, carrier_no, with, without};
use crate::provider::{Reply, no};

/// Every one.
pub const FRESH: &[(&str, Fault)] = &[
    // ---- messages
    ("shipping gets nothing but null", Fault::Command(State::Paid, |_, _| "null".to_owned())),
    ("payment gets an empty object", Fault::Command(State::Validated, |_, _| "{}".to_owned())),
    ("validate gets a message without subject", Fault::Command(State::Accepted, |_, body| without(body, "subject"))),
    (
        "payment gets a version below zero",
        Fault::Command(State::Validated, |dice, body| {
            with(body, "/data/version", json!(-1 - i64::try_from(dice.below(90)).unwrap()))
        }),
    ),
    (
        "stock gets the order under another name",
        Fault::Command(State::Authorized, |_, mut body| {
            let id = body["data"]["order_id"].clone();
            body["data"] = json!({ "orderId": id, "version": 3 });
            body.to_string()
        }),
    ),
    (
        "validate gets a source that is a number",
        Fault::Command(State::Accepted, |dice, body| with(body, "/source", json!(dice.below(900)))),
    ),
    (
        "shipping gets a time that is none",
        Fault::Command(State::Paid, |dice, body| with(body, "/time", json!(dice.text()))),
    ),
    (
        "stock gets an attribute in capitals",
        Fault::Command(State::Authorized, |dice, mut body| {
            body["OrderKey"] = json!(dice.word(4, 9));
            body.to_string()
        }),
    ),
    (
        "validate gets data that are a text",
        Fault::Command(State::Accepted, |dice, body| with(body, "/data", json!(dice.text()))),
    ),
    (
        "shipping gets a version that is none",
        Fault::Command(State::Paid, |_, body| with(body, "/type", json!("orderflow.shipment.create.v0"))),
    ),
    ("notify gets no JSON", Fault::Event("notify.fifo", |dice, _| dice.text())),
    ("notify gets an event without data", Fault::Event("notify.fifo", |_, body| without(body, "data"))),
    (
        "notify gets an event without an order",
        Fault::Event("notify.fifo", |_, mut body| {
            body["data"].as_object_mut().unwrap().remove("order_id");
            body.to_string()
        }),
    ),
    // ---- rows
    (
        "validate's row has a text for its lines",
        Fault::Row(State::Accepted, "orders", |item| set(item, "lines", text("all of it"))),
    ),
    (
        "shipping's row has no lane that there is",
        Fault::Row(State::Paid, "orders", |item| set(item, "lane", text("overnight"))),
    ),
    ("stock's row has no tenant", Fault::Row(State::Authorized, "orders", |item| drop(item.remove("tenant")))),
    (
        "a product is sold in no currency that there is",
        Fault::Row(State::Accepted, "stock", |item| {
            set(item, "currency", text("gold"));
        }),
    ),
    (
        "the stock of a product is a text",
        Fault::Row(State::Accepted, "stock", |item| set(item, "available", text("plenty"))),
    ),
    // ---- tables
    ("payment's orders table throttles", Fault::Table(State::Validated, "orders", |_| StoreFault::Throttle)),
    ("stock's orders table throttles", Fault::Table(State::Authorized, "orders", |_| StoreFault::Throttle)),
    ("shipping's idempotency table throttles", Fault::Table(State::Paid, "idempotency", |_| StoreFault::Throttle)),
    (
        "validate's writes are lost",
        Fault::Table(State::Accepted, "orders", |operation| {
            if operation.writes() { StoreFault::Vanished } else { StoreFault::None }
        }),
    ),
    ("payment's records are lost", Fault::Table(State::Validated, "idempotency", |_| StoreFault::Vanished)),
    // ---- the payment provider
    (
        "payments are reset as they are made",
        Fault::Answers(&[State::Validated], "requires_confirmation", |asked, _| {
            asked.ends("/payment_intents").then_some(Reply::Reset)
        }),
    ),
    (
        "voids are reset",
        Fault::Answers(&[State::Voiding], "requires_capture", |asked, _| asked.is_effect().then_some(Reply::Reset)),
    ),
    (
        "refunds are reset",
        Fault::Answers(&[State::Refunding], "succeeded", |asked, _| asked.is_effect().then_some(Reply::Reset)),
    ),
    (
        "voids end in 503",
        Fault::Answers(&[State::Voiding], "requires_capture", |asked, dice| {
            asked.is_effect().then(|| no(503, "api_error", None, &dice.text()))
        }),
    ),
    (
        "captures are answered by a proxy's page",
        Fault::Answers(&[State::Reserved], "requires_capture", |asked, dice| {
            asked.is_effect().then(|| Reply::Page(200, format!("<html>{}</html>", dice.text())))
        }),
    ),
    (
        "the payment account is closed",
        Fault::Answers(&[State::Validated, State::Reserved], "requires_capture", |_, dice| {
            Some(no(403, "invalid_request_error", Some("account_invalid"), &dice.text()))
        }),
    ),
    (
        "the payment provider sends elsewhere",
        Fault::Answers(&[State::Reserved], "requires_capture", |_, dice| Some(Reply::Page(302, dice.text()))),
    ),
    (
        "a held payment cannot be captured",
        Fault::Answers(&[State::Reserved], "requires_capture", |asked, dice| {
            asked
                .is_effect()
                .then(|| no(400, "invalid_request_error", Some("payment_intent_unexpected_state"), &dice.text()))
        }),
    ),
    (
        "a hold cannot be voided",
        Fault::Answers(&[State::Voiding], "requires_capture", |asked, dice| {
            asked
                .is_effect()
                .then(|| no(400, "invalid_request_error", Some("payment_intent_unexpected_state"), &dice.text()))
        }),
    ),
    (
        "a payment cannot be confirmed",
        Fault::Answers(&[State::Validated], "requires_confirmation", |asked, dice| {
            asked
                .ends("/confirm")
                .then(|| no(400, "invalid_request_error", Some("payment_intent_unexpected_state"), &dice.text()))
        }),
    ),
    // ---- the carrier
    (
        "the carrier's key may not do that",
        Fault::Answers(&[State::Paid], "", |_, dice| Some(carrier_no(403, "forbidden", dice))),
    ),
    (
        "shipments end in 500",
        Fault::Answers(&[State::Paid], "", |asked, dice| asked.is_effect().then(|| carrier_no(500, "internal", dice))),
    ),
    ("shipments are reset", Fault::Answers(&[State::Paid], "", |asked, _| asked.is_effect().then_some(Reply::Reset))),
    (
        "shipments cannot be read",
        Fault::Answers(&[State::Paid], "", |asked, dice| {
            asked.is_effect().then(|| Reply::Json(201, json!({ "parcel": dice.word(3, 9) })))
        }),
    ),
    (
        "the carrier takes no such goods",
        Fault::Answers(&[State::Paid], "", |asked, dice| {
            asked.is_effect().then(|| carrier_no(422, "goods_forbidden", dice))
        }),
    ),
    (
        "parcels are another order's",
        Fault::Answers(&[State::Paid], "", |asked, dice| {
            let other = json!({ "id": dice.word(6, 9), "reference": dice.order_id(), "carrier": "Van", "tracking_number": "1" });
            asked.is_effect().then_some(Reply::Json(201, other))
        }),
    ),
    // ---- programs
    (
        "stock panics over a value that is not there",
        Fault::Panic(State::Authorized, |_| "called `Option::unwrap()` on a `None` value".to_owned()),
    ),
    (
        "validate panics over a slice",
        Fault::Panic(State::Accepted, |dice| {
            let length = dice.below(60);
            format!("range end index {} out of range for slice of length {length}", length + 1 + dice.below(9))
        }),
    ),
    ("validate is killed with its message", Fault::Killed(State::Accepted, Meanwhile::Nothing)),
    ("shipping is killed with its message", Fault::Killed(State::Paid, Meanwhile::Nothing)),
    ("stock is killed, and its order is gone", Fault::Killed(State::Authorized, Meanwhile::Gone)),
    ("payment is killed, and its order moves on", Fault::Killed(State::Validated, Meanwhile::MovedOn)),
    ("validate is killed, and its row is of a newer program", Fault::Killed(State::Accepted, Meanwhile::Newer)),
    // ---- mail and archive
    (
        "the mail service does not know the sender",
        Fault::Mail(|| ProviderError::NotRun {
            retry_after: None,
            why: "MailFromDomainNotVerifiedException".to_owned(),
        }),
    ),
    (
        "the mail service throttles",
        Fault::Mail(|| ProviderError::Throttled { retry_after: None, why: "TooManyRequestsException".to_owned() }),
    ),
    ("the bucket is too slow for the archive", Fault::Bucket(|| StoreError::NotDone("SlowDown".to_owned()))),
    ("the bucket's answers are lost", Fault::Bucket(|| StoreError::Unknown("timeout".to_owned()))),
];

fn set(item: &mut Item, name: &str, value: lambda_queue::ports::store::Value) {
    item.insert(name.to_owned(), value);
}
