//! Lanes that take no new orders. Deadlines are 60 s, 5 min and 60 min; an order of a backlog is a second.

use std::sync::atomic::Ordering;
use std::time::Duration;

use lambda_queue::breaker::State;
use order::{Lane, OrderId};
use ports::{Clock as _, StoreError};
use serde_json::json;

use crate::support::{Faults, Reply, START_MS, Scene, after, order_body, post_order, to_paid};

async fn place(scene: &Scene, lane: Lane, key: &str) -> Reply {
    let mut body = order_body();
    body["lane"] = json!(lane.name());
    scene.ask(post_order(&body).key(key)).await
}

/// The statuses that express, standard and bulk are answered with.
async fn statuses(scene: &Scene, key: &str) -> [u16; 3] {
    let mut statuses = [0; 3];
    for (lane, status) in Lane::ALL.into_iter().zip(&mut statuses) {
        *status = place(scene, lane, &format!("{key}-{lane}")).await.status.as_u16();
    }
    statuses
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_cannot_keep_its_deadline_is_shed_and_all_below_it() {
    for (backlogs, expected) in [
        ([0, 0, 0], [202, 202, 202]),
        ([60, 300, 3_600], [202, 202, 202]),
        ([0, 0, 3_601], [202, 202, 503]),
        ([0, 301, 0], [202, 503, 503]),
        ([61, 0, 0], [503, 503, 503]),
    ] {
        let scene = Scene::new();
        for (lane, orders) in Lane::ALL.into_iter().zip(backlogs) {
            scene.world.tell_backlog(lane, orders);
        }
        assert_eq!(statuses(&scene, "key").await, expected, "{backlogs:?}");
        let accepted = expected.iter().filter(|status| **status == 202).count();
        assert_eq!(scene.world.rows.lock().unwrap().len(), accepted, "what is shed is not written");
        assert_eq!(scene.world.take_sent().len(), accepted);
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_turned_away_is_told_that_this_request_accepted_nothing_and_when_to_come_back() {
    for (orders, retry_after) in [
        // 40 s over the deadline, and a quarter of it for the dice, which show their highest.
        (100, "50"),
        (61, "1"),
        // Five minutes at most: by then much may have changed.
        (100_000, "375"),
    ] {
        let scene = Scene::new();
        scene.world.tell_backlog(Lane::Express, orders);
        let reply = place(&scene, Lane::Express, "key").await;
        reply.is_problem(503, "lane_overloaded");
        assert_eq!(reply.headers.get_all("retry-after").iter().collect::<Vec<_>>(), [retry_after]);
        assert!(reply.json["detail"].as_str().unwrap().contains("This request accepted nothing"), "{}", reply.text);
        assert!(scene.world.rows.lock().unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeat_of_an_order_that_is_there_is_never_turned_away() {
    let scene = Scene::new();
    let first = place(&scene, Lane::Bulk, "mine").await;
    let id: OrderId = first.json["order_id"].as_str().unwrap().parse().unwrap();
    let row = after(&scene.world.only_row(), &to_paid());
    scene.world.put(row.clone());
    scene.world.take_sent();
    assert_eq!(scene.world.loads.load(Ordering::Relaxed), 0, "while nothing is shed its row is not looked up");

    scene.world.tell_backlog(Lane::Bulk, 10_000);
    tokio::time::advance(Duration::from_secs(2)).await;
    let again = place(&scene, Lane::Bulk, "mine").await;
    assert_eq!((again.status.as_u16(), &again.json["status"]), (202, &json!("paid")));
    assert_eq!(again.json["order_id"], id.to_string());
    assert_eq!(scene.world.take_sent()[0].queue, "shipping-bulk", "what it owes is sent again, as ever");
    place(&scene, Lane::Bulk, "another").await.is_problem(503, "lane_overloaded");
    // The same key with another body is that, and not a lane that is full.
    let mut other = order_body();
    other["lane"] = json!("bulk");
    other["email"] = json!("other@example.com");
    scene.ask(post_order(&other).key("mine")).await.is_problem(422, "idempotency_key_reused");
    assert_eq!(scene.world.only_row(), row);
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_request_with_the_key_did_is_not_denied_while_its_put_is_under_way() {
    let scene = Scene::new();
    scene.world.fail(Faults { accept_takes: Duration::from_secs(8), ..Faults::default() });
    let later = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        scene.world.tell_backlog(Lane::Express, 1_000);
        place(&scene, Lane::Express, "key").await
    };
    let (first, second) = tokio::join!(place(&scene, Lane::Express, "key"), later);
    assert_eq!(first.status, 202, "{}", first.text);
    second.is_problem(503, "lane_overloaded");
    let detail = second.json["detail"].as_str().unwrap();
    assert!(detail.contains("an earlier one with this key may have"), "{detail}");
    assert!(!detail.contains("Nothing was accepted"), "{detail}");
    // And the same key tells.
    let third = place(&scene, Lane::Express, "key").await;
    assert_eq!((third.status.as_u16(), &third.json["order_id"]), (202, &first.json["order_id"]));
}

#[tokio::test(start_paused = true)]
async fn a_row_that_cannot_be_looked_up_may_be_a_repeats() {
    let scene = Scene::new();
    scene.world.tell_backlog(Lane::Express, 1_000);
    scene.world.fail(Faults { load: Some(StoreError::NotDone("throttled".into())), ..Faults::default() });
    place(&scene, Lane::Express, "key").await.is_problem(503, "order_unconfirmed");
}

#[tokio::test(start_paused = true)]
async fn by_what_cannot_be_read_or_is_old_nobody_is_turned_away() {
    let lost = Faults { lanes: Some(StoreError::NotDone("throttled".into())), ..Faults::default() };
    let unreadable = Faults { lanes: Some(StoreError::Unreadable("lag".into())), ..Faults::default() };
    let silent = Faults { lanes_hang: true, ..Faults::default() };
    for (faults, took_ms) in [(lost, 0), (unreadable, 0), (silent, 300)] {
        let scene = Scene::new();
        scene.world.tell_backlog(Lane::Express, 10_000);
        scene.world.fail(faults);
        assert_eq!(place(&scene, Lane::Express, "key").await.status, 202);
        assert_eq!(scene.world.now_ms() - START_MS, took_ms, "no order waits long for it");
    }
    let scene = Scene::new();
    scene.world.tell_backlog(Lane::Express, 10_000);
    assert_eq!(place(&scene, Lane::Express, "a").await.status, 503);
    tokio::time::advance(Duration::from_millis(30_001)).await;
    assert_eq!(place(&scene, Lane::Express, "a").await.status, 202, "nobody tells any more");
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_nobody_is_turned_away_by_the_pace_of_the_ramp() {
    let scene = Scene::new();
    scene.world.turn_breaker(State::Open);
    scene.world.tell_backlog(Lane::Express, 10_000);
    assert_eq!(statuses(&scene, "open").await, [202; 3]);
    scene.world.turn_breaker(State::Closed);
    tokio::time::advance(Duration::from_secs(89)).await;
    scene.world.tell_backlog(Lane::Express, 10_000);
    assert_eq!(statuses(&scene, "ramp").await, [202; 3]);
    // By then it does what it can.
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(statuses(&scene, "after").await, [503; 3]);
}

#[tokio::test(start_paused = true)]
async fn who_is_turned_away_is_told_which_lane_is_late_and_which_better_one_is_open() {
    let detail = |scene: Scene, lane| async move {
        let reply = place(&scene, lane, "key").await;
        reply.is_problem(503, "lane_overloaded");
        reply.json["detail"].as_str().unwrap().to_owned()
    };
    let late = |lane, orders| {
        let scene = Scene::new();
        scene.world.tell_backlog(lane, orders);
        scene
    };
    let bulk = detail(late(Lane::Bulk, 10_000), Lane::Bulk).await;
    assert!(bulk.contains("of the lane bulk would wait") && bulk.ends_with("may take the lane standard."), "{bulk}");
    // On account of a better one that is late.
    let below = detail(late(Lane::Standard, 1_000), Lane::Bulk).await;
    assert!(below.contains("The lane standard is late") && below.ends_with("may take the lane express."), "{below}");
    assert!(!below.contains("bulk"), "{below}");
    // Nothing better is open.
    for lane in [Lane::Express, Lane::Bulk] {
        let none = detail(late(Lane::Express, 1_000), lane).await;
        assert!(none.contains("express") && none.ends_with("after Retry-After."), "{none}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_read_is_gone_by_for_two_seconds_and_read_once_for_all_who_ask() {
    let scene = Scene::new();
    let keys = ["a", "b", "c", "d"];
    let asked = futures::future::join_all(keys.map(|key| place(&scene, Lane::Express, key))).await;
    assert!(asked.iter().all(|reply| reply.status == 202));
    assert_eq!(scene.world.lane_reads.load(Ordering::Relaxed), 1);
    scene.world.tell_backlog(Lane::Express, 1_000);
    tokio::time::advance(Duration::from_millis(1_999)).await;
    assert_eq!(place(&scene, Lane::Express, "e").await.status, 202);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(place(&scene, Lane::Express, "f").await.status, 503);
    // And it is open again as soon.
    scene.world.tell_backlog(Lane::Express, 0);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(place(&scene, Lane::Express, "f").await.status, 202);
    assert_eq!(scene.world.lane_reads.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn only_placing_asks_how_late_the_lanes_are_and_only_a_request_that_is_one() {
    let scene = Scene::new();
    let order = scene.placed().await;
    tokio::time::advance(Duration::from_secs(10)).await;
    scene.world.tell_backlog(Lane::Express, 1_000);
    for path in ["/orders".to_owned(), format!("/orders/{}", order.order_id)] {
        assert_eq!(scene.ask(crate::support::Ask::new("GET", &path)).await.status, 200);
    }
    let cancel = crate::support::Ask::new("POST", &format!("/orders/{}/cancel", order.order_id));
    assert_eq!(scene.ask(cancel).await.status, 202);
    scene.ask(post_order(&json!({}))).await.is_problem(400, "missing_field");
    assert_eq!(scene.world.lane_reads.load(Ordering::Relaxed), 1);
}
