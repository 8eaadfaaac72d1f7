//! A doubt stays one until a try is answered: what a throttled try says is of that try alone.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use lambda_queue::idempotency::{
    Answer, Applied, Call, Capability, Claimed, Claims, EffectKey, EffectRecords as _, Ended, Guard, Guarded, How,
    Idempotency, IdempotencyError, Lease, Leases, Lookup, Receipt, Settings,
};
use lambda_queue::memory::{Fault, MemoryStore, World};
use lambda_queue::ports::store::{
    Item, Page, Query, Store, StoreError, Transacted, Write, Written, number, number_of, text, text_of,
};
use lambda_queue::{Clock as _, Failure};

use super::{KEPT_MS, TABLE, faults, fingerprint, key, leases, setup};

/// The answer is lost of what was done; then the table is too busy, for as long as a write is tried.
const LOST_THEN_BUSY: [Fault; 3] = [Fault::Lost, Fault::Throttle, Fault::Throttle];
/// The same, and the third try is answered.
const LOST_THEN_THROTTLED: [Fault; 2] = [Fault::Lost, Fault::Throttle];

fn effect() -> EffectKey {
    EffectKey { record: "payment#1".into(), operation: "authorize#0".into(), version: 2 }
}

async fn fresh(store: &MemoryStore, world: &World) -> Lease {
    match leases(store, world).claim(&effect(), world.now_ms() + 20_000, 0).await.unwrap() {
        Claimed::Fresh(lease) => lease,
        other => panic!("not fresh: {other:?}"),
    }
}

fn status(store: &MemoryStore) -> Option<String> {
    store.items(TABLE).first().and_then(|record| text_of(record, "status").map(str::to_owned))
}

#[tokio::test]
async fn a_leases_write_stays_in_doubt_and_stands() {
    let (store, world) = setup();
    let lease = fresh(&store, &world).await;
    faults(&store, &LOST_THEN_BUSY);
    let completed = leases(&store, &world).complete(&lease, None, Receipt::Stands).await;
    assert!(matches!(completed, Err(StoreError::Unknown(_))), "{completed:?}");
    assert_eq!(status(&store).as_deref(), Some("COMPLETED"), "that it surely was not done would be a lie");
    assert_eq!(leases(&store, &world).complete(&lease, None, Receipt::Stands).await, Ok(Ended::Done));

    let (store, world) = setup();
    let lease = fresh(&store, &world).await;
    faults(&store, &LOST_THEN_BUSY);
    let noted = leases(&store, &world).note(&lease, "pi").await;
    assert!(matches!(noted, Err(Failure::Unknown { .. })), "{noted:?}");
}

#[tokio::test]
async fn a_leases_write_is_tried_on_while_it_is_in_doubt() {
    let (store, world) = setup();
    faults(&store, &LOST_THEN_THROTTLED);
    let lease = fresh(&store, &world).await;
    faults(&store, &LOST_THEN_THROTTLED);
    assert_eq!(leases(&store, &world).note(&lease, "pi").await.unwrap().note.as_deref(), Some("pi"));
    faults(&store, &LOST_THEN_THROTTLED);
    assert_eq!(leases(&store, &world).complete(&lease, None, Receipt::Stands).await, Ok(Ended::Done));
}

#[tokio::test]
async fn a_claim_that_may_stand_is_given_back_so_that_the_next_receive_acts() {
    for lost in [LOST_THEN_BUSY.to_vec(), vec![Fault::Lost; 3], vec![Fault::Vanished, Fault::Throttle, Fault::Lost]] {
        let (store, world) = setup();
        let claims = Claims(leases(&store, &world));
        faults(&store, &lost);
        let claimed = claims.claim("mail#1").await;
        assert!(matches!(claimed, Err(StoreError::Unknown(_))), "{lost:?}: {claimed:?}");
        assert!(
            !matches!(Failure::from(claimed.unwrap_err()), Failure::Retry { .. }),
            "it is in doubt to its caller too"
        );
        assert!(claims.claim("mail#1").await.unwrap().is_some(), "{lost:?}: nobody holds it, so nobody would send it");
    }
    let (store, world) = setup();
    let claims = Claims(leases(&store, &world));
    faults(&store, &LOST_THEN_THROTTLED);
    let ours = claims.claim("mail#1").await.unwrap().unwrap();
    assert_eq!(claims.claim("mail#1").await, Ok(None));
    faults(&store, &LOST_THEN_BUSY);
    assert!(matches!(claims.done(&ours, "id").await, Err(StoreError::Unknown(_))));
    assert_eq!(status(&store).as_deref(), Some("COMPLETED"));
}

/// A table whose first writes stay on the way, and their callers hear nothing; they land when [`Late::land`] says.
struct Late<'a> {
    store: &'a MemoryStore,
    /// How many writes from now on.
    stuck: AtomicUsize,
    on_the_way: Mutex<Vec<Write>>,
}

impl<'a> Late<'a> {
    fn new(store: &'a MemoryStore, stuck: usize) -> Self {
        Self { store, stuck: AtomicUsize::new(stuck), on_the_way: Mutex::default() }
    }

