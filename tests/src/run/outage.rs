//! The run behind `make outage`: the payment provider fails for a minute under steady orders. How many orders the stack can
//! take is measured first, on the same machine in the same minutes, as the time to drain the backlog is judged by it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use order::{EventKind, Lane};
use orderflow::stack::{self, Stack};
use serde::Serialize;

use super::bounds::{Figure, all_hold, at_ms, left_over, print_end, seconds};
use super::drive::{self, Journal, Manner};
use super::figures::{Figures, percentile};
use super::{Mix, Place, Plan, Stage, seeded, wait_for_the_last_lines, without_deadlines};
use crate::check::{self, Evidence, Verdict};
use crate::clock::now_ms;
use crate::deployed::Deployed;
use crate::ledger::{Effect, Fault, FaultKind, Operation, Provider};
use crate::logs::RecordLine;
use crate::tables::{Breaker, Row};
use crate::wait::eventually;

/// Between two looks at the breaker's row.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Nothing may have moved for so long.
const STUCK_AFTER: Duration = Duration::from_secs(180);
/// Express orders accepted so long after the provider's return are judged by their time.
const RECOVERED_AFTER_MS: u64 = 120_000;

/// How the provider fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Failing {
    /// Its connections are reset: nobody knows whether the call ran.
    Reset,
    /// It answers 500.
    Error,
    /// It does not answer.
    Hang,
}

/// What to run.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// Orders a second, before, while and after
    #[arg(long, default_value_t = 5.0)]
    pub rate: f64,
    /// Seconds of orders before the outage
    #[arg(long, default_value_t = 20)]
    pub before_s: u64,
    /// Seconds that the provider is away
    #[arg(long, default_value_t = 60)]
    pub outage_s: u64,
    /// Seconds of orders after the provider is back; those of the time after two minutes are judged
    #[arg(long, default_value_t = 165)]
    pub after_s: u64,
    /// Orders placed at once, before all that, to measure the capacity
    #[arg(long, default_value_t = 300)]
    pub capacity_orders: usize,
    /// How it fails
    #[arg(long, value_enum, default_value_t = Failing::Reset)]
    pub failing: Failing,
    /// The same seed makes the same orders
    #[arg(long, env = "SEED", default_value_t = 1)]
    pub seed: u64,
    /// Where
    #[command(flatten)]
    pub place: Place,
}

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whether every figure keeps its bound, every invariant holds, and nothing is left over.
    pub holds: bool,
    /// The figures.
    pub figures: Vec<Figure>,
    /// Orders a second that the stack takes, measured before the outage.
    pub capacity_orders_per_second: f64,
    /// Orders that had come and not ended at the first success after the return.
    pub backlog_orders: usize,
    /// From the provider's failing to the breaker's opening, seconds.
    pub opened_after_s: f64,
    /// Each state of the breaker that was seen, in order.
    pub breaker: Vec<Breaker>,
    /// Half of the express orders accepted before the outage took this long, milliseconds.
    pub express_before_p50_ms: u64,
    /// 95 of 100 of them, milliseconds.
    pub express_before_p95_ms: u64,
    /// How many express orders were judged after it.
    pub express_after_count: usize,
    /// DynamoDB calls of a shipped order accepted 120 s after the return, most: the breakers' own apart.
    pub dynamodb_calls_of_a_shipped_order: u64,
    /// Calls to the breakers' table for each order, over the whole run.
    pub breaker_calls_per_order: f64,
    /// See [`check`].
    pub invariants: Vec<Verdict>,
    /// Anything else that is not as it should be.
    pub troubles: Vec<String>,
    /// How the provider failed.
    pub failing: String,
    /// Of the generator.
    pub seed: u64,
    /// How ministack was started.
    pub launcher: String,
}

/// What is known of the outage.
struct Times {
    gone_ms: u64,
    back_ms: u64,
    /// The breaker's states, oldest first.
    breaker: Vec<Breaker>,
}

/// Runs, prints, writes the report and answers whether everything held. Whatever it started is stopped, also when it is
/// dropped midway.
///
/// # Errors
/// When it cannot be run to its end.
pub async fn run(settings: &Settings) -> anyhow::Result<bool> {
    ensure!(settings.rate > 0.0, "--rate has to be above 0");
    ensure!(settings.after_s * 1_000 > RECOVERED_AFTER_MS, "--after-s has to be over 120: later orders are judged");
    let stage = Stage::raise("outage", &settings.place, without_deadlines(&Lane::ALL)).await?;
    let report = exercise(settings, &stage.stack, &stage.catalogue).await?;
    print(&report);
    stage.end(&report)?;
    Ok(report.holds)
}

