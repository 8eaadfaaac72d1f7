//! The promise as a model: whatever owners, crashes, lost answers and clocks do, the provider executes an effect once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use lambda_queue::idempotency::{
    Answer, Call, Capability, Fingerprint, How, Idempotency, IdempotencyError, Key, Lease, Lookup, Seen, Settings,
};
use lambda_queue::memory::{Fault, MemoryStore, World};
use lambda_queue::{Clock as _, Failure};
use proptest::prelude::*;

use super::{KEPT_MS, TABLE, fingerprint, key, table};

const SETTLE_MS: u64 = 3_000;
const DEADLINE_MS: u64 = 15_000;
const WINDOW_MS: u64 = 60_000;
const OWNERS: usize = 4;
const BACK_MS: u64 = 4_000;

/// Bytes of the case, one after the other; zeros, which mean that all goes well, when they are used up.
struct Dice(Vec<u8>);

impl Dice {
    fn next(&mut self) -> u8 {
        self.0.pop().unwrap_or(0)
    }
}

/// What happened, in its order.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Event {
    Sent(String),
    LookedUp,
}

/// A provider that keeps its word, and no more.
struct Provider {
    capability: Capability,
    dice: Dice,
    /// When each was executed; the future holds those still under way.
    executed: Vec<u64>,
    keys: HashMap<String, u64>,
    events: Vec<Event>,
}

impl Provider {
    fn call(&mut self, key: String, now_ms: u64) -> Result<u64, Failure> {
        let luck = self.dice.next() % 8;
        if luck == 1 {
            return Err(Failure::retry("429"));
        }
        let unknown = || Failure::Unknown { key: "effect".into(), until_ms: 0, why: "reset".into() };
        self.events.push(Event::Sent(key.clone()));
        if luck == 2 {
            return Err(unknown());
        }
        let delay_ms = if luck == 3 { u64::from(self.dice.next()) * SETTLE_MS / 256 } else { 0 };
        let window_ms = self.capability.idempotency_window_ms.unwrap_or(0);
        let known = self.keys.get(&key).is_some_and(|since_ms| now_ms < since_ms.saturating_add(window_ms));
        if !known {
            self.keys.insert(key, now_ms);
            self.executed.push(now_ms + delay_ms);
        }
        if matches!(luck, 3 | 4) { Err(unknown()) } else { Ok(7) }
    }

    fn look_up(&mut self, now_ms: u64) -> Result<Seen<u64>, Failure> {
        if self.capability.lookup == Lookup::None {
            return Ok(Seen::NotLooked);
        }
        let luck = self.dice.next() % 8;
        if luck == 1 {
            return Err(Failure::retry("the look-up failed"));
        }
        self.events.push(Event::LookedUp);
        let lags = self.capability.lookup == Lookup::Eventual && luck > 4;
        let found = self.executed.iter().any(|at_ms| *at_ms <= now_ms) && !lags;
        Ok(if found { Seen::Found(7) } else { Seen::NotFound })
    }
}

type Session = Pin<Box<dyn Future<Output = Result<Answer<u64>, IdempotencyError>>>>;

/// What every owner shares.
struct Shared {
    store: MemoryStore,
    world: World,
    settings: Settings,
    key: Key,
    fingerprint: Fingerprint,
    provider: RefCell<Provider>,
}

fn session(shared: Rc<Shared>) -> Session {
    Box::pin(async move {
        let idempotency = Idempotency::new(&shared.store, &shared.world, &shared.settings);
        let lease_until_ms = shared.world.now_ms() + DEADLINE_MS + 5_000;
        let call = Call { key: &shared.key, fingerprint: &shared.fingerprint, lease_until_ms };
        let capability = shared.provider.borrow().capability;
        let handler = |lease: Lease| {
            let shared = &shared;
            async move {
                tokio::task::yield_now().await;
                let answer = shared.provider.borrow_mut().call(lease.provider_key(), shared.world.now_ms());
                tokio::task::yield_now().await;
                answer
            }
        };
        let look_up = |_| {
            let shared = &shared;
            async move {
                tokio::task::yield_now().await;
                shared.provider.borrow_mut().look_up(shared.world.now_ms())
            }
        };
        idempotency.run_looking_up(call, capability, look_up, handler).await
    })
}

fn capabilities() -> Vec<Capability> {
    let mut all = Vec::new();
    for lookup in [Lookup::Authoritative, Lookup::Eventual, Lookup::None] {
        for idempotency_window_ms in [None, Some(WINDOW_MS)] {
            all.push(Capability { idempotency_window_ms, lookup, settle_ms: SETTLE_MS });
        }
    }
    all
}

