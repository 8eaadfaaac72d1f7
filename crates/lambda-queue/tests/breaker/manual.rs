//! What operators and a prober apart do to the row.

use std::sync::Arc;

use lambda_queue::Clock;
use lambda_queue::breaker::{DistributedSettings, Event, Manual, Moved, Outcome, Probes, Row, State};
use lambda_queue::memory::{MemoryStore, World};

use super::support::{Breaker, Seen, TABLE, Watched, breaker, breaker_with, fail_until_open, memory, once, row};

fn world() -> (Arc<Watched<MemoryStore>>, World) {
    let world = World::new(13);
    (Watched::new(memory(&world)), world)
}

fn apart(store: &Arc<Watched<MemoryStore>>, world: &World, successes: u32) -> Breaker<MemoryStore> {
    let probes = Probes::Apart { successes };
    breaker_with(store, world, DistributedSettings { probes, ..DistributedSettings::new(TABLE) })
}

fn moved(moved: &Moved) -> Option<&Row> {
    match moved {
        Moved::Moved(row) => Some(row),
        Moved::Unmoved(_) => None,
    }
}

#[tokio::test]
async fn an_act_says_on_the_row_who_did_it_and_why_until_something_automatic_follows() {
    let (store, world) = world();
    let breaker = breaker(&store, &world);
    breaker.open(&Manual::new("maria", "the provider asked for it"), None).await.unwrap();
    let now = row(&store).await;
    assert_eq!((now.who.as_deref(), now.reason.as_deref()), (Some("maria"), Some("the provider asked for it")));
    assert_eq!((now.state, now.forced, now.wait_ms), (State::Open, false, 5_000));
    assert_eq!(now.cause.as_deref(), Some("maria: the provider asked for it"));
    world.advance_ms(5_000);
    once(&breaker, Outcome::Success).await;
    let now = row(&store).await;
    assert_eq!((now.state, now.who, now.reason), (State::HalfOpen, None, None));
}

#[tokio::test]
async fn nothing_automatic_leaves_a_forced_state() {
    let (store, world) = world();
    let breaker = breaker(&store, &world);
    breaker.close(&Manual::forced("ops", "must not open"), None).await.unwrap();
    for _ in 0..100 {
        assert!(once(&breaker, Outcome::Failure).await);
        world.advance_ms(200);
    }
    assert_eq!((row(&store).await.state, row(&store).await.epoch), (State::Closed, 1));
    breaker.open(&Manual::forced("ops", "stop"), None).await.unwrap();
    world.advance_ms(24 * 3_600_000);
    assert!(breaker.permit().await.unwrap_err().forced);
    assert!(moved(&breaker.probe_succeeded(2).await.unwrap()).is_none());
    assert!(moved(&breaker.probe_failed(2).await.unwrap()).is_none());
    breaker.release(&Manual::new("ops", "go on"), None).await.unwrap();
    let now = row(&store).await;
    assert_eq!((now.state, now.forced, now.epoch, now.wait_ms), (State::Open, false, 3, 5_000));
    world.advance_ms(5_000);
    assert!(breaker.permit().await.unwrap().is_probe());
}

#[tokio::test]
async fn an_act_applies_only_to_the_epoch_that_its_caller_saw() {
    let (store, world) = world();
    let (one, other) = (breaker(&store, &world), breaker(&store, &world));
    let manual = Manual::new("ops", "a test");
    assert!(moved(&one.open(&manual, Some(0)).await.unwrap()).is_some());
    let unmoved = other.close(&manual, Some(0)).await.unwrap();
    assert!(matches!(unmoved, Moved::Unmoved(row) if row.epoch == 1));
    assert_eq!(row(&store).await.state, State::Open);
    assert!(moved(&other.close(&manual, None).await.unwrap()).is_some());
}

#[tokio::test]
async fn acts_at_the_same_time_all_apply_one_after_another() {
    let (store, world) = world();
    let acting = (0..4).map(|at| {
        let (store, world) = (store.clone(), world.clone());
        async move {
            let breaker = breaker(&store, &world);
            breaker.open(&Manual::new(format!("ops-{at}"), "all at once"), None).await.unwrap()
        }
    });
    let done = futures::future::join_all(acting).await;
    assert!(done.iter().all(|act| moved(act).is_some()));
    assert_eq!(row(&store).await.epoch, 4);
}

