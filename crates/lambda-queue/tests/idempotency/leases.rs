use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lambda_queue::idempotency::{Claimed, Claims, EffectKey, EffectRecords as _, Ended, Lease, Leases, Receipt};
use lambda_queue::memory::{Fault, MemoryStore, World};
use lambda_queue::ports::store::{Item, Store as _, Transacted, Write, number, number_of, text, text_of};
use lambda_queue::{Clock as _, Failure};

use super::{KEPT_MS, TABLE, fault_at, leases, setup};

const SETTLE_MS: u64 = 30_000;

fn effect(operation: &str, version: u64) -> EffectKey {
    EffectKey { record: "payment#1".into(), operation: operation.into(), version }
}

async fn fresh(leases: &Leases<'_, MemoryStore, World>, key: &EffectKey, until_ms: u64) -> Lease {
    match leases.claim(key, until_ms, SETTLE_MS).await.unwrap() {
        Claimed::Fresh(lease) => lease,
        other => panic!("not fresh: {other:?}"),
    }
}

fn record(store: &MemoryStore) -> Item {
    store.items(TABLE).into_iter().next().unwrap()
}

#[tokio::test]
async fn an_expired_lease_is_doubt_once_the_settle_time_is_over_too_and_never_free() {
    let (store, world) = setup();
    let leases = leases(&store, &world);
    let key = effect("authorize#0", 2);
    let until_ms = world.now_ms() + 20_000;
    let first = fresh(&leases, &key, until_ms).await;
    for (wait_ms, live) in [(0, true), (19_999, true), (1, false), (SETTLE_MS - 1, false)] {
        world.advance_ms(wait_ms);
        let held = Claimed::Held { until_ms: until_ms + SETTLE_MS, live };
        assert_eq!(leases.claim(&key, world.now_ms() + 20_000, SETTLE_MS).await.unwrap(), held, "after {wait_ms}");
    }
    world.advance_ms(1);
    let Claimed::InDoubt(second) = leases.claim(&key, world.now_ms() + 20_000, SETTLE_MS).await.unwrap() else {
        panic!("not in doubt")
    };
    assert_eq!((second.attempts, second.generation), (2, 0));
    assert_eq!(second.key_since_ms, first.key_since_ms);
    assert_ne!(second.owner, first.owner);
}

#[tokio::test]
async fn a_loser_whose_lease_was_taken_can_neither_overwrite_nor_delete() {
    let (store, world) = setup();
    let leases = leases(&store, &world);
    let key = effect("authorize#0", 2);
    let loser = fresh(&leases, &key, world.now_ms() + 1).await;
    world.advance_ms(SETTLE_MS + 1);
    let Claimed::InDoubt(_) = leases.claim(&key, world.now_ms() + 20_000, SETTLE_MS).await.unwrap() else {
        panic!("not taken over")
    };
    let before = record(&store);
    assert!(matches!(leases.note(&loser, "x").await, Err(Failure::Retry { .. })));
    assert!(matches!(leases.raise_generation(&loser).await, Err(Failure::Retry { .. })));
    assert!(matches!(leases.free(&loser, true).await, Err(Failure::Retry { .. })));
    assert_eq!(leases.complete(&loser, Some("1"), Receipt::Stands).await, Ok(Ended::LeaseLost));
    assert_eq!(leases.park(&loser).await, Ok(Ended::LeaseLost));
    assert_eq!(leases.park_in_doubt(&loser).await, Ok(Ended::LeaseLost));
    assert_eq!(leases.leave_in_doubt(&loser).await, Ok(Ended::LeaseLost));
    assert_eq!(leases.forget(&loser).await, Ok(false));
    assert_eq!(record(&store), before);
}

