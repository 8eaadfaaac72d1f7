//! What a dead letter says about itself: one compact JSON attribute beside the sender's own.
//!
//! SQS takes ten attributes a message, and 1 MiB of body and attributes together. Whatever the message already has, the
//! letter keeps within both:
//!
//! 1. A `dead_letter` attribute of an earlier letter is replaced.
//! 2. The sender's attributes of type `String` go along as they are, up to nine: by name, those of tracing
//!    (`traceparent`, `tracestate`, `baggage`, `AWSTraceHeader`) last, as they are needed least.
//! 3. All others (a tenth, `Number`, `Binary`, labelled types) are folded into the letter, with their type.
//! 4. What is too large is made smaller in this order, until it fits: the folded attributes are dropped, the largest
//!    first, and counted in `dropped`; the reason is cut; the reason is left out; the attributes that went along are
//!    dropped, the largest first. A body that leaves no room even then goes without the attribute: it was sent with none.
//!
//! Source: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html>,
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::batch::Attribute;
use crate::envelope::attribute_size;
use crate::{Outgoing, Record};

pub use crate::envelope::{MOST_ATTRIBUTES, MOST_BYTES, size as message_bytes};

/// The attribute's name.
pub const ATTRIBUTE: &str = "dead_letter";

/// Longest reason kept, characters.
const REASON: usize = 512;
/// Longest reason kept where there is little room, characters.
const SHORT_REASON: usize = 64;
/// The type of the attributes that go along.
const STRING: &str = "String";
/// What is sent in place of a body that is empty: SQS takes none.
const NO_BODY: &str = "null";
/// Needed least.
const TRACING: [&str; 4] = ["traceparent", "tracestate", "baggage", "AWSTraceHeader"];

/// Why a message was put into its dead-letter queue by its consumer.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DeadLetter {
    /// For people. Holds no customer data.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// For programs: `poison`, `expired`, or of a last receive `exhausted`, `bug` or `cut_off`.
    pub code: String,
    /// Receives so far.
    pub attempts: u32,
    /// The queue it was in.
    pub source_queue: String,
    /// The id it had there.
    pub message_id: String,
    /// When it was sent first, UTC milliseconds.
    pub first_seen_ms: u64,
    /// The sender's attributes that could not go along as they were, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub folded: BTreeMap<String, Folded>,
    /// The sender's attributes that there was no room for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped: usize,
}

/// An attribute of the sender's inside the letter.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Folded {
    /// `Number`, `Binary`, ...
    #[serde(rename = "type")]
    pub data_type: String,
    /// Its text; of a binary one base64.
    pub value: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over by reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl DeadLetter {
    /// The attribute's value: JSON on one line, of characters that SQS takes.
    pub fn to_attribute(&self) -> String {
        let mut short = self.clone();
        short.reason = self.reason.chars().filter(|c| is_text(*c)).take(REASON).collect();
        serde_json::json!(short).to_string()
    }

    /// The letter of a record: its body with this attribute and, by the rules above, the sender's own.
    pub fn to_message(&self, record: &Record, queue: &str) -> Outgoing {
        let body = if record.body.is_empty() { NO_BODY } else { &record.body };
        let fifo = queue.ends_with(".fifo");
        let group = record.context.group.clone();
        Outgoing {
            queue: queue.to_owned(),
            body: body.to_owned(),
            // A FIFO queue takes no message without a group: each is its own then.
            group: if fifo { group.or_else(|| Some(record.message_id.clone())) } else { group },
            dedup: fifo.then(|| record.message_id.clone()),
            attributes: self.attributes(&record.attributes, MOST_BYTES.saturating_sub(body.len())),
        }
    }

    /// All attributes of the letter, within these bytes.
    fn attributes(&self, own: &[Attribute], room: usize) -> Vec<(String, String)> {
        let mut letter = self.clone();
        let mut along: Vec<(String, String)> = Vec::new();
        for attribute in by_need(own) {
            let Attribute { name, data_type, value } = attribute.clone();
            if data_type == STRING && along.len() + 1 < MOST_ATTRIBUTES && !value.is_empty() {
                along.push((name, value));
            } else {
                letter.folded.insert(name, Folded { data_type, value });
            }
        }
        let mut text = letter.to_attribute();
        while attribute_size(ATTRIBUTE, &text)
            + along.iter().map(|(name, value)| attribute_size(name, value)).sum::<usize>()
            > room
        {
            if !letter.shrink(&mut along) {
                along.clear();
                return along;
            }
            text = letter.to_attribute();
        }
        along.insert(0, (ATTRIBUTE.to_owned(), text));
        along
    }

    /// Gives up what is needed least of what is left; `false` where nothing is.
    fn shrink(&mut self, along: &mut Vec<(String, String)>) -> bool {
        let largest = self.folded.iter().max_by_key(|(_, folded)| folded.value.len()).map(|(name, _)| name.clone());
        if let Some(name) = largest {
            self.folded.remove(&name);
            self.dropped += 1;
        } else if self.reason.chars().count() > SHORT_REASON {
            self.reason = self.reason.chars().take(SHORT_REASON).collect();
        } else if !self.reason.is_empty() {
            self.reason.clear();
        } else {
            let largest = along.iter().enumerate().max_by_key(|(_, (_, value))| value.len()).map(|(at, _)| at);
            let Some(at) = largest else { return false };
            along.remove(at);
            self.dropped += 1;
        }
        true
    }
}

/// The sender's attributes, those needed most first.
fn by_need(own: &[Attribute]) -> Vec<&Attribute> {
    let mut own: Vec<&Attribute> = own.iter().filter(|attribute| attribute.name != ATTRIBUTE).collect();
    own.sort_by_key(|attribute| (TRACING.contains(&attribute.name.as_str()), attribute.name.as_str()));
    own
}

/// Whether SQS takes the character, and a log shows it on one line.
fn is_text(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}')
}
