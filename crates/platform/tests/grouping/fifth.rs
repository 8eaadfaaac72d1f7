//! Kinds of a third person who had not read the rule: what the chaos run and the sandbox inject where the kinds before do
//! not have it, and what a shop meets besides.

use lambda_queue::memory::Fault as StoreFault;
use lambda_queue::ports::store::{Value as Attribute, number, text};
use order::State;
use ports::{StoreError, payment_record};
use serde_json::json;

use crate::kinds::{Fault, MONEY, carrier_no, with};
use crate::provider::{Reply, intent, no};
use crate::third::{
    denied, inside, lines, mail_not_run, makes, named, no_for, no_such_table, page, record, refuses, set,
};

/// The attempts at an effect that have all died, as a record counts them.
const ALL_ATTEMPTS: u32 = 12;

/// Every one.
pub const FIFTH: &[(&str, Fault)] = &[
    // ---- messages
    (
        "shipping gets messages of a newer program",
        Fault::Command(State::Paid, |dice, body| {
            with(body, "/type", json!(format!("orderflow.shipment.create.v{}", 4 + dice.below(4))))
        }),
    ),
    (
        "payment gets the payment provider's own events",
        Fault::Command(State::Validated, |dice, _| {
            let kind = dice.one_of(&["payment_intent.created", "payment_intent.succeeded", "charge.captured"]);
            let object = intent(&format!("pi_{}", dice.word(24, 24)), "succeeded", 500 + dice.below(90_000), "usd");
            json!({
                "id": format!("evt_{}", dice.word(24, 24)), "object": "event", "api_version": "2025-12-15.clover",
                "created": 1_790_000_000 + dice.below(10_000_000), "type": kind, "livemode": true,
                "data": { "object": object },
            })
            .to_string()
        }),
    ),
    (
        "shipping gets the topic's own envelope",
        Fault::Command(State::Paid, |dice, body| {
            json!({
                "Type": "Notification", "MessageId": dice.order_id(), "SequenceNumber": dice.below(1_000_000).to_string(),
                "Message": body.to_string(), "TopicArn": format!("arn:aws:sns:eu-central-1:1:{}", dice.word(4, 9)),
            })
            .to_string()
        }),
    ),
    // The warehouse's old system sends lists.
    (
        "stock gets no JSON",
        Fault::Command(State::Authorized, |dice, _| {
            let line = || format!("{};{};{}\n", dice.sku(), 1 + dice.below(20), dice.text());
            (0..1 + dice.below(4)).map(|_| line()).collect()
        }),
    ),
    (
        "stock gets a time without a zone",
        Fault::Command(State::Authorized, |dice, body| {
            let day = format!("2026-{:02}-{:02}", 1 + dice.below(12), 1 + dice.below(28));
            let time = format!("{:02}:{:02}:{:02}", dice.below(24), dice.below(60), dice.below(60));
            with(body, "/time", json!(format!("{day}T{time}")))
        }),
    ),
    (
        "notify gets an order number instead of an id",
        Fault::Event("notify.fifo", |dice, body| {
            with(body, "/data/order_id", json!(format!("ORD-{}", 10_000 + dice.below(90_000))))
        }),
    ),
    (
        "archive gets several events in lines",
        Fault::Event("archive", |dice, body| {
            let mut all = vec![body.to_string()];
            for _ in 0..1 + dice.below(4) {
                all.push(with(body.clone(), "/id", json!(dice.order_id())));
            }
            all.join("\n")
        }),
    ),
    // ---- rows
    (
        "validate's row is of a newer program",
        Fault::Row(State::Accepted, "orders", |item| set(item, "state", text("on_hold"))),
    ),
    (
        "validate's customer was blanked by hand",
        Fault::Row(State::Accepted, "orders", |item| set(item, "customer", text(""))),
    ),
    (
        "stock's row has a part of a piece",
        Fault::Spoilt(State::Authorized, "orders", |dice, item| {
            let quantity = Attribute::N(format!("{}.{}", dice.below(9), 1 + dice.below(9)));
            inside(&mut lines(item)[0]).insert("quantity".to_owned(), quantity);
        }),
    ),
    (
        "payment's row gives a reason that there is not",
        Fault::Spoilt(State::Voiding, "orders", |dice, item| {
            let code = dice.one_of(&["fraud", "damaged", "other", "test_order", "duplicate"]);
            inside(item.get_mut("reason").unwrap()).insert("code".to_owned(), text(code));
        }),
    ),
    (
        "shipping's row is of an old backup",
        Fault::Spoilt(State::Paid, "orders", |dice, item| set(item, "version", number(2 + dice.below(2)))),
    ),
    (
        "shipping's row has a bare number for its capture",
        Fault::Spoilt(State::Paid, "orders", |dice, item| set(item, "capture", number(500 + dice.below(90_000)))),
    ),
    (
        "notify's row has a mail address that is none",
        Fault::RowOfEvent("notify.fifo", "orders", |item| set(item, "email", text("none given"))),
    ),
    // ---- effects whose every attempt died with its program
    (
        "payment dies in its effect again and again",
        Fault::Left(State::Reserved, "idempotency", |dice, order| {
            let mut left = record(dice, order, payment_record(order.order_id), "capture#0", "IN_PROGRESS");
            set(&mut left, "attempts", number(ALL_ATTEMPTS));
            left
        }),
    ),
    (
        "shipping dies in its effect again and again",
        Fault::Left(State::Paid, "idempotency", |dice, order| {
            let mut left = record(dice, order, format!("shipment#{}", order.order_id), "create#0", "IN_PROGRESS");
            set(&mut left, "attempts", number(ALL_ATTEMPTS));
            left
        }),
    ),
    // ---- tables
    ("validate's orders table is gone", Fault::Table(State::Accepted, "orders", |_| no_such_table())),
    ("validate's commits meet others", Fault::Table(State::Accepted, "orders", |_| StoreFault::Conflict)),
    ("validate's catalogue fails inside", Fault::Table(State::Accepted, "stock", |_| fails_inside())),
    (
        "stock's credentials have expired",
        Fault::Table(State::Authorized, "orders", |_| {
            refuses("ExpiredTokenException: The security token included in the request is expired")
        }),
    ),
    ("payment's table of records fails inside", Fault::Table(State::Validated, "idempotency", |_| fails_inside())),
    (
        "payment may not read orders",
        Fault::Table(State::Validated, "orders", |_| denied("process-payment", "GetItem", "orders")),
    ),
    ("shipping's table of records is gone", Fault::Table(State::Paid, "idempotency", |_| no_such_table())),
    ("notify's reads are lost", Fault::TableOfEvent("notify.fifo", "orders", |_| StoreFault::Vanished)),
    // ---- the payment provider
    (
        "payments are answered by a proxy's page as they are made",
        Fault::Answers(&[State::Validated], "requires_confirmation", |asked, dice| {
            makes(asked).then(|| Reply::Page(200, page(dice)))
        }),
    ),
    (
        "confirmations meet the lock of another program",
        Fault::Answers(&[State::Validated], "requires_confirmation", |asked, dice| {
            asked.ends("/confirm").then(|| no(429, "invalid_request_error", Some("lock_timeout"), &dice.text()))
        }),
    ),
    (
        "confirmations are lost, and look-ups end in 500",
        Fault::Answers(&[State::Validated], "requires_capture", |asked, dice| {
            if asked.ends("/confirm") {
                return Some(Reply::Reset);
            }
            (!asked.is_effect()).then(|| no(500, "api_error", None, &dice.text()))
        }),
    ),
    (
        "holds tell no amount",
        Fault::Answers(&[State::Validated], "requires_capture", |asked, dice| {
            (!makes(asked)).then(|| {
                let mut shown = intent(named(asked), "requires_capture", 500 + dice.below(90_000), "usd");
                shown.as_object_mut().unwrap().remove("amount_capturable");
                Reply::Json(200, shown)
            })
        }),
    ),
    (
        "captures meet their own key in use",
        Fault::Answers(&[State::Reserved], "requires_capture", |asked, dice| {
            asked.is_effect().then(|| no(409, "idempotency_error", Some("idempotency_key_in_use"), &dice.text()))
        }),
    ),
    (
        "captures are lost, and look-ups are throttled",
        Fault::Answers(&[State::Reserved], "requires_capture", |asked, dice| {
            let throttled = || no(429, "rate_limit_error", Some("rate_limit"), &dice.text());
            Some(if asked.is_effect() { Reply::Reset } else { throttled() })
        }),
    ),
    (
        "voids are lost, and look-ups end in 500",
        Fault::Answers(&[State::Voiding], "requires_capture", |asked, dice| {
            Some(if asked.is_effect() { Reply::Reset } else { no(500, "api_error", None, &dice.text()) })
        }),
    ),
    (
        "voids answer a status that there is not",
        Fault::Answers(&[State::Voiding], "voided", |asked, dice| {
            let amount = 500 + dice.below(90_000);
            asked.is_effect().then(|| Reply::Json(200, intent(named(asked), "voided", amount, "usd")))
        }),
    ),
    (
        "refunds meet the lock of another program",
        Fault::Answers(&[State::Refunding], "succeeded", |asked, dice| {
            asked.is_effect().then(|| no(429, "invalid_request_error", Some("lock_timeout"), &dice.text()))
        }),
    ),
    (
        "refunds answer amounts as objects",
        Fault::Answers(&[State::Refunding], "succeeded", |asked, dice| {
            let refund = json!({
                "id": format!("re_{}", dice.word(14, 14)), "status": "succeeded",
                "amount": { "value": 500 + dice.below(9_000), "currency": "usd" },
            });
            let shown = if asked.is_effect() { refund } else { json!({ "data": [refund], "has_more": false }) };
            asked.ends("/refunds").then_some(Reply::Json(200, shown))
        }),
    ),
    (
        "a charge is too old to be refunded",
        Fault::Answers(&[State::Refunding], "succeeded", |asked, dice| {
            asked.is_effect().then(|| no_for(400, Some("charge_expired_for_refund"), "payment_intent", dice))
        }),
    ),
    (
        "the payment key may not be used from here",
        Fault::Answers(MONEY, "requires_capture", |_, dice| {
            Some(no(403, "invalid_request_error", Some("ip_address_not_allowed"), &dice.text()))
        }),
    ),
    // ---- the carrier
    (
        "the carrier is at its maintenance",
        Fault::Answers(&[State::Paid], "", |_, dice| Some(carrier_no(503, "maintenance", dice))),
    ),
    ("shipments are met by silence, and so are look-ups", Fault::Silence(&[State::Paid], "", |_| true)),
    // Whole, in base64.
    (
        "labels come with the shipments",
        Fault::Answers(&[State::Paid], "", |asked, dice| {
            let bytes = usize::try_from(2_200_000 + dice.below(400_000)).unwrap();
            let shown = || {
                json!({
                    "id": format!("shp_{}", dice.word(8, 12)), "reference": asked.json()["reference"], "carrier": "Van",
                    "tracking_number": dice.word(8, 8).to_uppercase(), "label": "A".repeat(bytes),
                })
            };
            asked.is_effect().then(|| Reply::Json(201, shown()))
        }),
    ),
    (
        "the carrier's numbers are used up",
        Fault::Answers(&[State::Paid], "", |asked, dice| {
            asked.is_effect().then(|| carrier_no(422, "number_range_exhausted", dice))
        }),
    ),
    (
        "a proxy wants credentials before the carrier",
        Fault::Answers(&[State::Paid], "", |_, dice| Some(Reply::Page(407, page(dice)))),
    ),
    (
        "a name is too long for the carrier",
        Fault::Answers(&[State::Paid], "", |asked, dice| {
            asked.is_effect().then(|| carrier_no(400, "name_too_long", dice))
        }),
    ),
    // ---- programs with a bug
    (
        "validate panics over a lock",
        Fault::Panic(State::Accepted, |_| "called `Result::unwrap()` on an `Err` value: PoisonError { .. }".to_owned()),
    ),
    (
        "stock panics over a product that its map lacks",
        Fault::Panic(State::Releasing, |_| "no entry found for key".to_owned()),
    ),
    (
        "payment panics over a number",
        Fault::Panic(State::Refunding, |dice| {
            let amount = 3_000_000_000 + dice.below(90_000_000_000);
            format!("the amount {amount} fits into 32 bits: TryFromIntError(())")
        }),
    ),
    (
        "notify panics over a setting",
        Fault::PanicWithEvent("notify.fifo", |_| "called `Result::unwrap()` on an `Err` value: NotPresent".to_owned()),
    ),
    (
        "archive panics over a date",
        Fault::PanicWithEvent("archive", |dice| {
            let most: u64 = dice.one_of(&[28, 30]);
            let day = most + 1 + dice.below(31 - most);
            format!(
                "called `Result::unwrap()` on an `Err` value: Error(\"parameter 'day' with value {day} is not in the \
                 required range of 1..={most}\")"
            )
        }),
    ),
    // ---- mail and archive
    ("notify's credentials for mail have expired", Fault::Mail(|| mail_not_run("ExpiredTokenException"))),
    (
        "the archive's bucket wants a checksum",
        Fault::Bucket(|| {
            StoreError::NotDone(
                "InvalidRequest: Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with \
                 Object Lock parameters"
                    .to_owned(),
            )
        }),
    ),
    // ---- recovery
    (
        "recovery finds a row on no lane that there is",
        Fault::Due(|dice, item| set(item, "lane", text(dice.one_of(&["overnight", "priority", "normal", "slow"])))),
    ),
];

fn fails_inside() -> StoreFault {
    StoreFault::Says(StoreError::Unknown("InternalServerError: Internal server error".to_owned()))
}
