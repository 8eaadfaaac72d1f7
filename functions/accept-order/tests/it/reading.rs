//! `GET /orders` and `GET /orders/{id}`.

use std::collections::BTreeSet;

use ports::StoreError;
use serde_json::{Value, json};

use crate::support::{Ask, Faults, Scene, order_body, parked, post_order, token};

#[tokio::test]
async fn a_shipped_order_shows_its_whole_story() {
    let scene = Scene::new();
    let order = scene.shipped().await;
    let reply = scene.ask(Ask::new("GET", &format!("/orders/{}", order.order_id))).await;
    assert_eq!(reply.status, 200);
    let at = "2026-11-23T09:30:00.000Z";
    let events = ["accepted", "validated", "authorized", "reserved", "paid", "shipped"];
    let timeline: Vec<Value> =
        (1..).zip(events).map(|(version, event)| json!({"version": version, "event": event, "at": at})).collect();
    let mut expected = json!({
        "order_id": order.order_id.to_string(), "status": "shipped", "lane": "express", "version": 6,
        "created_at": reply.json["created_at"], "currency": "USD",
        "lines": [{"sku": "TEE-S-BLK", "quantity": 2, "name": "T-shirt", "unit_price_minor": 500}],
        "total": {"amount_minor": 1000, "currency": "USD"}, "cancel_requested": false,
        "shipment": {
            "shipment_id": "sh_1", "carrier": "Swift", "tracking_number": "SW1",
            "tracking_url": "https://track.example/SW1"
        },
        "refunds": [], "timeline": timeline,
        "links": {
            "self": format!("/orders/{}", order.order_id),
            "cancel": format!("/orders/{}/cancel", order.order_id),
            "refunds": format!("/orders/{}/refunds", order.order_id),
        },
    });
    // The first entry bears the time of the request, not of the steps that the test made.
    expected["timeline"][0]["at"] = reply.json["timeline"][0]["at"].clone();
    assert_eq!(reply.json, expected);
}

#[tokio::test]
async fn a_parked_order_shows_its_case() {
    let scene = Scene::new();
    let order = parked(&scene.placed().await);
    scene.world.put(order.clone());
    let reply = scene.ask(Ask::new("GET", &format!("/orders/{}", order.order_id))).await;
    let at = "2026-11-23T09:30:00.000Z";
    let case = json!({"case_id": "case-1", "reason": "12 attempts", "at": at, "abandoned": false});
    assert_eq!(reply.json["parked"], case);
}

#[tokio::test]
async fn no_order_and_somebody_elses_are_told_alike() {
    let scene = Scene::new();
    let order = scene.placed().await;
    let path = format!("/orders/{}", order.order_id);
    let nobody = scene.ask(Ask::new("GET", "/orders/6f2a8a0e-7c7e-8d1b-9c55-0d4f1f0a1b2c")).await;
    nobody.is_problem(404, "order_not_found");
    for over in [json!({"sub": "customer-2"}), json!({"tenant": "globex"})] {
        assert_eq!(scene.ask(Ask::new("GET", &path).bearer(&token(over))).await.text, nobody.text);
    }
    for id in ["1", "%00", "..", &order.order_id.to_string().to_uppercase()] {
        assert_eq!(scene.ask(Ask::new("GET", &format!("/orders/{id}"))).await.text, nobody.text, "{id}");
    }
}

#[tokio::test]
async fn head_answers_as_get_does_but_for_the_body() {
    let scene = Scene::new();
    let path = format!("/orders/{}", scene.placed().await.order_id);
    let (get, head) = (scene.ask(Ask::new("GET", &path)).await, scene.ask(Ask::new("HEAD", &path)).await);
    assert_eq!((head.status, head.headers), (get.status, get.headers));
    assert!(head.text.is_empty() && !get.text.is_empty());
}

async fn place_many(scene: &Scene, count: usize, over: &Value) {
    for number in 0..count {
        let ask = post_order(&order_body()).key(&format!("many-{number}")).bearer(&token(over.clone()));
        assert_eq!(scene.ask(ask).await.status, 202);
    }
}

#[tokio::test]
async fn pages_together_hold_each_own_order_once() {
    let scene = Scene::new();
    place_many(&scene, 7, &json!({})).await;
    place_many(&scene, 3, &json!({"sub": "customer-2"})).await;
    let (mut seen, mut pages, mut path) = (BTreeSet::new(), Vec::new(), "/orders?limit=3".to_owned());
    loop {
        let reply = scene.ask(Ask::new("GET", &path)).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        let orders = reply.json["orders"].as_array().unwrap();
        pages.push(orders.len());
        seen.extend(orders.iter().map(|order| order["order_id"].as_str().unwrap().to_owned()));
        match reply.json.get("next") {
            Some(next) => path = format!("/orders?limit=3&cursor={}", next.as_str().unwrap()),
            None => break,
        }
    }
    assert_eq!((pages, seen.len()), (vec![3, 3, 1], 7));
}

#[tokio::test]
async fn a_page_holds_20_orders_if_not_told_otherwise_and_100_at_most() {
    let scene = Scene::new();
    place_many(&scene, 101, &json!({})).await;
    for (path, count) in [("/orders", 20), ("/orders?", 20), ("/orders?limit=100", 100), ("/orders?limit=1", 1)] {
        let reply = scene.ask(Ask::new("GET", path)).await;
        assert_eq!(reply.json["orders"].as_array().map(Vec::len), Some(count), "{path}: {}", reply.text);
    }
}

#[tokio::test]
async fn bad_queries_are_refused() {
    let scene = Scene::new();
    place_many(&scene, 2, &json!({})).await;
    let next = scene.ask(Ask::new("GET", "/orders?limit=1")).await.json["next"].as_str().unwrap().to_owned();
    for limit in ["0", "101", "-1", "+5", "1.0", "", "ten", "99999999999"] {
        scene.ask(Ask::new("GET", &format!("/orders?limit={limit}"))).await.is_problem(400, "invalid_query");
    }
    scene.ask(Ask::new("GET", "/orders?limit=1&limit=2")).await.is_problem(400, "invalid_query");
    scene.ask(Ask::new("GET", "/orders?status=shipped")).await.is_problem(400, "invalid_query");
    for cursor in ["", "x", "1_abc", "0000000000000000.1", &format!("{next}0"), &next[1..]] {
        scene.ask(Ask::new("GET", &format!("/orders?cursor={cursor}"))).await.is_problem(400, "invalid_cursor");
    }
    let anothers = Ask::new("GET", &format!("/orders?cursor={next}")).bearer(&token(json!({"sub": "customer-2"})));
    scene.ask(anothers).await.is_problem(400, "invalid_cursor");
}

#[tokio::test]
async fn a_table_that_does_not_answer_is_503_and_a_row_that_nobody_can_read_is_500() {
    let scene = Scene::new();
    let path = format!("/orders/{}", scene.placed().await.order_id);
    for (error, status, code) in [
        (StoreError::NotDone("throttled".into()), 503, "unavailable"),
        (StoreError::Unknown("timeout".into()), 503, "unavailable"),
        (StoreError::Unreadable("no state".into()), 500, "internal_error"),
    ] {
        scene.world.fail(Faults { load: Some(error.clone()), list: Some(error), ..Faults::default() });
        for path in [path.as_str(), "/orders"] {
            let reply = scene.ask(Ask::new("GET", path)).await;
            reply.is_problem(status, code);
            assert_eq!(reply.header("retry-after"), if status == 503 { "2" } else { "" });
        }
    }
}
