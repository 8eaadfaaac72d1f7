//! What a chaos run found: a table of faults, the invariants, and the same as JSON.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use comfy_table::Cell;
use order::{OrderId, State};
use serde::Serialize;

use super::journal::Injected;
use crate::check::{Evidence, Verdict};
use crate::deployed::story;
use crate::ledger::Effect;
use crate::run::drive::Journal as Driven;
use crate::run::report::{Ends, ends, right, table, unexpected};
use crate::tables::Row;

/// How many of a list are spelt out.
const SHOWN: usize = 20;

/// Of the table of invariants where there is no terminal, columns.
const WIDTH: u16 = 140;

/// What became of the orders that a kind of fault touched.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Outcome {
    /// How often it came true.
    pub count: usize,
    /// What it befell: calls, functions, queues, provider operations.
    pub befell: BTreeMap<String, usize>,
    /// Orders it is known to have touched; where it cannot be told, none.
    pub touched: usize,
    /// Of these.
    pub shipped: usize,
    /// Of these.
    pub rejected: usize,
    /// Of these.
    pub cancelled: usize,
    /// Of these, with an open case.
    pub parked: usize,
    /// Of these, not ended.
    pub open: usize,
    /// From the fault to the order's next version, seconds, half of those that had one.
    pub onward_p50_s: Option<f64>,
    /// The same, the longest.
    pub onward_max_s: Option<f64>,
    /// The longest in which nothing else is known to have befallen the order.
    pub alone_max_s: Option<f64>,
}

/// An order that waited long for its next version after a fault.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Slow {
    /// Which.
    pub order_id: String,
    /// The fault.
    pub kind: &'static str,
    /// From it to the next version, seconds.
    pub waited_s: f64,
    /// What befell the order until then, from the fault on: seconds after it, kind, what.
    pub meanwhile: Vec<(f64, &'static str, String)>,
    /// Its way.
    pub story: String,
}

/// A parked order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ParkedOrder {
    /// Which.
    pub order_id: String,
    /// Why.
    pub reason: String,
    /// Its way.
    pub story: String,
}

/// The report. Its first keys are those that issue 4 names; the rest is detail.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Orders that were accepted.
    pub orders: usize,
    /// How often each kind came true.
    pub faults: BTreeMap<&'static str, usize>,
    /// In the order of the design.
    pub invariants: Vec<Verdict>,
    /// Accepted orders that neither ended nor are parked with an open case.
    pub lost: usize,
    /// Orders of which more was taken than their total, or twice.
    pub double_charged: usize,

    /// Of everything.
    pub seed: u64,
    /// Times the usual odds.
    pub intensity: f64,
    /// Orders a second that were asked for.
    pub rate: f64,
    /// Where the orders ended.
    pub ends: Ends,
    /// By kind.
    pub outcomes: BTreeMap<&'static str, Outcome>,
    /// Calls of the functions while the faults were on, by `service Operation`.
    pub calls: BTreeMap<String, u64>,
    /// Those that nothing happened to.
    pub calls_untouched: u64,
    /// The longest waits.
    pub slowest: Vec<Slow>,
    /// Orders that wait for an operator.
    pub parked: Vec<ParkedOrder>,
    /// Orders that ended, but otherwise than they were made to.
    pub unexpected: Vec<String>,
    /// Answers to customers that should not be.
    pub troubles: Vec<String>,
    /// What was still going on at the bound.
    pub stuck: Vec<String>,
    /// Dead letters that are left, by queue.
    pub dead_letters: Vec<String>,
    /// Requests of customers that got a 5xx or no answer, and were repeated.
    pub unanswered: usize,
    /// From the last fault to rest, seconds.
    pub drained_s: Option<f64>,
    /// The most it may be.
    pub bound_s: f64,
    /// Warnings and errors that the functions logged, by their message.
    pub logged: BTreeMap<String, usize>,
}

/// What a report is made of.
pub(super) struct Found<'a> {
    pub(super) seed: u64,
    pub(super) intensity: f64,
    pub(super) rate: f64,
    pub(super) driven: &'a Driven,
    pub(super) evidence: &'a Evidence,
    pub(super) invariants: Vec<Verdict>,
    pub(super) injected: &'a [Injected],
    pub(super) calls: (BTreeMap<String, u64>, u64),
    pub(super) drained: Option<Duration>,
    pub(super) bound: Duration,
}

