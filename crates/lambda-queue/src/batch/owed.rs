//! What the batch owes: messages that wait for company on their way to one queue.

use std::collections::{BTreeMap, HashMap};

use tokio::time::{Duration, Instant};

use super::in_order::InOrder;
use crate::envelope::{self, MOST_BYTES};
use crate::{Failure, Outgoing, Verdict};

/// Entries in one SQS batch call.
pub(super) const MOST_ENTRIES: usize = 10;
/// Longest wait of a ready message for company.
const SEND_AFTER: Duration = Duration::from_millis(500);

/// Messages of one target queue, each with the place of the record that owes it.
pub(super) type Sending = Vec<(usize, Outgoing)>;

/// How each message of a send fared, with the place of the record that owes it, in the order of the messages.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// The target queue.
    pub(super) queue: String,
    pub(super) results: Vec<(usize, Result<(), String>)>,
}

/// Why a record owes something, and what it is once that is sent, or not.
pub(super) enum Debt {
    /// The record is handled.
    Handled(Verdict),
    /// It is poison, too old, or failed at its queue's last receive, and this is its dead letter.
    Letter(Failure),
    /// Its handler was cut off at its queue's last receive, and this is its dead letter.
    Cut,
}

/// What follows from a message that came in, or from a send that is over.
#[derive(Default)]
pub(super) struct Next {
    /// Sends that leave now.
    pub(super) sends: Vec<Sending>,
    /// Records whose messages to a FIFO queue are not sent, as an earlier one of their group was not.
    pub(super) held_back: Vec<usize>,
}

#[derive(Default)]
struct Waiting {
    messages: Sending,
    bytes: usize,
}

/// Messages not sent yet, and records that wait for theirs.
#[derive(Default)]
pub(super) struct Owed {
    waiting: BTreeMap<String, Waiting>,
    /// For FIFO queues.
    in_order: BTreeMap<String, InOrder>,
    debts: HashMap<usize, (usize, Debt)>,
    /// When what waits has to leave, full or not.
    pub(super) flush_at: Option<Instant>,
}

impl Owed {
    /// Takes what a record owes. What has to leave now is ten of one queue, or as many as 1 MiB takes.
    pub(super) fn add(&mut self, at: usize, debt: Debt, messages: Vec<Outgoing>) -> Next {
        let mut next = Next::default();
        self.debts.insert(at, (messages.len(), debt));
        for message in messages {
            if message.queue.ends_with(".fifo") {
                let in_order = self.in_order.entry(message.queue.clone()).or_default();
                if !in_order.add(at, message) {
                    next.held_back.push(at);
                } else if in_order.is_full() {
                    next.sends.extend(in_order.take());
                }
                continue;
            }
            let bytes = envelope::size(&message);
            let waiting = self.waiting.entry(message.queue.clone()).or_default();
            if !waiting.messages.is_empty() && waiting.bytes + bytes > MOST_BYTES {
                next.sends.push(std::mem::take(waiting).messages);
            }
            waiting.bytes += bytes;
            waiting.messages.push((at, message));
            if waiting.messages.len() == MOST_ENTRIES {
                next.sends.push(std::mem::take(waiting).messages);
            }
        }
        let waits = || {
            self.waiting.values().any(|waiting| !waiting.messages.is_empty())
                || self.in_order.values().any(InOrder::is_waiting)
        };
        if self.flush_at.is_none() && waits() {
            self.flush_at = Some(Instant::now() + SEND_AFTER);
        }
        next
    }

    /// All that waits: it leaves now. What waits for a FIFO queue that a call is under way to leaves when that is over.
    pub(super) fn flush(&mut self) -> Vec<Sending> {
        self.flush_at = None;
        let waiting = std::mem::take(&mut self.waiting).into_values().map(|waiting| waiting.messages);
        let mut sends: Vec<Sending> = waiting.filter(|messages| !messages.is_empty()).collect();
        sends.extend(self.in_order.values_mut().filter_map(InOrder::take));
        sends
    }

    /// A send is over. What waited behind it on its FIFO queue leaves now: it has waited long enough.
    pub(super) fn landed(&mut self, sent: &Sent) -> Next {
        let Some(in_order) = self.in_order.get_mut(&sent.queue) else { return Next::default() };
        let held_back = in_order.landed(&sent.results);
        Next { sends: in_order.take().into_iter().collect(), held_back }
    }

    /// Notes how one message fared. Answers the record's end: when its last message is sent, or the first is not.
    pub(super) fn settle(&mut self, at: usize, sent: Result<(), String>) -> Option<(Debt, Result<(), String>)> {
        let (left, _) = self.debts.get_mut(&at)?;
        *left = left.saturating_sub(1);
        if sent.is_ok() && *left > 0 {
            return None;
        }
        self.debts.remove(&at).map(|(_, debt)| (debt, sent))
    }

    /// The records that still wait.
    pub(super) fn unpaid(&mut self) -> impl Iterator<Item = (usize, Debt)> {
        std::mem::take(&mut self.debts).into_iter().map(|(place, (_, debt))| (place, debt))
    }
}
