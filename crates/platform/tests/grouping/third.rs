//! Kinds of somebody who had not read the rule: what the chaos run and the sandbox inject, laid over every step, and what
//! a shop's own life would bring.

use lambda_queue::memory::{Fault as StoreFault, Operation};
use lambda_queue::ports::store::{Item, Value as Attribute, number, text};
use order::{Order, State};
use ports::{ProviderError, StoreError, payment_record};
use serde_json::{Value, json};

use crate::dice::Dice;
use crate::kinds::{Fault, MONEY, Meanwhile, Recovery, carrier_no, half, with};
use crate::provider::{Asked, Reply, intent, no};

/// Every one.
pub const THIRD: &[(&str, Fault)] = &[
    // ---- confirmations and captures: lost, late, in somebody else's hands
    (
        "payments end in 500 as they are made",
        Fault::Answers(&[State::Validated], "requires_confirmation", |asked, dice| {
            makes(asked).then(|| no(500, "api_error", None, &dice.text()))
        }),
    ),
    (
        "payments are met by silence as they are made",
        Fault::Silence(&[State::Validated], "requires_confirmation", makes),
    ),
    (
        "confirmations are reset",
        Fault::Answers(&[State::Validated], "requires_confirmation", |asked, _| {
            asked.ends("/confirm").then_some(Reply::Reset)
        }),
    ),
    (
        "authorizations stay in processing",
        Fault::Answers(&[State::Validated], "processing", |asked, dice| {
            let amount = 500 + dice.below(90_000);
            asked.ends("/confirm").then(|| Reply::Json(200, intent("pi_new", "processing", amount, "usd")))
        }),
    ),
    (
        "captures end in 500",
        Fault::Answers(&[State::Reserved], "requires_capture", |asked, dice| {
            asked.is_effect().then(|| no(500, "api_error", None, &dice.text()))
        }),
    ),
    ("captures are met by silence", Fault::Silence(&[State::Reserved], "requires_capture", Asked::is_effect)),
    (
        "captures meet the lock of another program",
        Fault::Answers(&[State::Reserved], "requires_capture", |asked, dice| {
            asked.is_effect().then(|| no(429, "invalid_request_error", Some("lock_timeout"), &dice.text()))
        }),
    ),
    (
        "captures stay in processing",
        Fault::Answers(&[State::Reserved], "processing", |asked, dice| {
            let amount = 500 + dice.below(90_000);
            asked.is_effect().then(|| Reply::Json(200, intent(named(asked), "processing", amount, "usd")))
        }),
    ),
    (
        "captures are lost, and look-ups end in 500",
        Fault::Answers(&[State::Reserved], "requires_capture", |asked, dice| {
            Some(if asked.is_effect() { Reply::Reset } else { no(500, "api_error", None, &dice.text()) })
        }),
    ),
    (
        "captures are lost, and look-ups show another payment",
        Fault::Answers(&[State::Reserved], "requires_capture", |asked, dice| {
            let other =
                intent(&format!("pi_{}", dice.word(14, 14)), "requires_capture", 500 + dice.below(9_000), "usd");
            Some(if asked.is_effect() { Reply::Reset } else { Reply::Json(200, other) })
        }),
    ),
    // ---- voids and refunds
    ("voids are met by silence", Fault::Silence(&[State::Voiding], "requires_capture", Asked::is_effect)),
    (
        "voids are answered by a proxy's page",
        Fault::Answers(&[State::Voiding], "requires_capture", |asked, dice| {
            asked.is_effect().then(|| Reply::Page(200, page(dice)))
        }),
    ),
    (
        "voids stay in processing",
        Fault::Answers(&[State::Voiding], "processing", |asked, dice| {
            let amount = 500 + dice.below(90_000);
            asked.is_effect().then(|| Reply::Json(200, intent(named(asked), "processing", amount, "usd")))
        }),
    ),
    ("refunds are met by silence", Fault::Silence(&[State::Refunding], "succeeded", Asked::is_effect)),
    (
        "refunds are answered by a proxy's page",
        Fault::Answers(&[State::Refunding], "succeeded", |asked, dice| {
            asked.is_effect().then(|| Reply::Page(200, page(dice)))
        }),
    ),
    (
        "refunds fail at the customer's bank",
        Fault::Answers(&[State::Refunding], "succeeded", |asked, dice| {
            let failed = json!({
                "id": format!("re_{}", dice.word(14, 14)), "amount": 500 + dice.below(9_000), "currency": "usd",
                "status": "failed", "metadata": { "effect": "refund", "ordinal": "0" },
            });
            if asked.is_effect() {
                return Some(Reply::Json(200, failed));
            }
            asked.ends("/refunds").then(|| Reply::Json(200, json!({ "data": [failed], "has_more": false })))
        }),
    ),
    (
        "refunds are made of another amount",
        Fault::Answers(&[State::Refunding], "succeeded", |asked, dice| {
            let other = json!({
                "id": format!("re_{}", dice.word(14, 14)), "amount": 7 + dice.below(40), "currency": "usd",
                "status": "succeeded",
            });
            asked.is_effect().then_some(Reply::Json(200, other))
        }),
    ),
    (
        "all was refunded by hand before",
        Fault::Answers(&[State::Refunding], "succeeded", |asked, dice| {
            if asked.is_effect() {
                return Some(no(400, "invalid_request_error", Some("charge_already_refunded"), &dice.text()));
            }
            let by_hand = json!({
                "id": format!("re_{}", dice.word(14, 14)), "amount": 500 + dice.below(9_000), "currency": "usd",
                "status": "succeeded",
            });
            asked.ends("/refunds").then(|| Reply::Json(200, json!({ "data": [by_hand], "has_more": false })))
        }),
    ),
    (
        "what is to be refunded was never captured",
        Fault::Answers(&[State::Refunding], "requires_capture", |asked, dice| {
            asked.is_effect().then(|| no_for(400, None, "payment_intent", dice))
        }),
    ),
    (
        "refunds meet their own key in use",
        Fault::Answers(&[State::Refunding], "succeeded", |asked, dice| {
            asked.is_effect().then(|| no(409, "idempotency_error", Some("idempotency_key_in_use"), &dice.text()))
        }),
    ),
    (
        "refunds are lost, and their list does not end",
        Fault::Answers(&[State::Refunding], "succeeded", |asked, _| {
            if asked.is_effect() {
                return Some(Reply::Reset);
            }
            asked.ends("/refunds").then(|| Reply::Json(200, json!({ "data": [], "has_more": true })))
        }),
    ),
    // ---- an account, a setting, a version that is not as it should be
    (
        "the payment key is the publishable one",
        Fault::Answers(MONEY, "requires_capture", |_, dice| {
            Some(no(403, "invalid_request_error", Some("secret_key_required"), &dice.text()))
        }),
    ),
    (
        "the payment provider has retired the version of its API",
        Fault::Answers(MONEY, "requires_capture", |_, dice| {
            Some(no(400, "invalid_request_error", Some("api_version_retired"), &dice.text()))
        }),
    ),
    (
        "the payment address is another service's",
        Fault::Answers(MONEY, "requires_capture", |asked, dice| {
            let at = dice.below(2_000_000_000);
            Some(Reply::Json(404, json!({ "timestamp": at, "status": 404, "error": "Not Found", "path": asked.path })))
        }),
    ),
    (
        "a proxy wants credentials before the payment provider",
        Fault::Answers(MONEY, "requires_capture", |_, dice| Some(Reply::Page(407, page(dice)))),
    ),
    (
        "a firewall bars the way to the payment provider",
        Fault::Answers(MONEY, "requires_capture", |_, dice| {
            let incident = dice.below(1_000_000_000);
            Some(Reply::Page(403, format!("<html><h1>Request blocked</h1>Incident {incident} {}</html>", dice.text())))
        }),
    ),
    (
        "the payment address speaks TLS only",
        Fault::Answers(MONEY, "requires_capture", |_, dice| {
            Some(Reply::Page(400, format!("Client sent an HTTP request to an HTTPS server. {}\n", dice.word(4, 9))))
        }),
    ),
    (
        "an order is over what the payment account may take",
        Fault::Answers(&[State::Validated], "requires_confirmation", |asked, dice| {
            makes(asked).then(|| no_for(400, Some("amount_too_large"), "amount", dice))
        }),
    ),
    (
        "the payment account does not take the currency",
        Fault::Answers(&[State::Validated], "requires_confirmation", |asked, dice| {
            makes(asked).then(|| no_for(400, None, "currency", dice))
        }),
    ),
    (
        "the payment account's country wants the goods described",
        Fault::Answers(&[State::Validated], "requires_confirmation", |asked, dice| {
            makes(asked).then(|| no_for(400, Some("parameter_missing"), "description", dice))
        }),
    ),
    (
        "the payment account is not activated",
        Fault::Answers(&[State::Validated], "requires_confirmation", |asked, dice| {
            makes(asked).then(|| no(400, "invalid_request_error", Some("testmode_charges_only"), &dice.text()))
        }),
    ),
    (
        "confirmations lack a parameter",
        Fault::Answers(&[State::Validated], "requires_confirmation", |asked, dice| {
            asked.ends("/confirm").then(|| no_for(400, Some("parameter_missing"), "return_url", dice))
        }),
    ),
    (
        "a method is of a type that payments do not take",
        Fault::Answers(&[State::Validated], "requires_confirmation", |asked, dice| {
            let code = Some("payment_intent_incompatible_payment_method");
            asked.ends("/confirm").then(|| no(400, "invalid_request_error", code, &dice.text()))
        }),
    ),
    (
        "a key was used with other parameters",
        Fault::Answers(&[State::Validated], "requires_confirmation", |asked, dice| {
            makes(asked).then(|| no(400, "idempotency_error", None, &dice.text()))
        }),
    ),
    // ---- a payment provider that breaks its contract
    (
        "an authorization is captured at once",
        Fault::Answers(&[State::Validated], "succeeded", |asked, dice| {
            let amount = 500 + dice.below(90_000);
            asked.ends("/confirm").then(|| Reply::Json(200, intent("pi_new", "succeeded", amount, "usd")))
        }),
    ),
    (
        "payments are made to be captured by themselves",
        Fault::Answers(&[State::Validated], "requires_confirmation", |asked, _| {
            let mut shown = made(asked, "pi_new", "requires_confirmation")?;
            shown["capture_method"] = json!("automatic_async");
            Some(Reply::Json(200, shown))
        }),
    ),
    (
        "payments are held as they are made",
        Fault::Answers(&[State::Validated], "requires_capture", |asked, _| {
            Some(Reply::Json(200, made(asked, "pi_new", "requires_capture")?))
        }),
    ),
    (
        "payments have ids that cannot be kept",
        Fault::Answers(&[State::Validated], "requires_confirmation", |asked, dice| {
            let id = format!("pi {}/{}", dice.below(1_000_000), dice.word(3, 9));
            Some(Reply::Json(200, made(asked, &id, "requires_confirmation")?))
        }),
    ),
    (
        "confirmations answer a status that there is not",
        Fault::Answers(&[State::Validated], "requires_review", |asked, dice| {
            let amount = 500 + dice.below(90_000);
            asked.ends("/confirm").then(|| Reply::Json(200, intent("pi_new", "requires_review", amount, "usd")))
        }),
    ),
    (
        "captures answer amounts as texts",
        Fault::Answers(&[State::Reserved], "succeeded", |asked, dice| {
            let mut shown = intent(named(asked), "succeeded", 0, "usd");
            shown["amount"] = json!(format!("{}.{:02}", dice.below(900), dice.below(100)));
            Some(Reply::Json(200, shown))
        }),
    ),
    // ---- the carrier
    ("shipments are met by silence", Fault::Silence(&[State::Paid], "", Asked::is_effect)),
    (
        "shipments are answered by a proxy's page",
        Fault::Answers(&[State::Paid], "", |asked, dice| asked.is_effect().then(|| Reply::Page(200, page(dice)))),
    ),
    (
        "shipments are lost, and look-ups end in 500",
        Fault::Answers(&[State::Paid], "", |asked, dice| {
            Some(if asked.is_effect() { Reply::Reset } else { carrier_no(500, "internal", dice) })
        }),
    ),
    (
        "the carrier has two parcels of one order",
        Fault::Answers(&[State::Paid], "", |asked, dice| {
            let reference = dice.order_id();
            let parcel = || parcel(&reference, &dice.word(8, 8), dice);
            Some(if asked.is_effect() {
                Reply::Reset
            } else {
                Reply::Json(200, json!({ "shipments": [parcel(), parcel()] }))
            })
        }),
    ),
    (
        "parcels have no tracking number",
        Fault::Answers(&[State::Paid], "", |asked, dice| {
            let reference = asked.json()["reference"].as_str().unwrap_or_default().to_owned();
            asked.is_effect().then(|| Reply::Json(201, parcel(&reference, "", dice)))
        }),
    ),
    (
        "shipments are being made for ever",
        Fault::Answers(&[State::Paid], "", |asked, dice| {
            asked.is_effect().then(|| carrier_no(409, "in_progress", dice))
        }),
    ),
    (
        "the carrier has retired the version of its API",
        Fault::Answers(&[State::Paid], "", |_, dice| Some(carrier_no(410, "version_retired", dice))),
    ),
    (
        "the carrier's address is another service's",
        Fault::Answers(&[State::Paid], "", |_, dice| Some(Reply::Page(404, page(dice)))),
    ),
    (
        "the carrier is not paid",
        Fault::Answers(&[State::Paid], "", |asked, dice| {
            asked.is_effect().then(|| carrier_no(402, "account_on_hold", dice))
        }),
    ),
    (
        "a parcel is too heavy for the carrier",
        Fault::Answers(&[State::Paid], "", |asked, dice| {
            asked.is_effect().then(|| carrier_no(422, "parcel_too_heavy", dice))
        }),
    ),
    (
        "the carrier wants papers for the customs",
        Fault::Answers(&[State::Paid], "", |asked, dice| {
            asked.is_effect().then(|| carrier_no(422, "customs_data_required", dice))
        }),
    ),
    (
        "the carrier cannot read an address",
        Fault::Answers(&[State::Paid], "", |asked, dice| {
            asked.is_effect().then(|| carrier_no(400, "address_invalid", dice))
        }),
    ),
    // ---- tables that throttle, lose, refuse
    ("shipping's orders table throttles", Fault::Table(State::Paid, "orders", |_| StoreFault::Throttle)),
    ("stock's stock table throttles", Fault::Table(State::Authorized, "stock", |_| StoreFault::Throttle)),
    ("validate's reads are lost", Fault::Table(State::Accepted, "orders", |_| StoreFault::Vanished)),
    ("validate's catalogue is lost on its way", Fault::Table(State::Accepted, "stock", |_| StoreFault::Vanished)),
    ("payment's reads are lost", Fault::Table(State::Validated, "orders", |_| StoreFault::Vanished)),
    ("stock's reads are lost", Fault::Table(State::Authorized, "orders", |_| StoreFault::Vanished)),
    ("shipping's records are lost", Fault::Table(State::Paid, "idempotency", |_| StoreFault::Vanished)),
    (
        "payment's commits meet others",
        Fault::Table(State::Validated, "idempotency", |operation| {
            if operation == Operation::Transact { StoreFault::Conflict } else { StoreFault::None }
        }),
    ),
    (
        "stock's table fails inside",
        Fault::Table(State::Authorized, "stock", |_| {
            StoreFault::Says(StoreError::Unknown("InternalServerError: Internal server error".to_owned()))
        }),
    ),
    (
        "validate may not write orders",
        Fault::Table(State::Accepted, "orders", |operation| {
            if operation.writes() { denied("validate-order", "UpdateItem", "orders") } else { StoreFault::None }
        }),
    ),
    (
        "stock may not move the stock",
        Fault::Table(State::Authorized, "stock", |_| denied("reserve-stock", "UpdateItem", "stock")),
    ),
    (
        "payment may not write its records",
        Fault::Table(State::Validated, "idempotency", |_| denied("process-payment", "UpdateItem", "idempotency")),
    ),
    ("shipping's orders table is gone", Fault::Table(State::Paid, "orders", |_| no_such_table())),
    ("validate's catalogue is gone", Fault::Table(State::Accepted, "stock", |_| no_such_table())),
    (
        "the key of payment's orders table is disabled",
        Fault::Table(State::Reserved, "orders", |_| {
            refuses(
                "AccessDeniedException: KMS key access denied error: The ciphertext refers to a customer master key \
                 that does not exist, does not exist in this region, or you are not allowed to access.",
            )
        }),
    ),
    (
        "validate's row is too large to be written",
        Fault::Table(State::Accepted, "orders", |operation| {
            let too_large = "ValidationException: Item size to update has exceeded the maximum allowed size";
            if operation.writes() { refuses(too_large) } else { StoreFault::None }
        }),
    ),
    ("validate's catalogue does not answer", Fault::Hangs(State::Accepted, "stock")),
    ("stock's transactions do not answer", Fault::Hangs(State::Authorized, "stock")),
    ("notify's orders table throttles", Fault::TableOfEvent("notify.fifo", "orders", |_| StoreFault::Throttle)),
    ("notify's claims are throttled", Fault::TableOfEvent("notify.fifo", "idempotency", |_| StoreFault::Throttle)),
    ("notify's claims are lost", Fault::TableOfEvent("notify.fifo", "idempotency", |_| StoreFault::Vanished)),
    (
        "notify may not read orders",
        Fault::TableOfEvent("notify.fifo", "orders", |_| denied("notify-customer", "GetItem", "orders")),
    ),
    // ---- rows that somebody else has written
    (
        "validate's row has a quantity below zero",
        Fault::Spoilt(State::Accepted, "orders", |dice, item| {
            inside(&mut lines(item)[0]).insert("quantity".to_owned(), Attribute::N(format!("-{}", 1 + dice.below(9))));
        }),
    ),
    ("validate's row has a line twice", Fault::Row(State::Accepted, "orders", first_line_twice)),
    (
        "validate's row has more lines than are read at once",
        Fault::Spoilt(State::Accepted, "orders", |dice, item| {
            let first = lines(item)[0].clone();
            for nth in 0..100 + dice.below(30) {
                let mut line = first.clone();
                inside(&mut line).insert("sku".to_owned(), text(format!("{}-{nth}", dice.sku())));
                lines(item).push(line);
            }
        }),
    ),
    ("validate's row has no timeline", Fault::Row(State::Accepted, "orders", |item| drop(item.remove("timeline")))),
    (
        "validate's row has a mail address that is none",
        Fault::Spoilt(State::Accepted, "orders", |dice, item| set(item, "email", text(dice.text()))),
    ),
    ("a product has no name", Fault::Row(State::Accepted, "stock", |item| drop(item.remove("name")))),
    ("stock's row has a line twice", Fault::Row(State::Authorized, "orders", first_line_twice)),
    (
        "stock's row has a product's name for its number",
        Fault::Spoilt(State::Authorized, "orders", |dice, item| {
            inside(&mut lines(item)[0]).insert("sku".to_owned(), text(dice.text()));
        }),
    ),
    (
        "stock's row is in no currency that there is",
        Fault::Spoilt(State::Authorized, "orders", |dice, item| {
            set(item, "currency", text(dice.one_of(&["usd", "euro", "US$", "Dollar", "gbp", "pounds"])));
        }),
    ),
    (
        "stock's row tells of an event that there is not",
        Fault::Spoilt(State::Authorized, "orders", |dice, item| {
            let Some(Attribute::L(entries)) = item.get_mut("timeline") else { panic!("no timeline") };
            let last = entries.last_mut().unwrap();
            inside(last).insert("event".to_owned(), text(format!("imported_{}", dice.word(3, 9))));
        }),
    ),
    ("what stock puts back has left the catalogue", Fault::Emptied(State::Releasing, "stock", "sku")),
    (
        "stock puts back to a product whose pieces are a text",
        Fault::Spoilt(State::Releasing, "stock", |dice, item| set(item, "available", text(dice.text()))),
    ),
    (
        "payment's row has a total below zero",
        Fault::Spoilt(State::Validated, "orders", |dice, item| {
            let amount = Attribute::N(format!("-{}", 100 + dice.below(90_000)));
            inside(item.get_mut("total").unwrap()).insert("amount_minor".to_owned(), amount);
        }),
    ),
    (
        "payment's total is one that no card carries",
        Fault::Spoilt(State::Validated, "orders", |dice, item| {
            let total = inside(item.get_mut("total").unwrap());
            total.insert("amount_minor".to_owned(), number(10 * (100 + dice.below(9_000)) + 1 + dice.below(9)));
            total.insert("currency".to_owned(), text("KWD"));
        }),
    ),
    (
        "payment's row has the number of a card for a method",
        Fault::Spoilt(State::Validated, "orders", |dice, item| {
            let digits = || 1_000 + dice.below(9_000);
            set(item, "payment_method", text(format!("4242 {} {} {}", digits(), digits(), digits())));
        }),
    ),
    (
        "payment's row has a payment of another provider",
        Fault::Spoilt(State::Reserved, "orders", |dice, item| {
            let id = text(format!("PAYID-{}", dice.word(16, 24).to_uppercase()));
            inside(item.get_mut("payment").unwrap()).insert("payment_id".to_owned(), id);
        }),
    ),
    (
        "payment's row has a version that is a text",
        Fault::Spoilt(State::Reserved, "orders", |dice, item| {
            set(item, "version", text(format!("v{}", dice.below(90))))
        }),
    ),
    ("payment's order was deleted", Fault::Emptied(State::Reserved, "orders", "order_id")),
    (
        "shipping's address has no country",
        Fault::Row(State::Paid, "orders", |item| drop(inside(item.get_mut("ship_to").unwrap()).remove("country"))),
    ),
    ("shipping's row has no lines", Fault::Row(State::Paid, "orders", |item| drop(item.remove("lines")))),
    ("shipping's order was deleted", Fault::Emptied(State::Paid, "orders", "order_id")),
    ("notify's row lacks a field", Fault::RowOfEvent("notify.fifo", "orders", |item| drop(item.remove("created_at")))),
    (
        "notify's row is of a newer program",
        Fault::RowOfEvent("notify.fifo", "orders", |item| set(item, "state", text("on_hold"))),
    ),
    // ---- records that somebody has left
    (
        "payment's record has a status that there is not",
        Fault::Left(State::Validated, "idempotency", |dice, order| {
            record(dice, order, payment_record(order.order_id), "authorize#0", "PAUSED")
        }),
    ),
    (
        "payment's record is left in another effect",
        Fault::Left(State::Validated, "idempotency", |dice, order| {
            record(dice, order, payment_record(order.order_id), "void#0", "IN_PROGRESS")
        }),
    ),
    (
        "payment's record is done, and its order was set back",
        Fault::Left(State::Reserved, "idempotency", |dice, order| {
            record(dice, order, payment_record(order.order_id), "capture#0", "COMPLETED")
        }),
    ),
    (
        "payment's record keeps an id that is none",
        Fault::Left(State::Validated, "idempotency", |dice, order| {
            let mut kept = record(dice, order, payment_record(order.order_id), "authorize#0", "IN_PROGRESS");
            set(&mut kept, "note", text(dice.text()));
            kept
        }),
    ),
    (
        "shipping's record is done, and its order was set back",
        Fault::Left(State::Paid, "idempotency", |dice, order| {
            record(dice, order, format!("shipment#{}", order.order_id), "create#0", "COMPLETED")
        }),
    ),
    // ---- messages: cut, foreign, wrapped, ahead of their time
    ("shipping gets half a message", Fault::Command(State::Paid, half)),
    ("notify gets half an event", Fault::Event("notify.fifo", half)),
    ("archive gets half an event", Fault::Event("archive", half)),
    ("archive gets events in a list", Fault::Event("archive", |_, body| json!([body, body]).to_string())),
    (
        "validate gets a bucket's notifications",
        Fault::Command(State::Accepted, |dice, _| {
            let object =
                json!({ "key": format!("{}/{}.csv", dice.word(3, 9), dice.word(3, 9)), "size": dice.below(90_000) });
            let record = json!({
                "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "eventVersion": "2.1",
                "s3": { "bucket": { "name": dice.word(6, 12) }, "object": object },
            });
            json!({ "Records": [record] }).to_string()
        }),
    ),
    (
        "stock gets the bus's own envelope",
        Fault::Command(State::Authorized, |dice, body| {
            json!({
                "version": "0", "id": dice.order_id(), "detail-type": body["type"], "source": "orderflow",
                "account": format!("{:012}", dice.below(1_000_000_000_000)), "resources": [], "detail": body,
            })
            .to_string()
        }),
    ),
    (
        "notify gets the topic's own envelope",
        Fault::Event("notify.fifo", |dice, body| {
            json!({
                "Type": "Notification", "MessageId": dice.order_id(), "SequenceNumber": dice.below(1_000_000).to_string(),
                "Message": body.to_string(), "TopicArn": format!("arn:aws:sns:eu-central-1:1:{}.fifo", dice.word(4, 9)),
            })
            .to_string()
        }),
    ),
    ("payment gets JSON in a text", Fault::Command(State::Validated, |_, body| json!(body.to_string()).to_string())),
    (
        "payment gets the events of orders",
        Fault::Command(State::Validated, |dice, body| {
            let event = dice.one_of(&["accepted", "validated", "authorized", "paid", "shipped", "cancelled"]);
            with(body, "/type", json!(format!("orderflow.order.{event}.v1")))
        }),
    ),
    (
        "shipping gets the commands of stock",
        Fault::Command(State::Paid, |dice, body| {
            let wrong = dice.one_of(&["stock.reserve", "stock.release"]);
            with(body, "/type", json!(format!("orderflow.{wrong}.v1")))
        }),
    ),
    (
        "stock gets messages of a newer program",
        Fault::Command(State::Authorized, |dice, body| {
            with(body, "/type", json!(format!("orderflow.stock.reserve.v{}", 3 + dice.below(5))))
        }),
    ),
    (
        "stock gets a version that its row has not reached",
        Fault::Command(State::Authorized, |dice, body| {
            let ahead = body["data"]["version"].as_u64().unwrap() + 1 + dice.below(8);
            with(body, "/data/version", json!(ahead))
        }),
    ),
    (
        "validate gets no version of a row",
        Fault::Command(State::Accepted, |_, mut body| {
            body["data"].as_object_mut().unwrap().remove("version");
            body.to_string()
        }),
    ),
    (
        "stock gets a template that nobody has filled in",
        Fault::Command(State::Authorized, |dice, body| {
            with(body, "/data/order_id", json!(dice.one_of(&["{{order_id}}", "${order.id}", "%ORDER_ID%", "<order>"])))
        }),
    ),
    (
        "stock gets its data in base64",
        Fault::Command(State::Authorized, |dice, mut body| {
            let fields = body.as_object_mut().unwrap();
            fields.remove("data");
            fields.insert("data_base64".to_owned(), json!(dice.word(24, 24)));
            body.to_string()
        }),
    ),
    (
        "shipping gets its data in two forms",
        Fault::Command(State::Paid, |dice, mut body| {
            body["data_base64"] = json!(dice.word(24, 24));
            body.to_string()
        }),
    ),
    (
        "payment gets an attribute that is an object",
        Fault::Command(State::Validated, |dice, mut body| {
            body["baggage"] = json!({ (dice.word(3, 9)): dice.text() });
            body.to_string()
        }),
    ),
    (
        "validate gets more attributes than there may be",
        Fault::Command(State::Accepted, |dice, mut body| {
            for nth in 0..70 + dice.below(20) {
                body[format!("x{nth}")] = json!(dice.word(3, 9));
            }
            body.to_string()
        }),
    ),
    (
        "stock gets a schema that is no address",
        Fault::Command(State::Authorized, |dice, body| with(body, "/dataschema", json!(dice.text()))),
    ),
    ("validate gets an id of nothing", Fault::Command(State::Accepted, |_, body| with(body, "/id", json!("")))),
    (
        "payment gets a tenant over two lines",
        Fault::Command(State::Validated, |dice, body| {
            with(body, "/tenant", json!(format!("{}\n{}", dice.word(3, 9), dice.word(3, 9))))
        }),
    ),
    ("shipping gets a mark of the byte order first", Fault::Command(State::Paid, |_, body| format!("\u{feff}{body}"))),
    // ---- programs that die
    ("validate is killed, and its order moves on", Fault::Killed(State::Accepted, Meanwhile::MovedOn)),
    ("stock is killed, and its order moves on", Fault::Killed(State::Authorized, Meanwhile::MovedOn)),
    ("validate is killed, and its order is gone", Fault::Killed(State::Accepted, Meanwhile::Gone)),
    ("shipping is killed, and its order is gone", Fault::Killed(State::Paid, Meanwhile::Gone)),
    ("shipping is killed, and its table is away", Fault::Killed(State::Paid, Meanwhile::TableAway)),
    ("payment is killed, and its table is away", Fault::Killed(State::Validated, Meanwhile::TableAway)),
    ("payment is killed, and its row is of a newer program", Fault::Killed(State::Validated, Meanwhile::Newer)),
    ("stock is killed, and its row is of a newer program", Fault::Killed(State::Authorized, Meanwhile::Newer)),
    // ---- programs with a bug
    (
        "validate panics over a product",
        Fault::Panic(State::Accepted, |_| "attempt to multiply with overflow".to_owned()),
    ),
    (
        "validate panics over a line without a product",
        Fault::Panic(State::Accepted, |dice| {
            format!(
                "internal error: entered unreachable code: no product for line {} of {}",
                dice.sku(),
                dice.order_id()
            )
        }),
    ),
    (
        "payment panics over an answer",
        Fault::Panic(State::Validated, |dice| {
            let column = 1 + dice.below(900);
            format!(
                "called `Result::unwrap()` on an `Err` value: Error(\"missing field `amount`\", line: 1, column: {column})"
            )
        }),
    ),
    ("payment panics over a division", Fault::Panic(State::Validated, |_| "attempt to divide by zero".to_owned())),
    (
        "stock panics over a sum that does not add up",
        Fault::Panic(State::Authorized, |dice| {
            let left = dice.below(500);
            format!("assertion `left == right` failed: pieces\n  left: {left}\n right: {}", left + 1 + dice.below(9))
        }),
    ),
    (
        "stock panics over a difference",
        Fault::Panic(State::Authorized, |_| "attempt to subtract with overflow".to_owned()),
    ),
    (
        "shipping panics over a letter of an address",
        Fault::Panic(State::Paid, |dice| {
            let street = format!("{}stra\u{df}e {}", dice.word(4, 9), dice.below(300));
            let at = street.find('\u{df}').unwrap();
            format!(
                "byte index {} is not a char boundary; it is inside '\u{df}' (bytes {at}..{}) of `{street}`",
                at + 1,
                at + 2
            )
        }),
    ),
    (
        "shipping panics over a label",
        Fault::Panic(State::Paid, |dice| {
            let (width, id) = (dice.below(4_000), dice.word(6, 12));
            format!("the label fits: TooWide {{ width: {width}, shipment: \"{id}\" }}")
        }),
    ),
    (
        "notify panics over a line of its mail",
        Fault::PanicWithEvent("notify.fifo", |dice| {
            let length = dice.below(40);
            format!("index out of bounds: the len is {length} but the index is {}", length + dice.below(9))
        }),
    ),
    (
        "archive panics over its buffer",
        Fault::PanicWithEvent("archive", |dice| {
            format!("failed to fill whole buffer: {} bytes", dice.below(1_000_000))
        }),
    ),
    // ---- mail and archive
    ("mail is paused for the sender", Fault::Mail(|| mail_not_run("SendingPausedException"))),
    ("notify may not send mail", Fault::Mail(|| mail_not_run("AccessDeniedException"))),
    ("the mail service does not know its settings", Fault::Mail(|| mail_not_run("NotFoundException"))),
    ("nobody reaches the mail service", Fault::Mail(|| mail_not_run("no connection to SES"))),
    (
        "the mail of the day is used up",
        Fault::Mail(|| ProviderError::Throttled { retry_after: None, why: "LimitExceededException".to_owned() }),
    ),
    (
        "there is no bucket for the archive",
        Fault::Bucket(|| StoreError::NotDone("NoSuchBucket: The specified bucket does not exist".to_owned())),
    ),
    (
        "the key of the archive's bucket is disabled",
        Fault::Bucket(|| {
            let key = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
            StoreError::NotDone(format!("KMS.DisabledException: {key} is disabled."))
        }),
    ),
    (
        "the bucket fails inside",
        Fault::Bucket(|| {
            StoreError::Unknown("InternalError: We encountered an internal error. Please try again.".to_owned())
        }),
    ),
    // ---- recovery
    ("recovery has nudged validate in vain", Fault::Recovery(Recovery::StuckIn(State::Accepted))),
    ("recovery has nudged stock in vain", Fault::Recovery(Recovery::StuckIn(State::Authorized))),
    ("recovery has nudged shipping in vain", Fault::Recovery(Recovery::StuckIn(State::Paid))),
    ("recovery finds a row that lacks a field", Fault::Recovery(Recovery::Damaged)),
];

