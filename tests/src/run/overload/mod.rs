//! The run behind `make overload`: express orders behind a backlog of bulk ones, beside the same express orders without it; and
//! what the API does with bulk orders once its deadline is less than the backlog takes.

mod door;
mod report;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use futures::StreamExt as _;
use order::{Lane, OrderId};
use orderflow::stack::{self, Stack};
use serde_json::Value;
use tokio::sync::watch;

use super::bounds::seconds;
use super::drive::{self, Manner};
use super::{Mix, Place, Plan, PlannedOrder, Stage, seeded, wait_for_the_last_lines};
use crate::api::Answer;
use crate::check::{Evidence, Placed};
use crate::clock::now_ms;
use crate::deployed::Deployed;
use crate::wait::eventually;

pub use door::Door;
use report::Measured;
pub use report::{Compared, Report, Times};

/// Nothing may have moved for so long.
const STUCK_AFTER: Duration = Duration::from_secs(180);
/// Express orders before anything is measured.
const WARM_UP: usize = 20;
/// Requests under way at once while the backlog is made.
const AT_ONCE: usize = 24;

/// What to run.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// Bulk orders of the backlog
    #[arg(long, env = "BACKLOG", default_value_t = 1_500)]
    pub backlog: usize,
    /// Express orders a second, first alone and then behind the backlog
    #[arg(long, env = "RATE", default_value_t = 2.0)]
    pub rate: f64,
    /// Seconds of express orders, each time. The backlog has to outlast them
    #[arg(long, default_value_t = 30)]
    pub express_s: u64,
    /// The bulk lane's deadline once the backlog is there, seconds. It has to be less than that takes
    #[arg(long, default_value_t = 20)]
    pub bulk_deadline_s: u64,
    /// The same seed makes the same orders
    #[arg(long, env = "SEED", default_value_t = 1)]
    pub seed: u64,
    /// Where
    #[command(flatten)]
    pub place: Place,
}

/// Runs, prints, writes the report and answers whether everything held. Whatever it started is stopped, also when it is
/// dropped midway.
///
/// # Errors
/// When it cannot be run to its end.
pub async fn run(settings: &Settings) -> anyhow::Result<bool> {
    ensure!(settings.rate > 0.0 && settings.express_s > 0, "without express orders there is nothing to measure");
    let stage = Stage::raise("overload", &settings.place, []).await?;
    let report = exercise(settings, &stage.stack, &stage.catalogue).await?;
    report.print();
    stage.end(&report)?;
    Ok(report.holds)
}

