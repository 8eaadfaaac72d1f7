//! Evidence of three good orders, to be broken one place at a time: shipped with a partial refund; out of stock;
//! undeliverable.

use std::collections::BTreeMap;

use order::{
    Address, Capture, Currency, Fingerprint, IdempotencyKey, Lane, Line, Money, NewOrder, Next, Order, Outcome, Parked,
    Payment, Price, Reason, ReasonCode, Shipment, transition,
};
use serde_json::{Value, json};

use super::{Evidence, Placed, RefundAsked, Verdict};
use crate::api::Who;
use crate::archive::Archived;
use crate::ledger::{Effect, LedgerEntry, Provider};
use crate::logs::{InvocationLine, LogLines, RecordLine};
use crate::tables::{CaseRow, Row};

const SKU: &str = "TEE-S-BLK";
const PRICE: u64 = 1900;
const SEEDED: u64 = 100;

fn who() -> Who {
    Who::new("acme", "ann")
}

fn key(order: usize) -> String {
    format!("key-{order}")
}

fn body() -> Value {
    json!({ "lane": "express", "lines": [{ "sku": SKU, "quantity": 2 }], "email": "ann@example.test" })
}

fn total() -> Money {
    Money::new(2 * PRICE, Currency::USD)
}

fn accepted(order: usize) -> Order {
    let new = NewOrder {
        order_id: who().order_id(&key(order)).unwrap(),
        tenant: who().tenant.parse().unwrap(),
        customer: who().customer.parse().unwrap(),
        lane: Lane::Express,
        fingerprint: Fingerprint::of(b"body"),
        lines: vec![Line { sku: SKU.parse().unwrap(), quantity: 2, price: None }],
        currency: Currency::USD,
        expected_total: None,
        ship_to: Address {
            name: "Ann".into(),
            line1: "1 Road".into(),
            line2: None,
            city: "Town".into(),
            postal_code: "12345".into(),
            country: "US".into(),
        },
        email: "ann@example.test".parse().unwrap(),
        payment_method: "pm_card_visa".parse().unwrap(),
        traceparent: None,
    };
    Order::accept(new, 1_000)
}

fn walk(order: Order, outcomes: &[Outcome]) -> Order {
    outcomes.iter().zip(2_000..).fold(order, |order, (outcome, at_ms)| match transition(&order, outcome, at_ms) {
        Ok(Next::Changed(next)) => *next,
        other => panic!("{outcome:?}: {other:?}"),
    })
}

fn ways() -> Vec<Order> {
    let valid =
        || Outcome::Valid { prices: vec![Price { name: "T-shirt".into(), unit_price_minor: PRICE }], total: total() };
    let authorized = |order| {
        let payment_id = format!("pi_{order}").parse().unwrap();
        Outcome::Authorized(Payment { payment_id, amount: total() })
    };
    let captured = || Outcome::Captured(Capture { amount: total() });
    let shipment = Shipment {
        shipment_id: "shp_0".into(),
        carrier: "c".into(),
        tracking_number: "t".into(),
        tracking_url: "u".into(),
    };
    let refund = Outcome::RefundRequested {
        amount_minor: 500,
        key_hash: "refund-0".parse::<IdempotencyKey>().unwrap().hash(),
        fingerprint: Fingerprint::of(b"refund"),
        reason: None,
    };
    let refunded = |id: &str| Outcome::Refunded { ordinal: 0, refund_id: id.to_owned() };
    let undeliverable = Outcome::Undeliverable(Reason::new(ReasonCode::Undeliverable, "no road there"));
    vec![
        walk(
            accepted(0),
            &[
                valid(),
                authorized(0),
                Outcome::Reserved,
                captured(),
                Outcome::ShipmentCreated(shipment),
                refund,
                refunded("re_0"),
            ],
        ),
        walk(accepted(1), &[valid(), authorized(1), Outcome::OutOfStock(SKU.parse().unwrap()), Outcome::Voided]),
        walk(
            accepted(2),
            &[
                valid(),
                authorized(2),
                Outcome::Reserved,
                captured(),
                undeliverable,
                Outcome::Released,
                refunded("re_2"),
            ],
        ),
    ]
}

