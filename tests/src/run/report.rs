//! What a run found: printed as tables, written as JSON.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use order::State;
use orderflow::stack::{FUNCTIONS, StackInfo};
use serde::Serialize;

use super::drive::Journal;
use super::figures::{Figures, PerShippedOrder, Sends, StepFigures, percentile};
use super::{Cpu, Kind, Settings};
use crate::check::{Evidence, Verdict};
use crate::deployed::story;

/// How many of a list are spelt out.
const SHOWN: usize = 5;

/// Orders by where they ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Ends {
    /// Taken by the API.
    pub accepted: usize,
    /// Shipped.
    pub shipped: usize,
    /// The business said no.
    pub rejected: usize,
    /// Cancelled and undone.
    pub cancelled: usize,
    /// Waiting for an operator.
    pub parked: usize,
    /// Not ended.
    pub open: usize,
}

/// How the API answered `POST /orders`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Acceptance {
    /// Milliseconds, as the customer saw it.
    pub p50_ms: u64,
    /// Milliseconds.
    pub p95_ms: u64,
    /// Milliseconds.
    pub p99_ms: u64,
}

/// The report. Its first keys are what other tools read; the rest is detail.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Orders by where they ended.
    pub orders: Ends,
    /// See [`Figures`].
    pub orders_per_second: f64,
    /// See [`Figures`].
    pub messages_per_second: f64,
    /// By function.
    pub steps: BTreeMap<String, StepFigures>,
    /// By service.
    pub calls_per_order: BTreeMap<String, f64>,
    /// In the order of the design.
    pub invariants: Vec<Verdict>,

    /// See [`Figures`].
    pub messages_per_second_busiest_10s: f64,
    /// See [`Figures`].
    pub messages_per_second_to_the_last: f64,
    /// See [`Figures`].
    pub messages_per_second_without_archive: f64,
    /// See there.
    pub dynamodb_calls_per_shipped_order: PerShippedOrder,
    /// See there.
    pub sends: Sends,
    /// Who used the processors from the first order to the last end; none where the system does not tell.
    pub cpu: Option<Cpu>,
    /// `POST /orders`.
    pub acceptance: Acceptance,
    /// Orders that ended otherwise than they were made to.
    pub unexpected: Vec<String>,
    /// What went wrong on the customers' side.
    pub troubles: Vec<String>,
    /// What was still going on when the run was given up.
    pub stuck: Vec<String>,
    /// Dead letters that are no cases yet; empty is good.
    pub dead_letters: Vec<String>,
    /// Open cases, in words; empty is good.
    pub open_cases: Vec<String>,
    /// Warnings and errors that the functions logged; some belong to a race well ended.
    pub logged: Vec<String>,
    /// How many there were.
    pub logged_count: usize,
    /// Cancels that were taken, and that came too late.
    pub cancels: (usize, usize),
    /// Orders of each kind.
    pub kinds: BTreeMap<&'static str, usize>,
    /// Of the generator.
    pub seed: u64,
    /// Orders a second that were asked for; none for a backlog.
    pub rate: Option<f64>,
    /// Over how many seconds the orders were placed.
    pub placing_s: f64,
    /// `mixed` or `happy`.
    pub mix: &'static str,
    /// How ministack was started.
    pub launcher: String,
}

