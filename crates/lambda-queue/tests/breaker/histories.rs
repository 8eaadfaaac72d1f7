//! Any history of three processes and their tables' faults: every change of the row is a legal one.

use std::sync::Arc;

use lambda_queue::Clock;
use lambda_queue::breaker::{DistributedSettings, Manual, Outcome, Pass, Probes, Row, State, Thresholds};
use lambda_queue::memory::{MemoryStore, World};
use lambda_queue::ports::store::Item;
use proptest::prelude::*;

use super::support::{Breaker, DEPENDENCY, Fate, TABLE, Watched, breaker_with, memory};

const PROCESSES: usize = 3;
const PROBES: u64 = 2;
const LEASE_MS: u64 = 10_000;

#[derive(Clone, Copy, Debug)]
enum Act {
    Ask(usize),
    End(usize, Outcome),
    Drop(usize),
    Advance(u64),
    Open(usize, bool),
    Close(usize),
    Release(usize),
    /// The next write ends so.
    Fault(Fate),
    Unreadable(bool),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let outcome = prop_oneof![3 => Just(Outcome::Failure), 3 => Just(Outcome::Success), 1 => Just(Outcome::Ignored)];
    let fate = prop_oneof![Just(Fate::Lost), Just(Fate::Repeated), Just(Fate::Vanished)];
    let act = prop_oneof![
        12 => (0..PROCESSES).prop_map(Act::Ask),
        12 => (0_usize..6, outcome).prop_map(|(at, outcome)| Act::End(at, outcome)),
        1 => (0_usize..6).prop_map(Act::Drop),
        6 => prop_oneof![1_u64..1_500, 4_000_u64..12_000].prop_map(Act::Advance),
        1 => (0..PROCESSES, any::<bool>()).prop_map(|(at, forced)| Act::Open(at, forced)),
        1 => (0..PROCESSES).prop_map(Act::Close),
        1 => (0..PROCESSES).prop_map(Act::Release),
        4 => fate.prop_map(Act::Fault),
        1 => any::<bool>().prop_map(Act::Unreadable),
    ];
    prop::collection::vec(act, 1..100)
}

fn read(item: Option<&Item>) -> Row {
    item.map_or_else(|| Row::absent(DEPENDENCY), |item| Row::from_item(DEPENDENCY, item).unwrap())
}

/// What one write may do to the row.
fn check(old: &Row, new: &Row, manual: bool) {
    if new.epoch == old.epoch {
        assert_eq!((old.state, old.forced), (new.state, new.forced), "no change without an epoch: {old:?} {new:?}");
    } else {
        assert_eq!(new.epoch, old.epoch + 1, "one epoch a change: {old:?} {new:?}");
        if !manual {
            assert!(!old.forced, "nothing automatic leaves a forced state: {old:?} {new:?}");
            let legal = match (old.state, new.state) {
                (State::Closed, State::Open) | (State::HalfOpen, State::Open) => true,
                (State::Open, State::HalfOpen) => new.changed_at_ms >= old.probes_from_ms(),
                (State::HalfOpen, State::Closed) => old.probes_ok == PROBES,
                (State::Closed | State::Open | State::HalfOpen, _) => false,
            };
            assert!(legal, "{old:?} {new:?}");
        }
    }
    if new.state == State::HalfOpen {
        let taken = new.probes_taken().count() as u64;
        assert_eq!((new.probes, new.probes_left + taken + new.probes_ok), (PROBES, PROBES), "no slot is lost: {new:?}");
    } else {
        assert_eq!((new.probes, new.probes_left, new.probes_ok), (0, 0, 0), "{new:?}");
    }
}

async fn play(acts: Vec<Act>) {
    let world = World::new(19);
    let store: Arc<Watched<MemoryStore>> = Watched::new(memory(&world));
    let settings = DistributedSettings {
        thresholds: Thresholds { minimum_calls: 2, ..Thresholds::default() },
        probes: Probes::WithCalls { per_round: u32::try_from(PROBES).unwrap(), lease_ms: LEASE_MS },
        ..DistributedSettings::new(TABLE)
    };
    let processes: Vec<Breaker<MemoryStore>> =
        (0..PROCESSES).map(|_| breaker_with(&store, &world, settings.clone())).collect();
    let mut changes = store.store.changes(TABLE).unwrap();
    let mut calls: Vec<Pass<'_, Watched<MemoryStore>, World>> = Vec::new();
    for act in acts {
        let manual = |forced| Manual { who: "t".into(), reason: "t".into(), forced };
        let mut by_hand = false;
        match act {
            Act::Ask(at) => calls.extend(processes[at].permit().await),
            Act::End(at, outcome) if at < calls.len() => calls.remove(at).finish(outcome).await,
            Act::Drop(at) if at < calls.len() => drop(calls.remove(at)),
            Act::End(..) | Act::Drop(_) => {}
            Act::Advance(ms) => world.advance_ms(ms),
            Act::Fault(fate) => {
                let next = store.writes();
                store.plan(move |nth| if nth == next { fate } else { Fate::Fine });
            }
            Act::Unreadable(broken) => store.break_reads(broken),
            Act::Open(at, forced) => by_hand = processes[at].open(&manual(forced), None).await.is_ok(),
            Act::Close(at) => by_hand = processes[at].close(&manual(false), None).await.is_ok(),
            Act::Release(at) => by_hand = processes[at].release(&manual(false), None).await.is_ok(),
        }
        for change in changes.take(100) {
            check(&read(change.old.as_ref()), &read(change.new.as_ref()), by_hand);
        }
    }
    // Once nothing goes wrong any more, and nobody forces it, a healthy dependency closes the breaker.
    drop(calls);
    store.plan(|_| Fate::Fine);
    store.break_reads(false);
    processes[0].release(&Manual::new("t", "t"), None).await.unwrap();
    let mut rounds = 0;
    while read(store.store.items(TABLE).first()).state != State::Closed {
        for process in &processes {
            world.advance_ms(1_000);
            if let Ok(pass) = process.permit().await {
                pass.finish(Outcome::Success).await;
            }
        }
        rounds += 1;
        assert!(
            rounds < 30,
            "it closes within a minute and a half: {:?} at {}",
            store.store.items(TABLE),
            world.now_ms()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn every_change_of_the_row_is_legal_whatever_happens(acts in acts()) {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(play(acts));
    }
}
