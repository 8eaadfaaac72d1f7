//! The event that Lambda hands over for a batch of SQS messages, read as far as it is needed.
//!
//! Own types, as the event is most of what a batch costs: `aws_lambda_events` keeps every field of every record, with two
//! maps each. Whoever has an `SqsEvent` already hands that over: [`Event`] is made `From` it.
//!
//! A field of another type than SQS's counts as absent, so it harms its own record only. An object without a `Records`
//! list is no SQS event: reading it fails, and so does the invocation.
//!
//! Source: <https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html#example-standard-queue-message-event>

use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage, SqsMessageAttribute};

use super::quick;

/// A batch of messages.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Event {
    /// `eventSourceARN`: the queue's. All records of a batch come from one queue; empty where there is no record.
    pub queue_arn: String,
    /// In the order in which Lambda names them.
    pub records: Vec<Message>,
}

/// A message as it came.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Message {
    /// `messageId`.
    pub message_id: Option<String>,
    /// `receiptHandle`.
    pub receipt_handle: Option<String>,
    /// `body`.
    pub body: Option<String>,
    /// `attributes.ApproximateReceiveCount`.
    pub receive_count: Option<u32>,
    /// `attributes.SentTimestamp`, UTC milliseconds.
    pub sent_ms: Option<u64>,
    /// `attributes.MessageGroupId`.
    pub group: Option<String>,
    /// `attributes.AWSTraceHeader`: X-Ray's, where whoever sent the message is traced by it.
    pub aws_trace_header: Option<String>,
    /// `messageAttributes`, in the order in which they came.
    pub attributes: Vec<Attribute>,
}

/// A message attribute of the sender's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// `String`, `Number` or `Binary`, with a label of the sender's after a dot.
    pub data_type: String,
    /// `stringValue`, or `binaryValue` in base64.
    pub value: String,
}

impl Event {
    /// Reads the event from JSON, as [`serde::Deserialize`] does, and quicker.
    ///
    /// # Errors
    /// When it is no SQS event. The error names the place, never what stands there.
    pub fn from_json(json: &str) -> Result<Self, NotSqs> {
        quick::event(json).map_or_else(|| serde_json::from_str(json).map_err(NotSqs::at), Ok)
    }

    /// [`Event::from_json`] of bytes.
    ///
    /// # Errors
    /// As there.
    pub fn from_slice(json: &[u8]) -> Result<Self, NotSqs> {
        match std::str::from_utf8(json) {
            Ok(json) => Self::from_json(json),
            // Unless it is in what is not read, it is an error, and has a place.
            Err(_) => serde_json::from_slice(json).map_err(NotSqs::at),
        }
    }
}

/// The event is none of SQS.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not an SQS event: it cannot be read at line {line}, column {column}")]
pub struct NotSqs {
    /// From 1; 0 where the place is not known.
    pub line: usize,
    /// From 1; 0 where the place is not known.
    pub column: usize,
}

impl NotSqs {
    fn at(error: serde_json::Error) -> Self {
        Self { line: error.line(), column: error.column() }
    }
}

impl From<SqsEvent> for Event {
    fn from(event: SqsEvent) -> Self {
        let queue_arn = event.records.iter().find_map(|record| record.event_source_arn.clone()).unwrap_or_default();
        Self { queue_arn, records: event.records.into_iter().map(Message::from).collect() }
    }
}

impl From<SqsMessage> for Message {
    fn from(mut message: SqsMessage) -> Self {
        let mut attribute = |name: &str| message.attributes.remove(name);
        let (receive_count, sent_ms, group) =
            (attribute("ApproximateReceiveCount"), attribute("SentTimestamp"), attribute("MessageGroupId"));
        let aws_trace_header = attribute("AWSTraceHeader");
        let mut attributes: Vec<Attribute> =
            message.message_attributes.into_iter().filter_map(|(name, value)| Attribute::of(name, value)).collect();
        attributes.sort_by(|one, other| one.name.cmp(&other.name));
        Self {
            message_id: message.message_id,
            receipt_handle: message.receipt_handle,
            body: message.body,
            receive_count: receive_count.and_then(|count| count.parse().ok()),
            sent_ms: sent_ms.and_then(|ms| ms.parse().ok()),
            group,
            aws_trace_header,
            attributes,
        }
    }
}

impl Attribute {
    fn of(name: String, value: SqsMessageAttribute) -> Option<Self> {
        let text = match (value.string_value, value.binary_value) {
            (Some(text), _) => text,
            (None, Some(bytes)) => match serde_json::to_value(bytes).ok()? {
                serde_json::Value::String(base64) => base64,
                serde_json::Value::Null
                | serde_json::Value::Bool(_)
                | serde_json::Value::Number(_)
                | serde_json::Value::Array(_)
                | serde_json::Value::Object(_) => return None,
            },
            (None, None) => return None,
        };
        Some(Self { name, data_type: value.data_type.unwrap_or_else(|| "String".to_owned()), value: text })
    }
}
