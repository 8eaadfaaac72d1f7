//! What the calls of one process know together, under shuttle: the lock around it is shuttle's in this crate's own tests, and
//! every call of the table lets others run, so every step of a call may be followed by another call's.
//!
//! The table is the one in memory. A runtime is entered for its timers alone, which never fire: nobody turns them.

use futures::FutureExt as _;
use shuttle::scheduler::RandomScheduler;
use shuttle::{Config, Runner, future, thread};

use super::super::{Manual, Outcome};
use super::*;
use crate::breaker::limits::Counts;
use crate::breaker::tally::FLUSH_MS;
use crate::memory::{Fault, KeyType, MemoryStore, Operation, Table, World};

/// Schedules tried a test.
const SCHEDULES: usize = 500;
/// Of each thread, bytes: the table reads expressions.
const STACK: usize = 1 << 20;

const TABLE: &str = "breakers";
const DEPENDENCY: &str = "payments";

type Breaker = DistributedBreaker<MemoryStore, World>;

/// One process, its table and its clock, which stands still but for the test's own moves.
struct Scene {
    breaker: Arc<Breaker>,
    store: MemoryStore,
    world: World,
}

fn scene(thresholds: Thresholds) -> Scene {
    let world = World::new(1);
    let store = MemoryStore::new(world.clone()).with(Table::new(TABLE, "dependency", KeyType::S));
    let probes = Probes::WithCalls { per_round: 2, lease_ms: 60_000 };
    let settings = DistributedSettings { thresholds, probes, ..DistributedSettings::new(TABLE) };
    let ports = Arc::new(world.clone());
    let breaker = Breaker::new(DEPENDENCY, settings, Arc::new(store.clone()), ports).unwrap();
    Scene { breaker: Arc::new(breaker), store, world }
}

/// Whatever fails, it stays closed.
fn never_opening() -> Scene {
    scene(Thresholds { minimum_calls: 1_000, ..Thresholds::default() })
}

/// Opened by hand, and its wait is over.
fn elapsed() -> Scene {
    let scene = never_opening();
    future::block_on(scene.breaker.open(&Manual::new("test", "opened"), None)).unwrap();
    scene.world.advance_ms(5_000);
    scene
}

impl Scene {
    fn row(&self) -> Row {
        let item = self.store.items(TABLE).into_iter().next();
        item.map_or_else(|| Row::absent(DEPENDENCY), |item| Row::from_item(DEPENDENCY, &item).unwrap())
    }

    /// One call that fails; whether it was let through.
    fn fail(&self) -> bool {
        future::block_on(failing(&self.breaker))
    }

    /// Failing calls of later seconds, so that what was counted before is written; how many.
    fn settle(&self) -> u64 {
        for _ in 0..3 {
            self.world.advance_ms(FLUSH_MS);
            assert!(self.fail());
        }
        3
    }
}

async fn failing(breaker: &Breaker) -> bool {
    match breaker.permit().await {
        Ok(pass) => {
            pass.finish(Outcome::Failure).await;
            true
        }
        Err(_) => false,
    }
}

/// Every schedule of `test`.
fn check(test: impl Fn() + Send + Sync + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _timers = runtime.enter();
    let mut config = Config::new();
    config.stack_size = STACK;
    Runner::new(RandomScheduler::new(SCHEDULES), config).run(test);
}

fn all<T: Send + 'static>(threads: usize, work: impl Fn(usize) -> T + Clone + Send + 'static) -> Vec<T> {
    let started: Vec<_> = (0..threads)
        .map(|at| {
            let work = work.clone();
            thread::spawn(move || work(at))
        })
        .collect();
    started.into_iter().map(|thread| thread.join().unwrap()).collect()
}

