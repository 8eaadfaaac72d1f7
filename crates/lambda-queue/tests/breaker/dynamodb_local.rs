//! The scenarios on AWS's own DynamoDB Local: its real conditions, and the adapter's real calls.

use std::sync::{Arc, OnceLock};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Config, Credentials, Region};
use aws_sdk_dynamodb::types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType};
use dynamodb_local::DynamoDbLocal;
use lambda_queue::Clock;
use lambda_queue::aws::Dynamo;
use lambda_queue::breaker::{Counts, Event, Manual, Moved, Outcome, State};
use lambda_queue::memory::World;
use tokio::sync::{Mutex, MutexGuard};

use super::scenarios;
use super::support::{Fate, Seen, TABLE, Watched, breaker, fail_until_open, once, row};

/// One server for all tests of this process; it ends with the process.
static SERVER: OnceLock<DynamoDbLocal> = OnceLock::new();
/// One test at a time has the table.
static TURN: Mutex<()> = Mutex::const_new(());

/// An empty table, for as long as the guard lives.
async fn world() -> (Arc<Watched<Dynamo>>, World, MutexGuard<'static, ()>) {
    let turn = TURN.lock().await;
    let endpoint = SERVER.get_or_init(|| DynamoDbLocal::start().unwrap()).endpoint();
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(Credentials::new("local", "local", None, None, "tests"))
        .build();
    let client = Client::from_conf(config);
    if client.describe_table().table_name(TABLE).send().await.is_ok() {
        client.delete_table().table_name(TABLE).send().await.unwrap();
    }
    let key = KeySchemaElement::builder().attribute_name("dependency").key_type(KeyType::Hash).build().unwrap();
    let attribute = AttributeDefinition::builder()
        .attribute_name("dependency")
        .attribute_type(ScalarAttributeType::S)
        .build()
        .unwrap();
    let table = client.create_table().table_name(TABLE).key_schema(key).attribute_definitions(attribute);
    table.billing_mode(BillingMode::PayPerRequest).send().await.unwrap();
    (Watched::new(Dynamo::new(client.config().to_builder())), World::new(17), turn)
}

macro_rules! on_dynamodb_local {
    ($($scenario:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $scenario() {
                let (store, world, _turn) = world().await;
                scenarios::$scenario(store, world).await;
            }
        )*
    };
}

on_dynamodb_local!(
    fifty_processes_that_meet_an_elapsed_breaker_make_exactly_k_probes,
    a_burst_of_failures_over_ten_processes_opens_once,
    a_healthy_run_writes_nothing_and_reads_once_a_cache_interval,
    a_stale_process_cannot_close_a_breaker_opened_later,
    a_dependency_that_comes_back_closes_the_breaker_for_all,
);

#[tokio::test]
async fn every_write_knows_itself_again_when_its_answer_is_lost() {
    for fate in [Fate::Lost, Fate::Repeated] {
        let (store, world, _turn) = world().await;
        // Every second write, which is every write: the lost one is repeated.
        store.plan(move |nth| if nth % 2 == 0 || fate == Fate::Repeated { fate } else { Fate::Fine });
        let seen = Seen::default();
        let breaker = breaker(&store, &world).observed(seen.clone());
        once(&breaker, Outcome::Success).await;
        once(&breaker, Outcome::Failure).await;
        assert_eq!(row(&store).await.counts(world.now_ms()), Counts { calls: 2, failures: 1, slow: 0 }, "{fate:?}");
        fail_until_open(&breaker, &world).await;
        world.advance_ms(5_000);
        once(&breaker, Outcome::Ignored).await;
        once(&breaker, Outcome::Failure).await;
        world.advance_ms(10_000);
        for _ in 0..3 {
            once(&breaker, Outcome::Success).await;
        }
        assert_eq!((row(&store).await.state, row(&store).await.epoch), (State::Closed, 5), "{fate:?}");
        let acted = breaker.open(&Manual::forced("ops", "stop"), Some(5)).await.unwrap();
        assert!(matches!(acted, Moved::Moved(row) if row.epoch == 6 && row.forced), "{fate:?}");
        assert_eq!(seen.count(|event| matches!(event, Event::Changed { here: true, .. })), 6, "{fate:?}");
        assert_eq!(seen.count(|event| matches!(event, Event::StoreFailed { .. })), 0, "{fate:?}");
    }
}

#[tokio::test]
async fn the_largest_update_is_within_the_services_limits() {
    let (store, world, _turn) = world().await;
    let process = breaker(&store, &world);
    // Six buckets of counts, while as many buckets as one write removes are there to be removed.
    for _ in 0..14 {
        let cold = breaker(&store, &world);
        cold.permit().await.unwrap().finish(Outcome::Failure).await;
        world.advance_ms(5_000);
    }
    world.advance_ms(60_000);
    for bucket in 0..6 {
        process.permit().await.unwrap().finish(Outcome::Success).await;
        if bucket < 5 {
            world.advance_ms(5_000);
        }
    }
    assert!(once(&process, Outcome::Failure).await);
    let now = row(&store).await;
    let counts = now.counts(world.now_ms());
    assert_eq!(counts, Counts { calls: 7, failures: 1, slow: 0 });
}
