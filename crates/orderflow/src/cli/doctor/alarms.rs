//! The stack's alarms, by CloudWatch's own judgement: what it alone knows (the age of the oldest message of a queue, how far the
//! consumers of streams are behind, errors, throttles, silence) is told by them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::ensure;
use lambda_queue::Clock as _;
use serde_json::{Value, json};

use super::Ward;
use super::finding::{Finding, Health, many};
use super::settings::{DEPLOY, MOST_TOLD};
use super::signed::Ask;

const CHECK: &str = "alarms";
const KINDS: [&str; 2] = ["AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm"];
/// Alarms of one question: CloudWatch answers no more.
const PAGE: u32 = 100;
const MOST_PAGES: usize = 20;
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html>
const DESCRIBE: &str = "GraniteServiceVersion20100801.DescribeAlarms";

/// An alarm as it stands.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Alarm {
    /// `OK`, `ALARM`, `INSUFFICIENT_DATA`.
    state: String,
    /// What it means: the template's words.
    description: String,
    /// CloudWatch's words.
    reason: String,
}

pub(super) async fn look(ward: &Ward) -> anyhow::Result<Vec<Finding>> {
    let template = ward.template().await?;
    let wanted: BTreeSet<&str> =
        KINDS.into_iter().flat_map(|kind| template.of_type(kind)).map(|(_, name)| name).collect();
    let mut live: BTreeMap<String, Alarm> = BTreeMap::new();
    let mut next = Value::Null;
    for page in 0.. {
        ensure!(page < MOST_PAGES, "there is no end of alarms");
        let mut body = json!({
            "AlarmNamePrefix": format!("{}-", ward.stack),
            "AlarmTypes": ["MetricAlarm", "CompositeAlarm"],
            "MaxRecords": PAGE,
        });
        if let (Some(body), false) = (body.as_object_mut(), next.is_null()) {
            body.insert("NextToken".to_owned(), next);
        }
        let ask = Ask { service: "monitoring", path: "/", query: Vec::new(), call: Some((DESCRIBE, body)) };
        let answer = ward.signed.ask(&ask, ward.aws.now_ms()).await?;
        live.extend(read(&answer));
        next = answer.get("NextToken").cloned().unwrap_or(Value::Null);
        if next.is_null() {
            break;
        }
    }
    Ok(judge(&wanted, &live, &ward.stack))
}

/// By name.
fn read(answer: &Value) -> Vec<(String, Alarm)> {
    let of_kind = |kind: &str| answer.get(kind).and_then(Value::as_array).into_iter().flatten();
    let alarm = |alarm: &Value| {
        let text = |name: &str| alarm.get(name).and_then(Value::as_str).map(str::to_owned);
        let (description, reason) = (text("AlarmDescription"), text("StateReason"));
        let is = Alarm {
            state: text("StateValue")?,
            description: description.unwrap_or_default(),
            reason: reason.unwrap_or_default(),
        };
        Some((text("AlarmName")?, is))
    };
    of_kind("MetricAlarms").chain(of_kind("CompositeAlarms")).filter_map(alarm).collect()
}

/// Those of the stack: a name that only begins as its alarms do is another stack's.
fn judge(wanted: &BTreeSet<&str>, live: &BTreeMap<String, Alarm>, stack: &str) -> Vec<Finding> {
    let own = |name: &str| name.strip_prefix(stack).map_or(name, |rest| rest.trim_start_matches('-')).to_owned();
    let mut findings = Vec::new();
    let (mut fine, mut blind) = (0, 0);
    for name in wanted {
        match live.get(*name) {
            None => {
                let seen = format!("the alarm {} is not there: nobody is told", own(name));
                findings.push(Finding::new(CHECK, Health::Bad, seen, DEPLOY));
            }
            Some(alarm) if alarm.state == "ALARM" => findings.push(judge_alarm(name, &own(name), alarm)),
            Some(alarm) if alarm.state == "OK" => fine += 1,
            Some(_) => blind += 1,
        }
    }
    if let Some(more) = findings.len().checked_sub(MOST_TOLD).filter(|more| *more > 0) {
        // The worst are told.
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.health));
        findings.truncate(MOST_TOLD);
        findings.push(Finding::new(CHECK, Health::Bad, format!("and {more} more"), "the console of CloudWatch"));
    }
    if !findings.is_empty() {
        return findings;
    }
    if fine == 0 {
        let seen = format!("none of {} has been judged by CloudWatch", many(wanted.len(), "alarm"));
        let advice = "a local stack judges none; on AWS it takes some minutes after a deployment";
        return vec![Finding::new(CHECK, Health::Skipped, seen, advice)];
    }
    let blind = if blind > 0 { format!(", {blind} have no data") } else { String::new() };
    vec![Finding::ok(CHECK, format!("none of {} has gone off{blind}", many(wanted.len(), "alarm")))]
}

