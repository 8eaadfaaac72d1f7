//! The run behind `make overload`: express orders behind a backlog of bulk ones, beside the same express orders without it; and
//! what the API does with bulk orders once its deadline is less than the backlog takes.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use futures::StreamExt as _;
use order::{EventKind, Lane, OrderId, Sku};
use orderflow::stack::{self, Launcher, Options, Stack, load_catalogue};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

use super::drive::{self, Journal, Manner};
use super::figures::percentile;
use super::{Mix, Plan, PlannedOrder, wait_for_the_last_lines};
use crate::check::{self, Evidence, Placed, Verdict};
use crate::clock::now_ms;
use crate::deployed::Deployed;
use crate::guard;
use crate::logs::RecordLine;
use crate::tables::Row;
use crate::wait::eventually;

/// The functions that work on commands, in the order in which an order meets them.
const STEPS: [&str; 4] = ["validate-order", "process-payment", "reserve-stock", "ship-order"];
/// Nothing may have moved for so long.
const STUCK_AFTER: Duration = Duration::from_secs(180);
/// Express orders before anything is measured.
const WARM_UP: usize = 20;
/// Requests under way at once while the backlog is made.
const AT_ONCE: usize = 24;
/// Between two bulk orders that try the door.
const TRY_EVERY: Duration = Duration::from_secs(2);
/// Longest wait for the lane to open again once its backlog is gone; and for it to shut at all once express is placed.
const OPENS_WITHIN: Duration = Duration::from_secs(60);
/// How much later express may be behind a backlog than without one, milliseconds.
const BEYOND_MS: f64 = 2_000.0;
/// The least of the throughput that bulk keeps while express runs, per cent.
const BULK_SHARE: f64 = 10.0;

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
    /// 1: ministack with the patches of tools/ministack/launch.py; 0: as it comes
    #[arg(long, env = "PATCHED", default_value = "1", action = clap::ArgAction::Set, value_parser = clap::builder::BoolishValueParser::new())]
    pub patched: bool,
    /// Deploy what is compiled already
    #[arg(long)]
    pub no_build: bool,
    /// State folder of the stack [default: target/overload/stack]
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Where the report goes [default: target/overload/report.json]
    #[arg(long)]
    pub report: Option<PathBuf>,
}

/// Half, and 95 of 100, within this, milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Times {
    /// How many.
    pub count: usize,
    /// Half of them.
    pub p50_ms: u64,
    /// 95 of 100.
    pub p95_ms: u64,
}

/// Express with the backlog beside express without.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Compared {
    /// A step: its express messages from arrival to done. `order`: from acceptance to shipped.
    pub what: String,
    /// Without.
    pub alone: Times,
    /// Behind it.
    pub behind: Times,
}

/// A figure and what it has to keep to.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Figure {
    /// What was measured.
    pub what: String,
    /// Of this.
    pub unit: &'static str,
    /// What came out.
    pub value: f64,
    /// `at most` or `at least`.
    pub has_to_be: &'static str,
    /// This.
    pub bound: f64,
    /// Whether it is.
    pub holds: bool,
}

/// What became of the bulk orders that came while its deadline was tight.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Door {
    /// Taken.
    pub taken: usize,
    /// Turned away with 503 and `lane_overloaded`.
    pub shed: usize,
    /// From the tight deadline to the first that was turned away, milliseconds.
    pub first_shed_after_ms: Option<u64>,
    /// From there to the first that was taken again, milliseconds.
    pub open_again_after_ms: Option<u64>,
    /// `Retry-After` of those turned away, seconds.
    pub retry_after_s: Vec<u64>,
}

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whether every figure keeps its bound, every invariant holds, and nothing is left over.
    pub holds: bool,
    /// The figures.
    pub figures: Vec<Figure>,
    /// What they are made of.
    pub express: Vec<Compared>,
    /// Bulk orders that had not shipped when the last express order was placed.
    pub backlog_left: usize,
    /// Commands that were done while express orders were placed, by lane.
    pub commands_done: BTreeMap<String, usize>,
    /// Seconds that the backlog took to be placed.
    pub placing_s: f64,
    /// See there.
    pub door: Door,
    /// See [`check`].
    pub invariants: Vec<Verdict>,
    /// Anything else that is not as it should be.
    pub troubles: Vec<String>,
    /// As asked for.
    pub backlog: usize,
    /// As asked for, orders a second.
    pub rate: f64,
    /// Of the generator.
    pub seed: u64,
    /// How ministack was started.
    pub launcher: String,
}

