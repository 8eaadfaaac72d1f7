//! Orders that do not move. What is due and nobody looks at says that recovery is dead. What recovery has sent again and again says
//! that a step is: each time it moves `due_at` on, so such an order is never late.

use anyhow::Context as _;
use futures::future::try_join_all;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use lambda_queue::Clock as _;
use order::{Command, Lane, OrderId};
use platform::Aws;
use ports::{DueRow, FindDue as _, LaneRows, LoadOrder as _, MAX_NUDGES, ReadLanes as _, StoreError};

use super::Ward;
use super::finding::{Finding, Health, many};
use crate::cli::case::show::ago;

const CHECK: &str = "overdue";
/// Shards of the index of open orders.
const SHARDS: u16 = 16;
/// Rows of one question to the index, which has keys only.
const PAGE: u32 = 1_000;
/// Open orders of a shard that are counted at most.
const MOST_OF_SHARD: usize = 5_000;
/// Orders of a shard that are read: those due last. One that moves is due within a minute; later are those that recovery has sent
/// again, or that it puts off behind a breaker.
const READ_OF_SHARD: usize = 20;
/// Orders that are read at once.
const AT_ONCE: usize = 16;
/// Nothing is put off for longer than a quarter of an hour, milliseconds.
const AHEAD_MS: u64 = 3_600_000;
/// `recover-orders` comes each minute: what is later than this was missed twice, milliseconds.
const LATE_MS: u64 = 150_000;
/// What is later than this nobody recovers, milliseconds.
const TOO_LATE_MS: u64 = 300_000;
/// An order that was sent again so often has not moved for four minutes.
const STUCK: u32 = 3;

pub(super) async fn look(ward: &Ward) -> anyhow::Result<Vec<Finding>> {
    let now_ms = ward.aws.now_ms();
    let shards = try_join_all((0..SHARDS).map(|shard| open(&ward.aws, shard, now_ms))).await?;
    let read = shards.iter().flat_map(|rows| rows.iter().rev().take(READ_OF_SHARD));
    let read = stream::iter(read).map(|row| stuck(&ward.aws, row)).buffer_unordered(AT_ONCE);
    let read: Vec<Option<Stuck>> = read.try_collect().await?;
    let stuck: Vec<Stuck> = read.into_iter().flatten().collect();
    // Whoever is at work on a backlog gets to them.
    let lanes = if stuck.is_empty() {
        LaneRows::default()
    } else {
        ward.aws.read_lanes().await.context("whether their steps work cannot be read")?
    };
    Ok(judge(&shards, &stuck, |stuck| is_waiting(stuck, &lanes, now_ms), now_ms))
}

/// The open orders of a shard, by when they are due.
async fn open(aws: &Aws, shard: u16, now_ms: u64) -> anyhow::Result<Vec<DueRow>> {
    let mut rows: Vec<DueRow> = Vec::new();
    while rows.len() < MOST_OF_SHARD {
        let page = aws.find_due(shard, now_ms.saturating_add(AHEAD_MS), PAGE, rows.last()).await?;
        let is_last = u32::try_from(page.len()).is_ok_and(|count| count < PAGE);
        rows.extend(page);
        if is_last {
            break;
        }
    }
    Ok(rows)
}

/// An order that was sent again in vain.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Stuck {
    key: String,
    nudges: u32,
    lane: Lane,
    owes: Command,
}

/// `None` where it moves, or has moved since.
async fn stuck(aws: &Aws, row: &DueRow) -> Result<Option<Stuck>, StoreError> {
    // A row that is none of ours is set aside by recovery, with a case.
    let Ok(id) = row.key.parse::<OrderId>() else { return Ok(None) };
    let order = match aws.load_order(id).await {
        Ok(order) => order,
        Err(StoreError::Unreadable(_)) => None,
        Err(error @ (StoreError::NotDone(_) | StoreError::Unknown(_))) => return Err(error),
    };
    Ok(order.filter(|order| order.nudges >= STUCK).and_then(|order| {
        let owes = order.next_command()?;
        Some(Stuck { key: row.key.clone(), nudges: order.nudges, lane: order.lane, owes })
    }))
}

