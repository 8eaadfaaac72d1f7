//! Command messages: they say "look at this order", never what is in it.

use lambda_queue::envelope::{Envelope, rfc3339, split_version};
use lambda_queue::{Failure, Outgoing};
use order::{Command, Lane, Order, OrderId, Step};
use serde::{Deserialize, Serialize};

/// The `source` of every message and event.
pub const SOURCE: &str = "orderflow";
/// The version of command messages that this program writes, and the newest it reads.
const VERSION: u32 = 1;
/// A newer message waits this long for a newer program, milliseconds.
const NEWER_WAITS_MS: u64 = 60_000;
/// And this often.
const NEWER_RECEIVES: u32 = 10;

/// The payload of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CommandData {
    /// Which order.
    pub order_id: OrderId,
    /// The version of its row that owes the command.
    pub version: u64,
}

/// A command as a step received it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommandMessage {
    /// The message's CloudEvents id.
    pub id: String,
    /// What to do.
    pub command: Command,
    /// To which row.
    pub data: CommandData,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

/// The queue of a step and lane, by the name that follows the stack's: `payment-express`.
pub fn queue_name(step: Step, lane: Lane) -> String {
    crate::orders::lane_queue(step, lane)
}

/// The message for what a row owes, or `None` where nothing is. The same row always makes the same message id.
pub fn command_message(order: &Order, causation: Option<&str>, now_ms: u64) -> Option<Outgoing> {
    let command = order.next_command()?;
    let envelope = Envelope {
        specversion: "1.0".to_owned(),
        id: command.message_id(order.order_id, order.version).to_string(),
        source: SOURCE.to_owned(),
        kind: format!("orderflow.{}.v{VERSION}", command.name()),
        subject: order.order_id.to_string(),
        time: rfc3339(now_ms),
        dataschema: Some(format!("urn:orderflow:{}:v{VERSION}", command.name())),
        datacontenttype: "application/json".to_owned(),
        data: CommandData { order_id: order.order_id, version: order.version },
        traceparent: order.traceparent.clone(),
        correlationid: Some(order.order_id.to_string()),
        causationid: causation.map(str::to_owned),
        lane: Some(order.lane.name().to_owned()),
        tenant: Some(order.tenant.as_str().to_owned()),
    };
    Some(Outgoing {
        queue: queue_name(command.step(), order.lane),
        body: serde_json::json!(envelope).to_string(),
        group: Some(order.tenant.as_str().to_owned()),
        dedup: None,
        attributes: Vec::new(),
    })
}

/// Reads a command. What can never be one is poison; one of a newer version waits for a newer program.
pub fn parse_command(body: &str, step: Step, receive_count: u32, now_ms: u64) -> Result<CommandMessage, Failure> {
    let poison = |reason: String| Failure::Poison { reason };
    // serde's messages may quote the body; its category does not.
    let envelope: Envelope<serde_json::Value> = serde_json::from_str(body).map_err(|error| {
        poison(format!("not a CloudEvent ({:?} error at column {})", error.classify(), error.column()))
    })?;
    if envelope.specversion != "1.0" {
        return Err(poison("not CloudEvents 1.0".to_owned()));
    }
    let known = split_version(&envelope.kind).and_then(|(name, version)| {
        let command: Command = name.strip_prefix("orderflow.")?.parse().ok()?;
        (command.step() == step).then_some((command, version))
    });
    let (command, version) =
        known.ok_or_else(|| poison(format!("no command of {}: {}", step.name(), shortened(&envelope.kind))))?;
    if version > VERSION {
        return Err(if receive_count < NEWER_RECEIVES {
            let why = format!("version {version} is newer than this program");
            Failure::Defer { until_ms: now_ms.saturating_add(NEWER_WAITS_MS), why }
        } else {
            poison(format!("version {version} of {} is not known here", command.name()))
        });
    }
    let data: CommandData = serde_json::from_value(envelope.data)
        .map_err(|error| poison(format!("no order and version in the data ({:?} error)", error.classify())))?;
    if envelope.subject != data.order_id.to_string() {
        return Err(poison("subject and data name different orders".to_owned()));
    }
    Ok(CommandMessage { id: envelope.id, command, data, traceparent: envelope.traceparent })
}

fn shortened(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic()).take(80).collect()
}
