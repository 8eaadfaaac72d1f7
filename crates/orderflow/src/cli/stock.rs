//! `orderflow stock set|show|import`: the catalogue, straight in its table.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use aws_sdk_dynamodb::types::AttributeValue;
use clap::{Args, Subcommand};

use super::output::{self, out};
use super::target::Target;
use crate::stack::{Product, read_products, seed};

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
    sku: String,
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
    currency: Option<String>,
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
            show(&products, json)
        }
        StockCommand::Import(import) => {
            let products = read_products(&import.file)?;
            let (clients, outputs) = import.target.resolve().await?;
            seed(&clients, outputs.output("StockTable")?, &products).await?;
            if json {
                writeln!(out(), "{}", serde_json::json!({ "imported": products.len() }))?;
            } else {
                writeln!(out(), "imported {} products", products.len())?;
            }
            Ok(())
        }
    }
}

impl Set {
    /// One conditional update: either the product is there, or everything that a product needs is given.
    async fn apply(&self) -> anyhow::Result<Product> {
        let mut values = BTreeMap::new();
        let mut put = |field: &'static str, value: Option<AttributeValue>| {
            if let Some(value) = value {
                values.insert(field, value);
            }
        };
        put("available", self.available.map(|n| AttributeValue::N(n.to_string())));
        put("price_minor", self.price_minor.map(|n| AttributeValue::N(n.to_string())));
        put("name", self.name.clone().map(AttributeValue::S));
        put("currency", self.currency.clone().map(AttributeValue::S));
        ensure!(!values.is_empty(), "nothing to set: give --available, --price-minor, --name or --currency");
        let whole = values.len() == 4;

        let (clients, outputs) = self.target.resolve().await?;
        let mut update = clients
            .dynamodb
            .update_item()
            .table_name(outputs.output("StockTable")?)
            .key("sku", AttributeValue::S(self.sku.clone()))
            .return_values(aws_sdk_dynamodb::types::ReturnValue::AllNew);
        let sets: Vec<_> = values.keys().map(|field| format!("#{field} = :{field}")).collect();
        update = update.update_expression(format!("SET {}", sets.join(", ")));
        for (field, value) in values {
            update = update.expression_attribute_names(format!("#{field}"), field);
            update = update.expression_attribute_values(format!(":{field}"), value);
        }
        if !whole {
            update = update.condition_expression("attribute_exists(sku)");
        }
        let answer = match update.send().await {
            Ok(answer) => answer,
            Err(error)
                if error.as_service_error().is_some_and(|error| error.is_conditional_check_failed_exception()) =>
            {
                bail!(
                    "there is no product {}: to add it, give --name, --price-minor, --currency and --available",
                    self.sku
                )
            }
            Err(error) => return Err(error).context("the product could not be written"),
        };
        product(answer.attributes.as_ref().context("the product was written, but not shown")?)
    }
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
