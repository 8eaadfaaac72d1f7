//! Idempotency keys as Stripe documents them.

use sandbox::ledger::Effect;
use serde_json::json;

use crate::support::{Answer, created_with, sandbox};

const CREATE: &str = "/v1/payment_intents";

#[tokio::test]
async fn a_repeat_under_one_key_gets_the_first_answer_and_has_no_effect() {
    let world = sandbox().await;
    let form = created_with("pm_card_visa");
    let first = world.call.pay_keyed("k1", CREATE, &form).await.expect(200);
    let mut turned = form.clone();
    turned.reverse();
    let again = world.call.pay_keyed("k1", CREATE, &turned).await.expect(200);
    assert_eq!(again.body, first.body);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.header("original-request"), first.header("request-id"));
    assert_eq!(first.header("idempotent-replayed"), None);
    assert_eq!(world.call.effects().await, [Effect::PaymentCreated]);
    assert_eq!(world.call.ledger().await[0].idempotency_key.as_deref(), Some("k1"));
}

#[tokio::test]
async fn the_stored_answer_stays_as_it_was_when_the_object_moves_on() {
    let world = sandbox().await;
    let id = world.call.intent("pm_card_visa").await;
    let path = format!("{CREATE}/{id}");
    world.call.pay_keyed("confirm", &format!("{path}/confirm"), &[]).await.expect(200);
    world.call.pay_keyed("cancel", &format!("{path}/cancel"), &[]).await.expect(200);
    let again = world.call.pay_keyed("confirm", &format!("{path}/confirm"), &[]).await.expect(200);
    assert_eq!(again.text("/status"), "requires_capture");
    assert_eq!(world.call.get(&path).await.text("/status"), "canceled");
}

#[tokio::test]
async fn one_key_for_something_else_is_an_idempotency_error() {
    let world = sandbox().await;
    let form = created_with("pm_card_visa");
    let id = world.call.pay_keyed("k1", CREATE, &form).await.expect(200).id();
    let mut other = form.clone();
    other[0] = ("amount", "1001");
    let refused = world.call.pay_keyed("k1", CREATE, &other).await.expect(400);
    assert_eq!(refused.text("/error/type"), "idempotency_error");
    assert!(refused.text("/error/message").contains("same parameters"));
    let refused = world.call.pay_keyed("k1", &format!("{CREATE}/{id}/confirm"), &form).await.expect(400);
    assert_eq!(refused.text("/error/type"), "idempotency_error");
    assert!(refused.text("/error/message").contains("same endpoint"));
    assert_eq!(world.call.effects().await, [Effect::PaymentCreated]);
}

#[tokio::test]
async fn a_stored_500_is_given_again_until_a_new_key() {
    let world = sandbox().await;
    let form = created_with("pm_card_visa");
    world.call.fault(json!({ "operation": "create", "fault": "error_500", "count": 1 })).await;
    let failed = world.call.pay_keyed("k1", CREATE, &form).await.expect(500);
    assert_eq!(failed.text("/error/type"), "api_error");
    for _ in 0..3 {
        let again = world.call.pay_keyed("k1", CREATE, &form).await.expect(500);
        assert_eq!(again.body, failed.body);
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
    }
    assert!(world.call.ledger().await.is_empty());
    world.call.pay_keyed("k2", CREATE, &form).await.expect(200);
}

#[tokio::test]
async fn a_stored_500_may_hide_an_effect() {
    let world = sandbox().await;
    let id = world.call.intent("pm_card_visa").await;
    let path = format!("{CREATE}/{id}/confirm");
    world.call.fault(json!({ "operation": "confirm", "fault": "error_500_after_effect", "count": 1 })).await;
    world.call.pay_keyed("k1", &path, &[]).await.expect(500);
    world.call.pay_keyed("k1", &path, &[]).await.expect(500);
    assert_eq!(world.call.get(&format!("{CREATE}/{id}")).await.text("/status"), "requires_capture");
    assert_eq!(world.call.effects().await, [Effect::PaymentCreated, Effect::Authorized]);
}

