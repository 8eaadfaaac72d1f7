//! What the batch owes: messages that wait for company on their way to one queue.

use std::collections::{BTreeMap, HashMap};

use tokio::time::{Duration, Instant};

use crate::envelope::{self, MOST_BYTES};
use crate::{Failure, Outgoing, Verdict};

/// Entries in one SQS batch call.
pub(super) const MOST_ENTRIES: usize = 10;
/// Longest wait of a ready message for company.
const SEND_AFTER: Duration = Duration::from_millis(500);

/// Messages of one target queue, each with the place of the record that owes it.
pub(super) type Sending = Vec<(usize, Outgoing)>;

/// Why a record owes something, and what it is once that is sent, or not.
pub(super) enum Debt {
    /// The record is handled.
    Handled(Verdict),
    /// It is poison, or too old, and this is its dead letter.
    Letter(Failure),
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
    debts: HashMap<usize, (usize, Debt)>,
    /// When what waits has to leave, full or not.
    pub(super) flush_at: Option<Instant>,
}

impl Owed {
    /// Takes what a record owes. Answers what has to leave now: ten of one queue, or as many as 1 MiB takes.
    pub(super) fn add(&mut self, at: usize, debt: Debt, messages: Vec<Outgoing>) -> Vec<Sending> {
        let mut full = Vec::new();
        self.debts.insert(at, (messages.len(), debt));
        for message in messages {
            let bytes = envelope::size(&message);
            let waiting = self.waiting.entry(message.queue.clone()).or_default();
            if !waiting.messages.is_empty() && waiting.bytes + bytes > MOST_BYTES {
                full.push(std::mem::take(waiting).messages);
            }
            waiting.bytes += bytes;
            waiting.messages.push((at, message));
            if waiting.messages.len() == MOST_ENTRIES {
                full.push(std::mem::take(waiting).messages);
            }
        }
        if self.flush_at.is_none() && self.waiting.values().any(|waiting| !waiting.messages.is_empty()) {
            self.flush_at = Some(Instant::now() + SEND_AFTER);
        }
        full
    }

    /// All that waits: it leaves now.
    pub(super) fn flush(&mut self) -> Vec<Sending> {
        self.flush_at = None;
        let waiting = std::mem::take(&mut self.waiting).into_values().map(|waiting| waiting.messages);
        waiting.filter(|messages| !messages.is_empty()).collect()
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
