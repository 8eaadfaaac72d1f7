//! The life of a PaymentIntent.

use sandbox::ledger::Effect;

use crate::support::{Answer, Form, created_with, sandbox};

#[tokio::test]
async fn a_payment_is_created_confirmed_and_captured() {
    let world = sandbox().await;
    let call = &world.call;
    let created = call.pay("/v1/payment_intents", &created_with("pm_card_visa")).await.expect(200);
    assert_eq!(created.text("/status"), "requires_confirmation");
    assert_eq!(created.text("/object"), "payment_intent");
    assert!(created.id().starts_with("pi_"));
    assert!(created.text("/payment_method").starts_with("pm_"));
    assert!(created.header("request-id").unwrap().starts_with("req_"));
    let path = format!("/v1/payment_intents/{}", created.id());

    let held = call.pay(&format!("{path}/confirm"), &[]).await.expect(200);
    assert_eq!(held.text("/status"), "requires_capture");
    assert_eq!(held.body["amount_capturable"], 1000);
    assert!(held.text("/latest_charge").starts_with("ch_"));

    let captured = call.pay(&format!("{path}/capture"), &[("amount_to_capture", "1000")]).await.expect(200);
    assert_eq!(captured.text("/status"), "succeeded");
    assert_eq!((&captured.body["amount_received"], &captured.body["amount_capturable"]), (&1000.into(), &0.into()));

    let read = call.get(&format!("{path}?expand[]=latest_charge")).await.expect(200);
    assert_eq!(read.body["latest_charge"]["amount_captured"], 1000);
    assert_eq!(read.body["latest_charge"]["captured"], true);
    assert_eq!(read.body["metadata"]["order_id"], "o1");

    let ledger = call.ledger().await;
    let told: Vec<_> = ledger.iter().map(|entry| (entry.seq, entry.effect, entry.amount_minor)).collect();
    assert_eq!(
        told,
        [
            (1, Effect::PaymentCreated, Some(1000)),
            (2, Effect::Authorized, Some(1000)),
            (3, Effect::Captured, Some(1000))
        ]
    );
    assert!(ledger.iter().all(|entry| entry.order_id.as_deref() == Some("o1") && entry.id == created.id()));
    assert!(ledger.iter().all(|entry| entry.currency.as_deref() == Some("usd")));
}

#[tokio::test]
async fn a_partial_capture_takes_its_part_and_releases_the_rest() {
    let world = sandbox().await;
    let id = world.call.held("pm_card_mastercard").await;
    let path = format!("/v1/payment_intents/{id}/capture");
    let over = world.call.pay(&path, &[("amount_to_capture", "1001")]).await.expect(400);
    assert_eq!(over.text("/error/code"), "amount_too_large");
    let part = world.call.pay(&path, &[("amount_to_capture", "600")]).await.expect(200);
    assert_eq!((&part.body["amount_received"], &part.body["amount_capturable"]), (&600.into(), &0.into()));
    assert_eq!(world.call.ledger().await[2].amount_minor, Some(600));
}

#[tokio::test]
async fn an_automatic_payment_is_captured_by_its_confirmation() {
    let world = sandbox().await;
    let form = [("amount", "700"), ("currency", "EUR"), ("payment_method", "pm_card_amex"), ("confirm", "true")];
    let paid = world.call.pay("/v1/payment_intents", &form).await.expect(200);
    assert_eq!((paid.text("/status"), paid.text("/currency")), ("succeeded", "eur"));
    assert_eq!(world.call.effects().await, [Effect::PaymentCreated, Effect::Authorized, Effect::Captured]);
}

#[tokio::test]
async fn a_decline_says_why_and_takes_the_payment_back_to_its_method() {
    let world = sandbox().await;
    let cases = [
        ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_visa_chargeDeclinedLostCard", "card_declined", "lost_card"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
        ("pm_card_chargeDeclinedProcessingError", "processing_error", "processing_error"),
    ];
    for (token, code, decline_code) in cases {
        let id = world.call.intent(token).await;
        let path = format!("/v1/payment_intents/{id}");
        let declined = world.call.pay(&format!("{path}/confirm"), &[]).await.expect(402);
        assert_eq!(declined.text("/error/type"), "card_error", "{token}");
        assert_eq!(declined.text("/error/code"), code, "{token}");
        assert_eq!(declined.text("/error/decline_code"), decline_code, "{token}");
        assert_eq!(declined.text("/error/payment_intent/id"), id);
        assert_eq!(declined.text("/error/payment_intent/status"), "requires_payment_method");
        let read = world.call.get(&path).await.expect(200);
        assert_eq!(read.text("/status"), "requires_payment_method");
        assert_eq!(read.text("/last_payment_error/decline_code"), decline_code);
        assert!(read.body["payment_method"].is_null());
        assert_eq!(world.call.ledger().await.last().unwrap().effect, Effect::Declined);
    }
}

