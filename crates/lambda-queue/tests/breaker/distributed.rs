//! Many processes' breaker, on tables in memory.

use std::sync::Arc;
use std::time::Duration;

use lambda_queue::breaker::{
    BUCKET_MS, Cancelled, Counts, DistributedBreaker, DistributedSettings, Event, FailureRules, Manual, Outcome,
    Probes, State, Thresholds, Wait,
};
use lambda_queue::memory::{Fault, World};
use lambda_queue::ports::Store;
use lambda_queue::ports::store::{Write, text};
use lambda_queue::{Clock, Failure};

use super::scenarios;
use super::support::{
    Breaker, DEPENDENCY, Fate, Seen, TABLE, Watched, breaker, breaker_with, fail_until_open, memory, once, row,
};

type Memory = Watched<lambda_queue::memory::MemoryStore>;

fn world() -> (Arc<Memory>, World) {
    let world = World::new(7);
    (Watched::new(memory(&world)), world)
}

macro_rules! on_memory {
    ($($scenario:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $scenario() {
                let (store, world) = world();
                scenarios::$scenario(store, world).await;
            }
        )*
    };
}

on_memory!(
    fifty_processes_that_meet_an_elapsed_breaker_make_exactly_k_probes,
    a_burst_of_failures_over_ten_processes_opens_once,
    a_healthy_run_writes_nothing_and_reads_once_a_cache_interval,
    a_stale_process_cannot_close_a_breaker_opened_later,
    a_dependency_that_comes_back_closes_the_breaker_for_all,
);

async fn opened(store: &Arc<Memory>, world: &World) -> Breaker<lambda_queue::memory::MemoryStore> {
    let breaker = breaker(store, world);
    fail_until_open(&breaker, world).await;
    breaker
}

#[tokio::test]
async fn concurrent_calls_of_one_process_share_one_read() {
    let (store, world) = world();
    let breaker = breaker(&store, &world);
    let passes = futures::future::join_all((0..20).map(|_| breaker.permit())).await;
    assert!(passes.iter().all(Result::is_ok));
    assert_eq!(store.reads(), 1);
}

#[tokio::test]
async fn a_process_that_meets_trouble_writes_at_most_once_a_second() {
    let (store, world) = world();
    let breaker = breaker(&store, &world);
    for _ in 0..100 {
        // 30 % of failures: it stays closed
        for at in 0..10 {
            let outcome = if at < 3 { Outcome::Failure } else { Outcome::Success };
            assert!(once(&breaker, outcome).await);
        }
        world.advance_ms(100);
    }
    assert_eq!(store.writes(), 10, "ten seconds");
}

#[tokio::test]
async fn every_call_since_the_last_write_is_on_the_row_in_its_own_bucket() {
    let (store, world) = world();
    let start_ms = world.now_ms() / BUCKET_MS * BUCKET_MS;
    world.set_ms(start_ms);
    let breaker = breaker(&store, &world);
    let settings = DistributedSettings::new(TABLE);
    for _ in 0..7 {
        once(&breaker, Outcome::Success).await;
    }
    let pass = breaker.permit().await.unwrap();
    world.advance_ms(settings.thresholds.slow_call_ms + 1);
    // Slow: trouble, so the seven of the bucket before leave too.
    pass.finish(Outcome::Success).await;
    once(&breaker, Outcome::Ignored).await;
    world.advance_ms(1_000);
    once(&breaker, Outcome::Failure).await;
    let slot = start_ms / BUCKET_MS;
    let now = row(&store).await;
    assert_eq!(now.buckets[&(0, slot)], Counts { calls: 7, failures: 0, slow: 0 });
    assert_eq!(now.buckets[&(0, slot + 1)], Counts { calls: 2, failures: 1, slow: 1 });
    assert_eq!(now.counts(world.now_ms()), Counts { calls: 9, failures: 1, slow: 1 });
    assert_eq!(now.counts(world.now_ms() + 25_000), Counts { calls: 2, failures: 1, slow: 1 });
    assert_eq!(now.counts(world.now_ms() + 30_000), Counts::default());
}

