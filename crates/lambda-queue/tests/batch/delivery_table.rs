//! The delivery modes over a table, as the crate has them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lambda_queue::batch::delivery::{TableClaims, TableEffects, at_most_once, effectively_once};
use lambda_queue::idempotency::{Capability, Fingerprint, Lookup, Namespace, Seen, Settings};
use lambda_queue::memory::{Fault, KeyType, MemoryStore, Table, World};
use lambda_queue::ports::store::{number_of, text_of};
use lambda_queue::{Answer, Clock as _, Done, Failure, Record, RecordContext, Verdict};

use crate::support::owes;

const TABLE: &str = "idempotency";
const KEPT_MS: u64 = 28 * 86_400_000;
/// From a receive to its invocation's deadline.
const TIME_MS: u64 = 15_000;

fn setup() -> (MemoryStore, World) {
    let world = World::new(1);
    let table = Table::new(TABLE, "key", KeyType::S).expiring_by("expires_at");
    (MemoryStore::new(world.clone()).with(table), world)
}

fn namespace() -> Namespace {
    Namespace::new("notify", "mail").unwrap()
}

fn claims(store: &MemoryStore, world: &World) -> Arc<TableClaims<MemoryStore, World>> {
    Arc::new(TableClaims::new(Arc::new(store.clone()), Arc::new(world.clone()), namespace(), TABLE, KEPT_MS))
}

fn effects(store: &MemoryStore, world: &World, capability: Capability) -> TableEffects<MemoryStore, World> {
    let settings = Settings::new(TABLE, KEPT_MS);
    TableEffects::new(Arc::new(store.clone()), Arc::new(world.clone()), settings, namespace(), capability)
}

fn key(record: &Record) -> Result<String, Failure> {
    let id = record.attribute("work").unwrap_or_default();
    Ok(id.to_owned())
}

/// A receive now of the work `k`, with this body.
fn received(world: &World, count: u32, body: &str) -> Arc<Record> {
    let deadline_ms = world.now_ms() + TIME_MS;
    let handler_deadline_ms = deadline_ms - 2_000;
    let context =
        RecordContext { receive_count: count, sent_ms: world.now_ms(), group: None, handler_deadline_ms, deadline_ms };
    let mut record = Record::new("m", body, context);
    record.attributes.push(lambda_queue::batch::Attribute {
        name: "work".to_owned(),
        data_type: "String".to_owned(),
        value: "k".to_owned(),
    });
    Arc::new(record)
}

/// A handler that does what the body says, and how often it ran.
fn handler() -> (Arc<AtomicUsize>, impl Fn(Arc<Record>) -> futures::future::BoxFuture<'static, Answer> + Clone) {
    let ran = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ran);
    let handler = move |record: Arc<Record>| -> futures::future::BoxFuture<'static, Answer> {
        count.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            match record.body.as_str() {
                "refused" => Err(Failure::retry("429")),
                "unknown" => Err(Failure::Unknown { key: "k".to_owned(), until_ms: 0, why: "reset".to_owned() }),
                "owing" => Ok(Done::now(vec![owes("next", "m")])),
                _ => Ok(Done::now(Vec::new())),
            }
        })
    };
    (ran, handler)
}

fn status(store: &MemoryStore) -> Option<String> {
    store.items(TABLE).first().and_then(|record| text_of(record, "status").map(str::to_owned))
}

