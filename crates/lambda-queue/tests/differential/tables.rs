//! The tables of both sides.

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::config::{Credentials, Region};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType as SdkKeyType,
    Projection as SdkProjection, ProjectionType, ScalarAttributeType,
};
use lambda_queue::aws::Dynamo;
use lambda_queue::memory::{Index, KeyType, Projection, Table};
use lambda_queue::ports::store::{Item, Store as _, Value};

use super::program::Step;

/// By `id`; an index by `g`, sorted by `r`, of the keys and `n`.
pub fn things(name: &str) -> Table {
    let by = Index::new("by_g", "g", KeyType::S).sorted("r", KeyType::N);
    Table::new(name, "id", KeyType::S).index(by.projecting(Projection::Include(vec!["n".to_owned()])))
}

/// By `id`, sorted by the number `r`.
pub fn rows(name: &str) -> Table {
    Table::new(name, "id", KeyType::S).sorted("r", KeyType::N)
}

pub async fn dynamo(endpoint: &str) -> Dynamo {
    let config = aws_config::defaults(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "test"))
        .load()
        .await;
    Dynamo::new(&config)
}

fn key(name: &str, kind: SdkKeyType) -> KeySchemaElement {
    KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap()
}

fn attribute(name: &str, kind: ScalarAttributeType) -> AttributeDefinition {
    AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build().unwrap()
}

pub async fn create(dynamo: &Dynamo, things: &str, rows: &str) {
    let projection = SdkProjection::builder().projection_type(ProjectionType::Include).non_key_attributes("n").build();
    let by = GlobalSecondaryIndex::builder()
        .index_name("by_g")
        .key_schema(key("g", SdkKeyType::Hash))
        .key_schema(key("r", SdkKeyType::Range))
        .projection(projection);
    let create = dynamo.client().create_table().table_name(things).billing_mode(BillingMode::PayPerRequest);
    create
        .key_schema(key("id", SdkKeyType::Hash))
        .attribute_definitions(attribute("id", ScalarAttributeType::S))
        .attribute_definitions(attribute("g", ScalarAttributeType::S))
        .attribute_definitions(attribute("r", ScalarAttributeType::N))
        .global_secondary_indexes(by.build().unwrap())
        .send()
        .await
        .unwrap();
    let create = dynamo.client().create_table().table_name(rows).billing_mode(BillingMode::PayPerRequest);
    create
        .key_schema(key("id", SdkKeyType::Hash))
        .key_schema(key("r", SdkKeyType::Range))
        .attribute_definitions(attribute("id", ScalarAttributeType::S))
        .attribute_definitions(attribute("r", ScalarAttributeType::N))
        .send()
        .await
        .unwrap();
}

pub async fn delete(dynamo: &Dynamo, things: &str, rows: &str) {
    for name in [things, rows] {
        dynamo.client().delete_table().table_name(name).send().await.unwrap();
    }
}

pub async fn scan(dynamo: &Dynamo, name: &str) -> Vec<Item> {
    let page = dynamo.client().scan().table_name(name).consistent_read(true).send().await.unwrap();
    assert!(page.last_evaluated_key.is_none());
    let items = page.items.unwrap_or_default().into_iter();
    items.map(|item| item.into_iter().map(|(name, value)| (name, Value::from(value))).collect()).collect()
}

/// What DynamoDB said in full, where it refused.
pub async fn explain(dynamo: &Dynamo, step: Step) -> String {
    match step {
        Step::Write(write) => format!("{:?}", dynamo.write(write).await),
        Step::Query(query) | Step::Drain(query) => format!("{:?}", dynamo.query(query).await),
        Step::Transact(writes) => format!("{:?}", dynamo.transact(writes).await),
        Step::Get(..) | Step::GetAll(..) => String::new(),
    }
}
