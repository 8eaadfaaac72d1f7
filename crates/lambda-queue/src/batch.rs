//! The batch loop: every record on its own, an answer that names exactly the unhandled ones.
//!
//! - A panic is that record's failure. Records of a standard queue run side by side under a cap; on a FIFO queue the
//!   groups do, and inside a group a failure fails all that follows it.
//! - What records owe ([`Done::owes`]) is sent together, one `SendMessageBatch` a target queue: as soon as ten are
//!   ready, or 500 ms after the first, or when nothing else runs. A message that cannot be sent fails its record.
//! - Two seconds of the invocation are kept for that. What has not finished by then goes back as failed.
//!
//! Source: <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>

use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use futures::stream::{self, FuturesUnordered};
use futures::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::dead_letter::{self, DeadLetter};
use crate::meter::Meter;
use crate::metrics::Document;
use crate::retry;
use crate::{Clock, Done, Entry, Failure, Outgoing, Queue, Random, Verdict};

/// Entries in one SQS batch call.
const BATCH: usize = 10;
/// Longest wait of a ready message for company.
const SEND_AFTER: Duration = Duration::from_millis(500);
/// Kept of every invocation for sends, visibility changes and the answer, milliseconds.
const KEPT_MS: u64 = 2_000;
/// Of the kept time, kept for the answer itself, milliseconds.
const ANSWER_MS: u64 = 200;

/// One received message.
#[derive(Clone, Debug)]
pub struct Record {
    /// SQS's id. A replay mints a new one: never an idempotency key.
    pub message_id: String,
    /// The body, as it is.
    pub body: String,
    /// When and how it came.
    pub context: RecordContext,
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

/// The invocation that brought the batch.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// Lambda's request id.
    pub request_id: String,
    /// UTC milliseconds.
    pub deadline_ms: u64,
    /// Whether it is the process's first.
    pub cold_start: bool,
}

/// The event is none that can be answered per record: the invocation has to fail, so that nothing is deleted.
#[derive(Debug, thiserror::Error)]
pub enum Unanswerable {
    /// A record has no messageId, so no answer could name it.
    #[error("record {position} of the event has no messageId: the batch cannot be answered per record")]
    NoMessageId {
        /// Its place in the event.
        position: usize,
    },
}

/// A consumer's batch loop.
pub struct Batch<'a, P> {
    /// The function's name, in logs and metrics.
    pub function: &'static str,
    /// Clock, randomness, queue.
    pub ports: &'a P,
    /// Where poison goes: the queue's own dead-letter queue. Without one poison stays failed.
    pub dead_letters: Option<String>,
    /// Most records (on FIFO: groups) at a time.
    pub concurrency: usize,
}

/// What became of a record.
type Ended = Result<Verdict, Failure>;

struct Slot {
    record: Record,
    receipt_handle: Option<String>,
    meter: Meter,
    ended: Option<Ended>,
    follower: bool,
    order_id: Option<String>,
}