async fn exercise(settings: &Settings, stack: &Stack, catalogue: &[stack::Product]) -> anyhow::Result<Report> {
    let deployed = Arc::new(Deployed::new(stack.info.clone())?);
    let since_ms = now_ms();
    println!("capacity: {} orders at once", settings.capacity_orders);
    let plan = Plan::generate(settings.seed, settings.capacity_orders, Mix::Happy, None, catalogue)?;
    let first = drive::drive(Arc::clone(&deployed), plan, Manner::calm(None, STUCK_AFTER)).await?;
    let capacity = capacity(&deployed.tables.orders().await?);
    println!("capacity: {capacity:.1} orders a second");

    let seconds = settings.before_s + settings.outage_s + settings.after_s;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a count")]
    let count = (settings.rate * seconds as f64) as usize;
    let plan = Plan::generate(settings.seed + 1_000, count, Mix::Happy, None, catalogue)?;
    let outage = outage(settings, &deployed);
    let (second, times) = tokio::try_join!(
        drive::drive(Arc::clone(&deployed), plan, Manner::calm(Some(settings.rate), STUCK_AFTER)),
        outage
    )?;

    eventually("no provider call is under way", Duration::from_secs(70), || async {
        Ok(deployed.ledger.is_final().await?.then_some(()))
    })
    .await?;
    wait_for_the_last_lines(&deployed, since_ms).await?;
    let mut journal = first;
    journal.placed.extend(second.placed);
    journal.orders.extend(second.orders);
    journal.troubles.extend(second.troubles);
    journal.stuck.extend(second.stuck);
    let evidence =
        Evidence::collect(&deployed, journal.placed.clone(), Vec::new(), seeded(catalogue)?, since_ms).await?;
    let probes = deployed.logs.messages("control-breakers", "provider probed", since_ms).await?.len();
    report(settings, &stack.info.launcher.to_string(), capacity, &times, probes, &journal, &evidence)
}

