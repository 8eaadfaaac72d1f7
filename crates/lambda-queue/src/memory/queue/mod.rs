//! SQS in memory.
//!
//! Source: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/welcome.html>

mod config;
mod state;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};

pub use config::{Counts, Disorder, QueueCall, QueueConfig, QueueFault};

use super::World;
use crate::meter;
use crate::ports::store::StoreError;
use crate::ports::{Clock as _, Entry, Ids as _, Outgoing, Queue, QueueDepth, Random as _};
use config::Hook;
use state::State;

/// Entries of a batch call.
const MOST: usize = 10;
/// Bytes of an entry, and of a batch. The service's own, as is [`bytes`]: what judges the library's rule is not that rule.
const BYTES: usize = 1024 * 1024;
/// Attributes of a message.
const ATTRIBUTES: usize = 10;
/// Characters of a group or deduplication id.
const ID_LENGTH: usize = 128;

/// Queues in memory. Clones are the same queues. A queue is named by its name, its URL or its ARN.
///
/// Nothing is polled: [`MemoryQueue::receive`] is one look at a queue by the world's clock, and [`MemoryQueue::settle`] does
/// with a batch what Lambda does once the function has answered.
#[derive(Clone, Debug)]
pub struct MemoryQueue {
    inner: Arc<Mutex<Inner>>,
    world: World,
}

#[derive(Debug, Default)]
struct Inner {
    queues: BTreeMap<String, State>,
    disorder: Disorder,
    hook: Option<Hook>,
}

fn name_of(queue: &str) -> &str {
    queue.rsplit(['/', ':']).next().unwrap_or(queue)
}

fn missing() -> String {
    "AWS.SimpleQueueService.NonExistentQueue: The specified queue does not exist".to_owned()
}

impl MemoryQueue {
    /// No queues yet, in this world.
    pub fn new(world: World) -> Self {
        Self { inner: Arc::default(), world }
    }

    /// Creates a queue. One of this name that is there is replaced by an empty one.
    pub fn create(&self, config: QueueConfig) {
        self.lock().queues.insert(config.name.clone(), State::new(config));
    }

    /// With a queue.
    #[must_use]
    pub fn with(self, config: QueueConfig) -> Self {
        self.create(config);
        self
    }

    /// How far from the best case standard queues go from now on.
    pub fn set_disorder(&self, disorder: Disorder) {
        self.lock().disorder = disorder;
    }

    /// Every call asks this first what is to happen to it. Replaces the hook before.
    pub fn set_faults(&self, choose: impl FnMut(&QueueCall) -> QueueFault + Send + 'static) {
        self.lock().hook = Some(Hook(Box::new(choose)));
    }

    /// Nothing goes wrong any more.
    pub fn clear_faults(&self) {
        self.lock().hook = None;
    }

    /// Receives at most so many messages, as the event that Lambda gives a function; without records where nothing is
    /// visible, or no such queue is there. What was received too often goes to its dead-letter queue instead.
    pub fn receive(&self, queue: &str, most: usize) -> SqsEvent {
        let now_ms = self.world.now_ms();
        let mut inner = self.lock();
        let inner = &mut *inner;
        let mut event = SqsEvent::default();
        let redrive = inner.queues.get(name_of(queue)).and_then(|state| state.config.redrive.clone());
        // A message stays where it is, if its dead-letter queue is not there.
        let target = redrive.map(|(name, _)| name).filter(|name| inner.queues.contains_key(name));
        let Some(state) = inner.queues.get_mut(name_of(queue)) else { return event };
        let disorder = if state.config.is_fifo() { Disorder::default() } else { inner.disorder };
        state.expire(now_ms);
        let mut dead = Vec::new();
        let mut ready = state.ready(now_ms);
        while event.records.len() < most && !ready.is_empty() {
            let at = if disorder.shuffled { self.world.below(u64::try_from(ready.len()).unwrap_or(1)) } else { 0 };
            let at = usize::try_from(at).unwrap_or(0);
            let Some(sequence) = ready.get(at).copied() else { break };
            if let Some(message) = target.as_ref().and_then(|_| state.pop_dead(sequence)) {
                dead.push(message);
                ready.remove(at);
                continue;
            }
            let stays = disorder.duplicates > 0.0 && self.world.chance(disorder.duplicates);
            event.records.extend(state.receive(sequence, now_ms, stays));
            if !stays {
                ready.remove(at);
            }
        }
        let source = state.config.name.clone();
        if let Some(target) = target.and_then(|name| inner.queues.get_mut(&name)) {
            dead.into_iter().for_each(|message| target.take_dead(message, &source, now_ms));
        }
        event
    }