async fn play(capability: Capability, steps: Vec<(u8, u8)>, luck: Vec<u8>, faults: Vec<u8>) {
    let world = World::with_tokio(1);
    let store = MemoryStore::new(world.clone()).with(table());
    let mut dice = Dice(faults);
    store.set_faults(move |_| match dice.next() % 10 {
        1 => Fault::Lost,
        2 => Fault::Vanished,
        3 => Fault::Throttle,
        _ => Fault::None,
    });
    let provider = Provider { capability, dice: Dice(luck), executed: vec![], keys: HashMap::new(), events: vec![] };
    let shared = Rc::new(Shared {
        store: store.clone(),
        world: world.clone(),
        settings: Settings::new(TABLE, KEPT_MS),
        key: key("effect"),
        fingerprint: fingerprint(1),
        provider: RefCell::new(provider),
    });
    let mut back_left_ms = BACK_MS;
    let mut owners: Vec<Option<(u64, Session)>> = (0..OWNERS).map(|_| None).collect();
    for (action, argument) in steps {
        let at = usize::from(argument) % OWNERS;
        match action % 10 {
            0..7 => {
                let (_, running) = owners[at]
                    .get_or_insert_with(|| (shared.world.now_ms() + DEADLINE_MS, session(Rc::clone(&shared))));
                if let Poll::Ready(answer) = running.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    owners[at] = None;
                    check_answer(&shared, &answer);
                }
            }
            // Killed.
            7 => owners[at] = None,
            // The clock goes back, by less than a lease outlives its owner: that much two clocks may differ.
            8 => {
                let back_ms = back_left_ms.min(u64::from(argument) * 10);
                back_left_ms -= back_ms;
                world.set_ms(world.now_ms() - back_ms);
            }
            _ => tokio::time::advance(std::time::Duration::from_millis(u64::from(argument) * 300)).await,
        }
        // Lambda ends what runs past its deadline.
        let now_ms = world.now_ms();
        for owner in &mut owners {
            if owner.as_ref().is_some_and(|(deadline_ms, _)| *deadline_ms <= now_ms) {
                *owner = None;
            }
        }
        check(&shared);
    }
    // Once nothing goes wrong any more, it comes to an end.
    drop(owners);
    store.clear_faults();
    shared.provider.borrow_mut().dice = Dice(vec![]);
    for _ in 0..4 {
        tokio::time::advance(std::time::Duration::from_millis(60_000)).await;
        let answer = session(Rc::clone(&shared)).await;
        check(&shared);
        check_answer(&shared, &answer);
        match answer {
            Ok(_) => {
                assert_eq!(shared.provider.borrow().executed.len(), 1);
                return;
            }
            Err(IdempotencyError::Parked { .. }) if capability.lookup != Lookup::Authoritative => return,
            Err(IdempotencyError::Parked { why }) if why.contains("attempts") => return,
            Err(other) => assert!(matches!(other, IdempotencyError::InProgress { .. }), "{other:?}"),
        }
    }
    panic!("it never came to an end");
}

fn check_answer(shared: &Shared, answer: &Result<Answer<u64>, IdempotencyError>) {
    if let Ok(answer) = answer {
        assert_eq!(answer.value, 7);
        assert_ne!(answer.how, How::Unguarded);
        assert_eq!(shared.provider.borrow().executed.len(), 1, "an answer without an effect");
    }
}

fn check(shared: &Shared) {
    let provider = shared.provider.borrow();
    assert!(provider.executed.len() <= 1, "executed twice: {:?}", provider.events);
    // Between two requests under different keys somebody looked; under the same key only where keys are honoured.
    let mut last: Option<&String> = None;
    for event in &provider.events {
        match event {
            Event::LookedUp => last = None,
            Event::Sent(key) => {
                let honoured = provider.capability.idempotency_window_ms.is_some() && last == Some(key);
                assert!(last.is_none() || honoured, "repeated blindly: {:?}", provider.events);
                last = Some(key);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]
    #[test]
    fn no_interleaving_crash_lost_answer_or_clock_runs_an_effect_twice_or_without_a_look(
        capability in 0_usize..6,
        steps in prop::collection::vec(any::<(u8, u8)>(), 0..150),
        luck in prop::collection::vec(any::<u8>(), 0..12),
        faults in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(play(capabilities()[capability], steps, luck, faults));
    }
}
