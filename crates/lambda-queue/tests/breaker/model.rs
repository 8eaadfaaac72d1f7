//! The local breaker beside a tiny model of it that keeps everything and counts anew each time.

use std::sync::Arc;

use lambda_queue::Clock;
use lambda_queue::breaker::{LocalBreaker, LocalSettings, Manual, Outcome, Permit, State, Thresholds, Wait, Window};
use lambda_queue::memory::World;
use proptest::prelude::*;

const WINDOW: usize = 4;
const MINIMUM: usize = 3;
const PROBES: usize = 2;
const LEASE_MS: u64 = 500;
const SLOW_MS: u64 = 100;
const CALM_MS: u64 = 1_000;

#[derive(Clone, Copy, Debug)]
enum Act {
    Ask,
    /// Ends the oldest call but this many.
    End(usize, Outcome),
    Drop(usize),
    Advance(u64),
    Open(bool),
    Close(bool),
    Probe,
    Release,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let outcome = prop_oneof![3 => Just(Outcome::Failure), 2 => Just(Outcome::Success), 1 => Just(Outcome::Ignored)];
    let act = prop_oneof![
        8 => Just(Act::Ask),
        8 => (0_usize..4, outcome).prop_map(|(at, outcome)| Act::End(at, outcome)),
        1 => (0_usize..4).prop_map(Act::Drop),
        4 => prop_oneof![1_u64..120, 400_u64..1_200].prop_map(Act::Advance),
        1 => any::<bool>().prop_map(Act::Open),
        1 => any::<bool>().prop_map(Act::Close),
        1 => Just(Act::Probe),
        1 => Just(Act::Release),
    ];
    prop::collection::vec(act, 1..120)
}

/// A call as the model sees it.
struct Call {
    epoch: u64,
    at_ms: u64,
    probe: Option<u64>,
}

#[derive(Debug)]
struct Model {
    state: State,
    epoch: u64,
    forced: bool,
    opened_ms: u64,
    wait_ms: u64,
    /// The wait of when it was closed and opened last.
    opening_wait_ms: u64,
    /// When its probes closed it last.
    closed_ms: u64,
    /// Bad or not, of every call of this epoch.
    ended: Vec<bool>,
    /// Ends of leases of probes under way.
    taken: Vec<u64>,
}

impl Model {
    fn turn(&mut self, state: State, now_ms: u64) {
        let calm = self.state == State::Closed && now_ms - self.closed_ms >= CALM_MS;
        self.wait_ms = match state {
            State::Open if self.wait_ms == 0 || calm => 500,
            State::Open => (self.wait_ms * 2).min(1_500),
            State::Closed | State::HalfOpen => self.wait_ms,
        };
        if state == State::Open && self.state == State::Closed {
            self.opening_wait_ms = self.wait_ms;
        }
        (self.state, self.epoch, self.opened_ms) = (state, self.epoch + 1, now_ms);
        self.ended.clear();
        self.taken.clear();
    }

    fn ask(&mut self, now_ms: u64) -> Option<Call> {
        if self.state == State::Open && !self.forced && now_ms >= self.opened_ms + self.wait_ms {
            self.turn(State::HalfOpen, now_ms);
        }
        let probe = match self.state {
            State::Closed => None,
            State::Open => return None,
            State::HalfOpen => {
                self.taken.retain(|until_ms| *until_ms > now_ms);
                if self.taken.len() + self.ended.len() >= PROBES {
                    return None;
                }
                self.taken.push(now_ms + LEASE_MS);
                Some(now_ms + LEASE_MS)
            }
        };
        Some(Call { epoch: self.epoch, at_ms: now_ms, probe })
    }