#[tokio::test]
async fn at_most_once_claims_acts_and_completes_the_claim() {
    let (store, world) = setup();
    let (ran, work) = handler();
    let once = at_most_once(claims(&store, &world), key, work);
    assert_eq!(once(received(&world, 1, "fine")).await.unwrap().verdict, Verdict::Done);
    let record = store.items(TABLE).remove(0);
    assert_eq!(number_of(&record, "expires_at"), Some((world.now_ms() + KEPT_MS) / 1_000), "{record:?}");
    // Another process, too.
    let (_, other) = handler();
    let other = at_most_once(claims(&store, &world), key, other);
    for answer in [once(received(&world, 2, "fine")).await, other(received(&world, 2, "fine")).await] {
        assert_eq!(answer, Ok(Done::already()));
    }
    assert_eq!(ran.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn at_most_once_only_what_surely_did_not_happen_is_tried_again() {
    for (body, runs) in [("refused", 2), ("unknown", 1)] {
        let (store, world) = setup();
        let (ran, work) = handler();
        let once = at_most_once(claims(&store, &world), key, work);
        assert!(once(received(&world, 1, body)).await.is_err());
        world.advance_ms(TIME_MS);
        assert!(once(received(&world, 2, "fine")).await.is_ok());
        assert_eq!(ran.load(Ordering::SeqCst), runs, "{body}");
    }
}

#[tokio::test]
async fn at_most_once_a_copy_beside_a_claimant_at_work_is_busy_and_acts_where_that_one_did_not() {
    let (store, world) = setup();
    let (ran, work) = handler();
    let copy = at_most_once(claims(&store, &world), key, work);
    let (beside, clock) = (copy.clone(), world.clone());
    let first = at_most_once(claims(&store, &world), key, move |record: Arc<Record>| {
        let (copy, world) = (beside.clone(), clock.clone());
        async move {
            let held = copy(received(&world, 1, "fine")).await;
            let until_ms = record.context.deadline_ms;
            assert_eq!(held, Err(Failure::busy(until_ms, "another worker is at it")));
            Err(Failure::retry("429"))
        }
    });
    assert!(first(received(&world, 1, "fine")).await.is_err());
    // Its acknowledgement would have deleted the message: nobody would act.
    assert_eq!(copy(received(&world, 2, "fine")).await.unwrap().verdict, Verdict::Done);
    assert_eq!(ran.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn at_most_once_behind_a_claimant_that_died_a_copy_is_busy_to_its_deadline_and_then_acknowledged() {
    let (store, world) = setup();
    let (ran, work) = handler();
    let once = at_most_once(claims(&store, &world), key, work);
    let until_ms = world.now_ms() + TIME_MS;
    assert!(once(received(&world, 1, "unknown")).await.is_err());
    world.set_ms(until_ms - 1);
    let held = once(received(&world, 2, "fine")).await;
    assert!(matches!(held, Err(Failure::Busy { until_ms: until, .. }) if until == until_ms), "{held:?}");
    world.set_ms(until_ms);
    assert_eq!(once(received(&world, 3, "fine")).await, Ok(Done::already()));
    assert_eq!(ran.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn at_most_once_two_processes_with_the_same_receive_act_once() {
    let (store, world) = setup();
    let ((ran, first), (also, second)) = (handler(), handler());
    let first = at_most_once(claims(&store, &world), key, first);
    let second = at_most_once(claims(&store, &world), key, second);
    let (one, other) = futures::join!(first(received(&world, 1, "fine")), second(received(&world, 1, "fine")));
    for answer in [&one, &other] {
        assert!(matches!(answer, Ok(_) | Err(Failure::Busy { .. })), "{answer:?}");
    }
    assert_eq!(ran.load(Ordering::SeqCst) + also.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn at_most_once_no_fault_of_a_claim_silences_an_effect_that_never_began() {
    let lost = [
        vec![Fault::Lost, Fault::Throttle, Fault::Throttle],
        vec![Fault::Lost; 3],
        vec![Fault::Throttle],
        vec![Fault::Lost, Fault::Throttle, Fault::Throttle, Fault::Lost],
    ];
    for faulty in lost {
        let (store, world) = setup();
        let (ran, work) = handler();
        let once = at_most_once(claims(&store, &world), key, work);
        let mut left = faulty.clone().into_iter();
        store.set_faults(move |_| left.next().unwrap_or_default());
        let failed = once(received(&world, 1, "fine")).await;
        assert!(matches!(failed, Err(Failure::Retry { .. })), "{faulty:?}: {failed:?}");
        assert_eq!(ran.load(Ordering::SeqCst), 0);
        assert!(once(received(&world, 2, "fine")).await.is_ok());
        assert_eq!(ran.load(Ordering::SeqCst), 1, "{faulty:?}");
    }
}

#[tokio::test]
async fn effectively_once_a_copy_sends_again_what_the_first_owed() {
    for (body, replayed) in [("owing", Done::resent(vec![owes("next", "m")])), ("fine", Done::already())] {
        let (store, world) = setup();
        let (ran, work) = handler();
        let once = effectively_once(Arc::new(effects(&store, &world, Capability::UNKNOWN)), key, work);
        assert_eq!(once(received(&world, 1, body)).await.unwrap().verdict, Verdict::Done);
        for _ in 0..2 {
            assert_eq!(once(received(&world, 2, body)).await, Ok(replayed.clone()));
        }
        assert_eq!(ran.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn effectively_once_the_lease_outlasts_the_deadline_and_what_is_in_doubt_is_looked_up() {
    let capability = Capability { idempotency_window_ms: None, lookup: Lookup::Authoritative, settle_ms: 10_000 };
    let (store, world) = setup();
    let (ran, work) = handler();
    let found = Done::now(vec![owes("next", "found")]);
    let (seen, asked) = (found.clone(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    let effects = effects(&store, &world, capability).payload(|_| Ok(Fingerprint::of("k").unwrap()));
    let effects = effects.looking_up(move |key| {
        assert_eq!(key, "k");
        count.fetch_add(1, Ordering::SeqCst);
        let seen = seen.clone();
        async move { Ok(Seen::Found(seen)) }
    });
    let once = effectively_once(Arc::new(effects), key, work);
    let began_ms = world.now_ms();
    assert!(matches!(once(received(&world, 1, "unknown")).await, Err(Failure::Unknown { .. })));
    let until_ms = began_ms + TIME_MS + 5_000 + 10_000;
    world.advance_ms(TIME_MS + 4_999);
    let held = once(received(&world, 2, "unknown")).await;
    assert!(matches!(held, Err(Failure::Busy { until_ms: until, .. }) if until == until_ms), "{held:?}");
    world.set_ms(until_ms);
    assert_eq!(once(received(&world, 3, "unknown")).await, Ok(found), "what it owes was never sent");
    assert!(once(received(&world, 4, "unknown")).await.is_ok());
    assert_eq!((ran.load(Ordering::SeqCst), asked.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test]
async fn effectively_once_what_surely_did_not_run_runs_again_and_leaves_nothing() {
    let (store, world) = setup();
    let (ran, work) = handler();
    let effects = effects(&store, &world, Capability::UNKNOWN).payload(|_| Ok(Fingerprint::of("k").unwrap()));
    let once = effectively_once(Arc::new(effects), key, work);
    assert_eq!(once(received(&world, 1, "refused")).await, Err(Failure::retry("429")));
    assert_eq!(status(&store), None);
    assert!(once(received(&world, 2, "fine")).await.is_ok());
    assert_eq!((ran.load(Ordering::SeqCst), status(&store).as_deref()), (2, Some("COMPLETED")));
}

#[tokio::test]
async fn effectively_once_one_key_with_another_payload_is_poison_and_white_space_is_no_payload() {
    let (store, world) = setup();
    let (ran, work) = handler();
    let once = effectively_once(Arc::new(effects(&store, &world, Capability::UNKNOWN)), key, work);
    assert!(once(received(&world, 1, r#"{"a":1,"b":2}"#)).await.is_ok());
    assert_eq!(once(received(&world, 1, r#"{ "b": 2, "a": 1 }"#)).await, Ok(Done::already()));
    for other in [r#"{"a":1}"#, "no json"] {
        assert!(matches!(once(received(&world, 1, other)).await, Err(Failure::Poison { .. })), "{other}");
    }
    assert_eq!(ran.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn effectively_once_with_any_fault_at_any_call_the_handler_runs_once() {
    for fault in [Fault::Lost, Fault::Vanished, Fault::Throttle, Fault::Conflict] {
        for at in 0..4_usize {
            let (store, world) = setup();
            let (ran, work) = handler();
            let once = effectively_once(Arc::new(effects(&store, &world, Capability::UNKNOWN)), key, work);
            let (mut calls, fault) = (0_usize, fault.clone());
            let told = fault.clone();
            store.set_faults(move |_| {
                calls += 1;
                if calls == at + 1 { told.clone() } else { Fault::None }
            });
            let mut answers = Vec::new();
            for count in 1..=4 {
                answers.push(once(received(&world, count, "owing")).await);
            }
            assert_eq!(ran.load(Ordering::SeqCst), 1, "{fault:?} at {at}: {answers:?}");
            assert!(answers[3].as_ref().is_ok_and(|done| done.owes == [owes("next", "m")]), "{fault:?} at {at}");
        }
    }
}
