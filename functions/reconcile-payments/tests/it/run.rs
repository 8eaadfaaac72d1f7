//! Runs: what they look at, what they open, where they go on.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use order::{Order, Parked, State};
use ports::{PaymentStatus, PaymentView, ProviderError, RefundView, StoreError};
use reconcile_payments::{Ask, Kind, Reconciled, Seen, reconcile};
use serde_json::json;

use crate::story::{Story, usd};
use crate::world::{NOW_MS, World};

const PLENTY_MS: u64 = 900_000;

fn two_days() -> Ask {
    Ask::of(&json!({})).unwrap()
}

async fn run(world: &World) -> Reconciled {
    use lambda_queue::Clock as _;
    reconcile(world, &world.ledger, &two_days(), world.now_ms() + PLENTY_MS).await.unwrap()
}

fn by_hand(refund_id: &str, amount_minor: u64) -> RefundView {
    RefundView { refund_id: refund_id.to_owned(), ordinal: None, amount_minor, failed: false }
}

fn hold(story: &Story, payment_id: &str) -> Seen {
    let view = PaymentView { status: PaymentStatus::Held, amount: usd(500), captured_minor: 0, refunds: Vec::new() };
    Seen { order_id: story.row.order_id, payment_id: payment_id.parse().unwrap(), view }
}

fn only(kind: Kind) -> BTreeMap<&'static str, u64> {
    BTreeMap::from([(kind.name(), 1)])
}

#[tokio::test(start_paused = true)]
async fn orders_that_went_well_make_no_case_and_are_not_read_twice() {
    let world = World::new();
    world.put(&Story::shipped("one"), 20);
    world.put(&Story::refunded("two", 700), 20);
    let done = run(&world).await;
    assert_eq!((done.counts.payments, done.counts.refunds, done.counts.reconciled), (2, 1, 3));
    assert_eq!((done.differences, done.walks, done.unfinished), (BTreeMap::new(), 1, None));
    assert_eq!(world.cases(), []);
    assert_eq!(world.ledger.reads.load(Ordering::Relaxed), 0, "the list says enough");
}

#[tokio::test(start_paused = true)]
async fn a_difference_is_one_case_however_many_runs_and_lists_find_it() {
    let world = World::new();
    let mut story = Story::shipped("one");
    // In the list of payments by its sum, in that of refunds by itself.
    story.payment.as_mut().unwrap().view.refunds.push(by_hand("re_hand", 7));
    world.put(&story, 20);
    let done = run(&world).await;
    assert_eq!((done.differences, done.opened), (only(Kind::RefundNotOnRow), 1));
    let again = run(&world).await;
    assert_eq!((again.differences, again.opened), (only(Kind::RefundNotOnRow), 0));
    let [case] = &world.cases()[..] else { panic!("{:?}", world.cases()) };
    assert_eq!(case.digest, "0.07 USD went back, and the row has no receipt of it");
    assert_eq!((case.row_version, case.opened_at_ms), (story.row.version, NOW_MS));
}

