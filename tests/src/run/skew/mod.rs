//! The run behind `make skew`: two programs, the one that ships and one that is a message version ahead (ADR 15), in place of
//! one another while orders flow. I16: nothing is dropped, in either order of deployment, and in a rollback.
//!
//! ministack ends the processes of a function that is changed, at whatever they are: each change is a crash as well, which
//! Lambda spares one.

mod fleet;
mod mixed;
mod payments;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Args;
use order::{Lane, Sku};
use orderflow::stack::{self, FUNCTIONS, Launcher, Options, Program, Stack, load_catalogue};

use super::drive::{self, Journal, Manner};
use super::{Mix, Plan, wait_for_the_last_lines, without_deadlines};
use crate::check::{self, Evidence};
use crate::clock::now_ms;
use crate::deployed::Deployed;
use crate::guard;
use crate::wait::eventually;

use fleet::Fleet;
use mixed::finished_while_mixed;
use payments::Payments;
use report::{Phase, Report, Wants};

/// Nothing may have moved for so long: over the longest wait of an order that only recovery moves.
const STUCK_AFTER: Duration = Duration::from_secs(300);
/// Between two changes of functions, so that they spread over the orders.
const BETWEEN: Duration = Duration::from_millis(700);
/// The old program stays so long with messages that it does not know: more than one of their waits of 60 s.
const LEFT_ALONE: Duration = Duration::from_secs(75);
/// Orders of before a switch have ended by then.
const DRAIN: Duration = Duration::from_secs(240);

/// What to run.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// Orders of each phase
    #[arg(long, env = "ORDERS", default_value_t = 60)]
    pub orders: usize,
    /// Orders a second
    #[arg(long, env = "RATE", default_value_t = 4.0)]
    pub rate: f64,
    /// The same seed makes the same orders
    #[arg(long, env = "SEED", default_value_t = 1)]
    pub seed: u64,
    /// 1: ministack with the patches of tools/ministack/launch.py; 0: as it comes
    #[arg(long, env = "PATCHED", default_value = "1", action = clap::ArgAction::Set, value_parser = clap::builder::BoolishValueParser::new())]
    pub patched: bool,
    /// State folder of the stack [default: target/skew/stack]
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Where the report goes [default: target/skew/report.json]
    #[arg(long)]
    pub report: Option<PathBuf>,
}

/// Runs, prints, writes the report and answers whether everything held. Whatever it started is stopped, also when it is
/// dropped midway.
///
/// # Errors
/// When it cannot be run to its end.
pub async fn run(settings: &Settings) -> anyhow::Result<bool> {
    ensure!(settings.rate > 0.0, "--rate has to be above 0");
    let root = stack::project_root()?;
    let folder = root.join("target/skew");
    let mut options = Options::new(root.clone()).in_dir(settings.dir.clone().unwrap_or_else(|| folder.join("stack")));
    options.launcher = if settings.patched { Launcher::Patched } else { Launcher::Plain };
    options.compile = false;
    options.parameters.extend(without_deadlines(&Lane::ALL));
    options.progress = Arc::new(|line| println!("{line}"));
    let Some(_owned) = guard::own(&options.dir)? else {
        bail!("another run is going on in {}: wait for it, or take another folder with --dir", options.dir.display());
    };
    // Asked before cargo puts another file in this one's place.
    let own = std::env::current_exe().context("where is this program?")?;
    let (old, new) = both_programs(&root).await?;
    let catalogue = load_catalogue(&root)?;
    let stack = stack::up(&options).await?;
    let guard = guard::watch(&own, stack.dir())?;
    let report = exercise(settings, &stack, &catalogue, &old, &new).await?;
    stack.down()?;
    drop(guard);

    report.print();
    let path = settings.report.clone().unwrap_or_else(|| folder.join("report.json"));
    report.write(&path)?;
    println!("\nreport: {}", path.display());
    Ok(report.holds)
}

/// The folders of both programs. The one that ships is compiled last, so that it is what is left in `target`.
async fn both_programs(root: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    println!("compiling the next program, then the one that ships");
    let built = async {
        stack::build_next(root).await?;
        stack::package(root, Program::Next)
    };
    let new = built.await;
    // Whatever became of that: nobody shall run the next program by mistake.
    stack::build(root).await?;
    Ok((stack::package(root, Program::Shipped)?, new?))
}

/// One run: what the phases share.
struct Run<'a> {
    settings: &'a Settings,
    catalogue: &'a [stack::Product],
    deployed: Arc<Deployed>,
    fleet: Fleet,
    payments: Payments,
    phases: Vec<Phase>,
    journal: Journal,
}

