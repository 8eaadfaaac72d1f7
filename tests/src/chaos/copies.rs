//! Copies of live messages: at once, as a standard queue may deliver them, and much later, when their order has moved on.

use std::sync::Arc;
use std::time::Duration;

use order::Lane;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::call::order_ids;
use super::dice::roll;
use super::journal::Journal;
use super::proxy::Sent;
use crate::deployed::Deployed;
use crate::wait::eventually;

/// In the report.
pub(super) const DUPLICATE: &str = "duplicate_message";
/// In the report.
pub(super) const STALE: &str = "stale_message";

/// In the report.
pub(super) const DEAD: &str = "dead_letter";

/// How many of the messages are copied at once, later, and into their step's dead-letter queue.
const ODDS: [f64; 3] = [0.02, 0.02, 0.005];
/// The longest that ministack may be away.
const AWAY: Duration = Duration::from_secs(90);
/// The steps whose queues are standard ones.
const STEPS: [&str; 4] = ["validate", "payment", "stock", "shipping"];

/// What is done with one message.
fn planned(seed: u64, nth: u64, intensity: f64) -> Option<(&'static str, Duration)> {
    let of = |what: u8| roll(seed, &("copy", nth, what));
    if of(0) < ODDS[0] * intensity {
        // Beside the original or behind it.
        return Some((DUPLICATE, Duration::from_secs_f64(3.0 * of(1) * of(1))));
    }
    if of(2) < ODDS[1] * intensity {
        return Some((STALE, Duration::from_secs_f64(5.0 + 55.0 * of(3))));
    }
    // As SQS would move it, for what the function cannot know.
    (of(4) < ODDS[2] * intensity).then_some((DEAD, Duration::ZERO))
}

/// Where a step's messages go that are given up.
fn dead_letter_queue(queue: &str) -> String {
    format!("{}-dlq", queue.rsplit_once('-').map_or(queue, |(step, _)| step))
}

/// The name of a command queue without the stack's, from its URL.
fn command_queue<'a>(url: &'a str, stack: &str) -> Option<&'a str> {
    let name = url.rsplit('/').next()?.strip_prefix(stack)?.strip_prefix('-')?;
    let (step, lane) = name.rsplit_once('-')?;
    (STEPS.contains(&step) && lane.parse::<Lane>().is_ok()).then_some(name)
}

/// Sends copies of what the functions send, until `over`; then those that wait are sent at once.
pub(super) async fn copy(
    deployed: Arc<Deployed>,
    mut sent: mpsc::UnboundedReceiver<Sent>,
    seed: u64,
    intensity: f64,
    journal: Journal,
    over: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let mut waiting = JoinSet::new();
    let mut nth = 0_u64;
    let mut ends = over.clone();
    loop {
        let message = tokio::select! {
            message = sent.recv() => message,
            _ = ends.wait_for(|over| *over) => None,
        };
        let Some(message) = message else { break };
        nth += 1;
        let Some((kind, after)) = planned(seed, nth, intensity) else { continue };
        let Some(queue) = command_queue(&message.queue_url, &deployed.info.stack_name).map(str::to_owned) else {
            continue;
        };
        let queue = if kind == DEAD { dead_letter_queue(&queue) } else { queue };
        let (deployed, journal, mut over) = (Arc::clone(&deployed), journal.clone(), over.clone());
        waiting.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(after) => {}
                _ = over.wait_for(|over| *over) => {}
            }
            let (group, body) = (message.group.as_deref(), std::slice::from_ref(&message.body));
            // ministack may be away just now.
            eventually("a copy is taken", AWAY, || async { Ok(deployed.queues.send(&queue, group, body).await.ok()) })
                .await?;
            journal.note(kind, queue, order_ids(message.body.as_bytes()));
            anyhow::Ok(())
        });
    }
    while let Some(copied) = waiting.join_next().await {
        copied??;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_command_queues_are_copied_to() {
        let of = |name: &str| command_queue(name, "orderflow").map(str::to_owned);
        assert_eq!(of("http://127.0.0.1:1/0/orderflow-payment-express").as_deref(), Some("payment-express"));
        for other in ["orderflow-notify.fifo", "orderflow-archive", "orderflow-payment-dlq", "other-payment-bulk"] {
            assert_eq!(of(&format!("http://q/0/{other}")), None, "{other}");
        }
    }

    #[test]
    fn the_seed_says_which_messages_are_copied_and_when() {
        let plan = |seed| (0..10_000).map(|nth| planned(seed, nth, 1.0)).collect::<Vec<_>>();
        assert_eq!(plan(1), plan(1));
        assert_ne!(plan(1), plan(2));
        let count = |kind| plan(1).iter().flatten().filter(|(known, _)| *known == kind).count();
        assert!((120..280).contains(&count(DUPLICATE)) && (120..280).contains(&count(STALE)));
        assert!((20..90).contains(&count(DEAD)));
        assert_eq!(dead_letter_queue("payment-bulk"), "payment-dlq");
    }
}
