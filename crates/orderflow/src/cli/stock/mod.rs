//! `orderflow stock set|show|import`: the catalogue, straight in its table. Every change is shown and asked for before, and is one
//! transaction with its audit record. How many pieces there are is set only while they are as many as were shown: what is sold
//! between the look and the answer is not undone. With `--yes` nobody looked, and it is set whatever it is.

mod import;

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use aws_sdk_dynamodb::types::AttributeValue;
use clap::{Args, Subcommand};
use lambda_queue::Random as _;
use order::{Currency, Sku};
use platform::{Aws, Changed, Expected, ProductChange};
use ports::{ReadCases as _, StoreError};
use triage_dead_letters::decide::By;

use import::Import;

use super::case::show::audit_table;
use super::operator::{Asking, by};
use super::output::{self, out};
use super::target::Target;
use crate::stack::Product;

/// The catalogue.
#[derive(Debug, Subcommand)]
pub(super) enum StockCommand {
    /// Change a product, or add one (then name and price are needed)
    Set(Set),
    /// Show one product or all
    Show(Show),
    /// Write a JSON list of products, replacing those that are there under the same sku. Sets what is available: do not run
    /// it twice while the shop sells. Stops at a product that is no longer as it was shown; with --yes all are written,
    /// whatever they are
    Import(Import),
}

#[derive(Debug, Args)]
pub(super) struct Set {
    /// Stock keeping unit
    sku: Sku,
    /// How many can be reserved. Refused where it is no longer as many as was shown; with --yes set whatever it is
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
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    asking: Asking,
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
            let imported = import.apply(json).await?;
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
    /// One transaction with its audit record: either the product is there, or everything that a product needs is given. Shows
    /// what becomes of what, and asks.
    async fn apply(&self) -> anyhow::Result<Product> {
        let Self { sku, available, price_minor, name, currency, reason, asking, target } = self;
        let change = ProductChange {
            sku: sku.clone(),
            name: name.clone(),
            price_minor: *price_minor,
            currency: *currency,
            available: *available,
        };
        ensure!(!change.told().is_empty(), "nothing to set: give --available, --price-minor, --name or --currency");
        let aws = target.aws().await?;
        let (clients, outputs) = target.resolve().await?;
        let table = outputs.output("StockTable")?;
        // One that cannot be read can be put right all the same.
        let before = all(&clients.dynamodb, table, Some(sku.as_str())).await.map(|mut found| found.pop());
        let expected = if asking.asks() { expected(&before) } else { Expected::Anything };
        let question = match before {
            Ok(Some(before)) => match becomes(&before, &change) {
                becomes if becomes.is_empty() => format!("Product {sku} is so already. Write it all the same?"),
                becomes => format!("Product {sku} ({}): {}. Change it?", before.name, becomes.join(", ")),
            },
            Ok(None) => format!("There is no product {sku}. Add it: {}?", change.told()),
            Err(error) => format!("What product {sku} is now is not known: {error:#}. Set {}?", change.told()),
        };
        asking.confirm(&question)?;
        let by = by(target, reason).await?;
        match write(&aws, &change, expected, &by).await.context("the product could not be written")? {
            Changed::Done => {}
            Changed::Absent => {
                bail!("there is no product {sku}: to add it, give --name, --price-minor, --currency and --available")
            }
            Changed::Other(available) => bail!(other(sku, available)),
        }
        let mut written = all(&clients.dynamodb, table, Some(sku.as_str())).await?;
        written.pop().context("the product was written, but not shown")
    }
}

/// What of a product a change makes another one: `available 3 to 5`.
fn becomes(before: &Product, change: &ProductChange) -> Vec<String> {
    let ProductChange { sku: _, name, price_minor, currency, available } = change;
    let each = [
        ("name", Some(before.name.clone()), name.clone()),
        ("price_minor", Some(before.price_minor.to_string()), price_minor.map(|minor| minor.to_string())),
        ("currency", Some(before.currency.clone()), currency.map(|currency| currency.code().to_owned())),
        ("available", Some(before.available.to_string()), available.map(|pieces| pieces.to_string())),
    ];
    let other = each.into_iter().filter(|(_, before, after)| after.is_some() && before != after);
    let told = |(what, before, after): (&str, Option<String>, Option<String>)| {
        Some(format!("{what} {} to {}", before?, after?))
    };
    other.filter_map(told).collect()
}

