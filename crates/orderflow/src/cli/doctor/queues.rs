//! What waits in the queues, at one look and where something does at a second one. How old the oldest message is SQS tells to
//! CloudWatch alone; that orders wait for too long is seen by their rows ([`super::overdue`]) and by what their steps tell
//! ([`super::lanes`]), and of mails and the archive, which have neither, by a backlog that does not get smaller.
//!
//! SQS counts are approximate, and may be so for up to a minute: two looks some seconds apart say what to watch, and nothing that is
//! certain. [`PATIENT`] ones do.
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html>

use std::time::Duration;

use anyhow::Context as _;
use lambda_queue::Clock as _;
use order::{Lane, Step};
use ports::{LaneRows, ReadLanes as _, queue_name};

use super::Ward;
use super::finding::{Finding, Health, many};
use crate::stack::{QueueDepth, depths, queue_urls};

const CHECK: &str = "queues";
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Between two looks with `--patient`: counts have settled by then.
const PATIENT: Duration = Duration::from_secs(60);
/// Messages that wait for a consumer: fewer are no backlog, as they come and go.
const BACKLOG: u64 = 10;

/// How long the second look is waited for.
pub(super) fn pause(patient: bool) -> Duration {
    if patient { PATIENT } else { LOOK_AGAIN }
}

pub(super) async fn look(ward: &Ward) -> anyhow::Result<Vec<Finding>> {
    let urls = queue_urls(&ward.clients, &ward.stack).await?;
    let first = depths(&ward.clients, &urls).await?;
    if !first.iter().any(is_suspect) {
        return Ok(judge(&first, &[], |_| false, &ward.stack, ward.patient));
    }
    tokio::time::sleep(pause(ward.patient)).await;
    let again = depths(&ward.clients, &urls).await?;
    let lanes = ward.aws.read_lanes().await.context("what was told of the lanes cannot be read")?;
    let now_ms = ward.aws.now_ms();
    Ok(judge(&first, &again, |queue| is_on_time(queue, &lanes, now_ms), &ward.stack, ward.patient))
}

/// Whether the consumer of a queue has just told that it keeps up: what is in it then is what comes and goes. Of those that tell
/// nothing (notify, archive) nobody knows.
fn is_on_time(queue: &str, lanes: &LaneRows, now_ms: u64) -> bool {
    let mut all = Lane::ALL.into_iter().flat_map(|lane| Step::ALL.map(|step| (lane, step)));
    let Some((lane, step)) = all.find(|(lane, step)| queue_name(*step, *lane) == queue) else { return false };
    let word = lanes.lanes.get(&lane).and_then(|row| row.steps.get(step.name()));
    word.is_some_and(|word| word.is_fresh(now_ms) && !word.is_late(now_ms))
}

fn is_dead_letters(name: &str) -> bool {
    name.trim_end_matches(".fifo").ends_with("-dlq")
}

fn held(queue: &QueueDepth) -> u64 {
    queue.visible + queue.in_flight + queue.delayed
}

/// Whether a second look is needed.
fn is_suspect(queue: &QueueDepth) -> bool {
    if is_dead_letters(&queue.name) { held(queue) > 0 } else { queue.visible >= BACKLOG }
}

/// `again`: the second look, where there was one. `is_on_time`: of a queue by its own name.
fn judge(
    first: &[QueueDepth],
    again: &[QueueDepth],
    is_on_time: impl Fn(&str) -> bool,
    stack: &str,
    patient: bool,
) -> Vec<Finding> {
    if first.is_empty() {
        let seen = format!("the stack {stack} has no queues");
        return vec![Finding::new(CHECK, Health::Bad, seen, "deploy it again: README.md")];
    }
    let apart = pause(patient).as_secs();
    let mut findings = Vec::new();
    for queue in first.iter().filter(|queue| is_suspect(queue)) {
        let Some(later) = again.iter().find(|later| later.name == queue.name) else { continue };
        let name = own(queue, stack);
        if is_dead_letters(&queue.name) {
            findings.extend(judge_letters(name, held(queue), held(later), apart, patient));
        } else if later.visible >= queue.visible && !is_on_time(name) {
            let (then, now) = (queue.visible, later.visible);
            let seen = format!(
                "{now} messages wait in {name} and do not get fewer: {then} {apart} s before, by SQS's estimate"
            );
            let advice = format!(
                "its function's log, errors and concurrency, its mapping; `orderflow queue list` in a while{}",
                if patient { "" } else { ", or `orderflow doctor --patient`" }
            );
            // Of some seconds it says little; a minute is longer than counts lag, and than a step takes.
            findings.push(Finding::new(CHECK, if patient { Health::Bad } else { Health::Warn }, seen, advice));
        }
    }
    findings.push(Finding::ok(CHECK, told(first, stack)));
    findings
}

/// Triage takes a letter at once. One that is there at two looks is a hint; as many as before after a minute is none any more.
fn judge_letters(name: &str, then: u64, now: u64, apart: u64, patient: bool) -> Option<Finding> {
    if now == 0 {
        return None;
    }
    let letters = many(usize::try_from(now).unwrap_or(usize::MAX), "dead letter");
    let peek = format!("`orderflow queue peek {name}` shows them");
    if patient && now >= then {
        let seen = format!("{letters} in {name}, and {then} {apart} s before: no cases are made of them");
        let advice = format!("triage is broken: its mapping, its log, its errors (docs/runbooks/cases.md); {peek}");
        return Some(Finding::new(CHECK, Health::Bad, seen, advice));
    }
    let seen = format!("{letters} in {name} at two looks {apart} s apart, by SQS's estimate");
    let advice = if patient {
        format!("they get fewer: look again; {peek}")
    } else {
        format!("triage may be behind, or broken: `orderflow doctor --patient` looks for a minute; {peek}")
    };
    Some(Finding::new(CHECK, Health::Warn, seen, advice))
}

