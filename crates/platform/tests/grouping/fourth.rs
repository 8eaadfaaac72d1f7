//! Kinds of somebody who had not read the rule either, and had seen what the kinds before are: what those leave out.

use lambda_queue::memory::{Fault as StoreFault, Operation};
use lambda_queue::ports::store::{Value as Attribute, text};
use order::State;
use ports::StoreError;
use serde_json::{Value, json};

use crate::kinds::{Fault, MONEY, Meanwhile, carrier_no, with, without};
use crate::provider::{Reply, intent, no};
use crate::third::{
    denied, inside, made, mail_not_run, makes, named, no_for, no_such_table, page, record, refuses, set,
};

/// Every one.
pub const FOURTH: &[(&str, Fault)] = &[
    // ---- messages
    (
        "payment gets a dictionary as Python prints it",
        Fault::Command(State::Validated, |_, body| body.to_string().replace('"', "'")),
    ),
    (
        "shipping gets a version that is not a number",
        Fault::Command(State::Paid, |_, body| {
            let version = format!("\"version\":{}", body["data"]["version"]);
            body.to_string().replacen(&version, "\"version\":NaN", 1)
        }),
    ),
    (
        "stock gets null for an order",
        Fault::Command(State::Authorized, |_, body| with(body, "/data/order_id", Value::Null)),
    ),
    (
        "payment gets its data in a list",
        Fault::Command(State::Validated, |_, body| {
            let data = json!([body["data"]]);
            with(body, "/data", data)
        }),
    ),
    ("shipping gets a message without subject", Fault::Command(State::Paid, |_, body| without(body, "subject"))),
    ("validate gets a message without source", Fault::Command(State::Accepted, |_, body| without(body, "source"))),
    (
        "validate gets a media type that is none",
        Fault::Command(State::Accepted, |dice, mut body| {
            body["datacontenttype"] = json!(dice.one_of(&["json", "JSON", "utf-8", "text", "application json"]));
            body.to_string()
        }),
    ),
    (
        "stock gets a whole log for a correlation",
        Fault::Command(State::Authorized, |dice, mut body| {
            body["correlationid"] = json!(dice.word(8_500, 12_000));
            body.to_string()
        }),
    ),
    (
        "shipping gets an attribute in milliseconds",
        Fault::Command(State::Paid, |dice, mut body| {
            body["sentat"] = json!(1_790_000_000_000 + dice.below(10_000_000_000));
            body.to_string()
        }),
    ),
    (
        "payment gets the headers of a request for attributes",
        Fault::Command(State::Validated, |dice, mut body| {
            body["x-request-id"] = json!(dice.order_id());
            body.to_string()
        }),
    ),
    (
        "validate gets the commands of payment",
        Fault::Command(State::Accepted, |dice, body| {
            let wrong = dice.one_of(&["payment.authorize", "payment.capture", "payment.void", "payment.refund"]);
            with(body, "/type", json!(format!("orderflow.{wrong}.v1")))
        }),
    ),
    (
        "notify gets an event of a state that there is not",
        Fault::Event("notify.fifo", |dice, mut body| {
            body["data"]["state"] = json!(format!("in_{}", dice.word(4, 9)));
            body.to_string()
        }),
    ),
    (
        "notify gets a total with decimals",
        Fault::Event("notify.fifo", |dice, mut body| {
            let total: f64 = format!("{}.{:02}", dice.below(900), 1 + dice.below(99)).parse().unwrap();
            body["data"]["total_minor"] = json!(total);
            body.to_string()
        }),
    ),
    ("archive gets JSON in a text", Fault::Event("archive", |_, body| json!(body.to_string()).to_string())),
    // ---- rows
    (
        "shipping's address is one line of text",
        Fault::Spoilt(State::Paid, "orders", |dice, item| {
            set(item, "ship_to", text(format!("{}, {} {}", dice.text(), dice.below(90_000), dice.word(4, 9))));
        }),
    ),
    (
        "validate's row has a date where milliseconds belong",
        Fault::Spoilt(State::Accepted, "orders", |dice, item| {
            let Some(Attribute::L(entries)) = item.get_mut("timeline") else { panic!("no timeline") };
            let date = format!("2026-{:02}-{:02}T{:02}:00:00Z", 1 + dice.below(12), 1 + dice.below(28), dice.below(24));
            inside(&mut entries[0]).insert("at_ms".to_owned(), text(date));
        }),
    ),
    (
        "stock's row was parked by hand with a word",
        Fault::Spoilt(State::Authorized, "orders", |dice, item| set(item, "parked", text(dice.text()))),
    ),
    (
        "payment's refund stands where no refund can",
        Fault::Spoilt(State::Refunding, "orders", |dice, item| {
            let Some(Attribute::L(refunds)) = item.get_mut("refunds") else { panic!("no refunds") };
            let status = dice.one_of(&["pending", "queued", "in_review", "paid_out", "waiting"]);
            inside(&mut refunds[0]).insert("status".to_owned(), text(status));
        }),
    ),
    (
        "payment's receipt has no amount",
        Fault::Row(State::Reserved, "orders", |item| drop(inside(item.get_mut("payment").unwrap()).remove("amount"))),
    ),
    (
        "notify's row has a text for its shipment",
        Fault::RowOfEvent("notify.fifo", "orders", |item| set(item, "shipment", text("with the van"))),
    ),
    // ---- records that somebody has left
    (
        "shipping's record has a status that there is not",
        Fault::Left(State::Paid, "idempotency", |dice, order| {
            let status = dice.one_of(&["PAUSED", "DONE", "WAITING", "in_progress"]);
            record(dice, order, format!("shipment#{}", order.order_id), "create#0", status)
        }),
    ),
    (
        "shipping's record is left in another effect",
        Fault::Left(State::Paid, "idempotency", |dice, order| {
            record(dice, order, format!("shipment#{}", order.order_id), "cancel#0", "IN_PROGRESS")
        }),
    ),
    // ---- tables
    (
        "shipping may not write its records",
        Fault::Table(State::Paid, "idempotency", |_| denied("ship-order", "UpdateItem", "idempotency")),
    ),
    ("payment's table of records is gone", Fault::Table(State::Validated, "idempotency", |_| no_such_table())),
    (
        "validate may not read the catalogue",
        Fault::Table(State::Accepted, "stock", |_| denied("validate-order", "BatchGetItem", "stock")),
    ),
    (
        "stock may not read orders",
        Fault::Table(State::Authorized, "orders", |operation| {
            if operation == Operation::Get { denied("reserve-stock", "GetItem", "orders") } else { StoreFault::None }
        }),
    ),
    (
        "shipping's credentials have expired",
        Fault::Table(State::Paid, "orders", |_| {
            refuses("ExpiredTokenException: The security token included in the request is expired")
        }),
    ),
    (
        "notify may not write its claims",
        Fault::TableOfEvent("notify.fifo", "idempotency", |_| denied("notify-customer", "UpdateItem", "idempotency")),
    ),
    // ---- the payment provider
    (
        "authorizations end in a gateway's 504",
        Fault::Answers(&[State::Validated], "requires_confirmation", |asked, dice| {
            asked.ends("/confirm").then(|| Reply::Page(504, page(dice)))
        }),
    ),
    (
        "payments are made without an id",
        Fault::Answers(&[State::Validated], "requires_confirmation", |asked, _| {
            let mut shown = made(asked, "", "requires_confirmation")?;
            shown.as_object_mut().unwrap().remove("id");
            Some(Reply::Json(200, shown))
        }),
    ),
    (
        "the payment account has no cards switched on",
        Fault::Answers(&[State::Validated], "requires_confirmation", |asked, dice| {
            makes(asked).then(|| no_for(400, Some("payment_method_unactivated"), "payment_method_types", dice))
        }),
    ),
    (
        "confirmations want a mandate",
        Fault::Answers(&[State::Validated], "requires_confirmation", |asked, dice| {
            let code = Some("payment_intent_mandate_invalid");
            asked.ends("/confirm").then(|| no(400, "invalid_request_error", code, &dice.text()))
        }),
    ),
    (
        "the payment provider may not serve the shop's country",
        Fault::Answers(MONEY, "requires_capture", |_, dice| {
            Some(no(451, "invalid_request_error", Some("country_unsupported"), &dice.text()))
        }),
    ),
    (
        "captured payments tell no amount",
        Fault::Answers(&[State::Reserved], "succeeded", |asked, dice| {
            let mut shown = intent(named(asked), "succeeded", 500 + dice.below(90_000), "usd");
            shown.as_object_mut().unwrap().remove("amount_received");
            (!asked.ends("/refunds")).then_some(Reply::Json(200, shown))
        }),
    ),
    (
        "captures are answered by a page without end",
        Fault::Answers(&[State::Reserved], "requires_capture", |asked, dice| {
            let bytes = usize::try_from(2_200_000 + dice.below(400_000)).unwrap();
            asked.is_effect().then(|| Reply::Page(200, " ".repeat(bytes)))
        }),
    ),
    (
        "captures are lost, and look-ups cannot be read",
        Fault::Answers(&[State::Reserved], "requires_capture", |asked, dice| {
            Some(if asked.is_effect() { Reply::Reset } else { Reply::Page(200, page(dice)) })
        }),
    ),
    (
        "captures are met by silence, and so are look-ups",
        Fault::Silence(&[State::Reserved], "requires_capture", |_| true),
    ),
    (
        "a refund is of more than the provider has left",
        Fault::Answers(&[State::Refunding], "succeeded", |asked, dice| {
            asked.is_effect().then(|| no_for(400, Some("amount_too_large"), "amount", dice))
        }),
    ),
    (
        "refunds are lost, and their list ends in 500",
        Fault::Answers(&[State::Refunding], "succeeded", |asked, dice| {
            if asked.is_effect() {
                return Some(Reply::Reset);
            }
            asked.ends("/refunds").then(|| no(500, "api_error", None, &dice.text()))
        }),
    ),
    // ---- the carrier
    (
        "a firewall bars the way to the carrier",
        Fault::Answers(&[State::Paid], "", |_, dice| {
            let incident = dice.below(1_000_000_000);
            Some(Reply::Page(403, format!("<html><h1>Request blocked</h1>Incident {incident} {}</html>", dice.text())))
        }),
    ),
    ("the carrier sends elsewhere", Fault::Answers(&[State::Paid], "", |_, dice| Some(Reply::Page(301, page(dice))))),
    (
        "the carrier's contract has ended",
        Fault::Answers(&[State::Paid], "", |asked, dice| {
            asked.is_effect().then(|| carrier_no(403, "contract_expired", dice))
        }),
    ),
    (
        "the carrier wants a telephone number",
        Fault::Answers(&[State::Paid], "", |asked, dice| {
            asked.is_effect().then(|| carrier_no(422, "phone_required", dice))
        }),
    ),
    (
        "the carrier takes a field no more",
        Fault::Answers(&[State::Paid], "", |asked, dice| {
            asked.is_effect().then(|| carrier_no(400, "unknown_field", dice))
        }),
    ),
    (
        "shipments are lost, and look-ups cannot be read",
        Fault::Answers(&[State::Paid], "", |asked, dice| {
            let other = json!({ "items": [], "cursor": dice.word(9, 16) });
            Some(if asked.is_effect() { Reply::Reset } else { Reply::Json(200, other) })
        }),
    ),
    // ---- programs that die, and programs with a bug
    ("validate is killed, and its table is away", Fault::Killed(State::Accepted, Meanwhile::TableAway)),
    ("validate panics over a borrow", Fault::Panic(State::Accepted, |_| "RefCell already borrowed".to_owned())),
    (
        "payment panics over a text",
        Fault::Panic(State::Validated, |dice| {
            let bytes: Vec<u64> = (0..3 + dice.below(9)).map(|_| dice.below(256)).collect();
            let valid = dice.below(bytes.len() as u64);
            format!(
                "called `Result::unwrap()` on an `Err` value: FromUtf8Error {{ bytes: {bytes:?}, error: Utf8Error {{ \
                 valid_up_to: {valid}, error_len: Some(1) }} }}"
            )
        }),
    ),
    (
        "payment panics over a hold",
        Fault::Panic(State::Reserved, |dice| {
            let currency = dice.one_of(&["USD", "EUR", "GBP"]);
            let money = |minor: u64| format!("Money {{ amount_minor: {minor}, currency: Currency({currency}) }}");
            let held = 500 + dice.below(90_000);
            let (held, total) = (money(held), money(held + 1 + dice.below(900)));
            format!("assertion `left == right` failed: the hold is the total\n  left: {held}\n right: {total}")
        }),
    ),
    (
        "stock panics over a part of its lines",
        Fault::Panic(State::Authorized, |dice| {
            let end = dice.below(40);
            format!("slice index starts at {} but ends at {end}", end + 1 + dice.below(9))
        }),
    ),
    ("shipping panics over a capacity", Fault::Panic(State::Paid, |_| "capacity overflow".to_owned())),
    (
        "shipping panics over a check digit",
        Fault::Panic(State::Paid, |dice| {
            let number = format!("JD{:012}", dice.below(1_000_000_000_000));
            let (expected, found) = (dice.below(10), dice.below(10));
            format!(
                "a number of the carrier's: CheckDigit {{ number: \"{number}\", expected: {expected}, found: {found} }}"
            )
        }),
    ),
    (
        "notify panics over its template",
        Fault::PanicWithEvent("notify.fifo", |dice| {
            let (name, line) = (dice.word(4, 10), 1 + dice.below(80));
            format!("the mail renders: UndefinedError {{ name: \"{name}\", line: {line} }}")
        }),
    ),
    (
        "archive panics over a full disk",
        Fault::PanicWithEvent("archive", |dice| {
            let file = format!("/tmp/events-{}.gz", dice.word(8, 8));
            format!("{file} is written: Os {{ code: 28, kind: StorageFull, message: \"No space left on device\" }}")
        }),
    ),
    // ---- mail and archive
    (
        "the mail service does not know notify's credentials",
        Fault::Mail(|| mail_not_run("UnrecognizedClientException")),
    ),
    (
        "the archive's bucket is in another region",
        Fault::Bucket(|| {
            StoreError::NotDone(
                "PermanentRedirect: The bucket you are attempting to access must be addressed using the specified \
                 endpoint. Please send all future requests to this endpoint."
                    .to_owned(),
            )
        }),
    ),
    (
        "archive's clock is not the bucket's",
        Fault::Bucket(|| {
            StoreError::NotDone(
                "RequestTimeTooSkewed: The difference between the request time and the current time is too large."
                    .to_owned(),
            )
        }),
    ),
    // ---- recovery
    (
        "recovery finds a row whose key is no order's",
        Fault::Due(|dice, item| set(item, "order_id", text(format!("ORD-{}", 10_000 + dice.below(90_000))))),
    ),
    ("recovery finds a row with a text for its lines", Fault::Due(|dice, item| set(item, "lines", text(dice.text())))),
    (
        "recovery finds a row in no currency that there is",
        Fault::Due(|dice, item| set(item, "currency", text(dice.one_of(&["usd", "euro", "US$", "Dollar", "pounds"])))),
    ),
];
