//! `orderflow stock set|show|import`: the catalogue, straight in its table. Every change is one transaction with its audit
//! record.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use aws_sdk_dynamodb::types::AttributeValue;
use clap::{Args, Subcommand};
use order::{Currency, Sku};
use platform::{Aws, ProductChange};
use ports::ReadCases as _;
use triage_dead_letters::decide::By;

use super::case::show::audit_table;
use super::operator::by;
use super::output::{self, out};
use super::target::Target;
use crate::stack::{Product, read_products};

/// The catalogue.
#[derive(Debug, Subcommand)]
pub(super) enum StockCommand {
    /// Change a product, or add one (then name and price are needed)
    Set(Set),
    /// Show one product or all
    Show(Show),
    /// Write a JSON list of products, replacing those that are there under the same sku
    Import(Import),
}

#[derive(Debug, Args)]
pub(super) struct Set {
    /// Stock keeping unit
    sku: Sku,
    /// How many can be reserved
    #[arg(long)]
    available: Option<u64>,
    /// Price of one in minor units; orders already priced keep theirs
    #[arg(long, value_name = "MINOR UNITS")]
    price_minor: Option<u64>,
    /// Name for people
    #[arg(long)]
    name: Option<String>,
    /// ISO 4217 code
    #[arg(long)]
    currency: Option<Currency>,
    /// Why: written down
    #[arg(long, default_value = "by hand")]
    reason: String,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// Stock keeping unit [default: all]
    sku: Option<String>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub(super) struct Import {
    /// A JSON list of products, as events/catalogue.json
    file: PathBuf,
    /// Why: written down with each product
    #[arg(long, default_value = "by hand")]
    reason: String,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn run(command: StockCommand, json: bool) -> anyhow::Result<()> {
    match command {
        StockCommand::Set(set) => {
            let product = set.apply().await?;
            show(&[product], json)
        }
        StockCommand::Show(what) => {
            let (clients, outputs) = what.target.resolve().await?;
            let products = all(&clients.dynamodb, outputs.output("StockTable")?, what.sku.as_deref()).await?;
            if let (Some(sku), true) = (&what.sku, products.is_empty()) {
                bail!("there is no product {sku}");
            }
            show(&products, json)?;
            // Who changed it last, and why.
            if let (Some(sku), false) = (&what.sku, json) {
                let audits = what.target.aws().await?.audits_of(&ProductChange::subject(&sku.parse()?)).await?;
                if !audits.is_empty() {
                    writeln!(out(), "{}", audit_table(&audits))?;
                }
            }
            Ok(())
        }
        StockCommand::Import(import) => {
            let imported = import.apply().await?;
            if json {
                writeln!(out(), "{}", serde_json::json!({ "imported": imported }))?;
            } else {
                writeln!(out(), "imported {imported} products")?;
            }
            Ok(())
        }
    }
}

impl Set {
    /// One transaction with its audit record: either the product is there, or everything that a product needs is given.
    async fn apply(&self) -> anyhow::Result<Product> {
        let Self { sku, available, price_minor, name, currency, reason, target } = self;
        let change = ProductChange {
            sku: sku.clone(),
            name: name.clone(),
            price_minor: *price_minor,
            currency: *currency,
            available: *available,
        };
        ensure!(!change.told().is_empty(), "nothing to set: give --available, --price-minor, --name or --currency");
        let aws = target.aws().await?;
        let by = by(target, reason).await?;
        ensure!(
            write(&aws, &change, &by).await?,
            "there is no product {sku}: to add it, give --name, --price-minor, --currency and --available"
        );
        let (clients, outputs) = target.resolve().await?;
        let mut written = all(&clients.dynamodb, outputs.output("StockTable")?, Some(sku.as_str())).await?;
        written.pop().context("the product was written, but not shown")
    }
}

/// Changes a product, and writes down who did it and why.
async fn write(aws: &Aws, change: &ProductChange, by: &By) -> anyhow::Result<bool> {
    let audit = by.audit(aws, "stock", &ProductChange::subject(&change.sku), change.told());
    aws.change_product(change, &audit).await.context("the product could not be written")
}

impl Import {
    /// Each product in a transaction of its own: what was written when one fails stays, and running it again is safe.
    async fn apply(&self) -> anyhow::Result<usize> {
        let products = read_products(&self.file)?;
        let changes = products.iter().map(whole).collect::<anyhow::Result<Vec<_>>>()?;
        let aws = self.target.aws().await?;
        let by = by(&self.target, &self.reason).await?;
        for (at, change) in changes.iter().enumerate() {
            let written = write(&aws, change, &by).await;
            written.with_context(|| format!("{at} of {} products are written", changes.len()))?;
        }
        Ok(changes.len())
    }
}

fn whole(product: &Product) -> anyhow::Result<ProductChange> {
    let of = |what: &str| format!("product {}: {what}", product.sku);
    Ok(ProductChange {
        sku: product.sku.parse().with_context(|| of("its sku is none"))?,
        name: Some(product.name.clone()),
        price_minor: Some(product.price_minor),
        currency: Some(product.currency.parse().with_context(|| of("its currency is none"))?),
        available: Some(product.available),
    })
}

async fn all(dynamodb: &aws_sdk_dynamodb::Client, table: &str, sku: Option<&str>) -> anyhow::Result<Vec<Product>> {
    if let Some(sku) = sku {
        let key = AttributeValue::S(sku.to_owned());
        let answer = dynamodb.get_item().table_name(table).key("sku", key).consistent_read(true).send().await;
        let item = answer.context("the catalogue cannot be read")?.item;
        return item.iter().map(product).collect();
    }
    let mut items = dynamodb.scan().table_name(table).into_paginator().items().send();
    let mut products = Vec::new();
    while let Some(item) = items.next().await {
        products.push(product(&item.context("the catalogue cannot be read")?)?);
    }
    products.sort_by(|a, b| a.sku.cmp(&b.sku));
    Ok(products)
}

fn product(item: &std::collections::HashMap<String, AttributeValue>) -> anyhow::Result<Product> {
    let text = |field: &str| {
        item.get(field)
            .and_then(|value| value.as_s().ok())
            .cloned()
            .with_context(|| format!("a product has no {field}"))
    };
    let number = |field: &str| {
        item.get(field)
            .and_then(|value| value.as_n().ok())
            .and_then(|digits| digits.parse().ok())
            .with_context(|| format!("a product has no {field}"))
    };
    Ok(Product {
        sku: text("sku")?,
        name: text("name")?,
        price_minor: number("price_minor")?,
        currency: text("currency")?,
        available: number("available")?,
    })
}

fn show(products: &[Product], json: bool) -> anyhow::Result<()> {
    if json {
        writeln!(out(), "{}", serde_json::to_string_pretty(products)?)?;
        return Ok(());
    }
    let mut rows = output::table();
    rows.set_header(["sku", "name", "price (minor units)", "currency", "available"]);
    for product in products {
        rows.add_row([
            product.sku.clone(),
            product.name.clone(),
            product.price_minor.to_string(),
            product.currency.clone(),
            product.available.to_string(),
        ]);
    }
    writeln!(out(), "{rows}")?;
    Ok(())
}
