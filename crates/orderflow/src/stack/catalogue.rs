//! The products of a local stack: `events/catalogue.json` into the stock table.

use std::path::Path;

use anyhow::{Context, ensure};
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use serde::{Deserialize, Serialize};

use super::Clients;

/// DynamoDB's limit for one batch.
const BATCH: usize = 25;
/// Throttled items come back; locally once is already unlikely.
const ATTEMPTS: usize = 5;

/// A product as the stock table holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Product {
    /// Stock keeping unit, the key.
    pub sku: String,
    /// Name for people.
    pub name: String,
    /// Price of one in minor units of `currency`.
    pub price_minor: u64,
    /// ISO 4217 code.
    pub currency: String,
    /// How many can be reserved.
    pub available: u64,
}

impl Product {
    fn request(&self) -> anyhow::Result<WriteRequest> {
        let put = PutRequest::builder()
            .item("sku", AttributeValue::S(self.sku.clone()))
            .item("name", AttributeValue::S(self.name.clone()))
            .item("price_minor", AttributeValue::N(self.price_minor.to_string()))
            .item("currency", AttributeValue::S(self.currency.clone()))
            .item("available", AttributeValue::N(self.available.to_string()))
            .build()?;
        Ok(WriteRequest::builder().put_request(put).build())
    }
}

/// Reads the catalogue of the project.
///
/// # Errors
/// When the file is missing or malformed.
pub fn load(root: &Path) -> anyhow::Result<Vec<Product>> {
    read(&root.join("events/catalogue.json"))
}

/// Reads a JSON list of products.
///
/// # Errors
/// When the file is missing or malformed.
pub fn read(path: &Path) -> anyhow::Result<Vec<Product>> {
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is no list of products", path.display()))
}

/// Writes the products, replacing what is there.
///
/// # Errors
/// When the table does not take them all.
pub async fn seed(clients: &Clients, table: &str, products: &[Product]) -> anyhow::Result<()> {
    for chunk in products.chunks(BATCH) {
        let mut pending = chunk.iter().map(Product::request).collect::<anyhow::Result<Vec<_>>>()?;
        for _ in 0..ATTEMPTS {
            let answer = clients
                .dynamodb
                .batch_write_item()
                .request_items(table, pending)
                .send()
                .await
                .context("cannot write the catalogue")?;
            pending = answer.unprocessed_items.and_then(|mut left| left.remove(table)).unwrap_or_default();
            if pending.is_empty() {
                break;
            }
        }
        ensure!(pending.is_empty(), "{} products could not be written to {table}", pending.len());
    }
    Ok(())
}
