//! Against DynamoDB Local: real conditions, real transaction conflicts, answers lost on the wire.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Credentials;
use aws_sdk_dynamodb::types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType};
use dynamodb_local::DynamoDbLocal;
use lambda_queue::aws::Dynamo;
use lambda_queue::idempotency::{
    Answer, Applied, Call, Capability, Claimed, Claims, EffectKey, EffectRecords as _, Ended, Guard, Guarded, How,
    Idempotency, IdempotencyError, Leases, Lookup, Receipt, Seen, Settings,
};
use lambda_queue::memory::World;
use lambda_queue::ports::store::{Item, Store as _, Write, number, number_of, text};
use lambda_queue::{Clock as _, Failure};
use tokio::sync::watch;

use super::proxy::Proxy;
use super::{KEPT_MS, TABLE, fingerprint, key};

/// `attempts`: the SDK's own, of one call.
async fn client(endpoint: &str, attempts: u32) -> Client {
    // The machine may be busy with compilers: no answer is taken for lost because it is slow.
    let slow = TimeoutConfig::builder().connect_timeout(Duration::from_secs(120)).build();
    let config = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .timeout_config(slow)
        .retry_config(RetryConfig::standard().with_max_attempts(attempts))
        .credentials_provider(Credentials::new("0", "local", None, None, "tests"))
        .load()
        .await;
    Client::new(&config)
}

async fn tables(client: &Client) {
    for (table, attribute) in [(TABLE, "key"), ("rows", "id")] {
        let name = AttributeDefinition::builder().attribute_name(attribute).attribute_type(ScalarAttributeType::S);
        let key = KeySchemaElement::builder().attribute_name(attribute).key_type(KeyType::Hash);
        let create = client.create_table().table_name(table).billing_mode(BillingMode::PayPerRequest);
        let create = create.attribute_definitions(name.build().unwrap()).key_schema(key.build().unwrap());
        create.send().await.unwrap();
    }
}

fn id(id: &str) -> Item {
    [("id".to_owned(), text(id))].into()
}

async fn stock(store: &Dynamo, available: u32) {
    let mut row = id("sku");
    row.insert("available".to_owned(), number(available));
    store.write(Write::put("rows", row)).await.unwrap();
}

async fn available(store: &Dynamo) -> Option<u64> {
    store.get("rows", id("sku"), true).await.unwrap().and_then(|row| number_of(&row, "available"))
}

fn debit() -> Write {
    Write::update("rows", id("sku"), "SET available = available - :one")
        .when("available >= :one")
        .value(":one", number(1))
}

/// One server, one test after the other: each on keys of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn against_dynamodb_local() {
    let server = DynamoDbLocal::start().unwrap();
    let direct = Dynamo(client(&server.endpoint(), 10).await);
    tables(&direct.0).await;
    let world = World::new(1);
    a_loser_can_neither_overwrite_nor_delete(&direct, &world).await;
    a_killed_owners_effect_is_looked_up_never_blindly_repeated(&direct, &world).await;
    let proxy = Proxy::start(&server.endpoint()).await;
    // Lost answers that the SDK repeats by itself, and such that this library has to.
    for attempts in [3, 1] {
        let through = Dynamo(client(&proxy.endpoint(), attempts).await);
        every_own_write_is_recognised_after_a_lost_answer(&direct, &through, &proxy, &world, attempts).await;
    }
    colliding_transactions_each_happen_once(&direct, &world).await;
    a_thousand_tasks_over_ten_keys_run_each_effect_exactly_once(&direct, &world).await;
}

