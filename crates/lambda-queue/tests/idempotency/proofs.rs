//! What is proved over a table that keeps its conditions by itself: see `dynamodb` for AWS's own DynamoDB Local. The tests of
//! the deployed stack run these over its table service too.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType};
use lambda_queue::aws::Dynamo;
use lambda_queue::batch::delivery::{TableClaims, TableEffects, at_most_once, effectively_once};
use lambda_queue::idempotency::{
    Answer, Applied, Call, Capability, Claimed, EffectKey, EffectRecords as _, Ended, How, Idempotency,
    IdempotencyError, Leases, Lookup, Namespace, Receipt, Seen, Settings,
};
use lambda_queue::memory::World;
use lambda_queue::ports::store::{Item, Store as _, Write, number, number_of, text};
use lambda_queue::{Clock as _, Done, Failure, Outgoing, Record, RecordContext};
use tokio::sync::watch;

use super::{KEPT_MS, ROWS, TABLE, fingerprint, key};

pub async fn tables(client: &Client) {
    for (table, attribute) in [(TABLE, "key"), (ROWS, "id")] {
        let name = AttributeDefinition::builder().attribute_name(attribute).attribute_type(ScalarAttributeType::S);
        let key = KeySchemaElement::builder().attribute_name(attribute).key_type(KeyType::Hash);
        let create = client.create_table().table_name(table).billing_mode(BillingMode::PayPerRequest);
        let create = create.attribute_definitions(name.build().unwrap()).key_schema(key.build().unwrap());
        create.send().await.unwrap();
    }
}

pub fn id(id: &str) -> Item {
    [("id".to_owned(), text(id))].into()
}

pub async fn stock(store: &Dynamo, available: u32) {
    let mut row = id("sku");
    row.insert("available".to_owned(), number(available));
    store.write(Write::put(ROWS, row)).await.unwrap();
}

pub async fn available(store: &Dynamo) -> Option<u64> {
    store.get(ROWS, id("sku"), true).await.unwrap().and_then(|row| number_of(&row, "available"))
}

pub fn debit() -> Write {
    Write::update(ROWS, id("sku"), "SET available = available - :one")
        .when("available >= :one")
        .value(":one", number(1))
}

pub async fn a_loser_can_neither_overwrite_nor_delete(store: &Dynamo, world: &World) {
    let leases = Leases::new(store, world, TABLE, KEPT_MS);
    let key = EffectKey { record: "loser".into(), operation: "a#0".into(), version: 1 };
    let Claimed::Fresh(loser) = leases.claim(&key, world.now_ms() + 1, 0).await.unwrap() else { panic!("not fresh") };
    world.advance_ms(1);
    let claimed = leases.claim(&key, world.now_ms() + 20_000, 0).await.unwrap();
    let Claimed::InDoubt(winner) = claimed else { panic!("{claimed:?}") };
    assert!(matches!(leases.note(&loser, "x").await, Err(Failure::Retry { .. })));
    assert!(matches!(leases.raise_generation(&loser).await, Err(Failure::Retry { .. })));
    assert!(matches!(leases.free(&loser, false).await, Err(Failure::Retry { .. })));
    assert_eq!(leases.complete(&loser, Some("1"), Receipt::Stands).await, Ok(Ended::LeaseLost));
    assert_eq!(leases.park(&loser).await, Ok(Ended::LeaseLost));
    assert_eq!(leases.forget(&loser).await, Ok(false));
    assert_eq!(leases.complete(&winner, Some("2"), Receipt::Stands).await, Ok(Ended::Done));
    assert_eq!(leases.stored(&key).await.unwrap().unwrap().result.as_deref(), Some("2"));
}

pub async fn a_killed_owners_effect_is_looked_up_never_blindly_repeated(store: &Dynamo, world: &World) {
    let settings = Settings::new(TABLE, KEPT_MS);
    let capability = Capability { idempotency_window_ms: None, lookup: Lookup::Authoritative, settle_ms: 1_000 };
    let (key, fingerprint) = (key("killed"), fingerprint(1));
    let ran = AtomicUsize::new(0);
    let run = || {
        let call = Call { key: &key, fingerprint: &fingerprint, lease_until_ms: world.now_ms() + 20_000 };
        let idempotency = Idempotency::new(store, world, &settings);
        let (ran, reached) = (&ran, tokio::sync::Notify::new());
        async move {
            let handler = |_| async {
                ran.fetch_add(1, Ordering::SeqCst);
                reached.notify_one();
                std::future::pending::<Result<u32, Failure>>().await
            };
            let look_up = |_| async { Ok(Seen::Found(7)) };
            tokio::select! {
                answer = idempotency.run_looking_up(call, capability, look_up, handler) => Some(answer),
                // The effect has happened; its owner dies here.
                () = reached.notified() => None,
            }
        }
    };
    assert_eq!(run().await, None);
    let until_ms = world.now_ms() + 21_000;
    assert_eq!(run().await, Some(Err(IdempotencyError::InProgress { until_ms, live: true })));
    world.advance_ms(21_000);
    assert_eq!(run().await, Some(Ok(Answer { value: 7, how: How::Adopted })));
    assert_eq!(run().await, Some(Ok(Answer { value: 7, how: How::Replayed })));
    assert_eq!(ran.load(Ordering::SeqCst), 1);
}