#[tokio::test]
async fn a_round_begun_by_hand_lets_the_usual_number_of_probes_through() {
    let (store, world) = world();
    let breaker = breaker(&store, &world);
    fail_until_open(&breaker, &world).await;
    breaker.probe(&Manual::forced("ops", "try it now"), None).await.unwrap();
    let mut probes = Vec::new();
    while let Ok(pass) = breaker.permit().await {
        probes.push(pass);
    }
    assert_eq!(probes.len(), 3);
    for pass in probes {
        pass.finish(Outcome::Success).await;
    }
    assert_eq!((row(&store).await.state, row(&store).await.forced), (State::Closed, false));
}

#[tokio::test]
async fn with_a_prober_apart_no_call_is_a_probe_and_its_successes_close() {
    let (store, world) = world();
    let breaker = apart(&store, &world, 2);
    fail_until_open(&breaker, &world).await;
    world.advance_ms(100_000);
    let rejected = breaker.permit().await.unwrap_err();
    assert!(rejected.until_ms > world.now_ms());
    let half = breaker.probe_succeeded(1).await.unwrap();
    assert_eq!(moved(&half).map(|row| (row.state, row.epoch, row.probes_ok)), Some((State::HalfOpen, 2, 1)));
    assert!(breaker.permit().await.is_err());
    let closed = breaker.probe_succeeded(2).await.unwrap();
    assert_eq!(moved(&closed).map(|row| (row.state, row.epoch)), Some((State::Closed, 3)));
    assert!(once(&breaker, Outcome::Success).await);
}

#[tokio::test]
async fn a_probe_apart_that_fails_waits_anew_and_longer_but_only_after_its_wait() {
    let (store, world) = world();
    let breaker = apart(&store, &world, 2);
    fail_until_open(&breaker, &world).await;
    assert!(moved(&breaker.probe_failed(1).await.unwrap()).is_none(), "still waiting");
    world.advance_ms(10_000);
    let again = breaker.probe_failed(1).await.unwrap();
    assert_eq!(moved(&again).map(|row| (row.state, row.epoch, row.wait_ms)), Some((State::Open, 2, 10_000)));
    breaker.probe_succeeded(2).await.unwrap();
    let again = breaker.probe_failed(3).await.unwrap();
    assert_eq!(moved(&again).map(|row| (row.state, row.epoch, row.wait_ms)), Some((State::Open, 4, 20_000)));
}

#[tokio::test]
async fn a_late_probe_apart_moves_nothing() {
    let (store, world) = world();
    let (prober, other) = (apart(&store, &world, 1), apart(&store, &world, 1));
    fail_until_open(&prober, &world).await;
    let seen = prober.row().await.unwrap().epoch;
    world.advance_ms(10_000);
    other.probe_failed(seen).await.unwrap();
    let before = row(&store).await;
    world.advance_ms(10_000);
    assert!(moved(&prober.probe_succeeded(seen).await.unwrap()).is_none());
    assert!(moved(&prober.probe_failed(seen).await.unwrap()).is_none());
    assert_eq!(row(&store).await, before);
}

#[tokio::test]
async fn a_row_that_was_deleted_is_a_closed_breaker_again() {
    let (store, world) = world();
    let seen = Seen::default();
    let breaker = breaker(&store, &world).observed(seen.clone());
    breaker.open(&Manual::forced("ops", "stop"), None).await.unwrap();
    let delete = lambda_queue::ports::store::Write::delete(TABLE, Row::key(super::support::DEPENDENCY));
    lambda_queue::ports::Store::write(&store.store, delete).await.unwrap();
    world.advance_ms(1_000);
    assert!(once(&breaker, Outcome::Success).await);
    assert_eq!(seen.count(|event| matches!(event, Event::Changed { to: State::Closed, here: false, .. })), 1);
}

#[tokio::test]
async fn work_of_several_calls_asks_once_and_is_counted_call_by_call() {
    let (store, world) = world();
    let breaker = apart(&store, &world, 1);
    assert!(breaker.check().await.is_ok());
    for _ in 0..20 {
        breaker.begin().finish(Outcome::Failure).await;
        world.advance_ms(100);
    }
    world.advance_ms(1_000);
    breaker.begin().finish(Outcome::Failure).await;
    let opened = row(&store).await;
    assert_eq!(opened.state, State::Open);
    let rejected = breaker.check().await.unwrap_err();
    assert_eq!((rejected.state, rejected.until_ms), (State::Open, world.now_ms() + 5_000));
    // What had begun goes on, and its result is of another epoch.
    breaker.begin().finish(Outcome::Success).await;
    let (reads, writes) = (store.reads(), store.writes());
    for _ in 0..100 {
        assert!(breaker.check().await.is_err());
    }
    assert_eq!((store.reads(), store.writes()), (reads, writes), "a cached row, and nothing to write");
    assert!(moved(&breaker.probe_succeeded(opened.epoch).await.unwrap()).is_some());
    assert!(breaker.check().await.is_ok());
}

