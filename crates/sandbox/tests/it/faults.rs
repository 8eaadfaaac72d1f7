//! Faults: what the caller sees, and what really happened.

use std::time::Duration;

use sandbox::ledger::Effect;
use serde_json::json;

use crate::support::{World, created_with, sandbox};

const CREATE: &str = "/v1/payment_intents";

/// A call that never gets an answer.
async fn unanswered(request: reqwest::RequestBuilder) -> reqwest::Error {
    request.timeout(Duration::from_millis(300)).send().await.expect_err("an answer came")
}

async fn hits(world: &World, operation: &str, fault: &str) -> u64 {
    let answer = world.call.get("/_sandbox/faults/hits").await.expect(200);
    let hits = answer.body["hits"].as_array().unwrap().clone();
    let found = hits.iter().find(|hit| hit["operation"] == operation && hit["fault"] == fault);
    found.map_or(0, |hit| hit["count"].as_u64().unwrap())
}

#[tokio::test]
async fn after_effect_then_hang_a_look_up_finds_it_and_the_key_answers() {
    let world = sandbox().await;
    let id = world.call.intent("pm_card_visa").await;
    let path = format!("{CREATE}/{id}");
    world.call.fault(json!({ "operation": "confirm", "fault": "effect_then_hang", "count": 1 })).await;
    let lost = unanswered(world.call.keyed("k1", &format!("{path}/confirm"), &[])).await;
    assert!(lost.is_timeout(), "{lost:?}");
    assert_eq!(world.call.get(&path).await.expect(200).text("/status"), "requires_capture");
    let again = world.call.pay_keyed("k1", &format!("{path}/confirm"), &[]).await.expect(200);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(world.call.effects().await, [Effect::PaymentCreated, Effect::Authorized]);
    assert_eq!(hits(&world, "confirm", "effect_then_hang").await, 1);
}

#[tokio::test]
async fn after_effect_then_reset_the_effect_stands() {
    let world = sandbox().await;
    world.call.fault(json!({ "operation": "create", "fault": "effect_then_reset", "count": 1 })).await;
    let form = created_with("pm_card_visa");
    let lost = world.call.keyed("k1", CREATE, &form).send().await.expect_err("an answer came");
    assert!(!lost.is_timeout() && !lost.is_connect(), "{lost:?}");
    world.call.pay_keyed("k1", CREATE, &form).await.expect(200);
    assert_eq!(world.call.effects().await, [Effect::PaymentCreated]);
}

#[tokio::test]
async fn a_reset_and_a_hang_leave_nothing_behind() {
    let world = sandbox().await;
    let form = created_with("pm_card_visa");
    world.call.fault(json!({ "operation": "create", "fault": "reset", "count": 1 })).await;
    let lost = world.call.keyed("k1", CREATE, &form).send().await.expect_err("an answer came");
    assert!(!lost.is_timeout(), "{lost:?}");
    world.call.fault(json!({ "operation": "create", "fault": "hang", "count": 1 })).await;
    let lost = unanswered(world.call.keyed("k1", CREATE, &form)).await;
    assert!(lost.is_timeout(), "{lost:?}");
    assert!(world.call.ledger().await.is_empty());
    let created = world.call.pay_keyed("k1", CREATE, &form).await.expect(200);
    assert_eq!(created.header("idempotent-replayed"), None);
}

#[tokio::test]
async fn a_late_effect_comes_after_its_caller_has_gone() {
    let world = sandbox().await;
    let id = world.call.intent("pm_card_visa").await;
    let path = format!("{CREATE}/{id}");
    let confirm = format!("{path}/confirm");
    world.call.fault(json!({ "operation": "confirm", "fault": "late_effect", "delay_ms": 3000, "count": 1 })).await;
    let lost = unanswered(world.call.keyed("k1", &confirm, &[])).await;
    assert!(lost.is_timeout(), "{lost:?}");
    // Too early: a look-up says that nothing happened, and the key says that something still may.
    assert_eq!(world.call.get(&path).await.text("/status"), "requires_confirmation");
    world.call.pay_keyed("k1", &confirm, &[]).await.expect(409);
    assert_eq!(world.call.effects().await, [Effect::PaymentCreated]);

    world.call.until_under_way(0).await;
    assert_eq!(world.call.get(&path).await.text("/status"), "requires_capture");
    assert_eq!(world.call.effects().await, [Effect::PaymentCreated, Effect::Authorized]);
    world.call.pay_keyed("k1", &confirm, &[]).await.expect(200);
    assert_eq!(world.call.effects().await.len(), 2);
}

#[tokio::test]
async fn a_late_capture_meets_the_state_it_finds() {
    let world = sandbox().await;
    let id = world.call.held("pm_card_visa").await;
    let path = format!("{CREATE}/{id}");
    world.call.fault(json!({ "operation": "capture", "fault": "late_effect", "delay_ms": 2000, "count": 1 })).await;
    unanswered(world.call.keyed("k1", &format!("{path}/capture"), &[])).await;
    world.call.pay(&format!("{path}/cancel"), &[]).await.expect(200);
    world.call.until_under_way(0).await;
    world.call.pay_keyed("k1", &format!("{path}/capture"), &[]).await.expect(400);
    assert_eq!(world.call.effects().await, [Effect::PaymentCreated, Effect::Authorized, Effect::Voided]);
}

