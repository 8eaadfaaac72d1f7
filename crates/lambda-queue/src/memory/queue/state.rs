//! One queue's messages.

use std::collections::{BTreeMap, HashMap, HashSet};

use aws_lambda_events::event::sqs::{SqsMessage, SqsMessageAttribute};

use super::config::{Counts, QueueConfig};
use crate::ports::Outgoing;

/// How long a deduplication id is remembered, milliseconds.
const DEDUP_MS: u64 = 5 * 60 * 1_000;

#[derive(Clone, Debug)]
pub(super) struct Message {
    pub id: String,
    sent: Outgoing,
    /// `SentTimestamp`; retention runs from here.
    enqueued_ms: u64,
    visible_ms: u64,
    receives: u32,
    first_received_ms: Option<u64>,
    /// Of the last receive: its visibility is counted from here.
    received_ms: u64,
    /// ARN of the queue whose dead letter it is.
    source_arn: Option<String>,
}

#[derive(Debug)]
pub(super) struct State {
    pub config: QueueConfig,
    /// By sequence: the order of arrival.
    messages: BTreeMap<u64, Message>,
    last: u64,
    /// Until when an id is remembered, deleted messages' too.
    dedup: HashMap<String, u64>,
}

pub(super) fn arn(name: &str) -> String {
    format!("arn:aws:sqs:us-east-1:000000000000:{name}")
}

/// What a receipt handle says: the message's place, and which receive.
fn receipt(handle: &str) -> Option<(u64, u32)> {
    let (sequence, receive) = handle.split_once('/')?;
    Some((sequence.parse().ok()?, receive.parse().ok()?))
}

impl State {
    pub fn new(config: QueueConfig) -> Self {
        Self { config, messages: BTreeMap::new(), last: 0, dedup: HashMap::new() }
    }

    fn push(&mut self, message: Message) {
        self.last = self.last.saturating_add(1);
        self.messages.insert(self.last, message);
    }

    /// Takes a message in. One whose deduplication id is remembered is swallowed, as a success.
    pub fn enqueue(&mut self, id: String, sent: Outgoing, now_ms: u64) {
        if self.config.is_fifo() {
            self.dedup.retain(|_, until_ms| *until_ms > now_ms);
            let key = sent.dedup.clone().unwrap_or_else(|| format!("body:{}", sent.body));
            if self.dedup.contains_key(&key) {
                return;
            }
            self.dedup.insert(key, now_ms.saturating_add(DEDUP_MS));
        }
        let visible_ms = now_ms.saturating_add(self.config.delay_ms);
        self.push(Message {
            id,
            sent,
            enqueued_ms: now_ms,
            visible_ms,
            receives: 0,
            first_received_ms: None,
            received_ms: now_ms,
            source_arn: None,
        });
    }

    /// Takes in a dead letter of another queue. A standard queue keeps its enqueue time, a FIFO queue starts anew.
    pub fn take_dead(&mut self, mut message: Message, source: &str, now_ms: u64) {
        if self.config.is_fifo() {
            message.enqueued_ms = now_ms;
        }
        message.visible_ms = now_ms;
        message.source_arn = Some(arn(source));
        self.push(message);
    }

    /// Forgets what is older than the retention.
    pub fn expire(&mut self, now_ms: u64) {
        let retention_ms = self.config.retention_ms;
        self.messages.retain(|_, message| message.enqueued_ms.saturating_add(retention_ms) > now_ms);
    }

    /// The sequences that a receive may take, in order: of a FIFO group all before its first invisible message.
    pub fn ready(&self, now_ms: u64) -> Vec<u64> {
        let mut blocked: HashSet<&str> = HashSet::new();
        let mut ready = Vec::new();
        for (sequence, message) in &self.messages {
            let group = message.sent.group.as_deref().filter(|_| self.config.is_fifo());
            if group.is_some_and(|group| blocked.contains(group)) {
                continue;
            }
            if message.visible_ms > now_ms {
                blocked.extend(group);
            } else {
                ready.push(*sequence);
            }
        }
        ready
    }

    /// Takes the message out, if it was received too often to be received again.
    pub fn pop_dead(&mut self, sequence: u64) -> Option<Message> {
        let (_, most) = self.config.redrive.as_ref()?;
        if self.messages.get(&sequence)?.receives < *most {
            return None;
        }
        self.messages.remove(&sequence)
    }