async fn exercise(
    settings: &Settings,
    stack: &Stack,
    catalogue: &[stack::Product],
    old: &Path,
    new: &Path,
) -> anyhow::Result<Report> {
    let fleet = Fleet::of(&stack.info, old, new).await?;
    let deployed = Arc::new(Deployed::new(stack.info.clone())?);
    let since_ms = now_ms();
    let payments = Payments::of(&stack.info)?;
    let (phases, journal) = (Vec::new(), Journal::default());
    let mut run = Run { settings, catalogue, deployed, fleet, payments, phases, journal };

    // Consumers first: those that only read, then the API and recovery, which only write.
    let consumers_first: Vec<&str> = order_of(false);
    let producers_first: Vec<&str> = order_of(true);
    let mixed = Wants { both_programs: true, ..Wants::default() };
    let version_2 = Wants { version_2: true, ..Wants::default() };
    run.phase("the new program, consumers first", mixed, async |run: &Run<'_>| {
        run.fleet.deploy_all(&consumers_first, Program::Next, BETWEEN).await?;
        Ok(BTreeSet::new())
    })
    .await?;
    run.phase("back to the old one, nothing new was sent", mixed, async |run: &Run<'_>| {
        run.fleet.deploy_all(&consumers_first, Program::Shipped, BETWEEN).await?;
        Ok(BTreeSet::new())
    })
    .await?;
    run.phase("the new program, producers first", mixed, async |run: &Run<'_>| {
        run.fleet.deploy_all(&producers_first, Program::Next, BETWEEN).await?;
        Ok(BTreeSet::new())
    })
    .await?;
    run.phase("version 2 is switched on", version_2, async |run: &Run<'_>| {
        let meanwhile = async {
            run.fleet.send_in(2, Duration::ZERO).await?;
            run.seen_in_version(2).await
        };
        run.while_payments_wait(meanwhile).await
    })
    .await?;
    run.phase("the documented rollback: off, drained, back", version_2, async |run: &Run<'_>| {
        // So that there is something to drain when it is switched off.
        let meanwhile = async {
            let seen = run.seen_in_version(2).await?;
            run.fleet.send_in(1, Duration::ZERO).await?;
            anyhow::Ok(seen)
        };
        let seen = run.while_payments_wait(meanwhile).await?;
        run.drained().await?;
        run.fleet.deploy_all(&consumers_first, Program::Shipped, BETWEEN).await?;
        Ok(seen)
    })
    .await?;
    run.phase("forward and on again", Wants::default(), async |run: &Run<'_>| {
        run.fleet.deploy_all(&consumers_first, Program::Next, Duration::ZERO).await?;
        run.fleet.send_in(2, Duration::ZERO).await?;
        Ok(BTreeSet::new())
    })
    .await?;
    let left_alone = Wants { version_2: true, deferrals: true, ..Wants::default() };
    run.phase("a rollback with version 2 in the queues, and forward", left_alone, async |run: &Run<'_>| {
        let meanwhile = async {
            let seen = run.seen_in_version(2).await?;
            run.fleet.send_in(1, Duration::ZERO).await?;
            run.fleet.deploy_all(&consumers_first, Program::Shipped, Duration::ZERO).await?;
            anyhow::Ok(seen)
        };
        let seen = run.while_payments_wait(meanwhile).await?;
        tokio::time::sleep(LEFT_ALONE).await;
        run.fleet.deploy_all(&consumers_first, Program::Next, Duration::ZERO).await?;
        Ok(seen)
    })
    .await?;
    run.end(since_ms, stack).await
}

/// Every function, in the order of a deployment.
fn order_of(producers_first: bool) -> Vec<&'static str> {
    // Of these nobody but themselves reads what they send: the API, and recovery.
    let producers = ["accept-order", "recover-orders"];
    let mut all: Vec<&str> = FUNCTIONS.into_iter().filter(|function| !producers.contains(function)).collect();
    if producers_first {
        // A step before the one that takes what it sends.
        all.splice(0..0, producers);
    } else {
        all.reverse();
        all.extend(producers);
    }
    all
}

/// Both, or the first error, and beside it what the second says.
fn both<A, B>(first: anyhow::Result<A>, second: anyhow::Result<B>) -> anyhow::Result<(A, B)> {
    match (first, second) {
        (Ok(first), Ok(second)) => Ok((first, second)),
        (Err(error), Err(too)) => Err(error.context(format!("this failed first; and then: {too:#}"))),
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
    }
}

