//! A record on its way through the loop.

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::event::{Attribute, Event, Message};
use super::{BatchError, Invocation};

/// One received message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// SQS's id. A replay mints a new one: never an idempotency key.
    pub message_id: String,
    /// The body, as it is.
    pub body: String,
    /// The sender's message attributes.
    pub attributes: Vec<Attribute>,
    /// X-Ray's header of the message, if it has one.
    pub aws_trace_header: Option<String>,
    /// When and how it came.
    pub context: RecordContext,
}

impl Record {
    /// A record without attributes.
    pub fn new(message_id: impl Into<String>, body: impl Into<String>, context: RecordContext) -> Self {
        let (message_id, body) = (message_id.into(), body.into());
        Self { message_id, body, attributes: Vec::new(), aws_trace_header: None, context }
    }

    /// The value of the attribute of this name.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|attribute| attribute.name == name).map(|attribute| attribute.value.as_str())
    }
}

/// When and how a record came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordContext {
    /// `ApproximateReceiveCount`.
    pub receive_count: u32,
    /// `SentTimestamp`, UTC milliseconds.
    pub sent_ms: u64,
    /// `MessageGroupId`.
    pub group: Option<String>,
    /// When the handler's time ends, UTC milliseconds: the invocation's deadline less what the loop keeps.
    pub handler_deadline_ms: u64,
    /// The invocation's deadline, UTC milliseconds.
    pub deadline_ms: u64,
}

/// A record and what only the loop needs of it.
pub(super) struct Slot {
    pub(super) record: Arc<Record>,
    pub(super) receipt_handle: Option<String>,
    /// SQS said that there is none: never a handler's.
    pub(super) bodyless: bool,
}

/// The event's records, each message once, in the order of the event.
pub(super) fn slots(event: Event, of: &Invocation, handler_deadline_ms: u64) -> Result<Vec<Slot>, BatchError> {
    let twice = twice(&event)?;
    let deadline_ms = of.deadline_ms;
    let of_message = |message: Message| Slot {
        bodyless: message.body.is_none(),
        receipt_handle: message.receipt_handle,
        record: Arc::new(Record {
            message_id: message.message_id.unwrap_or_default(),
            body: message.body.unwrap_or_default(),
            attributes: message.attributes,
            aws_trace_header: message.aws_trace_header,
            context: RecordContext {
                receive_count: message.receive_count.unwrap_or(1),
                // Without a time of sending the message counts as sent now: it is retried, not given up.
                sent_ms: message.sent_ms.unwrap_or(deadline_ms),
                group: message.group,
                handler_deadline_ms,
                deadline_ms,
            },
        }),
    };
    if twice.is_empty() {
        return Ok(event.records.into_iter().map(of_message).collect());
    }
    let once = event.records.into_iter().enumerate().filter(|(position, _)| !twice.contains(position));
    Ok(once.map(|(_, message)| of_message(message)).collect())
}

/// Few enough to compare each with each: cheaper than to hash them.
const FEW: usize = 16;

/// The places of the messages that an earlier one has the id of.
fn twice(event: &Event) -> Result<HashSet<usize>, BatchError> {
    let mut ids: Vec<&str> = Vec::with_capacity(event.records.len());
    for (position, message) in event.records.iter().enumerate() {
        let id = message.message_id.as_deref().filter(|id| !id.is_empty());
        ids.push(id.ok_or(BatchError::NoMessageId { position })?);
    }
    if ids.len() <= FEW {
        let known = |(position, id): &(usize, &&str)| ids.iter().take(*position).any(|earlier| earlier == *id);
        return Ok(ids.iter().enumerate().filter(known).map(|(position, _)| position).collect());
    }
    let mut seen = HashSet::with_capacity_and_hasher(ids.len(), RandomState::default());
    Ok(ids.into_iter().enumerate().filter(|(_, id)| !seen.insert(*id)).map(|(position, _)| position).collect())
}
