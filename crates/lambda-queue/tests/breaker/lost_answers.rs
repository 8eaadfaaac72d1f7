//! Every write, its answer lost, or made twice by the SDK, or gone: the row ends up the same.

use std::sync::Arc;

use lambda_queue::Clock;
use lambda_queue::breaker::{Counts, DistributedSettings, Event, Manual, Moved, Outcome, Probes, State};
use lambda_queue::memory::{MemoryStore, World};
use proptest::prelude::*;

use super::support::{Fate, Seen, TABLE, Watched, breaker, breaker_with, fail_until_open, memory, once, row};

const FATES: [Fate; 3] = [Fate::Lost, Fate::Repeated, Fate::Vanished];

fn world() -> (Arc<Watched<MemoryStore>>, World) {
    let world = World::new(11);
    (Watched::new(memory(&world)), world)
}

/// Opens, probes, gives a probe back, opens again by a failed one, probes, closes. Answers how many writes that took.
async fn whole_life(store: &Arc<Watched<MemoryStore>>, world: &World) -> u64 {
    let seen = Seen::default();
    let breaker = breaker(store, world).observed(seen.clone());
    fail_until_open(&breaker, world).await;
    let opened = row(store).await;
    assert_eq!((opened.state, opened.epoch, opened.wait_ms), (State::Open, 1, 5_000));
    world.advance_ms(5_000);
    assert!(once(&breaker, Outcome::Ignored).await);
    let given_back = row(store).await;
    assert_eq!((given_back.epoch, given_back.probes_left, given_back.leases.len()), (2, 3, 0));
    assert!(once(&breaker, Outcome::Failure).await);
    let again = row(store).await;
    assert_eq!((again.state, again.epoch, again.wait_ms), (State::Open, 3, 10_000));
    world.advance_ms(10_000);
    for left in [2, 1, 0] {
        assert!(once(&breaker, Outcome::Success).await);
        let now = row(store).await;
        if left > 0 {
            assert_eq!((now.state, now.epoch, now.probes_left, now.probes_ok), (State::HalfOpen, 4, left, 3 - left));
        }
    }
    let closed = row(store).await;
    assert_eq!((closed.state, closed.epoch, closed.leases.len()), (State::Closed, 5, 0));
    assert_eq!(seen.count(|event| matches!(event, Event::Changed { here: true, .. })), 5);
    store.writes()
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_bumps_no_epoch_twice_whichever_it_is() {
    let (store, of) = world();
    let writes = whole_life(&store, &of).await;
    assert!(writes >= 10, "{writes}");
    for fate in FATES {
        for bad in 0..writes {
            let (store, world) = world();
            store.plan(move |nth| if nth == bad { fate } else { Fate::Fine });
            let took = whole_life(&store, &world).await;
            assert_eq!(took, writes + u64::from(fate != Fate::Repeated), "{fate:?} at {bad}");
        }
    }
}

#[tokio::test]
async fn counts_whose_answer_is_lost_twice_are_added_once_by_the_next_write() {
    for fates in [[Fate::Lost, Fate::Lost], [Fate::Lost, Fate::Vanished], [Fate::Vanished, Fate::Vanished]] {
        let (store, world) = world();
        let breaker = breaker(&store, &world);
        store.plan(move |nth| fates.get(usize::try_from(nth).unwrap()).copied().unwrap_or(Fate::Fine));
        once(&breaker, Outcome::Failure).await;
        assert_eq!(store.writes(), 2);
        once(&breaker, Outcome::Success).await;
        world.advance_ms(1_000);
        // The repeat, by a call that was no trouble itself.
        once(&breaker, Outcome::Success).await;
        assert_eq!(row(&store).await.counts(world.now_ms()), Counts { calls: 1, failures: 1, slow: 0 }, "{fates:?}");
        world.advance_ms(1_000);
        once(&breaker, Outcome::Failure).await;
        assert_eq!(row(&store).await.counts(world.now_ms()), Counts { calls: 4, failures: 2, slow: 0 }, "{fates:?}");
    }
}

#[tokio::test]
async fn an_opening_whose_answers_are_all_lost_is_found_by_the_next_read() {
    let (store, world) = world();
    let seen = Seen::default();
    let breaker = breaker(&store, &world).observed(seen.clone());
    for _ in 0..20 {
        once(&breaker, Outcome::Failure).await;
    }
    let before = store.writes();
    // The counts arrive; the opening does, but says nothing, twice.
    store.plan(move |nth| if nth == before { Fate::Fine } else { Fate::Lost });
    world.advance_ms(1_000);
    once(&breaker, Outcome::Failure).await;
    assert_eq!((row(&store).await.state, row(&store).await.epoch), (State::Open, 1));
    assert_eq!(seen.count(|event| matches!(event, Event::StoreFailed { what: "open", .. })), 1);
    world.advance_ms(1_000);
    assert!(breaker.permit().await.is_err());
    assert_eq!(row(&store).await.epoch, 1);
}

#[tokio::test]
async fn an_act_by_hand_whose_answer_is_lost_is_done_once() {
    for fate in FATES {
        let (store, world) = world();
        let breaker = breaker(&store, &world);
        let manual = Manual::forced("ops", "stop");
        for epoch in 1..=4 {
            let nth = store.writes();
            store.plan(move |at| if at == nth { fate } else { Fate::Fine });
            let moved = match epoch {
                1 => breaker.open(&manual, Some(0)).await,
                2 => breaker.release(&manual, Some(1)).await,
                3 => breaker.probe(&manual, Some(2)).await,
                _ => breaker.close(&manual, Some(3)).await,
            };
            assert!(matches!(moved, Ok(Moved::Moved(row)) if row.epoch == epoch), "{fate:?} at {epoch}");
        }
    }
}

#[tokio::test]
async fn a_probe_apart_whose_answer_is_lost_counts_once() {
    for fate in FATES {
        let (store, world) = world();
        let probes = Probes::Apart { successes: 3 };
        let breaker = breaker_with(&store, &world, DistributedSettings { probes, ..DistributedSettings::new(TABLE) });
        fail_until_open(&breaker, &world).await;
        for ok in 1..=3 {
            let (nth, epoch) = (store.writes(), row(&store).await.epoch);
            store.plan(move |at| if at == nth { fate } else { Fate::Fine });
            assert!(matches!(breaker.probe_succeeded(epoch).await, Ok(Moved::Moved(_))));
            let now = row(&store).await;
            assert_eq!((now.epoch, now.probes_ok), (epoch + 1, if ok < 3 { ok } else { 0 }), "{fate:?}");
        }
        assert_eq!(row(&store).await.state, State::Closed);
    }
}

#[tokio::test]
async fn a_call_dropped_while_its_counts_are_on_their_way_loses_and_doubles_none() {
    let (store, world) = world();
    let breaker = breaker(&store, &world);
    let pass = breaker.permit().await.unwrap();
    {
        let mut finish = Box::pin(pass.finish(Outcome::Failure));
        // One poll: the write has begun, and lets others run before it is done.
        assert!(futures::poll!(finish.as_mut()).is_pending());
    }
    world.advance_ms(1_000);
    once(&breaker, Outcome::Failure).await;
    world.advance_ms(1_000);
    once(&breaker, Outcome::Failure).await;
    assert_eq!(row(&store).await.counts(world.now_ms()), Counts { calls: 3, failures: 3, slow: 0 });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// One process, any calls, any fates: in the end the row holds exactly what was counted.
    #[test]
    fn counts_arrive_exactly_once_whatever_happens_to_their_writes(
        calls in prop::collection::vec((any::<bool>(), 0_u64..1_500), 1..40),
        fates in prop::collection::vec(0_usize..6, 0..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (store, world) = world();
            let mut settings = DistributedSettings::new(TABLE);
            settings.thresholds.minimum_calls = 1_000_000;
            let breaker = breaker_with(&store, &world, settings);
            store.plan(move |nth| match fates.get(usize::try_from(nth).unwrap()) {
                Some(at) => FATES.get(*at).copied().unwrap_or(Fate::Fine),
                None => Fate::Fine,
            });
            let start_ms = world.now_ms();
            let mut all = Counts::default();
            for (failed, passed_ms) in calls {
                world.set_ms((world.now_ms() + passed_ms).min(start_ms + 20_000));
                once(&breaker, if failed { Outcome::Failure } else { Outcome::Success }).await;
                all.calls += 1;
                all.failures += u64::from(failed);
            }
            // The write that is still on its way comes first, what was counted since with the next.
            store.plan(|_| Fate::Fine);
            for _ in 0..2 {
                world.advance_ms(1_000);
                once(&breaker, Outcome::Failure).await;
                all.calls += 1;
                all.failures += 1;
            }
            assert_eq!(row(&store).await.counts(start_ms + 25_000), all);
        });
    }
}