/// That a case was opened goes off for minutes, also where it is closed again; how bad the open ones are says the check of them.
fn judge_alarm(name: &str, own: &str, alarm: &Alarm) -> Finding {
    let health = if own.starts_with("cases-") { Health::Warn } else { Health::Bad };
    let reason = if alarm.reason.is_empty() { String::new() } else { format!(" ({})", alarm.reason) };
    let seen = format!("{own} has gone off: {}{reason}", alarm.description);
    let advice =
        format!("docs/runbooks/README.md; `aws cloudwatch describe-alarm-history --alarm-name {name}` says since when");
    Finding::new(CHECK, health, seen, advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 3] = ["shop-api-5xx", "shop-cases-of-stock", "shop-recover-orders-silent"];

    fn found(states: &[(&str, &str)]) -> Vec<Finding> {
        let alarms = states.iter().map(|(name, state)| {
            json!({ "AlarmName": name, "StateValue": state, "AlarmDescription": "It is so", "StateReason": "1 > 0" })
        });
        // The last one is a composite one.
        let (mut metric, mut composite) = (alarms.collect::<Vec<_>>(), Vec::new());
        composite.extend(metric.pop());
        let live = read(&json!({ "MetricAlarms": metric, "CompositeAlarms": composite })).into_iter().collect();
        judge(&NAMES.into(), &live, "shop")
    }

    #[test]
    fn an_alarm_that_has_gone_off_is_bad_and_one_of_a_case_that_was_opened_a_warning() {
        for (at, expected) in [Health::Bad, Health::Warn, Health::Bad].into_iter().enumerate() {
            let states: Vec<(&str, &str)> =
                (0..3).map(|of| (NAMES[of], if of == at { "ALARM" } else { "OK" })).collect();
            let found = found(&states);
            assert_eq!((found.len(), found[0].health), (1, expected), "{found:?}");
            let name = NAMES[at].trim_start_matches("shop-");
            assert!(found[0].seen.starts_with(&format!("{name} has gone off: It is so (1 > 0)")), "{}", found[0].seen);
        }
    }

    #[test]
    fn another_stacks_alarms_are_none_of_this_ones() {
        let mut states = NAMES.map(|name| (name, "OK")).to_vec();
        states.push(("shop-dev-api-5xx", "ALARM"));
        assert_eq!(found(&states), [Finding::ok(CHECK, "none of 3 alarms has gone off")]);
    }

    #[test]
    fn an_alarm_that_is_gone_is_bad_and_none_that_is_judged_is_not_looked_at() {
        let found_gone = found(&[(NAMES[0], "OK"), (NAMES[2], "OK")]);
        assert_eq!((found_gone.len(), found_gone[0].health), (1, Health::Bad));
        assert!(found_gone[0].seen.contains("cases-of-stock is not there"), "{}", found_gone[0].seen);
        let blind = found(&NAMES.map(|name| (name, "INSUFFICIENT_DATA")));
        assert_eq!((blind.len(), blind[0].health), (1, Health::Skipped));
        let one = found(&[(NAMES[0], "OK"), (NAMES[1], "OK"), (NAMES[2], "INSUFFICIENT_DATA")]);
        assert_eq!(one, [Finding::ok(CHECK, "none of 3 alarms has gone off, 1 have no data")]);
        assert_eq!(judge(&BTreeSet::new(), &BTreeMap::new(), "shop")[0].health, Health::Skipped);
    }

    #[test]
    fn of_many_the_worst_are_told() {
        let names: Vec<String> =
            (0..30).map(|nth| format!("shop-cases-{nth:02}")).chain(["shop-z".to_owned()]).collect();
        let alarm = Alarm { state: "ALARM".to_owned(), ..Alarm::default() };
        let live = names.iter().map(|name| (name.clone(), alarm.clone())).collect();
        let found = judge(&names.iter().map(String::as_str).collect(), &live, "shop");
        assert_eq!((found.len(), found[MOST_TOLD].seen.as_str()), (MOST_TOLD + 1, "and 11 more"));
        assert!(found[0].seen.starts_with("z has gone off"), "{}", found[0].seen);
    }
}