#[tokio::test]
async fn a_declined_payment_can_be_confirmed_with_another_card() {
    let world = sandbox().await;
    let id = world.call.intent("pm_card_chargeDeclined").await;
    let path = format!("/v1/payment_intents/{id}/confirm");
    world.call.pay(&path, &[]).await.expect(402);
    let bare = world.call.pay(&path, &[]).await.expect(400);
    assert_eq!(bare.text("/error/code"), "payment_intent_unexpected_state");
    let held = world.call.pay(&path, &[("payment_method", "pm_card_visa")]).await.expect(200);
    assert_eq!(held.text("/status"), "requires_capture");
}

#[tokio::test]
async fn three_d_secure_asks_or_declines_where_nobody_can_answer() {
    let world = sandbox().await;
    let id = world.call.intent("pm_card_authenticationRequired").await;
    let path = format!("/v1/payment_intents/{id}");
    let asks = world.call.pay(&format!("{path}/confirm"), &[]).await.expect(200);
    assert_eq!(asks.text("/status"), "requires_action");
    assert_eq!(asks.text("/next_action/type"), "use_stripe_sdk");
    assert_eq!(world.call.effects().await, [Effect::PaymentCreated]);
    world.call.pay(&format!("{path}/cancel"), &[]).await.expect(200);
    assert_eq!(world.call.ledger().await.last().unwrap().amount_minor, Some(0));

    let id = world.call.intent("pm_card_authenticationRequired").await;
    let path = format!("/v1/payment_intents/{id}/confirm");
    let alone = world.call.pay(&path, &[("error_on_requires_action", "true")]).await.expect(402);
    assert_eq!(alone.text("/error/decline_code"), "authentication_required");
}

#[tokio::test]
async fn a_hold_that_expired_refuses_its_capture_and_is_canceled() {
    let world = sandbox().await;
    let id = world.call.held("pm_card_expiredHold").await;
    let path = format!("/v1/payment_intents/{id}");
    let refused = world.call.pay(&format!("{path}/capture"), &[]).await.expect(400);
    assert_eq!(refused.text("/error/code"), "payment_intent_unexpected_state");
    assert_eq!(refused.text("/error/payment_intent/cancellation_reason"), "automatic");
    let read = world.call.get(&path).await.expect(200);
    assert_eq!((read.text("/status"), read.text("/cancellation_reason")), ("canceled", "automatic"));
    let last = world.call.ledger().await.pop().unwrap();
    assert_eq!((last.effect, last.amount_minor), (Effect::HoldExpired, Some(1000)));
}

#[tokio::test]
async fn a_hold_lapses_after_seven_days() {
    let world = sandbox().await;
    let id = world.call.held("pm_card_visa").await;
    let week = serde_json::json!({ "advance_ms": 7 * 24 * 60 * 60 * 1000 });
    world.call.admin("/clock", &week).await.expect(200);
    let read = world.call.get(&format!("/v1/payment_intents/{id}")).await.expect(200);
    assert_eq!((read.text("/status"), read.text("/cancellation_reason")), ("canceled", "automatic"));
    assert_eq!(world.call.effects().await.last(), Some(&Effect::HoldExpired));
}

#[tokio::test]
async fn a_cancel_releases_the_hold_once() {
    let world = sandbox().await;
    let id = world.call.held("pm_card_visa").await;
    let path = format!("/v1/payment_intents/{id}/cancel");
    let gone = world.call.pay(&path, &[("cancellation_reason", "requested_by_customer")]).await.expect(200);
    assert_eq!((gone.text("/status"), gone.text("/cancellation_reason")), ("canceled", "requested_by_customer"));
    assert_eq!(gone.body["amount_capturable"], 0);
    let again = world.call.pay(&path, &[]).await.expect(400);
    assert_eq!(again.text("/error/code"), "payment_intent_unexpected_state");
    assert_eq!(again.text("/error/payment_intent/status"), "canceled");
    let ledger = world.call.ledger().await;
    assert_eq!(ledger.iter().filter(|entry| entry.effect == Effect::Voided).count(), 1);
    assert_eq!(ledger.last().unwrap().amount_minor, Some(1000));
}