    /// Does with a received batch what Lambda does once the function answered (`ReportBatchItemFailures`): deletes what was
    /// not named. An answer that names what is not in the batch counts as none, and nothing is deleted. What is not
    /// deleted comes back when its visibility ends. Answers how many were deleted.
    pub fn settle(&self, event: &SqsEvent, answer: &SqsBatchResponse) -> usize {
        let ids: HashSet<&str> = event.records.iter().filter_map(|record| record.message_id.as_deref()).collect();
        let failed: HashSet<&str> =
            answer.batch_item_failures.iter().map(|failure| failure.item_identifier.as_str()).collect();
        if !failed.is_subset(&ids) {
            return 0;
        }
        let mut deleted = 0_usize;
        for record in &event.records {
            let (Some(id), Some(handle)) = (record.message_id.as_deref(), record.receipt_handle.as_deref()) else {
                continue;
            };
            let arn = record.event_source_arn.as_deref().unwrap_or_default();
            if !failed.contains(id) && self.delete(arn, handle).is_ok() {
                deleted = deleted.saturating_add(1);
            }
        }
        deleted
    }

    /// `DeleteMessage`. Again is fine; the handle of an earlier receive is refused.
    pub fn delete(&self, queue: &str, receipt_handle: &str) -> Result<(), String> {
        self.lock().queues.get_mut(name_of(queue)).ok_or_else(missing)?.delete(receipt_handle)
    }

    /// `PurgeQueue`, at once.
    pub fn purge(&self, queue: &str) {
        if let Some(state) = self.lock().queues.get_mut(name_of(queue)) {
            state.purge();
        }
    }

    /// How many messages are where; none where there is no such queue.
    pub fn counts(&self, queue: &str) -> Counts {
        let now_ms = self.world.now_ms();
        let mut inner = self.lock();
        let Some(state) = inner.queues.get_mut(name_of(queue)) else { return Counts::default() };
        state.expire(now_ms);
        state.counts(now_ms)
    }

    /// The bodies of all messages in a queue, the oldest first, without a call: for checkers.
    pub fn bodies(&self, queue: &str) -> Vec<String> {
        self.lock().queues.get(name_of(queue)).map(State::bodies).unwrap_or_default()
    }

    /// The names of the queues.
    pub fn names(&self) -> Vec<String> {
        self.lock().queues.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault(&self, call: &QueueCall) -> QueueFault {
        meter::count("sqs");
        self.lock().hook.as_mut().map(|Hook(choose)| choose(call)).unwrap_or_default()
    }

    /// Does every entry by the fault that was chosen.
    fn each(
        &self,
        entries: usize,
        fault: &QueueFault,
        mut one: impl FnMut(usize) -> Result<(), String>,
    ) -> Vec<Result<(), String>> {
        let all = |why: &str| vec![Err(why.to_owned()); entries];
        match fault {
            QueueFault::Throttle => all("RequestThrottled: Request is throttled"),
            QueueFault::Vanished => all("timeout"),
            QueueFault::None => (0..entries).map(one).collect(),
            QueueFault::Lost => {
                // Refusals and successes alike are not heard of.
                let done = (0..entries).map(one).collect::<Vec<_>>();
                done.into_iter().map(|_| Err("timeout".to_owned())).collect()
            }
            QueueFault::Partial(failing) => (0..entries)
                .map(|at| if failing.contains(&at) { Err("InternalError: try again".to_owned()) } else { one(at) })
                .collect(),
        }
    }
}

/// What the service refuses of one entry.
fn check(message: &Outgoing, fifo: bool, content_dedup: bool) -> Result<(), String> {
    let odd =
        |c: char| !matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..);
    if message.body.is_empty() {
        return Err("MissingParameter: The request must contain the parameter MessageBody.".to_owned());
    }
    if message.body.contains(odd) {
        return Err("InvalidMessageContents: Invalid characters found in the message body".to_owned());
    }
    if message.attributes.len() > ATTRIBUTES {
        return Err(format!("InvalidParameterValue: more than {ATTRIBUTES} message attributes"));
    }
    if message.attributes.iter().any(|(name, value)| name.is_empty() || value.is_empty() || value.contains(odd)) {
        return Err("InvalidParameterValue: a message attribute is empty or has invalid characters".to_owned());
    }
    let long = |id: &Option<String>| id.as_ref().is_some_and(|id| id.is_empty() || id.len() > ID_LENGTH);
    if long(&message.group) || long(&message.dedup) {
        return Err(format!("InvalidParameterValue: an id is empty or over {ID_LENGTH} characters"));
    }
    match (fifo, &message.group, &message.dedup) {
        (true, None, _) => Err("MissingParameter: The request must contain the parameter MessageGroupId.".to_owned()),
        (true, Some(_), None) if !content_dedup => {
            Err("InvalidParameterValue: The queue should either have ContentBasedDeduplication enabled or \
             MessageDeduplicationId provided explicitly"
                .to_owned())
        }
        (false, _, Some(_)) => Err("InvalidParameterValue: MessageDeduplicationId is only for FIFO queues".to_owned()),
        (true, Some(_), _) | (false, _, None) => Ok(()),
    }
}