    fn end(&mut self, call: &Call, outcome: Outcome, now_ms: u64) {
        let bad = outcome == Outcome::Failure || (outcome == Outcome::Success && now_ms - call.at_ms > SLOW_MS);
        if call.epoch != self.epoch {
            return;
        }
        if let Some(until_ms) = call.probe {
            if until_ms <= now_ms {
                return;
            }
            let at = self.taken.iter().position(|taken| *taken == until_ms).unwrap();
            self.taken.remove(at);
        }
        if outcome == Outcome::Ignored {
            return;
        }
        self.ended.push(bad);
        let bad_of = |ended: &[bool]| ended.iter().filter(|bad| **bad).count();
        match self.state {
            State::Closed => {
                let last = &self.ended[self.ended.len().saturating_sub(WINDOW)..];
                if bad && !self.forced && last.len() >= MINIMUM && bad_of(last) * 2 >= last.len() {
                    self.turn(State::Open, now_ms);
                }
            }
            State::HalfOpen if bad_of(&self.ended) * 2 >= PROBES => self.turn(State::Open, now_ms),
            State::HalfOpen if self.ended.len() == PROBES => {
                self.turn(State::Closed, now_ms);
                (self.closed_ms, self.wait_ms) = (now_ms, self.opening_wait_ms);
            }
            State::HalfOpen | State::Open => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn the_breaker_does_what_the_model_does(acts in acts()) {
        let world = World::new(1);
        let settings = LocalSettings {
            window: Window::Calls(u32::try_from(WINDOW).unwrap()),
            thresholds: Thresholds { minimum_calls: MINIMUM as u64, slow_call_ms: SLOW_MS, ..Thresholds::default() },
            wait: Wait { first_ms: 500, most_ms: 1_500, calm_ms: CALM_MS, ..Wait::default() },
            probes: u32::try_from(PROBES).unwrap(),
            probe_lease_ms: LEASE_MS,
            ..LocalSettings::default()
        };
        let breaker = LocalBreaker::new("d", settings, Arc::new(world.clone())).unwrap();
        let mut model = Model {
            state: State::Closed, epoch: 0, forced: false, opened_ms: 0, wait_ms: 0, opening_wait_ms: 0, closed_ms: 0,
            ended: Vec::new(), taken: Vec::new(),
        };
        let mut calls: Vec<(Permit<'_, World>, Call)> = Vec::new();
        for act in acts {
            let now_ms = world.now_ms();
            let manual = |forced| Manual { who: "t".into(), reason: "t".into(), forced };
            match act {
                Act::Ask => match (breaker.permit(), model.ask(now_ms)) {
                    (Ok(permit), Some(call)) => {
                        prop_assert_eq!(permit.is_probe(), call.probe.is_some());
                        calls.push((permit, call));
                    }
                    (Err(rejected), None) => prop_assert!(rejected.until_ms > now_ms),
                    (permit, call) => prop_assert!(false, "{:?}, the model {}", permit.is_ok(), call.is_some()),
                },
                Act::End(at, outcome) if at < calls.len() => {
                    let (permit, call) = calls.remove(at);
                    permit.finish(outcome);
                    model.end(&call, outcome, now_ms);
                }
                Act::Drop(at) if at < calls.len() => {
                    let (permit, call) = calls.remove(at);
                    drop(permit);
                    model.end(&call, Outcome::Ignored, now_ms);
                }
                Act::End(..) | Act::Drop(_) => {}
                Act::Advance(ms) => world.advance_ms(ms),
                Act::Open(forced) => {
                    breaker.open(manual(forced));
                    model.forced = forced;
                    model.turn(State::Open, now_ms);
                }
                Act::Close(forced) => {
                    breaker.close(manual(forced));
                    model.forced = forced;
                    model.turn(State::Closed, now_ms);
                    (model.wait_ms, model.opening_wait_ms) = (0, 0);
                }
                Act::Probe => {
                    breaker.probe(manual(true));
                    model.forced = false;
                    model.turn(State::HalfOpen, now_ms);
                }
                Act::Release => {
                    breaker.release(manual(true));
                    model.forced = false;
                    model.turn(model.state, now_ms);
                    if model.state == State::Closed {
                        (model.wait_ms, model.opening_wait_ms) = (0, 0);
                    }
                }
            }
            prop_assert_eq!((breaker.state(), breaker.epoch(), breaker.is_forced()), (model.state, model.epoch, model.forced));
        }
    }
}
