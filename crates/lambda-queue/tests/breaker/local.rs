//! One process's breaker.

use std::sync::Arc;
use std::time::Duration;

use lambda_queue::breaker::{
    CallError, Cancelled, Cause, Event, FailureRules, Judge, LocalBreaker, LocalSettings, Manual, Outcome, Rejected,
    Rules, State, Thresholds, Wait, Window,
};
use lambda_queue::memory::World;
use lambda_queue::{Clock, Failure};

use super::support::Seen;

fn settings() -> LocalSettings {
    LocalSettings { window: Window::Calls(20), ..LocalSettings::default() }
}

fn local(settings: LocalSettings) -> (LocalBreaker<World>, World, Seen) {
    let (world, seen) = (World::new(1), Seen::default());
    let breaker = LocalBreaker::new("payments", settings, Arc::new(world.clone())).unwrap();
    (breaker.observed(seen.clone()), world, seen)
}

fn end(breaker: &LocalBreaker<World>, outcome: Outcome, times: u32) {
    for _ in 0..times {
        breaker.permit().unwrap().finish(outcome);
    }
}

fn slow(breaker: &LocalBreaker<World>, world: &World, times: u32) {
    for _ in 0..times {
        let permit = breaker.permit().unwrap();
        world.advance_ms(5_001);
        permit.finish(Outcome::Success);
    }
}

fn by_hand() -> Manual {
    Manual::new("ops", "a test")
}

/// Open, and its first wait over.
fn elapsed(settings: LocalSettings) -> (LocalBreaker<World>, World, Seen) {
    let (breaker, world, seen) = local(settings);
    breaker.open(by_hand());
    world.advance_ms(5_000);
    seen.take();
    (breaker, world, seen)
}

#[test]
fn opens_at_a_threshold_and_never_below_the_minimum_of_calls() {
    // good, slow, failed calls, in this order; the state after
    for (good, slow_ones, failed, state) in [
        (0, 0, 19, State::Closed),
        (0, 0, 20, State::Open),
        (10, 0, 10, State::Open),
        (11, 0, 9, State::Closed),
        (10, 5, 5, State::Open),
        (10, 10, 0, State::Open),
        (11, 9, 0, State::Closed),
        (20, 0, 0, State::Closed),
    ] {
        let (breaker, world, _) = local(settings());
        end(&breaker, Outcome::Success, good);
        slow(&breaker, &world, slow_ones);
        end(&breaker, Outcome::Failure, failed);
        assert_eq!(breaker.state(), state, "{good} good, {slow_ones} slow, {failed} failed");
    }
}

#[test]
fn slow_calls_have_a_rate_of_their_own_where_they_are_no_failures() {
    let thresholds = Thresholds { slow_counts_as_failure: false, slow_rate_percent: 60, ..Thresholds::default() };
    for (good, slow_ones, failed, state) in
        [(5, 6, 9, State::Closed), (9, 11, 0, State::Closed), (8, 12, 0, State::Open), (4, 6, 10, State::Open)]
    {
        let (breaker, world, _) = local(LocalSettings { thresholds, ..settings() });
        end(&breaker, Outcome::Success, good);
        slow(&breaker, &world, slow_ones);
        end(&breaker, Outcome::Failure, failed);
        assert_eq!(breaker.state(), state, "{good} good, {slow_ones} slow, {failed} failed");
    }
}