impl Report {
    pub(super) fn new(found: Found<'_>) -> Self {
        let Found { seed, intensity, rate, driven, evidence, invariants, injected, calls, drained, bound } = found;
        let mut faults: BTreeMap<&'static str, usize> = BTreeMap::new();
        for fault in injected {
            *faults.entry(fault.kind).or_default() += 1;
        }
        let is_parked = |row: &Row| row.order.parked.is_some();
        let parked = evidence.rows.iter().filter_map(|row| {
            let parked = row.order.parked.as_ref()?;
            let order_id = row.order.order_id.to_string();
            Some(ParkedOrder { order_id, reason: parked.reason.clone(), story: story(row) })
        });
        let dead = evidence.queues.holding(true).map(|(name, depth)| format!("{name}: {}", depth.total()));
        let settled: BTreeSet<OrderId> =
            evidence.rows.iter().filter(|row| !is_parked(row)).map(|row| row.order.order_id).collect();
        Self {
            orders: evidence.rows.len(),
            faults,
            invariants,
            lost: lost(evidence),
            double_charged: double_charged(evidence),
            seed,
            intensity,
            rate,
            ends: ends(evidence),
            outcomes: outcomes(injected, &evidence.rows),
            calls: calls.0,
            calls_untouched: calls.1,
            slowest: slowest(injected, &evidence.rows),
            parked: parked.collect(),
            unexpected: unexpected(driven, evidence, |id| settled.contains(&id)),
            troubles: driven.troubles.clone(),
            stuck: driven.stuck.clone(),
            dead_letters: dead.collect(),
            unanswered: driven.unanswered,
            drained_s: drained.map(|took| took.as_secs_f64()),
            bound_s: bound.as_secs_f64(),
            logged: logged(&evidence.logs.troubles),
        }
    }

    /// Whether the run is good: every invariant holds, nothing lost, nobody charged twice, every order that ended ended as
    /// it was made to, every customer was answered.
    pub fn holds(&self) -> bool {
        self.invariants.iter().all(|verdict| verdict.holds)
            && self.lost == 0
            && self.double_charged == 0
            && self.unexpected.is_empty()
            && self.troubles.is_empty()
            && self.stuck.is_empty()
    }

    /// Writes it as JSON.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let folder = path.parent().context("the report needs a folder")?;
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Prints it.
    pub fn print(&self) {
        println!("\n{}", self.faults_table());
        let Ends { accepted, shipped, rejected, cancelled, parked, open } = self.ends;
        println!(
            "\n{accepted} orders, seed {}: {shipped} shipped, {rejected} rejected, {cancelled} cancelled, {parked} parked, \
             {open} open; {} lost, {} charged twice",
            self.seed, self.lost, self.double_charged
        );
        let calls: u64 = self.calls.values().sum();
        println!(
            "{calls} AWS calls while the faults were on, {} of them untouched; {} requests of customers unanswered and repeated",
            self.calls_untouched, self.unanswered
        );
        let mut invariants = table(&["invariant", "holds", "detail"]);
        if !invariants.is_tty() {
            invariants.set_width(WIDTH);
        }
        for verdict in &self.invariants {
            invariants.add_row([verdict.id, if verdict.holds { "yes" } else { "NO" }, verdict.detail.as_str()]);
        }
        println!("\n{invariants}");
        let parked: Vec<String> =
            self.parked.iter().map(|order| format!("{}: {} ({})", order.order_id, order.reason, order.story)).collect();
        for (what, list) in [
            ("parked", &parked),
            ("ended otherwise than made to", &self.unexpected),
            ("went wrong", &self.troubles),
            ("stuck", &self.stuck),
            ("dead letters", &self.dead_letters),
        ] {
            for item in list.iter().take(SHOWN) {
                println!("{what}: {item}");
            }
            if list.len() > SHOWN {
                println!("{what}: and {} more", list.len() - SHOWN);
            }
        }
        for (message, count) in &self.logged {
            println!("logged {count} times: {message}");
        }
    }

    fn faults_table(&self) -> comfy_table::Table {
        let header = [
            "fault",
            "count",
            "orders",
            "shipped",
            "rejected",
            "cancelled",
            "parked",
            "open",
            "onward p50 s",
            "max s",
            "alone max s",
        ];
        let mut table = table(&header);
        let seconds = |seconds: Option<f64>| right(seconds.map_or_else(|| "-".to_owned(), |s| format!("{s:.1}")));
        for (kind, outcome) in &self.outcomes {
            let Outcome { count, touched, shipped, rejected, cancelled, parked, open, .. } = *outcome;
            let counts = [count, touched, shipped, rejected, cancelled, parked, open].map(|n| right(n.to_string()));
            let onward = [outcome.onward_p50_s, outcome.onward_max_s, outcome.alone_max_s].map(seconds);
            table.add_row(std::iter::once(Cell::new(kind)).chain(counts).chain(onward));
        }
        table
    }
}

