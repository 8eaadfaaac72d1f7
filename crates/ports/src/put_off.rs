//! What becomes of a command that was deferred until its queue is about to give it up.

use lambda_queue::batch::Deferral;
use lambda_queue::{Clock, Failure, Record};
use order::Step;

use crate::{CommitOrder, LoadOrder, parse_command};

/// The latest that an order's `due_at` is set to, from now, milliseconds: 15 minutes, the longest interval of
/// `recover-orders`.
const LATEST_MS: u64 = 15 * 60_000;

/// Takes a deferred command over from its queue, which counts receives that were no attempts and would soon move it to the
/// dead-letter queue: the order's `due_at` is set to when it may go on, and `recover-orders` sends the command again. For
/// [`lambda_queue::Batch::on_deferral`].
///
/// Left to its queue is what the row does not owe as the message says (its next receive finds that out), what cannot be
/// read or written now, and a row that recovery is moving just then. A row that is due later anyway is left as it is: the
/// command was sent again not long ago. Idempotent: one conditional write of `due_at`, on the version and `due_at` read.
pub async fn put_off<P: LoadOrder + CommitOrder + Clock>(
    ports: &P,
    step: Step,
    record: &Record,
    failure: &Failure,
) -> Deferral {
    let until_ms = match failure {
        Failure::Defer { until_ms, .. } | Failure::Busy { until_ms, .. } => *until_ms,
        Failure::Retry { .. } | Failure::Unknown { .. } | Failure::Poison { .. } | Failure::Bug { .. } => {
            return Deferral::Left;
        }
    };
    match try_put_off(ports, step, record, until_ms).await {
        Ok(true) => Deferral::TakenOver,
        Ok(false) => Deferral::Left,
        Err(why) => {
            tracing::error!(message_id = record.message_id, failure = %why, "a deferred command is not put off");
            Deferral::Left
        }
    }
}

async fn try_put_off<P: LoadOrder + CommitOrder + Clock>(
    ports: &P,
    step: Step,
    record: &Record,
    until_ms: u64,
) -> Result<bool, Failure> {
    let message = parse_command(&record.body, step, record.context.receive_count, ports.now_ms())?;
    let Some(order) = ports.load_order(message.data.order_id).await? else { return Ok(false) };
    if order.version != message.data.version || order.next_command() != Some(message.command) {
        return Ok(false);
    }
    let now_ms = ports.now_ms();
    let due_at_ms = until_ms.clamp(now_ms, now_ms.saturating_add(LATEST_MS));
    if order.due_at.is_some_and(|due_at| due_at >= due_at_ms) {
        return Ok(true);
    }
    Ok(ports.postpone(&order, due_at_ms, order.nudges).await?)
}