#[tokio::test]
async fn what_was_counted_long_ago_does_not_drown_the_present() {
    let (store, world) = world();
    let breaker = breaker(&store, &world);
    for _ in 0..10_000 {
        once(&breaker, Outcome::Success).await;
    }
    world.advance_ms(35_000);
    assert!(fail_until_open(&breaker, &world).await <= 5);
}

#[tokio::test]
async fn slow_calls_open_it() {
    let (store, world) = world();
    let thresholds = Thresholds { slow_call_ms: 100, ..Thresholds::default() };
    let breaker = breaker_with(&store, &world, DistributedSettings { thresholds, ..DistributedSettings::new(TABLE) });
    let mut calls = 0;
    while let Ok(pass) = breaker.permit().await {
        world.advance_ms(101);
        pass.finish(Outcome::Success).await;
        calls += 1;
        assert!(calls < 100);
    }
    assert!(calls >= 20);
    assert_eq!(row(&store).await.cause.unwrap(), format!("100 % of {calls} calls failed"));
}

#[tokio::test]
async fn below_the_minimum_and_below_the_rate_it_stays_closed() {
    for (good, failed, state) in
        [(0, 19, State::Closed), (0, 20, State::Open), (21, 20, State::Closed), (20, 20, State::Open)]
    {
        let (store, world) = world();
        let breaker = breaker(&store, &world);
        for _ in 0..good {
            once(&breaker, Outcome::Success).await;
        }
        // All in one second but the last, which brings them to the row.
        for at in 0..failed {
            if at + 1 == failed {
                world.advance_ms(1_000);
            }
            once(&breaker, Outcome::Failure).await;
        }
        assert_eq!(row(&store).await.state, state, "{good} good, {failed} failed");
    }
}

#[tokio::test]
async fn passed_buckets_are_removed_by_the_next_write_whoever_wrote_them() {
    let (store, world) = world();
    for _ in 0..100 {
        // A new process each time, as a Lambda that is cold each time.
        once(&breaker(&store, &world), Outcome::Failure).await;
        world.advance_ms(20_000);
    }
    let now = row(&store).await;
    assert!(now.buckets.len() <= 6, "{:?}", now.buckets);
    let item = store.store.items(TABLE).remove(0);
    assert!(item.len() < 40, "{} attributes", item.len());
}

#[tokio::test]
async fn counts_of_an_earlier_epoch_are_void() {
    let (store, world) = world();
    let (late, operator) = (breaker(&store, &world), breaker(&store, &world));
    let mut passes = Vec::new();
    for _ in 0..30 {
        passes.push(late.permit().await.unwrap());
    }
    operator.close(&Manual::new("ops", "a new epoch"), None).await.unwrap();
    for pass in passes {
        world.advance_ms(100);
        pass.finish(Outcome::Failure).await;
    }
    let now = row(&store).await;
    assert_eq!((now.state, now.epoch, now.buckets.len()), (State::Closed, 1, 0));
}

#[tokio::test]
async fn it_fails_open_if_the_row_cannot_be_read_and_asks_once_an_interval() {
    let (store, world) = world();
    let seen = Seen::default();
    let breaker = breaker(&store, &world).observed(seen.clone());
    store.break_reads(true);
    for _ in 0..20 {
        assert!(once(&breaker, Outcome::Success).await);
        world.advance_ms(100);
    }
    assert_eq!(store.reads(), 2);
    assert_eq!(seen.count(|event| matches!(event, Event::FailedOpen { .. })), 2);
}