#[tokio::test(start_paused = true)]
async fn what_a_person_has_decided_stays_decided_until_the_difference_is_another() {
    let world = World::new();
    let mut story = Story::shipped("one");
    story.payment.as_mut().unwrap().view.refunds.push(by_hand("re_hand", 7));
    world.put(&story, 20);
    run(&world).await;
    world.decide_all();
    let done = run(&world).await;
    assert_eq!((done.differences.values().sum::<u64>(), done.decided, done.opened), (0, 1, 0));
    world.ledger.payments.lock().unwrap()[0].3.refunds[0].amount_minor = 8;
    let done = run(&world).await;
    assert_eq!((done.differences, done.decided, done.opened), (only(Kind::RefundNotOnRow), 0, 1));
    assert_eq!(world.cases().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_open_difference_counts_until_a_person_has_decided_also_once_no_run_finds_it_any_more() {
    let world = World::new();
    let mut story = Story::shipped("one");
    story.payment.as_mut().unwrap().view.refunds.push(by_hand("re_hand", 7));
    world.put(&story, 20);
    assert_eq!(run(&world).await.open, Some(1));
    // The refund is gone from the ledger: out of the window, or put right without a word.
    world.ledger.payments.lock().unwrap()[0].3.refunds.clear();
    world.ledger.refunds.lock().unwrap().clear();
    let done = run(&world).await;
    assert_eq!((done.differences, done.open), (BTreeMap::new(), Some(1)));
    world.decide_all();
    assert_eq!(run(&world).await.open, Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_count_that_fails_is_told_as_unknown_and_fails_no_comparison() {
    let world = World::new();
    world.put(&Story::shipped("one"), 20);
    *world.uncounted.lock().unwrap() = Some(StoreError::NotDone("throttled".to_owned()));
    let done = run(&world).await;
    assert_eq!((done.open, done.walks, done.counts.reconciled), (None, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn where_the_count_fails_what_this_run_found_is_told_so_that_the_alarm_is_not_silent() {
    let world = World::new();
    let mut story = Story::shipped("one");
    story.payment.as_mut().unwrap().view.refunds.push(by_hand("re_hand", 7));
    world.put(&story, 20);
    *world.uncounted.lock().unwrap() = Some(StoreError::NotDone("throttled".to_owned()));
    for opened in [1, 0] {
        let done = run(&world).await;
        assert_eq!((done.open, done.opened), (Some(1), opened), "also of a case that is known");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refund_of_a_payment_that_is_older_than_the_window_is_found_by_the_list_of_refunds() {
    let world = World::new();
    let mut story = Story::shipped("one");
    story.payment.as_mut().unwrap().view.refunds.push(by_hand("re_hand", 7));
    world.put(&story, 24 * 15);
    let done = run(&world).await;
    assert_eq!((done.counts.payments, done.counts.refunds), (0, 1));
    assert_eq!(done.differences, only(Kind::RefundNotOnRow));
}

#[tokio::test(start_paused = true)]
async fn a_refund_that_failed_after_it_was_accepted_is_found() {
    let world = World::new();
    let mut story = Story::refunded("one", 700);
    story.payment.as_mut().unwrap().view.refunds[0].failed = true;
    world.put(&story, 24 * 15);
    assert_eq!(run(&world).await.differences, only(Kind::RefundFailed));
}

#[tokio::test(start_paused = true)]
async fn a_hold_beside_the_orders_own_and_a_capture_of_nobody_are_found_and_strangers_are_counted() {
    let world = World::new();
    let story = Story::shipped("one");
    world.put(&story, 20);
    world.pay(&hold(&story, "pi_orphan"), 19);
    let nobody = Story::shipped("nobody");
    world.pay(nobody.payment.as_ref().unwrap(), 18);
    let stranger = (NOW_MS - 3_600_000, None, "pi_stranger".parse().unwrap(), nobody.payment.unwrap().view);
    world.ledger.payments.lock().unwrap().push(stranger);
    let done = run(&world).await;
    let both = BTreeMap::from([(Kind::OrphanedHold.name(), 1), (Kind::CapturedForNoOrder.name(), 1)]);
    assert_eq!((done.differences, done.counts.payments, done.counts.foreign), (both, 4, 1));
}

#[tokio::test(start_paused = true)]
async fn what_something_is_at_work_on_or_was_a_moment_ago_is_left_until_it_rests() {
    // Captured at the provider, and the row has not heard of it yet.
    let story = Story::shipped("one");
    let reserved = Order { state: State::Reserved, capture: None, shipment: None, ..story.row.clone() };
    let parked = Parked { case_id: "c-1".parse().unwrap(), reason: "stuck".to_owned(), at_ms: 0, abandoned: false };
    let parked = Order { parked: Some(parked), ..reserved.clone() };
    let mut young = parked.clone();
    young.timeline.last_mut().unwrap().at_ms = NOW_MS - 14 * 60_000;
    for (row, at_work, found) in [
        (&reserved, true, false),
        (&reserved, false, true),
        // What it has in doubt is a person's to see.
        (&parked, true, true),
        (&young, false, false),
    ] {
        let world = World::new();
        world.put(&Story { row: row.clone(), ..story.clone() }, 20);
        if at_work {
            world.is_at_work(row.order_id);
        }
        let done = run(&world).await;
        assert_eq!(done.differences == only(Kind::CaptureNotOnRow), found, "{:?} {at_work}: {done:?}", row.parked);
        assert_eq!(done.counts.unsettled, u64::from(!found));
        assert_eq!(world.cases().len(), usize::from(found));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_younger_than_the_grace_is_on_no_page() {
    let world = World::new();
    let story = Story::shipped("one");
    world.pay(&hold(&story, "pi_young"), 0);
    assert_eq!(run(&world).await.counts.payments, 0);
    let ask = Ask::of(&json!({ "grace_minutes": 0, "window_hours": 1 })).unwrap();
    world.clock_ms.fetch_add(1_000, Ordering::Relaxed);
    let done = reconcile(&world, &world.ledger, &ask, NOW_MS + PLENTY_MS).await.unwrap();
    assert_eq!(done.differences, only(Kind::OrphanedHold));
}

#[tokio::test(start_paused = true)]
async fn one_orders_trouble_is_that_orders() {
    let world = World::new();
    let (one, other) = (Story::shipped("one"), Story::shipped("two"));
    world.put(&one, 20);
    world.put(&other, 19);
    world.pay(&hold(&other, "pi_orphan"), 18);
    world.unreadable.lock().unwrap().insert(one.row.order_id);
    let done = run(&world).await;
    assert_eq!((done.counts.left, done.unfinished), (1, None));
    assert_eq!(done.differences, only(Kind::OrphanedHold));
}

/// Many orders, each a page of its own.
fn many(orders: u64) -> World {
    let mut world = World::new();
    world.ledger.page = 1;
    for at in 0..orders {
        let story = Story::shipped(&format!("order {at}"));
        world.put(&story, 1 + at);
        world.pay(&hold(&story, &format!("pi_orphan_{at}")), 1 + at);
    }
    world
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_out_of_time_is_gone_on_with_and_nothing_is_left_out() {
    let mut world = many(10);
    world.ledger.page_ms = 100_000;
    let first = run(&world).await;
    assert_eq!(first.unfinished.as_deref(), Some("out of time"));
    let pages = first.counts.payments;
    assert!((5..15).contains(&pages), "{first:?}");
    let second = run(&world).await;
    // Not from the beginning: the rest of the 20, and no case of the first is found again.
    assert_eq!(second.counts.payments, pages.min(20 - pages), "{second:?}");
    let mut runs = 2;
    while world.cases().len() < 10 {
        run(&world).await;
        runs += 1;
        assert!(runs < 10);
    }
    // In the end a walk is through, and the place is gone with it.
    world.ledger.page_ms = 0;
    let last = run(&world).await;
    assert_eq!((last.unfinished, last.opened), (None, 0));
    assert!(world.places.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_run_that_finishes_an_old_walk_begins_a_new_one() {
    let mut world = many(3);
    world.ledger.page_ms = 400_000;
    assert!(run(&world).await.unfinished.is_some());
    world.ledger.page_ms = 0;
    // What came meanwhile is not in the old walk.
    let story = Story::shipped("late");
    world.put(&story, 1);
    let done = run(&world).await;
    assert_eq!((done.walks, done.unfinished), (2, None));
    assert_eq!(done.counts.payments, 3 + 7, "the rest of six, then all seven");
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_away_ends_the_run_and_the_next_one_makes_it_good() {
    let world = many(3);
    let away = || ProviderError::Unknown { why: "no answer in time".to_owned() };
    // Twice is borne.
    *world.ledger.failures.lock().unwrap() = vec![away(), away()];
    assert_eq!(run(&world).await.unfinished, None);
    *world.ledger.failures.lock().unwrap() = vec![away(), away(), away()];
    let done = run(&world).await;
    assert!(done.unfinished.is_some_and(|why| why.contains("no answer in time")));
    assert_eq!(done.counts.payments, 0);
    assert_eq!(run(&world).await.unfinished, None);
}

#[tokio::test(start_paused = true)]
async fn a_place_that_the_provider_does_not_know_any_more_is_forgotten() {
    let mut world = many(3);
    world.ledger.page_ms = 400_000;
    run(&world).await;
    world.ledger.page_ms = 0;
    world.places.lock().unwrap().values_mut().for_each(|place| *place = place.replace("\"pi_", "\"pi_gone_"));
    assert!(run(&world).await.unfinished.is_some_and(|why| why.contains("refuses")));
    assert!(!world.places.lock().unwrap().is_empty(), "no place is kept for a walk that has ended: this one has not");
    assert_eq!(run(&world).await.unfinished, None);
    // One that no program wrote is none.
    world.places.lock().unwrap().insert("reconcile-48h".to_owned(), "?".to_owned());
    assert_eq!(run(&world).await.walks, 1);
}

#[tokio::test(start_paused = true)]
async fn a_look_at_one_order_takes_no_other_and_keeps_no_place() {
    let world = many(3);
    let only = Story::shipped("order 1").row.order_id;
    let ask = Ask::of(&json!({ "orders": [only] })).unwrap();
    let done = reconcile(&world, &world.ledger, &ask, NOW_MS + PLENTY_MS).await.unwrap();
    assert_eq!((done.counts.payments, done.counts.reconciled, done.opened), (6, 2, 1));
    assert_eq!(world.cases()[0].order_id, only.to_string());
    assert!(world.places.lock().unwrap().is_empty());
}
