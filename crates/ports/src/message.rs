//! Command messages: they say "look at this order", never what is in it.

use lambda_queue::envelope::{Data, Envelope, TraceParent, VersionError, split_version};
use lambda_queue::{Failure, Outgoing};
use order::{Command, EventKind, Lane, Order, OrderId, Step};
use serde::{Deserialize, Serialize};

use crate::version::{COMMAND_VERSION, CommandVersion, read, versions};

/// The `source` of every message and event.
pub const SOURCE: &str = "orderflow";

/// The payload of a command, whatever its version.
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

/// The message for what a row owes in the version that commands are sent in where nobody says otherwise.
pub fn command_message(order: &Order, causation: Option<&str>, now_ms: u64) -> Option<Outgoing> {
    command_message_in(CommandVersion::default(), order, causation, now_ms)
}

/// The message for what a row owes, or `None` where nothing is. The same row always makes the same message id, in whatever
/// version, and under it the same span of the order's trace. Without a causation from outside, the cause is the event that
/// made this version of the row.
pub fn command_message_in(
    version: CommandVersion,
    order: &Order,
    causation: Option<&str>,
    now_ms: u64,
) -> Option<Outgoing> {
    let command = order.next_command()?;
    let id = command.message_id(order.order_id, order.version).to_string();
    let data = version.write(&CommandData { order_id: order.order_id, version: order.version });
    let mut envelope = Envelope::new(id, SOURCE, format!("orderflow.{}.v{version}", command.name()), data)
        .subject(order.order_id.to_string())
        .at(now_ms)
        .schema(format!("urn:orderflow:{}:v{version}", command.name()))
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

/// Reads a command of this version ([`COMMAND_VERSION`]) or the one before. What can never be one is poison; one of a newer
/// version waits for a newer program.
pub fn parse_command(body: &str, step: Step, receive_count: u32, now_ms: u64) -> Result<CommandMessage, Failure> {
    parse_up_to(COMMAND_VERSION, body, step, receive_count, now_ms)
}

/// What a command of a version that this program reads is about, or `None` where it cannot be read.
pub fn command_data(message: Envelope<Data>) -> Option<CommandData> {
    let name = split_version(&message.kind)?.0.to_owned();
    let message = versions(&name, COMMAND_VERSION).bring_up(message).ok()?;
    Some(read(message, COMMAND_VERSION).ok()?.data)
}

/// Reads a command as a program does whose newest version is this.
fn parse_up_to(
    newest: u32,
    body: &str,
    step: Step,
    receive_count: u32,
    now_ms: u64,
) -> Result<CommandMessage, Failure> {
    let poison = |reason: String| Failure::Poison { reason };
    let message = Envelope::<Data>::parse(body)?;
    let known = split_version(&message.kind)
        .and_then(|(name, _)| Some((name.strip_prefix("orderflow.")?.parse::<Command>().ok()?, name)));
    let (command, name) = known.ok_or_else(|| {
        let is_event = is_event(&message.kind);
        let what = if is_event { "an event of an order".to_owned() } else { shortened(&message.kind) };
        poison(format!("no command of {}: {what}", step.name()))
    })?;
    if command.step() != step {
        return Err(poison(format!("no command of {}, but of {}", step.name(), command.step().name())));
    }
    let versions = versions(name, newest);
    let message =
        versions.bring_up(message).map_err(|error: VersionError| error.into_failure(receive_count, now_ms))?;
    let message = read(message, newest)?;
    if message.subject != Some(message.data.order_id.to_string()) {
        return Err(poison("subject and data name different orders".to_owned()));
    }
    Ok(CommandMessage { id: message.id, command, data: message.data, traceparent: message.traceparent })
}

/// Whether this is the type of an event of an order, whatever happened to it.
fn is_event(kind: &str) -> bool {
    let name = split_version(kind).and_then(|(name, _)| name.strip_prefix("orderflow.order."));
    name.is_some_and(|name| name == "changed" || EventKind::ALL.iter().any(|event| event.name() == name))
}

fn shortened(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic()).take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = include_str!("../../../events/golden/payment.authorize.v1.json");
    const NEW: &str = include_str!("../../../events/golden/next/payment.authorize.v2.json");

    fn about(newest: u32, body: &str) -> Result<CommandData, Failure> {
        parse_up_to(newest, body, Step::Payment, 1, 0).map(|message| message.data)
    }

    #[test]
    fn a_program_reads_its_own_version_and_the_one_before_as_the_same_and_defers_the_next() {
        let says = about(1, OLD).unwrap();
        assert_eq!(says, CommandData { order_id: "4285c9f3-20d0-813a-b5f9-cbbfd1fd2175".parse().unwrap(), version: 3 });
        assert_eq!(about(2, OLD), Ok(says));
        assert_eq!(about(2, NEW), Ok(says));
        assert!(matches!(about(1, NEW), Err(Failure::Defer { until_ms: 60_000, .. })));
        let third = NEW.replace("authorize.v2", "authorize.v3");
        assert!(matches!(about(2, &third), Err(Failure::Defer { until_ms: 60_000, .. })));
    }

    #[test]
    fn a_shape_under_the_other_versions_name_is_poison() {
        for (newest, body) in [
            (1, NEW.replace("authorize.v2", "authorize.v1")),
            (2, NEW.replace("authorize.v2", "authorize.v1")),
            (2, OLD.replace("authorize.v1", "authorize.v2")),
        ] {
            let refused = about(newest, &body).unwrap_err();
            assert!(matches!(refused, Failure::Poison { .. }), "{refused:?}");
            assert!(!refused.to_string().contains("4285c9f3"), "{refused}");
        }
    }

    /// The golden messages' order, validated.
    fn validated() -> Order {
        let row = serde_json::json!({
            "order_id": "4285c9f3-20d0-813a-b5f9-cbbfd1fd2175", "version": 3, "state": "validated", "tenant": "acme",
            "customer": "ada", "lane": "express", "fingerprint": order::Fingerprint::of(b"request"), "created_at": 0,
            "lines": [], "currency": "USD", "timeline": [],
            "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        });
        serde_json::from_value(row).unwrap()
    }

    /// Without what is made anew for each: the golden ids and spans are older than what makes them today.
    fn without_own(body: &str) -> serde_json::Value {
        let mut message: serde_json::Value = serde_json::from_str(body).unwrap();
        for own in ["id", "traceparent"] {
            assert!(message.as_object_mut().unwrap().remove(own).is_some());
        }
        message
    }

    #[test]
    fn each_version_that_the_next_program_can_be_told_to_send_is_its_golden_message_whole() {
        let golden = [OLD, NEW].map(without_own);
        let written = CommandVersion::all_of(2).map(|version| {
            let sent = command_message_in(
                version,
                &validated(),
                Some("6f9619ff-8b86-5d01-b42d-00c04fc964ff"),
                1_795_426_200_123,
            );
            without_own(&sent.unwrap().body)
        });
        assert_eq!(written.collect::<Vec<_>>(), golden);
    }
}
