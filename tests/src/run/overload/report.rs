//! What came out: express with the backlog beside express without, and what bulk keeps.

use std::collections::{BTreeMap, HashSet};

use order::{EventKind, Lane};
use serde::Serialize;

use super::super::bounds::{Figure, all_hold, at_ms, left_over, print_end, seconds};
use super::super::drive::Journal;
use super::super::figures::percentile;
use super::{Door, Settings};
use crate::check::{self, Evidence, Verdict};
use crate::logs::RecordLine;
use crate::tables::Row;

/// The functions that work on commands, in the order in which an order meets them.
const STEPS: [&str; 4] = ["validate-order", "process-payment", "reserve-stock", "ship-order"];
/// How much later express may be behind a backlog than without one, milliseconds.
const BEYOND_MS: f64 = 2_000.0;
/// The least of the throughput that bulk keeps while express runs, per cent.
const BULK_SHARE: f64 = 10.0;

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

impl Report {
    #[allow(clippy::cast_precision_loss, reason = "figures of a run are far below 2^52")]
    pub(super) fn of(settings: &Settings, launcher: &str, measured: Measured<'_>, evidence: &Evidence) -> Self {
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
            let measured = behind.count > 0 && alone.count > 0;
            figures.push(Figure::at_most(what, "ms", beyond, BEYOND_MS).only_if(measured));
        }
        let (alone, behind_all) = (of_orders(&evidence.rows, &alone), of_orders(&evidence.rows, &behind_ids));
        express.push(Compared { what: "order".to_owned(), alone, behind: behind_all });

        let to_ms = behind.placed.iter().map(|placed| placed.at_ms).max().unwrap_or(from_ms);
        let commands_done = commands(records, from_ms, to_ms);
        let share = bulk_share(&commands_done);
        let refused = behind.placed.iter().filter(|placed| !placed.is_accepted()).count();
        figures.extend([
            Figure::at_least("bulk's share of the commands done while express orders came", "%", share, BULK_SHARE),
            Figure::at_least("bulk orders turned away once they would wait too long", "orders", door.shed as f64, 1.0),
            Figure::at_most("express orders turned away", "orders", refused as f64, 0.0),
        ]);

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
        troubles.extend(left_over(evidence));
        let invariants = check::all(evidence);
        let holds = all_hold(&figures, &invariants, &troubles);
        Self {
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

    pub(super) fn print(&self) {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
        table.set_header(["express", "alone: count", "p50 ms", "p95 ms", "behind: count", "p50 ms", "p95 ms"]);
        for Compared { what, alone, behind } in &self.express {
            let cells = [alone, behind].map(|of| [of.count.to_string(), of.p50_ms.to_string(), of.p95_ms.to_string()]);
            table.add_row([what.clone()].into_iter().chain(cells.into_iter().flatten()));
        }
        println!("\n{table}\n");
        for figure in &self.figures {
            println!("{figure}");
        }
        println!(
            "backlog of {} placed in {:.1} s, {} left when the last express order came; commands done meanwhile: {:?}",
            self.backlog, self.placing_s, self.backlog_left, self.commands_done
        );
        let time = |ms: Option<u64>| ms.map_or_else(|| "never".to_owned(), |ms| format!("after {:.1} s", seconds(ms)));
        let Door { taken, shed, first_shed_after_ms, open_again_after_ms, retry_after_s } = &self.door;
        println!(
            "bulk with a tight deadline: {taken} taken, {shed} turned away, first {}, open again {}; Retry-After {:?} to {:?} s",
            time(*first_shed_after_ms),
            time(*open_again_after_ms),
            retry_after_s.iter().min().copied().unwrap_or_default(),
            retry_after_s.iter().max().copied().unwrap_or_default(),
        );
        print_end(&self.invariants, &self.troubles);
    }
}

pub(super) struct Measured<'a> {
    pub(super) alone: &'a Journal,
    pub(super) behind: &'a Journal,
    /// When the express orders behind the backlog began.
    pub(super) from_ms: u64,
    pub(super) placing_s: f64,
    pub(super) door: Door,
    pub(super) troubles: Vec<String>,
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
