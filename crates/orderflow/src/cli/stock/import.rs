//! `orderflow stock import`: a file of products, one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::Args;
use order::Sku;
use platform::ProductChange;
use ports::StoreError;

use super::{all, becomes, write};
use crate::cli::operator::{Asking, by};
use crate::cli::output::{out, table};
use crate::cli::target::Target;
use crate::stack::{Product, read_products};

#[derive(Debug, Args)]
pub(in crate::cli) struct Import {
    /// A JSON list of products, as events/catalogue.json
    file: PathBuf,
    /// Begin at this product of the file: goes on with an import that came to an end before the file's
    #[arg(long, value_name = "SKU")]
    from: Option<Sku>,
    /// Why: written down with each product
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    asking: Asking,
    #[command(flatten)]
    target: Target,
}

impl Import {
    /// Each product in a transaction of its own: what was written when one fails stays. It must not be written again, as
    /// `available` is set, and pieces may have been sold since: `--from` goes on behind it. Shows what becomes of what, and asks.
    pub(super) async fn apply(&self, json: bool) -> anyhow::Result<usize> {
        let products = read_products(&self.file)?;
        let changes = products.iter().map(whole).collect::<anyhow::Result<Vec<_>>>()?;
        let mut skus = BTreeSet::new();
        for change in &changes {
            ensure!(skus.insert(change.sku.as_str()), "the file has product {} twice", change.sku);
        }
        let changes = from(&changes, self.from.as_ref())?;
        let aws = self.target.aws().await?;
        let (clients, outputs) = self.target.resolve().await?;
        let there = all(&clients.dynamodb, outputs.output("StockTable")?, None).await?;
        let planned = plan(changes, &there);
        if !json {
            show(&planned)?;
        }
        self.asking.confirm(&format!(
            "Write {} products of {}: {}?",
            changes.len(),
            self.file.display(),
            summed(&planned)
        ))?;
        let by = by(&self.target, &self.reason).await?;
        import(changes, async |change| write(&aws, change, &by).await).await?;
        Ok(changes.len())
    }
}

/// What becomes of each product: `None` where it is new, nothing where it stays as it is.
fn plan<'a>(changes: &'a [ProductChange], there: &[Product]) -> Vec<(&'a ProductChange, Option<Vec<String>>)> {
    let there: BTreeMap<&str, &Product> = there.iter().map(|product| (product.sku.as_str(), product)).collect();
    let of = |change: &ProductChange| there.get(change.sku.as_str()).map(|before| becomes(before, change));
    changes.iter().map(|change| (change, of(change))).collect()
}

/// Those that are other than before.
fn show(planned: &[(&ProductChange, Option<Vec<String>>)]) -> anyhow::Result<()> {
    let mut rows = table();
    rows.set_header(["sku", "becomes"]);
    for (change, becomes) in planned {
        let what = match becomes {
            None => format!("new: {}", change.told()),
            Some(becomes) if becomes.is_empty() => continue,
            Some(becomes) => becomes.join(", "),
        };
        rows.add_row([change.sku.as_str(), &what]);
    }
    if !rows.is_empty() {
        writeln!(out(), "{rows}")?;
    }
    Ok(())
}

fn summed(planned: &[(&ProductChange, Option<Vec<String>>)]) -> String {
    let new = planned.iter().filter(|(_, becomes)| becomes.is_none()).count();
    let same = planned.iter().filter(|(_, becomes)| becomes.as_ref().is_some_and(Vec::is_empty)).count();
    format!("{new} new, {} changed, {same} as they are", planned.len() - new - same)
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

    #[test]
    fn what_becomes_of_each_product_is_planned_before_any_is_written() {
        let all = changes(&["CUP", "MUG", "POT"]);
        let product = |sku: &str, available: u64| Product {
            sku: sku.to_owned(),
            name: "It".to_owned(),
            price_minor: 900,
            currency: "USD".to_owned(),
            available,
        };
        let planned = plan(&all, &[product("MUG", 2), product("POT", 5), product("TEA", 1)]);
        let becomes: Vec<_> = planned.iter().map(|(_, becomes)| becomes.clone()).collect();
        assert_eq!(becomes, [None, Some(vec!["available 2 to 5".to_owned()]), Some(Vec::new())]);
        assert_eq!(summed(&planned), "1 new, 1 changed, 1 as they are");
    }
}