impl Run<'_> {
    /// Places orders, does meanwhile what is to be done, and waits until all of them have ended. `change` answers the ids of
    /// the messages of version 2 that it saw.
    async fn phase(
        &mut self,
        name: &'static str,
        wants: Wants,
        change: impl AsyncFnOnce(&Run<'_>) -> anyhow::Result<BTreeSet<String>>,
    ) -> anyhow::Result<()> {
        println!("{name}");
        let (started, since_ms) = (Instant::now(), now_ms());
        let seed = self.settings.seed * 1_000 + self.phases.len() as u64;
        let plan = Plan::generate(seed, self.settings.orders, Mix::Mixed, None, self.catalogue)?;
        let manner = Manner::calm(Some(self.settings.rate), STUCK_AFTER);
        let changing = async {
            let newer = change(self).await?;
            anyhow::Ok((newer, started.elapsed()))
        };
        let driving = drive::drive(Arc::clone(&self.deployed), plan, manner);
        // Each to its end, also where the other fails: a change that is dropped midway may leave the payments held.
        let (changing, driving) = tokio::join!(changing, driving);
        let ((newer, changed), journal) = both(changing, driving)?;
        let logs = self.deployed.logs.since(since_ms).await?;
        let (by_the_old, by_the_new) = finished_while_mixed(&self.fleet.changes_since(since_ms), &logs.records);
        self.phases.push(Phase {
            name,
            orders: journal.orders.len(),
            wants,
            seen_in_version_2: newer.len(),
            deferrals: report::put_off_as_newer(&logs.troubles, &newer),
            by_the_old,
            by_the_new,
            changed_after_s: changed.as_secs_f64(),
            ended_after_s: started.elapsed().as_secs_f64(),
            stuck: journal.stuck.clone(),
        });
        self.journal.orders.extend(journal.orders);
        self.journal.placed.extend(journal.placed);
        self.journal.refunds.extend(journal.refunds);
        self.journal.troubles.extend(journal.troubles);
        self.journal.stuck.extend(journal.stuck);
        Ok(())
    }

    /// Does this while payments are held, and releases them whatever came of it.
    async fn while_payments_wait<T>(&self, meanwhile: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        let mappings = &self.deployed.mappings;
        let done = match self.payments.hold(mappings).await {
            Ok(()) => meanwhile.await,
            // Its breaker may be open all the same.
            Err(error) => Err(error),
        };
        let (done, ()) = both(done, self.payments.release(mappings).await)?;
        Ok(done)
    }

    /// Waits until commands of this version wait in the payments' queues; answers SQS's ids of those that were seen.
    async fn seen_in_version(&self, version: u32) -> anyhow::Result<BTreeSet<String>> {
        let of_it = format!(".v{version}\"");
        eventually("commands of the new version wait", Duration::from_secs(60), || async {
            let mut seen = BTreeSet::new();
            for queue in payments::queues() {
                let there = self.deployed.queues.receive(&self.deployed.queues.url(&queue), 0).await?;
                let of_it = there.iter().filter(|message| message.body().unwrap_or_default().contains(&of_it));
                seen.extend(of_it.filter_map(|message| message.message_id().map(str::to_owned)));
            }
            Ok((!seen.is_empty()).then_some(seen))
        })
        .await
    }

    /// Waits until whatever was sent until now has had its end: the orders of now have got to another version, or have ended.
    async fn drained(&self) -> anyhow::Result<()> {
        let before = self.deployed.tables.glimpses().await?;
        eventually("what was sent before is handled", DRAIN, || async {
            let now = self.deployed.tables.glimpses().await?;
            let waits = |(id, was): (&order::OrderId, &crate::tables::Glimpse)| {
                was.owes && now.get(id).is_some_and(|is| is.version == was.version)
            };
            Ok((!before.iter().any(waits)).then_some(()))
        })
        .await
    }

    async fn end(self, since_ms: u64, stack: &Stack) -> anyhow::Result<Report> {
        let mut seeded: BTreeMap<Sku, u64> = BTreeMap::new();
        for product in self.catalogue {
            seeded.insert(product.sku.parse().with_context(|| format!("sku {}", product.sku))?, product.available);
        }
        let deployed = &self.deployed;
        eventually("no provider call is under way", Duration::from_secs(70), || async {
            Ok(deployed.ledger.is_final().await?.then_some(()))
        })
        .await?;
        wait_for_the_last_lines(deployed, since_ms).await?;
        let (placed, refunds) = (self.journal.placed.clone(), self.journal.refunds.clone());
        let mut evidence = Evidence::collect(deployed, placed, refunds, seeded, since_ms).await?;
        evidence.kills = self.fleet.ended();
        let invariants = check::all(&evidence);
        Ok(Report::new(self.settings, &stack.info, self.phases, &self.journal, &evidence, invariants))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_failures_the_first_is_told_and_the_second_beside_it() {
        let fails = |why: &'static str| Err::<u8, _>(anyhow::anyhow!(why));
        assert_eq!(both(Ok(1), Ok("a")).unwrap(), (1, "a"));
        assert_eq!(both(fails("body"), Ok(2)).unwrap_err().to_string(), "body");
        assert_eq!(both(Ok(1), fails("release")).unwrap_err().to_string(), "release");
        let two = both(fails("body"), fails("release")).unwrap_err();
        assert_eq!(two.root_cause().to_string(), "body");
        assert!(two.to_string().contains("release"));
    }

    #[test]
    fn both_orders_deploy_every_function_once_and_one_begins_with_the_producers() {
        for producers_first in [true, false] {
            let mut all = order_of(producers_first);
            assert_eq!(all.first() == Some(&"accept-order"), producers_first);
            assert_eq!(all.contains(&"accept-order"), all.contains(&"recover-orders"));
            all.sort_unstable();
            let mut functions = FUNCTIONS.to_vec();
            functions.sort_unstable();
            assert_eq!(all, functions);
        }
        let payment = |order: &[&str]| order.iter().position(|function| *function == "process-payment");
        let stock = |order: &[&str]| order.iter().position(|function| *function == "reserve-stock");
        assert!(payment(&order_of(true)) < stock(&order_of(true)), "who sends before who takes it");
        assert!(payment(&order_of(false)) > stock(&order_of(false)));
    }
}
