//! Refunds, and that they never exceed the capture.

use sandbox::ledger::Effect;

use crate::support::{Form, sandbox};

#[tokio::test]
async fn a_refund_in_parts_adds_up_to_the_capture_and_no_further() {
    let world = sandbox().await;
    let call = &world.call;
    let id = call.captured().await;
    let part = [("payment_intent", id.as_str()), ("amount", "400"), ("metadata[ordinal]", "0")];
    let first = call.pay_keyed("r0", "/v1/refunds", &part).await.expect(200);
    assert!(first.id().starts_with("re_"));
    assert_eq!((first.text("/status"), first.text("/payment_intent")), ("succeeded", id.as_str()));

    let over = call.pay("/v1/refunds", &[("payment_intent", &id), ("amount", "601")]).await.expect(400);
    assert_eq!(over.text("/error/param"), "amount");
    assert!(over.text("/error/message").contains("greater than unrefunded amount"));
    let rest = call.pay("/v1/refunds", &[("payment_intent", &id), ("reason", "duplicate")]).await.expect(200);
    assert_eq!(rest.body["amount"], 600);
    let none = call.pay("/v1/refunds", &[("payment_intent", &id)]).await.expect(400);
    assert_eq!(none.text("/error/code"), "charge_already_refunded");

    let listed = call.get(&format!("/v1/refunds?payment_intent={id}&limit=1")).await.expect(200);
    assert_eq!((listed.body["data"].as_array().unwrap().len(), &listed.body["has_more"]), (1, &true.into()));
    assert_eq!(listed.text("/data/0/id"), rest.id(), "newest first");
    let next = call.get(&format!("/v1/refunds?payment_intent={id}&starting_after={}", rest.id())).await.expect(200);
    assert_eq!(next.text("/data/0/id"), first.id());
    assert_eq!(next.body["has_more"], false);
    assert_eq!(next.text("/data/0/metadata/ordinal"), "0");
    let one = call.get(&format!("/v1/refunds/{}", first.id())).await.expect(200);
    assert_eq!(one.body["amount"], 400);

    let refunded: Vec<_> = call.ledger().await.into_iter().filter(|entry| entry.effect == Effect::Refunded).collect();
    assert_eq!(refunded.iter().filter_map(|entry| entry.amount_minor).sum::<i64>(), 1000);
    assert!(refunded.iter().all(|entry| entry.payment_intent.as_deref() == Some(id.as_str())));
    assert!(refunded.iter().all(|entry| entry.order_id.as_deref() == Some("o1")));
    assert_eq!(refunded[0].idempotency_key.as_deref(), Some("r0"));
}

#[tokio::test]
async fn refunds_at_once_never_exceed_the_capture() {
    let world = sandbox().await;
    let id = world.call.captured().await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let (call, id) = (world.call.clone(), id.clone());
        tasks.spawn(async move { call.pay("/v1/refunds", &[("payment_intent", &id), ("amount", "300")]).await.status });
    }
    let mut answers = tasks.join_all().await;
    answers.sort_unstable();
    assert_eq!(answers[..3], [200, 200, 200]);
    assert!(answers[3..].iter().all(|status| *status == 400), "{answers:?}");
    let refunded = world.call.ledger().await.into_iter().filter(|entry| entry.effect == Effect::Refunded);
    assert_eq!(refunded.filter_map(|entry| entry.amount_minor).sum::<i64>(), 900);
}

#[tokio::test]
async fn a_refund_is_of_what_was_captured_not_of_what_was_held() {
    let world = sandbox().await;
    let id = world.call.held("pm_card_visa").await;
    world.call.pay(&format!("/v1/payment_intents/{id}/capture"), &[("amount_to_capture", "600")]).await.expect(200);
    world.call.pay("/v1/refunds", &[("payment_intent", &id), ("amount", "700")]).await.expect(400);
    let all = world.call.pay("/v1/refunds", &[("payment_intent", &id)]).await.expect(200);
    assert_eq!(all.body["amount"], 600);
}

#[tokio::test]
async fn what_was_never_captured_is_not_refunded() {
    let world = sandbox().await;
    let call = &world.call;
    let canceled = call.held("pm_card_visa").await;
    call.pay(&format!("/v1/payment_intents/{canceled}/cancel"), &[]).await.expect(200);
    for id in [call.intent("pm_card_visa").await, call.held("pm_card_visa").await, canceled] {
        let refused = call.pay("/v1/refunds", &[("payment_intent", &id)]).await.expect(400);
        assert!(refused.text("/error/message").contains("does not have a successful charge"));
    }
    assert!(!call.effects().await.contains(&Effect::Refunded));
}

#[tokio::test]
async fn a_wrong_refund_request_is_refused() {
    let world = sandbox().await;
    let id = world.call.captured().await;
    let cases: &[(Form<'_>, Option<&str>)] = &[
        (&[], None),
        (&[("payment_intent", "pi_none")], Some("resource_missing")),
        (&[("payment_intent", &id), ("amount", "0")], Some("parameter_invalid_integer")),
        (&[("payment_intent", &id), ("amount", "1e3")], Some("parameter_invalid_integer")),
        (&[("payment_intent", &id), ("reason", "because")], None),
        (&[("payment_intent", &id), ("amonut", "5")], Some("parameter_unknown")),
    ];
    for (form, code) in cases {
        let refused = world.call.pay("/v1/refunds", form).await.expect(400);
        assert_eq!(refused.body["error"]["code"].as_str(), *code, "{form:?}");
    }
    world.call.get("/v1/refunds/re_none").await.expect(404);
    world.call.get("/v1/refunds?payment_intent=pi_none").await.expect(400);
    world.call.get("/v1/refunds?limit=101").await.expect(400);
}