/// Runs, prints, writes the report and answers whether everything held. Whatever it started is stopped, also when it is
/// dropped midway.
///
/// # Errors
/// When it cannot be run to its end.
pub async fn run(settings: &Settings) -> anyhow::Result<bool> {
    ensure!(settings.rate > 0.0 && settings.express_s > 0, "without express orders there is nothing to measure");
    let root = stack::project_root()?;
    let folder = root.join("target/overload");
    let mut options = Options::new(root.clone()).in_dir(settings.dir.clone().unwrap_or_else(|| folder.join("stack")));
    options.launcher = if settings.patched { Launcher::Patched } else { Launcher::Plain };
    options.compile = !settings.no_build;
    options.progress = Arc::new(|line| println!("{line}"));
    let Some(_owned) = guard::own(&options.dir)? else {
        bail!("another run is going on in {}: wait for it, or take another folder with --dir", options.dir.display());
    };
    let catalogue = load_catalogue(&root)?;
    let stack = stack::up(&options).await?;
    let guard = guard::watch(&std::env::current_exe().context("where is this program?")?, stack.dir())?;
    let report = exercise(settings, &stack, &catalogue).await?;
    stack.down()?;
    drop(guard);

    print(&report);
    let path = settings.report.clone().unwrap_or_else(|| folder.join("report.json"));
    std::fs::create_dir_all(path.parent().context("the report needs a folder")?)?;
    std::fs::write(&path, serde_json::to_string_pretty(&report)? + "\n")?;
    println!("\nreport: {}", path.display());
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
        tokio::try_join!(behind, try_the_door(&deployed, &tries.orders, placing, is_drained))?;
    placed.extend(tried);

    let mut seeded: BTreeMap<Sku, u64> = BTreeMap::new();
    for product in catalogue {
        seeded.insert(product.sku.parse().with_context(|| format!("sku {}", product.sku))?, product.available);
    }
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
    let evidence = Evidence::collect(&deployed, placed, Vec::new(), seeded, since_ms).await?;
    let measured = Measured { alone: &alone, behind: &behind, from_ms, placing_s, door, troubles };
    Ok(report(settings, &stack.info.launcher.to_string(), measured, &evidence))
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

async fn place_one(deployed: &Deployed, order: &PlannedOrder) -> anyhow::Result<(Placed, crate::api::Answer)> {
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

/// Places a bulk order every two seconds, until express orders have been placed and one was taken after others were turned away.
/// What is taken keeps the stack from draining, so it goes on no longer than it has to.
async fn try_the_door(
    deployed: &Deployed,
    orders: &[PlannedOrder],
    placing: Duration,
    drained: watch::Receiver<bool>,
) -> anyhow::Result<(Door, Vec<Placed>)> {
    let (mut door, mut tried) = (Door::default(), Vec::new());
    let (from_ms, mut first_shed_ms, mut gone_ms) = (now_ms(), None, None);
    let mut turn = tokio::time::interval(TRY_EVERY);
    for order in orders {
        turn.tick().await;
        let (placed, answer) = place_one(deployed, order).await?;
        let now_ms = now_ms();
        match (placed.status, answer.code()) {
            (202, _) => {
                door.taken += 1;
                if let (Some(shed_ms), None) = (first_shed_ms, door.open_again_after_ms) {
                    door.open_again_after_ms = Some(now_ms.saturating_sub(shed_ms));
                }
            }
            (503, "lane_overloaded") => {
                door.shed += 1;
                door.retry_after_s.extend(answer.header("retry-after").parse::<u64>());
                door.open_again_after_ms = None;
                first_shed_ms.get_or_insert(now_ms);
                door.first_shed_after_ms.get_or_insert(now_ms.saturating_sub(from_ms));
            }
            (status, _) => bail!("a bulk order was answered {status} {}", answer.text),
        }
        tried.push(placed);
        if *drained.borrow() {
            gone_ms.get_or_insert(now_ms);
        }
        let since = |ms: u64| Duration::from_millis(now_ms.saturating_sub(ms));
        if door.was_tried(since(from_ms).checked_sub(placing), gone_ms.map(since)) {
            break;
        }
    }
    Ok((door, tried))
}

impl Door {
    /// Whether there is no more to see: so long after the last express order was placed (`None`: before), and after the backlog
    /// was gone.
    fn was_tried(&self, placed: Option<Duration>, gone: Option<Duration>) -> bool {
        let Some(placed) = placed else { return false };
        match (self.shed, self.open_again_after_ms) {
            (0, _) => placed > OPENS_WITHIN || gone.is_some(),
            (_, Some(_)) => true,
            (_, None) => gone.is_some_and(|gone| gone > OPENS_WITHIN),
        }
    }
}

struct Measured<'a> {
    alone: &'a Journal,
    behind: &'a Journal,
    /// When the express orders behind the backlog began.
    from_ms: u64,
    placing_s: f64,
    door: Door,
    troubles: Vec<String>,
}

#[allow(clippy::cast_precision_loss, reason = "figures of a run are far below 2^52")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

fn at_ms(row: &Row, event: EventKind) -> Option<u64> {
    row.order.timeline.iter().find(|entry| entry.event == event).map(|entry| entry.at_ms)
}

fn times(mut all: Vec<u64>) -> Times {
    all.sort_unstable();
    Times { count: all.len(), p50_ms: percentile(&all, 50), p95_ms: percentile(&all, 95) }
}

/// A step's messages of these orders, from arrival to done.
fn of_step(records: &[RecordLine], step: &str, orders: &HashSet<String>) -> Times {
    let is_ours = |record: &&RecordLine| {
        record.function == step
            && record.is_acknowledged()
            && record.order_id.as_ref().is_some_and(|id| orders.contains(id))
    };
    times(records.iter().filter(is_ours).map(|record| record.latency_ms).collect())
}

/// From acceptance to shipped; one that never shipped took for ever.
fn of_orders(rows: &[Row], orders: &HashSet<String>) -> Times {
    let took = |row: &Row| {
        let accepted_ms = at_ms(row, EventKind::Accepted)?;
        Some(at_ms(row, EventKind::Shipped).map_or(u64::MAX, |shipped_ms| shipped_ms.saturating_sub(accepted_ms)))
    };
    times(rows.iter().filter(|row| orders.contains(&row.order.order_id.to_string())).filter_map(took).collect())
}

/// Commands done in a stretch of time, by lane.
fn commands(records: &[RecordLine], from_ms: u64, to_ms: u64) -> BTreeMap<String, usize> {
    let mut done: BTreeMap<String, usize> = BTreeMap::new();
    for record in records.iter().filter(|record| STEPS.contains(&record.function.as_str()) && record.is_acknowledged())
    {
        let lane = record.queue.rsplit('-').next().unwrap_or_default();
        if record.finished_ms().is_some_and(|at_ms| (from_ms..to_ms).contains(&at_ms)) {
            *done.entry(lane.to_owned()).or_default() += 1;
        }
    }
    done
}

/// What part of the commands were bulk's, per cent.
#[allow(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
fn bulk_share(commands: &BTreeMap<String, usize>) -> f64 {
    let all: usize = commands.values().sum();
    let bulk = commands.get(Lane::Bulk.name()).copied().unwrap_or_default();
    if all == 0 { 0.0 } else { bulk as f64 * 100.0 / all as f64 }
}

#[allow(clippy::cast_precision_loss, reason = "figures of a run are far below 2^52")]
fn report(settings: &Settings, launcher: &str, measured: Measured<'_>, evidence: &Evidence) -> Report {
    let Measured { alone, behind, from_ms, placing_s, door, mut troubles } = measured;
    let ids = |journal: &Journal| -> HashSet<String> {
        journal.orders.iter().map(|order| order.order_id.to_string()).collect()
    };
    let (alone, behind_ids) = (ids(alone), ids(behind));
    let records = &evidence.logs.records;
    let mut express: Vec<Compared> = Vec::new();
    for step in STEPS {
        let (alone, behind) = (of_step(records, step, &alone), of_step(records, step, &behind_ids));
        express.push(Compared { what: step.to_owned(), alone, behind });
    }
    let mut figures = Vec::new();
    for Compared { what, alone, behind } in &express {
        let beyond = behind.p95_ms as f64 - alone.p95_ms as f64;
        let what = format!("{what}: express p95 beyond that without a backlog");
        let (unit, bound, holds) = ("ms", BEYOND_MS, beyond <= BEYOND_MS && behind.count > 0 && alone.count > 0);
        figures.push(Figure { what, unit, value: beyond, has_to_be: "at most", bound, holds });
    }
    let (alone, behind_all) = (of_orders(&evidence.rows, &alone), of_orders(&evidence.rows, &behind_ids));
    express.push(Compared { what: "order".to_owned(), alone, behind: behind_all });

    let to_ms = behind.placed.iter().map(|placed| placed.at_ms).max().unwrap_or(from_ms);
    let commands_done = commands(records, from_ms, to_ms);
    let share = bulk_share(&commands_done);
    let what = "bulk's share of the commands done while express orders came".to_owned();
    let holds = share >= BULK_SHARE;
    figures.push(Figure { what, unit: "%", value: share, has_to_be: "at least", bound: BULK_SHARE, holds });
    let what = "bulk orders turned away once they would have waited too long".to_owned();
    let shed = door.shed as f64;
    figures.push(Figure { what, unit: "orders", value: shed, has_to_be: "at least", bound: 1.0, holds: door.shed > 0 });
    let refused = behind.placed.iter().filter(|placed| !placed.is_accepted()).count();
    let what = "express orders turned away".to_owned();
    figures.push(Figure {
        what,
        unit: "orders",
        value: refused as f64,
        has_to_be: "at most",
        bound: 0.0,
        holds: refused == 0,
    });

    let waits = |row: &&Row| {
        row.order.lane == Lane::Bulk
            && at_ms(row, EventKind::Accepted).is_some_and(|at_ms| at_ms <= to_ms)
            && at_ms(row, EventKind::Shipped).is_none_or(|at_ms| at_ms > to_ms)
    };
    let backlog_left = evidence.rows.iter().filter(waits).count();
    if backlog_left == 0 {
        troubles.push("the backlog was gone before the last express order: take a larger one".to_owned());
    }
    if door.shed > 0 && door.open_again_after_ms.is_none() {
        troubles.push("bulk orders were still turned away a minute after the backlog was gone".to_owned());
    }
    troubles
        .extend(evidence.queues.holding(true).map(|(name, depth)| format!("{name}: {} dead letters", depth.total())));
    let not_shipped = evidence.rows.iter().filter(|row| at_ms(row, EventKind::Shipped).is_none());
    troubles.extend(not_shipped.map(|row| format!("order {}: {}", row.order.order_id, crate::deployed::story(row))));
    let invariants = check::all(evidence);
    let holds =
        figures.iter().all(|figure| figure.holds) && invariants.iter().all(|one| one.holds) && troubles.is_empty();
    Report {
        holds,
        figures,
        express,
        backlog_left,
        commands_done,
        placing_s,
        door,
        invariants,
        troubles,
        backlog: settings.backlog,
        rate: settings.rate,
        seed: settings.seed,
        launcher: launcher.to_owned(),
    }
}

fn print(report: &Report) {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
    table.set_header(["express", "alone: count", "p50 ms", "p95 ms", "behind: count", "p50 ms", "p95 ms"]);
    for Compared { what, alone, behind } in &report.express {
        let cells = [alone, behind].map(|of| [of.count.to_string(), of.p50_ms.to_string(), of.p95_ms.to_string()]);
        table.add_row([what.clone()].into_iter().chain(cells.into_iter().flatten()));
    }
    println!("\n{table}\n");
    for figure in &report.figures {
        let Figure { what, unit, value, has_to_be, bound, holds } = figure;
        let holds = if *holds { "yes" } else { "NO" };
        println!("{what:<65} {value:>9.1} {unit:<7} {has_to_be} {bound:>7.1}  {holds}");
    }
    println!(
        "backlog of {} placed in {:.1} s, {} left when the last express order came; commands done meanwhile: {:?}",
        report.backlog, report.placing_s, report.backlog_left, report.commands_done
    );
    let time = |ms: Option<u64>| ms.map_or_else(|| "never".to_owned(), |ms| format!("after {:.1} s", seconds(ms)));
    let Door { taken, shed, first_shed_after_ms, open_again_after_ms, retry_after_s } = &report.door;
    println!(
        "bulk with a tight deadline: {taken} taken, {shed} turned away, first {}, open again {}; Retry-After {:?} to {:?} s",
        time(*first_shed_after_ms),
        time(*open_again_after_ms),
        retry_after_s.iter().min().copied().unwrap_or_default(),
        retry_after_s.iter().max().copied().unwrap_or_default(),
    );
    for verdict in &report.invariants {
        println!("{} {}: {}", verdict.id, if verdict.holds { "holds" } else { "DOES NOT HOLD" }, verdict.detail);
    }
    for trouble in report.troubles.iter().take(20) {
        println!("trouble: {trouble}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(order: &str, function: &str, queue: &str, second: u64, latency_ms: u64, verdict: &str) -> RecordLine {
        let line = serde_json::json!({
            "timestamp": format!("1970-01-01T00:00:{second:02}.000Z"), "message": "record finished",
            "function": function, "request_id": "r", "message_id": "m", "order_id": order, "queue": queue,
            "verdict": verdict, "latency_ms": latency_ms, "receive_count": 1,
        });
        serde_json::from_value(line).unwrap()
    }

    #[test]
    fn a_step_is_judged_by_its_done_messages_of_the_orders_at_hand() {
        let orders = HashSet::from(["a".to_owned(), "b".to_owned()]);
        let records = [
            record("a", "process-payment", "s-payment-express", 1, 10, "done"),
            record("a", "process-payment", "s-payment-express", 1, 30, "already"),
            record("b", "process-payment", "s-payment-express", 1, 99, "retry"),
            record("b", "ship-order", "s-shipping-express", 1, 99, "done"),
            record("c", "process-payment", "s-payment-express", 1, 99, "done"),
        ];
        let of = of_step(&records, "process-payment", &orders);
        assert_eq!((of.count, of.p50_ms, of.p95_ms), (2, 10, 30));
    }

    #[test]
    fn the_door_is_tried_until_express_is_placed_and_the_lane_is_open_again_and_no_longer() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let door = |shed, open_again_after_ms| Door { shed, open_again_after_ms, ..Door::default() };
        let open_again = door(3, Some(9_000));
        assert!(!open_again.was_tried(None, None), "express orders still come");
        assert!(open_again.was_tried(seconds(0), None), "however long the backlog lasts");
        // Shut: until it opens, or a minute after the backlog.
        assert!(!door(3, None).was_tried(seconds(300), None) && !door(3, None).was_tried(seconds(300), seconds(60)));
        assert!(door(3, None).was_tried(seconds(300), seconds(61)));
        // Never shut: what is taken every two seconds would keep the backlog alive.
        assert!(!door(0, None).was_tried(seconds(60), None) && door(0, None).was_tried(seconds(61), None));
        assert!(door(0, None).was_tried(seconds(1), seconds(0)));
    }

    #[test]
    fn bulks_share_is_of_the_commands_done_in_the_stretch() {
        let mut records = vec![record("z", "notify-customer", "s-notify.fifo", 5, 1, "done")];
        for (second, lane) in [(1, "bulk"), (5, "bulk"), (6, "express"), (7, "express"), (8, "express"), (20, "bulk")] {
            records.push(record("o", "ship-order", &format!("s-shipping-{lane}"), second, 1, "done"));
        }
        let done = commands(&records, 5_000, 20_000);
        assert_eq!(done, BTreeMap::from([("bulk".to_owned(), 1), ("express".to_owned(), 3)]));
        assert!((bulk_share(&done) - 25.0).abs() < 1e-9 && bulk_share(&BTreeMap::new()) < 1e-9);
    }
}