#[tokio::test]
async fn what_is_parked_while_its_effect_may_come_yet_is_looked_up_no_sooner_than_if_nobody_had_parked_it() {
    let (store, world) = setup();
    let leases = leases(&store, &world);
    let key = effect("authorize#0", 2);
    let until_ms = world.now_ms() + 20_000;
    let lease = fresh(&leases, &key, until_ms).await;
    for _ in 0..2 {
        assert_eq!(leases.park_in_doubt(&lease).await, Ok(Ended::Done), "a repeat is as good");
    }
    for (wait_ms, live) in [(0, true), (20_000, false), (SETTLE_MS - 1, false)] {
        world.advance_ms(wait_ms);
        let held = Claimed::Held { until_ms: until_ms + SETTLE_MS, live };
        assert_eq!(leases.claim(&key, world.now_ms() + 20_000, SETTLE_MS).await.unwrap(), held, "after {wait_ms}");
    }
    world.advance_ms(1);
    let Claimed::InDoubt(resumed) = leases.claim(&key, world.now_ms() + 20_000, SETTLE_MS).await.unwrap() else {
        panic!("not in doubt")
    };
    assert_eq!((resumed.attempts, resumed.provider_key()), (1, lease.provider_key()), "attempts are counted anew");
}

#[tokio::test]
async fn operations_that_share_a_record_never_overlap_and_never_go_back() {
    let (store, world) = setup();
    let leases = leases(&store, &world);
    let until_ms = world.now_ms() + 20_000;
    let authorize = effect("authorize#0", 2);
    let lease = fresh(&leases, &authorize, until_ms).await;
    let capture = effect("capture#0", 4);
    let busy = Claimed::Busy { operation: "authorize#0".into() };
    assert_eq!(leases.claim(&capture, until_ms, SETTLE_MS).await.unwrap(), busy);
    leases.note(&lease, "pi_1").await.unwrap();
    assert_eq!(leases.complete(&lease, None, Receipt::Stands).await, Ok(Ended::Done));
    assert_eq!(leases.claim(&authorize, until_ms, SETTLE_MS).await.unwrap(), Claimed::Completed);
    let lease = fresh(&leases, &capture, until_ms).await;
    assert_eq!((lease.attempts, lease.note.as_deref()), (1, None));
    leases.complete(&lease, None, Receipt::Stands).await.unwrap();
    // A slow copy that read the row before: its operation must not begin again.
    assert_eq!(leases.claim(&authorize, until_ms, SETTLE_MS).await.unwrap(), Claimed::Completed);
    assert_eq!(leases.claim(&effect("void#0", 4), until_ms, SETTLE_MS).await.unwrap(), Claimed::Completed);
}

#[tokio::test]
async fn a_tombstone_is_written_only_over_what_never_started() {
    let (store, world) = setup();
    let leases = leases(&store, &world);
    let until_ms = world.now_ms() + 20_000;
    let ship = effect("ship#0", 5);
    let skip = leases.skipping(&ship, "token");
    store.write(skip.clone()).await.unwrap();
    assert_eq!(leases.claim(&ship, until_ms, SETTLE_MS).await.unwrap(), Claimed::Skipped);
    assert!(Leases::<MemoryStore, World>::skipped(Some(&record(&store)), "token"));
    assert!(!Leases::<MemoryStore, World>::skipped(Some(&record(&store)), "other"));
    let lease = fresh(&leases, &effect("ship#1", 6), until_ms).await;
    let late = leases.skipping(&effect("ship#1", 6), "late");
    let lambda_queue::ports::store::Written::Refused(Some(_)) = store.write(late.clone()).await.unwrap() else {
        panic!("a started effect was skipped")
    };
    leases.free(&lease, true).await.unwrap();
    assert!(matches!(store.write(late).await.unwrap(), lambda_queue::ports::store::Written::Done(_)));
}

#[tokio::test]
async fn the_time_to_live_begins_only_when_the_receipt_stands() {
    let (store, world) = setup();
    let leases = leases(&store, &world);
    let key = effect("authorize#0", 2);
    let lease = fresh(&leases, &key, world.now_ms() + 20_000).await;
    assert_eq!(number_of(&record(&store), "expires_at"), None);
    assert_eq!(leases.receipt_stands(&key).await, Ok(false));
    leases.complete(&lease, Some("{}"), Receipt::Pending).await.unwrap();
    assert_eq!(number_of(&record(&store), "expires_at"), None);
    assert_eq!(leases.receipt_stands(&key).await, Ok(true));
    assert_eq!(number_of(&record(&store), "expires_at"), Some((world.now_ms() + KEPT_MS) / 1_000));
    assert_eq!(leases.stored(&key).await.unwrap().unwrap().result.as_deref(), Some("{}"));
}

