//! What `lambda-queue` proves over DynamoDB Local, over the table service of the stack too: the very same functions.

#[allow(clippy::wildcard_enum_match_arm, reason = "as where it is from")]
#[path = "../../../crates/lambda-queue/tests/idempotency/proofs.rs"]
mod effects;
#[path = "../../../crates/lambda-queue/tests/breaker/scenarios.rs"]
mod scenarios;
#[allow(dead_code, reason = "the breaker's own tests use the rest")]
#[path = "../../../crates/lambda-queue/tests/breaker/support.rs"]
mod support;

use std::time::Duration;

use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType};
use lambda_queue::aws::Dynamo;
use lambda_queue::breaker::Row;
use lambda_queue::idempotency::{Fingerprint, Key, Namespace};
use lambda_queue::memory::World;
use lambda_queue::ports::store::{Store as _, Write};
use serde_json::json;

use crate::shop::Shop;

/// Tables of these tests alone: the stack's have its name in front.
const TABLE: &str = "proofs-idempotency";
const ROWS: &str = "proofs-rows";
const KEPT_MS: u64 = 393 * 86_400_000;

fn key(name: &str) -> Key {
    Namespace::new("bill", "invoice").unwrap().key([json!(name)]).unwrap()
}

fn fingerprint(payload: u32) -> Fingerprint {
    Fingerprint::of(&json!({ "payload": payload })).unwrap()
}

/// The stack's DynamoDB. A thousand tasks connect at the same time: none takes its answer for lost because it is slow.
fn dynamo(shop: &Shop) -> Dynamo {
    let patient = TimeoutConfig::builder().connect_timeout(Duration::from_secs(120)).build();
    let config = shop.d.clients.dynamodb.config().to_builder();
    Dynamo::new(config.timeout_config(patient).retry_config(RetryConfig::standard().with_max_attempts(10)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_claims_and_transactions_hold_over_the_stacks_dynamodb() -> anyhow::Result<()> {
    let shop = Shop::open("proofs").await?;
    let (store, world) = (dynamo(&shop), World::new(1));
    effects::tables(store.client()).await;
    effects::a_loser_can_neither_overwrite_nor_delete(&store, &world).await;
    effects::a_killed_owners_effect_is_looked_up_never_blindly_repeated(&store, &world).await;
    effects::colliding_transactions_each_happen_once(&store, &world).await;
    effects::a_thousand_tasks_over_ten_keys_run_each_effect_exactly_once(&store, &world).await;
    effects::the_delivery_modes_act_once_for_copies_that_come_together(&store, &world).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn breakers_of_many_processes_hold_over_the_stacks_dynamodb() -> anyhow::Result<()> {
    let shop = Shop::open("breaker-proofs").await?;
    let store = dynamo(&shop);
    let hash = KeySchemaElement::builder().attribute_name("dependency").key_type(KeyType::Hash).build()?;
    let name = AttributeDefinition::builder().attribute_name("dependency").attribute_type(ScalarAttributeType::S);
    let create = store.client().create_table().table_name(support::TABLE).billing_mode(BillingMode::PayPerRequest);
    create.key_schema(hash).attribute_definitions(name.build()?).send().await?;
    macro_rules! each {
        ($($scenario:ident),* $(,)?) => {
            $(
                store.write(Write::delete(support::TABLE, Row::key(support::DEPENDENCY))).await?;
                scenarios::$scenario(support::Watched::new(store.clone()), World::new(17)).await;
            )*
        };
    }
    each!(
        fifty_processes_that_meet_an_elapsed_breaker_make_exactly_k_probes,
        a_burst_of_failures_over_ten_processes_opens_once,
        a_healthy_run_writes_nothing_and_reads_once_a_cache_interval,
        a_stale_process_cannot_close_a_breaker_opened_later,
        a_dependency_that_comes_back_closes_the_breaker_for_all,
    );
    Ok(())
}