#[tokio::test]
async fn a_provider_that_has_begun_does_not_stop_because_its_caller_hung_up() {
    let world = sandbox().await;
    world.call.fault(json!({ "operation": "create", "fault": "latency", "delay_ms": 1500, "count": 1 })).await;
    unanswered(world.call.keyed("k1", CREATE, &created_with("pm_card_visa"))).await;
    world.call.until_under_way(0).await;
    assert_eq!(world.call.effects().await, [Effect::PaymentCreated]);
}

#[tokio::test]
async fn a_fault_hits_only_what_it_names() {
    let world = sandbox().await;
    world
        .call
        .fault(json!({ "provider": "payment", "operation": "any", "fault": "error_500", "order_id": "o1" }))
        .await;
    world.call.fault(json!({ "provider": "carrier", "fault": "throttle_429" })).await;
    world.call.pay(CREATE, &created_with("pm_card_visa")).await.expect(500);
    let mut other = created_with("pm_card_visa");
    other[4] = ("metadata[order_id]", "o2");
    let id = world.call.pay(CREATE, &other).await.expect(200).id();
    world.call.pay(&format!("{CREATE}/{id}/confirm"), &[]).await.expect(200);
    let throttled = world.call.get("/carrier/v1/shipments?reference=o2").await.expect(429);
    assert_eq!((throttled.text("/code"), throttled.header("retry-after")), ("rate_limited", Some("1")));

    let listed = world.call.get("/_sandbox/faults").await.expect(200);
    assert_eq!(listed.body["faults"].as_array().unwrap().len(), 2);
    assert_eq!(listed.body["faults"][0]["fired"], 1);
    assert!(listed.body["faults"][0]["last_port"].as_u64().is_some_and(|port| port > 0), "{}", listed.body);
    let url = format!("{}/_sandbox/faults", world.call.base);
    assert_eq!(world.call.client.delete(url).send().await.unwrap().status(), 204);
    world.call.pay(CREATE, &created_with("pm_card_visa")).await.expect(200);
    assert_eq!(hits(&world, "lookup", "throttle_429").await, 1);
}

#[tokio::test]
async fn a_look_up_can_fail_too() {
    let world = sandbox().await;
    let id = world.call.intent("pm_card_visa").await;
    world.call.fault(json!({ "operation": "lookup", "fault": "error_500", "count": 1 })).await;
    world.call.get(&format!("{CREATE}/{id}")).await.expect(500);
    world.call.get(&format!("{CREATE}/{id}")).await.expect(200);
}

#[tokio::test]
async fn a_seed_decides_which_orders_are_hit_whatever_their_order() {
    async fn pattern(seed: u64, turn: bool) -> Vec<(String, u16)> {
        let world = sandbox().await;
        let body = json!([{ "operation": "create", "fault": "error_500", "probability": 0.5 }]);
        world.call.admin(&format!("/faults?seed={seed}"), &body).await.expect(200);
        let mut orders: Vec<String> = (0..24).map(|order| format!("order-{order}")).collect();
        if turn {
            orders.reverse();
        }
        let mut answers = Vec::new();
        for order in orders {
            let mut form = created_with("pm_card_visa");
            form[4] = ("metadata[order_id]", &order);
            let status = world.call.pay(CREATE, &form).await.status;
            answers.push((order, status));
        }
        answers.sort();
        answers
    }
    let one = pattern(7, false).await;
    assert_eq!(one, pattern(7, true).await);
    assert_ne!(one, pattern(8, false).await);
    let failed = one.iter().filter(|(_, status)| *status == 500).count();
    assert!((4..=20).contains(&failed), "{failed} of 24 at one half");
}

#[tokio::test]
async fn rules_that_make_no_sense_are_refused_whole() {
    let world = sandbox().await;
    let fine = json!({ "fault": "reset" });
    let cases = [
        json!([fine, { "fault": "explode" }]),
        json!([fine, { "fault": "reset", "probability": 1.5 }]),
        json!([fine, { "fault": "latency" }]),
        json!([fine, { "fault": "reset", "proability": 0.5 }]),
        json!("reset"),
    ];
    for body in cases {
        world.call.admin("/faults", &body).await.expect(400);
    }
    assert_eq!(world.call.get("/_sandbox/faults").await.body["faults"], json!([]));
}

#[tokio::test]
async fn every_call_takes_the_base_latency() {
    let world = sandbox().await;
    world.call.admin("/latency", &json!({ "base_ms": 120, "jitter_ms": 5 })).await.expect(200);
    let start = std::time::Instant::now();
    world.call.intent("pm_card_visa").await;
    assert!(start.elapsed() >= Duration::from_millis(120));
}
