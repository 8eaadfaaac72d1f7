//! What many processes do together, on any table: see `distributed` for memory, `dynamodb_local` for AWS's own.

use std::sync::Arc;

use lambda_queue::breaker::{Event, Manual, Outcome, Pass, State};
use lambda_queue::memory::World;
use lambda_queue::ports::Store;

use super::support::{Breaker, Seen, Watched, breaker, fail_until_open, once, row, together};

/// Probes of a round, by the usual settings.
const PROBES: usize = 3;

/// A permit that is never given back, as if its process had died; whether there was one.
async fn take<S: Store + Sync>(breaker: Arc<Breaker<S>>) -> bool {
    breaker.permit().await.map(std::mem::forget::<Pass<'_, _, _>>).is_ok()
}

fn processes<S: Store + Sync>(count: usize, store: &Arc<Watched<S>>, world: &World) -> Vec<Arc<Breaker<S>>> {
    (0..count).map(|_| Arc::new(breaker(store, world))).collect()
}

async fn taken<S: Store + Send + Sync + 'static>(processes: &[Arc<Breaker<S>>]) -> usize {
    together(processes.iter().cloned().map(take)).await.into_iter().filter(|taken| *taken).count()
}

pub async fn fifty_processes_that_meet_an_elapsed_breaker_make_exactly_k_probes<S: Store + Send + Sync + 'static>(
    store: Arc<Watched<S>>,
    world: World,
) {
    let first = breaker(&store, &world);
    fail_until_open(&first, &world).await;
    let processes = processes(50, &store, &world);
    assert_eq!(taken(&processes).await, 0, "all of them know that it is open");
    world.advance_ms(5_000);
    assert_eq!(taken(&processes).await, PROBES);
    let now = row(&store).await;
    assert_eq!((now.state, now.epoch, now.probes_left, now.probes_taken().count()), (State::HalfOpen, 2, 0, PROBES));
    world.advance_ms(30_000);
    assert_eq!(taken(&processes).await, 0, "their leases are not over");
    world.advance_ms(30_000);
    assert_eq!(taken(&processes).await, PROBES, "the probers are dead: exactly their slots come back");
    assert_eq!(row(&store).await.epoch, 2, "in the same round");
}

pub async fn a_burst_of_failures_over_ten_processes_opens_once<S: Store + Send + Sync + 'static>(
    store: Arc<Watched<S>>,
    world: World,
) {
    let seen = Seen::default();
    let processes: Vec<_> = (0..10).map(|_| Arc::new(breaker(&store, &world).observed(seen.clone()))).collect();
    for _ in 0..3 {
        let burst = processes.iter().cloned().map(|breaker| async move {
            for _ in 0..10 {
                once(&breaker, Outcome::Failure).await;
            }
        });
        together(burst).await;
        world.advance_ms(1_000);
    }
    let now = row(&store).await;
    assert_eq!((now.state, now.epoch), (State::Open, 1));
    assert_eq!(seen.count(|event| matches!(event, Event::Changed { here: true, .. })), 1);
    for breaker in &processes {
        assert!(breaker.permit().await.is_err());
    }
}

pub async fn a_healthy_run_writes_nothing_and_reads_once_a_cache_interval<S: Store + Send + Sync + 'static>(
    store: Arc<Watched<S>>,
    world: World,
) {
    let processes = processes(10, &store, &world);
    for _ in 0..100 {
        let calls = processes.iter().cloned().map(|breaker| async move { once(&breaker, Outcome::Success).await });
        assert!(together(calls).await.into_iter().all(|through| through));
        world.advance_ms(50);
    }
    assert_eq!(store.writes(), 0);
    // 5 s in all: five intervals, ten processes.
    assert_eq!(store.reads(), 50);
}

pub async fn a_stale_process_cannot_close_a_breaker_opened_later<S: Store + Send + Sync + 'static>(
    store: Arc<Watched<S>>,
    world: World,
) {
    let (stale, operator) = (breaker(&store, &world), breaker(&store, &world));
    fail_until_open(&stale, &world).await;
    world.advance_ms(5_000);
    let mut probes = Vec::new();
    for _ in 0..PROBES {
        probes.push(stale.permit().await.unwrap());
    }
    operator.open(&Manual::new("ops", "it is worse than that"), None).await.unwrap();
    let before = row(&store).await;
    for probe in probes {
        probe.finish(Outcome::Success).await;
    }
    assert_eq!(row(&store).await, before, "open, in the operator's epoch");
    assert!(stale.permit().await.is_err());
}

pub async fn a_dependency_that_comes_back_closes_the_breaker_for_all<S: Store + Send + Sync + 'static>(
    store: Arc<Watched<S>>,
    world: World,
) {
    let processes = processes(5, &store, &world);
    fail_until_open(&processes[0], &world).await;
    for wait_ms in [5_000, 10_000, 20_000, 30_000, 30_000] {
        assert_eq!(row(&store).await.wait_ms, wait_ms);
        world.advance_ms(wait_ms);
        assert!(once(&processes[1], Outcome::Failure).await, "one probe is enough to open again");
        assert!(!once(&processes[2], Outcome::Success).await);
    }
    world.advance_ms(30_000);
    let calls = processes.iter().cloned().map(|breaker| async move { once(&breaker, Outcome::Success).await });
    together(calls).await;
    for process in &processes {
        world.advance_ms(1_000);
        assert!(once(process, Outcome::Success).await);
    }
    let now = row(&store).await;
    assert_eq!(
        (now.state, now.wait_ms, now.opened_at_ms, now.leases.len(), now.buckets.len()),
        (State::Closed, 5_000, 0, 0, 0),
        "of the wait stays what it opened with"
    );
}
