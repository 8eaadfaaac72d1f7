//! Dead letters: those of command steps are sent once more, as an operator's replay does; what is left is listed.

use std::collections::BTreeSet;

use anyhow::Context as _;
use serde_json::Value;

use super::call::order_ids;
use super::journal::Journal;
use crate::deployed::Deployed;
use crate::queues::Depths;

/// In the report.
pub(super) const REPLAY: &str = "dlq_replay";
/// How long a dead letter that was looked at stays invisible, seconds.
const LOOKED_S: i32 = 30;

/// `payment-dlq` and a message of the lane `bulk`: `payment-bulk`.
fn source(dlq: &str, body: &str) -> Option<String> {
    let step = dlq.strip_suffix("-dlq")?;
    if step == "archive" {
        return Some(step.to_owned());
    }
    let body: Value = serde_json::from_str(body).ok()?;
    let lane = body.get("lane").and_then(Value::as_str)?;
    Some(format!("{step}-{lane}"))
}

/// Sends every dead letter of a standard queue back to where it came from. An acknowledged copy of it does no harm.
pub(super) async fn replay(deployed: &Deployed, journal: &Journal) -> anyhow::Result<()> {
    let depths: Depths = deployed.queues.depths().await?;
    for (name, _) in depths.holding(true) {
        let url = deployed.queues.url(name);
        loop {
            let messages = deployed.queues.receive(&url, LOOKED_S).await?;
            if messages.is_empty() {
                break;
            }
            for message in &messages {
                let body = message.body.as_deref().unwrap_or_default();
                let Some(queue) = source(name, body) else { continue };
                deployed.queues.send(&queue, None, &[body.to_owned()]).await?;
                deployed.queues.delete(&url, message).await?;
                journal.note(REPLAY, queue, order_ids(body.as_bytes()));
            }
        }
    }
    Ok(())
}

/// SQS's ids of what lies in the dead-letter queues.
pub(super) async fn letters(deployed: &Deployed) -> anyhow::Result<BTreeSet<String>> {
    let depths: Depths = deployed.queues.depths().await?;
    let mut ids = BTreeSet::new();
    for (name, _) in depths.holding(true) {
        let url = deployed.queues.url(name);
        loop {
            let messages = deployed.queues.receive(&url, LOOKED_S).await?;
            if messages.is_empty() {
                break;
            }
            for message in messages {
                ids.insert(message.message_id.context("a message without an id")?);
            }
        }
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_goes_back_to_its_lane() {
        assert_eq!(source("payment-dlq", r#"{"lane":"bulk"}"#).as_deref(), Some("payment-bulk"));
        assert_eq!(source("archive-dlq", "{}").as_deref(), Some("archive"));
        assert_eq!(source("stock-dlq", "no json"), None);
        assert_eq!(source("notify-dlq.fifo", r#"{"lane":"bulk"}"#), None);
    }
}
