//! The batch loop: every record on its own, an answer that names exactly the unhandled ones.
//!
//! - A handler answers for its record and for nothing else ([`Answer`]). A panic is that record's failure.
//! - Records of a standard queue run side by side under a cap. On a FIFO queue (its ARN ends in `.fifo`) the groups do,
//!   and inside a group a record is started once the one before it is settled, with all that it owes; a failure fails
//!   all that follows it in the group, and they come back together. A FIFO batch with a record that has no group is one
//!   line: the first failure stops it.
//! - What records owe ([`Done::owes`]) is sent together, one `SendMessageBatch` a target queue: as soon as ten are
//!   ready, or 1 MiB, or 500 ms after the first, or when nothing else runs. A message that cannot be sent fails its
//!   record. To a FIFO queue (its name ends in `.fifo`) one call is under way at a time, with one message of a group: what
//!   is owed to a group of which one was not sent is not sent either, and fails its records.
//! - Poison, what is too old to be tried again, and what fails at its queue's last receive goes to the dead-letter queue,
//!   with the reason, and is acknowledged; if it cannot be moved it stays failed.
//! - Two seconds of the invocation are kept for that, or a quarter of what is left where that is less ([`KEPT_MS`]). What has
//!   not finished by then is dropped where it stands, and goes back as [`Failure::Unknown`], at its queue's last receive to the
//!   dead-letter queue; nothing is started any more, and what was not started is deferred.
//!
//! With the feature `logging` all of it runs in the spans of [`crate::logging`]: a line has the ids of its invocation and
//! record, those of the CloudEvent in the body included, and held lines are let out where one fails. A deferral by the
//! handler is no failure.
//!
//! An invocation keeps nothing for the next one: all its state lives in [`Batch::run`], so invocations may run side by
//! side in one process. The loop is one task (`drive.rs`): nothing of it is shared.
//!
//! Delivery: at least once, as SQS has it; [`delivery`] makes at most once or effectively once of it.
//!
//! Source: <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>

use std::future::Future;
use std::sync::Arc;

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse};
use futures::future::BoxFuture;
use tracing::{Instrument, Span};

use crate::dead_letter::DeadLetter;
use crate::meter::Meter;
use crate::metrics::Sink;
use crate::retry::{self, RetryBudget};
use crate::{Answer, Clock, Failure, Outgoing, Queue, Random, Verdict};

pub mod delivery;
mod drive;
mod event;
mod in_order;
mod lines;
mod observe;
mod owed;
mod plan;
mod policy;
mod quick;
mod read;
mod record;
mod settle;
mod spans;
pub mod stream;
mod typed;

use drive::{Ended, Fate, Rules, Times, drive, in_ms, tell_nothing_started};
use owed::{Sending, Sent};
use plan::{Free, Lines as Groups};
use policy::Shares;
use record::{Slot, slots};
use spans::Spans;

pub use event::{Attribute, Event, Message, NotSqs};
pub use lines::Lines;
pub use observe::{Afterwards, Failed, Finished, Observer, Summary, Worked};
pub use policy::{AfterPoison, AllFailed, BatchError, Deferral, Invocation, KEPT_MS, NEAR};
pub use record::{Record, RecordContext};
pub use typed::{Json, json};

type DeferralHook<'a> = dyn Fn(Arc<Record>, Failure) -> BoxFuture<'a, Deferral> + Send + Sync + 'a;

/// A consumer's batch loop.
pub struct Batch<'a, P> {
    function: &'static str,
    ports: &'a P,
    dead_letters: Option<String>,
    concurrency: usize,
    after_poison: AfterPoison,
    all_failed: AllFailed,
    budget: Option<Arc<RetryBudget>>,
    max_receive_count: Option<u32>,
    on_deferral: Option<Box<DeferralHook<'a>>>,
    lines: Option<Lines>,
    observers: Vec<Arc<dyn Observer>>,
    afterwards: Option<Arc<dyn Afterwards>>,
}

impl<'a, P> Batch<'a, P> {
    /// The loop of this function (its name in logs and metrics) over these ports: ten records at a time, no dead-letter
    /// queue of its own, the loop's own lines.
    pub fn new(function: &'static str, ports: &'a P) -> Self {
        Self {
            function,
            ports,
            dead_letters: None,
            concurrency: 10,
            after_poison: AfterPoison::default(),
            all_failed: AllFailed::default(),
            budget: None,
            max_receive_count: None,
            on_deferral: None,
            lines: Some(Lines::default()),
            observers: Vec::new(),
            afterwards: None,
        }
    }

    /// Where poison goes: the queue's own dead-letter queue, by name or URL. Without one poison stays failed.
    #[must_use]
    pub fn dead_letters(mut self, queue: impl Into<String>) -> Self {
        self.dead_letters = Some(queue.into());
        self
    }