async fn a_loser_can_neither_overwrite_nor_delete(store: &Dynamo, world: &World) {
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

async fn a_killed_owners_effect_is_looked_up_never_blindly_repeated(store: &Dynamo, world: &World) {
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

async fn every_own_write_is_recognised_after_a_lost_answer(
    direct: &Dynamo,
    through: &Dynamo,
    proxy: &Proxy,
    world: &World,
    attempts: u32,
) {
    let before = proxy.dropped();
    let name = |what: &str| format!("{what}-{attempts}");
    let leases = Leases::new(through, world, TABLE, KEPT_MS);
    let effect = EffectKey { record: name("lost"), operation: "a#0".into(), version: 1 };
    let until_ms = world.now_ms() + 20_000;
    proxy.drop_next(1);
    let claimed = leases.claim(&effect, until_ms, 0).await.unwrap();
    let Claimed::Fresh(lease) = claimed else { panic!("{claimed:?}") };
    proxy.drop_next(1);
    assert_eq!(leases.note(&lease, "pi").await.unwrap().note.as_deref(), Some("pi"));
    proxy.drop_next(1);
    assert_eq!(leases.raise_generation(&lease).await.unwrap().generation, 1);
    proxy.drop_next(1);
    leases.free(&lease, false).await.unwrap();
    proxy.drop_next(1);
    let claimed = leases.claim(&effect, until_ms, 0).await.unwrap();
    // The first write of this claim is refused by the freed record, and that answer is lost; the take-over follows.
    let Claimed::Fresh(lease) = claimed else { panic!("{claimed:?}") };
    assert_eq!((lease.attempts, lease.generation), (1, 1));
    proxy.drop_next(1);
    assert_eq!(leases.complete(&lease, Some("5"), Receipt::Stands).await, Ok(Ended::Done));

    let claims = Claims(Leases::new(through, world, TABLE, KEPT_MS));
    proxy.drop_next(1);
    let claim = claims.claim(&name("mail")).await.unwrap().unwrap();
    proxy.drop_next(1);
    assert_eq!(claims.done(&claim, "id").await, Ok(Ended::Done));

    let guard = Guard::new(world);
    let mut row = id(&name("row"));
    row.insert("tally".to_owned(), number(0));
    proxy.drop_next(1);
    let created = guard.send(through, guard.create(Write::put("rows", row), "id").unwrap()).await;
    assert_eq!(created, Ok(Guarded::Done));
    let guard = Guard::new(world);
    let add = Write::update("rows", id(&name("row")), "SET tally = tally + :one").value(":one", number(1));
    proxy.drop_next(1);
    assert_eq!(guard.send(through, guard.next(add, 1).unwrap()).await, Ok(Guarded::Done));
    let row = direct.get("rows", id(&name("row")), true).await.unwrap().unwrap();
    assert_eq!((number_of(&row, "tally"), number_of(&row, "version")), (Some(1), Some(2)));

    stock(direct, 5).await;
    let settings = Settings::new(TABLE, KEPT_MS);
    let idempotency = Idempotency::new(through, world, &settings);
    let (transacted, fingerprint) = (key(&name("transacted")), fingerprint(1));
    let call = Call { key: &transacted, fingerprint: &fingerprint, lease_until_ms: until_ms };
    for how in [How::Ran, How::Replayed] {
        proxy.drop_next(1);
        let applied = idempotency.apply(call, 9, vec![debit()]).await;
        assert_eq!(applied, Ok(Applied::Answer(Answer { value: 9, how })));
        assert_eq!(available(direct).await, Some(4));
    }
    let ran = AtomicUsize::new(0);
    let called = key(&name("called"));
    let call = Call { key: &called, fingerprint: &fingerprint, lease_until_ms: until_ms };
    let handler = |_| async {
        // The completion's answer is lost as well.
        proxy.drop_next(1);
        Ok(ran.fetch_add(1, Ordering::SeqCst))
    };
    proxy.drop_next(1);
    let answer = idempotency.run(call, Capability::UNKNOWN, handler).await;
    assert_eq!(answer, Ok(Answer { value: 0, how: How::Ran }));
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    assert_eq!(proxy.dropped() - before, 14);
}

async fn colliding_transactions_each_happen_once(store: &Dynamo, world: &World) {
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

async fn a_thousand_tasks_over_ten_keys_run_each_effect_exactly_once(store: &Dynamo, world: &World) {
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