impl Report {
    pub(super) fn new(
        settings: &Settings,
        info: &StackInfo,
        journal: &Journal,
        evidence: &Evidence,
        invariants: Vec<Verdict>,
        cpu: Option<Cpu>,
    ) -> Self {
        let figures = Figures::of(journal, evidence);
        let mut kinds: BTreeMap<&'static str, usize> = BTreeMap::new();
        for order in &journal.orders {
            *kinds.entry(order.kind.name()).or_default() += 1;
        }
        let mut accept_ms = journal.accept_ms.clone();
        accept_ms.sort_unstable();
        let dead = evidence.queues.holding(true).map(|(name, depth)| format!("{name}: {}", depth.total()));
        let open = evidence.cases.iter().filter(|case| case.status == "open");
        Self {
            orders: ends(evidence),
            orders_per_second: figures.orders_per_second,
            messages_per_second: figures.messages_per_second,
            steps: figures.steps,
            calls_per_order: figures.calls_per_order,
            invariants,
            messages_per_second_busiest_10s: figures.messages_per_second_busiest,
            messages_per_second_to_the_last: figures.messages_per_second_to_the_last,
            messages_per_second_without_archive: figures.messages_per_second_without_archive,
            dynamodb_calls_per_shipped_order: figures.shipped,
            sends: figures.sends,
            cpu,
            acceptance: Acceptance {
                p50_ms: percentile(&accept_ms, 50),
                p95_ms: percentile(&accept_ms, 95),
                p99_ms: percentile(&accept_ms, 99),
            },
            unexpected: unexpected(journal, evidence, |_| true),
            troubles: journal.troubles.clone(),
            stuck: journal.stuck.clone(),
            dead_letters: dead.collect(),
            open_cases: open.map(|case| format!("{} {}: {}", case.case_id, case.fingerprint, case.digest)).collect(),
            logged: evidence.logs.troubles.iter().take(4 * SHOWN).cloned().collect(),
            logged_count: evidence.logs.troubles.len(),
            cancels: journal.cancels,
            kinds,
            seed: settings.seed,
            rate: settings.backlog.is_none().then_some(settings.rate),
            placing_s: journal.placing_s,
            mix: settings.mix.name(),
            launcher: info.launcher.to_string(),
        }
    }

    /// Whether the run is good: every invariant holds, every order ended as it was made to, nothing is left over.
    pub fn holds(&self) -> bool {
        self.invariants.iter().all(|verdict| verdict.holds)
            && self.unexpected.is_empty()
            && self.troubles.is_empty()
            && self.stuck.is_empty()
            && self.dead_letters.is_empty()
            && self.open_cases.is_empty()
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
        println!("\n{}", self.ends_table());
        println!("\n{}", self.steps_table());
        println!("\n{}", self.rates_table());
        println!("\n{}", self.invariants_table());
        for (what, list) in [
            ("ended otherwise than made to", &self.unexpected),
            ("went wrong", &self.troubles),
            ("stuck", &self.stuck),
            ("dead letters", &self.dead_letters),
            ("open case", &self.open_cases),
        ] {
            for item in list.iter().take(4 * SHOWN) {
                println!("{what}: {item}");
            }
            if list.len() > 4 * SHOWN {
                println!("{what}: and {} more", list.len() - 4 * SHOWN);
            }
        }
        if self.logged_count > 0 {
            println!("\nthe functions logged {} warnings and errors; the first:", self.logged_count);
            for line in self.logged.iter().take(SHOWN) {
                println!("  {line}");
            }
        }
    }

    fn ends_table(&self) -> Table {
        let Ends { accepted, shipped, rejected, cancelled, parked, open } = self.orders;
        let mut table = table(&["orders", "accepted", "shipped", "rejected", "cancelled", "parked", "open"]);
        let counts = [accepted, shipped, rejected, cancelled, parked, open].map(|count| right(count.to_string()));
        let mix = self.rate.map_or_else(|| "backlog".to_owned(), |rate| format!("{rate}/s"));
        let what = format!("{}, {mix}, seed {}, {} ministack", self.mix, self.seed, self.launcher);
        table.add_row(std::iter::once(Cell::new(what)).chain(counts));
        table
    }