/// Whether a payment is to be made.
pub fn makes(asked: &Asked) -> bool {
    asked.is_effect() && asked.ends("/payment_intents")
}

/// The payment that is to be made, of the amount that was asked for.
pub fn made(asked: &Asked, id: &str, status: &str) -> Option<Value> {
    let field = |name| asked.field(name).unwrap();
    makes(asked).then(|| intent(id, status, field("amount").parse().unwrap(), field("currency")))
}

/// The payment that a path names.
pub fn named(asked: &Asked) -> &str {
    asked.path.split('/').nth(3).unwrap_or_default()
}

/// An error of the payment provider's that names a parameter.
pub fn no_for(status: u16, code: Option<&str>, param: &str, dice: &Dice) -> Reply {
    let mut error = json!({
        "type": "invalid_request_error", "param": param, "message": format!("No: '{}'", dice.text()),
    });
    if let Some(code) = code {
        error["code"] = json!(code);
    }
    Reply::Json(status, json!({ "error": error }))
}

pub fn page(dice: &Dice) -> String {
    format!("<!doctype html><html><title>{}</title><body>{}</body></html>", dice.word(3, 9), dice.text())
}

/// A parcel as the carrier shows it.
fn parcel(reference: &str, tracking_number: &str, dice: &Dice) -> Value {
    json!({
        "id": format!("shp_{}", dice.word(8, 12)), "reference": reference, "carrier": "Van",
        "tracking_number": tracking_number,
    })
}

