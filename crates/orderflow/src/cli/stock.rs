//! `orderflow stock set|show|import`: the catalogue, straight in its table. Every change is one transaction with its audit
//! record.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use aws_sdk_dynamodb::types::AttributeValue;
use clap::{Args, Subcommand};
use lambda_queue::Random as _;
use order::{Currency, Sku};
use platform::{Aws, ProductChange};
use ports::{ReadCases as _, StoreError};
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
    /// Write a JSON list of products, replacing those that are there under the same sku. Sets what is available: do not run
    /// it twice while the shop sells
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
    /// Begin at this product of the file: goes on with an import that came to an end before the file's
    #[arg(long, value_name = "SKU")]
    from: Option<Sku>,
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
            write(&aws, &change, &by).await.context("the product could not be written")?,
            "there is no product {sku}: to add it, give --name, --price-minor, --currency and --available"
        );
        let (clients, outputs) = target.resolve().await?;
        let mut written = all(&clients.dynamodb, outputs.output("StockTable")?, Some(sku.as_str())).await?;
        written.pop().context("the product was written, but not shown")
    }
}

/// How often a change is tried that meets another one: every reservation of the product is one.
const TRIES: u32 = 6;
/// Before the next try, milliseconds at most; twice as long each time.
const FIRST_PAUSE_MS: u64 = 50;

/// Changes a product, and writes down who did it and why.
async fn write(aws: &Aws, change: &ProductChange, by: &By) -> Result<bool, StoreError> {
    let audit = by.audit(aws, "stock", &ProductChange::subject(&change.sku), change.told());
    again(|bound_ms| aws.below(bound_ms), async || aws.change_product(change, &audit).await).await
}

/// Tries a change again that surely was not done. One whose answer was lost is not: pieces may have been sold since.
async fn again(
    below: impl Fn(u64) -> u64,
    mut change: impl AsyncFnMut() -> Result<bool, StoreError>,
) -> Result<bool, StoreError> {
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

impl Import {
    /// Each product in a transaction of its own: what was written when one fails stays. It must not be written again, as
    /// `available` is set, and pieces may have been sold since: `--from` goes on behind it.
    async fn apply(&self) -> anyhow::Result<usize> {
        let products = read_products(&self.file)?;
        let changes = products.iter().map(whole).collect::<anyhow::Result<Vec<_>>>()?;
        let mut skus = BTreeSet::new();
        for change in &changes {
            ensure!(skus.insert(change.sku.as_str()), "the file has product {} twice", change.sku);
        }
        let changes = from(&changes, self.from.as_ref())?;
        let aws = self.target.aws().await?;
        let by = by(&self.target, &self.reason).await?;
        import(changes, async |change| write(&aws, change, &by).await).await?;
        Ok(changes.len())
    }
}

/// Those from a product on.
fn from<'a>(changes: &'a [ProductChange], sku: Option<&Sku>) -> anyhow::Result<&'a [ProductChange]> {
    let Some(sku) = sku else { return Ok(changes) };
    let at = changes.iter().position(|change| change.sku == *sku);
    at.and_then(|at| changes.get(at..)).with_context(|| format!("the file has no product {sku} to begin from"))
}

/// Writes one after the other; where one fails, says what is left, and how only that is imported.
async fn import(
    changes: &[ProductChange],
    mut write: impl AsyncFnMut(&ProductChange) -> Result<bool, StoreError>,
) -> anyhow::Result<()> {
    for (at, change) in changes.iter().enumerate() {
        let Err(error) = write(change).await else { continue };
        let left = |from: usize| {
            let skus: Vec<&str> = changes.iter().skip(from).map(|change| change.sku.as_str()).collect();
            skus.join(", ")
        };
        let (all, sku) = (changes.len(), &change.sku);
        let go_on = |from: usize| match changes.get(from) {
            Some(next) => {
                format!("left to import: {}. Import only these: the same command with --from {}", left(from), next.sku)
            }
            None => "nothing else is left".to_owned(),
        };
        let what = match error {
            StoreError::Unknown(_) => format!(
                "{at} of {all} products are written, and {sku} may be: `orderflow stock show {sku}` tells, and `stock set` \
                 puts it right. Behind it, {}",
                go_on(at + 1)
            ),
            StoreError::NotDone(_) | StoreError::Unreadable(_) => {
                format!("{at} of {all} products are written; {}", go_on(at))
            }
        };
        return Err(anyhow::Error::new(error).context(format!(
            "{what}. Do not import those that are written again: of these pieces may have been sold since"
        )));
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(skus: &[&str]) -> Vec<ProductChange> {
        let of = |sku: &&str| ProductChange {
            sku: sku.parse().unwrap(),
            name: None,
            price_minor: None,
            currency: None,
            available: Some(5),
        };
        skus.iter().map(of).collect()
    }

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
                if count > meets { Ok(true) } else { met() }
            };
            assert_eq!(again(|bound_ms| bound_ms - 1, change).await.is_ok(), done, "{meets} {lost}");
            assert_eq!(count, tries, "{meets} {lost}");
        }
    }

    #[tokio::test]
    async fn an_import_that_fails_says_what_is_left_and_how_only_that_is_imported() {
        let all = changes(&["CUP", "MUG", "POT", "TEA"]);
        let fails = |at: &'static str, error: StoreError| {
            import(&all, async move |change| if change.sku.as_str() == at { Err(error.clone()) } else { Ok(true) })
        };
        let not_done = StoreError::NotDone("it met another one".to_owned());
        let why = fails("POT", not_done.clone()).await.unwrap_err().to_string();
        assert!(why.starts_with("2 of 4 products are written; left to import: POT, TEA."), "{why}");
        assert!(why.contains("--from POT") && why.contains("sold since"), "{why}");
        let why = fails("POT", StoreError::Unknown("no answer".to_owned())).await.unwrap_err().to_string();
        assert!(why.contains("POT may be") && why.contains("stock show POT"), "{why}");
        assert!(why.contains("left to import: TEA.") && why.contains("--from TEA"), "{why}");
        let why = fails("TEA", StoreError::Unknown("no answer".to_owned())).await.unwrap_err().to_string();
        assert!(why.contains("nothing else is left"), "{why}");

        // Which goes on where it came to an end, and writes nothing again.
        let left = from(&all, Some(&"POT".parse().unwrap())).unwrap();
        assert_eq!(left, &all[2..]);
        assert!(from(&all, Some(&"PAN".parse().unwrap())).is_err());
        let mut written = Vec::new();
        import(left, async |change| {
            written.push(change.sku.to_string());
            Ok(true)
        })
        .await
        .unwrap();
        assert_eq!(written, ["POT", "TEA"]);
    }
}