/// The faults of each order, in the order they came true.
fn faults_of(injected: &[Injected]) -> HashMap<OrderId, Vec<&Injected>> {
    let mut of_order: HashMap<OrderId, Vec<&Injected>> = HashMap::new();
    for fault in injected {
        for id in &fault.orders {
            of_order.entry(*id).or_default().push(fault);
        }
    }
    of_order
}

fn outcomes(injected: &[Injected], rows: &[Row]) -> BTreeMap<&'static str, Outcome> {
    let rows: HashMap<OrderId, &Row> = rows.iter().map(|row| (row.order.order_id, row)).collect();
    let of_order = faults_of(injected);
    let mut outcomes: BTreeMap<&'static str, Outcome> = BTreeMap::new();
    let mut touched: BTreeMap<&'static str, BTreeSet<OrderId>> = BTreeMap::new();
    let mut onward: BTreeMap<&'static str, Vec<u64>> = BTreeMap::new();
    for fault in injected {
        let outcome = outcomes.entry(fault.kind).or_default();
        outcome.count += 1;
        *outcome.befell.entry(fault.what.clone()).or_default() += 1;
        for id in &fault.orders {
            touched.entry(fault.kind).or_default().insert(*id);
            let next = rows.get(id).and_then(|row| row.order.timeline.iter().find(|entry| entry.at_ms > fault.at_ms));
            let Some(next) = next else { continue };
            let wait_ms = next.at_ms - fault.at_ms;
            onward.entry(fault.kind).or_default().push(wait_ms);
            let others = of_order.get(id).into_iter().flatten().filter(|other| ***other != *fault);
            if others.into_iter().all(|other| !(fault.at_ms..next.at_ms).contains(&other.at_ms)) {
                outcome.alone_max_s = Some(outcome.alone_max_s.unwrap_or_default().max(seconds(wait_ms)));
            }
        }
    }
    for (kind, orders) in touched {
        let Some(outcome) = outcomes.get_mut(kind) else { continue };
        outcome.touched = orders.len();
        for row in orders.iter().filter_map(|id| rows.get(id)) {
            let order = &row.order;
            let at = match order.state {
                _ if order.parked.is_some() => &mut outcome.parked,
                _ if order.next_command().is_some() => &mut outcome.open,
                State::Shipped => &mut outcome.shipped,
                State::Rejected => &mut outcome.rejected,
                State::Cancelled => &mut outcome.cancelled,
                State::Accepted
                | State::Validated
                | State::Authorized
                | State::Reserved
                | State::Paid
                | State::Releasing
                | State::Voiding
                | State::Refunding => &mut outcome.open,
            };
            *at += 1;
        }
        let mut waits = onward.remove(kind).unwrap_or_default();
        waits.sort_unstable();
        outcome.onward_p50_s = waits.get(waits.len() / 2).copied().map(seconds);
        outcome.onward_max_s = waits.last().copied().map(seconds);
    }
    outcomes
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds of one run")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// The longest waits, one of each order.
fn slowest(injected: &[Injected], rows: &[Row]) -> Vec<Slow> {
    let of_order = faults_of(injected);
    let slow = |row: &Row| {
        let faults = of_order.get(&row.order.order_id)?;
        let wait = |fault: &Injected| {
            let next = row.order.timeline.iter().find(|entry| entry.at_ms > fault.at_ms)?;
            Some(next.at_ms - fault.at_ms)
        };
        let waits = faults.iter().filter_map(|fault| Some((wait(fault)?, *fault)));
        let (waited_ms, fault) = waits.max_by_key(|(waited_ms, _)| *waited_ms)?;
        let until_ms = fault.at_ms + waited_ms;
        let within = faults.iter().filter(|other| (fault.at_ms..until_ms).contains(&other.at_ms));
        let told = within.map(|other| (seconds(other.at_ms - fault.at_ms), other.kind, other.what.clone()));
        Some(Slow {
            order_id: row.order.order_id.to_string(),
            kind: fault.kind,
            waited_s: seconds(waited_ms),
            meanwhile: told.collect(),
            story: story(row),
        })
    };
    let mut slow: Vec<Slow> = rows.iter().filter_map(slow).collect();
    slow.sort_by(|one, other| other.waited_s.total_cmp(&one.waited_s));
    slow.truncate(SHOWN);
    slow
}

/// Accepted orders that have no row, or have neither ended nor are parked with an open case.
fn lost(evidence: &Evidence) -> usize {
    let open_cases: BTreeSet<&str> =
        evidence.cases.iter().filter(|case| case.status == "open").map(|case| case.case_id.as_str()).collect();
    let is_kept = |row: &Row| match &row.order.parked {
        Some(parked) => open_cases.contains(parked.case_id.as_str()),
        None => row.order.state.is_terminal() && row.order.next_command().is_none(),
    };
    let kept: BTreeSet<OrderId> =
        evidence.rows.iter().filter(|row| is_kept(row)).map(|row| row.order.order_id).collect();
    let accepted: BTreeSet<OrderId> =
        evidence.placed.iter().filter(|placed| placed.is_accepted()).filter_map(|placed| placed.order_id).collect();
    let known: BTreeSet<OrderId> = evidence.rows.iter().map(|row| row.order.order_id).collect();
    accepted.union(&known).filter(|id| !kept.contains(id)).count()
}

