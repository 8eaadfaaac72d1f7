//! The work itself: does the API answer, what waits for a person, does the reconciliation run.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use lambda_queue::Clock as _;
use platform::Walked;
use ports::{CaseClass, StoredCase};
use reconcile_payments::{Ask, GRACE_MINUTES, WINDOW_HOURS};

use super::Ward;
use super::finding::{Finding, Health, many};
use crate::cli::case::Filter;
use crate::cli::case::show::ago;

/// Open cases that are looked at, the newest: a hundred a question, and a check has half a minute.
const MOST_CASES: usize = 10_000;

/// A scheduled run of the reconciliation.
struct Run {
    name: &'static str,
    /// How far it looks back, hours.
    window_hours: u64,
    /// How often it runs, milliseconds.
    every_ms: u64,
}

/// As the template's schedules.
const RUNS: [Run; 2] = [
    Run { name: "hourly", window_hours: WINDOW_HOURS, every_ms: 3_600_000 },
    Run { name: "daily", window_hours: 16 * 24, every_ms: 24 * 3_600_000 },
];
/// A run takes its time, milliseconds.
const RUN_MS: u64 = 900_000;

pub(super) async fn api(ward: &Ward) -> anyhow::Result<Vec<Finding>> {
    let http = reqwest::Client::builder().no_proxy().build().context("no HTTP client")?;
    let answer = http.get(format!("{}/healthz", ward.api_url)).send().await;
    let (healthy, seen) = match answer {
        Ok(answer) => (answer.status().is_success(), format!("{} answers {}", ward.api_url, answer.status())),
        Err(error) => (false, format!("{} does not answer: {error}", ward.api_url)),
    };
    if healthy {
        return Ok(vec![Finding::ok("api", seen)]);
    }
    let advice = "no order is taken: the log and errors of accept-order, then the gateway";
    Ok(vec![Finding::new("api", Health::Bad, seen, advice)])
}

pub(super) async fn cases(ward: &Ward) -> anyhow::Result<Vec<Finding>> {
    let (open, is_cut) = Filter::any().newest_open(&ward.aws, MOST_CASES).await?;
    Ok(judge_cases(&open, is_cut, ward.aws.now_ms()))
}