impl<P: Clock + Random + Queue> Batch<'_, P> {
    /// Runs `handler` for every record of the event and answers which were not handled.
    ///
    /// An empty event answers an empty list. A message that is in the batch twice is handled once.
    pub async fn run<F, W>(&self, event: SqsEvent, of: Invocation, handler: F) -> Result<SqsBatchResponse, Unanswerable>
    where
        F: Fn(Record) -> W,
        W: Future<Output = Result<Done, Failure>>,
    {
        let started_ms = self.ports.now_ms();
        let invocation_meter = Meter::default();
        let arn = event.records.first().and_then(|record| record.event_source_arn.clone()).unwrap_or_default();
        let fifo = arn.ends_with(".fifo");
        let mut slots = slots(event, of.deadline_ms)?;
        invocation_meter
            .around(async {
                // Boxed here and there: a handler over the SDK nests futures deeper than the compiler likes to lay out.
                Box::pin(self.handle_all(&mut slots, fifo, of.deadline_ms, &handler)).await;
                if fifo {
                    fail_followers(&mut slots, |failure| !matches!(failure, Failure::Poison { .. }));
                }
                self.in_time(of.deadline_ms, "dead-lettering", self.bury(&mut slots, &arn)).await;
                if fifo {
                    // Poison that could not be moved is still the head of its group.
                    fail_followers(&mut slots, |_| true);
                }
                self.in_time(of.deadline_ms, "changing visibility", self.delay(&slots, &arn, fifo)).await;
            })
            .await;
        Ok(self.answer(&slots, &arn, &of, started_ms, &invocation_meter))
    }

    /// Runs the handlers and sends what they owe, until all is done or the time is up.
    async fn handle_all<F, W>(&self, slots: &mut [Slot], fifo: bool, deadline_ms: u64, handler: &F)
    where
        F: Fn(Record) -> W,
        W: Future<Output = Result<Done, Failure>>,
    {
        let left = |kept_ms: u64| {
            let left_ms = deadline_ms.saturating_sub(self.ports.now_ms()).saturating_sub(kept_ms);
            Instant::now() + Duration::from_millis(left_ms)
        };
        let (handlers_end, sends_end) = (left(KEPT_MS), left(ANSWER_MS));
        let work: Vec<Vec<(usize, Record, Meter)>> = lines(slots, fifo)
            .into_iter()
            .map(|line| {
                line.into_iter()
                    .filter_map(|at| slots.get(at).map(|slot| (at, slot.record.clone(), slot.meter.clone())))
                    .collect()
            })
            .collect();
        let (finished, mut results) = mpsc::unbounded_channel::<(usize, Result<Done, Failure>)>();
        let driver = stream::iter(work).for_each_concurrent(self.concurrency.max(1), |line| {
            let finished = finished.clone();
            async move {
                for (at, record, meter) in line {
                    let guarded = AssertUnwindSafe(Box::pin(meter.around(Box::pin(handler(record))))).catch_unwind();
                    let result = guarded.await.unwrap_or_else(|panic| Err(Failure::bug(panic_text(&*panic))));
                    let stop = matches!(&result, Err(failure) if !matches!(failure, Failure::Poison { .. }));
                    // The receiver outlives the driver, so this cannot fail.
                    finished.send((at, result)).ok();
                    if stop {
                        return;
                    }
                }
            }
        });
        let mut driver = Some(Box::pin(driver));
        let mut ready: BTreeMap<String, Vec<(usize, Outgoing)>> = BTreeMap::new();
        let mut owing: HashMap<usize, (usize, Verdict)> = HashMap::new();
        let mut sends = FuturesUnordered::new();
        let mut flush_at: Option<Instant> = None;
        loop {
            let idle = Instant::now() + Duration::from_secs(3600);
            tokio::select! {
                biased;
                Some((at, result)) = results.recv() => match result {
                    Ok(done) if !done.owes.is_empty() => {
                        owing.insert(at, (done.owes.len(), done.verdict));
                        for outgoing in done.owes {
                            let waiting = ready.entry(outgoing.queue.clone()).or_default();
                            waiting.push((at, outgoing));
                            if waiting.len() == BATCH {
                                sends.push(self.send(std::mem::take(waiting)));
                            }
                        }
                        flush_at = flush_at.or(Some(Instant::now() + SEND_AFTER));
                    }
                    result => end(slots, at, result.map(|done| done.verdict)),
                },
                () = async { if let Some(driver) = driver.as_mut() { driver.await } }, if driver.is_some() => driver = None,
                Some(sent) = sends.next(), if !sends.is_empty() => {
                    for (at, result) in sent {
                        settle(slots, &mut owing, at, result);
                    }
                }
                () = sleep_until(flush_at.unwrap_or(idle)), if flush_at.is_some() => {
                    flush(&mut ready, |messages| sends.push(self.send(messages)));
                    flush_at = None;
                }
                () = sleep_until(handlers_end), if driver.is_some() => driver = None,
                () = sleep_until(sends_end) => break,
            }
            if driver.is_none() && results.is_empty() {
                flush(&mut ready, |messages| sends.push(self.send(messages)));
                flush_at = None;
                if sends.is_empty() {
                    break;
                }
            }
        }
        let until_ms = self.ports.now_ms();
        for slot in slots.iter_mut().filter(|slot| slot.ended.is_none() && !slot.follower) {
            slot.ended = Some(Err(Failure::Defer { until_ms, why: "the invocation's time ran out".into() }));
        }
    }

    /// Cuts off what would outlast the invocation: an answer that is late fails the whole batch.
    async fn in_time(&self, deadline_ms: u64, what: &str, work: impl Future<Output = ()>) {
        let left_ms = deadline_ms.saturating_sub(self.ports.now_ms()).saturating_sub(ANSWER_MS / 2);
        if tokio::time::timeout(Duration::from_millis(left_ms), work).await.is_err() {
            tracing::warn!(what, "cut off for the answer's sake: what is not done stays failed");
        }
    }

    /// One `SendMessageBatch` of at most ten; the answer says for each source record how its message fared.
    async fn send(&self, messages: Vec<(usize, Outgoing)>) -> Vec<(usize, Result<(), String>)> {
        let (sources, outgoing): (Vec<usize>, Vec<Outgoing>) = messages.into_iter().unzip();
        let Some(queue) = outgoing.first().map(|first| first.queue.clone()) else { return Vec::new() };
        let mut results = self.ports.send(&queue, &outgoing).await.into_iter();
        sources
            .into_iter()
            .map(|at| (at, results.next().unwrap_or_else(|| Err("the queue did not answer for it".into()))))
            .collect()
    }

    /// Moves poison, and what is too old to be tried again, to the dead-letter queue. What cannot be moved stays failed.
    async fn bury(&self, slots: &mut [Slot], arn: &str) {
        let Some(queue) = &self.dead_letters else { return };
        let now_ms = self.ports.now_ms();
        let source_queue = arn.rsplit(':').next().unwrap_or_default();
        let dead: Vec<(usize, Outgoing)> = slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| !slot.follower)
            .filter_map(|(at, slot)| {
                let (reason, code) = match slot.ended.as_ref()? {
                    Err(Failure::Poison { reason }) => (reason.clone(), "poison"),
                    Err(Failure::Retry { why, .. })
                        if now_ms.saturating_sub(slot.record.context.sent_ms) > retry::GIVE_UP_MS =>
                    {
                        (why.clone(), "expired")
                    }
                    Ok(_)
                    | Err(
                        Failure::Retry { .. } | Failure::Defer { .. } | Failure::Unknown { .. } | Failure::Bug { .. },
                    ) => return None,
                };
                let letter = DeadLetter {
                    reason,
                    code: code.to_owned(),
                    attempts: slot.record.context.receive_count,
                    source_queue: source_queue.to_owned(),
                    message_id: slot.record.message_id.clone(),
                    first_seen_ms: slot.record.context.sent_ms,
                };
                let fifo = queue.ends_with(".fifo");
                Some((
                    at,
                    Outgoing {
                        queue: queue.clone(),
                        body: slot.record.body.clone(),
                        group: slot.record.context.group.clone(),
                        dedup: fifo.then(|| slot.record.message_id.clone()),
                        attributes: vec![(dead_letter::ATTRIBUTE.to_owned(), letter.to_attribute())],
                    },
                ))
            })
            .collect();
        let sent = stream::iter(dead.chunks(BATCH)).then(|chunk| self.send(chunk.to_vec())).collect::<Vec<_>>().await;
        for (at, result) in sent.into_iter().flatten() {
            let Some(slot) = slots.get_mut(at) else { continue };
            match result {
                Ok(()) => {
                    tracing::error!(
                        message_id = slot.record.message_id,
                        failure =
                            slot.ended.as_ref().and_then(|ended| ended.as_ref().err()).map(tracing::field::display),
                        "dead-lettered"
                    );
                    slot.ended = Some(Ok(Verdict::Done));
                }
                Err(why) => tracing::error!(message_id = slot.record.message_id, why, "could not be dead-lettered"),
            }
        }
    }

    /// Sets when the failed records come back. A change that fails is harmless: the queue's own timeout stands.
    async fn delay(&self, slots: &[Slot], arn: &str, fifo: bool) {
        let now_ms = self.ports.now_ms();
        let mut group_delay: HashMap<Option<String>, u32> = HashMap::new();
        let mut entries = Vec::new();
        for slot in slots {
            let Some(receipt_handle) = slot.receipt_handle.clone() else { continue };
            let context = &slot.record.context;
            let visible_in_s = match (&slot.ended, slot.follower) {
                (Some(Ok(_)), _) => continue,
                (Some(Err(failure)), _) => {
                    let seconds = self.delay_of(failure, context, now_ms);
                    group_delay.insert(context.group.clone(), seconds);
                    seconds
                }
                (None, true) if fifo => group_delay.get(&context.group).copied().unwrap_or(1),
                (None, _) => continue,
            };
            entries.push(Entry { receipt_handle, visible_in_s });
        }
        for chunk in entries.chunks(BATCH) {
            for result in self.ports.change_visibility(arn, chunk).await {
                if let Err(why) = result {
                    tracing::warn!(why, "visibility not changed: the queue's timeout stands");
                }
            }
        }
    }

    fn delay_of(&self, failure: &Failure, context: &RecordContext, now_ms: u64) -> u32 {
        match failure {
            Failure::Retry { after: Some(after), .. } => retry::after_s(*after),
            Failure::Defer { until_ms, .. } | Failure::Unknown { until_ms, .. } => retry::until_s(*until_ms, now_ms),
            Failure::Retry { after: None, .. } | Failure::Poison { .. } | Failure::Bug { .. } => {
                retry::backoff_s(context.receive_count, now_ms.saturating_sub(context.sent_ms), self.ports)
            }
        }
    }

    /// The answer, and the lines that tell what happened.
    fn answer(&self, slots: &[Slot], arn: &str, of: &Invocation, started_ms: u64, meter: &Meter) -> SqsBatchResponse {
        let now_ms = self.ports.now_ms();
        let queue = arn.rsplit(':').next().unwrap_or_default();
        let mut failed_ids = Vec::new();
        for slot in slots {
            let id = slot.record.message_id.clone();
            let verdict = match &slot.ended {
                Some(Ok(verdict)) => verdict.name(),
                Some(Err(failure)) => {
                    failed_ids.push(id.clone());
                    match failure {
                        Failure::Bug { .. } | Failure::Poison { .. } => {
                            tracing::error!(message_id = id, %failure, "record failed");
                        }
                        Failure::Retry { .. } | Failure::Defer { .. } | Failure::Unknown { .. } => {
                            tracing::warn!(message_id = id, %failure, "record failed");
                        }
                    }
                    failure.name()
                }
                None => {
                    failed_ids.push(id.clone());
                    "follower"
                }
            };
            Document::new("record finished")
                .dimension("function", self.function)
                .metric("latency_ms", "Milliseconds", now_ms.saturating_sub(slot.record.context.sent_ms))
                .property("request_id", of.request_id.as_str())
                .property("message_id", id)
                .property("order_id", slot.order_id.clone())
                .property("queue", queue)
                .property("verdict", verdict)
                .property("receive_count", slot.record.context.receive_count)
                .property("calls", serde_json::json!(slot.meter.calls()))
                .emit(now_ms);
        }
        let received: Vec<&str> = slots.iter().map(|slot| slot.record.message_id.as_str()).collect();
        Document::new("invocation finished")
            .dimension("function", self.function)
            .metric("records", "Count", slots.len() as u64)
            .metric("failed", "Count", failed_ids.len() as u64)
            .metric("duration_ms", "Milliseconds", now_ms.saturating_sub(started_ms))
            .property("request_id", of.request_id.as_str())
            .property("queue", queue)
            .property("received_ids", serde_json::json!(received))
            .property("failed_ids", serde_json::json!(failed_ids))
            .property("calls", serde_json::json!(meter.calls()))
            .property("sends", serde_json::json!(meter.sends()))
            .property("cold_start", of.cold_start)
            .emit(now_ms);
        let failures = failed_ids.into_iter().map(|item_identifier| {
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = item_identifier;
            failure
        });
        let mut response = SqsBatchResponse::default();
        response.batch_item_failures = failures.collect();
        response
    }
}