/// Orders that the provider took more of than their total, whatever their rows say.
fn double_charged(evidence: &Evidence) -> usize {
    let mut taken: BTreeMap<&str, (usize, i64)> = BTreeMap::new();
    for entry in evidence.ledger.iter().filter(|entry| entry.effect == Effect::Captured) {
        let of = taken.entry(entry.order_id.as_deref().unwrap_or_default()).or_default();
        of.0 += 1;
        of.1 += entry.amount_minor.unwrap_or_default();
    }
    let total = |id: &str| {
        let row = evidence.rows.iter().find(|row| row.order.order_id.to_string() == id)?;
        i64::try_from(row.order.total?.amount_minor).ok()
    };
    taken.iter().filter(|(id, (count, amount))| *count > 1 || total(id).is_none_or(|total| *amount > total)).count()
}

/// Lines by level, function and message, without what differs from line to line.
fn logged(lines: &[String]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in lines {
        let json: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        let text = |name: &str| json.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
        let key = if json.is_object() {
            format!("{} {}: {}", text("level"), text("function"), text("message"))
        } else {
            format!("a line that is no JSON: {}", line.chars().take(120).collect::<String>())
        };
        *counts.entry(key).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{self, evidence_for_tests};

    fn report(evidence: &Evidence, injected: &[Injected]) -> Report {
        Report::new(Found {
            seed: 7,
            intensity: 1.0,
            rate: 5.0,
            driven: &Driven::default(),
            evidence,
            invariants: check::all(evidence),
            injected,
            calls: (BTreeMap::new(), 0),
            drained: Some(Duration::from_secs(9)),
            bound: Duration::from_secs(99),
        })
    }

    fn fault(kind: &'static str, at_ms: u64, orders: &[OrderId]) -> Injected {
        Injected { kind, at_ms, what: "sqs SendMessageBatch".to_owned(), orders: orders.iter().copied().collect() }
    }

    #[test]
    fn the_report_has_the_shape_of_the_issue() {
        let json = serde_json::to_value(report(&evidence_for_tests(), &[fault("aws_reset", 1, &[])])).unwrap();
        assert_eq!(json["orders"], 3);
        assert_eq!(json["faults"]["aws_reset"], 1);
        assert_eq!((&json["lost"], &json["double_charged"]), (&0.into(), &0.into()));
        for verdict in json["invariants"].as_array().unwrap() {
            assert!(verdict["id"].is_string() && verdict["holds"].is_boolean() && verdict["detail"].is_string());
        }
    }

    #[test]
    fn a_fault_is_told_with_what_became_of_its_orders() {
        let evidence = evidence_for_tests();
        let ids: Vec<OrderId> = evidence.rows.iter().map(|row| row.order.order_id).collect();
        // The first row's second event is of 2,000 ms.
        let injected = [fault("aws_reset", 1_400, &ids[..1]), fault("aws_reset", 1_500, &ids[..2])];
        let Report { outcomes, slowest, .. } = report(&evidence, &injected);
        assert_eq!((slowest[0].waited_s, slowest[0].meanwhile.len(), slowest[1].waited_s), (0.6, 2, 0.5));
        let outcome = &outcomes["aws_reset"];
        assert_eq!((outcome.count, outcome.touched, outcome.shipped, outcome.rejected), (2, 2, 1, 1));
        assert_eq!((outcome.onward_p50_s, outcome.onward_max_s), (Some(0.5), Some(0.6)));
        // The first order met two; the second only one.
        assert_eq!(outcome.alone_max_s, Some(0.5));
    }

    #[test]
    fn a_lost_order_and_a_second_charge_are_counted() {
        let mut evidence = evidence_for_tests();
        evidence.rows.remove(0);
        assert_eq!(report(&evidence, &[]).lost, 1);
        let mut evidence = evidence_for_tests();
        evidence.rows[0].order.state = State::Paid;
        assert_eq!(report(&evidence, &[]).lost, 1);
        let mut evidence = evidence_for_tests();
        let capture = evidence.ledger.iter().find(|entry| entry.effect == Effect::Captured).unwrap().clone();
        evidence.ledger.push(capture);
        let report = report(&evidence, &[]);
        assert_eq!((report.double_charged, report.holds()), (1, false));
    }
}
