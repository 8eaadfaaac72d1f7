use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use lambda_queue::idempotency::{
    Answer, Applied, Call, Capability, EffectKey, EffectRecords as _, How, Idempotency, IdempotencyError, Lookup,
    Oversize, ResultCache, Seen, Settings,
};
use lambda_queue::memory::{Fault, MemoryStore, World};
use lambda_queue::ports::store::{Reason, Write, number, number_of, text, text_of};
use lambda_queue::{Clock as _, Failure};
use serde_json::json;

use super::{KEPT_MS, TABLE, fault_at, fingerprint, key, leases, setup};

const AUTHORITATIVE: Capability =
    Capability { idempotency_window_ms: None, lookup: Lookup::Authoritative, settle_ms: 10_000 };

fn settings() -> Settings {
    Settings::new(TABLE, KEPT_MS)
}

struct Bench {
    store: MemoryStore,
    world: World,
    settings: Settings,
    ran: AtomicUsize,
}

impl Bench {
    fn new(settings: Settings) -> Self {
        let (store, world) = setup();
        Self { store, world, settings, ran: AtomicUsize::new(0) }
    }

    /// Runs with this payload and capability; the handler answers how often it ran, or the failure.
    async fn run(
        &self,
        payload: u32,
        capability: Capability,
        failure: Option<Failure>,
    ) -> Result<Answer<usize>, IdempotencyError> {
        let idempotency = Idempotency::new(&self.store, &self.world, &self.settings);
        let (key, fingerprint) = (key("a"), fingerprint(payload));
        let call = Call { key: &key, fingerprint: &fingerprint, lease_until_ms: self.world.now_ms() + 20_000 };
        let handler = |_| async {
            let ran = self.ran.fetch_add(1, Ordering::SeqCst) + 1;
            failure.map_or(Ok(ran), Err)
        };
        idempotency.run(call, capability, handler).await
    }

    async fn look_up(&self, seen: Result<Seen<usize>, Failure>) -> Result<Answer<usize>, IdempotencyError> {
        let idempotency = Idempotency::new(&self.store, &self.world, &self.settings);
        let (key, fingerprint) = (key("a"), fingerprint(1));
        let call = Call { key: &key, fingerprint: &fingerprint, lease_until_ms: self.world.now_ms() + 20_000 };
        let handler = |_| async { Ok(self.ran.fetch_add(1, Ordering::SeqCst) + 1) };
        idempotency.run_looking_up(call, AUTHORITATIVE, |_| async { seen }, handler).await
    }

    fn ran(&self) -> usize {
        self.ran.load(Ordering::SeqCst)
    }
}

fn unknown() -> Failure {
    Failure::Unknown { key: "k".into(), until_ms: 0, why: "reset".into() }
}

#[tokio::test]
async fn a_call_runs_once_and_is_replayed_afterwards() {
    let bench = Bench::new(settings());
    assert_eq!(bench.run(1, Capability::UNKNOWN, None).await, Ok(Answer { value: 1, how: How::Ran }));
    for _ in 0..3 {
        assert_eq!(bench.run(1, Capability::UNKNOWN, None).await, Ok(Answer { value: 1, how: How::Replayed }));
    }
    assert_eq!(bench.run(2, Capability::UNKNOWN, None).await, Err(IdempotencyError::Conflict));
    assert!(matches!(Failure::from(IdempotencyError::Conflict), Failure::Poison { .. }));
    assert_eq!(bench.ran(), 1);
}

#[tokio::test]
async fn a_held_lease_is_busy_while_it_lives_then_a_deferral_to_its_end_and_another_payload_a_conflict() {
    let bench = Bench::new(settings());
    assert!(bench.run(1, AUTHORITATIVE, Some(unknown())).await.is_err());
    let until_ms = bench.world.now_ms() + 20_000 + 10_000;
    let error = bench.run(1, AUTHORITATIVE, None).await.unwrap_err();
    assert_eq!(error, IdempotencyError::InProgress { until_ms, live: true });
    assert!(matches!(Failure::from(error), Failure::Busy { until_ms: until, .. } if until == until_ms));
    bench.world.advance_ms(20_000);
    let error = bench.run(1, AUTHORITATIVE, None).await.unwrap_err();
    assert_eq!(error, IdempotencyError::InProgress { until_ms, live: false });
    assert!(matches!(Failure::from(error), Failure::Defer { until_ms: until, .. } if until == until_ms));
    assert_eq!(bench.run(2, AUTHORITATIVE, None).await, Err(IdempotencyError::Conflict));
    assert_eq!(bench.ran(), 1);
}