/// One line a step and class. What this program or its deployment is at fault for goes on until it is mended: bad. `is_cut`:
/// there may be more than these, which no person decides one by one.
fn judge_cases(open: &[StoredCase], is_cut: bool, now_ms: u64) -> Vec<Finding> {
    let mut groups: BTreeMap<(&str, &'static str), Vec<&StoredCase>> = BTreeMap::new();
    for case in open {
        groups.entry((case.case.step.as_str(), case.case.class.name())).or_default().push(case);
    }
    let at_least = if is_cut { "at least " } else { "" };
    let mut told = Vec::new();
    if is_cut {
        let seen = format!("{at_least}{} open; the newest of them are told below", many(open.len(), "case"));
        let advice =
            "one cause, most likely: `orderflow case groups --newer-than 1h`, then mend it before any is replayed";
        told.push(Finding::new("cases", Health::Bad, seen, advice));
    }
    told.extend(groups.into_iter().map(|((step, class), cases)| {
        let ours = cases.iter().any(|case| matches!(case.case.class, CaseClass::Bug | CaseClass::Skew));
        let oldest_ms = cases.iter().map(|case| case.case.opened_at_ms).min().unwrap_or(now_ms);
        let seen = format!(
            "{at_least}{} open of {step}, {class}; the oldest for {at_least}{}",
            many(cases.len(), "case"),
            ago(now_ms, oldest_ms)
        );
        let advice =
            format!("`orderflow case groups --step {step} --class {class}`, then docs/runbooks/cases.md#{class}");
        Finding::new("cases", if ours { Health::Bad } else { Health::Warn }, seen, advice)
    }));
    if told.is_empty() {
        told.push(Finding::ok("cases", "none is open"));
    }
    told
}

pub(super) async fn reconciliation(ward: &Ward) -> anyhow::Result<Vec<Finding>> {
    let described = ward.clients.cloudformation.describe_stacks().stack_name(&ward.stack).send();
    let described = described.await.context("the stack cannot be described")?;
    let created = described.stacks().first().and_then(|stack| stack.creation_time()).and_then(|at| at.to_millis().ok());
    let created_ms = created.and_then(|at| u64::try_from(at).ok());
    let mut walked = Vec::new();
    for run in &RUNS {
        let ask = Ask { window_ms: run.window_hours * 3_600_000, grace_ms: GRACE_MINUTES * 60_000, orders: None };
        let walk = ask.walk().with_context(|| format!("the {} run keeps no place", run.name))?;
        let is = ward.aws.walked(&walk).await?;
        let known = is.ended_ms.is_some() || created_ms.is_some();
        ensure!(known, "the {} run never ended, and nobody says how old the stack is", run.name);
        walked.push((run, is));
    }
    Ok(judge_reconciliation(&walked, created_ms.unwrap_or(0), ward.aws.now_ms()))
}

/// By the end of a walk: one that dies behind its first page every time keeps its place as well. One run missed is made good by
/// the next; two are not.
fn judge_reconciliation(walked: &[(&Run, Walked)], created_ms: u64, now_ms: u64) -> Vec<Finding> {
    let advice =
        "reconcile-payments: its schedule, its log (is the provider there?); `orderflow reconcile` compares now";
    let mut fine = Vec::new();
    let mut findings = Vec::new();
    for (Run { name, every_ms, .. }, walked) in walked {
        let (ended, since_ms) = match walked.ended_ms {
            Some(ended_ms) => {
                (format!("the {name} run got through the ledger {} ago", ago(now_ms, ended_ms)), ended_ms)
            }
            None => {
                let age = ago(now_ms, created_ms);
                (format!("the {name} run never got through since the stack was made, {age} ago"), created_ms)
            }
        };
        let seen = match walked.kept_ms.filter(|kept_ms| *kept_ms > since_ms) {
            Some(kept_ms) => format!("{ended}; it came on {} ago and is not through", ago(now_ms, kept_ms)),
            None => ended,
        };
        if now_ms.saturating_sub(since_ms) > 2 * every_ms + RUN_MS {
            findings.push(Finding::new("reconciliation", Health::Bad, seen, advice));
        } else {
            fine.push(seen);
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok("reconciliation", fine.join("; ")));
    }
    findings
}

#[cfg(test)]
mod tests {
    use ports::{Case, CaseKind, CaseStatus};

    use super::*;

    const NOW_MS: u64 = 1_000_000_000;

    fn case(step: &str, class: CaseClass, opened_at_ms: u64) -> StoredCase {
        StoredCase {
            case: Case {
                case_id: "case-1".parse().unwrap(),
                kind: CaseKind::DeadLetter,
                attempt: String::new(),
                row_version: 0,
                fingerprint: String::new(),
                class,
                step: step.to_owned(),
                order_id: String::new(),
                tenant: None,
                digest: String::new(),
                opened_at_ms,
                letter: None,
            },
            status: CaseStatus::Open,
            last_seen_ms: opened_at_ms,
            closed_at_ms: None,
            seen: 1,
            replays: 0,
        }
    }

    #[test]
    fn open_cases_are_told_by_step_and_class_and_our_own_fault_is_bad() {
        assert_eq!(judge_cases(&[], false, NOW_MS), [Finding::ok("cases", "none is open")]);
        let open = [
            case("payment", CaseClass::Poison, NOW_MS - 60_000),
            case("payment", CaseClass::Poison, NOW_MS - 7_200_000),
            case("stock", CaseClass::Bug, NOW_MS),
        ];
        let found = judge_cases(&open, false, NOW_MS);
        let told: Vec<_> = found.iter().map(|found| (found.health, found.seen.as_str())).collect();
        assert_eq!(
            told,
            [
                (Health::Warn, "2 cases open of payment, poison; the oldest for 2h"),
                (Health::Bad, "1 case open of stock, bug; the oldest for 0s"),
            ]
        );
        assert!(found[0].advice.contains("--step payment --class poison"), "{}", found[0].advice);
    }

    #[test]
    fn more_cases_than_are_looked_at_are_bad_whatever_they_are() {
        let open = [case("payment", CaseClass::Poison, NOW_MS - 60_000), case("stock", CaseClass::Poison, NOW_MS)];
        let found = judge_cases(&open, true, NOW_MS);
        let told: Vec<_> = found.iter().map(|found| (found.health, found.seen.as_str())).collect();
        assert_eq!(told[0], (Health::Bad, "at least 2 cases open; the newest of them are told below"));
        assert_eq!(told[1], (Health::Warn, "at least 1 case open of payment, poison; the oldest for at least 1m"));
        assert_eq!(told.len(), 3);
    }

    #[test]
    fn a_reconciliation_that_stays_away_is_bad_and_a_young_stack_has_its_time() {
        let hour_ms = 3_600_000;
        let now_ms = 100 * hour_ms;
        let [hourly, daily] = &RUNS;
        for (run, ended_ms, created_ms, expected) in [
            (hourly, Some(now_ms - hour_ms), 0, Health::Ok),
            (hourly, Some(now_ms - 3 * hour_ms), 0, Health::Bad),
            (hourly, None, now_ms - hour_ms, Health::Ok),
            (hourly, None, now_ms - 3 * hour_ms, Health::Bad),
            (daily, Some(now_ms - 30 * hour_ms), 0, Health::Ok),
            (daily, Some(now_ms - 49 * hour_ms), 0, Health::Bad),
            (daily, None, now_ms - 30 * hour_ms, Health::Ok),
        ] {
            // That it came on a minute ago helps nobody whom it did not get to.
            for kept_ms in [ended_ms, Some(now_ms - 60_000)] {
                let found = judge_reconciliation(&[(run, Walked { kept_ms, ended_ms })], created_ms, now_ms);
                assert_eq!((found.len(), found[0].health), (1, expected), "{} {ended_ms:?} {kept_ms:?}", run.name);
                assert_eq!(found[0].seen.contains("is not through"), kept_ms != ended_ms, "{}", found[0].seen);
                assert!(found[0].seen.contains(run.name), "{}", found[0].seen);
            }
        }
    }

    #[test]
    fn of_two_runs_the_one_that_stays_away_is_told() {
        let hour_ms = 3_600_000;
        let now_ms = 100 * hour_ms;
        let [hourly, daily] = &RUNS;
        let ended = |hours: u64| Walked { kept_ms: None, ended_ms: Some(now_ms - hours * hour_ms) };
        let found = judge_reconciliation(&[(hourly, ended(1)), (daily, ended(60))], 0, now_ms);
        assert_eq!((found.len(), found[0].health), (1, Health::Bad), "{found:?}");
        assert!(found[0].seen.starts_with("the daily run got through the ledger 2d ago"), "{}", found[0].seen);
        let fine = judge_reconciliation(&[(hourly, ended(1)), (daily, ended(20))], 0, now_ms);
        assert_eq!((fine.len(), fine[0].health), (1, Health::Ok));
        assert!(fine[0].seen.contains("hourly") && fine[0].seen.contains("daily"), "{}", fine[0].seen);
    }
}