/// Its name without the stack's.
fn own<'a>(queue: &'a QueueDepth, stack: &str) -> &'a str {
    queue.name.strip_prefix(stack).map_or(queue.name.as_str(), |rest| rest.trim_start_matches('-'))
}

fn told(depths: &[QueueDepth], stack: &str) -> String {
    let waiting: Vec<&QueueDepth> =
        depths.iter().filter(|queue| !is_dead_letters(&queue.name) && held(queue) > 0).collect();
    let Some(deepest) = waiting.iter().max_by_key(|queue| held(queue)) else {
        return format!("{}, nothing waits", many(depths.len(), "queue"));
    };
    let all: u64 = waiting.iter().map(|queue| held(queue)).sum();
    let QueueDepth { visible, in_flight, delayed, .. } = deepest;
    format!(
        "{all} messages in {} of {}; most in {}: {visible} wait, {in_flight} in flight, {delayed} delayed",
        waiting.len(),
        many(depths.len(), "queue"),
        own(deepest, stack)
    )
}

#[cfg(test)]
mod tests {
    use lambda_queue::lag::{Row, Word};

    use super::*;

    fn queue(name: &str, visible: u64, in_flight: u64) -> QueueDepth {
        QueueDepth { name: format!("shop-{name}"), visible, in_flight, delayed: 0 }
    }

    fn health(first: QueueDepth, again: QueueDepth, patient: bool) -> Health {
        judge(&[first], &[again], |_| false, "shop", patient)[0].health
    }

    #[test]
    fn what_waits_is_told_and_is_no_trouble_by_itself() {
        let all = [queue("payment-bulk", 40, 2), queue("payment-dlq", 0, 0), queue("notify.fifo", 1, 0)];
        let again = [queue("payment-bulk", 39, 2), queue("payment-dlq", 0, 0), queue("notify.fifo", 5, 0)];
        let found = judge(&all, &again, |_| false, "shop", false);
        let told = "43 messages in 2 of 3 queues; most in payment-bulk: 40 wait, 2 in flight, 0 delayed";
        assert_eq!(found, [Finding::ok(CHECK, told)]);
    }

    #[test]
    fn a_backlog_that_does_not_get_smaller_is_a_warning_after_seconds_and_bad_after_a_minute_in_every_queue() {
        for name in ["notify.fifo", "archive", "payment-bulk"] {
            for (patient, expected) in [(false, Health::Warn), (true, Health::Bad)] {
                let (then, now) = ([queue(name, BACKLOG, 0)], [queue(name, BACKLOG, 0)]);
                let found = judge(&then, &now, |_| false, "shop", patient);
                assert_eq!(found[0].health, expected, "{name}");
                let seen = &found[0].seen;
                assert!(seen.starts_with("10 messages wait in ") && seen.contains(name), "{seen}");
                assert_eq!(
                    health(queue(name, BACKLOG, 0), queue(name, BACKLOG - 1, 9), patient),
                    Health::Ok,
                    "it moves"
                );
                assert_eq!(
                    health(queue(name, BACKLOG - 1, 0), queue(name, BACKLOG, 0), patient),
                    Health::Ok,
                    "too few"
                );
                // A busy queue whose consumer keeps up is never empty.
                let busy = judge(&then, &now, |queue| queue == name, "shop", patient);
                assert_eq!(busy[0].health, Health::Ok, "{name}");
            }
        }
    }

    #[test]
    fn a_queue_is_on_time_where_its_own_step_has_just_said_so() {
        let now_ms = 1_000_000;
        let word = |lag_ms: u64, at_ms: u64| Word { lag_ms, at_ms, ..Word::default() };
        let lanes = |word: Word| LaneRows {
            lanes: [(Lane::Bulk, Row { steps: [("payment".to_owned(), word)].into() })].into(),
            ..LaneRows::default()
        };
        let fine = lanes(word(100, now_ms - 1_000));
        assert!(is_on_time("payment-bulk", &fine, now_ms));
        for other in ["payment-express", "stock-bulk", "notify.fifo", "archive", "payment-dlq"] {
            assert!(!is_on_time(other, &fine, now_ms), "{other}");
        }
        assert!(!is_on_time("payment-bulk", &lanes(word(9_000, now_ms - 1_000)), now_ms), "it is late");
        assert!(!is_on_time("payment-bulk", &lanes(word(100, now_ms - 40_000)), now_ms), "that was long ago");
    }

    #[test]
    fn dead_letters_are_a_hint_after_seconds_and_bad_where_a_minute_takes_none_away() {
        for name in ["payment-dlq", "notify-dlq.fifo"] {
            let found = judge(&[queue(name, 0, 1)], &[queue(name, 1, 0)], |_| false, "shop", false);
            assert_eq!((found[0].health, found.len()), (Health::Warn, 2), "{name}");
            assert!(
                found[0].seen.starts_with("1 dead letter in ") && found[0].seen.contains(name),
                "{}",
                found[0].seen
            );
            assert!(found[0].advice.contains(&format!("queue peek {name}")), "{}", found[0].advice);
            assert!(!found[0].advice.contains("is broken"), "{}", found[0].advice);
            assert_eq!(health(queue(name, 3, 0), queue(name, 3, 0), true), Health::Bad);
            assert_eq!(health(queue(name, 3, 0), queue(name, 2, 0), true), Health::Warn, "they are taken");
            assert_eq!(health(queue(name, 3, 0), queue(name, 0, 0), true), Health::Ok);
        }
    }

    #[test]
    fn a_stack_without_queues_is_no_healthy_one() {
        assert_eq!(judge(&[], &[], |_| false, "shop", false)[0].health, Health::Bad);
    }
}