#[tokio::test]
async fn a_row_that_is_not_closed_is_looked_at_again_after_a_second_and_a_closed_one_when_the_settings_say() {
    let (store, world) = world();
    let settings = DistributedSettings { probes: Probes::Apart { successes: 1 }, ..DistributedSettings::new(TABLE) };
    let breaker = breaker_with(&store, &world, DistributedSettings { cache_ms: 5_000, ..settings });
    let other = apart(&store, &world, 1);
    let reads_in = async |seconds: u64| {
        let before = store.reads();
        for _ in 0..seconds * 10 {
            world.advance_ms(100);
            breaker.check().await.ok();
        }
        store.reads() - before
    };
    assert_eq!(reads_in(10).await, 2);
    other.open(&Manual::forced("ops", "stop"), None).await.unwrap();
    reads_in(5).await;
    assert!(breaker.check().await.is_err());
    assert_eq!(reads_in(10).await, 10);
}

#[tokio::test]
async fn a_probe_is_claimed_by_one_of_all_who_probe_and_not_again_too_soon() {
    let (store, world) = world();
    let (one, other) = (apart(&store, &world, 1), apart(&store, &world, 1));
    assert!(moved(&one.claim_probe(0, 10_000).await.unwrap()).is_none(), "closed");
    one.open(&Manual::new("ops", "a test"), None).await.unwrap();
    assert!(moved(&one.claim_probe(1, 10_000).await.unwrap()).is_some());
    assert!(moved(&other.claim_probe(1, 10_000).await.unwrap()).is_none());
    world.advance_ms(9_999);
    assert!(moved(&other.claim_probe(1, 10_000).await.unwrap()).is_none());
    world.advance_ms(1);
    assert!(moved(&other.claim_probe(0, 10_000).await.unwrap()).is_none(), "of another epoch");
    assert!(moved(&other.claim_probe(1, 10_000).await.unwrap()).is_some());
    one.open(&Manual::forced("ops", "stop"), None).await.unwrap();
    world.advance_ms(10_000);
    assert!(moved(&one.claim_probe(2, 10_000).await.unwrap()).is_none(), "forced");
}

#[tokio::test]
async fn a_claim_whose_answer_is_lost_is_known_again() {
    use super::support::Fate;
    let (store, world) = world();
    let breaker = apart(&store, &world, 1);
    breaker.open(&Manual::new("ops", "a test"), None).await.unwrap();
    let next = store.writes();
    store.plan(move |nth| if nth == next { Fate::Lost } else { Fate::Fine });
    assert!(moved(&breaker.claim_probe(1, 10_000).await.unwrap()).is_some());
    assert!(moved(&breaker.claim_probe(1, 10_000).await.unwrap()).is_none());
}

#[tokio::test]
async fn acts_by_hand_stay_on_the_row_the_last_ten_of_them_whatever_follows() {
    let (store, world) = world();
    let breaker = apart(&store, &world, 1);
    for nth in 0..14 {
        breaker.open(&Manual::new(format!("ops-{nth}"), "a test"), None).await.unwrap();
    }
    let last = row(&store).await.epoch;
    assert!(moved(&breaker.probe_succeeded(last).await.unwrap()).is_some());
    let now = row(&store).await;
    assert_eq!((now.state, now.who.as_deref()), (State::Closed, None));
    assert_eq!(now.acts.keys().copied().collect::<Vec<u64>>(), (5..=14).collect::<Vec<u64>>());
    let act: serde_json::Value = serde_json::from_str(&now.acts[&14]).unwrap();
    assert_eq!(
        act,
        serde_json::json!({
            "at_ms": world.now_ms(), "who": "ops-13", "reason": "a test", "state": "open", "forced": false
        })
    );
}

#[tokio::test]
async fn an_outage_after_a_busy_time_opens_as_soon_as_after_a_quiet_one() {
    let (store, world) = world();
    let breaker = apart(&store, &world, 1);
    for nth in 0..500 {
        // One in a hundred fails anyway, so this process tells of all its calls.
        breaker.begin().finish(if nth % 100 == 0 { Outcome::Failure } else { Outcome::Success }).await;
        world.advance_ms(50);
    }
    assert_eq!(row(&store).await.state, State::Closed);
    let gone_ms = world.now_ms();
    while row(&store).await.state == State::Closed {
        breaker.begin().finish(Outcome::Failure).await;
        world.advance_ms(200);
        assert!(world.now_ms() - gone_ms < 10_000, "20 calls take four seconds, and a bucket five");
    }
    let cause = row(&store).await.cause.unwrap();
    assert!(cause.ends_with("calls failed"), "{cause}");
}