pub async fn colliding_transactions_each_happen_once(store: &Dynamo, world: &World) {
    stock(store, 100).await;
    let settings = Arc::new(Settings::new(TABLE, KEPT_MS));
    let tasks: Vec<_> = (0..60_usize)
        .map(|at| {
            let (store, world, settings) = (store.clone(), world.clone(), Arc::clone(&settings));
            tokio::spawn(async move {
                let (key, fingerprint) = (key(&format!("collide-{}", at % 10)), fingerprint(1));
                let call = Call { key: &key, fingerprint: &fingerprint, lease_until_ms: 0 };
                loop {
                    let idempotency = Idempotency::new(&store, &world, &settings);
                    match idempotency.apply(call, at % 10, vec![debit()]).await {
                        Ok(Applied::Answer(answer)) => return assert_eq!(answer.value, at % 10),
                        // It met other transactions six times: surely not done.
                        Err(IdempotencyError::Store(error)) => {
                            assert!(error.to_string().contains("Conflict"), "{error}")
                        }
                        other => panic!("{other:?}"),
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(available(store).await, Some(90));
}

pub async fn a_thousand_tasks_over_ten_keys_run_each_effect_exactly_once(store: &Dynamo, world: &World) {
    let settings = Arc::new(Settings::new(TABLE, KEPT_MS));
    let ran: Arc<Vec<AtomicUsize>> = Arc::new((0..10).map(|_| AtomicUsize::new(0)).collect());
    let done: Arc<Vec<watch::Sender<bool>>> = Arc::new((0..10).map(|_| watch::channel(false).0).collect());
    let tasks: Vec<_> = (0..1_000_usize)
        .map(|at| {
            let (store, world, settings) = (store.clone(), world.clone(), Arc::clone(&settings));
            let (ran, done) = (Arc::clone(&ran), Arc::clone(&done));
            tokio::spawn(async move {
                let effect = at % 10;
                let (key, fingerprint) = (key(&format!("thousand-{effect}")), fingerprint(1));
                let mut is_done = done[effect].subscribe();
                loop {
                    let idempotency = Idempotency::new(&store, &world, &settings);
                    let lease_until_ms = world.now_ms() + 20_000;
                    let call = Call { key: &key, fingerprint: &fingerprint, lease_until_ms };
                    let handler = |_| async {
                        ran[effect].fetch_add(1, Ordering::SeqCst);
                        Ok(effect)
                    };
                    match idempotency.run(call, Capability::UNKNOWN, handler).await {
                        Ok(answer) => {
                            done[effect].send_replace(true);
                            return assert_eq!(answer.value, effect);
                        }
                        Err(IdempotencyError::InProgress { .. }) => {
                            is_done.wait_for(|done| *done).await.unwrap();
                        }
                        Err(other) => panic!("{other:?}"),
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(ran.iter().all(|ran| ran.load(Ordering::SeqCst) == 1), "{ran:?}");
}

pub async fn the_delivery_modes_act_once_for_copies_that_come_together(store: &Dynamo, world: &World) {
    let (shared, ports) = (Arc::new(store.clone()), Arc::new(world.clone()));
    let namespace = Namespace::new("proofs", "delivery").unwrap();
    let key = |record: &Record| Ok::<_, Failure>(record.body.clone());
    let ran: Arc<[AtomicUsize; 2]> = Arc::default();
    let received = |body: &str, count: u32| {
        let deadline_ms = world.now_ms() + 15_000;
        let context = RecordContext {
            receive_count: count,
            sent_ms: world.now_ms(),
            group: None,
            handler_deadline_ms: deadline_ms - 2_000,
            deadline_ms,
        };
        Arc::new(Record::new("m", body, context))
    };

    // Each worker is a process of its own, with the same receive of the same message.
    let count = Arc::clone(&ran);
    let mail = move |_: Arc<Record>| {
        let count = Arc::clone(&count);
        async move {
            count[0].fetch_add(1, Ordering::SeqCst);
            Ok(Done::now(Vec::new()))
        }
    };
    let workers = (0..20).map(|_| {
        let claims = TableClaims::new(Arc::clone(&shared), Arc::clone(&ports), namespace.clone(), TABLE, KEPT_MS);
        let once = at_most_once(Arc::new(claims), key, mail.clone());
        tokio::spawn(once(received("mail", 1)))
    });
    for worker in workers.collect::<Vec<_>>() {
        let answer = worker.await.unwrap();
        assert!(matches!(&answer, Ok(_) | Err(Failure::Busy { .. })), "{answer:?}");
    }

    let owed = Outgoing { queue: "next".into(), body: "{}".into(), group: None, dedup: None, attributes: Vec::new() };
    let (count, owes) = (Arc::clone(&ran), vec![owed.clone()]);
    let bill = move |_: Arc<Record>| {
        let (count, owes) = (Arc::clone(&count), owes.clone());
        async move {
            count[1].fetch_add(1, Ordering::SeqCst);
            Ok(Done::now(owes))
        }
    };
    let settings = || Settings::new(TABLE, KEPT_MS);
    let workers = (0..20).map(|_| {
        let (shared, ports) = (Arc::clone(&shared), Arc::clone(&ports));
        let effects = TableEffects::new(shared, ports, settings(), namespace.clone(), Capability::UNKNOWN);
        let once = effectively_once(Arc::new(effects), key, bill.clone());
        let record = received("bill", 1);
        tokio::spawn(async move { (once(record).await, once) })
    });
    let mut processes = Vec::new();
    for worker in workers.collect::<Vec<_>>() {
        let (answer, once) = worker.await.unwrap();
        assert!(matches!(&answer, Ok(_) | Err(Failure::Busy { .. })), "{answer:?}");
        processes.push(once);
    }
    for once in processes {
        let again = once(received("bill", 2)).await.unwrap();
        assert_eq!(again.owes, std::slice::from_ref(&owed), "what the first owed, from the table");
    }
    assert_eq!([&ran[0], &ran[1]].map(|ran| ran.load(Ordering::SeqCst)), [1, 1]);
}
