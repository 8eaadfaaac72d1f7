//! Orders that wait for a provider: put off while it is away, and looked at soon when it is back.

use std::sync::atomic::Ordering;

use lambda_queue::breaker::{Row as BreakerRow, State as BreakerState};
use lambda_queue::lag::Word;
use order::{Lane, Order, State, Step};
use ports::{LaneRows, MAX_NUDGES};
use recover_orders::recover;

use crate::world::{DEADLINE_MS, NOW_MS, Row, World, id, late, order, sent_ms, told, was_sent, world};

/// The number of a shard's orders that need no provider.
fn other(shard: u16, at: u64) -> u64 {
    1_000_000 + u64::from(shard) * 10 + at
}

/// An order that the payment provider is needed for.
fn to_pay(at: u64) -> Order {
    Order { state: State::Validated, ..order(at) }
}

/// So many orders of shard 3 that wait for the payment provider, which has been away for so long, the longest overdue; and
/// in each shard three that need no provider.
fn outage(waiting: u64, away_ms: u64) -> World {
    let mut world = world(0, 0);
    for at in 0..waiting {
        world.put(3, to_pay(at));
    }
    for shard in 0..16 {
        for at in 0..3 {
            world.put(shard, Order { due_at: Some(NOW_MS - 1_000 + at), ..order(other(shard, at)) });
        }
    }
    world.breaker.state = BreakerState::Open;
    (world.breaker.epoch, world.breaker.opened_at_ms) = (9, NOW_MS - 1_000);
    world.breaker.down_since_ms = NOW_MS - away_ms;
    world
}

/// The provider is there again.
fn close(world: &mut World, closed_ms: u64) {
    world.breaker = BreakerRow::absent("payment");
    (world.breaker.epoch, world.breaker.changed_at_ms) = (10, closed_ms);
}

#[tokio::test]
async fn thousands_behind_a_breaker_hold_up_none_that_needs_no_provider() {
    let mut world = outage(20_000, 3_600_000);
    // More than a run gets through: ten are read in 100 ms.
    world.read_ms = 100;
    let done = recover(&world, DEADLINE_MS).await.unwrap();
    assert!(done.behind_breaker > 5_000 && done.parked == 0, "{done:?}");
    for shard in (0..16).filter(|shard| *shard != 3) {
        assert!((0..3).all(|at| was_sent(&world, other(shard, at))), "shard {shard} waits for the one that is full");
    }
    // What was put off is out of the way, so the next runs come to the others of that shard too.
    let mut minute = 0;
    while !(0..3).all(|at| was_sent(&world, other(3, at))) {
        minute += 1;
        assert!(minute < 5, "they wait for more than five minutes");
        world.now_ms.store(NOW_MS + minute * 60_000, Ordering::Relaxed);
        recover(&world, DEADLINE_MS + minute * 60_000).await.unwrap();
    }
}

#[tokio::test]
async fn what_waits_behind_a_breaker_is_looked_at_ever_more_seldom_and_within_two_minutes_of_its_closing() {
    for (minutes, after_s) in [(31, 0), (31, 30), (31, 59), (32, 20), (33, 5), (34, 45), (35, 10)] {
        let mut world = outage(40, 0);
        let mut looks = Vec::new();
        for minute in 0..minutes {
            if world.run_at(NOW_MS + minute * 60_000).await.behind_breaker > 0 {
                looks.push(minute);
            }
        }
        assert!(looks.len() <= 10, "{looks:?}");
        let apart: Vec<u64> = looks.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(apart.is_sorted() && apart.last().is_some_and(|longest| (5..=6).contains(longest)), "{looks:?}");
        // It closes some time before the next run.
        let closed_ms = NOW_MS + minutes * 60_000 - after_s * 1_000;
        close(&mut world, closed_ms);
        for minute in minutes..minutes + 8 {
            world.run_at(NOW_MS + minute * 60_000).await;
        }
        for at in 0..40 {
            let sent_ms = sent_ms(&world, at);
            assert!(sent_ms[0] - closed_ms <= 120_000, "{} s after the closing", (sent_ms[0] - closed_ms) / 1_000);
            // And then as ever, ever more slowly: not once more with every run.
            let minutes = |pair: &[u64]| (pair[1] - pair[0] + 30_000) / 60_000;
            let apart: Vec<u64> = sent_ms.windows(2).map(minutes).collect();
            assert_eq!(apart, [2, 3], "minutes apart: each wait and the way to the next run");
        }
    }
}

