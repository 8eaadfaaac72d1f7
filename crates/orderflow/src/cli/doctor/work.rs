//! The work itself: does the API answer, what waits for a person, what is late, does the reconciliation run.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use futures::future::try_join_all;
use lambda_queue::Clock as _;
use platform::Walked;
use ports::{CaseClass, DueRow, FindDue as _, StoredCase};
use reconcile_payments::{Ask, GRACE_MINUTES, WINDOW_HOURS};

use super::Ward;
use super::finding::{Finding, Health, many};
use crate::cli::case::show::ago;
use crate::cli::case::{Filter, Status};

/// Shards of the index of open orders.
const SHARDS: u16 = 16;
/// Orders of a shard that are counted at most.
const MOST_OF_SHARD: u32 = 100;
/// `recover-orders` comes each minute: what is later than this was missed twice, milliseconds.
const LATE_MS: u64 = 150_000;
/// What is later than this nobody recovers, milliseconds.
const TOO_LATE_MS: u64 = 300_000;
/// The reconciliation runs each hour; twice missed is missed, milliseconds.
const RECONCILED_MS: u64 = 2 * 3_600_000 + 900_000;

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
    let open = Filter::any().find(&ward.aws, Status::Open, usize::MAX).await?;
    Ok(judge_cases(&open, ward.aws.now_ms()))
}