#[tokio::test]
async fn each_state_refuses_what_it_cannot_do_and_nothing_happens() {
    let world = sandbox().await;
    let call = &world.call;
    let unconfirmed = call.intent("pm_card_visa").await;
    let held = call.held("pm_card_visa").await;
    let captured = call.captured().await;
    let before = call.ledger().await.len();
    let cases = [
        (&unconfirmed, "capture", "requires_confirmation"),
        (&held, "confirm", "requires_capture"),
        (&captured, "confirm", "succeeded"),
        (&captured, "capture", "succeeded"),
        (&captured, "cancel", "succeeded"),
    ];
    for (id, verb, status) in cases {
        let refused = call.pay(&format!("/v1/payment_intents/{id}/{verb}"), &[]).await.expect(400);
        assert_eq!(refused.text("/error/code"), "payment_intent_unexpected_state", "{verb} when {status}");
        assert_eq!(refused.text("/error/payment_intent/status"), status, "{verb}");
        assert_eq!(refused.text("/error/type"), "invalid_request_error");
    }
    assert_eq!(call.ledger().await.len(), before);
}

#[tokio::test]
async fn wrong_parameters_are_refused_in_stripes_words() {
    let world = sandbox().await;
    let card = ("payment_method", "pm_card_visa");
    let long = "x".repeat(501);
    let cases: &[(Form<'_>, Option<&str>, &str)] = &[
        (&[("currency", "usd")], Some("parameter_missing"), "amount"),
        (&[("amount", "1000")], Some("parameter_missing"), "currency"),
        (&[("amount", "10.00"), ("currency", "usd")], Some("parameter_invalid_integer"), "amount"),
        (&[("amount", "0"), ("currency", "usd")], Some("parameter_invalid_integer"), "amount"),
        (&[("amount", "-5"), ("currency", "usd")], Some("parameter_invalid_integer"), "amount"),
        (&[("amount", "49"), ("currency", "usd")], Some("amount_too_small"), "amount"),
        (&[("amount", "100000000"), ("currency", "usd")], Some("amount_too_large"), "amount"),
        (&[("amount", "1000"), ("currency", "xxx")], None, "currency"),
        (&[("amount", "1000"), ("currency", "usd"), ("colour", "red")], Some("parameter_unknown"), "colour"),
        (&[("amount", "1000"), ("currency", "usd"), ("capture_method", "later")], None, "capture_method"),
        (&[("amount", "1000"), ("currency", "usd"), ("metadata[a]", &long), card], None, "metadata[a]"),
        (
            &[("amount", "1000"), ("currency", "usd"), ("payment_method", "pm_card_none")],
            Some("resource_missing"),
            "payment_method",
        ),
    ];
    for (form, code, param) in cases {
        let refused = world.call.pay("/v1/payment_intents", form).await.expect(400);
        assert_eq!(refused.text("/error/type"), "invalid_request_error", "{form:?}");
        assert_eq!(refused.body["error"]["code"].as_str(), *code, "{form:?}");
        assert_eq!(refused.text("/error/param"), *param, "{form:?}");
    }
    assert!(world.call.ledger().await.is_empty());
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let world = sandbox().await;
    let missing = world.call.get("/v1/payment_intents/pi_none").await.expect(404);
    assert_eq!(missing.text("/error/code"), "resource_missing");
    let missing = world.call.pay("/v1/payment_intents/pi_none/capture", &[]).await.expect(404);
    assert_eq!(missing.text("/error/code"), "resource_missing");
    let unknown = world.call.get("/v1/payment_intents/search?query=x").await.expect(404);
    assert_eq!(unknown.text("/error/type"), "invalid_request_error");
    let unknown = world.call.get("/v1/nothing").await.expect(404);
    assert!(unknown.text("/error/message").contains("/v1/nothing"));
}

#[tokio::test]
async fn an_api_key_is_required() {
    let world = sandbox().await;
    let url = format!("{}/v1/payment_intents/pi_1", world.call.base);
    for key in [None, Some("sk_live_secret"), Some("other")] {
        let request = world.call.client.get(&url);
        let request = key.iter().fold(request, |request, key| request.bearer_auth(key));
        let refused = Answer::of(request.send().await.unwrap()).await.expect(401);
        assert_eq!(refused.text("/error/type"), "invalid_request_error");
        assert!(key.is_none_or(|key| !refused.text("/error/message").contains(key)));
    }
}

#[tokio::test]
async fn a_json_body_is_refused_where_a_form_is_due() {
    let world = sandbox().await;
    let url = format!("{}/v1/payment_intents", world.call.base);
    let body = serde_json::json!({ "amount": 1000, "currency": "usd" });
    let request = world.call.client.post(url).bearer_auth(crate::support::API_KEY).json(&body);
    Answer::of(request.send().await.unwrap()).await.expect(400);
    assert!(world.call.ledger().await.is_empty());
}