    /// Most handlers' futures at a time, at least 1. On FIFO that is most groups.
    #[must_use]
    pub fn concurrency(mut self, most: usize) -> Self {
        self.concurrency = most.max(1);
        self
    }

    /// What a FIFO group does after a dead-lettered head.
    #[must_use]
    pub fn after_poison(mut self, policy: AfterPoison) -> Self {
        self.after_poison = policy;
        self
    }

    /// What is answered when every record failed.
    #[must_use]
    pub fn all_failed(mut self, policy: AllFailed) -> Self {
        self.all_failed = policy;
        self
    }

    /// The process's retry budget: give the same one to all of its loops.
    #[must_use]
    pub fn retry_budget(mut self, budget: Arc<RetryBudget>) -> Self {
        self.budget = Some(budget);
        self
    }

    /// The queue's `maxReceiveCount`. With it known, what fails at its last receive is dead-lettered with its reason (codes
    /// `exhausted`, `bug`, `cut_off`), where SQS would move it without one. A deferral is no failure: see [`Batch::on_deferral`].
    ///
    /// SQS still moves, without a reason, what failed after its handler had answered or before it was called: a record whose
    /// messages cannot be sent ([`Done::owes`](crate::Done::owes)), and one that the end of the time kept from being started.
    #[must_use]
    pub fn max_receive_count(mut self, receives: u32) -> Self {
        self.max_receive_count = Some(receives);
        self
    }

    /// A hook for deferrals that have at most [`NEAR`] receives left of the queue's `maxReceiveCount`, which it says, too
    /// ([`Batch::max_receive_count`]): a deferral is no attempt, but SQS counts the receive, and would move a message that only
    /// ever waited to the dead-letter queue. The hook may take the record over (set a time at which the work is asked for
    /// again), which then is acknowledged. It runs in the kept time; one that panics, or does not end in time, has left the
    /// record. Never called on a FIFO queue, where what is taken over would be done after what follows it.
    #[must_use]
    pub fn on_deferral<F, W>(self, max_receive_count: u32, hook: F) -> Self
    where
        F: Fn(Arc<Record>, Failure) -> W + Send + Sync + 'a,
        W: Future<Output = Deferral> + Send + 'a,
    {
        let hook = move |record, failure| -> BoxFuture<'a, Deferral> { Box::pin(hook(record, failure)) };
        Self { on_deferral: Some(Box::new(hook)), ..self.max_receive_count(max_receive_count) }
    }

    /// Another form of the loop's own lines.
    #[must_use]
    pub fn lines(mut self, lines: Lines) -> Self {
        self.lines = Some(lines);
        self
    }

    /// Without the loop's own lines, and without what they need for each record: its calls counted, a span around it.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.lines = None;
        self
    }

    /// One more observer.
    #[must_use]
    pub fn observe(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    /// Has something of the process's own done after each batch, in the kept time.
    #[must_use]
    pub fn afterwards(mut self, afterwards: Arc<dyn Afterwards>) -> Self {
        self.afterwards = Some(afterwards);
        self
    }

    /// Clock, randomness, queue.
    pub fn ports(&self) -> &'a P {
        self.ports
    }

    fn watched(&self) -> bool {
        self.lines.is_some() || !self.observers.is_empty()
    }
}

/// The queue that a batch came from.
struct Source {
    arn: String,
    fifo: bool,
}

impl Source {
    fn of(event: &Event) -> Self {
        Self { arn: event.queue_arn.clone(), fifo: event.queue_arn.ends_with(".fifo") }
    }

    fn name(&self) -> &str {
        self.arn.rsplit(':').next().unwrap_or_default()
    }
}

/// A record's end as it is answered.
enum End {
    Ended(Ended),
    /// Behind a failed record of its group.
    Follower,
}

/// An invocation whose records have all ended.
struct Over<'s> {
    slots: &'s [Slot],
    ends: &'s [End],
    /// Calls of each record.
    meters: &'s [Meter],
    spans: &'s Spans<'s>,
    source: &'s Source,
    of: &'s Invocation,
    started_ms: u64,
    /// Calls for the batch.
    meter: &'s Meter,
}

