//! Command messages: they say "look at this order", never what is in it.

use lambda_queue::envelope::{Data, Envelope, TraceParent, VersionError, Versions, split_version};
use lambda_queue::{Failure, Outgoing};
use order::{Command, Lane, Order, OrderId, Step};
use serde::{Deserialize, Serialize};

/// The `source` of every message and event.
pub const SOURCE: &str = "orderflow";
/// The version of command messages that this program writes, and the newest it reads.
pub const COMMAND_VERSION: u32 = 1;

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

/// The message for what a row owes, or `None` where nothing is. The same row always makes the same message id, and under
/// it the same span of the order's trace. Without a causation from outside, the cause is the event that made this version.
pub fn command_message(order: &Order, causation: Option<&str>, now_ms: u64) -> Option<Outgoing> {
    let command = order.next_command()?;
    let id = command.message_id(order.order_id, order.version).to_string();
    let data = CommandData { order_id: order.order_id, version: order.version };
    let mut envelope = Envelope::new(id, SOURCE, format!("orderflow.{}.v{COMMAND_VERSION}", command.name()), data)
        .subject(order.order_id.to_string())
        .at(now_ms)
        .schema(format!("urn:orderflow:{}:v{COMMAND_VERSION}", command.name()))
        .correlation(order.order_id.to_string())
        .lane(order.lane.name())
        .tenant(order.tenant.as_str());
    envelope.traceparent = span_of(order, &envelope.id);
    envelope.causationid = causation.map(str::to_owned).or_else(|| cause_of(order));
    Some(Outgoing {
        queue: queue_name(command.step(), order.lane),
        body: serde_json::json!(envelope).to_string(),
        group: Some(order.tenant.as_str().to_owned()),
        dedup: None,
        attributes: Vec::new(),
    })
}

/// The span that a message of this id has in the order's trace. A trace context that cannot be read is left out.
pub(crate) fn span_of(order: &Order, message_id: &str) -> Option<String> {
    let parent: TraceParent = order.traceparent.as_ref()?.parse().ok()?;
    Some(parent.child_of(message_id).to_string())
}

/// The event that made the row's version.
fn cause_of(order: &Order) -> Option<String> {
    let event = order.last_event().filter(|event| event.version == order.version)?;
    Some(event.event_id(order.order_id).to_string())
}

/// Reads a command. What can never be one is poison; one of a newer version waits for a newer program.
pub fn parse_command(body: &str, step: Step, receive_count: u32, now_ms: u64) -> Result<CommandMessage, Failure> {
    let poison = |reason: String| Failure::Poison { reason };
    let message = Envelope::<Data>::parse(body)?;
    let known = split_version(&message.kind).and_then(|(name, _)| {
        let command: Command = name.strip_prefix("orderflow.")?.parse().ok()?;
        (command.step() == step).then_some((command, name))
    });
    let (command, name) =
        known.ok_or_else(|| poison(format!("no command of {}: {}", step.name(), shortened(&message.kind))))?;
    let versions = Versions::new().takes(name, COMMAND_VERSION);
    let message =
        versions.bring_up(message).map_err(|error: VersionError| error.into_failure(receive_count, now_ms))?;
    let message: Envelope<CommandData> = message.typed()?;
    if message.subject != Some(message.data.order_id.to_string()) {
        return Err(poison("subject and data name different orders".to_owned()));
    }
    Ok(CommandMessage { id: message.id, command, data: message.data, traceparent: message.traceparent })
}

fn shortened(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic()).take(80).collect()
}
