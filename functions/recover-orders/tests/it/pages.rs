//! Rows that cannot be recovered hide nobody.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use lambda_queue::Clock as _;
use order::CaseId;
use recover_orders::{Recovered, recover};

use crate::world::{DEADLINE_MS, id, world};

#[tokio::test]
async fn rows_that_cannot_be_read_are_set_aside_with_a_case_each_and_hide_nobody() {
    let world = world(120, 3);
    let done = recover(&world, DEADLINE_MS).await.unwrap();
    assert_eq!(done, Recovered { due: 123, sent: 3, set_aside: 120, ..Recovered::default() });
    assert_eq!(world.sent.lock().unwrap().len(), 3);
    let cases = world.cases.lock().unwrap().clone();
    let ids: BTreeSet<CaseId> = cases.iter().map(|case| case.case_id.clone()).collect();
    assert_eq!(ids.len(), 120);
    assert!(cases.iter().any(|case| case.order_id == id(0).to_string() && case.tenant.is_none()));
    // A minute later nobody looks at them again; after a quarter of an hour it is the same case.
    assert_eq!(recover(&world, DEADLINE_MS).await.unwrap().due, 0);
    world.now_ms.fetch_add(16 * 60_000, Ordering::Relaxed);
    assert_eq!(recover(&world, DEADLINE_MS + 20 * 60_000).await.unwrap().set_aside, 120);
    assert!(world.cases.lock().unwrap().iter().all(|case| ids.contains(&case.case_id)));
}

#[tokio::test]
async fn a_key_that_is_no_order_id_does_not_stop_a_shard() {
    let world = world(0, 1);
    world.due.lock().unwrap().put(3, 1, "not-an-order".to_owned());
    let done = recover(&world, DEADLINE_MS).await.unwrap();
    assert_eq!((done.sent, done.set_aside), (1, 1));
    assert_eq!(world.cases.lock().unwrap()[0].order_id, "not-an-order");
}

#[tokio::test]
async fn a_run_sends_at_most_fifty_commands_of_a_shard() {
    let world = world(10, 200);
    let done = recover(&world, DEADLINE_MS).await.unwrap();
    assert_eq!((done.sent, done.set_aside), (50, 10));
    assert_eq!(recover(&world, DEADLINE_MS).await.unwrap().sent, 50);
}

#[tokio::test]
async fn a_run_stops_paging_when_its_time_is_up() {
    let mut world = world(400, 1);
    world.read_ms = 2_900;
    let done = recover(&world, DEADLINE_MS).await.unwrap();
    assert!((150..250).contains(&done.set_aside), "{done:?}");
    assert!(world.now_ms() < DEADLINE_MS);
}
