//! What waits in the queues. How old the oldest message is SQS tells to CloudWatch alone; that orders wait for too long is
//! seen by their `due_at` ([`super::work::overdue`]).

use std::time::Duration;

use super::Ward;
use super::finding::{Finding, Health, many};
use crate::stack::{QueueDepth, queue_depths};

const CHECK: &str = "queues";
/// Triage takes a letter at once: one that is seen twice, so far apart, is not taken.
const LOOK_AGAIN: Duration = Duration::from_secs(4);

pub(super) async fn look(ward: &Ward) -> anyhow::Result<Vec<Finding>> {
    let mut depths = queue_depths(&ward.clients, &ward.stack).await?;
    if depths.iter().any(|queue| is_dead_letters(&queue.name) && held(queue) > 0) {
        tokio::time::sleep(LOOK_AGAIN).await;
        let again = queue_depths(&ward.clients, &ward.stack).await?;
        for queue in depths.iter_mut().filter(|queue| is_dead_letters(&queue.name)) {
            // Empty in either look: they come and go.
            let later = again.iter().find(|later| later.name == queue.name);
            if later.is_none_or(|later| held(later) == 0) {
                (queue.visible, queue.in_flight, queue.delayed) = (0, 0, 0);
            }
        }
    }
    Ok(judge(&depths, &ward.stack))
}

fn is_dead_letters(name: &str) -> bool {
    name.trim_end_matches(".fifo").ends_with("-dlq")
}

fn held(queue: &QueueDepth) -> u64 {
    queue.visible + queue.in_flight + queue.delayed
}

/// Dead letters that stay are bad: nobody makes cases of them. What waits elsewhere is told, and is no trouble by itself.
fn judge(depths: &[QueueDepth], stack: &str) -> Vec<Finding> {
    if depths.is_empty() {
        let seen = format!("the stack {stack} has no queues");
        return vec![Finding::new(CHECK, Health::Bad, seen, "deploy it again: README.md")];
    }
    let own = |queue: &QueueDepth| {
        let name = queue.name.strip_prefix(stack).map(|rest| rest.trim_start_matches('-'));
        name.unwrap_or(&queue.name).to_owned()
    };
    let mut findings: Vec<Finding> = depths
        .iter()
        .filter(|queue| is_dead_letters(&queue.name) && held(queue) > 0)
        .map(|queue| {
            let seen = format!("{} are not made cases of in {}", many_letters(held(queue)), own(queue));
            let advice = format!(
                "triage is broken: its mapping, its log, its errors (docs/runbooks/cases.md); \
                 `orderflow queue peek {}` shows them",
                own(queue)
            );
            Finding::new(CHECK, Health::Bad, seen, advice)
        })
        .collect();
    let waiting: Vec<&QueueDepth> =
        depths.iter().filter(|queue| !is_dead_letters(&queue.name) && held(queue) > 0).collect();
    let seen = match waiting.iter().max_by_key(|queue| held(queue)) {
        None => format!("{}, nothing waits", many(depths.len(), "queue")),
        Some(deepest) => {
            let all: u64 = waiting.iter().map(|queue| held(queue)).sum();
            let QueueDepth { visible, in_flight, delayed, .. } = deepest;
            format!(
                "{all} messages in {} of {}; most in {}: {visible} wait, {in_flight} in flight, {delayed} delayed",
                waiting.len(),
                many(depths.len(), "queue"),
                own(deepest)
            )
        }
    };
    findings.push(Finding::ok(CHECK, seen));
    findings
}

fn many_letters(count: u64) -> String {
    many(usize::try_from(count).unwrap_or(usize::MAX), "dead letter")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(name: &str, visible: u64, in_flight: u64) -> QueueDepth {
        QueueDepth { name: format!("shop-{name}"), visible, in_flight, delayed: 0 }
    }

    #[test]
    fn dead_letters_that_stay_are_bad_and_a_backlog_is_told() {
        let all = [queue("payment-bulk", 40, 2), queue("payment-dlq", 0, 0), queue("notify.fifo", 1, 0)];
        let found = judge(&all, "shop");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].health, Health::Ok);
        let told = "43 messages in 2 of 3 queues; most in payment-bulk: 40 wait, 2 in flight, 0 delayed";
        assert_eq!(found[0].seen, told);

        for name in ["payment-dlq", "notify-dlq.fifo"] {
            let found = judge(&[queue(name, 0, 1), queue("payment-bulk", 0, 0)], "shop");
            assert_eq!((found[0].health, found.len()), (Health::Bad, 2), "{name}");
            assert!(found[0].seen.starts_with("1 dead letter ") && found[0].seen.contains(name), "{}", found[0].seen);
            assert!(found[0].advice.contains(&format!("queue peek {name}")), "{}", found[0].advice);
        }
    }

    #[test]
    fn a_stack_without_queues_is_no_healthy_one() {
        assert_eq!(judge(&[], "shop")[0].health, Health::Bad);
    }
}
