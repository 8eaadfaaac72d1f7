//! `orderflow reconcile`: compares the payment provider's ledger with the orders, through `reconcile-payments`'s own code.

use std::collections::BTreeMap;
use std::io::Write as _;

use anyhow::{Context, ensure};
use clap::Args;
use lambda_queue::Clock as _;
use order::OrderId;
use platform::Aws;
use ports::{CaseStatus, DecideCases as _, ReadCases as _, Stands};
use providers::{Secret, Stripe};
use reconcile_payments::{Ask, Counts, Difference, MOST_HOURS, Walk, open_case};
use serde_json::{Value, json};

use super::case::age;
use super::operator::{Asking, by};
use super::output::{out, table};
use super::target::Target;

/// Pages between two words about how far it has come.
const TELL_EVERY: usize = 20;

#[derive(Debug, Args)]
pub(super) struct Reconcile {
    /// How far back: what was created at the provider since
    #[arg(long, value_name = "AGE", default_value = "48h", value_parser = age)]
    since: u64,
    /// What is younger is not judged: its order may be on its way
    #[arg(long, value_name = "AGE", default_value = "15m", value_parser = age)]
    grace: u64,
    /// Only this order; may be repeated
    #[arg(long = "order", value_name = "ORDER")]
    orders: Vec<OrderId>,
    /// Open a case for each difference. Without it nothing is changed
    #[arg(long, requires = "reason")]
    open_cases: bool,
    /// Why: written down with each case that is opened
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    asking: Asking,
    #[command(flatten)]
    target: Target,
}

/// A difference as it is shown.
struct Found {
    difference: Difference,
    case_id: String,
    /// How its case stands; `None` where there is none.
    case: Option<&'static str>,
}

impl Found {
    fn is_decided(&self) -> bool {
        self.case.is_some_and(|status| status != CaseStatus::Open.name())
    }

    fn json(&self) -> Value {
        json!({
            "kind": self.difference.kind.name(),
            "order_id": self.difference.order_id,
            "payment_id": self.difference.payment_id,
            "refund_id": self.difference.refund,
            "what": self.difference.words,
            "do": self.difference.kind.advice(),
            "tenant": self.difference.tenant,
            "row_version": self.difference.row_version,
            "case_id": self.case_id,
            "case": self.case,
        })
    }
}

pub(super) async fn run(what: Reconcile, json: bool) -> anyhow::Result<()> {
    ensure!(what.since <= MOST_HOURS * 3_600_000, "at most 90d back");
    ensure!(what.grace < what.since, "a grace as long as the window leaves nothing: make --since longer");
    let orders = (!what.orders.is_empty()).then(|| what.orders.iter().copied().collect());
    let ask = Ask { window_ms: what.since, grace_ms: what.grace, orders };
    let aws = what.target.aws().await?;
    let stripe = stripe(&aws, &what.target).await?;
    let (counts, mut found) = look(&aws, &stripe, &ask).await?;
    if !json {
        show(&counts, &found)?;
    }
    let undecided = found.iter().filter(|one| !one.is_decided()).count();
    if what.open_cases && undecided > 0 {
        what.asking.confirm(&format!("Open a case for each of {undecided} differences?"))?;
        let by = by(&what.target, what.reason.as_deref().context("why? Say it with --reason")?).await?;
        for one in found.iter_mut().filter(|one| !one.is_decided()) {
            let (_, stands) = open_case(&aws, &one.difference).await?;
            if stands == Stands::Opened {
                let detail = format!("{}: {}", one.difference.kind.name(), one.difference.words);
                aws.write_audit(&by.audit(&aws, "reconcile", &one.case_id, detail)).await?;
            }
            if stands != Stands::Decided {
                one.case = Some(CaseStatus::Open.name());
            }
            if !json {
                writeln!(out(), "case {}", one.case_id)?;
            }
        }
    }
    if json {
        let found: Vec<Value> = found.iter().map(Found::json).collect();
        writeln!(out(), "{}", serde_json::to_string_pretty(&json!({ "counts": counts, "differences": found }))?)?;
    } else if undecided > 0 && !what.open_cases {
        writeln!(
            out(),
            "nothing is changed: --open-cases --reason ... opens a case for each; docs/runbooks/reconciliation.md says more"
        )?;
    }
    Ok(())
}

/// The provider's adapter, with the address and the key that the functions have.
async fn stripe(aws: &Aws, target: &Target) -> anyhow::Result<Stripe> {
    let (_, outputs) = target.resolve().await?;
    let arn = outputs.output("PaymentSecretArn")?;
    let key = aws.secret(arn).await.context("the provider's key cannot be read: may you read the secret?")?;
    Ok(Stripe::new(outputs.output("PaymentApiUrl")?, Secret::new(key))?)
}

/// Walks through the ledger. Reads only.
async fn look(aws: &Aws, stripe: &Stripe, ask: &Ask) -> anyhow::Result<(Counts, Vec<Found>)> {
    let mut counts = Counts::default();
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    let mut next = Some(Walk::begin(ask, aws.now_ms()));
    let mut pages = 0_usize;
    while let Some(walk) = next {
        let page = walk.page(aws, stripe, ask).await.context("the provider's ledger cannot be read")?;
        counts.add(page.counts);
        for difference in page.found {
            let case_id = difference.case(aws.now_ms())?.case_id;
            if !found.contains_key(case_id.as_str()) {
                let case = aws.load_case(&case_id).await?.map(|case| case.status.name());
                let one = Found { difference, case_id: case_id.to_string(), case };
                found.insert(one.case_id.clone(), one);
            }
        }
        pages += 1;
        if pages.is_multiple_of(TELL_EVERY) {
            eprintln!("{} payments and {} refunds so far", counts.payments, counts.refunds);
        }
        next = page.next;
    }
    let mut found: Vec<Found> = found.into_values().collect();
    found.sort_by_key(|one| (one.difference.kind, one.difference.order_id));
    Ok((counts, found))
}

fn show(counts: &Counts, found: &[Found]) -> anyhow::Result<()> {
    if !found.is_empty() {
        let mut rows = table();
        rows.set_header(["difference", "order", "payment or refund", "what", "case", "do"]);
        for one in found {
            let difference = &one.difference;
            rows.add_row([
                difference.kind.name(),
                &difference.order_id.to_string(),
                difference.about(),
                &difference.words,
                one.case.unwrap_or("none"),
                difference.kind.advice(),
            ]);
        }
        writeln!(out(), "{rows}")?;
    }
    let Counts { payments, refunds, reconciled, foreign, unreadable, unsettled, left } = counts;
    writeln!(out(), "{payments} payments, {refunds} refunds: {reconciled} compared, {} differences", found.len())?;
    for (count, what) in [
        (foreign, "are not ours"),
        (unsettled, "are of orders that something is at work on"),
        (unreadable, "could not be read"),
        (left, "could not be compared: the log above says why"),
    ] {
        if *count > 0 {
            writeln!(out(), "{count} {what}")?;
        }
    }
    Ok(())
}
