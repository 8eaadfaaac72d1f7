//! The run behind `make chaos`: orders while everything around them fails, then the invariants.
//!
//! | module | what |
//! | --- | --- |
//! | [`proxy`], [`dice`] | faults between the functions and AWS, by a seed; `wire`, `call`, `shapes` are its parts |
//! | [`hold`] | calls that are kept from AWS for a while: for tests of races |
//! | `providers` | faults of the payment provider and the carrier |
//! | [`victims`] | kills of functions |
//! | `copies`, `dead` | messages delivered twice, late, out of order, and replayed from dead-letter queues |
//! | `storm` | when what happens |
//! | `bound` | how long it may take to come to rest afterwards |
//! | [`report`] | what was found |

mod bound;
mod call;
mod copies;
mod dead;
pub mod dice;
pub mod hold;
pub mod journal;
mod providers;
pub mod proxy;
pub mod report;
mod shapes;
mod storm;
pub mod victims;
mod wire;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use order::{Lane, OrderId, Sku};
use orderflow::stack::{self, Options, Stack};
use tokio::sync::watch;

use self::dice::Odds;
use self::journal::Journal;
use self::proxy::{Owner, Proxy};
use self::report::{Found, Report};
use self::storm::Storm;
use crate::check::{self, Evidence, Verdict};
use crate::clock::now_ms;
use crate::deployed::Deployed;
use crate::guard;
use crate::mail::Mail;
use crate::run::drive::{self, Manner};
use crate::run::{Mix, Plan, wait_for_the_last_lines, without_deadlines};
use crate::wait::eventually;

/// What to do to which orders.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// How many orders
    #[arg(long, env = "ORDERS", default_value_t = 2_000)]
    pub orders: usize,
    /// Orders a second, whatever becomes of the earlier ones
    #[arg(long, env = "RATE", default_value_t = 7.0)]
    pub rate: f64,
    /// The same seed makes the same orders and decides over the same calls
    #[arg(long, env = "SEED", default_value_t = 1)]
    pub seed: u64,
    /// How much goes wrong: times the usual odds
    #[arg(long, env = "INTENSITY", default_value_t = 1.0)]
    pub intensity: f64,
    /// How long it goes on after the last order was asked for, seconds
    #[arg(long, env = "TAIL", default_value_t = 45)]
    pub tail_s: u64,
    /// Deploy what is compiled already
    #[arg(long)]
    pub no_build: bool,
    /// State folder of the stack [default: target/chaos/stack]
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Where the report goes [default: target/chaos/report.json]
    #[arg(long)]
    pub report: Option<PathBuf>,
}

/// Runs, prints, writes the report and answers whether everything held. Whatever it started is stopped, also when it is
/// dropped midway.
///
/// # Errors
/// When it cannot be run to its end.
pub async fn run(settings: &Settings) -> anyhow::Result<bool> {
    let root = stack::project_root()?;
    let folder = root.join("target/chaos");
    let mut options = Options::new(root.clone()).in_dir(settings.dir.clone().unwrap_or_else(|| folder.join("stack")));
    options.compile = !settings.no_build;
    options.parameters.extend(without_deadlines(&Lane::ALL));
    options.progress = Arc::new(|line| println!("{line}"));
    let Some(_owned) = guard::own(&options.dir)? else {
        bail!("another run is going on in {}: wait for it, or take another folder with --dir", options.dir.display());
    };
    println!("seed {}: {} orders at {} a second", settings.seed, settings.orders, settings.rate);
    let catalogue = stack::load_catalogue(&root)?;
    let plan = Plan::generate(settings.seed, settings.orders, Mix::Mixed, None, &catalogue)?;

    let port = stack::free_port()?;
    let journal = Journal::default();
    let owner = Owner { pid: Arc::new(AtomicU32::new(0)), stack: options.stack_name.clone() };
    let upstream = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let odds = Odds::usual(settings.intensity);
    let (proxy, sent) = Proxy::start(upstream, settings.seed, odds, journal.clone(), owner.clone()).await?;
    options.port = Some(port);
    options.keep_state = true;
    options.function_endpoint = Some(format!("http://{}", proxy.addr));
    let mut stack = stack::up(&options).await?;
    owner.pid.store(stack.info.ministack_pid, Ordering::Release);
    let guard = guard::watch(&std::env::current_exe().context("where is this program?")?, stack.dir())?;

    let mut seeded: BTreeMap<Sku, u64> = BTreeMap::new();
    for product in &catalogue {
        seeded.insert(product.sku.parse().with_context(|| format!("sku {}", product.sku))?, product.available);
    }
    let weather = Weather { options: &options, proxy: &proxy, owner, journal };
    let report = exercise(settings, &mut stack, weather, sent, plan, seeded).await?;
    stack.down()?;
    drop(guard);

    report.print();
    let path = settings.report.clone().unwrap_or_else(|| folder.join("report.json"));
    report.write(&path)?;
    println!("\nreport: {}", path.display());
    Ok(report.holds())
}

struct Weather<'a> {
    options: &'a Options,
    proxy: &'a Proxy,
    owner: Owner,
    journal: Journal,
}

