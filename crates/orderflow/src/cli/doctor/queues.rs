//! What waits in the queues, at one look and where something does at a second one. How old the oldest message is SQS tells to
//! CloudWatch alone; that orders wait for too long is seen by their `due_at` ([`super::work::overdue`]), and of mails and the
//! archive, which have none, by a backlog that does not get smaller.
//!
//! SQS counts are approximate, and may be so for up to a minute: two looks some seconds apart say what to watch, and nothing that is
//! certain. [`PATIENT`] ones do.
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html>

use std::time::Duration;

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
    let again = if first.iter().any(is_suspect) {
        tokio::time::sleep(pause(ward.patient)).await;
        depths(&ward.clients, &urls).await?
    } else {
        Vec::new()
    };
    Ok(judge(&first, &again, &ward.stack, ward.patient))
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

/// `again`: the second look, where there was one.
fn judge(first: &[QueueDepth], again: &[QueueDepth], stack: &str, patient: bool) -> Vec<Finding> {
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
        } else if later.visible >= queue.visible {
            let (then, now) = (queue.visible, later.visible);
            let seen = format!(
                "{now} messages wait in {name} and do not get fewer: {then} {apart} s before, by SQS's estimate"
            );
            let advice = format!(
                "its function's log, errors and concurrency, its mapping; `orderflow queue list` in a while{}",
                if patient { "" } else { ", or `orderflow doctor --patient`" }
            );
            findings.push(Finding::new(CHECK, Health::Warn, seen, advice));
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
    use super::*;

    fn queue(name: &str, visible: u64, in_flight: u64) -> QueueDepth {
        QueueDepth { name: format!("shop-{name}"), visible, in_flight, delayed: 0 }
    }

    fn health(first: QueueDepth, again: QueueDepth, patient: bool) -> Health {
        judge(&[first], &[again], "shop", patient)[0].health
    }

    #[test]
    fn what_waits_is_told_and_is_no_trouble_by_itself() {
        let all = [queue("payment-bulk", 40, 2), queue("payment-dlq", 0, 0), queue("notify.fifo", 1, 0)];
        let again = [queue("payment-bulk", 39, 2), queue("payment-dlq", 0, 0), queue("notify.fifo", 5, 0)];
        let found = judge(&all, &again, "shop", false);
        let told = "43 messages in 2 of 3 queues; most in payment-bulk: 40 wait, 2 in flight, 0 delayed";
        assert_eq!(found, [Finding::ok(CHECK, told)]);
    }

    #[test]
    fn a_backlog_that_does_not_get_smaller_is_a_warning_in_every_queue() {
        for name in ["notify.fifo", "archive", "payment-bulk"] {
            let found = judge(&[queue(name, BACKLOG, 0)], &[queue(name, BACKLOG, 0)], "shop", false);
            assert_eq!(found[0].health, Health::Warn, "{name}");
            assert!(
                found[0].seen.starts_with("10 messages wait in ") && found[0].seen.contains(name),
                "{}",
                found[0].seen
            );
            assert_eq!(health(queue(name, BACKLOG, 0), queue(name, BACKLOG - 1, 9), false), Health::Ok, "it moves");
            assert_eq!(health(queue(name, BACKLOG - 1, 0), queue(name, BACKLOG, 0), false), Health::Ok, "too few");
        }
    }

    #[test]
    fn dead_letters_are_a_hint_after_seconds_and_bad_where_a_minute_takes_none_away() {
        for name in ["payment-dlq", "notify-dlq.fifo"] {
            let found = judge(&[queue(name, 0, 1)], &[queue(name, 1, 0)], "shop", false);
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
        assert_eq!(judge(&[], &[], "shop", false)[0].health, Health::Bad);
    }
}
