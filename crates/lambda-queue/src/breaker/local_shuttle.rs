//! The local breaker's shared state under shuttle: its lock and its gate are shuttle's in this crate's own tests, so every
//! step of theirs may be followed by another thread's.
//!
//! Source: <https://docs.rs/shuttle>

use std::sync::atomic::{AtomicU64 as PlainU64, Ordering as PlainOrdering};

use shuttle::thread;

use super::super::{Cancelled, Thresholds, Wait, Window};
use super::*;

/// Schedules tried a test.
const SCHEDULES: usize = 2_000;

/// A clock that stands still but for the test's own moves. Not shuttle's: it is no part of what is tested.
#[derive(Debug, Default)]
struct Still(PlainU64);

impl Clock for Still {
    fn now_ms(&self) -> u64 {
        self.0.load(PlainOrdering::SeqCst)
    }
}

impl Random for Still {
    fn below(&self, _: u64) -> u64 {
        0
    }
}

type Shared = Arc<LocalBreaker<Still>>;

fn breaker(probes: u32) -> (Shared, Arc<Still>) {
    let settings = LocalSettings {
        window: Window::Calls(8),
        thresholds: Thresholds { minimum_calls: 2, failure_rate_percent: 100, ..Thresholds::default() },
        wait: Wait { first_ms: 1_000, ..Wait::default() },
        probes,
        probe_lease_ms: 60_000,
        cancelled: Cancelled::Ignore,
    };
    let clock = Arc::new(Still::default());
    (Arc::new(LocalBreaker::new("d", settings, clock.clone()).unwrap()), clock)
}

fn elapsed(probes: u32) -> Shared {
    let (breaker, clock) = breaker(probes);
    breaker.open(Manual::new("test", "opened"));
    clock.0.store(1_000, PlainOrdering::SeqCst);
    breaker
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
fn threads_that_meet_an_elapsed_breaker_make_exactly_the_permitted_probes() {
    shuttle::check_random(
        || {
            let breaker = elapsed(2);
            let let_through = breaker.clone();
            let probes = all(4, move |_| {
                // Held to the end: a dropped permit would give its slot back.
                let_through.permit().map(std::mem::forget).is_ok()
            });
            assert_eq!(probes.into_iter().filter(|probe| *probe).count(), 2);
            assert_eq!((breaker.state(), breaker.epoch()), (State::HalfOpen, 2));
        },
        SCHEDULES,
    );
}

#[test]
fn failures_at_the_same_time_open_once() {
    shuttle::check_random(
        || {
            let (breaker, _) = breaker(1);
            let failing = breaker.clone();
            all(4, move |_| {
                if let Ok(permit) = failing.permit() {
                    permit.finish(Outcome::Failure);
                }
            });
            assert_eq!((breaker.state(), breaker.epoch()), (State::Open, 1));
        },
        SCHEDULES,
    );
}

#[test]
fn a_result_of_an_earlier_epoch_never_moves_the_state_whatever_the_order() {
    shuttle::check_random(
        || {
            let (breaker, clock) = breaker(1);
            let late: Vec<_> = (0..2).map(|_| breaker.permit().unwrap().ticket).collect();
            breaker.open(Manual::new("test", "opened"));
            clock.0.store(1_000, PlainOrdering::SeqCst);
            let racing = breaker.clone();
            all(3, move |at| match late.get(at) {
                Some(ticket) => racing.end(*ticket, Some(Mark::Good), 1_000),
                None => {
                    if let Ok(permit) = racing.permit() {
                        permit.finish(Outcome::Failure);
                    }
                }
            });
            assert_eq!((breaker.state(), breaker.epoch()), (State::Open, 3), "half-open, then open by its own probe");
        },
        SCHEDULES,
    );
}

#[test]
fn dropped_probes_give_every_slot_back() {
    shuttle::check_random(
        || {
            let breaker = elapsed(2);
            let dropping = breaker.clone();
            all(4, move |_| drop(dropping.permit()));
            let probes: Vec<_> = (0..2).map(|_| breaker.permit().unwrap()).collect();
            assert!(breaker.permit().is_err());
            drop(probes);
            assert_eq!((breaker.state(), breaker.epoch()), (State::HalfOpen, 2));
        },
        SCHEDULES,
    );
}

#[test]
fn probes_that_end_at_the_same_time_close_once_and_a_forced_state_outlives_them() {
    shuttle::check_random(
        || {
            let breaker = elapsed(2);
            let acting = breaker.clone();
            all(3, move |at| match at {
                0 => acting.open(Manual::forced("test", "stop")),
                _ => {
                    if let Ok(permit) = acting.permit() {
                        permit.finish(Outcome::Success);
                    }
                }
            });
            assert_eq!(breaker.state(), State::Open);
            assert!(breaker.is_forced());
        },
        SCHEDULES,
    );
}

#[test]
fn the_gate_says_what_the_machine_says_once_all_is_quiet() {
    shuttle::check_random(
        || {
            let (breaker, _) = breaker(1);
            let changing = breaker.clone();
            all(3, move |at| match at {
                0 => changing.open(Manual::new("test", "opened")),
                1 => changing.close(Manual::new("test", "closed")),
                _ => {
                    if let Ok(permit) = changing.permit() {
                        permit.finish(Outcome::Failure);
                    }
                }
            });
            let gate = breaker.gate.load(Ordering::SeqCst);
            assert_eq!(gate >> 1, breaker.epoch());
            assert_eq!(gate & 1 == 1, breaker.state() == State::Closed);
        },
        SCHEDULES,
    );
}
