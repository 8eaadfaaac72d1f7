//! `POST /orders/{id}/refunds`.

use order::{MAX_REFUNDS, Order, Outcome, RefundStatus};
use serde_json::{Value, json};

use crate::support::{Ask, Scene, after, parked, to_paid, token};

fn refund(order: &Order, key: &str, body: &Value) -> Ask {
    Ask::new("POST", &format!("/orders/{}/refunds", order.order_id)).key(key).body(body.to_string())
}

#[tokio::test]
async fn a_refund_is_put_on_the_row_and_its_command_leaves() {
    let scene = Scene::new();
    let order = scene.shipped().await;
    let body = json!({"amount_minor": 300, "reason": "One shirt was torn"});
    let reply = scene.ask(refund(&order, "r-1", &body)).await;
    assert_eq!(reply.status, 202, "{}", reply.text);
    assert_eq!(reply.json["refund"], json!({"ordinal": 0, "amount_minor": 300, "status": "requested"}));
    assert_eq!(reply.json["refunds"], json!([reply.json["refund"]]));
    let row = scene.world.only_row();
    assert_eq!(row.version, order.version + 1);
    assert_eq!(row.refunds[0].reason.as_deref(), Some("One shirt was torn"));
    assert!(!reply.text.contains("torn"));
    assert_eq!(scene.world.take_sent()[0].queue, "payment-express");
}

#[tokio::test]
async fn a_repeat_gets_the_same_answer_and_makes_no_second_refund() {
    let scene = Scene::new();
    let order = scene.shipped().await;
    let first = scene.ask(refund(&order, "r-1", &json!({"amount_minor": 300}))).await;
    let row = scene.world.only_row();
    let again = scene.ask(refund(&order, "r-1", &json!({"amount_minor": 300}))).await;
    assert_eq!((again.status, again.json), (first.status, first.json));
    assert_eq!(scene.world.only_row(), row);
    assert_eq!(scene.world.take_sent().len(), 2);

    // Once it is done, a repeat shows that, and owes nothing.
    scene.world.put(after(&row, &[Outcome::Refunded { ordinal: 0, refund_id: "re_1".to_owned() }]));
    let later = scene.ask(refund(&order, "r-1", &json!({"amount_minor": 300}))).await;
    let done = json!({"ordinal": 0, "amount_minor": 300, "status": "done", "refund_id": "re_1"});
    assert_eq!((later.status.as_u16(), &later.json["refund"]), (202, &done));
    assert!(scene.world.take_sent().is_empty());
}

#[tokio::test]
async fn the_same_key_with_another_body_is_a_conflict() {
    let scene = Scene::new();
    let order = scene.shipped().await;
    scene.ask(refund(&order, "r-1", &json!({"amount_minor": 300}))).await;
    let row = scene.world.only_row();
    scene.world.take_sent();
    for body in [json!({"amount_minor": 301}), json!({}), json!({"amount_minor": 300, "reason": "x"})] {
        scene.ask(refund(&order, "r-1", &body)).await.is_problem(422, "idempotency_key_reused");
    }
    assert_eq!(scene.world.only_row(), row);
    assert!(scene.world.take_sent().is_empty());
}

#[tokio::test]
async fn an_amount_left_out_is_the_rest_and_a_repeat_of_it_stays_that_refund() {
    let scene = Scene::new();
    let order = scene.shipped().await;
    scene.ask(refund(&order, "r-1", &json!({"amount_minor": 300}))).await;
    for _ in 0..2 {
        let reply = scene.ask(refund(&order, "r-2", &json!({}))).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json["refund"]["amount_minor"]),
            (202, &json!(700)),
            "{}",
            reply.text
        );
        assert_eq!(reply.json["refund"]["ordinal"], 1);
    }
    scene.ask(refund(&order, "r-3", &json!({}))).await.is_problem(422, "refund_over_capture");
    assert_eq!(scene.world.only_row().refunds.len(), 2);
}

#[tokio::test]
async fn more_than_is_left_is_refused() {
    let scene = Scene::new();
    let order = scene.shipped().await;
    for amount in [1_001, 99_999_999, 1_000_000_000_000_u64] {
        let reply = scene.ask(refund(&order, "r-1", &json!({"amount_minor": amount}))).await;
        reply.is_problem(422, "refund_over_capture");
        assert_eq!(reply.json["pointer"], "/amount_minor");
    }
    assert_eq!(scene.world.only_row(), order);
}

#[tokio::test]
async fn only_what_shipped_is_refunded() {
    let scene = Scene::new();
    let order = scene.placed().await;
    for steps in 0..=to_paid().len() {
        scene.world.put(after(&order, &to_paid()[..steps]));
        scene.ask(refund(&order, "r-1", &json!({}))).await.is_problem(409, "order_not_shipped");
    }
    assert!(scene.world.take_sent().is_empty());
}