#[tokio::test]
async fn an_unknown_outcome_is_looked_up_and_adopted_when_found() {
    let bench = Bench::new(settings());
    assert_eq!(bench.run(1, AUTHORITATIVE, Some(unknown())).await, Err(IdempotencyError::Handler(unknown())));
    bench.world.advance_ms(30_000);
    let failed = bench.look_up(Err(Failure::retry("429"))).await.unwrap_err();
    assert!(matches!(Failure::from(failed), Failure::Unknown { .. }));
    bench.world.advance_ms(30_000);
    assert_eq!(bench.look_up(Ok(Seen::Found(77))).await, Ok(Answer { value: 77, how: How::Adopted }));
    assert_eq!(bench.run(1, AUTHORITATIVE, None).await, Ok(Answer { value: 77, how: How::Replayed }));
    assert_eq!(bench.ran(), 1);
}

#[tokio::test]
async fn an_effect_that_surely_did_not_happen_runs_under_a_new_key() {
    let bench = Bench::new(settings());
    assert!(bench.run(1, AUTHORITATIVE, Some(unknown())).await.is_err());
    bench.world.advance_ms(30_000);
    assert_eq!(bench.look_up(Ok(Seen::NotFound)).await, Ok(Answer { value: 2, how: How::Ran }));
    assert_eq!(number_of(&bench.store.items(TABLE)[0], "generation"), Some(1));
}

#[tokio::test]
async fn what_nobody_can_tell_is_parked_and_stays_in_doubt() {
    let bench = Bench::new(settings());
    assert!(bench.run(1, Capability::UNKNOWN, Some(Failure::bug("panic"))).await.is_err());
    bench.world.advance_ms(20_000);
    for _ in 0..2 {
        let parked = bench.run(1, Capability::UNKNOWN, None).await.unwrap_err();
        assert!(matches!(&parked, IdempotencyError::Parked { .. }), "{parked:?}");
        assert!(matches!(Failure::from(parked), Failure::Poison { .. }));
        assert_eq!(number_of(&bench.store.items(TABLE)[0], "attempts"), Some(0));
    }
    assert_eq!(bench.ran(), 1);
}

#[tokio::test]
async fn a_failure_that_surely_did_not_run_leaves_nothing_behind() {
    for failure in [Failure::retry("429"), Failure::Defer { until_ms: 9, why: "open".into() }] {
        let bench = Bench::new(settings());
        assert_eq!(
            bench.run(1, Capability::UNKNOWN, Some(failure.clone())).await,
            Err(IdempotencyError::Handler(failure))
        );
        assert!(bench.store.items(TABLE).is_empty());
        assert_eq!(bench.run(1, Capability::UNKNOWN, None).await.unwrap().how, How::Ran);
    }
}

#[tokio::test]
async fn a_surely_failed_repeat_under_the_same_key_leaves_the_earlier_doubt() {
    let keys = Capability { idempotency_window_ms: Some(60_000), lookup: Lookup::None, settle_ms: 10 };
    let bench = Bench::new(settings());
    assert!(bench.run(1, keys, Some(unknown())).await.is_err());
    bench.world.advance_ms(20_010);
    assert!(bench.run(1, keys, Some(Failure::retry("429"))).await.is_err());
    assert_eq!(text_of(&bench.store.items(TABLE)[0], "status"), Some("IN_PROGRESS"));
    // The window closes: were the record free, a second effect would begin here.
    bench.world.advance_ms(60_000);
    assert!(matches!(bench.run(1, keys, None).await, Err(IdempotencyError::Parked { .. })));
}

#[tokio::test]
async fn attempts_are_bounded() {
    let bench = Bench::new(settings());
    for _ in 0..12 {
        assert!(bench.run(1, Capability::REPEATABLE, Some(unknown())).await.is_err());
        bench.world.advance_ms(20_000);
    }
    assert!(matches!(bench.run(1, Capability::REPEATABLE, None).await, Err(IdempotencyError::Parked { .. })));
    assert_eq!(bench.ran(), 12);
}

#[tokio::test]
async fn an_expired_record_counts_as_none_though_the_table_still_has_it() {
    let bench = Bench::new(settings());
    bench.run(1, Capability::UNKNOWN, None).await.unwrap();
    bench.world.advance_ms(KEPT_MS - 1_000);
    assert_eq!(bench.run(1, Capability::UNKNOWN, None).await.unwrap().how, How::Replayed);
    bench.world.advance_ms(1_000);
    assert_eq!(bench.run(2, Capability::UNKNOWN, None).await, Ok(Answer { value: 2, how: How::Ran }));
}