fn ledger() -> Vec<LedgerEntry> {
    let all = 2 * PRICE as i64;
    let effects = [
        (0, Effect::PaymentCreated, all, "pi_0"),
        (1, Effect::PaymentCreated, all, "pi_1"),
        (2, Effect::PaymentCreated, all, "pi_2"),
        (0, Effect::Authorized, all, "pi_0"),
        (1, Effect::Authorized, all, "pi_1"),
        (2, Effect::Authorized, all, "pi_2"),
        (0, Effect::Captured, all, "pi_0"),
        (1, Effect::Voided, all, "pi_1"),
        (2, Effect::Captured, all, "pi_2"),
        (0, Effect::ShipmentCreated, 0, "shp_0"),
        (2, Effect::Undeliverable, 0, "none"),
        (0, Effect::Refunded, 500, "re_0"),
        (2, Effect::Refunded, all, "re_2"),
    ];
    let entry = |(seq, (order, effect, amount, id)): (u64, (usize, Effect, i64, &str))| LedgerEntry {
        seq,
        at_ms: 1_000,
        provider: if amount == 0 { Provider::Carrier } else { Provider::Payment },
        effect,
        order_id: Some(who().order_id(&key(order)).unwrap().to_string()),
        id: id.to_owned(),
        payment_intent: (amount > 0).then(|| format!("pi_{order}")),
        amount_minor: (amount > 0).then_some(amount),
        currency: (amount > 0).then(|| "usd".to_owned()),
        idempotency_key: None,
        metadata: BTreeMap::new(),
    };
    (1..).zip(effects).map(entry).collect()
}

fn record(request_id: &str, message_id: &str, verdict: &str, receive_count: u32) -> RecordLine {
    RecordLine {
        timestamp: "2026-11-23T09:30:00.123Z".to_owned(),
        function: "ship-order".to_owned(),
        request_id: request_id.to_owned(),
        message_id: message_id.to_owned(),
        order_id: None,
        queue: "q".to_owned(),
        verdict: verdict.to_owned(),
        latency_ms: 5,
        receive_count,
        calls: BTreeMap::new(),
    }
}

fn invocation(request_id: &str, received: &[&str], failed: &[&str]) -> InvocationLine {
    let owned = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
    InvocationLine {
        function: "ship-order".to_owned(),
        request_id: request_id.to_owned(),
        queue: "q".to_owned(),
        received_ids: owned(received),
        failed_ids: owned(failed),
        duration_ms: 3,
        calls: BTreeMap::new(),
        sends: BTreeMap::new(),
        cold_start: false,
    }
}

/// Three good orders.
pub(super) fn good() -> Evidence {
    let orders = ways();
    let placed = (0..orders.len())
        .map(|order| Placed {
            who: who(),
            key: key(order),
            body: body(),
            status: 202,
            order_id: Some(who().order_id(&key(order)).unwrap()),
            at_ms: 1_000,
        })
        .collect();
    let archived = orders.iter().flat_map(|order| {
        order.timeline.iter().map(|entry| Archived {
            order_id: order.order_id.to_string(),
            version: entry.version,
            event: entry.event.name().to_owned(),
            id: entry.event_id(order.order_id).to_string(),
        })
    });
    Evidence {
        placed,
        refunds: vec![refund_asked(0, "refund-0", Some(500))],
        ledger: ledger(),
        seeded: BTreeMap::from([(SKU.parse().unwrap(), SEEDED)]),
        stock: BTreeMap::from([(SKU.parse().unwrap(), SEEDED as i64 - 2)]),
        logs: LogLines {
            records: vec![record("r1", "m1", "done", 1), record("r1", "m2", "retry", 1), record("r2", "m2", "done", 2)],
            invocations: vec![invocation("r1", &["m1", "m2"], &["m2"]), invocation("r2", &["m2"], &[])],
            ..LogLines::default()
        },
        archived: Some(archived.collect()),
        rows: orders.into_iter().map(|order| Row { order, raw: std::collections::HashMap::new() }).collect(),
        ..Evidence::default()
    }
}

/// A refund request that the API took.
pub(super) fn refund_asked(order: usize, key_: &str, amount_minor: Option<u64>) -> RefundAsked {
    RefundAsked { order_id: who().order_id(&key(order)).unwrap(), key: key_.to_owned(), amount_minor, status: 202 }
}

/// Where in the ledger an order has an effect.
pub(super) fn index_of(evidence: &Evidence, order: usize, effect: Effect) -> usize {
    let id = who().order_id(&key(order)).unwrap().to_string();
    let is_it = |entry: &LedgerEntry| entry.order_id.as_ref() == Some(&id) && entry.effect == effect;
    evidence.ledger.iter().position(is_it).unwrap()
}

pub(super) fn parked() -> Parked {
    let (case_id, reason) = ("case-1".parse().unwrap(), "somebody has to look".to_owned());
    Parked { case_id, reason, at_ms: 3_000, abandoned: false }
}

pub(super) fn case(status: &str) -> CaseRow {
    CaseRow { case_id: "case-1".to_owned(), status: status.to_owned(), ..CaseRow::default() }
}

/// Breaks the good evidence and demands that the checker says so, in these words.
pub(super) fn broken(check: fn(&Evidence) -> Verdict, says: &str, break_it: impl FnOnce(&mut Evidence)) {
    let mut evidence = good();
    break_it(&mut evidence);
    let verdict = check(&evidence);
    assert!(!verdict.holds, "{} does not see that {says:?}", verdict.id);
    assert!(verdict.detail.contains(says), "{} should say {says:?}, says: {}", verdict.id, verdict.detail);
}