/// One line a step and class. What this program or its deployment is at fault for goes on until it is mended: bad.
fn judge_cases(open: &[StoredCase], now_ms: u64) -> Vec<Finding> {
    let mut groups: BTreeMap<(&str, &'static str), Vec<&StoredCase>> = BTreeMap::new();
    for case in open {
        groups.entry((case.case.step.as_str(), case.case.class.name())).or_default().push(case);
    }
    if groups.is_empty() {
        return vec![Finding::ok("cases", "none is open")];
    }
    let told = groups.into_iter().map(|((step, class), cases)| {
        let ours = cases.iter().any(|case| matches!(case.case.class, CaseClass::Bug | CaseClass::Skew));
        let oldest_ms = cases.iter().map(|case| case.case.opened_at_ms).min().unwrap_or(now_ms);
        let seen =
            format!("{} open of {step}, {class}; the oldest for {}", many(cases.len(), "case"), ago(now_ms, oldest_ms));
        let advice =
            format!("`orderflow case groups --step {step} --class {class}`, then docs/runbooks/cases.md#{class}");
        Finding::new("cases", if ours { Health::Bad } else { Health::Warn }, seen, advice)
    });
    told.collect()
}

pub(super) async fn overdue(ward: &Ward) -> anyhow::Result<Vec<Finding>> {
    let now_ms = ward.aws.now_ms();
    let before_ms = now_ms.saturating_sub(LATE_MS);
    let shards = (0..SHARDS).map(|shard| ward.aws.find_due(shard, 0..before_ms, MOST_OF_SHARD, None));
    Ok(vec![judge_overdue(&try_join_all(shards).await?, now_ms)])
}

/// Orders whose command nobody has carried out, nor sent again; a list a shard.
fn judge_overdue(shards: &[Vec<DueRow>], now_ms: u64) -> Finding {
    let rows: Vec<&DueRow> = shards.iter().flatten().collect();
    // Of a full list nobody knows how it goes on.
    let is_cut = shards.iter().any(|shard| shard.len() >= usize::try_from(MOST_OF_SHARD).unwrap_or(usize::MAX));
    let Some(latest) = rows.iter().min_by_key(|row| row.due_at_ms) else {
        return Finding::ok("overdue", "no order is late");
    };
    let late_ms = now_ms.saturating_sub(latest.due_at_ms);
    let seen = format!(
        "{}{} owed for longer than {} s; {} for {}",
        if is_cut { "at least " } else { "" },
        many(rows.len(), "order"),
        LATE_MS / 1_000,
        latest.key,
        ago(now_ms, latest.due_at_ms)
    );
    let advice = format!(
        "does recover-orders run? Its log and schedule; `orderflow order timeline {0}`, then `orderflow order nudge {0}`",
        latest.key
    );
    let health = if late_ms > TOO_LATE_MS { Health::Bad } else { Health::Warn };
    Finding::new("overdue", health, seen, advice)
}

pub(super) async fn reconciliation(ward: &Ward) -> anyhow::Result<Vec<Finding>> {
    // The hourly run's.
    let ask = Ask { window_ms: WINDOW_HOURS * 3_600_000, grace_ms: GRACE_MINUTES * 60_000, orders: None };
    let walk = ask.walk().context("the hourly run keeps no place")?;
    let walked = ward.aws.walked(&walk).await?;
    let described = ward.clients.cloudformation.describe_stacks().stack_name(&ward.stack).send();
    let described = described.await.context("the stack cannot be described")?;
    let created = described.stacks().first().and_then(|stack| stack.creation_time()).and_then(|at| at.to_millis().ok());
    let created_ms = created.and_then(|at| u64::try_from(at).ok());
    ensure!(walked.ended_ms.is_some() || created_ms.is_some(), "it never ended, and nobody says how old the stack is");
    Ok(vec![judge_reconciliation(walked, created_ms.unwrap_or(0), ward.aws.now_ms())])
}

/// By the end of a walk: one that dies behind its first page every hour keeps its place as well.
fn judge_reconciliation(walked: Walked, created_ms: u64, now_ms: u64) -> Finding {
    let advice =
        "reconcile-payments: its schedule, its log (is the provider there?); `orderflow reconcile` compares now";
    let (ended, since_ms) = match walked.ended_ms {
        Some(ended_ms) => (format!("the hourly run got through the ledger {} ago", ago(now_ms, ended_ms)), ended_ms),
        None => (format!("it never got through since the stack was made, {} ago", ago(now_ms, created_ms)), created_ms),
    };
    let seen = match walked.kept_ms.filter(|kept_ms| *kept_ms > since_ms) {
        Some(kept_ms) => format!("{ended}; it came on {} ago and is not through", ago(now_ms, kept_ms)),
        None => ended,
    };
    if now_ms.saturating_sub(since_ms) > RECONCILED_MS {
        return Finding::new("reconciliation", Health::Bad, seen, advice);
    }
    Finding::ok("reconciliation", seen)
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
        assert_eq!(judge_cases(&[], NOW_MS), [Finding::ok("cases", "none is open")]);
        let open = [
            case("payment", CaseClass::Poison, NOW_MS - 60_000),
            case("payment", CaseClass::Poison, NOW_MS - 7_200_000),
            case("stock", CaseClass::Bug, NOW_MS),
        ];
        let found = judge_cases(&open, NOW_MS);
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
    fn an_order_that_nobody_recovers_is_bad_and_a_late_one_a_warning() {
        let row = |key: &str, late_ms: u64| DueRow { key: key.to_owned(), due_at_ms: NOW_MS - late_ms };
        assert_eq!(judge_overdue(&[], NOW_MS).health, Health::Ok);
        assert_eq!(judge_overdue(&[vec![row("a", 200_000)]], NOW_MS).health, Health::Warn);
        let found = judge_overdue(&[vec![], vec![row("a", 200_000)], vec![row("b", 600_000)]], NOW_MS);
        assert_eq!(found.health, Health::Bad);
        assert!(found.seen.starts_with("2 orders") && found.seen.contains("b for 10m"), "{}", found.seen);
        assert!(found.advice.contains("nudge b"), "{}", found.advice);
        let full: Vec<DueRow> = (0..MOST_OF_SHARD).map(|_| row("c", 200_000)).collect();
        let found = judge_overdue(&[full, vec![row("a", 200_000)]], NOW_MS);
        assert!(found.seen.starts_with("at least 101 orders"), "{}", found.seen);
    }

    #[test]
    fn a_reconciliation_that_stays_away_is_bad_and_a_young_stack_has_its_time() {
        let hour_ms = 3_600_000;
        for (ended_ms, created_ms, expected) in [
            (Some(NOW_MS - hour_ms), 0, Health::Ok),
            (Some(NOW_MS - 3 * hour_ms), 0, Health::Bad),
            (None, NOW_MS - hour_ms, Health::Ok),
            (None, NOW_MS - 3 * hour_ms, Health::Bad),
        ] {
            // That it came on a minute ago helps nobody whom it did not get to.
            for kept_ms in [ended_ms, Some(NOW_MS - 60_000)] {
                let found = judge_reconciliation(Walked { kept_ms, ended_ms }, created_ms, NOW_MS);
                assert_eq!(found.health, expected, "{ended_ms:?} {kept_ms:?}");
                assert_eq!(found.seen.contains("is not through"), kept_ms != ended_ms, "{}", found.seen);
            }
        }
    }
}