/// Makes the provider fail and come back, and looks at its breaker all the while.
async fn outage(settings: &Settings, deployed: &Deployed) -> anyhow::Result<Times> {
    let seen: Mutex<Vec<Breaker>> = Mutex::default();
    let look = async {
        loop {
            let now = deployed.tables.breaker("payment").await?;
            {
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                if seen.last().is_none_or(|last| last.epoch != now.epoch) {
                    seen.push(now);
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let act = async {
        tokio::time::sleep(Duration::from_secs(settings.before_s)).await;
        let fault = match settings.failing {
            Failing::Reset => FaultKind::Reset,
            Failing::Error => FaultKind::Error500,
            Failing::Hang => FaultKind::Hang,
        };
        deployed
            .ledger
            .fault(&Fault {
                provider: Some(Provider::Payment),
                operation: Operation::Any,
                fault,
                probability: 1.0,
                count: None,
                delay_ms: None,
                order_id: None,
            })
            .await?;
        let gone_ms = now_ms();
        println!("the payment provider is gone");
        tokio::time::sleep(Duration::from_secs(settings.outage_s)).await;
        deployed.ledger.heal().await?;
        let back_ms = now_ms();
        println!("the payment provider is back");
        tokio::time::sleep(Duration::from_secs(settings.after_s)).await;
        anyhow::Ok((gone_ms, back_ms))
    };
    let looked: anyhow::Result<(u64, u64)> = tokio::select! {
        error = look => {
            let never: anyhow::Result<()> = error;
            never.and(Err(anyhow::anyhow!("the look at the breaker ended")))
        }
        acted = act => acted,
    };
    let (gone_ms, back_ms) = looked?;
    Ok(Times { gone_ms, back_ms, breaker: seen.into_inner().unwrap_or_else(PoisonError::into_inner) })
}

fn accepted_ms(row: &Row) -> Option<u64> {
    at_ms(row, EventKind::Accepted)
}

fn shipped_ms(row: &Row) -> Option<u64> {
    at_ms(row, EventKind::Shipped)
}

/// Orders a second of a backlog: from the first acceptance to when 95 of 100 had shipped. Steps take turns over a backlog, so
/// that most ends come late and close together: a shorter stretch would tell too much.
#[allow(clippy::cast_precision_loss, reason = "orders are counted in hundreds")]
fn capacity(rows: &[Row]) -> f64 {
    let mut ends: Vec<u64> = rows.iter().filter_map(shipped_ms).collect();
    ends.sort_unstable();
    let (from, to) = (rows.iter().filter_map(accepted_ms).min().unwrap_or(0), percentile(&ends, 95));
    let ended = ends.iter().filter(|end| **end <= to).count();
    ended as f64 / seconds(to.saturating_sub(from).max(1))
}

/// When the breaker was not closed, UTC milliseconds.
fn paused(breaker: &[Breaker]) -> Vec<(u64, u64)> {
    let mut paused = Vec::new();
    let mut since: Option<u64> = None;
    for state in breaker {
        match (state.state == "closed", since) {
            (false, None) => since = Some(state.changed_at_ms),
            (true, Some(from)) => {
                paused.push((from, state.changed_at_ms));
                since = None;
            }
            (false, Some(_)) | (true, None) => {}
        }
    }
    paused.extend(since.map(|from| (from, u64::MAX)));
    paused
}

/// The most often that one message was received while its step was paused.
fn most_receives(records: &[RecordLine], paused: &[(u64, u64)]) -> u64 {
    let mut receives: HashMap<&str, u64> = HashMap::new();
    for record in records.iter().filter(|record| record.function == "process-payment") {
        let Some(at_ms) = record.finished_ms() else { continue };
        if paused.iter().any(|(from, to)| (*from..*to).contains(&at_ms)) {
            *receives.entry(record.message_id.as_str()).or_default() += 1;
        }
    }
    receives.into_values().max().unwrap_or(0)
}

/// How long express orders took that were accepted in this time, sorted, milliseconds.
fn express_ms(rows: &[Row], from_ms: u64, to_ms: u64) -> Vec<u64> {
    let took = |row: &Row| {
        let accepted_ms = accepted_ms(row).filter(|at_ms| (from_ms..to_ms).contains(at_ms))?;
        // One that never ended took for ever.
        Some(shipped_ms(row).map_or(u64::MAX, |shipped_ms| shipped_ms.saturating_sub(accepted_ms)))
    };
    let mut took: Vec<u64> = rows.iter().filter(|row| row.order.lane == Lane::Express).filter_map(took).collect();
    took.sort_unstable();
    took
}

#[allow(clippy::cast_precision_loss, reason = "figures of a run are far below 2^52")]
fn report(
    settings: &Settings,
    launcher: &str,
    capacity: f64,
    times: &Times,
    probes: usize,
    journal: &Journal,
    evidence: &Evidence,
) -> anyhow::Result<Report> {
    let paused = paused(&times.breaker);
    let opened_ms = paused.iter().map(|(from, _)| *from).find(|from| *from >= times.gone_ms);
    let opened_ms = opened_ms.context("the breaker never opened")?;
    let is_effect = |effect: Effect| matches!(effect, Effect::PaymentCreated | Effect::Authorized | Effect::Captured);
    let effects = evidence.ledger.iter().filter(|entry| is_effect(entry.effect));
    let at_ms = effects.filter_map(|entry| u64::try_from(entry.at_ms).ok()).filter(|at_ms| *at_ms >= times.back_ms);
    let first_ms = at_ms.min().context("nothing succeeded after the provider's return")?;
    let waiting = |row: &&Row| {
        accepted_ms(row).is_some_and(|at_ms| at_ms <= first_ms) && shipped_ms(row).is_none_or(|at_ms| at_ms > first_ms)
    };
    let backlog: Vec<&Row> = evidence.rows.iter().filter(waiting).collect();
    let drained_ms = backlog.iter().map(|row| shipped_ms(row).unwrap_or(u64::MAX)).max().unwrap_or(first_ms);
    ensure!(
        capacity > settings.rate,
        "it takes {capacity:.1} orders a second: no backlog can drain at {}",
        settings.rate
    );
    let express = express_ms(&evidence.rows, times.back_ms + RECOVERED_AFTER_MS, u64::MAX);
    let before =
        express_ms(&evidence.rows, times.gone_ms.saturating_sub(settings.before_s * 1_000), times.gone_ms - 5_000);
    let dead: u64 = evidence.queues.holding(true).map(|(_, depth)| depth.total()).sum();
    let figure = Figure::at_most;
    let figures = vec![
        figure(
            "receives of one message while paused, most",
            "receives",
            most_receives(&evidence.logs.records, &paused) as f64,
            2.0,
        ),
        figure("dead letters", "messages", dead as f64, 0.0),
        figure("probes", "probes", probes as f64, 50.0),
        figure("first success after the return", "s", seconds(first_ms - times.back_ms), 40.0),
        figure(
            "backlog drained after the first success",
            "s",
            seconds(drained_ms - first_ms),
            1.2 * backlog.len() as f64 / (capacity - settings.rate),
        ),
        figure("express orders 120 s after the return, p95", "s", seconds(percentile(&express, 95)), 5.0),
    ];
    let of_run = Figures::of(journal, evidence);
    // Recovery sends again what an outage held up, and such a copy costs a read.
    let mut calm = evidence.clone();
    calm.rows.retain(|row| accepted_ms(row).is_some_and(|at_ms| at_ms >= times.back_ms + RECOVERED_AFTER_MS));
    let calm = Figures::of(journal, &calm);
    let mut troubles = journal.troubles.clone();
    troubles.extend(journal.stuck.iter().cloned());
    troubles.extend(left_over(evidence));
    if express.is_empty() {
        troubles.push("no express order was accepted late enough to be judged".to_owned());
    }
    if probes == 0 {
        troubles.push("nobody probed".to_owned());
    }
    let invariants = check::all(evidence);
    let holds = all_hold(&figures, &invariants, &troubles);
    Ok(Report {
        holds,
        figures,
        capacity_orders_per_second: capacity,
        backlog_orders: backlog.len(),
        opened_after_s: seconds(opened_ms - times.gone_ms),
        breaker: times.breaker.clone(),
        express_before_p50_ms: percentile(&before, 50),
        express_before_p95_ms: percentile(&before, 95),
        express_after_count: express.len(),
        dynamodb_calls_of_a_shipped_order: calm.shipped.max,
        breaker_calls_per_order: of_run.calls_per_order.get("breakers").copied().unwrap_or(0.0),
        invariants,
        troubles,
        failing: format!("{:?}", settings.failing).to_lowercase(),
        seed: settings.seed,
        launcher: launcher.to_owned(),
    })
}

fn print(report: &Report) {
    println!();
    for figure in &report.figures {
        println!("{figure}");
    }
    println!(
        "capacity {:.1} orders/s, backlog {} orders, opened after {:.1} s, {} express orders judged",
        report.capacity_orders_per_second, report.backlog_orders, report.opened_after_s, report.express_after_count
    );
    println!(
        "dynamodb calls of a shipped order at most {}, breakers' own {:.2} an order over the run",
        report.dynamodb_calls_of_a_shipped_order, report.breaker_calls_per_order
    );
    for state in &report.breaker {
        println!("breaker: {} in epoch {} ({})", state.state, state.epoch, state.cause);
    }
    print_end(&report.invariants, &report.troubles);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(state: &str, epoch: u64, changed_at_ms: u64) -> Breaker {
        Breaker { state: state.to_owned(), epoch, forced: false, changed_at_ms, cause: String::new(), acts: 0 }
    }

    fn record(message_id: &str, function: &str, second: u64) -> RecordLine {
        let line = format!(
            r#"{{"timestamp":"1970-01-01T00:00:{second:02}.000Z","message":"record finished","function":"{function}",
                "request_id":"r","message_id":"{message_id}","queue":"q","verdict":"defer","latency_ms":1,
                "receive_count":1}}"#
        );
        serde_json::from_str(&line).unwrap()
    }

    #[test]
    fn it_is_paused_from_the_opening_to_the_closing_however_often_it_opens_again_between() {
        let seen = [
            state("closed", 0, 0),
            state("open", 1, 5_000),
            state("open", 2, 15_000),
            state("closed", 3, 30_000),
            state("open", 4, 40_000),
        ];
        assert_eq!(paused(&seen), [(5_000, 30_000), (40_000, u64::MAX)]);
        let records = [
            record("a", "process-payment", 4),
            record("a", "process-payment", 6),
            record("a", "process-payment", 29),
            record("a", "process-payment", 35),
            record("b", "ship-order", 6),
            record("b", "process-payment", 30),
        ];
        assert_eq!(most_receives(&records, &paused(&seen)), 2);
    }
}
