//! One order, one value of every outcome, and the stories that lead to every state.

use order::{
    Capture, CaseId, Currency, Fingerprint, IdempotencyKey, Lane, Line, Money, NewOrder, Next, Order, OrderId, Outcome,
    Parked, Payment, Price, Reason, ReasonCode, Shipment, Sku, transition,
};

pub const CREATED_AT: u64 = 1_760_000_000_000;
pub const TOTAL_MINOR: u64 = 3_500;

pub fn usd(amount_minor: u64) -> Money {
    Money::new(amount_minor, Currency::USD)
}

pub fn new_order() -> NewOrder {
    let (tenant, customer) = ("shop-1".parse().unwrap(), "customer-7".parse().unwrap());
    let key: IdempotencyKey = "attempt 1".parse().unwrap();
    let line = |sku: &str, quantity| Line { sku: sku.parse().unwrap(), quantity, price: None };
    NewOrder {
        order_id: OrderId::derive(&tenant, &customer, &key),
        tenant,
        customer,
        lane: Lane::Standard,
        fingerprint: Fingerprint::of(b"request"),
        lines: vec![line("TEE-S-BLK", 2), line("MUG-BLUE", 1)],
        currency: Currency::USD,
        expected_total: Some(usd(TOTAL_MINOR)),
        ship_to: order::Address {
            name: "Ada Secretname".into(),
            line1: "1 Hidden Street".into(),
            line2: Some("Flat Concealed".into()),
            city: "Veiledton".into(),
            postal_code: "90210".into(),
            country: "US".into(),
        },
        email: "ada.private@example.com".parse().unwrap(),
        payment_method: "pm_card_visa".parse().unwrap(),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
    }
}

pub fn placed() -> Order {
    Order::accept(new_order(), CREATED_AT)
}

pub fn reason(code: ReasonCode) -> Reason {
    Reason::new(code, "because")
}

pub fn prices() -> Vec<Price> {
    let price = |name: &str, unit_price_minor| Price { name: name.into(), unit_price_minor };
    vec![price("Tee", 1_000), price("Mug", 1_500)]
}

pub fn payment(id: &str) -> Payment {
    Payment { payment_id: id.parse().unwrap(), amount: usd(TOTAL_MINOR) }
}

pub fn shipment(id: &str) -> Shipment {
    Shipment {
        shipment_id: id.into(),
        carrier: "Parcel".into(),
        tracking_number: "TRACK1".into(),
        tracking_url: "https://carrier.invalid/TRACK1".into(),
    }
}

pub fn refunded(ordinal: usize) -> Outcome {
    Outcome::Refunded { ordinal, refund_id: format!("re_{ordinal}") }
}

pub fn refund_requested(amount_minor: u64, key: &str) -> Outcome {
    Outcome::RefundRequested {
        amount_minor,
        key_hash: key.parse::<IdempotencyKey>().unwrap().hash(),
        fingerprint: Fingerprint::of(amount_minor.to_string().as_bytes()),
        reason: Some("Words-of-the-customer".into()),
    }
}

pub fn parked() -> Outcome {
    let case_id: CaseId = "case-1".parse().unwrap();
    Outcome::Parked(Parked { case_id, reason: "twelve attempts".into(), at_ms: CREATED_AT, abandoned: false })
}

/// The names of all outcomes, in the order of the columns of the table test.
pub const OUTCOMES: [&str; 19] = [
    "valid",
    "invalid",
    "authorized",
    "declined",
    "reserved",
    "out_of_stock",
    "captured",
    "capture_refused",
    "shipment_created",
    "undeliverable",
    "released",
    "voided",
    "refunded",
    "skipped",
    "cancel_requested",
    "refund_requested",
    "parked",
    "resumed",
    "abandoned",
];

/// The name of an outcome. No wildcard: a new variant has to be named here, and then pinned in the table.
pub fn name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Valid { .. } => "valid",
        Outcome::Invalid(_) => "invalid",
        Outcome::Authorized(_) => "authorized",
        Outcome::Declined(_) => "declined",
        Outcome::Reserved => "reserved",
        Outcome::OutOfStock(_) => "out_of_stock",
        Outcome::Captured(_) => "captured",
        Outcome::CaptureRefused(_) => "capture_refused",
        Outcome::ShipmentCreated(_) => "shipment_created",
        Outcome::Undeliverable(_) => "undeliverable",
        Outcome::Released => "released",
        Outcome::Voided => "voided",
        Outcome::Refunded { .. } => "refunded",
        Outcome::Skipped => "skipped",
        Outcome::CancelRequested => "cancel_requested",
        Outcome::RefundRequested { .. } => "refund_requested",
        Outcome::Parked(_) => "parked",
        Outcome::Resumed => "resumed",
        Outcome::Abandoned => "abandoned",
    }
}

/// One outcome of each name: what the providers of [`story`] would say, and say again.
pub fn outcome(name: &str) -> Outcome {
    match name {
        "valid" => Outcome::Valid { prices: prices(), total: usd(TOTAL_MINOR) },
        "invalid" => Outcome::Invalid(reason(ReasonCode::UnknownSku)),
        "authorized" => Outcome::Authorized(payment("pi_1")),
        "declined" => Outcome::Declined(reason(ReasonCode::PaymentDeclined)),
        "reserved" => Outcome::Reserved,
        "out_of_stock" => Outcome::OutOfStock("MUG-BLUE".parse::<Sku>().unwrap()),
        "captured" => Outcome::Captured(Capture { amount: usd(TOTAL_MINOR) }),
        "capture_refused" => Outcome::CaptureRefused(reason(ReasonCode::CaptureRefused)),
        "shipment_created" => Outcome::ShipmentCreated(shipment("sh_1")),
        "undeliverable" => Outcome::Undeliverable(reason(ReasonCode::Undeliverable)),
        "released" => Outcome::Released,
        "voided" => Outcome::Voided,
        "refunded" => refunded(0),
        "skipped" => Outcome::Skipped,
        "cancel_requested" => Outcome::CancelRequested,
        "refund_requested" => refund_requested(1_000, "refund 1"),
        "parked" => parked(),
        "resumed" => Outcome::Resumed,
        "abandoned" => Outcome::Abandoned,
        other => panic!("{other} is no outcome"),
    }
}

/// The row that a sequence of outcomes, each of which has to change it, makes of a new order.
pub fn story(outcomes: &str) -> Order {
    outcomes.split_whitespace().enumerate().fold(placed(), |row, (at, step)| changed(&row, &outcome(step), at as u64))
}

/// The next row, of an outcome that has to change it. Steps are a second apart.
pub fn changed(row: &Order, outcome: &Outcome, at: u64) -> Order {
    match transition(row, outcome, CREATED_AT + 1_000 * (at + 1)) {
        Ok(Next::Changed(next)) => *next,
        other => panic!("{} at {} {other:?}", name(outcome), row.state),
    }
}