/// What a product has to be still, when it was read as this.
fn expected<E>(before: &Result<Option<Product>, E>) -> Expected {
    match before {
        Ok(Some(before)) => Expected::Available(before.available),
        Ok(None) => Expected::Absent,
        Err(_) => Expected::Anything,
    }
}

/// Why a product was not written that is another one than was shown.
fn other(sku: &Sku, available: Option<u64>) -> String {
    match available {
        Some(pieces) => format!(
            "product {sku} is not as it was shown: its available is {pieces} by now; nothing of it is changed: look again"
        ),
        None => format!("product {sku} is not as it was shown; nothing of it is changed: look again"),
    }
}

/// How often a change is tried that meets another one: every reservation of the product is one.
const TRIES: u32 = 6;
/// Before the next try, milliseconds at most; twice as long each time.
const FIRST_PAUSE_MS: u64 = 50;

/// Changes a product, and writes down who did it and why.
async fn write(aws: &Aws, change: &ProductChange, expected: Expected, by: &By) -> Result<Changed, StoreError> {
    let audit = by.audit(aws, "stock", &ProductChange::subject(&change.sku), change.told());
    again(|bound_ms| aws.below(bound_ms), async || aws.change_product(change, expected, &audit).await).await
}

/// Tries a change again that surely was not done. One whose answer was lost is not: pieces may have been sold since.
async fn again(
    below: impl Fn(u64) -> u64,
    mut change: impl AsyncFnMut() -> Result<Changed, StoreError>,
) -> Result<Changed, StoreError> {
    let mut most_ms = FIRST_PAUSE_MS;
    for _ in 1..TRIES {
        match change().await {
            Err(StoreError::NotDone(_)) => {
                tokio::time::sleep(Duration::from_millis(below(most_ms + 1))).await;
                most_ms *= 2;
            }
            done => return done,
        }
    }
    change().await
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_change_that_meets_a_reservation_is_tried_again_and_one_whose_answer_was_lost_is_not() {
        let met = || Err(StoreError::NotDone("the transaction met another one".to_owned()));
        for (meets, lost, tries, done) in
            [(0, false, 1, true), (5, false, 6, true), (6, false, 6, false), (0, true, 1, false)]
        {
            let mut count = 0;
            let change = async || {
                count += 1;
                if lost {
                    return Err(StoreError::Unknown("no answer".to_owned()));
                }
                if count > meets { Ok(Changed::Done) } else { met() }
            };
            assert_eq!(again(|bound_ms| bound_ms - 1, change).await.is_ok(), done, "{meets} {lost}");
            assert_eq!(count, tries, "{meets} {lost}");
        }
    }

    #[test]
    fn only_the_product_that_was_shown_is_changed() {
        let mug = Product {
            sku: "MUG".to_owned(),
            name: "A mug".to_owned(),
            price_minor: 900,
            currency: "USD".to_owned(),
            available: 3,
        };
        assert_eq!(expected::<StoreError>(&Ok(Some(mug))), Expected::Available(3));
        assert_eq!(expected::<StoreError>(&Ok(None)), Expected::Absent);
        // One that cannot be read is put right, whatever it is.
        assert_eq!(expected(&Err(StoreError::Unreadable("no name".to_owned()))), Expected::Anything);

        let why = other(&"MUG".parse().unwrap(), Some(2));
        assert!(why.contains("available is 2 by now") && why.contains("look again"), "{why}");
    }

    #[test]
    fn what_becomes_of_a_product_is_told_by_what_is_other_than_before() {
        let mug = Product {
            sku: "MUG".to_owned(),
            name: "A mug".to_owned(),
            price_minor: 900,
            currency: "USD".to_owned(),
            available: 3,
        };
        let change = |price_minor: u64, available: Option<u64>| ProductChange {
            sku: "MUG".parse().unwrap(),
            name: None,
            price_minor: Some(price_minor),
            currency: Some("USD".parse().unwrap()),
            available,
        };
        assert_eq!(becomes(&mug, &change(1_000, Some(5))), ["price_minor 900 to 1000", "available 3 to 5"]);
        assert_eq!(becomes(&mug, &change(900, Some(3))), Vec::<String>::new());
        assert_eq!(becomes(&mug, &change(900, None)), Vec::<String>::new(), "what is not said stays");
    }
}