#[test]
fn a_window_of_time_forgets() {
    let window = Window::Time { slots: 6, slot_ms: 5_000 };
    let (breaker, world, _) = local(LocalSettings { window, ..settings() });
    end(&breaker, Outcome::Failure, 19);
    world.advance_ms(30_000);
    end(&breaker, Outcome::Failure, 19);
    assert_eq!((breaker.state(), breaker.counts().calls), (State::Closed, 19));
    world.advance_ms(25_000);
    end(&breaker, Outcome::Failure, 1);
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn ignored_calls_count_as_nothing() {
    let (breaker, ..) = local(settings());
    end(&breaker, Outcome::Ignored, 100);
    end(&breaker, Outcome::Failure, 19);
    assert_eq!((breaker.state(), breaker.counts().calls), (State::Closed, 19));
}

#[test]
fn the_wait_grows_to_its_cap_and_starts_over_once_it_was_closed_for_a_calm_time() {
    let (breaker, world, _) = local(LocalSettings { probes: 1, ..settings() });
    end(&breaker, Outcome::Failure, 20);
    for wait_ms in [5_000, 10_000, 20_000, 30_000, 30_000] {
        let Rejected { until_ms, state, forced, .. } = breaker.permit().unwrap_err();
        assert_eq!((until_ms - world.now_ms(), state, forced), (wait_ms, State::Open, false));
        world.advance_ms(wait_ms - 1);
        assert!(breaker.permit().is_err());
        world.advance_ms(1);
        breaker.permit().unwrap().finish(Outcome::Failure);
    }
    world.advance_ms(30_000);
    breaker.permit().unwrap().finish(Outcome::Success);
    assert_eq!(breaker.state(), State::Closed);
    world.advance_ms(300_000);
    end(&breaker, Outcome::Failure, 20);
    assert_eq!(breaker.permit().unwrap_err().until_ms - world.now_ms(), 5_000);
}

#[test]
fn what_failed_probes_add_to_a_wait_is_gone_once_it_is_closed() {
    let (breaker, world, _) = local(LocalSettings { probes: 1, ..settings() });
    for opening_ms in [5_000, 10_000] {
        end(&breaker, Outcome::Failure, 20);
        assert_eq!(breaker.permit().unwrap_err().until_ms - world.now_ms(), opening_ms);
        for _ in 0..3 {
            world.advance_ms(30_000);
            breaker.permit().unwrap().finish(Outcome::Failure);
        }
        assert_eq!(breaker.permit().unwrap_err().until_ms - world.now_ms(), 30_000);
        world.advance_ms(30_000);
        breaker.permit().unwrap().finish(Outcome::Success);
        assert_eq!(breaker.state(), State::Closed);
    }
}

#[test]
fn what_opens_again_soon_after_its_probes_closed_it_waits_longer_each_time() {
    let (breaker, world, _) = local(LocalSettings { probes: 1, ..settings() });
    for wait_ms in [5_000, 10_000, 20_000, 30_000, 30_000] {
        end(&breaker, Outcome::Failure, 20);
        assert_eq!(breaker.permit().unwrap_err().until_ms - world.now_ms(), wait_ms);
        world.advance_ms(wait_ms);
        breaker.permit().unwrap().finish(Outcome::Success);
        assert_eq!(breaker.state(), State::Closed);
        world.advance_ms(299_999);
    }
    // Somebody's word counts for more than a calm time.
    breaker.close(by_hand());
    end(&breaker, Outcome::Failure, 20);
    assert_eq!(breaker.permit().unwrap_err().until_ms - world.now_ms(), 5_000);
}

#[test]
fn jitter_shortens_a_wait_by_at_most_its_share() {
    let wait = Wait { jitter_percent: 20, ..Wait::default() };
    let (breaker, world, _) = local(LocalSettings { wait, ..settings() });
    let mut waits = Vec::new();
    for _ in 0..50 {
        breaker.close(by_hand());
        breaker.open(by_hand());
        waits.push(breaker.permit().unwrap_err().until_ms - world.now_ms());
    }
    assert!(waits.iter().all(|wait_ms| (4_000..=5_000).contains(wait_ms)), "{waits:?}");
    assert!(waits.iter().any(|wait_ms| *wait_ms != waits[0]), "{waits:?}");
}

#[test]
fn an_open_breaker_whose_clock_steps_back_waits_no_longer_than_its_wait() {
    let (breaker, world, _) = local(settings());
    breaker.open(by_hand());
    world.set_ms(world.now_ms() - 3_600_000);
    assert!(breaker.permit().is_err());
    world.advance_ms(5_000);
    assert!(breaker.permit().unwrap().is_probe());
}

#[test]
fn half_open_lets_a_bounded_number_through_and_closes_when_all_succeed() {
    let (breaker, ..) = elapsed(settings());
    let probes: Vec<_> = (0..3).map(|_| breaker.permit().unwrap()).collect();
    assert!(probes.iter().all(|probe| probe.is_probe()));
    assert_eq!(breaker.permit().unwrap_err().state, State::HalfOpen);
    for probe in probes {
        assert_eq!(breaker.state(), State::HalfOpen);
        probe.finish(Outcome::Success);
    }
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn half_open_opens_again_as_soon_as_the_rate_cannot_be_met_any_more() {
    // of three probes, 50 %: one failure is a third, two are too many
    let (breaker, ..) = elapsed(settings());
    let mut probes: Vec<_> = (0..3).map(|_| breaker.permit().unwrap()).collect();
    probes.pop().unwrap().finish(Outcome::Failure);
    assert_eq!(breaker.state(), State::HalfOpen);
    probes.pop().unwrap().finish(Outcome::Failure);
    assert_eq!(breaker.state(), State::Open);
    let epoch = breaker.epoch();
    probes.pop().unwrap().finish(Outcome::Success);
    assert_eq!((breaker.state(), breaker.epoch()), (State::Open, epoch));
}

#[test]
fn a_late_probe_neither_closes_nor_opens() {
    for late in [Outcome::Success, Outcome::Failure] {
        let (breaker, world, seen) = elapsed(LocalSettings { probes: 1, ..settings() });
        let stuck = breaker.permit().unwrap();
        breaker.open(by_hand());
        world.advance_ms(10_000);
        let present = breaker.permit().unwrap();
        let epoch = breaker.epoch();
        stuck.finish(late);
        assert_eq!((breaker.state(), breaker.epoch()), (State::HalfOpen, epoch), "{late:?}");
        assert_eq!(seen.count(|event| matches!(event, Event::Late { .. })), 1);
        present.finish(Outcome::Success);
        assert_eq!(breaker.state(), State::Closed);
    }
}

#[test]
fn a_late_failure_of_a_closed_epoch_does_not_count_in_the_next() {
    let (breaker, ..) = local(settings());
    let late: Vec<_> = (0..30).map(|_| breaker.permit().unwrap()).collect();
    breaker.close(by_hand());
    late.into_iter().for_each(|permit| permit.finish(Outcome::Failure));
    assert_eq!((breaker.state(), breaker.counts().calls), (State::Closed, 0));
}

#[test]
fn a_dropped_probe_gives_its_slot_back_and_is_neither_success_nor_failure() {
    let (breaker, _, seen) = elapsed(LocalSettings { probes: 1, ..settings() });
    for _ in 0..10 {
        drop(breaker.permit().unwrap());
    }
    assert_eq!((breaker.state(), breaker.epoch()), (State::HalfOpen, 2));
    assert_eq!(seen.count(|event| matches!(event, Event::Cancelled { .. })), 10);
    breaker.permit().unwrap().finish(Outcome::Ignored);
    breaker.permit().unwrap().finish(Outcome::Success);
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn a_probe_that_never_ends_gives_its_slot_back_after_its_lease() {
    let (breaker, world, _) = elapsed(LocalSettings { probes: 1, ..settings() });
    let stuck = breaker.permit().unwrap();
    world.advance_ms(59_999);
    assert!(breaker.permit().is_err());
    world.advance_ms(1);
    let second = breaker.permit().unwrap();
    stuck.finish(Outcome::Failure);
    assert_eq!(breaker.state(), State::HalfOpen, "its result is late, although the round is the same");
    second.finish(Outcome::Success);
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn a_cancelled_call_counts_as_its_setting_says() {
    for (cancelled, ran_ms, failures) in [
        (Cancelled::Ignore, 60_000, 0),
        (Cancelled::Fail, 0, 1),
        (Cancelled::FailIfSlow, 5_000, 0),
        (Cancelled::FailIfSlow, 5_001, 1),
    ] {
        let window = Window::Calls(20);
        let (breaker, world, _) = local(LocalSettings { cancelled, window, ..settings() });
        let permit = breaker.permit().unwrap();
        world.advance_ms(ran_ms);
        drop(permit);
        let counts = breaker.counts();
        assert_eq!((counts.calls, counts.failures), (failures, failures), "{cancelled:?} after {ran_ms} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn an_async_call_is_measured_to_its_end_and_a_dropped_future_is_cancelled() {
    let world = World::with_tokio(1);
    let seen = Seen::default();
    let breaker = LocalBreaker::new("payments", settings(), Arc::new(world)).unwrap().observed(seen.clone());
    let call = |ms: u64| async move {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        Ok::<_, String>(ms)
    };
    assert_eq!(breaker.call(&Rules::default(), call(7_000)).await, Ok(7_000));
    let cut = tokio::time::timeout(Duration::from_millis(300), breaker.call(&Rules::default(), call(7_000))).await;
    assert!(cut.is_err());
    assert_eq!(
        seen.take(),
        [
            Event::Recorded { outcome: Outcome::Success, slow: true, elapsed_ms: 7_000 },
            Event::Cancelled { elapsed_ms: 300 }
        ]
    );
    assert_eq!(breaker.counts().calls, 1);
}

#[tokio::test]
async fn a_panic_in_a_call_is_a_cancelled_call() {
    let (breaker, ..) = elapsed(LocalSettings { probes: 1, ..settings() });
    let breaker = Arc::new(breaker);
    let calling = breaker.clone();
    let joined = tokio::spawn(async move {
        let work = async { if true { panic!("on purpose") } else { Ok::<(), String>(()) } };
        calling.call(&Rules::default(), work).await
    });
    assert!(joined.await.unwrap_err().is_panic());
    assert_eq!(breaker.state(), State::HalfOpen);
    assert!(breaker.permit().is_ok(), "its slot is free");
}

#[test]
fn rules_say_what_a_result_counts_as() {
    let plain = Rules::<u32, &str>::default();
    let rules = Rules::<u32, &str>::default()
        .ignore(|error| *error == "declined")
        .record(|error| *error == "timeout" || *error == "declined")
        .fail(|value| *value == 503);
    for (result, by_plain, by_rules) in [
        (Ok(200), Outcome::Success, Outcome::Success),
        (Ok(503), Outcome::Success, Outcome::Failure),
        (Err("timeout"), Outcome::Failure, Outcome::Failure),
        (Err("declined"), Outcome::Failure, Outcome::Ignored),
        (Err("not found"), Outcome::Failure, Outcome::Success),
    ] {
        assert_eq!((plain.outcome(&result), rules.outcome(&result)), (by_plain, by_rules), "{result:?}");
    }
}

#[test]
fn our_own_failures_count_as_configured_and_a_deferral_never() {
    let usual = FailureRules::default();
    let inverted = FailureRules {
        unknown: Outcome::Ignored,
        retry: Outcome::Success,
        retry_after: Outcome::Failure,
        poison: Outcome::Failure,
        bug: Outcome::Failure,
    };
    let unknown = Failure::Unknown { key: "k".into(), until_ms: 0, why: String::new() };
    let defer = Failure::Defer { until_ms: 0, why: String::new() };
    for (failure, by_usual, by_inverted) in [
        (unknown, Outcome::Failure, Outcome::Ignored),
        (Failure::retry("refused"), Outcome::Failure, Outcome::Success),
        (Failure::again("throttled"), Outcome::Ignored, Outcome::Failure),
        (defer, Outcome::Ignored, Outcome::Ignored),
        (Failure::Poison { reason: String::new() }, Outcome::Ignored, Outcome::Failure),
        (Failure::bug("b"), Outcome::Ignored, Outcome::Failure),
    ] {
        let result = Err::<(), _>(failure);
        assert_eq!((usual.outcome(&result), inverted.outcome(&result)), (by_usual, by_inverted), "{result:?}");
    }
    assert_eq!(usual.outcome(&Ok(())), Outcome::Success);
}

#[tokio::test]
async fn a_guarded_handler_is_deferred_without_being_polled() {
    let (breaker, world, _) = local(settings());
    breaker.open(by_hand());
    let work = async { panic!("polled") };
    let failure = breaker.guard::<()>(&FailureRules::default(), work).await.unwrap_err();
    let why = "the breaker of payments is open".to_owned();
    assert_eq!(failure, Failure::Defer { until_ms: world.now_ms() + 5_000, why });
    breaker.close(by_hand());
    let failed = breaker.guard::<()>(&FailureRules::default(), async { Err(Failure::retry("refused")) }).await;
    assert_eq!((failed, breaker.counts().failures), (Err(Failure::retry("refused")), 1));
    let error = breaker.call(&Rules::default(), async { Err::<(), _>("no") }).await;
    assert_eq!(error, Err(CallError::Failed("no")));
}

#[test]
fn nothing_automatic_leaves_a_forced_state() {
    let (breaker, world, _) = local(settings());
    breaker.close(Manual::forced("ops", "must not open"));
    end(&breaker, Outcome::Failure, 200);
    assert_eq!((breaker.state(), breaker.is_forced()), (State::Closed, true));
    breaker.release(by_hand());
    assert_eq!((breaker.state(), breaker.is_forced(), breaker.counts().calls), (State::Closed, false, 0));
    breaker.open(Manual::forced("ops", "stop"));
    world.advance_ms(24 * 3_600_000);
    let rejected = breaker.permit().unwrap_err();
    assert_eq!((rejected.state, rejected.forced, rejected.until_ms), (State::Open, true, world.now_ms() + 60_000));
    breaker.release(by_hand());
    assert!(breaker.permit().is_err());
    world.advance_ms(10_000);
    assert!(breaker.permit().unwrap().is_probe());
    breaker.open(Manual::forced("ops", "stop"));
    breaker.probe(Manual::forced("ops", "try it"));
    assert_eq!((breaker.state(), breaker.is_forced()), (State::HalfOpen, false));
}

#[test]
fn observers_see_every_step_and_one_that_panics_harms_nobody() {
    let (breaker, world, seen) = local(LocalSettings { probes: 1, window: Window::Calls(1), ..minimum_1() });
    let breaker = breaker.observed(|_: &str, _: &Event| panic!("on purpose"));
    breaker.permit().unwrap().finish(Outcome::Failure);
    let rejected = breaker.permit().unwrap_err();
    world.advance_ms(5_000);
    breaker.permit().unwrap().finish(Outcome::Success);
    breaker.open(Manual::forced("ops", "stop"));
    let changed = |from, to, epoch, forced, cause| Event::Changed { from, to, epoch, forced, cause, here: true };
    let recorded = |outcome| Event::Recorded { outcome, slow: false, elapsed_ms: 0 };
    let manual = Cause::Manual { who: "ops".into(), reason: "stop".into() };
    assert_eq!(
        seen.take(),
        [
            recorded(Outcome::Failure),
            changed(State::Closed, State::Open, 1, false, Cause::FailureRate { percent: 100, calls: 1 }),
            Event::Rejected(rejected),
            changed(State::Open, State::HalfOpen, 2, false, Cause::WaitElapsed),
            recorded(Outcome::Success),
            changed(State::HalfOpen, State::Closed, 3, false, Cause::ProbesSucceeded),
            changed(State::Closed, State::Open, 4, true, manual),
        ]
    );
}

fn minimum_1() -> LocalSettings {
    LocalSettings { thresholds: Thresholds { minimum_calls: 1, ..Thresholds::default() }, ..settings() }
}

#[test]
fn settings_that_no_breaker_can_follow_are_refused() {
    let thresholds = Thresholds::default();
    let wait = Wait::default();
    for wrong in [
        LocalSettings { window: Window::Calls(0), ..settings() },
        LocalSettings { window: Window::Calls(19), ..settings() },
        LocalSettings { window: Window::Calls(10_001), ..settings() },
        LocalSettings { window: Window::Time { slots: 0, slot_ms: 1 }, ..settings() },
        LocalSettings { window: Window::Time { slots: 1, slot_ms: 0 }, ..settings() },
        LocalSettings { thresholds: Thresholds { failure_rate_percent: 0, ..thresholds }, ..settings() },
        LocalSettings { thresholds: Thresholds { slow_rate_percent: 101, ..thresholds }, ..settings() },
        LocalSettings { thresholds: Thresholds { minimum_calls: 0, ..thresholds }, ..settings() },
        LocalSettings { wait: Wait { first_ms: 0, ..wait }, ..settings() },
        LocalSettings { wait: Wait { most_ms: 4_999, ..wait }, ..settings() },
        LocalSettings { wait: Wait { growth_percent: 99, ..wait }, ..settings() },
        LocalSettings { wait: Wait { jitter_percent: 101, ..wait }, ..settings() },
        LocalSettings { probes: 0, ..settings() },
        LocalSettings { probes: 21, ..settings() },
        LocalSettings { probe_lease_ms: 0, ..settings() },
    ] {
        assert!(LocalBreaker::new("d", wrong, Arc::new(World::new(1))).is_err(), "{wrong:?}");
    }
}