impl<P: Clock + Random + Queue> Batch<'_, P> {
    /// Runs `handler` for every record of the event and answers which were not handled.
    ///
    /// An empty event answers an empty list. A message that is in the batch twice is handled once.
    ///
    /// # Errors
    /// Where the invocation has to fail: see [`BatchError`].
    pub async fn run<F, W>(
        &self,
        event: impl Into<Event>,
        of: Invocation,
        handler: F,
    ) -> Result<SqsBatchResponse, BatchError>
    where
        F: Fn(Arc<Record>) -> W,
        W: Future<Output = Answer>,
    {
        let event = event.into();
        if !self.watched() {
            return self.work(event, &of, handler).await;
        }
        spans::invocation(&of, || self.ports.now_ms(), self.work(event, &of, handler)).await
    }

    async fn work<F, W>(&self, event: Event, of: &Invocation, handler: F) -> Result<SqsBatchResponse, BatchError>
    where
        F: Fn(Arc<Record>) -> W,
        W: Future<Output = Answer>,
    {
        let started_ms = self.ports.now_ms();
        let source = Source::of(&event);
        let shares = Shares::of(of.deadline_ms, started_ms);
        let slots = slots(event, of, shares.handlers_end_ms)?;
        let watched = if self.watched() { slots.len() } else { 0 };
        let meters: Vec<Meter> = (0..watched).map(|_| Meter::default()).collect();
        let spans = Spans::new(source.name(), watched);
        let meter = Meter::default();
        let work = async {
            let ended = self.handle_all(&slots, &meters, &spans, &source, shares, &handler).await;
            tell_nothing_started(&ended, of.deadline_ms.saturating_sub(started_ms));
            let mut ends = self.ends(&slots, ended, source.fifo);
            let end_ms = shares.calls_end_ms;
            self.in_time(end_ms, "taking deferrals over", self.take_over(&slots, &mut ends, source.fifo)).await;
            self.in_time(end_ms, "changing visibility", self.delay(&slots, &ends, &source)).await;
            self.after(&slots, &ends, &source, started_ms, end_ms).await;
            ends
        };
        let ends = if self.watched() { meter.around(work).await } else { work.await };
        self.answer(&Over {
            slots: &slots,
            ends: &ends,
            meters: &meters,
            spans: &spans,
            source: &source,
            of,
            started_ms,
            meter: &meter,
        })
    }

    /// Runs the handlers and sends what they owe, until all is done or the time is up.
    async fn handle_all<F, W>(
        &self,
        slots: &[Slot],
        meters: &[Meter],
        spans: &Spans<'_>,
        source: &Source,
        shares: Shares,
        handler: &F,
    ) -> Vec<Fate>
    where
        F: Fn(Arc<Record>) -> W,
        W: Future<Output = Answer>,
    {
        let begin = |places: &[usize]| {
            let place = places.first().copied().unwrap_or(usize::MAX);
            let slot = slots.get(place).map(|slot| (Arc::clone(&slot.record), slot.bodyless));
            let meter = meters.get(place).cloned();
            let span = match (&meter, &slot) {
                (Some(_), Some((record, _))) => spans.open(place, record),
                (_, _) => Span::none(),
            };
            async move {
                let answer = match slot {
                    None => Err(Failure::bug("a place without a record")),
                    Some((_, true)) => Err(Failure::poison("the message has no body")),
                    Some((record, false)) => match meter {
                        // The handler is called in here, so that a panic before its future is its record's too.
                        Some(meter) => meter.around(async { handler(record).await }).instrument(span).await,
                        None => handler(record).await,
                    },
                };
                spans.answered(place, &answer);
                [answer]
            }
        };
        let left = |end_ms: u64| in_ms(end_ms.saturating_sub(self.ports.now_ms()));
        let rules = Rules {
            concurrency: self.concurrency,
            times: Times { handlers_end: left(shares.handlers_end_ms), sends_end: left(shares.sends_end_ms) },
            begin,
            letter: |place, failure: Option<&Failure>| self.letter(slots.get(place)?, failure, source),
            goes_on: self.after_poison == AfterPoison::Skip,
            send: |messages| self.send(messages),
        };
        if !source.fifo {
            return drive(&mut Free::new(slots.len()), slots.len(), rules).await;
        }
        let mut groups = Groups::new(groups(slots), false);
        drive(&mut groups, slots.len(), rules).await
    }

    /// One `SendMessageBatch` of at most ten; the answer says for each source record how its message fared.
    async fn send(&self, messages: Sending) -> Sent {
        let (sources, outgoing): (Vec<usize>, Vec<Outgoing>) = messages.into_iter().unzip();
        let Some(queue) = outgoing.first().map(|first| first.queue.clone()) else { return Sent::default() };
        let mut results = self.ports.send(&queue, &outgoing).await.into_iter();
        let result = |at| (at, results.next().unwrap_or_else(|| Err("the queue did not answer for it".into())));
        let results = sources.into_iter().map(result).collect();
        Sent { queue, results }
    }

    /// The dead letter of poison, of what is too old to be tried again, and of what failed at its queue's last receive, where
    /// that is known ([`Batch::max_receive_count`]): SQS would move it all the same, and say nothing of why.
    fn letter(&self, slot: &Slot, failure: Option<&Failure>, source: &Source) -> Option<Outgoing> {
        let queue = self.dead_letters.as_ref()?;
        let record = &slot.record;
        let is_last = self.max_receive_count.is_some_and(|most| record.context.receive_count >= most);
        let (reason, code) = match failure {
            None if is_last => (settle::CUT_OFF, "cut_off"),
            None => return None,
            Some(Failure::Poison { reason }) => (reason.as_str(), "poison"),
            Some(Failure::Bug { what }) if is_last => (what.as_str(), "bug"),
            Some(Failure::Retry { why, .. })
                if self.ports.now_ms().saturating_sub(record.context.sent_ms) > retry::GIVE_UP_MS =>
            {
                (why.as_str(), "expired")
            }
            Some(Failure::Retry { why, .. } | Failure::Unknown { why, .. }) if is_last => (why.as_str(), "exhausted"),
            Some(
                Failure::Retry { .. }
                | Failure::Defer { .. }
                | Failure::Busy { .. }
                | Failure::Unknown { .. }
                | Failure::Bug { .. },
            ) => return None,
        };
        tracing::error!(message_id = record.message_id, code, reason, "goes to the dead-letter queue");
        let letter = DeadLetter {
            reason: reason.to_owned(),
            code: code.to_owned(),
            attempts: record.context.receive_count,
            source_queue: source.name().to_owned(),
            message_id: record.message_id.clone(),
            first_seen_ms: record.context.sent_ms,
            ..DeadLetter::default()
        };
        Some(letter.to_message(record, queue))
    }

    /// The answer, after everybody was told.
    fn answer(&self, over: &Over<'_>) -> Result<SqsBatchResponse, BatchError> {
        let failed = over.slots.iter().zip(over.ends).filter(|(_, end)| !matches!(end, End::Ended(Ok(_))));
        let failed_ids: Vec<String> = failed.map(|(slot, _)| slot.record.message_id.clone()).collect();
        if self.watched() {
            Sink::together(|| self.tell_all(over, &failed_ids));
        }
        if self.all_failed == AllFailed::Fail && !over.slots.is_empty() && failed_ids.len() == over.slots.len() {
            return Err(BatchError::AllFailed { failed_ids });
        }
        let failures = failed_ids.into_iter().map(|item_identifier| {
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = item_identifier;
            failure
        });
        let mut response = SqsBatchResponse::default();
        response.batch_item_failures = failures.collect();
        Ok(response)
    }

    fn tell_all(&self, over: &Over<'_>, failed_ids: &[String]) {
        let Over { slots, ends, of, source, .. } = *over;
        let now_ms = self.ports.now_ms();
        for (place, ((slot, end), meter)) in slots.iter().zip(ends).zip(over.meters).enumerate() {
            let of = Finished {
                function: self.function,
                invocation: of,
                queue: source.name(),
                record: &slot.record,
                calls: &meter.calls(),
                now_ms,
            };
            let failed = match end {
                End::Ended(Ok(Verdict::DeadLettered)) => Some(Verdict::DeadLettered.name()),
                End::Ended(Ok(_)) | End::Follower => None,
                End::Ended(Err(failure)) => Some(failure.name()),
            };
            let span = over.spans.end(place, failed);
            let _inside = span.enter();
            self.tell(|observer| match end {
                End::Ended(Ok(verdict)) => observer.succeeded(&of, *verdict),
                End::Ended(Err(failure)) => observer.failed(&of, Failed::Itself(failure)),
                End::Follower => observer.failed(&of, Failed::Follower),
            });
        }
        let deferral = |end: &&End| matches!(end, End::Ended(Err(failure)) if failure.is_deferral());
        let received: Vec<&str> = slots.iter().map(|slot| slot.record.message_id.as_str()).collect();
        let summary = Summary {
            function: self.function,
            invocation: of,
            queue: source.name(),
            records: slots.len(),
            received_ids: &received,
            failed_ids,
            failed: failed_ids.len(),
            deferred: ends.iter().filter(deferral).count(),
            calls: &over.meter.calls(),
            sends: &over.meter.sends(),
            started_ms: over.started_ms,
            now_ms,
        };
        self.tell(|observer| observer.finished(&summary));
    }

    fn tell(&self, what: impl Fn(&dyn Observer)) {
        let own = self.lines.as_ref().map(|lines| -> &dyn Observer { lines });
        for observer in own.into_iter().chain(self.observers.iter().map(|observer| &**observer)) {
            observe::tell(observer, &what);
        }
    }
}

/// What keeps records in order on a FIFO queue: their groups, or one line for all where a record has none, as nothing
/// says then which may overtake which.
fn groups(slots: &[Slot]) -> impl Iterator<Item = Option<&str>> {
    let all = slots.iter().all(|slot| slot.record.context.group.is_some());
    slots.iter().map(move |slot| slot.record.context.group.as_deref().filter(|_| all))
}