/// Whether it only waits its turn: in a backlog that is being worked off, or for a provider that is away or just back.
fn is_waiting(stuck: &Stuck, lanes: &LaneRows, now_ms: u64) -> bool {
    let step = stuck.owes.step();
    let word = lanes.lanes.get(&stuck.lane).and_then(|row| row.steps.get(step.name()));
    let is_worked_off =
        word.is_some_and(|word| word.is_fresh(now_ms) && word.is_late(now_ms) && word.pace(now_ms).is_some());
    is_worked_off || lanes.is_recovering(step, now_ms)
}

fn judge(shards: &[Vec<DueRow>], stuck: &[Stuck], waits: impl Fn(&Stuck) -> bool, now_ms: u64) -> Vec<Finding> {
    // Of a list that is cut nobody knows how it goes on.
    let at_least = if shards.iter().any(|shard| shard.len() >= MOST_OF_SHARD) { "at least " } else { "" };
    let (waiting, dead): (Vec<&Stuck>, Vec<&Stuck>) = stuck.iter().partition(|stuck| waits(stuck));
    let mut findings: Vec<Finding> = judge_late(shards, at_least, now_ms).into_iter().collect();
    findings.extend(judge_dead(&dead));
    findings.extend(judge_waiting(&waiting));
    if findings.is_empty() {
        let open = shards.iter().map(Vec::len).sum();
        findings.push(Finding::ok(CHECK, format!("no order is late: {at_least}{} open", many(open, "order"))));
    }
    findings
}

/// Orders whose command nobody has carried out, nor sent again.
fn judge_late(shards: &[Vec<DueRow>], at_least: &str, now_ms: u64) -> Option<Finding> {
    let late: Vec<&DueRow> =
        shards.iter().flatten().filter(|row| now_ms.saturating_sub(row.due_at_ms) > LATE_MS).collect();
    let latest = late.iter().min_by_key(|row| row.due_at_ms)?;
    let seen = format!(
        "{at_least}{} owed for longer than {} s; {} for {}",
        many(late.len(), "order"),
        LATE_MS / 1_000,
        latest.key,
        ago(now_ms, latest.due_at_ms)
    );
    let advice = format!(
        "does recover-orders run? Its log and schedule; `orderflow order timeline {0}`, then `orderflow order nudge {0} \
         --reason ...`",
        latest.key
    );
    let health = if now_ms.saturating_sub(latest.due_at_ms) > TOO_LATE_MS { Health::Bad } else { Health::Warn };
    Some(Finding::new(CHECK, health, seen, advice))
}

fn told(stuck: &[&Stuck]) -> Option<(String, String)> {
    let worst = stuck.iter().max_by_key(|stuck| stuck.nudges)?;
    let seen = format!(
        "at least {} sent again {STUCK} times and more; {} of {} {} times, for {}",
        many(stuck.len(), "order"),
        worst.key,
        worst.lane,
        worst.nudges,
        worst.owes.name()
    );
    Some((seen, worst.key.clone()))
}

fn judge_dead(stuck: &[&Stuck]) -> Option<Finding> {
    let (seen, key) = told(stuck)?;
    let advice = format!(
        "its step gets nowhere: `orderflow trace {key}` tells what it met; the function's log, its errors, its mapping. After \
         {MAX_NUDGES} times an order is parked with a case"
    );
    Some(Finding::new(CHECK, Health::Bad, format!("{seen}, in vain"), advice))
}

