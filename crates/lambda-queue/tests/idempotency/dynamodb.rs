//! Against DynamoDB Local: real conditions, real transaction conflicts, answers lost on the wire.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::config::Credentials;
use dynamodb_local::DynamoDbLocal;
use lambda_queue::Clock as _;
use lambda_queue::aws::Dynamo;
use lambda_queue::idempotency::{
    Answer, Applied, Call, Capability, Claimed, Claims, EffectKey, EffectRecords as _, Ended, Guard, Guarded, How,
    Idempotency, Leases, Receipt, Settings,
};
use lambda_queue::memory::World;
use lambda_queue::ports::store::{Store as _, Write, number, number_of};

use super::proofs::{self, available, debit, id, stock};
use super::proxy::Proxy;
use super::{KEPT_MS, ROWS, TABLE, fingerprint, key};

/// `attempts`: the SDK's own, of one call.
async fn dynamo(endpoint: &str, attempts: u32) -> Dynamo {
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
    Dynamo::new(&config)
}

/// One server, one test after the other: each on keys of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn against_dynamodb_local() {
    let server = DynamoDbLocal::start().unwrap();
    let direct = dynamo(&server.endpoint(), 10).await;
    proofs::tables(direct.client()).await;
    let world = World::new(1);
    proofs::a_loser_can_neither_overwrite_nor_delete(&direct, &world).await;
    proofs::a_killed_owners_effect_is_looked_up_never_blindly_repeated(&direct, &world).await;
    let proxy = Proxy::start(&server.endpoint()).await;
    // Lost answers that the SDK repeats by itself, and such that this library has to.
    for attempts in [3, 1] {
        let through = dynamo(&proxy.endpoint(), attempts).await;
        every_own_write_is_recognised_after_a_lost_answer(&direct, &through, &proxy, &world, attempts).await;
    }
    proofs::colliding_transactions_each_happen_once(&direct, &world).await;
    proofs::a_thousand_tasks_over_ten_keys_run_each_effect_exactly_once(&direct, &world).await;
    proofs::the_delivery_modes_act_once_for_copies_that_come_together(&direct, &world).await;
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
    let created = guard.send(through, guard.create(Write::put(ROWS, row), "id").unwrap()).await;
    assert_eq!(created, Ok(Guarded::Done));
    let guard = Guard::new(world);
    let add = Write::update(ROWS, id(&name("row")), "SET tally = tally + :one").value(":one", number(1));
    proxy.drop_next(1);
    assert_eq!(guard.send(through, guard.next(add, 1).unwrap()).await, Ok(Guarded::Done));
    let row = direct.get(ROWS, id(&name("row")), true).await.unwrap().unwrap();
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
