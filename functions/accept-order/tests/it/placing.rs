//! `POST /orders`.

use std::sync::atomic::Ordering;

use lambda_queue::envelope::TraceParent;
use order::{Lane, Outcome, Reason, ReasonCode, State};
use ports::{Clock as _, StoreError};
use serde_json::{Value, json};

use crate::support::{Ask, Faults, START_MS, Scene, after, order_body, parked, post_order, to_paid, token};

#[tokio::test(start_paused = true)]
async fn an_order_is_accepted_and_its_first_command_leaves() {
    let scene = Scene::new();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let reply = scene.ask(post_order(&order_body()).header("traceparent", trace)).await;
    assert_eq!(reply.status, 202);

    let row = scene.world.only_row();
    assert_eq!((row.state, row.version, row.lane), (State::Accepted, 1, Lane::Express));
    assert_eq!((row.tenant.as_str(), row.customer.as_str()), ("acme", "customer-1"));
    assert_eq!(row.created_at, START_MS);
    assert_eq!(row.due_at, Some(START_MS + 30_000));
    assert_eq!(row.traceparent.as_deref(), Some(trace));
    assert_eq!(row.order_id.as_uuid().get_version_num(), 8);

    assert_eq!(reply.json["order_id"], row.order_id.to_string());
    assert_eq!(reply.json["status"], "accepted");
    assert_eq!(reply.json["timeline"], json!([{"version": 1, "event": "accepted", "at": "2026-11-23T09:30:00.000Z"}]));
    assert_eq!(reply.header("location"), format!("/orders/{}", row.order_id));
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(reply.header("x-request-id"), "invocation-1");

    let sent = scene.world.take_sent();
    assert_eq!(sent.len(), 1);
    assert_eq!((sent[0].queue.as_str(), sent[0].group.as_deref()), ("validate-express", Some("acme")));
    let message: Value = serde_json::from_str(&sent[0].body).unwrap();
    assert_eq!(message["type"], "orderflow.order.validate.v1");
    assert_eq!(message["data"], json!({"order_id": row.order_id.to_string(), "version": 1}));
    // A span of its own in the caller's trace, and the event that it follows from.
    let span = trace.parse::<TraceParent>().unwrap().child_of(message["id"].as_str().unwrap()).to_string();
    assert_ne!(span, trace);
    assert_eq!(message["traceparent"], span);
    let accepted = row.last_event().unwrap().event_id(row.order_id);
    assert_eq!(message["causationid"], accepted.to_string());
}

#[tokio::test]
async fn nothing_of_the_customer_is_in_answer_or_message() {
    let scene = Scene::new();
    let reply = scene.ask(post_order(&order_body())).await;
    let sent = scene.world.take_sent();
    for private in ["Ada", "ada@example.com", "pm_card_visa", "Square", "SW1Y", "customer-1", "key-1"] {
        assert!(!reply.text.contains(private), "{private}");
        assert!(!sent[0].body.contains(private), "{private}");
    }
}

#[tokio::test]
async fn a_trace_is_begun_where_the_caller_brings_none() {
    let scene = Scene::new();
    scene.ask(post_order(&order_body()).header("traceparent", "00-nonsense")).await;
    let trace = scene.world.only_row().traceparent.unwrap();
    assert_eq!(trace.len(), 55);
    assert!(trace.starts_with("00-") && trace.ends_with("-01"), "{trace}");
}

#[tokio::test]
async fn a_request_id_is_given_back() {
    let scene = Scene::new();
    let reply = scene.ask(post_order(&order_body()).header("x-request-id", "mine-1")).await;
    assert_eq!(reply.header("x-request-id"), "mine-1");
}

#[tokio::test]
async fn the_lane_is_standard_or_the_most_that_the_token_allows() {
    for (asked, max_lane, lane) in [
        (None, "express", Lane::Standard),
        (None, "standard", Lane::Standard),
        (None, "bulk", Lane::Bulk),
        (Some("bulk"), "express", Lane::Bulk),
        (Some("express"), "express", Lane::Express),
        (Some("standard"), "standard", Lane::Standard),
    ] {
        let scene = Scene::new();
        let mut body = order_body();
        body.as_object_mut().unwrap().remove("lane");
        if let Some(asked) = asked {
            body["lane"] = json!(asked);
        }
        let reply = scene.ask(post_order(&body).bearer(&token(json!({"max_lane": max_lane})))).await;
        assert_eq!(reply.status, 202, "{}", reply.text);
        assert_eq!(scene.world.only_row().lane, lane, "{asked:?} of {max_lane}");
    }
}