#[tokio::test]
async fn an_order_that_was_given_up_takes_no_refund_and_says_whose_matter_it_is() {
    let scene = Scene::new();
    let order = scene.shipped().await;
    scene.ask(refund(&order, "r-1", &json!({"amount_minor": 300}))).await;
    scene.world.put(parked(&scene.world.only_row()));
    let waits = scene.ask(refund(&order, "r-2", &json!({"amount_minor": 200}))).await;
    assert_eq!(
        (waits.status.as_u16(), &waits.json["parked"]["abandoned"]),
        (202, &json!(false)),
        "a person will decide"
    );

    let given_up = after(&scene.world.only_row(), &[Outcome::Abandoned]);
    scene.world.put(given_up.clone());
    scene.world.take_sent();
    for body in [json!({}), json!({"amount_minor": 1}), json!({"amount_minor": 99_999})] {
        let reply = scene.ask(refund(&order, "r-3", &body)).await;
        reply.is_problem(409, "order_abandoned");
        assert!(reply.json["detail"].as_str().unwrap().contains("settled by hand"), "{}", reply.text);
    }
    assert_eq!(scene.world.only_row(), given_up);
    // A repeat is answered with what it asked for, and shows how that stands.
    let repeat = scene.ask(refund(&order, "r-2", &json!({"amount_minor": 200}))).await;
    assert_eq!((repeat.status.as_u16(), &repeat.json["parked"]["abandoned"]), (202, &json!(true)));
    assert!(scene.world.take_sent().is_empty());
    // It is given up between the look and the write: the same.
    scene.world.put(after(&given_up, &[Outcome::Resumed]));
    let again = parked(&scene.world.only_row());
    scene.world.before_commits.lock().unwrap().push_back(after(&again, &[Outcome::Abandoned]));
    scene.ask(refund(&order, "r-3", &json!({"amount_minor": 1}))).await.is_problem(409, "order_abandoned");
}

#[tokio::test]
async fn an_order_takes_20_refunds() {
    let scene = Scene::new();
    let order = scene.shipped().await;
    for number in 0..MAX_REFUNDS {
        let reply = scene.ask(refund(&order, &format!("r-{number}"), &json!({"amount_minor": 1}))).await;
        assert_eq!(reply.status, 202);
    }
    scene.ask(refund(&order, "one more", &json!({"amount_minor": 1}))).await.is_problem(409, "refund_limit_reached");
    // A repeat of the last is none more.
    assert_eq!(scene.ask(refund(&order, "r-19", &json!({"amount_minor": 1}))).await.status, 202);
}

#[tokio::test]
async fn two_requests_with_one_key_that_race_make_one_refund() {
    let scene = Scene::new();
    let order = scene.shipped().await;
    scene.ask(refund(&order, "r-1", &json!({"amount_minor": 300}))).await;
    let winner = scene.world.only_row();
    scene.world.put(order.clone());
    scene.world.before_commits.lock().unwrap().push_back(winner.clone());
    let reply = scene.ask(refund(&order, "r-1", &json!({"amount_minor": 300}))).await;
    assert_eq!((reply.status.as_u16(), &reply.json["refund"]["ordinal"]), (202, &json!(0)));
    assert_eq!(scene.world.only_row(), winner);
}

#[tokio::test]
async fn the_rest_is_what_is_left_when_the_row_has_moved() {
    let scene = Scene::new();
    let order = scene.shipped().await;
    scene.ask(refund(&order, "r-1", &json!({"amount_minor": 300}))).await;
    let moved = scene.world.only_row();
    scene.world.put(order.clone());
    scene.world.before_commits.lock().unwrap().push_back(moved);
    scene.ask(refund(&order, "r-2", &json!({}))).await;
    let row = scene.world.only_row();
    assert_eq!(row.refunds.iter().map(|refund| refund.amount_minor).collect::<Vec<_>>(), [300, 700]);
    assert!(row.refunds.iter().all(|refund| refund.status == RefundStatus::Requested));
}

#[tokio::test]
async fn bad_refunds_are_refused_without_effect() {
    let scene = Scene::new();
    let order = scene.shipped().await;
    let good = || refund(&order, "r-1", &json!({}));
    for (what, ask, status, code) in [
        ("no key", good().without("idempotency-key"), 400, "idempotency_key_missing"),
        ("no body", good().body(""), 400, "malformed_json"),
        ("no type", good().without("content-type"), 415, "unsupported_media_type"),
        ("too long", good().body(vec![b' '; 65_537]), 413, "body_too_large"),
        ("an array", good().body("[300]"), 400, "wrong_type"),
        ("zero", good().body(r#"{"amount_minor":0}"#), 400, "invalid_amount"),
        ("a float", good().body(r#"{"amount_minor":3.0}"#), 400, "invalid_amount"),
        ("a string", good().body(r#"{"amount_minor":"3"}"#), 400, "invalid_amount"),
        ("less than nothing", good().body(r#"{"amount_minor":-3}"#), 400, "invalid_amount"),
        ("a currency", good().body(r#"{"amount_minor":3,"currency":"USD"}"#), 400, "unknown_field"),
        ("a hidden reason", good().body(r#"{"reason":"a\u202e"}"#), 400, "invalid_text"),
        ("another's", good().bearer(&token(json!({"sub": "customer-2"}))), 404, "order_not_found"),
    ] {
        let reply = scene.ask(ask).await;
        assert_eq!((reply.status.as_u16(), reply.code()), (status, code), "{what}: {}", reply.text);
        assert_eq!(scene.world.only_row(), order, "{what}");
        assert!(scene.world.take_sent().is_empty(), "{what}");
    }
}
