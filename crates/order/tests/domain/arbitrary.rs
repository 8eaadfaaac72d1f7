//! Rows and outcomes without any sense in them.

use order::{
    Capture, EventKind, Lane, Money, Order, Outcome, Parked, Payment, Price, Reason, ReasonCode, Refund, RefundStatus,
    Shipment, State, TimelineEntry,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::fixtures::{parked, payment, placed, prices, refund_requested, shipment};

fn money() -> impl Strategy<Value = Money> {
    let amount = prop_oneof![Just(0), Just(1), 0_u64..5_000, Just(3_500), Just(u64::MAX), any::<u64>()];
    (amount, select(vec!["USD", "EUR", "JPY"])).prop_map(|(amount, code)| Money::new(amount, code.parse().unwrap()))
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "\\PC{0,12}", Just("re_0".to_owned())]
}

fn reason() -> impl Strategy<Value = Reason> {
    use ReasonCode::{
        AmountOverflow, AmountTooSmall, AmountZero, AuthenticationRequired, CaptureRefused, CurrencyDiffers,
        CustomerCancelled, OutOfStock, PaymentDeclined, TotalDiffers, Undeliverable, UnknownSku,
    };
    let codes = vec![
        AmountOverflow,
        AmountZero,
        AmountTooSmall,
        AuthenticationRequired,
        CaptureRefused,
        CurrencyDiffers,
        CustomerCancelled,
        OutOfStock,
        PaymentDeclined,
        TotalDiffers,
        Undeliverable,
        UnknownSku,
    ];
    (select(codes), text()).prop_map(|(code, message)| Reason::new(code, message))
}

fn held() -> impl Strategy<Value = Payment> {
    (select(vec!["pi_1", "pi_2"]), money()).prop_map(|(id, amount)| Payment { amount, ..payment(id) })
}

fn sent() -> impl Strategy<Value = Shipment> {
    select(vec!["sh_1", "sh_2"]).prop_map(shipment)
}

fn waits() -> impl Strategy<Value = Parked> {
    (text(), any::<u64>(), any::<bool>()).prop_map(|(reason, at_ms, abandoned)| Parked {
        case_id: "case-9".parse().unwrap(),
        reason,
        at_ms,
        abandoned,
    })
}

fn refund() -> impl Strategy<Value = Refund> {
    let status = select(vec![RefundStatus::Requested, RefundStatus::Done]);
    (money(), status, option::of(text()), option::of(text())).prop_map(|(amount, status, reason, refund_id)| Refund {
        amount_minor: amount.amount_minor,
        status,
        key_hash: reason.as_ref().map(|words| order::Fingerprint::of(words.as_bytes())),
        fingerprint: None,
        reason,
        refund_id,
    })
}

fn entry() -> impl Strategy<Value = TimelineEntry> {
    (any::<u64>(), select(EventKind::ALL.to_vec()), any::<u64>()).prop_map(|(version, event, at_ms)| TimelineEntry {
        version,
        event,
        at_ms,
    })
}

/// A row of any fields. Only the version has an end, as +1 has none.
pub fn row() -> impl Strategy<Value = Order> {
    let standing = (select(State::ALL.to_vec()), 0..u64::MAX, any::<bool>(), select(Lane::ALL.to_vec()));
    let money = (option::of(money()), option::of(held()), option::of(money()), option::of(sent()));
    let rest = (vec(refund(), 0..23), option::of(reason()), option::of(waits()), vec(entry(), 0..4));
    let odds = (option::of(any::<u64>()), any::<u32>(), 0_usize..4);
    (standing, money, rest, odds).prop_map(|(standing, money, rest, odds)| {
        let (state, version, cancel_requested, lane) = standing;
        let (total, payment, captured, shipment) = money;
        let (refunds, reason, parked, timeline) = rest;
        let (due_at, nudges, lines) = odds;
        let capture = captured.map(|amount| Capture { amount });
        let placed = placed();
        let lines = placed.lines.iter().cloned().cycle().take(lines).collect();
        Order {
            state,
            version,
            cancel_requested,
            lane,
            total,
            payment,
            capture,
            shipment,
            refunds,
            reason,
            parked,
            timeline,
            due_at,
            nudges,
            lines,
            ..placed
        }
    })
}

/// Any outcome.
pub fn outcome() -> impl Strategy<Value = Outcome> {
    let valid = (0_usize..4, money()).prop_map(|(count, total)| {
        let prices: Vec<Price> = prices().into_iter().cycle().take(count).collect();
        Outcome::Valid { prices, total }
    });
    let refunded = (prop_oneof![0_usize..24, any::<usize>()], text())
        .prop_map(|(ordinal, refund_id)| Outcome::Refunded { ordinal, refund_id });
    prop_oneof![
        valid,
        reason().prop_map(Outcome::Invalid),
        held().prop_map(Outcome::Authorized),
        reason().prop_map(Outcome::Declined),
        Just(Outcome::Reserved),
        Just(Outcome::OutOfStock("SOLD-OUT".parse().unwrap())),
        money().prop_map(|amount| Outcome::Captured(Capture { amount })),
        reason().prop_map(Outcome::CaptureRefused),
        sent().prop_map(Outcome::ShipmentCreated),
        reason().prop_map(Outcome::Undeliverable),
        Just(Outcome::Released),
        Just(Outcome::Voided),
        refunded,
        Just(Outcome::Skipped),
        Just(Outcome::CancelRequested),
        (any::<u64>(), "[a-z]{1,3}").prop_map(|(amount_minor, key)| refund_requested(amount_minor, &key)),
        Just(parked()),
        Just(Outcome::Resumed),
        Just(Outcome::Abandoned),
    ]
}
