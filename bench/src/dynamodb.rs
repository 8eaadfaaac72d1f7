//! DynamoDB Local (`dynamodb-local`) with the tables of the benchmark.

use anyhow::Context;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, Select,
};
use dynamodb_local::DynamoDbLocal;

/// Rows that handlers write: key `order_id`.
pub const ORDERS_TABLE: &str = "orders";
/// `lambda-queue`'s idempotency records.
pub const OURS_TABLE: &str = "idempotency";
/// Powertools' idempotency records: key `id`, as their documentation makes it.
pub const POWERTOOLS_TABLE: &str = "powertools";
/// The bare handler's records.
pub const FLOOR_TABLE: &str = "floor";
/// Those of a bare handler that makes `lambda-queue`'s very requests.
pub const SAME_TABLE: &str = "floor-same";

/// A running DynamoDB Local with the tables. Stopped when dropped, or when this process ends.
pub struct DynamoDb {
    server: DynamoDbLocal,
    client: Client,
}

impl DynamoDb {
    /// Starts it and makes the tables.
    ///
    /// # Errors
    /// Where Java is missing, or it does not come up.
    pub async fn start() -> anyhow::Result<Self> {
        let server = tokio::task::spawn_blocking(DynamoDbLocal::start).await??;
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(Credentials::new("000000000000", "local", None, None, "local"))
            .endpoint_url(server.endpoint())
            .build();
        let started = Self { server, client: Client::from_conf(config) };
        started.make_tables().await?;
        Ok(started)
    }

    /// Its address, for `AWS_ENDPOINT_URL`.
    pub fn endpoint(&self) -> String {
        self.server.endpoint()
    }

    /// How many items a table holds.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub async fn count(&self, table: &str) -> anyhow::Result<u64> {
        let mut pages = self.client.scan().table_name(table).select(Select::Count).into_paginator().send();
        let mut count = 0;
        while let Some(page) = pages.next().await {
            count += u64::try_from(page.with_context(|| format!("cannot count {table}"))?.count)?;
        }
        Ok(count)
    }

    async fn make_tables(&self) -> anyhow::Result<()> {
        for (table, key) in [
            (ORDERS_TABLE, "order_id"),
            (OURS_TABLE, "key"),
            (POWERTOOLS_TABLE, "id"),
            (FLOOR_TABLE, "id"),
            (SAME_TABLE, "key"),
        ] {
            let attribute = AttributeDefinition::builder().attribute_name(key).attribute_type(ScalarAttributeType::S);
            let schema = KeySchemaElement::builder().attribute_name(key).key_type(KeyType::Hash);
            let made = self
                .client
                .create_table()
                .table_name(table)
                .billing_mode(BillingMode::PayPerRequest)
                .attribute_definitions(attribute.build()?)
                .key_schema(schema.build()?);
            made.send().await.with_context(|| format!("cannot make the table {table}"))?;
        }
        Ok(())
    }
}