    fn steps_table(&self) -> Table {
        let mut table = table(&["step", "messages", "failed", "p50 ms", "p95 ms", "p99 ms", "invocations", "cold"]);
        let ranked = |name: &str| FUNCTIONS.iter().position(|function| *function == name).unwrap_or(FUNCTIONS.len());
        let mut steps: Vec<(&String, &StepFigures)> = self.steps.iter().collect();
        steps.sort_by_key(|(name, _)| ranked(name));
        for (name, step) in steps {
            let StepFigures { messages, failed, p50_ms, p95_ms, p99_ms, invocations, cold_starts } = *step;
            let figures = [messages, failed, p50_ms, p95_ms, p99_ms, invocations, cold_starts];
            let figures = figures.map(|figure| right(figure.to_string()));
            table.add_row(std::iter::once(Cell::new(name)).chain(figures));
        }
        table
    }

    fn rates_table(&self) -> Table {
        let mut table = table(&["figure", "value"]);
        let shipped = &self.dynamodb_calls_per_shipped_order;
        let mut add = |what: &str, value: String| {
            table.add_row([Cell::new(what), right(value)]);
        };
        add("orders a second", format!("{:.1}", self.orders_per_second));
        add("messages a second", format!("{:.1}", self.messages_per_second));
        add("messages a second, busiest 10 s", format!("{:.1}", self.messages_per_second_busiest_10s));
        add("messages a second to the last straggler", format!("{:.1}", self.messages_per_second_to_the_last));
        add("messages a second without the archive", format!("{:.1}", self.messages_per_second_without_archive));
        let Acceptance { p50_ms, p95_ms, p99_ms } = self.acceptance;
        add("POST /orders p50 / p95 / p99 ms", format!("{p50_ms} / {p95_ms} / {p99_ms}"));
        for (service, calls) in &self.calls_per_order {
            add(&format!("{service} calls an order"), format!("{calls:.2}"));
        }
        add("dynamodb calls of a shipped order, most", shipped.max.to_string());
        add(&format!("the same, mean of {} orders", shipped.orders), format!("{:.2}", shipped.mean));
        add("sends a message (command steps)", format!("{:.3}", self.sends.per_message));
        for (function, most) in &self.sends.most_in_an_invocation {
            add(&format!("most sends in an invocation of {function}"), most.to_string());
        }
        for (function, most) in &self.sends.most_to_one_queue {
            add(&format!("the same, to one queue, of {function}"), most.to_string());
        }
        if let Some(cpu) = self.cpu {
            let Cpu { ministack_s, functions_s, sandbox_s, driver_s } = cpu;
            let seconds = format!("{ministack_s:.1} / {functions_s:.1} / {sandbox_s:.1} / {driver_s:.1}");
            add("CPU seconds of ministack / functions / sandbox / this program", seconds);
            add("ministack's share of them", format!("{:.0} %", 100.0 * cpu.ministack_share()));
        }
        add("messages in a batch (command steps)", format!("{:.2}", self.sends.mean_batch));
        table
    }

    fn invariants_table(&self) -> Table {
        let mut table = table(&["invariant", "holds", "detail"]);
        for verdict in &self.invariants {
            table.add_row([verdict.id, if verdict.holds { "yes" } else { "NO" }, verdict.detail.as_str()]);
        }
        table
    }
}

pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header);
    table
}

pub(crate) fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

pub(crate) fn ends(evidence: &Evidence) -> Ends {
    let mut ends = Ends { accepted: evidence.rows.len(), ..Ends::default() };
    for row in &evidence.rows {
        let order = &row.order;
        let at = match order.state {
            _ if order.parked.is_some() => &mut ends.parked,
            _ if order.next_command().is_some() => &mut ends.open,
            State::Shipped => &mut ends.shipped,
            State::Rejected => &mut ends.rejected,
            State::Cancelled => &mut ends.cancelled,
            State::Accepted
            | State::Validated
            | State::Authorized
            | State::Reserved
            | State::Paid
            | State::Releasing
            | State::Voiding
            | State::Refunding => &mut ends.open,
        };
        *at += 1;
    }
    ends
}

