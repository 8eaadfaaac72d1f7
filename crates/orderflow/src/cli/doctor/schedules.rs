//! The schedules: whether they are there, and on. What they start (recovery, the breakers' control, the reconciliation) is missed by
//! what it leaves undone, but late.

use std::collections::BTreeMap;

use anyhow::ensure;
use lambda_queue::Clock as _;
use serde_json::Value;

use super::Ward;
use super::finding::{Finding, Health, many};
use super::settings::DEPLOY;
use super::signed::Ask;
use super::template::{Told, text};

const CHECK: &str = "schedules";
const SCHEDULE: &str = "AWS::Scheduler::Schedule";
/// As a schedule is of which nobody says otherwise.
const ENABLED: &str = "ENABLED";
const MOST_PAGES: usize = 20;

/// A schedule as the template has it.
struct Wanted<'a> {
    name: &'a str,
    state: String,
}

pub(super) async fn look(ward: &Ward) -> anyhow::Result<Vec<Finding>> {
    let template = ward.template().await?;
    let wanted = template.of_type(SCHEDULE).map(|(logical, name)| {
        let state = match template.property(logical, "State") {
            Told::Value(state) => text(&state),
            Told::Nothing | Told::Unknown => ENABLED.to_owned(),
        };
        Wanted { name, state }
    });
    let wanted: Vec<Wanted<'_>> = wanted.collect();
    let mut live: BTreeMap<String, String> = BTreeMap::new();
    let mut next: Option<String> = None;
    for page in 0.. {
        ensure!(page < MOST_PAGES, "there is no end of schedules");
        // <https://docs.aws.amazon.com/scheduler/latest/APIReference/API_ListSchedules.html>
        let mut query = vec![("NamePrefix", format!("{}-", ward.stack)), ("MaxResults", "100".to_owned())];
        query.extend(next.map(|next| ("NextToken", next)));
        let ask = Ask { service: "scheduler", path: "/schedules", query, call: None };
        let answer = ward.signed.ask(&ask, ward.aws.now_ms()).await?;
        live.extend(read(&answer));
        next = answer.get("NextToken").and_then(Value::as_str).map(str::to_owned);
        if next.is_none() {
            break;
        }
    }
    Ok(judge(&wanted, &live, &ward.stack))
}

/// States by name.
fn read(answer: &Value) -> Vec<(String, String)> {
    let all = answer.get("Schedules").and_then(Value::as_array).into_iter().flatten();
    let text = |schedule: &Value, name: &str| schedule.get(name).and_then(Value::as_str).map(str::to_owned);
    all.filter_map(|schedule| Some((text(schedule, "Name")?, text(schedule, "State")?))).collect()
}

fn judge(wanted: &[Wanted<'_>], live: &BTreeMap<String, String>, stack: &str) -> Vec<Finding> {
    let judged = wanted.iter().filter_map(|Wanted { name, state }| {
        let own = name.strip_prefix(stack).map_or(*name, |rest| rest.trim_start_matches('-'));
        match live.get(*name) {
            Some(is) if is == state => None,
            Some(is) if is == ENABLED => {
                let seen = format!("the schedule {own} is on, and the template says {state}");
                Some(Finding::new(CHECK, Health::Warn, seen, DEPLOY))
            }
            Some(_) => {
                let seen = format!("the schedule {own} is off: what it starts does not run");
                let advice = format!(
                    "turn it on again in the console, or with `aws scheduler update-schedule --name {name}`, which wants all \
                     that `get-schedule` shows"
                );
                Some(Finding::new(CHECK, Health::Bad, seen, advice))
            }
            None => {
                let seen = format!("the schedule {own} is not there: what it starts does not run");
                Some(Finding::new(CHECK, Health::Bad, seen, DEPLOY))
            }
        }
    });
    let mut findings: Vec<Finding> = judged.collect();
    if wanted.is_empty() {
        let seen = "the template has none: nothing is recovered by itself";
        findings.push(Finding::new(CHECK, Health::Bad, seen, DEPLOY));
    } else if findings.is_empty() {
        findings.push(Finding::ok(CHECK, format!("{}, as the template says", many(wanted.len(), "schedule"))));
    }
    findings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(schedules: &Value) -> Vec<Finding> {
        let wanted = ["shop-recover-orders", "shop-control-breakers"].map(|name| (name, ENABLED));
        let wanted = [&wanted[..], &[("shop-old", "DISABLED")]].concat();
        let wanted: Vec<Wanted<'_>> =
            wanted.into_iter().map(|(name, state)| Wanted { name, state: state.to_owned() }).collect();
        judge(&wanted, &read(&json!({ "Schedules": schedules })).into_iter().collect(), "shop")
    }

    #[test]
    fn a_schedule_that_is_off_or_gone_is_bad_and_one_that_should_be_off_is_not() {
        let schedule = |name: &str, state: &str| json!({ "Name": format!("shop-{name}"), "State": state });
        let (recover, control) = (schedule("recover-orders", "ENABLED"), schedule("control-breakers", "ENABLED"));
        let old = schedule("old", "DISABLED");
        // Another stack's, whose name begins with this one's.
        let other = schedule("dev-recover-orders", "DISABLED");
        let fine = found(&json!([recover, control, old, other]));
        assert_eq!(fine, [Finding::ok(CHECK, "3 schedules, as the template says")]);
        for (schedules, health, seen) in [
            (json!([schedule("recover-orders", "DISABLED"), control, old]), Health::Bad, "recover-orders is off"),
            (json!([recover, old]), Health::Bad, "control-breakers is not there"),
            (json!([recover, control, schedule("old", "ENABLED")]), Health::Warn, "old is on"),
        ] {
            let found = found(&schedules);
            assert_eq!((found.len(), found[0].health), (1, health), "{found:?}");
            assert!(found[0].seen.contains(seen), "{}", found[0].seen);
        }
        assert_eq!(judge(&[], &BTreeMap::new(), "shop")[0].health, Health::Bad);
    }
}
