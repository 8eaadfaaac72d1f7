//! Makes cases of dead letters. Consumes every dead-letter queue, emits nothing; what operators do with a case is in
//! [`replay`] and [`decide`].

mod classify;
pub mod decide;
mod event;
mod letter;
mod message;
pub mod replay;

use aws_lambda_events::event::sqs::SqsBatchResponse;
use lambda_queue::batch::{BatchError, Invocation};
use lambda_queue::{Batch, Clock, Done, Failure, Queue, Random, Record};
use order::OrderId;
use ports::{Case, CaseKind, KeepDeadLetters, Letter, LoadOrder, Recorded, StoreError, fingerprint, tell_opened};
use serde_json::{Value, json};

use classify::is_cut_off;
pub use classify::{Finding, Known, RowState, classify};
pub use event::DeadLetters;
pub use letter::REPLAY_OF;
pub use message::{Body, read};

use letter::Origin;

/// What this step may touch: its IAM role grants exactly this.
pub trait Ports: KeepDeadLetters + LoadOrder + Clock {}
impl<P: KeepDeadLetters + LoadOrder + Clock> Ports for P {}

/// Longest digest, characters.
const DIGEST: usize = 240;

/// Takes one batch of a dead-letter queue.
pub async fn handle<P: Ports + Random + Queue>(
    batch: &Batch<'_, P>,
    dead: DeadLetters,
    invocation: Invocation,
) -> Result<SqsBatchResponse, BatchError> {
    let DeadLetters { event, raw } = dead;
    let queue = event.queue_arn.rsplit(':').next().unwrap_or_default().to_owned();
    let (queue, raw, ports) = (&queue, &raw, batch.ports());
    batch
        .run(event, invocation, |record| async move { take(ports, queue, raw.get(&record.message_id), &record).await })
        .await
}

/// Takes one dead letter: its raw message to the bucket, its case to the table. Whatever is not written leaves the letter in
/// its queue.
///
/// Idempotent: the key of the raw message is the case's, the case's id is made of the message's first id, and a letter counts
/// once. Only the metric `cases_opened` is at least once: it is told each time that the letter is taken.
pub async fn take(ports: &impl Ports, queue: &str, raw: Option<&Value>, record: &Record) -> Result<Done, Failure> {
    let origin = Origin::of(record, queue);
    let step = step_of(queue);
    let body = read(&record.body);
    // Only what nobody gave a reason for is looked into.
    let is_unexplained = origin.letter.as_ref().is_none_or(is_cut_off);
    let row = match &body {
        Body::Command { order_id, .. } if is_unexplained => row_state(ports, *order_id).await,
        Body::Command { .. } | Body::Newer { .. } | Body::Other { .. } | Body::Unreadable { .. } => RowState::NotAsked,
    };
    let finding = classify(&Known { step: &step, letter: origin.letter.as_ref(), body: &body, row });
    let case_id = origin.case_id(queue)?;
    let raw_key = format!("dead-letters/{case_id}.json");
    let attempts = origin.letter.as_ref().map_or(record.context.receive_count, |letter| letter.attempts);
    let case = Case {
        kind: CaseKind::DeadLetter,
        attempt: String::new(),
        row_version: body.version().unwrap_or(0),
        fingerprint: fingerprint(&step, &finding.code, &finding.reason),
        class: finding.class,
        order_id: body.order_id().map(|id| id.to_string()).unwrap_or_default(),
        tenant: body.tenant().cloned(),
        digest: digest(&finding),
        opened_at_ms: ports.now_ms(),
        letter: Some(Letter {
            queue: origin.queue.clone(),
            message_id: origin.message_id.clone(),
            letter_id: record.message_id.clone(),
            raw: raw_key.clone(),
            sent_at_ms: origin.letter.as_ref().map_or(record.context.sent_ms, |letter| letter.first_seen_ms),
            attempts,
        }),
        step,
        case_id,
    };
    let kept = json!({ "queue": queue, "message": raw.cloned().unwrap_or_else(|| json!({ "body": record.body })) });
    ports.keep_raw(&raw_key, kept.to_string().into_bytes()).await.map_err(|error| left("raw message", &error))?;
    let recorded = ports.record_letter(&case).await.map_err(|error| left("case", &error))?;
    // Also of one that is known: whoever recorded it may have died before it told, and then nobody has. Told twice does no harm,
    // as the alarms ask only whether there was one.
    tell_opened(&case, ports.now_ms());
    match recorded {
        Recorded::Opened | Recorded::Again => {
            let again = recorded == Recorded::Again;
            tracing::error!(
                case_id = %case.case_id, order_id = case.order_id, step = case.step, class = case.class.name(),
                fingerprint = case.fingerprint, again, "a dead letter is a case"
            );
            Ok(Done::now(Vec::new()))
        }
        Recorded::Known => {
            tracing::warn!(
                case_id = %case.case_id, order_id = case.order_id, step = case.step,
                "a dead letter that was recorded before came again: its case is told once more"
            );
            Ok(Done::already())
        }
    }
}

/// Not written: the letter stays. What it says holds nothing of the message.
fn left(what: &str, error: &StoreError) -> Failure {
    Failure::retry(format!("the {what} is not written, the letter stays: {error}"))
}

/// What became of the order that nobody gave a reason for. A table that does not answer is no reason to leave the letter.
async fn row_state(ports: &impl Ports, order_id: OrderId) -> RowState {
    match ports.load_order(order_id).await {
        Ok(Some(order)) => {
            RowState::Read { version: order.version, owes: order.next_command(), parked: order.parked.is_some() }
        }
        Ok(None) => RowState::Gone,
        Err(StoreError::Unreadable(why)) => RowState::Unreadable(why),
        Err(error @ (StoreError::NotDone(_) | StoreError::Unknown(_))) => {
            tracing::warn!(%order_id, %error, "the row is not read: the case says less");
            RowState::NotAsked
        }
    }
}

/// `shop-payment-dlq`: `payment`; `shop-notify-dlq.fifo`: `notify`.
fn step_of(queue: &str) -> String {
    let name = queue.strip_suffix(".fifo").unwrap_or(queue);
    let name = name.strip_suffix("-dlq").unwrap_or(name);
    name.rsplit('-').next().unwrap_or(name).to_owned()
}

fn digest(finding: &Finding) -> String {
    let text = format!("{}: {}", finding.code, finding.reason);
    text.chars().filter(|c| !c.is_control()).take(DIGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_queues_step_is_the_last_part_of_its_name() {
        for (queue, step) in [
            ("orderflow-payment-dlq", "payment"),
            ("my-own-shop-notify-dlq.fifo", "notify"),
            ("payment-dlq", "payment"),
            ("orderflow-events-dlq.fifo", "events"),
            ("something", "something"),
        ] {
            assert_eq!(step_of(queue), step);
        }
    }

    #[test]
    fn a_digest_is_one_line_of_bounded_length() {
        let reason = format!("first\nsecond {}", "x".repeat(1_000));
        let text = digest(&Finding { class: ports::CaseClass::Poison, code: "poison".to_owned(), reason });
        assert!(text.starts_with("poison: firstsecond") && text.chars().count() == DIGEST);
    }
}