fn bytes(message: &Outgoing) -> usize {
    let attribute =
        |(name, value): &(String, String)| name.len().saturating_add(value.len()).saturating_add("String".len());
    message.attributes.iter().map(attribute).sum::<usize>().saturating_add(message.body.len())
}

impl Queue for MemoryQueue {
    async fn send(&self, queue: &str, messages: &[Outgoing]) -> Vec<Result<(), String>> {
        if messages.is_empty() {
            return Vec::new();
        }
        let name = name_of(queue);
        let fault = self.fault(&QueueCall::Send { queue: name.to_owned(), entries: messages.len() });
        tokio::task::yield_now().await;
        let all = |why: String| vec![Err(why); messages.len()];
        if messages.len() > MOST {
            return all(format!("TooManyEntriesInBatchRequest: Maximum number of entries per request are {MOST}"));
        }
        if messages.iter().map(bytes).sum::<usize>() > BYTES {
            return all(format!("BatchRequestTooLong: Batch requests cannot be longer than {BYTES} bytes"));
        }
        let now_ms = self.world.now_ms();
        self.each(messages.len(), &fault, |at| {
            let Some(message) = messages.get(at) else { return Err(missing()) };
            let id = self.world.fresh().to_string();
            let mut inner = self.lock();
            let state = inner.queues.get_mut(name).ok_or_else(missing)?;
            check(message, state.config.is_fifo(), state.config.content_dedup)?;
            state.enqueue(id, message.clone(), now_ms);
            Ok(())
        })
    }

    async fn change_visibility(&self, queue_arn: &str, entries: &[Entry]) -> Vec<Result<(), String>> {
        if entries.is_empty() {
            return Vec::new();
        }
        let name = name_of(queue_arn);
        let fault = self.fault(&QueueCall::ChangeVisibility { queue: name.to_owned(), entries: entries.len() });
        tokio::task::yield_now().await;
        if entries.len() > MOST {
            let why = format!("TooManyEntriesInBatchRequest: Maximum number of entries per request are {MOST}");
            return vec![Err(why); entries.len()];
        }
        let now_ms = self.world.now_ms();
        self.each(entries.len(), &fault, |at| {
            let Some(entry) = entries.get(at) else { return Err(missing()) };
            let mut inner = self.lock();
            let state = inner.queues.get_mut(name).ok_or_else(missing)?;
            state.change_visibility(&entry.receipt_handle, entry.visible_in_s, now_ms)
        })
    }
}

impl QueueDepth for MemoryQueue {
    async fn queue_depth(&self, queue_arn: &str) -> Result<u64, StoreError> {
        meter::count("sqs");
        tokio::task::yield_now().await;
        if !self.lock().queues.contains_key(name_of(queue_arn)) {
            return Err(StoreError::NotDone(missing()));
        }
        Ok(u64::try_from(self.counts(queue_arn).visible).unwrap_or(u64::MAX))
    }
}