/// The event's records, each once.
fn slots(event: SqsEvent, deadline_ms: u64) -> Result<Vec<Slot>, Unanswerable> {
    let mut slots: Vec<Slot> = Vec::with_capacity(event.records.len());
    let mut seen = HashMap::new();
    for (position, message) in event.records.into_iter().enumerate() {
        let message_id = message.message_id.clone().filter(|id| !id.is_empty());
        let message_id = message_id.ok_or(Unanswerable::NoMessageId { position })?;
        if seen.insert(message_id.clone(), position).is_some() {
            continue;
        }
        slots.push(slot(message_id, message, deadline_ms));
    }
    Ok(slots)
}

fn slot(message_id: String, message: SqsMessage, deadline_ms: u64) -> Slot {
    let number = |name: &str| message.attributes.get(name).and_then(|value| value.parse::<u64>().ok());
    let context = RecordContext {
        receive_count: number("ApproximateReceiveCount").and_then(|count| u32::try_from(count).ok()).unwrap_or(1),
        // Without a time of sending the message counts as sent now: it is retried, not given up.
        sent_ms: number("SentTimestamp").unwrap_or(deadline_ms),
        group: message.attributes.get("MessageGroupId").cloned(),
        handler_deadline_ms: deadline_ms.saturating_sub(KEPT_MS),
        deadline_ms,
    };
    let body = message.body.unwrap_or_default();
    let order_id = subject(&body);
    Slot {
        record: Record { message_id, body, context },
        receipt_handle: message.receipt_handle,
        meter: Meter::default(),
        ended: None,
        follower: false,
        order_id,
    }
}

