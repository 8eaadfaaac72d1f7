//! `orderflow lane status`: how late each lane is, and whether the API takes orders for it. It reads what the consumers told, as
//! the API does, and judges by the same code; how many wait is asked of the queues themselves.

use std::io::Write as _;

use anyhow::Context;
use clap::{Args, Subcommand};
use lambda_queue::Clock as _;
use lambda_queue::lag::Word;
use order::{Lane, Step};
use platform::Aws;
use ports::{Deadlines, LaneRows, ReadLanes as _, queue_name};
use serde::Serialize;

use super::output::{out, table};
use super::target::{Outputs, Target};
use crate::stack::{Clients, queue_depths};

/// Lanes.
#[derive(Debug, Subcommand)]
pub(super) enum LaneCommand {
    /// Show each lane, step by step: lag, backlog, pace, what a new order would wait, and whether it would be taken
    Status(Status),
}

#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    target: Target,
}

pub(super) async fn run(command: LaneCommand, json: bool) -> anyhow::Result<()> {
    let LaneCommand::Status(what) = command;
    let (clients, outputs) = what.target.resolve().await?;
    let shown = look(&what.target.aws().await?, &clients, &outputs, &what.target.name()?).await?;
    if json {
        writeln!(out(), "{}", serde_json::to_string_pretty(&shown)?)?;
        return Ok(());
    }
    print(&shown)
}

/// Every lane of a stack, as it stands now.
pub(super) async fn look(
    aws: &Aws,
    clients: &Clients,
    outputs: &Outputs,
    stack: &str,
) -> anyhow::Result<Vec<LaneStatus>> {
    let seconds = |output: &str| -> anyhow::Result<u64> {
        let text = outputs.output(output)?;
        let seconds: u64 = text.parse().with_context(|| format!("the stack's output {output} is no number: {text}"))?;
        Ok(seconds * 1_000)
    };
    let deadlines = Deadlines {
        express_ms: seconds("ExpressDeadlineSeconds")?,
        standard_ms: seconds("StandardDeadlineSeconds")?,
        bulk_ms: seconds("BulkDeadlineSeconds")?,
    };
    let rows = aws.read_lanes().await.context("what was told of the lanes cannot be read")?;
    let queues = queue_depths(clients, stack).await?;
    let depth = |step, lane| {
        let queue = format!("{stack}-{}", queue_name(step, lane));
        queues.iter().find(|depth| depth.name == queue).map(|depth| (depth.visible, depth.in_flight))
    };
    Ok(shown(&deadlines, &rows, depth, aws.now_ms()))
}

/// A lane as `--json` prints it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct LaneStatus {
    pub(super) lane: &'static str,
    /// Whether the API takes new orders for it. It looks every two seconds.
    pub(super) accepted: bool,
    /// What a new order would wait.
    pub(super) estimated_wait_ms: u64,
    /// `null`: it has none, and is never shed.
    pub(super) deadline_ms: Option<u64>,
    /// Until the estimate is below the deadline, as it looks; 0 where the lane is accepted.
    pub(super) shed_for_ms: u64,
    /// The lane on whose account it is shed: itself, or one above; `null` where it is accepted.
    pub(super) late_lane: Option<&'static str>,
    pub(super) steps: Vec<StepStatus>,
}

/// A step of it. What it told counts while it is at most half a minute old.
#[derive(Clone, Debug, Serialize)]
pub(super) struct StepStatus {
    pub(super) step: &'static str,
    /// What it told is young enough to count.
    pub(super) fresh: bool,
    /// Whom it calls is away or just back: whatever it told does not count.
    pub(super) recovering: bool,
    pub(super) lag_ms: Option<u64>,
    pub(super) told_ms_ago: Option<u64>,
    /// In its queue now.
    pub(super) visible: Option<u64>,
    /// Received now, and neither done nor given back.
    pub(super) in_flight: Option<u64>,
    /// Acknowledged in the last half minute, by all processes.
    pub(super) done_per_second: f64,
    /// What it does while it is late; `null`: it is not, or not for long enough.
    pub(super) capacity_per_second: Option<f64>,
    /// Its part of the estimate; `null`: nothing is known.
    pub(super) wait_ms: Option<u64>,
}

fn shown(
    deadlines: &Deadlines,
    rows: &LaneRows,
    held: impl Fn(Step, Lane) -> Option<(u64, u64)>,
    now_ms: u64,
) -> Vec<LaneStatus> {
    let shed = deadlines.shed(|lane| rows.estimate(lane, now_ms).wait_ms);
    let of_lane = |lane: Lane| {
        let estimated = rows.estimate(lane, now_ms);
        let of_step = |step: Step| {
            let word = rows.lanes.get(&lane).and_then(|row| row.steps.get(step.name()));
            let late = word.filter(|word| word.is_late(now_ms) && word.is_fresh(now_ms));
            let (visible, in_flight) = held(step, lane).unzip();
            StepStatus {
                step: step.name(),
                fresh: word.is_some_and(|word| word.is_fresh(now_ms)),
                recovering: rows.is_recovering(step, now_ms),
                lag_ms: word.map(|word| word.lag_ms),
                told_ms_ago: word.map(|word| now_ms.saturating_sub(word.at_ms)),
                visible,
                in_flight,
                done_per_second: word.and_then(|word| word.pace(now_ms)).map_or(0.0, |pace| pace.per_second()),
                capacity_per_second: late.and_then(Word::capacity).map(|pace| pace.per_second()),
                wait_ms: estimated.steps.iter().find(|of| of.step == step).and_then(|of| of.wait_ms),
            }
        };
        LaneStatus {
            lane: lane.name(),
            accepted: !shed.contains_key(&lane),
            estimated_wait_ms: estimated.wait_ms,
            deadline_ms: deadlines.of(lane),
            shed_for_ms: shed.get(&lane).map_or(0, |shed| shed.over_ms),
            late_lane: shed.get(&lane).map(|shed| shed.late.name()),
            steps: Step::ALL.map(of_step).into(),
        }
    };
    Lane::ALL.map(of_lane).into()
}