async fn exercise(
    settings: &Settings,
    stack: &mut Stack,
    weather: Weather<'_>,
    sent: tokio::sync::mpsc::UnboundedReceiver<proxy::Sent>,
    plan: Plan,
    seeded: BTreeMap<Sku, u64>,
) -> anyhow::Result<Report> {
    let deployed = Arc::new(Deployed::new(stack.info.clone())?);
    let since_ms = now_ms();
    let ids: Vec<OrderId> = plan.orders.iter().map(|order| order.order_id).collect();
    let Weather { options, proxy, owner, journal } = weather;
    let storm = Storm {
        seed: settings.seed,
        intensity: settings.intensity,
        tail: Duration::from_secs(settings.tail_s),
        stack,
        options,
        deployed: Arc::clone(&deployed),
        proxy,
        owner,
        journal: journal.clone(),
        providers: providers::faults(settings.seed, &ids, settings.intensity),
        #[allow(clippy::cast_precision_loss, reason = "orders are counted in thousands")]
        placing: Duration::from_secs_f64(ids.len() as f64 / settings.rate.max(0.01)),
    };
    let (asked, all_asked) = watch::channel(false);
    let (over, until) = watch::channel(None::<Instant>);
    let driving = drive::drive(Arc::clone(&deployed), plan, Manner::rough(settings.rate, asked, until));
    let (driven, calm) = tokio::try_join!(driving, storm.rage(sent, all_asked, over))?;
    let drained = driven.stuck.is_empty().then(|| Duration::from_millis(driven.ended_ms.saturating_sub(calm.at_ms)));

    eventually("no provider call is under way", Duration::from_secs(70), || async {
        Ok(deployed.ledger.is_final().await?.then_some(()))
    })
    .await?;
    wait_for_the_last_lines(&deployed, since_ms).await?;
    keep_logs(&deployed, &options.dir.join("logs"), since_ms).await?;
    let (placed, refunds) = (driven.placed.clone(), driven.refunds.clone());
    let mut evidence = Evidence::collect(&deployed, placed, refunds, seeded, since_ms).await?;
    evidence.dead = dead::letters(&deployed).await?;
    evidence.kills = journal.kills();
    let mut invariants = check::all(&evidence);
    invariants.push(check::i13_drains(drained, calm.bound.within, &calm.bound.how));
    invariants.push(check::i14_work_is_bounded(&evidence));
    invariants.sort_by_key(|verdict| verdict.id.trim_start_matches('I').parse::<u32>().unwrap_or(u32::MAX));
    let mails = [calm.mails, deployed.mail.all().await?].concat();
    invariants.push(no_mail_twice(&evidence, &mails));
    Ok(Report::new(Found {
        seed: settings.seed,
        intensity: settings.intensity,
        rate: settings.rate,
        driven: &driven,
        evidence: &evidence,
        invariants,
        injected: &journal.injected(),
        calls: journal.calls(),
        drained,
        bound: calm.bound.within,
    }))
}

/// Writes what each function logged to a file of its own: the stack ends with its log groups.
async fn keep_logs(deployed: &Deployed, folder: &Path, since_ms: u64) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for function in stack::FUNCTIONS {
        let lines = deployed.logs.messages(function, "", since_ms).await?;
        let path = folder.join(format!("{function}.log"));
        std::fs::write(&path, lines.join("\n")).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// At-most-once: no customer was told the same twice. A subject names its order; of refunds there may be several.
fn no_mail_twice(evidence: &Evidence, mails: &[Mail]) -> Verdict {
    let mut counts: BTreeMap<(&[String], &str), usize> = BTreeMap::new();
    for mail in mails {
        *counts.entry((&mail.to, &mail.subject)).or_default() += 1;
    }
    let refunds = |subject: &str| {
        let named = |row: &&crate::tables::Row| {
            let id = row.order.order_id.to_string();
            id.split('-').next().is_some_and(|short| subject.contains(short))
        };
        evidence.rows.iter().filter(named).map(|row| row.order.refunds.len()).max().unwrap_or_default()
    };
    let twice: Vec<&str> = counts
        .into_iter()
        .filter(|((_, subject), count)| *count > 1 && *count > refunds(subject))
        .map(|((_, subject), _)| subject)
        .collect();
    let detail = if twice.is_empty() {
        format!("mails, none of them twice: {} looked at", mails.len())
    } else {
        format!("sent more than once: {}", twice.join("; "))
    };
    Verdict { id: "mail", holds: twice.is_empty(), detail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::evidence_for_tests;

    #[test]
    fn a_mail_that_was_sent_twice_is_seen() {
        let evidence = evidence_for_tests();
        let id = evidence.rows[1].order.order_id.to_string();
        let mail = |subject: String| Mail {
            to: vec!["ann@example.test".to_owned()],
            subject,
            body_text: String::new(),
            body_html: None,
            timestamp: 1.0,
        };
        let mut mails = vec![mail(format!("On its way: your order {}", &id[..8])), mail("Another".to_owned())];
        assert!(no_mail_twice(&evidence, &mails).holds);
        mails.push(mails[0].clone());
        let verdict = no_mail_twice(&evidence, &mails);
        assert!(!verdict.holds && verdict.detail.contains("On its way"), "{}", verdict.detail);
    }
}