/// The `subject` of a CloudEvent, for the log.
fn subject(body: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Subject {
        subject: String,
    }
    serde_json::from_str::<Subject>(body).ok().map(|event| event.subject.chars().take(64).collect())
}

/// What runs one after another: on a standard queue each record alone, on FIFO a group. Records without a group follow
/// one another all, as nothing says which may overtake which.
fn lines(slots: &[Slot], fifo: bool) -> Vec<Vec<usize>> {
    if !fifo {
        return (0..slots.len()).map(|at| vec![at]).collect();
    }
    let mut lines: Vec<Vec<usize>> = Vec::new();
    let mut line_of: HashMap<Option<&str>, usize> = HashMap::new();
    for (at, slot) in slots.iter().enumerate() {
        let line = *line_of.entry(slot.record.context.group.as_deref()).or_insert_with(|| {
            lines.push(Vec::new());
            lines.len() - 1
        });
        if let Some(line) = lines.get_mut(line) {
            line.push(at);
        }
    }
    lines
}

/// On FIFO, everything behind a failed record of its group has to come back too, in order.
fn fail_followers(slots: &mut [Slot], stops: impl Fn(&Failure) -> bool) {
    let mut stopped: HashSet<Option<String>> = HashSet::new();
    for slot in slots {
        let group = slot.record.context.group.clone();
        if stopped.contains(&group) {
            slot.follower = true;
            slot.ended = None;
        } else if matches!(&slot.ended, Some(Err(failure)) if stops(failure)) {
            stopped.insert(group);
        }
    }
}

fn end(slots: &mut [Slot], at: usize, ended: Ended) {
    if let Some(slot) = slots.get_mut(at) {
        slot.ended = Some(ended);
    }
}

/// Notes that one of a record's messages was sent, or not.
fn settle(slots: &mut [Slot], owing: &mut HashMap<usize, (usize, Verdict)>, at: usize, sent: Result<(), String>) {
    match (sent, owing.get_mut(&at)) {
        (Ok(()), Some((left, verdict))) => {
            *left = left.saturating_sub(1);
            if *left == 0 {
                end(slots, at, Ok(*verdict));
                owing.remove(&at);
            }
        }
        (Err(why), Some(_)) => {
            owing.remove(&at);
            end(slots, at, Err(Failure::retry(format!("what it owes was not sent: {why}"))));
        }
        (_, None) => {}
    }
}

fn flush(ready: &mut BTreeMap<String, Vec<(usize, Outgoing)>>, mut send: impl FnMut(Vec<(usize, Outgoing)>)) {
    for messages in std::mem::take(ready).into_values().filter(|messages| !messages.is_empty()) {
        send(messages);
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", text.unwrap_or("of no text"))
}