fn print(lanes: &[LaneStatus]) -> anyhow::Result<()> {
    let mut rows = table();
    rows.set_header(["lane", "step", "lag", "told", "waiting", "done/s", "can do/s", "wait", "deadline", "new orders"]);
    let of = |ms: Option<u64>| ms.map_or_else(String::new, time);
    for lane in lanes {
        for step in &lane.steps {
            let told = of(step.told_ms_ago);
            rows.add_row([
                lane.lane.to_owned(),
                step.step.to_owned(),
                of(step.lag_ms),
                match (step.fresh, step.recovering) {
                    (_, true) => "provider away or just back: does not count".to_owned(),
                    (false, _) if !told.is_empty() => format!("{told} ago: does not count"),
                    _ => told,
                },
                step.visible.map_or_else(String::new, |visible| visible.to_string()),
                format!("{:.1}", step.done_per_second),
                step.capacity_per_second.map_or_else(String::new, |rate| format!("{rate:.1}")),
                of(step.wait_ms),
                String::new(),
                String::new(),
            ]);
        }
        let orders = match lane.late_lane {
            None => "accepted".to_owned(),
            Some(late) if late == lane.lane => format!("shed, {} more", time(lane.shed_for_ms)),
            Some(late) => format!("shed for {late}, {} more", time(lane.shed_for_ms)),
        };
        let empty = String::new;
        rows.add_row([
            lane.lane.to_owned(),
            "all".to_owned(),
            empty(),
            empty(),
            empty(),
            empty(),
            empty(),
            time(lane.estimated_wait_ms),
            lane.deadline_ms.map_or_else(|| "none".to_owned(), time),
            orders,
        ]);
    }
    writeln!(out(), "{rows}")?;
    Ok(())
}

/// Short: what matters is the magnitude.
pub(super) fn time(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0 => format!("{ms} ms"),
        1..=119 => format!("{seconds}.{} s", ms % 1_000 / 100),
        120..=7_199 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lambda_queue::breaker;
    use lambda_queue::lag::{Row, SLOT_MS};
    use ports::Dependency;

    use super::*;

    #[test]
    fn a_lane_is_shown_step_by_step_and_judged_as_the_api_does() {
        let now_ms = 2_000 * SLOT_MS;
        let slots = |count: u64| (1_990..=2_000).map(|slot| (slot, count)).collect();
        let late = Word {
            lag_ms: 9_000,
            at_ms: now_ms - 1_000,
            depth: Some(1_200),
            done: slots(5),
            late: slots(5),
            ..Word::default()
        };
        let old = Word { lag_ms: 5, at_ms: now_ms - 40_000, ..Word::default() };
        let steps = [("payment", late), ("stock", old)].map(|(step, word)| (step.to_owned(), word));
        let mut carrier = breaker::Row::absent("carrier");
        carrier.changed_at_ms = now_ms - 1_000;
        let rows = LaneRows {
            lanes: BTreeMap::from([(Lane::Standard, Row { steps: steps.into() })]),
            breakers: BTreeMap::from([(Dependency::Carrier, carrier)]),
        };
        let deadlines = Deadlines { express_ms: 60_000, standard_ms: 300_000, bulk_ms: 0 };
        let shown = shown(
            &deadlines,
            &rows,
            |step, lane| (lane == Lane::Standard && step == Step::Stock).then_some((3, 2)),
            now_ms,
        );
        let all: Vec<_> = shown
            .iter()
            .map(|of| (of.lane, of.accepted, of.estimated_wait_ms, of.deadline_ms, of.shed_for_ms))
            .collect();
        assert_eq!(
            all,
            [
                ("express", true, 0, Some(60_000), 0),
                ("standard", false, 2_399_000, Some(300_000), 2_099_000),
                ("bulk", true, 0, None, 0),
            ],
            "a lane without a deadline is never shed"
        );
        let [validate, payment, stock, shipping] = shown[1].steps.as_slice() else { panic!("four steps") };
        assert!(shipping.recovering && !payment.recovering && !stock.recovering);
        assert_eq!((validate.fresh, validate.lag_ms, validate.wait_ms), (false, None, None));
        assert_eq!((payment.lag_ms, payment.told_ms_ago), (Some(9_000), Some(1_000)));
        assert_eq!((payment.capacity_per_second, payment.wait_ms), (Some(1.0), Some(2_399_000)));
        assert_eq!(payment.done_per_second, 1.0);
        assert_eq!(
            (stock.fresh, stock.told_ms_ago, stock.visible, stock.in_flight, stock.wait_ms),
            (false, Some(40_000), Some(3), Some(2), None)
        );
    }

    #[test]
    fn times_are_short() {
        for (ms, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_250, "1.2 s"),
            (119_000, "119.0 s"),
            (600_000, "10 min"),
            (9_000_000, "2 h"),
        ] {
            assert_eq!(time(ms), text);
        }
    }
}
