//! The work itself: does the API answer, what waits for a person, what is late, does the reconciliation run.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use futures::future::try_join_all;
use lambda_queue::Clock as _;
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
    let shards = (0..SHARDS).map(|shard| ward.aws.find_due(shard, before_ms, MOST_OF_SHARD, None));
    let rows: Vec<DueRow> = try_join_all(shards).await?.into_iter().flatten().collect();
    Ok(vec![judge_overdue(&rows, now_ms)])
}

/// Orders whose command nobody has carried out, nor sent again.
fn judge_overdue(rows: &[DueRow], now_ms: u64) -> Finding {
    let Some(latest) = rows.iter().min_by_key(|row| row.due_at_ms) else {
        return Finding::ok("overdue", "no order is late");
    };
    let late_ms = now_ms.saturating_sub(latest.due_at_ms);
    let seen = format!(
        "{} owed for longer than {} s; {} for {}",
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
    let last_ms = ward.aws.place_kept_at(&walk).await?;
    let described = ward.clients.cloudformation.describe_stacks().stack_name(&ward.stack).send();
    let described = described.await.context("the stack cannot be described")?;
    let created = described.stacks().first().and_then(|stack| stack.creation_time()).and_then(|at| at.to_millis().ok());
    let created_ms = created.and_then(|at| u64::try_from(at).ok());
    ensure!(last_ms.is_some() || created_ms.is_some(), "it never ran, and nobody says how old the stack is");
    Ok(vec![judge_reconciliation(last_ms, created_ms.unwrap_or(0), ward.aws.now_ms())])
}

fn judge_reconciliation(last_ms: Option<u64>, created_ms: u64, now_ms: u64) -> Finding {
    let advice =
        "reconcile-payments: its schedule, its log (is the provider there?); `orderflow reconcile` compares now";
    let (seen, since_ms) = match last_ms {
        Some(last_ms) => (format!("the hourly run came on {} ago", ago(now_ms, last_ms)), last_ms),
        None => (format!("it has not run since the stack was made, {} ago", ago(now_ms, created_ms)), created_ms),
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
        assert_eq!(judge_overdue(&[row("a", 200_000)], NOW_MS).health, Health::Warn);
        let found = judge_overdue(&[row("a", 200_000), row("b", 600_000)], NOW_MS);
        assert_eq!(found.health, Health::Bad);
        assert!(found.seen.starts_with("2 orders") && found.seen.contains("b for 10m"), "{}", found.seen);
        assert!(found.advice.contains("nudge b"), "{}", found.advice);
    }

    #[test]
    fn a_reconciliation_that_stays_away_is_bad_and_a_young_stack_has_its_time() {
        let hour_ms = 3_600_000;
        for (last_ms, created_ms, expected) in [
            (Some(NOW_MS - hour_ms), 0, Health::Ok),
            (Some(NOW_MS - 3 * hour_ms), 0, Health::Bad),
            (None, NOW_MS - hour_ms, Health::Ok),
            (None, NOW_MS - 3 * hour_ms, Health::Bad),
        ] {
            assert_eq!(judge_reconciliation(last_ms, created_ms, NOW_MS).health, expected, "{last_ms:?}");
        }
    }
}
