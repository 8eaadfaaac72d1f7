//! `orderflow stock import`: a file of products, one after the other.

use std::collections::{BTreeSet, HashMap};
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::Args;
use order::Sku;
use platform::{Changed, Expected, ProductChange};
use ports::StoreError;

use super::{becomes, other, write};
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
    /// Shows what becomes of what, and asks. Each product is a transaction of its own, refused where the product is no longer as
    /// it was shown: what was written when one fails stays. It must not be written again, as `available` is set, and pieces may
    /// have been sold since: `--from` goes on behind it.
    pub(super) async fn apply(&self, json: bool) -> anyhow::Result<usize> {
        let products = read_products(&self.file)?;
        let changes = products.iter().map(whole).collect::<anyhow::Result<Vec<_>>>()?;
        let mut skus = BTreeSet::new();
        for change in &changes {
            ensure!(skus.insert(change.sku.as_str()), "the file has product {} twice", change.sku);
        }
        let changes = from(&changes, self.from.as_ref())?;
        let aws = self.target.aws().await?;
        let skus: Vec<Sku> = changes.iter().map(|change| change.sku.clone()).collect();
        let there = aws.find_products(&skus).await.context("the catalogue cannot be read")?;
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
        let asks = self.asking.asks();
        import(&planned, async |change, expected| {
            let expected = if asks { expected } else { Expected::Anything };
            write(&aws, change, expected, &by).await
        })
        .await?;
        Ok(changes.len())
    }
}

/// A product that is to be written.
struct Planned<'a> {
    change: &'a ProductChange,
    becomes: Becomes,
    /// What it has to be still, when it is written.
    expected: Expected,
}

/// What is done to a product.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Becomes {
    New,
    /// Nothing, where it stays as it is.
    Other(Vec<String>),
    /// It cannot be read, so what it was is not shown.
    Replaced,
}

/// What becomes of each product, by what the table has of them.
fn plan<'a>(
    changes: &'a [ProductChange],
    there: &HashMap<String, Result<ports::Product, StoreError>>,
) -> Vec<Planned<'a>> {
    let of = |change: &'a ProductChange| {
        let (becomes, expected) = match there.get(change.sku.as_str()) {
            None => (Becomes::New, Expected::Absent),
            Some(Ok(before)) => {
                (Becomes::Other(becomes(&shown(before), change)), Expected::Available(before.available))
            }
            Some(Err(_)) => (Becomes::Replaced, Expected::Anything),
        };
        Planned { change, becomes, expected }
    };
    changes.iter().map(of).collect()
}

/// As the commands show it.
fn shown(product: &ports::Product) -> Product {
    Product {
        sku: product.sku.to_string(),
        name: product.name.clone(),
        price_minor: product.price_minor,
        currency: product.currency.code().to_owned(),
        available: product.available,
    }
}

/// Those that are other than before.
fn show(planned: &[Planned<'_>]) -> anyhow::Result<()> {
    let mut rows = table();
    rows.set_header(["sku", "becomes"]);
    for Planned { change, becomes, expected: _ } in planned {
        let what = match becomes {
            Becomes::New => format!("new: {}", change.told()),
            Becomes::Other(becomes) if becomes.is_empty() => continue,
            Becomes::Other(becomes) => becomes.join(", "),
            Becomes::Replaced => format!("cannot be read: replaced by {}", change.told()),
        };
        rows.add_row([change.sku.as_str(), &what]);
    }
    if !rows.is_empty() {
        writeln!(out(), "{rows}")?;
    }
    Ok(())
}

fn summed(planned: &[Planned<'_>]) -> String {
    let count = |is: fn(&Becomes) -> bool| planned.iter().filter(|planned| is(&planned.becomes)).count();
    let new = count(|becomes| *becomes == Becomes::New);
    let changed = count(|becomes| matches!(becomes, Becomes::Other(what) if !what.is_empty()));
    let same = count(|becomes| matches!(becomes, Becomes::Other(what) if what.is_empty()));
    let all = format!("{new} new, {changed} changed, {same} as they are");
    match count(|becomes| *becomes == Becomes::Replaced) {
        0 => all,
        replaced => format!("{all}, {replaced} that cannot be read replaced"),
    }
}

/// Those from a product on.
fn from<'a>(changes: &'a [ProductChange], sku: Option<&Sku>) -> anyhow::Result<&'a [ProductChange]> {
    let Some(sku) = sku else { return Ok(changes) };
    let at = changes.iter().position(|change| change.sku == *sku);
    at.and_then(|at| changes.get(at..)).with_context(|| format!("the file has no product {sku} to begin from"))
}