#[tokio::test]
async fn a_row_that_nobody_can_understand_is_one_that_cannot_be_read() {
    let (store, world) = world();
    let seen = Seen::default();
    let breaker = breaker(&store, &world).observed(seen.clone());
    let item = [("dependency".to_owned(), text(DEPENDENCY)), ("state".to_owned(), text("ajar"))];
    store.store.write(Write::put(TABLE, item.into())).await.unwrap();
    assert!(once(&breaker, Outcome::Success).await);
    let why = format!("a stored item is unreadable: breaker {DEPENDENCY}: state");
    assert!(seen.take().contains(&Event::FailedOpen { why }));
}

#[tokio::test(start_paused = true)]
async fn a_table_that_does_not_answer_holds_a_call_up_for_its_patience_only() {
    let world = World::with_tokio(7);
    let store = Watched::new(memory(&world));
    let breaker = breaker_with(&store, &world, DistributedSettings::new(TABLE));
    store.store.set_faults(|_| Fault::Slow(Duration::from_secs(3_600)));
    let before_ms = world.now_ms();
    assert!(once(&breaker, Outcome::Success).await);
    assert_eq!(world.now_ms() - before_ms, 1_000);
}

#[tokio::test]
async fn what_is_known_to_be_open_stays_so_for_its_wait_and_forced_for_good_although_unreadable() {
    let (store, world) = world();
    let breaker = opened(&store, &world).await;
    store.break_reads(true);
    world.advance_ms(4_000);
    assert!(breaker.permit().await.is_err());
    world.advance_ms(1_500);
    assert!(!breaker.permit().await.unwrap().is_probe(), "nothing known speaks against it");
    store.break_reads(false);
    world.advance_ms(1_000);
    breaker.open(&Manual::forced("ops", "stop"), None).await.unwrap();
    store.break_reads(true);
    world.advance_ms(24 * 3_600_000);
    let rejected = breaker.permit().await.unwrap_err();
    assert_eq!((rejected.forced, rejected.until_ms), (true, world.now_ms() + 60_000));
}

#[tokio::test]
async fn an_open_breaker_defers_a_handler_without_polling_it() {
    let (store, world) = world();
    let breaker = opened(&store, &world).await;
    let until_ms = row(&store).await.probes_from_ms();
    let failure = breaker.guard::<()>(&FailureRules::default(), async { panic!("polled") }).await.unwrap_err();
    assert_eq!(failure, Failure::Defer { until_ms, why: "the breaker of payments is open".to_owned() });
}

#[tokio::test]
async fn a_cancelled_probe_leaves_its_slot_to_the_next_call_without_a_write() {
    let (store, world) = world();
    let breaker = opened(&store, &world).await;
    world.advance_ms(5_000);
    drop(breaker.permit().await.unwrap());
    let writes = store.writes();
    for _ in 0..5 {
        let pass = breaker.permit().await.unwrap();
        assert!(pass.is_probe());
        drop(pass);
    }
    assert_eq!(store.writes(), writes);
    breaker.permit().await.unwrap().finish(Outcome::Ignored).await;
    let now = row(&store).await;
    assert_eq!((now.probes_left, now.probes_taken().count(), now.epoch), (3, 0, 2), "ignored, it is given back");
}

#[tokio::test]
async fn a_cancelled_probe_that_counts_as_failed_opens_again_at_the_next_call() {
    let (store, world) = world();
    let settings = DistributedSettings { cancelled: Cancelled::Fail, ..DistributedSettings::new(TABLE) };
    let breaker = breaker_with(&store, &world, settings);
    fail_until_open(&breaker, &world).await;
    world.advance_ms(5_000);
    drop(breaker.permit().await.unwrap());
    assert!(breaker.permit().await.is_err());
    let now = row(&store).await;
    assert_eq!((now.state, now.epoch, now.wait_ms), (State::Open, 3, 10_000));
}