#[tokio::test]
async fn a_surely_failed_attempt_frees_and_counts_as_the_caller_says_and_the_generation_goes_up_once() {
    let (store, world) = setup();
    let leases = leases(&store, &world);
    let key = effect("authorize#0", 2);
    let until_ms = world.now_ms() + 20_000;
    for (counts, attempts) in [(false, 1), (true, 1), (true, 2), (false, 3)] {
        let lease = fresh(&leases, &key, until_ms).await;
        assert_eq!(lease.attempts, attempts);
        leases.free(&lease, counts).await.unwrap();
        leases.free(&lease, counts).await.unwrap();
    }
    let lease = fresh(&leases, &key, until_ms).await;
    world.advance_ms(7);
    let raised = leases.raise_generation(&lease).await.unwrap();
    assert_eq!((raised.generation, raised.key_since_ms), (1, Some(world.now_ms())));
    // The same write again, as after a lost answer.
    assert_eq!(leases.raise_generation(&lease).await.unwrap().generation, 1);
    assert_ne!(raised.provider_key(), lease.provider_key());
}

#[tokio::test]
async fn every_write_knows_itself_after_a_lost_answer_and_is_sent_again_where_it_never_arrived() {
    for fault in [Fault::Lost, Fault::Vanished] {
        for at in 0..5 {
            let (store, world) = setup();
            let leases = leases(&store, &world);
            fault_at(&store, at, fault.clone());
            let key = effect("authorize#0", 2);
            let lease = fresh(&leases, &key, world.now_ms() + 20_000).await;
            assert_eq!(leases.note(&lease, "pi").await.unwrap().note.as_deref(), Some("pi"));
            let lease = leases.raise_generation(&lease).await.unwrap();
            leases.free(&lease, true).await.unwrap();
            let lease = fresh(&leases, &key, world.now_ms() + 20_000).await;
            assert_eq!((lease.generation, lease.attempts), (1, 2), "{fault:?} at {at}");
            assert_eq!(leases.complete(&lease, None, Receipt::Stands).await, Ok(Ended::Done), "{fault:?} at {at}");
        }
    }
}

#[tokio::test]
async fn a_throttle_leaves_the_record_as_it_was() {
    let (store, world) = setup();
    let leases = leases(&store, &world);
    let key = effect("authorize#0", 2);
    store.set_faults(|_| Fault::Throttle);
    assert!(matches!(leases.claim(&key, 1, 0).await, Err(Failure::Retry { .. })));
    store.clear_faults();
    assert_eq!(store.items(TABLE), Vec::<Item>::new());
    let lease = fresh(&leases, &key, world.now_ms() + 20_000).await;
    let before = record(&store);
    store.set_faults(|_| Fault::Throttle);
    assert!(leases.note(&lease, "x").await.is_err());
    assert!(leases.complete(&lease, None, Receipt::Stands).await.is_err());
    assert!(leases.free(&lease, true).await.is_err());
    assert!(leases.forget(&lease).await.is_err());
    assert_eq!(record(&store), before);
}