#[tokio::test]
async fn a_replay_from_the_cache_makes_no_call_and_still_sees_a_conflict() {
    let cache = ResultCache::new(NonZeroUsize::new(10).unwrap(), 10_000);
    let bench = Bench::new(settings().cache(cache));
    bench.run(1, Capability::UNKNOWN, None).await.unwrap();
    bench.store.set_faults(|call| panic!("a call: {call:?}"));
    assert_eq!(bench.run(1, Capability::UNKNOWN, None).await, Ok(Answer { value: 1, how: How::Cached }));
    assert_eq!(bench.run(2, Capability::UNKNOWN, None).await, Err(IdempotencyError::Conflict));
    bench.store.clear_faults();
    bench.world.advance_ms(KEPT_MS);
    assert_eq!(bench.run(1, Capability::UNKNOWN, None).await, Ok(Answer { value: 2, how: How::Ran }));
}

#[tokio::test]
async fn a_result_over_the_limit_is_never_run_again() {
    for (policy, first) in [
        (Oversize::Refuse, Err(IdempotencyError::TooLarge { bytes: 1 })),
        (Oversize::Mark, Ok(Answer { value: 1, how: How::Ran })),
    ] {
        let bench = Bench::new(settings().results(0, policy));
        assert_eq!(bench.run(1, Capability::UNKNOWN, None).await, first);
        assert_eq!(bench.run(1, Capability::UNKNOWN, None).await, Err(IdempotencyError::TooLarge { bytes: 1 }));
        assert_eq!(bench.ran(), 1);
    }
}

#[tokio::test]
async fn the_replay_hook_may_change_a_result_or_refuse_it() {
    let bench = Bench::new(settings().on_replay(|value, stored| {
        assert!(stored.expires_ms.is_some());
        if value == json!(1) { Ok(json!(100)) } else { Err(Failure::bug("not ours")) }
    }));
    bench.run(1, Capability::UNKNOWN, None).await.unwrap();
    assert_eq!(bench.run(1, Capability::UNKNOWN, None).await.unwrap().value, 100);
    let bench = Bench::new(settings().on_replay(|_, _| Err(Failure::retry("no"))));
    bench.run(1, Capability::UNKNOWN, None).await.unwrap();
    assert_eq!(bench.run(1, Capability::UNKNOWN, None).await, Err(IdempotencyError::Handler(Failure::retry("no"))));
}

#[tokio::test]
async fn switched_off_it_makes_no_call_and_runs_every_time() {
    let bench = Bench::new(settings().disabled(true));
    bench.store.set_faults(|call| panic!("a call: {call:?}"));
    for ran in 1..3 {
        assert_eq!(bench.run(1, Capability::UNKNOWN, None).await, Ok(Answer { value: ran, how: How::Unguarded }));
    }
}