    /// Receives a message: invisible from now on, unless it is to stay.
    pub fn receive(&mut self, sequence: u64, now_ms: u64, stays: bool) -> Option<SqsMessage> {
        let visibility_ms = self.config.visibility_ms;
        let message = self.messages.get_mut(&sequence)?;
        message.receives = message.receives.saturating_add(1);
        message.first_received_ms.get_or_insert(now_ms);
        message.received_ms = now_ms;
        if !stays {
            message.visible_ms = now_ms.saturating_add(visibility_ms);
        }
        let message = &*message;
        let mut attributes = HashMap::from([
            ("ApproximateReceiveCount".to_owned(), message.receives.to_string()),
            ("SentTimestamp".to_owned(), message.enqueued_ms.to_string()),
            ("SenderId".to_owned(), "AIDAMEMORY".to_owned()),
            ("ApproximateFirstReceiveTimestamp".to_owned(), message.first_received_ms.unwrap_or(now_ms).to_string()),
        ]);
        let mut add = |name: &str, value: Option<String>| {
            attributes.extend(value.map(|value| (name.to_owned(), value)));
        };
        add("MessageGroupId", message.sent.group.clone());
        add("MessageDeduplicationId", message.sent.dedup.clone());
        add("DeadLetterQueueSourceArn", message.source_arn.clone());
        add("SequenceNumber", self.config.is_fifo().then(|| format!("{sequence:020}")));
        let own = message.sent.attributes.iter().map(|(name, value)| {
            let mut attribute = SqsMessageAttribute::default();
            attribute.data_type = Some("String".to_owned());
            attribute.string_value = Some(value.clone());
            (name.clone(), attribute)
        });
        let mut received = SqsMessage::default();
        received.message_id = Some(message.id.clone());
        received.receipt_handle = Some(format!("{sequence}/{}", message.receives));
        received.body = Some(message.sent.body.clone());
        received.message_attributes = own.collect();
        received.attributes = attributes;
        received.event_source_arn = Some(arn(&self.config.name));
        received.event_source = Some("aws:sqs".to_owned());
        received.aws_region = Some("us-east-1".to_owned());
        Some(received)
    }

    /// Deletes what was received with this handle. Again is fine; a handle of an earlier receive is refused.
    pub fn delete(&mut self, handle: &str) -> Result<(), String> {
        let (sequence, receive) = receipt(handle).ok_or("ReceiptHandleIsInvalid: The receipt handle is not valid")?;
        match self.messages.get(&sequence) {
            Some(message) if message.receives != receive => {
                Err("ReceiptHandleIsInvalid: The receipt handle has expired".to_owned())
            }
            Some(_) => {
                self.messages.remove(&sequence);
                Ok(())
            }
            None if sequence <= self.last => Ok(()),
            None => Err("ReceiptHandleIsInvalid: The receipt handle is not valid".to_owned()),
        }
    }

    /// Changes when a received message is visible again. All of a receive's visibility together is at most twelve hours.
    pub fn change_visibility(&mut self, handle: &str, seconds: u32, now_ms: u64) -> Result<(), String> {
        /// Twelve hours.
        const MOST_S: u32 = 43_200;
        if seconds > MOST_S {
            return Err(format!("InvalidParameterValue: VisibilityTimeout {seconds} is over {MOST_S}"));
        }
        let (sequence, receive) = receipt(handle).ok_or("ReceiptHandleIsInvalid: The receipt handle is not valid")?;
        let message = self.messages.get_mut(&sequence);
        let message = message.filter(|message| message.receives == receive && message.visible_ms > now_ms);
        let message = message
            .ok_or("InvalidParameterValue: Message does not exist or is not available for visibility timeout change")?;
        let visible_ms = now_ms.saturating_add(u64::from(seconds).saturating_mul(1_000));
        if visible_ms > message.received_ms.saturating_add(u64::from(MOST_S).saturating_mul(1_000)) {
            return Err(format!(
                "InvalidParameterValue: Value {seconds} for parameter VisibilityTimeout is invalid. Reason: Total \
                 VisibilityTimeout for the message is beyond the limit [{MOST_S} seconds]"
            ));
        }
        message.visible_ms = visible_ms;
        Ok(())
    }

    pub fn purge(&mut self) {
        self.messages.clear();
    }

    pub fn counts(&self, now_ms: u64) -> Counts {
        let mut counts = Counts::default();
        for message in self.messages.values() {
            let of = match (message.visible_ms > now_ms, message.receives) {
                (false, _) => &mut counts.visible,
                (true, 0) => &mut counts.delayed,
                (true, _) => &mut counts.in_flight,
            };
            *of = of.saturating_add(1);
        }
        counts
    }

    pub fn bodies(&self) -> Vec<String> {
        self.messages.values().map(|message| message.sent.body.clone()).collect()
    }
}
