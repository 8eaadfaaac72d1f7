//! What waits for a FIFO queue.
//!
//! One call at a time, and at most one message of a group in it: SQS answers each entry of a call on its own, so only then
//! does nothing overtake a message of its group that was refused. What is owed to that group afterwards is not sent by this
//! invocation, and fails the records that owe it. They come back and owe it again: in order where they come from a FIFO
//! queue, group by group; a standard queue returns them as it likes.

use std::collections::{HashMap, HashSet, VecDeque};

use super::owed::{MOST_ENTRIES, Sending};
use crate::Outgoing;
use crate::dead_letter::{MOST_BYTES, message_bytes};

/// Messages for one FIFO queue, each with the place of the record that owes it.
#[derive(Default)]
pub(super) struct InOrder {
    /// By group, in the order in which they are sent.
    waiting: HashMap<String, VecDeque<(usize, Outgoing)>>,
    /// Groups whose next message may leave.
    ready: VecDeque<String>,
    /// How many messages wait.
    count: usize,
    /// Groups of the call that is under way, in the order of its messages; empty where none is.
    flying: Vec<String>,
    /// Groups of which one was not sent.
    stopped: HashSet<String>,
}

/// A message without a group is refused by the queue: all of them are one.
fn group(message: &Outgoing) -> String {
    message.group.clone().unwrap_or_default()
}

impl InOrder {
    /// Takes a message in; `false` where an earlier one of its group was not sent.
    pub(super) fn add(&mut self, at: usize, message: Outgoing) -> bool {
        let group = group(&message);
        if self.stopped.contains(&group) {
            return false;
        }
        let waiting = self.waiting.entry(group.clone()).or_default();
        waiting.push_back((at, message));
        self.count += 1;
        if waiting.len() == 1 && !self.flying.contains(&group) {
            self.ready.push_back(group);
        }
        true
    }

    /// Whether something waits that a call under way will not take along when it is over.
    pub(super) fn is_waiting(&self) -> bool {
        self.flying.is_empty() && self.count > 0
    }

    /// Whether it has to leave now: as much as one call takes, or more than that.
    pub(super) fn is_full(&self) -> bool {
        let heads = self.ready.iter().filter_map(|group| self.waiting.get(group)?.front());
        self.is_waiting()
            && (self.ready.len() >= MOST_ENTRIES
                || self.count > self.ready.len()
                || heads.map(|(_, message)| message_bytes(message)).sum::<usize>() >= MOST_BYTES)
    }

    /// What leaves next, unless a call is under way.
    pub(super) fn take(&mut self) -> Option<Sending> {
        if !self.is_waiting() {
            return None;
        }
        let (mut sending, mut bytes) = (Sending::new(), 0);
        while sending.len() < MOST_ENTRIES
            && let Some(group) = self.ready.pop_front()
        {
            let Some(waiting) = self.waiting.get_mut(&group) else { continue };
            let Some((at, message)) = waiting.pop_front() else { continue };
            let size = message_bytes(&message);
            if !sending.is_empty() && bytes + size > MOST_BYTES {
                waiting.push_front((at, message));
                self.ready.push_front(group);
                break;
            }
            if waiting.is_empty() {
                self.waiting.remove(&group);
            }
            bytes += size;
            self.count -= 1;
            sending.push((at, message));
            self.flying.push(group);
        }
        (!sending.is_empty()).then_some(sending)
    }

    /// The call under way is over: this became of its messages. Answers the records whose messages are not sent for it.
    pub(super) fn landed(&mut self, results: &[(usize, Result<(), String>)]) -> Vec<usize> {
        let mut held_back = Vec::new();
        for (place, group) in std::mem::take(&mut self.flying).into_iter().enumerate() {
            if results.get(place).is_some_and(|(_, result)| result.is_ok()) {
                if self.waiting.contains_key(&group) {
                    self.ready.push_back(group);
                }
                continue;
            }
            let waiting = self.waiting.remove(&group).unwrap_or_default();
            self.count -= waiting.len();
            held_back.extend(waiting.into_iter().map(|(at, _)| at));
            self.stopped.insert(group);
        }
        held_back
    }
}