/// Writes one after the other; where one fails, or is not as it was shown, says what is left, and how only that is imported.
async fn import(
    planned: &[Planned<'_>],
    mut write: impl AsyncFnMut(&ProductChange, Expected) -> Result<Changed, StoreError>,
) -> anyhow::Result<()> {
    let skus: Vec<&Sku> = planned.iter().map(|planned| &planned.change.sku).collect();
    for (at, (planned, sku)) in planned.iter().zip(&skus).enumerate() {
        let error = match write(planned.change, planned.expected).await {
            Ok(Changed::Done) => continue,
            Ok(Changed::Absent) => StoreError::NotDone(other(sku, None)),
            Ok(Changed::Other(available)) => StoreError::NotDone(other(sku, available)),
            Err(error) => error,
        };
        let left = |from: usize| {
            let skus: Vec<&str> = skus.iter().skip(from).map(|sku| sku.as_str()).collect();
            skus.join(", ")
        };
        let all = skus.len();
        let go_on = |from: usize| match skus.get(from) {
            Some(next) => {
                format!("left to import: {}. Import only these: the same command with --from {next}", left(from))
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
        let planned = plan(&all, &HashMap::new());
        let ends = |at: &'static str, end: Result<Changed, StoreError>| {
            import(
                &planned,
                async move |change, _| {
                    if change.sku.as_str() == at { end.clone() } else { Ok(Changed::Done) }
                },
            )
        };
        let fails = |at: &'static str, error: StoreError| ends(at, Err(error));
        let not_done = StoreError::NotDone("it met another one".to_owned());
        let why = fails("POT", not_done.clone()).await.unwrap_err().to_string();
        assert!(why.starts_with("2 of 4 products are written; left to import: POT, TEA."), "{why}");
        assert!(why.contains("--from POT") && why.contains("sold since"), "{why}");
        let why = fails("POT", StoreError::Unknown("no answer".to_owned())).await.unwrap_err().to_string();
        assert!(why.contains("POT may be") && why.contains("stock show POT"), "{why}");
        assert!(why.contains("left to import: TEA.") && why.contains("--from TEA"), "{why}");
        let why = fails("TEA", StoreError::Unknown("no answer".to_owned())).await.unwrap_err().to_string();
        assert!(why.contains("nothing else is left"), "{why}");
        // One that was sold of since it was shown is left, and so is what is behind it.
        let why = format!("{:#}", ends("POT", Ok(Changed::Other(Some(4)))).await.unwrap_err());
        assert!(why.starts_with("2 of 4 products are written; left to import: POT, TEA."), "{why}");
        assert!(why.contains("--from POT") && why.contains("4 by now") && why.contains("look again"), "{why}");
        let why = format!("{:#}", ends("POT", Ok(Changed::Absent)).await.unwrap_err());
        assert!(why.contains("--from POT") && why.contains("POT is not as it was shown"), "{why}");

        // Which goes on where it came to an end, and writes nothing again.
        let left = from(&all, Some(&"POT".parse().unwrap())).unwrap();
        assert_eq!(left, &all[2..]);
        assert!(from(&all, Some(&"PAN".parse().unwrap())).is_err());
        let mut written = Vec::new();
        import(&plan(left, &HashMap::new()), async |change, _| {
            written.push(change.sku.to_string());
            Ok(Changed::Done)
        })
        .await
        .unwrap();
        assert_eq!(written, ["POT", "TEA"]);
    }

    #[test]
    fn what_becomes_of_each_product_is_planned_before_any_is_written() {
        let all = changes(&["CUP", "MUG", "POT", "TEA"]);
        let product = |sku: &str, available: u64| ports::Product {
            sku: sku.parse().unwrap(),
            name: "It".to_owned(),
            price_minor: 900,
            currency: "USD".parse().unwrap(),
            available,
        };
        let unreadable = StoreError::Unreadable("no name".to_owned());
        let mut there: HashMap<_, _> =
            [("MUG", 2), ("POT", 5)].map(|(sku, available)| (sku.to_owned(), Ok(product(sku, available)))).into();
        let planned = plan(&all[..3], &there);
        let becomes: Vec<_> = planned.iter().map(|planned| (planned.becomes.clone(), planned.expected)).collect();
        assert_eq!(
            becomes,
            [
                (Becomes::New, Expected::Absent),
                (Becomes::Other(vec!["available 2 to 5".to_owned()]), Expected::Available(2)),
                (Becomes::Other(Vec::new()), Expected::Available(5)),
            ]
        );
        assert_eq!(summed(&planned), "1 new, 1 changed, 1 as they are");

        // One that cannot be read keeps none from being written, and is put right.
        there.insert("TEA".to_owned(), Err(unreadable));
        let planned = plan(&all, &there);
        assert_eq!((&planned[3].becomes, planned[3].expected), (&Becomes::Replaced, Expected::Anything));
        assert_eq!(summed(&planned), "1 new, 1 changed, 1 as they are, 1 that cannot be read replaced");
    }
}