#[tokio::test(start_paused = true)]
async fn with_any_fault_at_any_call_the_handler_runs_once() {
    for fault in [Fault::Lost, Fault::Vanished, Fault::Throttle, Fault::Conflict] {
        for at in 0..6 {
            let bench = Bench::new(settings());
            fault_at(&bench.store, at, fault.clone());
            let mut answers = Vec::new();
            for _ in 0..6 {
                answers.push(bench.run(1, Capability::UNKNOWN, None).await);
            }
            bench.store.clear_faults();
            answers.push(bench.run(1, Capability::UNKNOWN, None).await);
            assert_eq!(bench.ran(), 1, "{fault:?} at {at}: {answers:?}");
            assert!(answers.iter().flatten().all(|answer| answer.value == 1));
            assert!(answers[6].is_ok(), "{fault:?} at {at}: {answers:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_that_cannot_be_recorded_is_doubt_not_a_second_run() {
    let bench = Bench::new(settings());
    let mut calls = 0;
    bench.store.set_faults(move |_| {
        calls += 1;
        if calls == 1 { Fault::None } else { Fault::Throttle }
    });
    let error = bench.run(1, AUTHORITATIVE, None).await.unwrap_err();
    assert!(matches!(Failure::from(error), Failure::Unknown { .. }));
    bench.store.clear_faults();
    bench.world.advance_ms(30_000);
    assert_eq!(bench.look_up(Ok(Seen::Found(1))).await, Ok(Answer { value: 1, how: How::Adopted }));
    assert_eq!(bench.ran(), 1);
}

#[tokio::test]
async fn a_taken_lease_cannot_be_completed() {
    let (store, world) = setup();
    let settings = settings();
    let (a, f) = (key("a"), fingerprint(1));
    let call = Call { key: &a, fingerprint: &f, lease_until_ms: world.now_ms() + 1 };
    let taken = EffectKey { record: a.as_str().into(), operation: "call".into(), version: 0 };
    let slow = Idempotency::new(&store, &world, &settings);
    let result = slow
        .run(call, Capability::UNKNOWN, |_| async {
            world.advance_ms(10);
            leases(&store, &world).claim(&taken, world.now_ms() + 20_000, 0).await?;
            Ok(5)
        })
        .await;
    assert!(matches!(result, Err(IdempotencyError::LeaseLost { .. })), "{result:?}");
    assert_eq!(text_of(&store.items(TABLE)[0], "status"), Some("IN_PROGRESS"));
}

fn debit(most: u32) -> Write {
    let key = [("id".to_owned(), text("sku"))].into();
    Write::update("rows", key, "SET available = available - :q").when("available >= :q").value(":q", number(most))
}

async fn stocked() -> Bench {
    use lambda_queue::ports::store::Store as _;
    let bench = Bench::new(settings());
    let item = [("id".to_owned(), text("sku")), ("available".to_owned(), number(5))].into();
    bench.store.write(Write::put("rows", item)).await.unwrap();
    bench
}

async fn apply(bench: &Bench, payload: u32, quantity: u32) -> Result<Applied<String>, IdempotencyError> {
    let idempotency = Idempotency::new(&bench.store, &bench.world, &bench.settings);
    let (key, fingerprint) = (key("a"), fingerprint(payload));
    let call = Call { key: &key, fingerprint: &fingerprint, lease_until_ms: 0 };
    idempotency.apply(call, format!("took {quantity}"), vec![debit(quantity)]).await
}

#[tokio::test(start_paused = true)]
async fn one_transaction_does_it_once_whatever_fault_at_any_call() {
    for fault in [Fault::None, Fault::Lost, Fault::Vanished, Fault::Throttle, Fault::Conflict] {
        for at in 0..3 {
            let bench = stocked().await;
            fault_at(&bench.store, at, fault.clone());
            let answer = |how| Ok(Applied::Answer(Answer { value: "took 2".to_owned(), how }));
            assert_eq!(apply(&bench, 1, 2).await, answer(How::Ran), "{fault:?} at {at}");
            assert_eq!(apply(&bench, 1, 2).await, answer(How::Replayed), "{fault:?} at {at}");
            assert_eq!(apply(&bench, 2, 2).await, Err(IdempotencyError::Conflict));
            assert_eq!(number_of(&bench.store.items("rows")[0], "available"), Some(3));
        }
    }
}

#[tokio::test]
async fn a_refused_business_write_leaves_no_record() {
    let bench = stocked().await;
    let Ok(Applied::Refused(reasons)) = apply(&bench, 1, 6).await else { panic!("oversold") };
    assert!(matches!(reasons.as_slice(), [Reason::ConditionFailed(Some(_))]));
    assert!(bench.store.items(TABLE).is_empty());
    assert!(matches!(apply(&bench, 1, 5).await, Ok(Applied::Answer(_))));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_tasks_over_ten_keys_run_each_effect_exactly_once() {
    let (store, world) = setup();
    let settings = std::sync::Arc::new(settings());
    let ran: std::sync::Arc<Vec<AtomicUsize>> = std::sync::Arc::new((0..10).map(|_| AtomicUsize::new(0)).collect());
    let tasks: Vec<_> = (0..1_000_usize)
        .map(|at| {
            let (store, world) = (store.clone(), world.clone());
            let (settings, ran) = (std::sync::Arc::clone(&settings), std::sync::Arc::clone(&ran));
            tokio::spawn(async move {
                let (key, fingerprint) = (key(&(at % 10).to_string()), fingerprint(1));
                loop {
                    let idempotency = Idempotency::new(&store, &world, &settings);
                    let lease_until_ms = world.now_ms() + 20_000;
                    let call = Call { key: &key, fingerprint: &fingerprint, lease_until_ms };
                    let handler = |_| async {
                        tokio::task::yield_now().await;
                        ran[at % 10].fetch_add(1, Ordering::SeqCst);
                        Ok(at % 10)
                    };
                    match idempotency.run(call, Capability::UNKNOWN, handler).await {
                        Ok(answer) => return assert_eq!(answer.value, at % 10),
                        Err(IdempotencyError::InProgress { .. }) => tokio::task::yield_now().await,
                        Err(other) => panic!("{other:?}"),
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(ran.iter().all(|ran| ran.load(Ordering::SeqCst) == 1));
}
