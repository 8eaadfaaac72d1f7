//! `POST /orders/{id}/cancel`.

use order::{Order, Outcome, Reason, ReasonCode, State};
use serde_json::json;

use crate::support::{Ask, Scene, after, to_paid, to_shipped, token};

fn cancel(order: &Order) -> Ask {
    Ask::new("POST", &format!("/orders/{}/cancel", order.order_id))
}

#[tokio::test]
async fn a_cancel_sets_the_flag_and_sends_what_the_row_owes() {
    for (steps, queue) in [
        (0, "validate-express"),
        (1, "payment-express"),
        (2, "stock-express"),
        (3, "payment-express"),
        (4, "shipping-express"),
    ] {
        let scene = Scene::new();
        let order = after(&scene.placed().await, &to_paid()[..steps]);
        scene.world.put(order.clone());
        let reply = scene.ask(cancel(&order)).await;
        assert_eq!((reply.status.as_u16(), &reply.json["cancel_requested"]), (202, &json!(true)), "{}", reply.text);
        let row = scene.world.only_row();
        assert_eq!((row.state, row.version, row.cancel_requested), (order.state, order.version + 1, true));
        assert_eq!(reply.json["version"], row.version);
        assert_eq!(scene.world.take_sent()[0].queue, queue);
    }
}

#[tokio::test]
async fn a_second_cancel_changes_nothing_and_sends_again() {
    let scene = Scene::new();
    let order = scene.placed().await;
    let first = scene.ask(cancel(&order)).await;
    let row = scene.world.only_row();
    scene.world.take_sent();
    let second = scene.ask(cancel(&order).body("{}")).await;
    assert_eq!((second.status, second.json), (first.status, first.json));
    assert_eq!(scene.world.only_row(), row);
    assert_eq!(scene.world.take_sent().len(), 1);
}

#[tokio::test]
async fn a_shipped_or_rejected_order_cannot_be_cancelled() {
    let scene = Scene::new();
    let order = scene.placed().await;
    let rejected = after(&order, &[Outcome::Invalid(Reason::new(ReasonCode::UnknownSku, "?"))]);
    for (row, code) in [(after(&order, &to_shipped()), "order_shipped"), (rejected, "order_rejected")] {
        scene.world.put(row.clone());
        scene.ask(cancel(&order)).await.is_problem(409, code);
        assert_eq!(scene.world.only_row(), row);
        assert!(scene.world.take_sent().is_empty());
    }
}

#[tokio::test]
async fn a_cancelled_order_takes_a_cancel_as_a_repeat() {
    let scene = Scene::new();
    let order = after(&scene.placed().await, &[Outcome::CancelRequested, Outcome::Skipped]);
    assert_eq!(order.state, State::Cancelled);
    scene.world.put(order.clone());
    let reply = scene.ask(cancel(&order)).await;
    assert_eq!((reply.status.as_u16(), &reply.json["status"]), (202, &json!("cancelled")));
    assert!(scene.world.take_sent().is_empty());
}

#[tokio::test]
async fn a_cancel_follows_a_row_that_moves_under_it() {
    let scene = Scene::new();
    let order = scene.placed().await;
    let way = to_paid();
    scene.world.before_commits.lock().unwrap().extend([after(&order, &way[..1]), after(&order, &way[..2])]);
    assert_eq!(scene.ask(cancel(&order)).await.status, 202);
    let row = scene.world.only_row();
    assert_eq!((row.state, row.version, row.cancel_requested), (State::Authorized, 4, true));
    assert_eq!(scene.world.take_sent()[0].queue, "stock-express");
}

#[tokio::test]
async fn a_cancel_that_loses_to_the_carrier_says_so() {
    let scene = Scene::new();
    let order = after(&scene.placed().await, &to_paid());
    scene.world.put(order.clone());
    scene.world.before_commits.lock().unwrap().push_back(after(&order, &to_shipped()[4..]));
    scene.ask(cancel(&order)).await.is_problem(409, "order_shipped");
    assert!(!scene.world.only_row().cancel_requested);
}

#[tokio::test]
async fn a_row_that_never_rests_is_503() {
    let scene = Scene::new();
    let mut row = scene.placed().await;
    let order = row.clone();
    for number in 0..20 {
        // Parked and resumed, over and over: a version each.
        row = if number % 2 == 0 { crate::support::parked(&row) } else { after(&row, &[Outcome::Resumed]) };
        scene.world.before_commits.lock().unwrap().push_back(row.clone());
    }
    scene.ask(cancel(&order)).await.is_problem(503, "change_unconfirmed");
    assert!(!scene.world.only_row().cancel_requested);
}

#[tokio::test]
async fn somebody_elses_order_is_no_order() {
    let scene = Scene::new();
    let order = scene.placed().await;
    for over in [json!({"sub": "customer-2"}), json!({"tenant": "globex"})] {
        scene.ask(cancel(&order).bearer(&token(over))).await.is_problem(404, "order_not_found");
    }
    assert_eq!(scene.world.only_row(), order);
    assert!(scene.world.take_sent().is_empty());
}

#[tokio::test]
async fn a_cancel_takes_no_fields() {
    let scene = Scene::new();
    let order = scene.placed().await;
    scene.ask(cancel(&order).body(r#"{"why":"x"}"#)).await.is_problem(400, "unknown_field");
    scene.ask(cancel(&order).body("[]")).await.is_problem(400, "wrong_type");
    scene.ask(cancel(&order).body("{}").without("content-type")).await.is_problem(415, "unsupported_media_type");
    scene.ask(cancel(&order).body(vec![b' '; 65_537])).await.is_problem(413, "body_too_large");
    assert_eq!(scene.world.only_row(), order);
}