pub fn refuses(why: &str) -> StoreFault {
    StoreFault::Says(StoreError::NotDone(why.to_owned()))
}

pub fn no_such_table() -> StoreFault {
    refuses("ResourceNotFoundException: Requested resource not found")
}

/// A function's role lacks the right.
pub fn denied(function: &str, action: &str, table: &str) -> StoreFault {
    refuses(&format!(
        "AccessDeniedException: User: arn:aws:sts::111122223333:assumed-role/orderflow-{function}/{function} is not \
         authorized to perform: dynamodb:{action} on resource: \
         arn:aws:dynamodb:eu-central-1:111122223333:table/orderflow-{table} because no identity-based policy allows the \
         dynamodb:{action} action"
    ))
}

pub fn mail_not_run(why: &str) -> ProviderError {
    ProviderError::NotRun { retry_after: None, why: why.to_owned() }
}

/// A record of the table `idempotency`, whose lease is long over.
pub fn record(dice: &Dice, order: &Order, key: String, operation: &str, status: &str) -> Item {
    [
        ("key", text(key)),
        ("operation", text(operation)),
        ("status", text(status)),
        ("owner", text(dice.word(12, 20))),
        ("lease_until", number(0)),
        ("attempts", number(1)),
        ("generation", number(0)),
        ("subject_version", number(order.version)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

pub fn set(item: &mut Item, name: &str, value: Attribute) {
    item.insert(name.to_owned(), value);
}

/// The attributes of a map.
pub fn inside(value: &mut Attribute) -> &mut Item {
    let Attribute::M(inside) = value else { panic!("no map") };
    inside
}

pub fn lines(item: &mut Item) -> &mut Vec<Attribute> {
    let Some(Attribute::L(lines)) = item.get_mut("lines") else { panic!("no lines") };
    lines
}

fn first_line_twice(item: &mut Item) {
    let first = lines(item)[0].clone();
    lines(item).push(first);
}
