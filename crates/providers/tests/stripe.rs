//! The payment adapter against the sandbox, whose ledger tells what really happened.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::time::Duration;

use order::{Money, PaymentId};
use ports::{
    Captured, ChargeLimits as _, Confirmation, Created, Lookup, PaymentStatus, Payments as _, Probe as _,
    ProviderError, Voided,
};
use providers::{Secret, Stripe, StripeLimits};
use sandbox::ledger::Effect;
use serde_json::json;
use support::{KEY, World, closed_port, order_id, payment, payment_id, secret, usd};

/// Short enough for a test to sit out; a hang ends in it.
const SHORT: Duration = Duration::from_millis(500);

fn is_unknown<T>(answer: &Result<T, ProviderError>) -> bool {
    matches!(answer, Err(ProviderError::Unknown { .. }))
}

/// The provider's own 500: it may have happened, and the call is over.
fn is_failed<T>(answer: &Result<T, ProviderError>) -> bool {
    matches!(answer, Err(ProviderError::Failed { .. }))
}

async fn held(world: &World, amount: Money) -> PaymentId {
    let id = world
        .stripe
        .create_payment("o/authorize#0/1/create", &payment(amount, "pm_card_visa"))
        .await
        .unwrap()
        .id()
        .unwrap();
    assert_eq!(world.stripe.confirm_payment("o/authorize#0/1", &id).await.unwrap(), Confirmation::Held);
    id
}

async fn captured(world: &World, amount: Money) -> PaymentId {
    let id = held(world, amount).await;
    assert_eq!(
        world.stripe.capture_payment("o/capture#0/1", &id, amount).await.unwrap(),
        Captured::Captured { amount }
    );
    id
}

#[tokio::test]
async fn a_payment_goes_from_unconfirmed_to_refunded_and_every_look_up_shows_it() {
    let world = World::new().await;
    let stripe = &world.stripe;
    let id = stripe.create_payment("k/create", &payment(usd(2_500), "pm_card_visa")).await.unwrap().id().unwrap();

    let seen = stripe.look_up_payment(&id).await.unwrap();
    assert_eq!((seen.status, seen.amount, seen.captured_minor), (PaymentStatus::Unconfirmed, usd(2_500), 0));
    assert_eq!(world.count(Effect::Authorized), 0, "a create holds nothing");

    assert_eq!(stripe.confirm_payment("k/confirm", &id).await.unwrap(), Confirmation::Held);
    assert_eq!(stripe.look_up_payment(&id).await.unwrap().status, PaymentStatus::Held);
    assert_eq!(world.count(Effect::Captured), 0, "a hold takes nothing");

    let captured = stripe.capture_payment("k/capture", &id, usd(2_500)).await.unwrap();
    assert_eq!(captured, Captured::Captured { amount: usd(2_500) });
    let seen = stripe.look_up_payment(&id).await.unwrap();
    assert_eq!((seen.status, seen.captured_minor, seen.refunds.len()), (PaymentStatus::Captured, 2_500, 0));

    let first = stripe.refund_payment("k/refund#0", &id, order_id(), 0, usd(500)).await.unwrap();
    let second = stripe.refund_payment("k/refund#1", &id, order_id(), 1, usd(2_000)).await.unwrap();
    let refunds = stripe.look_up_payment(&id).await.unwrap().refunds;
    let seen: Vec<_> =
        refunds.iter().map(|view| (view.refund_id.clone(), view.ordinal, view.amount_minor, view.failed)).collect();
    assert_eq!(seen, [(second, Some(1), 2_000, false), (first, Some(0), 500, false)]);

    let ledger = world.ledger();
    let effects: Vec<_> = ledger.iter().map(|entry| (entry.effect, entry.amount_minor.unwrap())).collect();
    let refunds = [(Effect::Refunded, 500), (Effect::Refunded, 2_000)];
    let before = [(Effect::PaymentCreated, 2_500), (Effect::Authorized, 2_500), (Effect::Captured, 2_500)];
    assert_eq!(effects, [&before[..], &refunds[..]].concat());
    assert!(ledger.iter().all(|entry| entry.order_id.as_deref() == Some(support::ORDER)), "{ledger:?}");
    assert_eq!(ledger[4].metadata["effect"], "refund");
    assert_eq!(ledger[4].metadata["ordinal"], "1");
}