    async fn land(&self) {
        let landing = std::mem::take(&mut *self.on_the_way.lock().unwrap());
        assert!(!landing.is_empty(), "nothing was on the way");
        for write in landing {
            self.store.write(write).await.unwrap();
        }
    }
}

impl Store for Late<'_> {
    async fn get(&self, table: &str, key: Item, consistent: bool) -> Result<Option<Item>, StoreError> {
        self.store.get(table, key, consistent).await
    }

    async fn get_all(&self, table: &str, keys: Vec<Item>, consistent: bool) -> Result<Vec<Item>, StoreError> {
        self.store.get_all(table, keys, consistent).await
    }

    async fn query(&self, query: Query) -> Result<Page, StoreError> {
        self.store.query(query).await
    }

    async fn write(&self, write: Write) -> Result<Written, StoreError> {
        if self.stuck.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            self.on_the_way.lock().unwrap().push(write);
            return Err(StoreError::Unknown("no answer in time".to_owned()));
        }
        self.store.write(write).await
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<Transacted, StoreError> {
        self.store.transact(writes).await
    }
}

#[tokio::test]
async fn a_claim_that_is_given_back_before_it_arrives_claims_nothing_when_it_lands() {
    let (store, world) = setup();
    let late = Late::new(&store, 0);
    let claims = Claims(Leases::new(&late, &world, TABLE, KEPT_MS));
    // All three tries of each claim: of a first receive, and of the next one, which finds what the first gave back.
    for receive in 1..=2 {
        late.stuck.store(3, Ordering::SeqCst);
        assert!(matches!(claims.claim("mail#1").await, Err(StoreError::Unknown(_))), "receive {receive}");
        late.land().await;
        assert_eq!(status(&store).as_deref(), Some("FREE"), "receive {receive}: nobody would ever send it");
        assert!(number_of(&store.items(TABLE)[0], "expires_at").is_some(), "it does not stay for good");
    }
    let ours = claims.claim("mail#1").await.unwrap().unwrap();
    assert_eq!(number_of(&store.items(TABLE)[0], "expires_at"), None, "a claim has no end");
    assert_eq!(claims.done(&ours, "id").await, Ok(Ended::Done));
}

#[tokio::test]
async fn what_comes_late_to_a_claim_of_another_owner_changes_nothing() {
    let (store, world) = setup();
    let late = Late::new(&store, 6);
    let claims = Claims(Leases::new(&late, &world, TABLE, KEPT_MS));
    // The claim and its giving back: both are still on the way when the next receive claims and sends.
    assert!(claims.claim("mail#1").await.is_err());
    let ours = claims.claim("mail#1").await.unwrap().unwrap();
    late.land().await;
    assert_eq!(claims.claim("mail#1").await, Ok(None));
    assert_eq!(claims.done(&ours, "id").await, Ok(Ended::Done));
    assert_eq!(status(&store).as_deref(), Some("COMPLETED"));
}

#[tokio::test]
async fn a_claim_that_surely_was_not_taken_costs_no_second_write() {
    let (store, world) = setup();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    store.set_faults(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Fault::Throttle
    });
    assert!(matches!(Claims(leases(&store, &world)).claim("mail#1").await, Err(StoreError::NotDone(_))));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_guarded_write_stays_in_doubt_until_it_is_answered() {
    let row = || [("id".to_owned(), text("o1")), ("tally".to_owned(), number(0))].into();
    let (store, world) = setup();
    let guard = Guard::new(&world);
    let write = guard.create(Write::put("rows", row()), "id").unwrap();
    faults(&store, &LOST_THEN_BUSY);
    let sent = guard.send(&store, write.clone()).await;
    assert!(matches!(sent, Err(StoreError::Unknown(_))), "{sent:?}");
    assert_eq!(store.items("rows").len(), 1);
    assert_eq!(guard.send(&store, write).await, Ok(Guarded::Done), "the same write again tells");

    let (store, world) = setup();
    let guard = Guard::new(&world);
    faults(&store, &LOST_THEN_THROTTLED);
    let sent = guard.send(&store, guard.create(Write::put("rows", row()), "id").unwrap()).await;
    assert_eq!(sent, Ok(Guarded::Done));
    faults(&store, &[Fault::Throttle]);
    let throttled = Guard::new(&world);
    let add =
        Write::update("rows", [("id".to_owned(), text("o1"))].into(), "SET tally = :one").value(":one", number(1));
    let sent = throttled.send(&store, throttled.next(add, 1).unwrap()).await;
    assert!(matches!(sent, Err(StoreError::NotDone(_))), "a throttle alone is no doubt: {sent:?}");
}

async fn apply(store: &MemoryStore, world: &World) -> Result<Applied<u32>, IdempotencyError> {
    let settings = Settings::new(TABLE, KEPT_MS);
    let (key, fingerprint) = (key("a"), fingerprint(1));
    let call = Call { key: &key, fingerprint: &fingerprint, lease_until_ms: 0 };
    let debit = Write::update("rows", [("id".to_owned(), text("sku"))].into(), "SET available = available - :q");
    Idempotency::new(store, world, &settings).apply(call, 7, vec![debit.value(":q", number(2))]).await
}