#[tokio::test]
async fn a_repeat_answers_from_its_row_and_sends_again_what_is_owed() {
    let scene = Scene::new();
    let first = scene.ask(post_order(&order_body())).await;
    let message = scene.world.take_sent();
    let again = scene.ask(post_order(&order_body())).await;
    assert_eq!((again.status, &again.json), (first.status, &first.json));
    assert_eq!(scene.world.take_sent()[0].queue, message[0].queue);

    // The row has moved on: the repeat shows it, and sends the command of its present version.
    let row = after(&scene.world.only_row(), &to_paid());
    scene.world.put(row.clone());
    let later = scene.ask(post_order(&order_body())).await;
    assert_eq!((later.status.as_u16(), &later.json["status"]), (202, &json!("paid")));
    assert_eq!(scene.world.take_sent()[0].queue, "shipping-express");
    assert_eq!(scene.world.only_row(), row);
}

#[tokio::test]
async fn white_space_and_the_order_of_fields_make_no_other_request() {
    let scene = Scene::new();
    let order = scene.placed().await;
    let body = order_body();
    let fields: Vec<String> =
        body.as_object().unwrap().iter().rev().map(|(name, value)| format!(" {name:?} :\n{value}")).collect();
    let reply = scene.ask(Ask::new("POST", "/orders").key("placed").body(format!("{{{}}}", fields.join(",")))).await;
    assert_eq!(reply.json["order_id"], order.order_id.to_string(), "{}", reply.text);
}

#[tokio::test]
async fn the_same_key_with_another_body_is_a_conflict_without_effect() {
    let scene = Scene::new();
    let order = scene.placed().await;
    let mut other = order_body();
    other["lines"][0]["quantity"] = json!(3);
    scene.ask(post_order(&other).key("placed")).await.is_problem(422, "idempotency_key_reused");
    assert_eq!(scene.world.only_row(), order);
    assert!(scene.world.take_sent().is_empty());
}

