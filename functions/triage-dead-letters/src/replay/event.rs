//! An event as it was, on its way to its queues again.

use lambda_queue::dead_letter::{ATTRIBUTE, DeadLetter, MOST_ATTRIBUTES};
use lambda_queue::{Failure, Outgoing};
use ports::{ReadCases, StoredCase};
use serde_json::Value;

use crate::letter::REPLAY_OF;

/// What attributes of this type hold.
const STRING: &str = "String";

/// The messages, one a queue; `None` where the raw message has expired.
pub(super) async fn messages(
    ports: &impl ReadCases,
    case: &StoredCase,
    queues: &[String],
) -> Result<Option<Vec<Outgoing>>, Failure> {
    let Some(letter) = &case.case.letter else { return Ok(None) };
    let Some(raw) = ports.load_raw(&letter.raw).await? else { return Ok(None) };
    let raw: Value = serde_json::from_slice(&raw).map_err(|error| Failure::bug(format!("the raw message: {error}")))?;
    let message = raw.get("message").cloned().unwrap_or_default();
    let body = message.get("body").and_then(Value::as_str);
    let body = body.ok_or_else(|| Failure::bug("the raw message has no body"))?.to_owned();
    let group = message.pointer("/attributes/MessageGroupId").and_then(Value::as_str).map(str::to_owned);
    let attributes = attributes(&message, case);
    let of = |queue: &String| {
        let fifo = queue.ends_with(".fifo");
        let order = (!case.case.order_id.is_empty()).then(|| case.case.order_id.clone());
        Outgoing {
            queue: queue.clone(),
            body: body.clone(),
            // A FIFO queue takes no message without a group: an order's events are one, as they were.
            group: if fifo { group.clone().or(order).or_else(|| Some(letter.message_id.clone())) } else { None },
            // Its first id is remembered for five minutes, and would be swallowed. This one is the replay's own: the same
            // replay once more is swallowed, the next one is not.
            dedup: fifo.then(|| format!("{}-{}-{}", case.case.case_id, case.seen, case.replays)),
            attributes: attributes.clone(),
        }
    };
    Ok(Some(queues.iter().map(of).collect()))
}

/// The sender's own attributes, those that a letter had folded away among them, and the case's id. Only texts can go along:
/// no event has others.
fn attributes(message: &Value, case: &StoredCase) -> Vec<(String, String)> {
    let own = message.get("messageAttributes").and_then(Value::as_object);
    let mut kept: Vec<(String, String)> = Vec::new();
    let mut letter = None;
    for (name, attribute) in own.into_iter().flatten() {
        let Some(value) = attribute.get("stringValue").and_then(Value::as_str) else { continue };
        match name.as_str() {
            ATTRIBUTE => letter = serde_json::from_str::<DeadLetter>(value).ok(),
            REPLAY_OF => {}
            _ if attribute.get("dataType").and_then(Value::as_str) == Some(STRING) => {
                kept.push((name.clone(), value.to_owned()));
            }
            _ => {}
        }
    }
    let folded = letter.map(|letter| letter.folded).unwrap_or_default();
    kept.extend(
        folded.into_iter().filter(|(_, folded)| folded.data_type == STRING).map(|(name, folded)| (name, folded.value)),
    );
    kept.truncate(MOST_ATTRIBUTES - 1);
    kept.push((REPLAY_OF.to_owned(), case.case.case_id.to_string()));
    kept
}