#[tokio::test(start_paused = true)]
async fn a_transaction_stays_in_doubt_until_it_is_answered() {
    for (faulty, how) in [
        ([vec![Fault::Lost], vec![Fault::Throttle; 5]].concat(), None),
        (vec![Fault::Lost, Fault::Conflict, Fault::Throttle], Some(How::Ran)),
    ] {
        let (store, world) = setup();
        let stocked = [("id".to_owned(), text("sku")), ("available".to_owned(), number(5))].into();
        store.write(Write::put("rows", stocked)).await.unwrap();
        faults(&store, &faulty);
        let applied = apply(&store, &world).await;
        if let Some(how) = how {
            assert_eq!(applied, Ok(Applied::Answer(Answer { value: 7, how })));
        } else {
            assert!(matches!(applied, Err(IdempotencyError::Store(StoreError::Unknown(_)))), "{applied:?}");
            let failure = Failure::from(applied.unwrap_err());
            assert!(matches!(failure, Failure::Unknown { .. }), "it is written: {failure:?}");
        }
        let again = apply(&store, &world).await;
        assert_eq!(again, Ok(Applied::Answer(Answer { value: 7, how: How::Replayed })));
        assert_eq!(number_of(&store.items("rows")[0], "available"), Some(3), "{faulty:?}");
    }
}

const AUTHORITATIVE: Capability =
    Capability { idempotency_window_ms: None, lookup: Lookup::Authoritative, settle_ms: 10_000 };

/// What a handler's failure becomes when every call after the claim is throttled.
async fn not_given_back(failure: Failure) -> (Result<Answer<u32>, IdempotencyError>, MemoryStore, World) {
    let (store, world) = setup();
    let settings = Settings::new(TABLE, KEPT_MS);
    let (key, fingerprint) = (key("a"), fingerprint(1));
    let call = Call { key: &key, fingerprint: &fingerprint, lease_until_ms: world.now_ms() + 20_000 };
    let handler = |_| async {
        store.set_faults(|_| Fault::Throttle);
        Err(failure)
    };
    let answer = Idempotency::new(&store, &world, &settings).run(call, AUTHORITATIVE, handler).await;
    store.clear_faults();
    (answer, store, world)
}

#[tokio::test]
async fn a_lease_that_cannot_be_given_back_leaves_the_handlers_own_failure_and_a_doubt() {
    for failure in [
        Failure::poison("never"),
        Failure::Retry { after: Some(std::time::Duration::from_secs(77)), why: "429".to_owned() },
        Failure::defer(9, "open"),
        Failure::busy(9, "held"),
    ] {
        let (answer, store, world) = not_given_back(failure.clone()).await;
        assert_eq!(Failure::from(answer.unwrap_err()), failure);
        assert_eq!(status(&store).as_deref(), Some("IN_PROGRESS"), "{failure:?}: held, never free by mistake");
        // Whoever comes after the lease and the settle time looks first.
        world.advance_ms(30_000);
        let effect = EffectKey { record: key("a").as_str().to_owned(), operation: "call".to_owned(), version: 0 };
        let claimed = leases(&store, &world).claim(&effect, world.now_ms() + 1, 10_000).await.unwrap();
        assert!(matches!(claimed, Claimed::InDoubt(_)), "{failure:?}: {claimed:?}");
    }
}

#[tokio::test]
async fn an_effect_whose_lease_was_taken_over_while_it_ran_is_unknown_not_surely_not_run() {
    let (store, world) = setup();
    let settings = Settings::new(TABLE, KEPT_MS);
    let (key, fingerprint) = (key("a"), fingerprint(1));
    let lease_until_ms = world.now_ms() + 1;
    let call = Call { key: &key, fingerprint: &fingerprint, lease_until_ms };
    let taken = EffectKey { record: key.as_str().to_owned(), operation: "call".to_owned(), version: 0 };
    let handler = |_| async {
        world.advance_ms(10_001);
        let claimed = leases(&store, &world).claim(&taken, world.now_ms() + 20_000, 10_000).await?;
        assert!(matches!(claimed, Claimed::InDoubt(_)), "{claimed:?}");
        Ok(5)
    };
    let error = Idempotency::new(&store, &world, &settings).run(call, AUTHORITATIVE, handler).await.unwrap_err();
    let IdempotencyError::LeaseLost { reference, until_ms } = error.clone() else { panic!("{error:?}") };
    assert_eq!(until_ms, lease_until_ms + 10_000);
    assert!(!reference.is_empty() && !key.as_str().contains(&reference), "a hash, not the key");
    let failure = Failure::from(error);
    let Failure::Unknown { key, until_ms: until, .. } = failure else { panic!("it ran: {failure:?}") };
    assert_eq!((key, until), (reference, until_ms));
}