#[tokio::test]
async fn a_completion_is_one_transaction_with_the_callers_row() {
    let (store, world) = setup();
    let leases = leases(&store, &world);
    let key = effect("authorize#0", 2);
    let lease = fresh(&leases, &key, world.now_ms() + 20_000).await;
    let row = |version: u64| {
        let item = [("id".to_owned(), text("o1")), ("version".to_owned(), number(version))].into();
        Write::put("rows", item).when("attribute_not_exists(id) OR version < :v").value(":v", number(version))
    };
    store.write(row(9)).await.unwrap();
    let completion = leases.completion(&lease, None, Receipt::Stands);
    let refused = store.transact(vec![completion.clone(), row(5)]).await.unwrap();
    let Transacted::Refused(reasons) = refused else { panic!("both were written") };
    assert_eq!(Leases::<MemoryStore, World>::ended_by(&lease, &reasons[0]), None);
    assert_eq!(text_of(&record(&store), "status"), Some("IN_PROGRESS"));
    assert_eq!(store.transact(vec![completion.clone(), row(10)]).await, Ok(Transacted::Done));
    let Transacted::Refused(reasons) = store.transact(vec![completion, row(11)]).await.unwrap() else {
        panic!("completed twice")
    };
    assert_eq!(Leases::<MemoryStore, World>::ended_by(&lease, &reasons[0]), Some(Ended::Done));
}

#[tokio::test]
async fn records_of_programs_that_kept_less_are_read() {
    let (store, world) = setup();
    let leases = leases(&store, &world);
    let old = [
        ("key", text("payment#1")),
        ("operation", text("authorize#0")),
        ("status", text("IN_PROGRESS")),
        ("owner", text("a")),
        ("lease_until", number(1)),
        ("attempts", number(1)),
        ("generation", number(3)),
        ("subject_version", number(2)),
    ];
    let item = old.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    store.write(Write::put(TABLE, item)).await.unwrap();
    let claimed = leases.claim(&effect("authorize#0", 2), world.now_ms() + 1, SETTLE_MS).await.unwrap();
    let Claimed::InDoubt(lease) = claimed else { panic!("{claimed:?}") };
    assert_eq!((lease.generation, lease.attempts, lease.key_since_ms), (3, 2, None));
}

#[tokio::test]
async fn a_claim_is_anybodys_once_and_only_its_owner_gives_it_back() {
    let (store, world) = setup();
    let claims = Claims(leases(&store, &world));
    let ours = claims.claim("mail#1").await.unwrap().unwrap();
    assert_eq!(claims.claim("mail#1").await, Ok(None));
    assert_eq!(claims.release(&ours).await, Ok(Ended::Done));
    let theirs = claims.claim("mail#1").await.unwrap().unwrap();
    // A late copy of the first release.
    assert_eq!(claims.release(&ours).await, Ok(Ended::LeaseLost));
    assert_eq!(claims.claim("mail#1").await, Ok(None));
    assert_eq!(claims.done(&theirs, "id").await, Ok(Ended::Done));
    assert_eq!(claims.done(&theirs, "id").await, Ok(Ended::Done));
    assert_eq!(claims.release(&theirs).await, Ok(Ended::LeaseLost));
    assert_eq!(claims.claim("mail#1").await, Ok(None));
}

#[tokio::test]
async fn a_claim_survives_a_lost_answer_at_every_call() {
    for fault in [Fault::Lost, Fault::Vanished] {
        for at in 0..3 {
            let (store, world) = setup();
            let claims = Claims(leases(&store, &world));
            fault_at(&store, at, fault.clone());
            let ours = claims.claim("mail#1").await.unwrap().unwrap();
            assert_eq!(claims.release(&ours).await, Ok(Ended::Done), "{fault:?} at {at}");
            let ours = claims.claim("mail#1").await.unwrap().unwrap();
            assert_eq!(claims.done(&ours, "id").await, Ok(Ended::Done), "{fault:?} at {at}");
        }
    }
}

#[tokio::test]
async fn of_many_that_claim_at_once_one_gets_the_lease() {
    let (store, world) = setup();
    let won = Arc::new(AtomicUsize::new(0));
    let all = (0..50).map(|_| {
        let (store, world, won) = (store.clone(), world.clone(), Arc::clone(&won));
        tokio::spawn(async move {
            let until_ms = world.now_ms() + 20_000;
            let claimed = Leases::new(&store, &world, TABLE, KEPT_MS).claim(&effect("a#0", 1), until_ms, 0).await;
            if let Ok(Claimed::Fresh(_)) = claimed {
                won.fetch_add(1, Ordering::SeqCst);
            }
        })
    });
    for task in all.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(won.load(Ordering::SeqCst), 1);
}