#[test]
fn calls_that_meet_an_elapsed_row_make_exactly_the_permitted_probes() {
    check(|| {
        let scene = elapsed();
        let breaker = Arc::clone(&scene.breaker);
        // Held to the end: a dropped pass would give its slot back.
        let probes =
            all(4, move |_| future::block_on(breaker.permit()).map(std::mem::forget::<Pass<'_, _, _>>).is_ok());
        assert_eq!(probes.into_iter().filter(|probe| *probe).count(), 2);
        let row = scene.row();
        assert_eq!((row.state, row.epoch, row.probes_left, row.probes_taken().count()), (State::HalfOpen, 2, 0, 2));
    });
}

#[test]
fn what_calls_count_at_the_same_time_is_written_once_though_an_answer_is_lost() {
    check(|| {
        let scene = never_opening();
        let mut lost = false;
        scene.store.set_faults(move |call| {
            let first = call.operation == Operation::Update && !std::mem::replace(&mut lost, true);
            if first { Fault::Lost } else { Fault::None }
        });
        let breaker = Arc::clone(&scene.breaker);
        assert_eq!(all(3, move |_| future::block_on(failing(&breaker))), [true; 3]);
        let more = scene.settle();
        let counts = scene.row().counts(scene.world.now_ms());
        assert_eq!((counts.calls, counts.failures), (3 + more, 3 + more));
    });
}

#[test]
fn a_write_of_counts_whose_call_is_dropped_is_neither_lost_nor_doubled() {
    check(|| {
        let scene = never_opening();
        let breaker = Arc::clone(&scene.breaker);
        all(3, move |at| {
            future::block_on(async {
                let Ok(pass) = breaker.permit().await else { panic!("it is closed") };
                let ending = pass.finish(Outcome::Failure);
                if at == 0 {
                    // Looked at once and dropped: in the middle of its write, if it has one.
                    ending.now_or_never();
                } else {
                    ending.await;
                }
            });
        });
        let more = scene.settle();
        let counts = scene.row().counts(scene.world.now_ms());
        assert_eq!((counts.calls, counts.failures), (3 + more, 3 + more));
    });
}

#[test]
fn dropped_probes_leave_their_slots_to_the_next_calls() {
    check(|| {
        let scene = elapsed();
        let breaker = Arc::clone(&scene.breaker);
        all(3, move |_| drop(future::block_on(breaker.permit())));
        let probes: Vec<_> = (0..2).map(|_| future::block_on(scene.breaker.permit()).unwrap()).collect();
        assert!(future::block_on(scene.breaker.permit()).is_err());
        drop(probes);
        assert_eq!((scene.row().state, scene.row().epoch), (State::HalfOpen, 2));
    });
}

#[test]
fn failures_at_the_same_time_open_once() {
    check(|| {
        let scene = scene(Thresholds { minimum_calls: 3, ..Thresholds::default() });
        let breaker = Arc::clone(&scene.breaker);
        all(3, move |_| future::block_on(failing(&breaker)));
        scene.world.advance_ms(FLUSH_MS);
        scene.fail();
        assert_eq!((scene.row().state, scene.row().epoch), (State::Open, 1));
        assert_eq!(scene.breaker.known().map(|row| row.epoch), Some(1));
    });
}

#[test]
fn a_result_of_an_earlier_epoch_never_counts_in_a_later_one_whatever_the_order() {
    check(|| {
        let scene = never_opening();
        // The passes live as long as their threads: for good.
        let breaker: &'static Breaker = Box::leak(Box::new(Arc::clone(&scene.breaker)));
        let late: Vec<_> = (0..2).map(|_| future::block_on(breaker.permit()).unwrap()).collect();
        let mut threads = vec![thread::spawn(move || {
            future::block_on(breaker.open(&Manual::new("test", "opened"), None)).unwrap();
        })];
        let ending = |pass: Pass<'static, _, _>| thread::spawn(move || future::block_on(pass.finish(Outcome::Failure)));
        threads.extend(late.into_iter().map(ending));
        for thread in threads {
            thread.join().unwrap();
        }
        let (row, now_ms) = (scene.row(), scene.world.now_ms());
        assert_eq!((row.state, row.epoch, row.counts(now_ms)), (State::Open, 1, Counts::default()));
        let told = row.buckets.values().map(|counts| counts.failures).sum::<u64>();
        assert!(told <= 2, "{row:?}");
        let left = breaker.lock().tally.begin(now_ms + FLUSH_MS, || "later".to_owned());
        assert_eq!(left, None, "nothing of before waits to be written");
    });
}