/// Orders that ended otherwise than their kind says, of those that are asked for.
pub(crate) fn unexpected(
    journal: &Journal,
    evidence: &Evidence,
    asked_for: impl Fn(order::OrderId) -> bool,
) -> Vec<String> {
    let kinds: BTreeMap<order::OrderId, Kind> =
        journal.orders.iter().map(|order| (order.order_id, order.kind)).collect();
    let otherwise = |row: &&crate::tables::Row| {
        row.order.parked.is_some() || kinds.get(&row.order.order_id).is_none_or(|kind| !kind.allows(&row.order))
    };
    let describe = |row: &crate::tables::Row| {
        let kind = kinds.get(&row.order.order_id).map_or("of no kind", |kind| kind.name());
        let reason = row.order.reason.as_ref().map(|reason| format!(", {:?}", reason.code)).unwrap_or_default();
        format!("order {} ({kind}): {}{reason}", row.order.order_id, story(row))
    };
    let asked_for = |row: &&crate::tables::Row| asked_for(row.order.order_id);
    evidence.rows.iter().filter(asked_for).filter(otherwise).map(describe).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use orderflow::stack::Launcher;

    use super::*;
    use crate::check;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        settings: Settings,
    }

    fn report(journal: &Journal, evidence: &Evidence) -> Report {
        let info = StackInfo {
            ministack_pid: 0,
            ministack_started: String::new(),
            sandbox_pid: 0,
            sandbox_started: String::new(),
            endpoint: String::new(),
            sandbox_url: String::new(),
            api_url: String::new(),
            ledger: "ledger.jsonl".into(),
            stack_name: "orderflow".to_owned(),
            outputs: BTreeMap::new(),
            launcher: Launcher::Patched,
        };
        let settings = Cli::parse_from(["run"]).settings;
        Report::new(&settings, &info, journal, evidence, check::all(evidence), None)
    }

    fn nothing() -> Evidence {
        Evidence { archived: Some(Vec::new()), ..Evidence::default() }
    }

    #[test]
    fn the_report_has_the_shape_that_others_read() {
        let json = serde_json::to_value(report(&Journal::default(), &nothing())).unwrap();
        for key in ["accepted", "shipped", "rejected", "cancelled", "parked", "open"] {
            assert_eq!(json["orders"][key], 0, "{key}");
        }
        for key in ["orders_per_second", "messages_per_second"] {
            assert!(json[key].is_f64(), "{key}");
        }
        for key in ["dynamodb", "sqs", "sns", "events", "ses"] {
            assert!(json["calls_per_order"][key].is_f64(), "{key}");
        }
        assert!(json["steps"].is_object());
        let ids: Vec<&str> =
            json["invariants"].as_array().unwrap().iter().map(|verdict| verdict["id"].as_str().unwrap()).collect();
        for id in ["I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9", "I10", "I12"] {
            assert!(ids.contains(&id), "{id}");
        }
    }

    #[test]
    fn a_run_is_good_only_if_nothing_at_all_is_wrong() {
        assert!(report(&Journal::default(), &nothing()).holds());
        let stuck = Journal { stuck: vec!["order 1".to_owned()], ..Journal::default() };
        assert!(!report(&stuck, &nothing()).holds());
        let trouble = Journal { troubles: vec!["a timeout".to_owned()], ..Journal::default() };
        assert!(!report(&trouble, &nothing()).holds());
        let broken = Evidence { archived: None, ..Evidence::default() };
        assert!(!report(&Journal::default(), &broken).holds());
        let mut dead = nothing();
        let depth = crate::queues::Depth { visible: 1, ..Default::default() };
        dead.queues.0.insert("notify-dlq.fifo".to_owned(), depth);
        assert!(!report(&Journal::default(), &dead).holds());
        let mut case = nothing();
        case.cases.push(crate::tables::CaseRow { status: "open".to_owned(), ..Default::default() });
        assert!(!report(&Journal::default(), &case).holds());
        case.cases[0].status = "superseded".to_owned();
        assert!(report(&Journal::default(), &case).holds());
    }
}