#[tokio::test]
async fn a_cancelled_call_counts_as_its_setting_says() {
    for (cancelled, failures) in [(Cancelled::Ignore, 0), (Cancelled::Fail, 3), (Cancelled::FailIfSlow, 0)] {
        let (store, world) = world();
        let settings = DistributedSettings { cancelled, ..DistributedSettings::new(TABLE) };
        let breaker = breaker_with(&store, &world, settings);
        for _ in 0..3 {
            drop(breaker.permit().await.unwrap());
        }
        world.advance_ms(1_000);
        once(&breaker, Outcome::Failure).await;
        let counts = row(&store).await.counts(world.now_ms());
        assert_eq!((counts.calls, counts.failures), (failures + 1, failures + 1), "{cancelled:?}");
    }
}

#[tokio::test]
async fn a_prober_whose_slot_was_taken_over_changes_nothing() {
    for late in [Outcome::Success, Outcome::Failure, Outcome::Ignored] {
        let (store, world) = world();
        let probes = Probes::WithCalls { per_round: 1, lease_ms: 10_000 };
        let settings = DistributedSettings { probes, ..DistributedSettings::new(TABLE) };
        let (slow, quick) = (breaker_with(&store, &world, settings.clone()), breaker_with(&store, &world, settings));
        fail_until_open(&slow, &world).await;
        world.advance_ms(5_000);
        let pass = slow.permit().await.unwrap();
        world.advance_ms(10_000);
        let heir = quick.permit().await.unwrap();
        pass.finish(late).await;
        let now = row(&store).await;
        assert_eq!((now.state, now.epoch, now.probes_ok), (State::HalfOpen, 2, 0), "{late:?}");
        assert_eq!((now.probes_left, now.probes_taken().count()), (0, 1), "{late:?}");
        heir.finish(Outcome::Success).await;
        assert_eq!(row(&store).await.state, State::Closed);
    }
}

#[tokio::test]
async fn leases_of_an_earlier_round_are_no_slots_of_the_next() {
    let (store, world) = world();
    let (first, second) = (opened(&store, &world).await, breaker(&store, &world));
    world.advance_ms(5_000);
    let failing = first.permit().await.unwrap();
    // The first does not know of this one when it opens again.
    let dead = second.permit().await.unwrap();
    failing.finish(Outcome::Failure).await;
    std::mem::forget(dead);
    world.advance_ms(100_000);
    let mut probes = Vec::new();
    while let Ok(pass) = first.permit().await {
        probes.push(pass);
    }
    assert_eq!(probes.len(), 3);
}

#[tokio::test]
async fn a_round_whose_last_prober_died_before_it_closed_the_breaker_is_closed_by_the_next_call() {
    let (store, world) = world();
    let breaker = opened(&store, &world).await;
    world.advance_ms(5_000);
    let mut probes = Vec::new();
    for _ in 0..3 {
        probes.push(breaker.permit().await.unwrap());
    }
    // Three counts arrive, the close does not.
    let counted = store.writes() + 3;
    store.plan(move |nth| if nth < counted { Fate::Fine } else { Fate::Vanished });
    for probe in probes {
        probe.finish(Outcome::Success).await;
    }
    assert_eq!(row(&store).await.state, State::HalfOpen);
    store.plan(|_| Fate::Fine);
    let pass = breaker.permit().await.unwrap();
    assert!(!pass.is_probe());
    assert_eq!(row(&store).await.state, State::Closed);
}

#[tokio::test]
async fn a_time_of_opening_that_no_wait_explains_is_a_broken_clocks() {
    let (store, world) = world();
    let ahead = World::new(8);
    ahead.set_ms(world.now_ms() + 3_600_000);
    let broken = DistributedBreaker::new(DEPENDENCY, DistributedSettings::new(TABLE), store.clone(), Arc::new(ahead));
    broken.unwrap().open(&Manual::new("ops", "an hour ahead"), None).await.unwrap();
    assert!(breaker(&store, &world).permit().await.unwrap().is_probe());
}