async fn exercise(settings: &Settings, stack: &Stack, catalogue: &[stack::Product]) -> anyhow::Result<Report> {
    let deployed = Arc::new(Deployed::new(stack.info.clone())?);
    let since_ms = now_ms();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a count")]
    let count = (settings.rate * settings.express_s as f64).ceil() as usize;
    let express = |seed| Plan::generate(seed, count, Mix::Happy, Some(Lane::Express), catalogue);
    let calm = || Manner::calm(Some(settings.rate), STUCK_AFTER);

    // Processes that have never run would make the figures without a backlog worse than they are.
    let warm_up = Plan::generate(settings.seed + 4_000, WARM_UP, Mix::Happy, Some(Lane::Express), catalogue)?;
    let warmed = drive::drive(Arc::clone(&deployed), warm_up, Manner::calm(None, STUCK_AFTER)).await?;
    println!("express alone: {count} orders at {}/s", settings.rate);
    let alone = drive::drive(Arc::clone(&deployed), express(settings.seed)?, calm()).await?;

    println!("backlog: {} bulk orders, as fast as they are taken", settings.backlog);
    let backlog = Plan::generate(settings.seed + 1_000, settings.backlog, Mix::Happy, Some(Lane::Bulk), catalogue)?;
    let began_ms = now_ms();
    let mut placed = place_all(&deployed, &backlog.orders).await?;
    let placing_s = seconds(now_ms().saturating_sub(began_ms));
    let mut troubles: Vec<String> = refused(&placed);

    println!("express behind it: the same; bulk's deadline is {} s now", settings.bulk_deadline_s);
    set_bulk_deadline(&deployed, settings.bulk_deadline_s).await?;
    let from_ms = now_ms();
    let tries = Plan::generate(settings.seed + 2_000, 500, Mix::Happy, Some(Lane::Bulk), catalogue)?;
    let (drained, is_drained) = watch::channel(false);
    let behind = async {
        let journal = drive::drive(Arc::clone(&deployed), express(settings.seed + 3_000)?, calm()).await;
        drained.send_replace(true);
        journal
    };
    let placing = Duration::from_secs(settings.express_s);
    let (behind, (door, tried)) =
        tokio::try_join!(behind, door::try_it(&deployed, &tries.orders, placing, is_drained))?;
    placed.extend(tried);

    let ids: HashSet<OrderId> = placed.iter().filter(|one| one.is_accepted()).filter_map(|one| one.order_id).collect();
    eventually("every order has ended and no provider call is under way", STUCK_AFTER, || async {
        let glimpses = deployed.tables.glimpses().await?;
        let settled = ids.iter().all(|id| glimpses.get(id).is_some_and(crate::tables::Glimpse::is_settled));
        let drained = settled && deployed.queues.depths().await?.are_drained();
        Ok((drained && deployed.ledger.is_final().await?).then_some(()))
    })
    .await?;
    wait_for_the_last_lines(&deployed, since_ms).await?;
    for journal in [&warmed, &alone, &behind] {
        troubles.extend(journal.troubles.iter().chain(&journal.stuck).cloned());
        placed.extend(journal.placed.iter().cloned());
    }
    placed.sort_by_key(|placed| placed.at_ms);
    let evidence = Evidence::collect(&deployed, placed, Vec::new(), seeded(catalogue)?, since_ms).await?;
    let measured = Measured { alone: &alone, behind: &behind, from_ms, placing_s, door, troubles };
    Ok(Report::of(settings, &stack.info.launcher.to_string(), measured, &evidence))
}

/// Places orders as fast as they are taken, and answers what was asked.
async fn place_all(deployed: &Deployed, orders: &[PlannedOrder]) -> anyhow::Result<Vec<Placed>> {
    let place = |order: &PlannedOrder| {
        let order = order.clone();
        async move { place_one(deployed, &order).await.map(|(placed, _)| placed) }
    };
    let placing: Vec<_> = orders.iter().map(place).collect();
    futures::stream::iter(placing).buffer_unordered(AT_ONCE).collect::<Vec<_>>().await.into_iter().collect()
}

async fn place_one(deployed: &Deployed, order: &PlannedOrder) -> anyhow::Result<(Placed, Answer)> {
    let at_ms = now_ms();
    let answer = deployed.api.place(&order.who, &order.key, &order.body).await?;
    Ok((Placed::new(&order.who, &order.key, &order.body, at_ms, Some(&answer)), answer))
}

fn refused(placed: &[Placed]) -> Vec<String> {
    let refused = placed.iter().filter(|placed| !placed.is_accepted());
    refused.map(|placed| format!("{} of the backlog was answered {}", placed.key, placed.status)).collect()
}

/// Changes the deadline as a deployment with another parameter would: new processes of accept-order go by it.
async fn set_bulk_deadline(deployed: &Deployed, deadline_s: u64) -> anyhow::Result<()> {
    let info = &deployed.info;
    let url = format!("{}/2015-03-31/functions/{}-accept-order/configuration", info.endpoint, info.stack_name);
    let http = reqwest::Client::builder().no_proxy().build()?;
    let mut configuration: Value = http.get(&url).send().await?.error_for_status()?.json().await?;
    let environment = configuration.get_mut("Environment").context("accept-order has no environment")?;
    let variable = environment.pointer_mut("/Variables/BULK_DEADLINE_SECONDS").context("it has no bulk deadline")?;
    *variable = deadline_s.to_string().into();
    let body = serde_json::json!({ "Environment": environment }).to_string();
    http.put(&url).body(body).send().await?.error_for_status().context("the deadline is not taken")?;
    Ok(())
}