#[tokio::test]
async fn a_decline_is_an_answer_with_the_most_telling_code() {
    let world = World::new().await;
    for (method, code) in [
        ("pm_card_chargeDeclined", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card"),
    ] {
        let id = world
            .stripe
            .create_payment(&format!("{method}/create"), &payment(usd(900), method))
            .await
            .unwrap()
            .id()
            .unwrap();
        let declined = Confirmation::Declined { code: code.to_owned() };
        assert_eq!(world.stripe.confirm_payment(method, &id).await.unwrap(), declined, "{method}");
        // The same key gives the stored answer; another one finds a payment that has lost its method.
        assert_eq!(world.stripe.confirm_payment(method, &id).await.unwrap(), declined, "{method}");
        let again = world.stripe.confirm_payment(&format!("{method}/2"), &id).await.unwrap();
        assert_eq!(again, declined, "{method}");
        let seen = world.stripe.look_up_payment(&id).await.unwrap().status;
        assert_eq!(seen, PaymentStatus::Declined { code: code.to_owned() }, "{method}");
    }
    assert_eq!(world.count(Effect::Authorized), 0);
}

#[tokio::test]
async fn a_card_that_wants_the_customer_is_told_from_a_decline_and_can_be_given_up() {
    let world = World::new().await;
    let stripe = &world.stripe;
    let id = stripe
        .create_payment("k/create", &payment(usd(900), "pm_card_authenticationRequired"))
        .await
        .unwrap()
        .id()
        .unwrap();
    assert_eq!(stripe.confirm_payment("k", &id).await.unwrap(), Confirmation::NeedsCustomer);
    assert_eq!(stripe.look_up_payment(&id).await.unwrap().status, PaymentStatus::NeedsCustomer);
    assert_eq!(stripe.cancel_payment("k/give-up", &id).await.unwrap(), Voided::Voided);
    assert_eq!(stripe.look_up_payment(&id).await.unwrap().status, PaymentStatus::Cancelled);
}

#[tokio::test]
async fn a_payment_method_that_does_not_exist_is_a_decline_and_no_bug() {
    let world = World::new().await;
    let stripe = &world.stripe;
    let id = stripe.create_payment("k/create", &payment(usd(900), "pm_of_nobody")).await.unwrap().id().unwrap();
    let declined = Confirmation::Declined { code: "invalid_payment_method".to_owned() };
    assert_eq!(stripe.confirm_payment("k", &id).await.unwrap(), declined);
    assert_eq!(stripe.confirm_payment("k/2", &id).await.unwrap(), declined);
    let again = stripe.create_payment("k/create", &payment(usd(900), "pm_of_nobody")).await.unwrap().id().unwrap();
    assert_eq!(again, id, "the repeated create is the same payment");
    assert_eq!(world.count(Effect::PaymentCreated), 1);
    assert_eq!(world.count(Effect::Authorized), 0);
}

#[tokio::test]
async fn a_hold_that_is_gone_is_told_by_capture_and_counts_as_voided() {
    let world = World::new().await;
    let stripe = &world.stripe;
    let id = stripe.create_payment("k/create", &payment(usd(900), "pm_card_expiredHold")).await.unwrap().id().unwrap();
    assert_eq!(stripe.confirm_payment("k", &id).await.unwrap(), Confirmation::Held);
    for key in ["k/capture", "k/capture", "k/capture/2"] {
        assert!(matches!(stripe.capture_payment(key, &id, usd(900)).await, Ok(Captured::Gone { .. })), "{key}");
    }
    assert_eq!(stripe.cancel_payment("k/cancel", &id).await.unwrap(), Voided::Voided);
    assert_eq!((world.count(Effect::HoldExpired), world.count(Effect::Captured)), (1, 0));
}

#[tokio::test]
async fn what_an_earlier_key_did_is_not_done_again_under_another() {
    let world = World::new().await;
    let stripe = &world.stripe;
    let id = captured(&world, usd(900)).await;
    let again = stripe.capture_payment("o/capture#0/2", &id, usd(900)).await.unwrap();
    assert_eq!(again, Captured::Captured { amount: usd(900) });
    assert_eq!(stripe.cancel_payment("o/void#0/1", &id).await.unwrap(), Voided::WasCaptured);
    assert_eq!(world.count(Effect::Captured), 1);

    let world = World::new().await;
    let id = held(&world, usd(900)).await;
    let again = world.stripe.confirm_payment("o/authorize#0/2", &id).await;
    assert!(matches!(again, Err(ProviderError::WrongState { .. })), "{again:?}");
    for key in ["o/void#0/1", "o/void#0/2"] {
        assert_eq!(world.stripe.cancel_payment(key, &id).await.unwrap(), Voided::Voided);
    }
    assert_eq!((world.count(Effect::Authorized), world.count(Effect::Voided)), (1, 1));
}

#[tokio::test]
async fn a_capture_of_another_amount_than_is_held_takes_nothing_or_is_not_taken_for_success() {
    let world = World::new().await;
    let id = held(&world, usd(900)).await;
    let more = world.stripe.capture_payment("k", &id, usd(901)).await;
    assert!(matches!(more, Err(ProviderError::WrongState { .. })), "{more:?}");
    assert_eq!(world.count(Effect::Captured), 0);

    let id = captured(&world, usd(900)).await;
    let less = world.stripe.capture_payment("k/2", &id, usd(899)).await;
    assert!(matches!(less, Err(ProviderError::WrongState { .. })), "{less:?}");
}

#[tokio::test]
async fn money_that_is_not_there_to_give_back_is_for_the_look_up_to_explain() {
    let world = World::new().await;
    let id = held(&world, usd(900)).await;
    let early = world.stripe.refund_payment("early", &id, order_id(), 0, usd(900)).await;
    assert!(matches!(early, Err(ProviderError::WrongState { .. })), "{early:?}");

    let id = captured(&world, usd(900)).await;
    world.stripe.refund_payment("k/0", &id, order_id(), 0, usd(800)).await.unwrap();
    let over = world.stripe.refund_payment("k/1", &id, order_id(), 1, usd(101)).await;
    assert!(matches!(over, Err(ProviderError::WrongState { .. })), "{over:?}");
    world.stripe.refund_payment("k/2", &id, order_id(), 2, usd(100)).await.unwrap();
    let none_left = world.stripe.refund_payment("k/3", &id, order_id(), 3, usd(1)).await;
    assert!(matches!(none_left, Err(ProviderError::WrongState { .. })), "{none_left:?}");
    assert_eq!(world.count(Effect::Refunded), 2);
}

#[tokio::test]
async fn a_look_up_reads_every_page_of_refunds_and_knows_those_that_are_not_ours() {
    let world = World::new().await;
    let id = captured(&world, usd(900)).await;
    for ordinal in 0..101 {
        world.stripe.refund_payment(&format!("k/{ordinal}"), &id, order_id(), ordinal, usd(1)).await.unwrap();
    }
    let by_hand = [("payment_intent", id.as_str()), ("amount", "7"), ("metadata[ordinal]", "5")];
    let url = format!("{}/v1/refunds", world.sandbox.url());
    assert!(world.http.post(url).bearer_auth(KEY).form(&by_hand).send().await.unwrap().status().is_success());

    let refunds = world.stripe.look_up_payment(&id).await.unwrap().refunds;
    let ordinals: Vec<_> = refunds.iter().map(|refund| refund.ordinal).collect();
    let expected: Vec<_> = std::iter::once(None).chain((0..101).rev().map(Some)).collect();
    assert_eq!(ordinals, expected);
}

#[tokio::test]
async fn a_lost_answer_is_unknown_and_the_ledger_agrees_with_the_look_up() {
    for (fault, happened) in [
        ("reset", false),
        ("hang", false),
        ("error_500", false),
        ("effect_then_reset", true),
        ("effect_then_hang", true),
        ("error_500_after_effect", true),
    ] {
        let world = World::new().await;
        let stripe = world.stripe.clone().with_timeout(SHORT);
        let id = captured(&world, usd(900)).await;
        world.fault(json!({ "operation": "refund", "fault": fault, "count": 1 })).await;
        let answer = stripe.refund_payment("k/refund#0", &id, order_id(), 0, usd(300)).await;
        assert!(
            if fault.starts_with("error_500") { is_failed(&answer) } else { is_unknown(&answer) },
            "{fault}: {answer:?}"
        );
        world.settled().await;
        let found = world.stripe.look_up_payment(&id).await.unwrap().refunds;
        assert_eq!(found.iter().any(|refund| refund.ordinal == Some(0)), happened, "{fault}");
        assert_eq!(world.count(Effect::Refunded), usize::from(happened), "{fault}");
    }
}

#[tokio::test]
async fn the_same_key_makes_a_lost_effect_good_without_a_second_one() {
    for fault in ["reset", "effect_then_reset"] {
        let world = World::new().await;
        let id = captured(&world, usd(900)).await;
        world.fault(json!({ "operation": "refund", "fault": fault, "count": 1 })).await;
        let lost = world.stripe.refund_payment("k/refund#0", &id, order_id(), 0, usd(300)).await;
        assert!(is_unknown(&lost), "{fault}: {lost:?}");
        let refund = world.stripe.refund_payment("k/refund#0", &id, order_id(), 0, usd(300)).await.unwrap();
        let found = world.stripe.look_up_payment(&id).await.unwrap().refunds;
        assert_eq!(found.iter().map(|refund| refund.refund_id.clone()).collect::<Vec<_>>(), [refund], "{fault}");
        assert_eq!(world.count(Effect::Refunded), 1, "{fault}");
    }
}

#[tokio::test]
async fn a_stored_500_is_replayed_as_a_failure_until_the_key_changes() {
    let world = World::new().await;
    let stripe = &world.stripe;
    let id = stripe.create_payment("k/create", &payment(usd(900), "pm_card_visa")).await.unwrap().id().unwrap();
    world.fault(json!({ "operation": "confirm", "fault": "error_500", "count": 1 })).await;
    for _ in 0..3 {
        let answer = stripe.confirm_payment("k/1", &id).await;
        assert!(is_failed(&answer), "{answer:?}");
    }
    assert_eq!(stripe.look_up_payment(&id).await.unwrap().status, PaymentStatus::Unconfirmed);
    assert_eq!(stripe.confirm_payment("k/2", &id).await.unwrap(), Confirmation::Held);
}

#[tokio::test]
async fn a_late_effect_stays_unknown_while_its_key_is_in_flight() {
    let world = World::new().await;
    let stripe = world.stripe.clone().with_timeout(SHORT);
    let id = captured(&world, usd(900)).await;
    world.fault(json!({ "operation": "refund", "fault": "late_effect", "delay_ms": 3_000, "count": 1 })).await;
    let hung = stripe.refund_payment("k", &id, order_id(), 0, usd(300)).await;
    assert!(is_unknown(&hung), "{hung:?}");
    // 409: another request with this key is at work. Had this been taken for "not run", the first would be forgotten.
    let in_flight = world.stripe.refund_payment("k", &id, order_id(), 0, usd(300)).await;
    let Err(ProviderError::Unknown { why }) = in_flight else { panic!("{in_flight:?}") };
    assert!(why.contains("409 idempotency_error idempotency_key_in_use"), "{why}");
    world.settled().await;
    assert_eq!(world.stripe.look_up_payment(&id).await.unwrap().refunds.len(), 1);
    assert_eq!(world.count(Effect::Refunded), 1);
}

#[tokio::test]
async fn a_throttled_call_surely_did_not_run_and_says_when_to_come_back() {
    let world = World::new().await;
    let id = held(&world, usd(900)).await;
    let rule = json!({ "operation": "capture", "fault": "throttle_429", "delay_ms": 2_500, "count": 1 });
    world.fault(rule).await;
    let answer = world.stripe.capture_payment("k", &id, usd(900)).await;
    let Err(ProviderError::Throttled { retry_after, why }) = answer else { panic!("{answer:?}") };
    assert_eq!(retry_after, Some(Duration::from_secs(3)));
    assert!(why.starts_with("429 invalid_request_error rate_limit (req_"), "{why}");
    assert_eq!(world.count(Effect::Captured), 0);
    assert_eq!(
        world.stripe.capture_payment("k", &id, usd(900)).await.unwrap(),
        Captured::Captured { amount: usd(900) },
        "a 429 is not stored under the key"
    );
}

#[tokio::test]
async fn a_refused_connection_surely_did_not_run() {
    let stripe = Stripe::new(&format!("http://127.0.0.1:{}", closed_port()), secret()).unwrap();
    let answer = stripe.confirm_payment("k", &payment_id("pi_1")).await;
    assert_eq!(
        answer,
        Err(ProviderError::NotRun { retry_after: None, why: "no connection: connection refused".to_owned() })
    );
}

#[tokio::test]
async fn a_key_with_other_parameters_is_unknown_as_the_first_request_did_something() {
    let world = World::new().await;
    let id = captured(&world, usd(900)).await;
    world.stripe.refund_payment("k", &id, order_id(), 0, usd(300)).await.unwrap();
    let other = world.stripe.refund_payment("k", &id, order_id(), 0, usd(400)).await;
    assert!(is_unknown(&other), "{other:?}");
    assert_eq!(world.count(Effect::Refunded), 1);
}

#[tokio::test]
async fn a_wrong_key_a_payment_of_nobody_and_an_odd_amount_are_refused() {
    let world = World::new().await;
    let live = Stripe::new(&world.sandbox.url(), Secret::new("sk_live_never_printed".to_owned())).unwrap();
    let refusals = [
        live.create_payment("k", &payment(usd(900), "pm_card_visa")).await.map(|_| ()),
        live.look_up_payment(&payment_id("pi_1")).await.map(|_| ()),
        world.stripe.look_up_payment(&payment_id("pi_ofnobody")).await.map(|_| ()),
        world.stripe.confirm_payment("k", &payment_id("pi_ofnobody")).await.map(|_| ()),
        world.stripe.refund_payment("k", &payment_id("pi_ofnobody"), order_id(), 0, usd(1)).await.map(|_| ()),
        world.stripe.confirm_payment("k", &payment_id("../refunds?x=")).await.map(|_| ()),
        world.stripe.confirm_payment(&"k".repeat(256), &payment_id("pi_1")).await.map(|_| ()),
        world
            .stripe
            .create_payment("k", &payment(Money::new(1_234, "KWD".parse().unwrap()), "pm_card_visa"))
            .await
            .map(|_| ()),
    ];
    for refusal in refusals {
        let Err(ProviderError::Refused { why }) = &refusal else { panic!("{refusal:?}") };
        assert!(!why.contains("never_printed") && !why.contains("pm_card"), "{why}");
    }
    assert_eq!(world.ledger(), []);
}

#[tokio::test]
async fn amounts_are_in_stripes_units_where_those_are_not_iso_4217s() {
    let world = World::new().await;
    let kronur = Money::new(500, "ISK".parse().unwrap());
    let id = captured(&world, kronur).await;
    assert_eq!(world.ledger().last().unwrap().amount_minor, Some(50_000));
    let seen = world.stripe.look_up_payment(&id).await.unwrap();
    assert_eq!((seen.amount, seen.captured_minor), (kronur, 500));
}

#[test]
fn an_adapter_says_nothing_of_its_key() {
    let stripe = Stripe::new("https://api.stripe.com", secret()).unwrap();
    let shown = format!("{stripe:?} {:?}", secret());
    assert!(!shown.contains(KEY) && shown.contains("Secret([redacted])"), "{shown}");
}

#[test]
fn stripe_promises_keys_for_a_day_and_an_authoritative_look_up() {
    let terms = Stripe::new("https://api.stripe.com", secret()).unwrap().with_settle_ms(1_234).payment_terms();
    assert_eq!(terms.idempotency_window_ms, 86_400_000);
    assert_eq!(terms.lookup, Lookup::Authoritative);
    assert_eq!(terms.settle_ms, 1_234);
}

#[tokio::test]
async fn errors_hold_nothing_of_the_customer_or_the_key() {
    let world = World::new().await;
    world.fault(json!({ "fault": "error_500" })).await;
    let answer = world.stripe.create_payment("k", &payment(usd(900), "pm_card_visa")).await.unwrap_err();
    let shown = format!("{answer} {answer:?}");
    for hidden in [KEY, "pm_card_visa", "contact support"] {
        assert!(!shown.contains(hidden), "{shown}");
    }
    assert!(shown.contains("500 api_error (req_"), "{shown}");
}

#[tokio::test]
async fn an_amount_that_stripe_finds_too_small_is_an_answer_and_no_fault_of_the_program() {
    let world = World::new().await;
    for (minor, code, small) in [(49, "USD", true), (50, "USD", false), (29, "GBP", true), (999, "THB", true)] {
        let money = Money::new(minor, code.parse().unwrap());
        let answer = world.stripe.create_payment(&format!("{money}"), &payment(money, "pm_card_visa")).await.unwrap();
        assert_eq!(answer == Created::TooSmall, small, "{money}: {answer:?}");
        // What is known beforehand agrees with what is answered.
        assert_eq!(minor < StripeLimits.least_charge_minor(money.currency), small, "{money}");
    }
    // Not in Stripe's table: only its answer tells.
    assert_eq!(StripeLimits.least_charge_minor("ZAR".parse().unwrap()), 0);
    let rand = Money::new(49, "ZAR".parse().unwrap());
    let answer = world.stripe.create_payment("rand", &payment(rand, "pm_card_visa")).await.unwrap();
    assert_eq!(answer, Created::TooSmall);
}

#[tokio::test]
async fn a_probe_has_no_effect_and_meets_an_outage_as_any_call_does() {
    let world = World::new().await;
    assert_eq!(world.stripe.probe().await, Ok(()));
    captured(&world, usd(900)).await;
    let before = world.ledger().len();
    assert_eq!(world.stripe.probe().await, Ok(()));
    for fault in ["reset", "error_500", "throttle_429"] {
        world.fault(json!({ "provider": "payment", "fault": fault, "count": 1 })).await;
        assert!(world.stripe.probe().await.is_err(), "{fault}");
    }
    world.fault(json!({ "provider": "payment", "fault": "hang", "count": 1 })).await;
    assert!(is_unknown(&world.stripe.clone().with_timeout(SHORT).probe().await));
    assert_eq!(world.stripe.probe().await, Ok(()));
    assert_eq!(world.ledger().len(), before);
}
