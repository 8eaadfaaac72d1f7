//! The run behind `make run`: a fresh stack, generated orders, live progress, a table, the invariants, a report.

mod bounds;
mod cpu;
pub(crate) mod drive;
mod figures;
mod kind;
pub mod outage;
pub mod overload;
mod plan;
mod progress;
pub(crate) mod report;
pub mod skew;
mod stage;

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use order::Lane;
use orderflow::stack::{self, Stack};

use crate::check::{self, Evidence};
use crate::clock::now_ms;
use crate::deployed::Deployed;
use crate::wait::eventually;

pub use cpu::Cpu;
pub(crate) use cpu::descendants;
pub use figures::Figures;
pub use kind::Kind;
pub use plan::{Plan, PlannedOrder};
pub use report::Report;
pub(crate) use stage::seeded;
pub use stage::{Place, Stage};

/// Which orders.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Mix {
    /// Some of everything that can happen to an order.
    Mixed,
    /// Every order ships.
    Happy,
}

impl Mix {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mixed => "mixed",
            Self::Happy => "happy",
        }
    }
}

/// What to run.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// How many orders
    #[arg(long, env = "ORDERS", default_value_t = 200)]
    pub orders: usize,
    /// Orders a second, whatever becomes of the earlier ones
    #[arg(long, env = "RATE", default_value_t = 10.0)]
    pub rate: f64,
    /// Place this many orders as fast as they are taken, so that a backlog builds; overrides --orders and --rate
    #[arg(long, env = "BACKLOG")]
    pub backlog: Option<usize>,
    /// The same seed makes the same orders
    #[arg(long, env = "SEED", default_value_t = 1)]
    pub seed: u64,
    /// Which orders
    #[arg(long, env = "MIX", value_enum, default_value_t = Mix::Mixed)]
    pub mix: Mix,
    /// Only orders of this lane
    #[arg(long, env = "LANE")]
    pub lane: Option<Lane>,
    /// The same as PATCHED=0
    #[arg(long)]
    pub plain: bool,
    /// Where
    #[command(flatten)]
    pub place: Place,
    /// Give up when nothing has moved for so many seconds
    #[arg(long, env = "STUCK_AFTER", default_value_t = 150)]
    pub stuck_after_s: u64,
}

impl Settings {
    fn count(&self) -> usize {
        self.backlog.unwrap_or(self.orders)
    }
}

/// Parameters by which nobody is turned away for overload on these lanes: for whatever judges its orders by something else, on a
/// machine that may be slow.
pub fn without_deadlines(lanes: &[Lane]) -> impl Iterator<Item = (String, String)> {
    let name = |lane: &Lane| match lane {
        Lane::Express => "ExpressDeadlineSeconds",
        Lane::Standard => "StandardDeadlineSeconds",
        Lane::Bulk => "BulkDeadlineSeconds",
    };
    lanes.iter().map(name).map(|name| (name.to_owned(), "0".to_owned()))
}

/// Runs, prints, writes the report and answers whether everything held. Whatever it started is stopped, also when it is
/// dropped midway.
///
/// # Errors
/// When it cannot be run to its end.
pub async fn run(settings: &Settings) -> anyhow::Result<bool> {
    let mut place = settings.place.clone();
    place.patched &= !settings.plain;
    let stage = Stage::raise("run", &place, without_deadlines(&Lane::ALL)).await?;
    let catalogue = &stage.catalogue;
    let plan = Plan::generate(settings.seed, settings.count(), settings.mix, settings.lane, catalogue)?;
    let report = exercise(settings, &stage.stack, plan, catalogue).await?;
    report.print();
    stage.end(&report)?;
    Ok(report.holds())
}

async fn exercise(
    settings: &Settings,
    stack: &Stack,
    plan: Plan,
    catalogue: &[stack::Product],
) -> anyhow::Result<Report> {
    let deployed = Arc::new(Deployed::new(stack.info.clone())?);
    let since_ms = now_ms();
    let cpu = || Cpu::now(stack.info.ministack_pid, stack.info.sandbox_pid);
    let cpu_before = cpu();
    let rate = settings.backlog.is_none().then_some(settings.rate);
    let stuck_after = Duration::from_secs(settings.stuck_after_s);
    let journal = drive::drive(Arc::clone(&deployed), plan, drive::Manner::calm(rate, stuck_after)).await?;
    let cpu = cpu().zip(cpu_before).map(|(after, before)| after.since(before));

    eventually("no provider call is under way", Duration::from_secs(70), || async {
        Ok(deployed.ledger.is_final().await?.then_some(()))
    })
    .await?;
    wait_for_the_last_lines(&deployed, since_ms).await?;
    let placed = journal.placed.clone();
    let evidence = Evidence::collect(&deployed, placed, journal.refunds.clone(), seeded(catalogue)?, since_ms).await?;
    let verdicts = check::all(&evidence);
    Ok(Report::new(settings, &stack.info, &journal, &evidence, verdicts, cpu))
}

/// A function's lines reach the log just after its answer: waits until every invocation whose records are known tells
/// of itself, and nothing was added between two looks.
pub(crate) async fn wait_for_the_last_lines(deployed: &Deployed, since_ms: u64) -> anyhow::Result<()> {
    let last = std::sync::Mutex::new(0_usize);
    eventually("the functions' last log lines", Duration::from_secs(20), || async {
        let lines = deployed.logs.since(since_ms).await?;
        let count = lines.records.len() + lines.published.len() + lines.invocations.len() + lines.requests.len();
        let mut last = last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let same = *last == count;
        *last = count;
        Ok(same.then_some(()))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deadlines_that_runs_do_without_are_parameters_of_the_template() {
        let template = std::fs::read_to_string(stack::project_root().unwrap().join("template.yaml")).unwrap();
        let without: Vec<_> = without_deadlines(&Lane::ALL).collect();
        assert_eq!(without.len(), 3);
        for (name, value) in without {
            assert!(template.contains(&format!("\n  {name}:\n")) && value == "0", "{name}");
        }
    }
}