#[tokio::test]
async fn what_still_stands_in_a_queue_is_not_sent_again_when_its_provider_comes_back() {
    let mut world = outage(40, 3_600_000);
    world.run_at(NOW_MS).await;
    let put_off_ms = NOW_MS + 300_000;
    assert_eq!(world.due_ms(0), put_off_ms);
    // Due soon after the closing, one of them for the last time; and one put off that was sent again as often as may be.
    world.put(3, Order { due_at: Some(NOW_MS + 20_000), ..to_pay(100) });
    world.put(3, Order { due_at: Some(NOW_MS + 20_000), nudges: MAX_NUDGES, ..to_pay(101) });
    world.put(3, Order { due_at: Some(put_off_ms), nudges: MAX_NUDGES, ..to_pay(102) });
    let closed_ms = NOW_MS + 10_000;
    close(&mut world, closed_ms);

    // Its mapping is not on yet, so nobody tells how late the lane is.
    let done = world.run_at(closed_ms + 40_000).await;
    assert_eq!((done.sent, done.parked, done.behind_breaker), (0, 0, 2), "{done:?}");
    assert_eq!((world.due_ms(100), world.due_ms(101)), (closed_ms + 50_000, closed_ms + 50_000));
    assert_eq!(world.nudges.lock().unwrap()[&id(100).to_string()], 0, "a nudge was counted");

    // It is on, and what comes has waited for as long as the outage was. The others are nudged as ever.
    world.lanes = Some(late(Lane::Standard, Step::Payment, 3_600_000, closed_ms + 95_000));
    let done = world.run_at(closed_ms + 100_000).await;
    assert_eq!((done.sent, done.parked, done.behind_backlog), (48, 0, 2), "{done:?}");
    assert_eq!((world.due_ms(0), world.due_ms(100)), (put_off_ms, closed_ms + 160_000));
    assert!((0..=102).all(|at| !was_sent(&world, at)));

    // The lane is punctual again: what has not come by now is lost. Nobody is given up before his time.
    world.take(101);
    world.lanes = Some(LaneRows::default());
    let done = world.run_at(closed_ms + 165_000).await;
    assert_eq!((done.sent, done.parked), (41, 0), "{done:?}");
    assert!((0..40).all(|at| was_sent(&world, at)) && was_sent(&world, 100));
    assert_eq!(world.due_ms(102), put_off_ms);
    assert!(world.cases.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_step_that_has_told_since_the_closing_is_looked_at_at_once() {
    // Of another lane, of another step, of before: these say nothing.
    for (lane, step, told_after_s, sent) in [
        (Lane::Standard, Step::Payment, 25, 40),
        (Lane::Bulk, Step::Payment, 25, 0),
        (Lane::Standard, Step::Stock, 25, 0),
        (Lane::Standard, Step::Payment, 0, 0),
    ] {
        let mut world = outage(40, 3_600_000);
        world.run_at(NOW_MS).await;
        // So many nudges say nothing yet, whoever told.
        world.put(3, Order { due_at: Some(NOW_MS + 20_000), nudges: MAX_NUDGES, ..to_pay(101) });
        let closed_ms = NOW_MS + 10_000;
        close(&mut world, closed_ms);
        let word = Word { lag_ms: 100, at_ms: closed_ms + told_after_s * 1_000, ..Word::default() };
        world.lanes = Some(told(lane, step, word));
        let done = world.run_at(closed_ms + 30_000).await;
        assert_eq!((done.sent, done.parked, done.behind_breaker), (sent, 0, 1), "{lane} {step:?}: {done:?}");
        assert_eq!(world.due_ms(101), closed_ms + 50_000);
    }
}

#[tokio::test]
async fn many_that_were_put_off_come_as_fast_as_a_run_may_send_and_nobody_else_comes_before_his_time() {
    let mut world = outage(500, 3_600_000);
    world.run_at(NOW_MS).await;
    let put_off_ms = world.due_ms(0);
    assert_eq!(put_off_ms, NOW_MS + 300_000);
    // Not due either: one that has just come to its version, one that waits for another provider, one that waits for none,
    // one that was nudged a while ago, and one that cannot be read.
    let at_ms = NOW_MS + 70_000;
    let in_its_time = |at: u64, state: State, due_ms: u64| Order { state, due_at: Some(due_ms), ..order(at) };
    let mut new = in_its_time(2_001, State::Validated, at_ms + 58_000);
    new.timeline[0].at_ms = at_ms - 2_000;
    world.put(5, new);
    world.put(5, in_its_time(2_002, State::Paid, put_off_ms));
    world.put(5, in_its_time(2_003, State::Authorized, put_off_ms));
    world.put(5, Order { nudges: 3, ..in_its_time(2_004, State::Validated, at_ms - 10_000 + 240_000) });
    world.put(5, in_its_time(2_005, State::Validated, put_off_ms));
    world.rows.insert(id(2_005).to_string(), Row::Unreadable);
    // And one that was put off as the others were.
    world.put(5, in_its_time(2_006, State::Validated, put_off_ms));
    close(&mut world, at_ms - 60_000);

    let mut sent = 0;
    for minute in 0..4 {
        let done = world.run_at(at_ms + minute * 60_000).await;
        assert_eq!((done.set_aside, done.behind_breaker, done.parked), (0, 0, 0), "minute {minute}");
        if minute == 0 {
            assert!((2_001..=2_005).all(|at| !was_sent(&world, at)) && was_sent(&world, 2_006));
        }
        // The others of the shard are nudged beside them now and then.
        let now_sent = (0..500).filter(|at| was_sent(&world, *at)).count();
        assert!((47..=50).contains(&(now_sent - sent)), "{} in minute {minute}", now_sent - sent);
        sent = now_sent;
        // What is sent goes on.
        for at in (0..500).filter(|at| was_sent(&world, *at)).collect::<Vec<_>>() {
            world.take(at);
        }
    }
    assert!(world.cases.lock().unwrap().is_empty());
}