#[tokio::test]
async fn a_round_that_somebody_apart_began_and_left_begins_anew_with_calls() {
    let (store, world) = world();
    let probes = Probes::Apart { successes: 2 };
    let apart = breaker_with(&store, &world, DistributedSettings { probes, ..DistributedSettings::new(TABLE) });
    fail_until_open(&apart, &world).await;
    apart.probe_succeeded(1).await.unwrap();
    let calls = breaker(&store, &world);
    assert!(calls.permit().await.is_err());
    world.advance_ms(60_000);
    assert!(calls.permit().await.unwrap().is_probe());
    assert_eq!(row(&store).await.epoch, 3);
}

#[tokio::test]
async fn a_half_open_row_that_does_not_say_how_many_probes_it_takes_closes_nothing() {
    let (store, world) = world();
    let item = [("dependency".to_owned(), text(DEPENDENCY)), ("state".to_owned(), text("half_open"))];
    store.store.write(Write::put(TABLE, item.into())).await.unwrap();
    // Nobody is at it, and nobody knows since when: a round begins.
    assert!(breaker(&store, &world).permit().await.unwrap().is_probe());
}

#[tokio::test]
async fn a_probe_is_not_slow_because_the_table_was() {
    let (store, world) = world();
    let breaker = opened(&store, &world).await;
    world.advance_ms(5_000);
    let slow = world.clone();
    // The table takes as long as a slow call to give the slot.
    store.plan(move |_| {
        slow.advance_ms(6_000);
        Fate::Fine
    });
    let pass = breaker.permit().await.unwrap();
    store.plan(|_| Fate::Fine);
    pass.finish(Outcome::Success).await;
    let now = row(&store).await;
    assert_eq!((now.state, now.probes_ok), (State::HalfOpen, 1));
}

#[tokio::test]
async fn while_others_probe_a_call_stays_away_for_seconds_not_for_the_lease() {
    let (store, world) = world();
    let (prober, other) = (opened(&store, &world).await, breaker(&store, &world));
    world.advance_ms(5_000);
    let mut probes = Vec::new();
    for _ in 0..3 {
        probes.push(prober.permit().await.unwrap());
    }
    assert_eq!(other.permit().await.unwrap_err().until_ms, world.now_ms() + 5_000);
    world.advance_ms(58_000);
    assert_eq!(other.permit().await.unwrap_err().until_ms, world.now_ms() + 2_000, "then a lease ends");
}

#[tokio::test]
async fn a_breaker_that_can_be_read_but_not_written_probes_with_nobody() {
    let (store, world) = world();
    let seen = Seen::default();
    let breaker = opened(&store, &world).await.observed(seen.clone());
    world.advance_ms(5_000);
    store.plan(|_| Fate::Vanished);
    let rejected = breaker.permit().await.unwrap_err();
    assert_eq!(rejected.until_ms, world.now_ms() + 5_000);
    assert_eq!(seen.count(|event| matches!(event, Event::StoreFailed { what: "begin probes", .. })), 1);
}

#[test]
fn settings_that_no_breaker_can_follow_are_refused() {
    let usual = || DistributedSettings::new(TABLE);
    let calls = |per_round, lease_ms| Probes::WithCalls { per_round, lease_ms };
    for wrong in [
        DistributedSettings { probes: calls(0, 1), ..usual() },
        DistributedSettings { probes: calls(21, 1), ..usual() },
        DistributedSettings { probes: calls(1, 0), ..usual() },
        DistributedSettings { probes: Probes::Apart { successes: 0 }, ..usual() },
        DistributedSettings { store_timeout_ms: 0, ..usual() },
        DistributedSettings { wait: Wait { first_ms: 0, ..Wait::default() }, ..usual() },
        DistributedSettings { thresholds: Thresholds { minimum_calls: 0, ..Thresholds::default() }, ..usual() },
    ] {
        let (store, world) = world();
        assert!(DistributedBreaker::new(DEPENDENCY, wrong.clone(), store, Arc::new(world)).is_err(), "{wrong:?}");
    }
}
