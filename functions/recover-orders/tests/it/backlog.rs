//! Orders that stand in a queue which is long.

use order::{Lane, Order, State, Step};
use ports::MAX_NUDGES;
use recover_orders::{Recovered, recover};

use crate::world::{DEADLINE_MS, NOW_MS, id, late, order, was_sent, world};

#[tokio::test]
async fn a_backlog_of_three_hours_parks_nobody_and_sends_nothing_twice() {
    let mut world = world(0, 0);
    for at in 0..40 {
        let mut order = order(at);
        (order.timeline[0].at_ms, order.due_at) = (NOW_MS, Some(NOW_MS + 30_000));
        world.put(3, order);
    }
    let mut looks = 0;
    for minute in 1..=180 {
        let now_ms = NOW_MS + minute * 60_000;
        // What comes now was sent at the very beginning of it, or a little later.
        world.lanes = Some(late(Lane::Standard, Step::Validate, minute * 55_000, now_ms));
        let done = world.run_at(now_ms).await;
        assert_eq!((done.sent, done.parked), (0, 0), "minute {minute}");
        looks += done.behind_backlog;
    }
    assert!(world.sent.lock().unwrap().is_empty());
    assert!(looks <= 40 * 45, "{looks} writes");
    assert!((0..40).all(|at| world.nudges.lock().unwrap()[&id(at).to_string()] == 0), "a nudge was counted");
}

#[tokio::test]
async fn what_should_have_come_by_now_is_sent_again_though_its_lane_is_late() {
    let mut world = world(0, 0);
    let sent_ago = |at: u64, ago_ms: u64| {
        let mut order = order(at);
        (order.timeline[0].at_ms, order.due_at) = (NOW_MS - ago_ms, Some(NOW_MS - 1));
        order
    };
    world.put(3, sent_ago(1, 1_000_000));
    world.put(3, sent_ago(2, 800_000));
    // Those of before it have come, so it is not its turn either; and ten nudges are no reason to give it up.
    world.put(3, Order { nudges: MAX_NUDGES, ..sent_ago(3, 1_000_000) });
    world.put(3, Order { lane: Lane::Express, ..sent_ago(4, 800_000) });
    world.lanes = Some(late(Lane::Standard, Step::Validate, 600_000, NOW_MS));
    let done = world.run_at(NOW_MS).await;
    assert_eq!(done, Recovered { due: 4, sent: 2, behind_backlog: 2, ..Recovered::default() });
    assert!(was_sent(&world, 1) && was_sent(&world, 4));
    assert_eq!((world.due_ms(2), world.due_ms(3)), (NOW_MS + 100_000, NOW_MS + 60_000));
}

#[tokio::test]
async fn a_backlog_that_an_outage_left_is_looked_at_each_minute_while_that_is_not_long_ago() {
    for (closed_ago_s, for_s) in [(10, 60), (60, 60), (299, 60), (300, 300)] {
        let mut world = world(0, 0);
        let mut order = Order { state: State::Validated, ..order(1) };
        (order.timeline[0].at_ms, order.due_at) = (NOW_MS - 100_000, Some(NOW_MS - 1));
        world.put(3, order);
        (world.breaker.epoch, world.breaker.changed_at_ms) = (10, NOW_MS - closed_ago_s * 1_000);
        world.lanes = Some(late(Lane::Standard, Step::Payment, 3_600_000, NOW_MS));
        let done = world.run_at(NOW_MS).await;
        assert_eq!(done, Recovered { due: 1, behind_backlog: 1, ..Recovered::default() }, "{closed_ago_s} s after");
        assert_eq!(world.due_ms(1), NOW_MS + for_s * 1_000, "{closed_ago_s} s after");
    }
}

#[tokio::test]
async fn lanes_that_cannot_be_read_are_taken_for_punctual() {
    let mut world = world(0, 3);
    world.lanes = None;
    assert_eq!(recover(&world, DEADLINE_MS).await.unwrap().sent, 3);
}