#[tokio::test]
async fn refusals_of_the_endpoint_are_stored_those_of_validation_are_not() {
    let world = sandbox().await;
    let id = world.call.intent("pm_card_chargeDeclined").await;
    let path = format!("{CREATE}/{id}/confirm");
    let first = world.call.pay_keyed("declined", &path, &[]).await.expect(402);
    let again = world.call.pay_keyed("declined", &path, &[]).await.expect(402);
    assert_eq!((again.header("idempotent-replayed"), &again.body), (Some("true"), &first.body));

    let capture = format!("{CREATE}/{id}/capture");
    world.call.pay_keyed("state", &capture, &[]).await.expect(400);
    let again = world.call.pay_keyed("state", &capture, &[]).await.expect(400);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));

    world.call.pay_keyed("typo", CREATE, &[("amount", "1000")]).await.expect(400);
    world.call.pay_keyed("typo", CREATE, &created_with("pm_card_visa")).await.expect(200);
    let declined = world.call.effects().await.into_iter().filter(|effect| *effect == Effect::Declined);
    assert_eq!(declined.count(), 1);
}

#[tokio::test]
async fn a_429_is_not_stored() {
    let world = sandbox().await;
    let form = created_with("pm_card_visa");
    world.call.fault(json!({ "provider": "payment", "fault": "throttle_429", "count": 1, "delay_ms": 2500 })).await;
    let throttled = world.call.pay_keyed("k1", CREATE, &form).await.expect(429);
    assert_eq!(throttled.header("retry-after"), Some("3"));
    assert_eq!(throttled.text("/error/code"), "rate_limit");
    let created = world.call.pay_keyed("k1", CREATE, &form).await.expect(200);
    assert_eq!(created.header("idempotent-replayed"), None);
}

#[tokio::test]
async fn a_key_in_flight_is_refused_to_everybody_else() {
    let world = sandbox().await;
    let form = created_with("pm_card_visa");
    world.call.fault(json!({ "operation": "create", "fault": "latency", "delay_ms": 3000, "count": 1 })).await;
    let slow = tokio::spawn(world.call.keyed("k1", CREATE, &form).send());
    world.call.until_under_way(1).await;
    let refused = world.call.pay_keyed("k1", CREATE, &form).await.expect(409);
    assert_eq!(refused.text("/error/code"), "idempotency_key_in_use");
    let other = world.call.pay_keyed("k1", CREATE, &[("amount", "5000"), ("currency", "usd")]).await.expect(400);
    assert_eq!(other.text("/error/type"), "idempotency_error");
    let first = Answer::of(slow.await.unwrap().unwrap()).await.expect(200);
    let again = world.call.pay_keyed("k1", CREATE, &form).await.expect(200);
    assert_eq!(again.id(), first.id());
}

#[tokio::test]
async fn many_at_once_under_one_key_make_one_payment() {
    let world = sandbox().await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..24 {
        let call = world.call.clone();
        tasks.spawn(async move { call.pay_keyed("k1", CREATE, &created_with("pm_card_visa")).await });
    }
    let answers = tasks.join_all().await;
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 409)));
    let ids: std::collections::HashSet<_> =
        answers.iter().filter(|answer| answer.status == 200).map(Answer::id).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(world.call.effects().await, [Effect::PaymentCreated]);
}

#[tokio::test]
async fn a_key_is_forgotten_after_a_day() {
    let world = sandbox().await;
    let form = created_with("pm_card_visa");
    let first = world.call.pay_keyed("k1", CREATE, &form).await.expect(200);
    let day_ms = 24 * 60 * 60 * 1000;
    world.call.admin("/clock", &json!({ "advance_ms": day_ms - 60_000 })).await.expect(200);
    assert_eq!(world.call.pay_keyed("k1", CREATE, &form).await.expect(200).id(), first.id());
    world.call.admin("/clock", &json!({ "advance_ms": 60_000 })).await.expect(200);
    assert_ne!(world.call.pay_keyed("k1", CREATE, &form).await.expect(200).id(), first.id());
}