fn judge_waiting(stuck: &[&Stuck]) -> Option<Finding> {
    let (seen, _) = told(stuck)?;
    let seen = format!("{seen}: behind a backlog that is being worked off, or a provider that is away or just back");
    let advice = "`orderflow lane status`, `orderflow breaker list`: they go on once it is their turn";
    Some(Finding::new(CHECK, Health::Warn, seen, advice))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lambda_queue::breaker;
    use lambda_queue::lag::{Row, SLOT_MS, Word};
    use ports::Dependency;

    use super::*;

    const NOW_MS: u64 = 200_000 * SLOT_MS;

    fn late(key: &str, late_ms: u64) -> DueRow {
        DueRow { key: key.to_owned(), due_at_ms: NOW_MS - late_ms }
    }

    fn stuck(key: &str, nudges: u32) -> Stuck {
        Stuck { key: key.to_owned(), nudges, lane: Lane::Bulk, owes: Command::CapturePayment }
    }

    #[test]
    fn an_order_that_nobody_recovers_is_bad_and_a_late_one_a_warning() {
        let judge = |shards: &[Vec<DueRow>]| judge(shards, &[], |_| false, NOW_MS).remove(0);
        assert_eq!(judge(&[]).health, Health::Ok);
        let open = judge(&[vec![late("a", 0)], vec![DueRow { key: "b".to_owned(), due_at_ms: NOW_MS + 60_000 }]]);
        assert_eq!(open, Finding::ok(CHECK, "no order is late: 2 orders open"));
        assert_eq!(judge(&[vec![late("a", 200_000)]]).health, Health::Warn);
        let found = judge(&[vec![], vec![late("a", 200_000)], vec![late("b", 600_000), late("c", 0)]]);
        assert_eq!(found.health, Health::Bad);
        assert!(found.seen.starts_with("2 orders owed") && found.seen.contains("b for 10m"), "{}", found.seen);
        assert!(found.advice.contains("nudge b"), "{}", found.advice);
        let full: Vec<DueRow> = (0..MOST_OF_SHARD).map(|_| late("c", 200_000)).collect();
        let found = judge(&[full, vec![late("a", 200_000)]]);
        assert!(found.seen.starts_with("at least 5001 orders"), "{}", found.seen);
    }

    #[test]
    fn an_order_that_is_sent_again_in_vain_is_bad_though_it_is_never_late() {
        // Recovery has just sent it, and looks again in a quarter of an hour.
        let shards = [vec![DueRow { key: "b".to_owned(), due_at_ms: NOW_MS + 900_000 }]];
        let found = judge(&shards, &[stuck("a", 3), stuck("b", 7)], |_| false, NOW_MS);
        assert_eq!((found.len(), found[0].health), (1, Health::Bad), "{found:?}");
        let seen = &found[0].seen;
        assert!(seen.contains("2 orders") && seen.contains("b of bulk 7 times, for payment.capture"), "{seen}");
        assert!(found[0].advice.contains("orderflow trace b"), "{}", found[0].advice);
        // Those whose turn only has not come are told apart.
        let found = judge(&shards, &[stuck("a", 3), stuck("b", 7)], |stuck| stuck.key == "a", NOW_MS);
        let told: Vec<_> = found.iter().map(|found| (found.health, found.seen.contains("1 order sent"))).collect();
        assert_eq!(told, [(Health::Bad, true), (Health::Warn, true)], "{found:?}");
    }

    #[test]
    fn who_waits_in_a_backlog_or_for_a_provider_that_is_away_only_waits() {
        let slot = NOW_MS / SLOT_MS;
        let late = Word { lag_ms: 9_000, at_ms: NOW_MS, done: BTreeMap::from([(slot, 4)]), ..Word::default() };
        let waits = |word: Option<Word>, breaker: Option<breaker::State>| {
            let steps = word.into_iter().map(|word| ("payment".to_owned(), word)).collect();
            let row = |state| {
                let mut row = breaker::Row::absent("payment");
                row.state = state;
                row
            };
            let lanes = LaneRows {
                lanes: BTreeMap::from([(Lane::Bulk, Row { steps })]),
                breakers: breaker.map(|state| (Dependency::Payment, row(state))).into_iter().collect(),
            };
            is_waiting(&stuck("a", 5), &lanes, NOW_MS)
        };
        assert!(waits(Some(late.clone()), None));
        assert!(!waits(None, None), "nothing is heard of the step");
        assert!(!waits(Some(Word { done: BTreeMap::new(), ..late.clone() }), None), "nothing is done");
        assert!(!waits(Some(Word { at_ms: NOW_MS - 40_000, ..late.clone() }), None), "nothing is heard any more");
        assert!(!waits(Some(Word { lag_ms: 10, ..late }), None), "there is no backlog: this order is stuck by itself");
        assert!(waits(None, Some(breaker::State::Open)));
        assert!(!waits(None, Some(breaker::State::Closed)));
    }
}
