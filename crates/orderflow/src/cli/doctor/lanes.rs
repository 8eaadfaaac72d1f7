//! How late the lanes are: by what their consumers told, judged as the API does (`orderflow lane status`). A step that has come to
//! a standstill, one of which nothing is heard while messages wait, and a lane that cannot keep its deadline.

use super::Ward;
use super::finding::{Finding, Health};
use crate::cli::lane::{self, LaneStatus, StepStatus, time};

const CHECK: &str = "lanes";
/// Messages in a queue of whose step nothing is heard: fewer come and go between two words.
const SILENT: u64 = 10;

pub(super) async fn look(ward: &Ward) -> anyhow::Result<Vec<Finding>> {
    Ok(judge(&lane::look(&ward.aws, &ward.clients, &ward.outputs, &ward.stack).await?))
}

fn judge(lanes: &[LaneStatus]) -> Vec<Finding> {
    let findings: Vec<Finding> = lanes
        .iter()
        .flat_map(|lane| {
            let steps = lane.steps.iter().filter_map(|step| judge_step(lane.lane, step));
            steps.chain(judge_deadline(lane, lanes))
        })
        .collect();
    if !findings.is_empty() {
        return findings;
    }
    let waits: Vec<String> =
        lanes.iter().map(|lane| format!("{} in {}", time(lane.estimated_wait_ms), lane.lane)).collect();
    vec![Finding::ok(CHECK, format!("a new order would wait {}", waits.join(", ")))]
}

/// `None` where it works, or is let rest as its provider is away.
fn judge_step(lane: &str, step: &StepStatus) -> Option<Finding> {
    let name = step.step;
    let (visible, in_flight) = (step.visible.unwrap_or(0), step.in_flight.unwrap_or(0));
    let told = format!("{visible} wait, {in_flight} in flight");
    if step.recovering {
        return None;
    }
    let look =
        format!("its function's log and errors; `orderflow lane status`, then `orderflow case list --step {name}`");
    if !step.fresh {
        // A consumer that dies with its messages leaves them in flight, not in the queue.
        return (visible + in_flight >= SILENT).then(|| {
            let seen = format!("nothing is heard of {name} of {lane} for half a minute: {told}");
            let advice = format!("does its function run? Its mapping, its log and errors; {look}");
            Finding::new(CHECK, Health::Warn, seen, advice)
        });
    }
    let is_still = step.capacity_per_second.is_some_and(|rate| rate <= 0.0) && step.wait_ms.is_some_and(|ms| ms > 0);
    is_still.then(|| {
        let seen = format!("{name} of {lane} stands still: nothing is done of what comes to it, {told}");
        Finding::new(CHECK, Health::Bad, seen, look)
    })
}

/// `None` unless it is this lane that is too late; those that are shed with it are named with it.
fn judge_deadline(lane: &LaneStatus, all: &[LaneStatus]) -> Option<Finding> {
    let deadline_ms = lane.deadline_ms.filter(|_| lane.late_lane == Some(lane.lane))?;
    let shed: Vec<&str> = all.iter().filter(|one| one.late_lane == Some(lane.lane)).map(|one| one.lane).collect();
    let seen = format!(
        "a new order of {} would wait {}, and its deadline is {}: new orders of {} are turned away",
        lane.lane,
        time(lane.estimated_wait_ms),
        time(deadline_ms),
        shed.join(", ")
    );
    let advice = "`orderflow lane status` says which step is too slow, docs/overload.md what to do about it";
    Some(Finding::new(CHECK, Health::Bad, seen, advice))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &'static str) -> StepStatus {
        StepStatus {
            step: name,
            fresh: true,
            recovering: false,
            lag_ms: Some(100),
            told_ms_ago: Some(1_000),
            visible: Some(0),
            in_flight: Some(0),
            done_per_second: 1.0,
            capacity_per_second: None,
            wait_ms: Some(100),
        }
    }

    fn lane(name: &'static str, late_lane: Option<&'static str>, steps: Vec<StepStatus>) -> LaneStatus {
        LaneStatus {
            lane: name,
            accepted: late_lane.is_none(),
            estimated_wait_ms: 400_000,
            deadline_ms: Some(300_000),
            shed_for_ms: 100_000,
            late_lane,
            steps,
        }
    }

    fn health_of(step: StepStatus) -> Health {
        judge(&[lane("bulk", None, vec![step])])[0].health
    }

    #[test]
    fn lanes_that_keep_up_are_told_with_their_wait() {
        let found = judge(&[lane("express", None, vec![step("stock")]), lane("bulk", None, Vec::new())]);
        assert_eq!(found, [Finding::ok(CHECK, "a new order would wait 6 min in express, 6 min in bulk")]);
    }

    #[test]
    fn a_lane_over_its_deadline_is_bad_once_with_all_that_are_shed_for_it() {
        let lanes = [lane("express", None, Vec::new()), lane("standard", Some("standard"), Vec::new())];
        let found = judge(&[&lanes[..], &[lane("bulk", Some("standard"), Vec::new())]].concat());
        assert_eq!((found.len(), found[0].health), (1, Health::Bad), "{found:?}");
        let seen = &found[0].seen;
        assert!(seen.contains("6 min") && seen.contains("5 min") && seen.ends_with("standard, bulk are turned away"));
        assert!(found[0].advice.contains("lane status"), "{}", found[0].advice);
    }

    #[test]
    fn a_step_at_a_standstill_is_bad_and_one_that_is_only_slow_is_not() {
        let still =
            StepStatus { capacity_per_second: Some(0.0), wait_ms: Some(1), visible: Some(3), ..step("payment") };
        let found = judge(&[lane("bulk", None, vec![still.clone()])]);
        assert_eq!(found[0].health, Health::Bad);
        assert!(found[0].seen.starts_with("payment of bulk stands still"), "{}", found[0].seen);
        for fine in [
            StepStatus { capacity_per_second: Some(0.1), ..still.clone() },
            StepStatus { wait_ms: Some(0), ..still.clone() },
            // Its provider is away: it is let rest, and the breakers say so.
            StepStatus { recovering: true, wait_ms: None, ..still },
        ] {
            assert_eq!(health_of(fine), Health::Ok);
        }
    }

    #[test]
    fn a_step_of_which_nothing_is_heard_is_told_where_messages_wait_for_it_or_are_with_it() {
        let silent = StepStatus { fresh: false, lag_ms: None, told_ms_ago: None, wait_ms: None, ..step("stock") };
        let with =
            |visible, in_flight| StepStatus { visible: Some(visible), in_flight: Some(in_flight), ..silent.clone() };
        assert_eq!(
            [(0, 0), (9, 0), (10, 0), (0, 10)].map(|(visible, in_flight)| health_of(with(visible, in_flight))),
            [Health::Ok, Health::Ok, Health::Warn, Health::Warn,]
        );
        assert_eq!(health_of(StepStatus { recovering: true, ..with(50, 0) }), Health::Ok);
        assert_eq!(health_of(StepStatus { visible: None, in_flight: None, ..silent.clone() }), Health::Ok);
    }
}