#[tokio::test]
async fn a_key_belongs_to_one_customer_of_one_tenant() {
    let scene = Scene::new();
    for over in [json!({}), json!({"sub": "customer-2"}), json!({"tenant": "globex"})] {
        assert_eq!(scene.ask(post_order(&order_body()).bearer(&token(over))).await.status, 202);
    }
    assert_eq!(scene.world.rows.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn a_write_that_failed_or_is_unknown_is_503_and_a_repeat_makes_it_good() {
    for (error, accept_written) in
        [(StoreError::NotDone("throttled".into()), false), (StoreError::Unknown("timeout".into()), true)]
    {
        let scene = Scene::new();
        scene.world.fail(Faults { accept: Some(error), accept_written, ..Faults::default() });
        let reply = scene.ask(post_order(&order_body())).await;
        reply.is_problem(503, "order_unconfirmed");
        assert_eq!(reply.header("retry-after"), "2");
        assert!(reply.json["detail"].as_str().unwrap().contains("same Idempotency-Key"));
        assert!(scene.world.take_sent().is_empty());

        scene.world.fail(Faults::default());
        assert_eq!(scene.ask(post_order(&order_body())).await.status, 202);
        assert_eq!(scene.world.only_row().version, 1);
        assert_eq!(scene.world.take_sent().len(), 1);
    }
}

#[tokio::test]
async fn a_command_that_cannot_leave_does_not_unaccept_the_order() {
    let scene = Scene::new();
    scene.world.fail(Faults { send: true, ..Faults::default() });
    assert_eq!(scene.ask(post_order(&order_body())).await.status, 202);
    assert!(scene.world.only_row().due_at.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_command_that_did_not_leave_is_sent_once_more_unless_it_took_too_long_to_hear_so() {
    for (fails_after_ms, sends, left) in
        [(vec![], 1, 1), (vec![20], 2, 1), (vec![20, 20], 2, 0), (vec![999], 2, 1), (vec![1_000], 1, 0)]
    {
        let scene = Scene::new();
        scene.world.failing_sends.lock().unwrap().extend(fails_after_ms.iter().copied());
        assert_eq!(scene.ask(post_order(&order_body())).await.status, 202);
        let sent = (scene.world.sends.load(Ordering::Relaxed), scene.world.take_sent().len());
        assert_eq!(sent, (sends, left), "{fails_after_ms:?}");
        assert!(scene.world.only_row().due_at.is_some(), "recovery stands behind it");
    }
}

#[tokio::test]
async fn a_panic_is_a_problem_too() {
    let scene = Scene::new();
    scene.world.fail(Faults { panic: true, ..Faults::default() });
    scene.ask(post_order(&order_body())).await.is_problem(500, "internal_error");
}

fn waiting(seconds: &str) -> Ask {
    post_order(&order_body()).header("prefer", &format!("wait={seconds}"))
}

#[tokio::test(start_paused = true)]
async fn a_wait_answers_200_as_soon_as_the_order_is_decided() {
    let scene = Scene::new();
    let accepted = scene.placed().await;
    let way = to_paid();
    let rows = (1..=way.len()).map(|steps| after(&accepted, &way[..steps]));
    scene.world.before_loads.lock().unwrap().extend(rows);
    let reply = scene.ask(waiting("20").key("placed")).await;
    assert_eq!((reply.status.as_u16(), &reply.json["status"]), (200, &json!("paid")));
    assert_eq!(reply.header("preference-applied"), "wait=20");
    assert_eq!(reply.header("location"), format!("/orders/{}", accepted.order_id));
    // 100, 150, 225 and 337 ms.
    assert_eq!(scene.world.loads.load(Ordering::Relaxed), 4);
    assert_eq!(scene.world.now_ms() - START_MS, 812);
}

#[tokio::test(start_paused = true)]
async fn a_rejection_is_a_decision() {
    let scene = Scene::new();
    let accepted = scene.placed().await;
    let reason = Reason::new(ReasonCode::UnknownSku, "TEE-S-BLK is not in the catalogue");
    scene.world.before_loads.lock().unwrap().push_back(after(&accepted, &[Outcome::Invalid(reason)]));
    let reply = scene.ask(waiting("5").key("placed")).await;
    assert_eq!((reply.status.as_u16(), &reply.json["status"]), (200, &json!("rejected")));
    assert_eq!(reply.json["reason"]["code"], "unknown_sku");
}

#[tokio::test(start_paused = true)]
async fn a_wait_in_vain_answers_202_after_its_time() {
    for (asked, applied, waited_ms) in [("3", "wait=3", 3_000), ("0", "wait=0", 0), ("600", "wait=20", 20_000)] {
        let scene = Scene::new();
        let reply = scene.ask(waiting(asked)).await;
        assert_eq!((reply.status.as_u16(), reply.header("preference-applied")), (202, applied));
        assert_eq!(scene.world.now_ms() - START_MS, waited_ms);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_before_the_function_does() {
    let scene = Scene::new();
    assert_eq!(scene.ask_until(waiting("20"), START_MS + 4_000).await.status, 202);
    assert_eq!(scene.world.now_ms() - START_MS, 3_000);
}

#[tokio::test(start_paused = true)]
async fn a_parked_order_is_not_waited_for() {
    let scene = Scene::new();
    let accepted = scene.placed().await;
    scene.world.before_loads.lock().unwrap().push_back(parked(&accepted));
    let reply = scene.ask(waiting("20").key("placed")).await;
    assert_eq!((reply.status.as_u16(), &reply.json["parked"]["case_id"]), (202, &json!("case-1")));
    assert_eq!(scene.world.now_ms() - START_MS, 100);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_fails_while_waiting_costs_the_client_nothing() {
    let scene = Scene::new();
    scene.world.fail(Faults { load: Some(StoreError::Unknown("timeout".into())), ..Faults::default() });
    assert_eq!(scene.ask(waiting("1")).await.status, 202);
}
