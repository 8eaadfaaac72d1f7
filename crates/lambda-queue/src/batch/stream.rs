//! Batches of a Kinesis or DynamoDB stream, through the same loop.
//!
//! A stream is answered by one number: the sequence number of the first record that is not finished, where Lambda starts
//! again. So a failure stops the batch: nothing behind it is started any more, while what was before it is still
//! finished. What behind it was done already comes again: at least once.
//!
//! Order is kept per key (a DynamoDB item, a Kinesis partition key): [`StreamBatch::run`] takes keys side by side, one
//! record of a key after the other; [`StreamBatch::run_in_rounds`] takes many records at once, no two of one key, and
//! the next ones after all of them are done, for whoever publishes in batches.
//!
//! Nothing is dead-lettered here: a mapping has its own on-failure destination, retry limit and bisecting, which know the
//! shard. A record that can never succeed has to be answered as done by its handler, or it holds its shard up.
//!
//! Source: <https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html>,
//! <https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-batchfailurereporting.html>

use std::borrow::Cow;
use std::fmt::Write;
use std::future::Future;
use std::sync::Arc;

use aws_lambda_events::event::dynamodb::EventRecord;
use aws_lambda_events::event::kinesis::KinesisEventRecord;
use serde::Serialize;

use super::drive::{Fate, Rules, Times, drive, in_ms, tell_nothing_started};
use super::observe::{self, Observer, Summary};
use super::owed::Sent;
use super::plan::{Lines, Plan, Rounds};
use super::settle::cut_off;
use super::spans;
use super::{BatchError, Invocation, policy::Shares};
use crate::meter::Meter;
use crate::{Answer, Clock, Done, Failure, Outgoing, Verdict};

/// What a handler answers for a record of a stream. It owes nothing: what has to be sent, it sends.
pub type StreamVerdict = Result<Verdict, Failure>;

/// A record of a stream.
pub trait StreamItem {
    /// Where a shard can be started again; `None` fails the invocation.
    fn sequence_number(&self) -> Option<&str>;

    /// Records of the same key are handled in their order.
    fn key(&self) -> Cow<'_, str>;
}

impl StreamItem for EventRecord {
    fn sequence_number(&self) -> Option<&str> {
        self.change.sequence_number.as_deref()
    }

    /// The item's key: names and values, in the order of the names.
    fn key(&self) -> Cow<'_, str> {
        let mut parts: Vec<_> = self.change.keys.iter().collect();
        parts.sort_by(|one, other| one.0.cmp(other.0));
        let mut key = String::new();
        for (name, value) in parts {
            // Writing into a text cannot fail.
            write!(key, "{name:?}={value:?};").ok();
        }
        Cow::Owned(key)
    }
}

impl StreamItem for KinesisEventRecord {
    fn sequence_number(&self) -> Option<&str> {
        Some(self.kinesis.sequence_number.as_str())
    }

    fn key(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.kinesis.partition_key)
    }
}

/// The answer for a stream's batch: `{"batchItemFailures":[{"itemIdentifier":"<sequence number>"}]}`, an empty list where
/// all of it is finished.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct StreamAnswer {
    /// At most one.
    #[serde(rename = "batchItemFailures")]
    failures: Vec<ItemFailure>,
    /// The place of the first record that is not finished; `None` where all are.
    #[serde(skip)]
    pub unfinished_from: Option<usize>,
    /// Why it is not: its own failure, or that the time ran out.
    #[serde(skip)]
    pub failure: Option<Failure>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ItemFailure {
    item_identifier: String,
}

impl StreamAnswer {
    /// The sequence number at which the shard starts again.
    pub fn restart_at(&self) -> Option<&str> {
        self.failures.first().map(|failure| failure.item_identifier.as_str())
    }
}

/// A stream consumer's batch loop.
pub struct StreamBatch<'a, P> {
    function: &'static str,
    ports: &'a P,
    concurrency: usize,
    lines: Option<super::Lines>,
    observers: Vec<Arc<dyn Observer>>,
}

impl<'a, P: Clock> StreamBatch<'a, P> {
    /// The loop of this function (its name in logs and metrics): ten keys at a time, an `invocation finished` line. Lines for
    /// single records are the handler's.
    pub fn new(function: &'static str, ports: &'a P) -> Self {
        Self { function, ports, concurrency: 10, lines: Some(super::Lines::default()), observers: Vec::new() }
    }

    /// Most handlers' futures at a time, at least 1.
    #[must_use]
    pub fn concurrency(mut self, most: usize) -> Self {
        self.concurrency = most.max(1);
        self
    }

    /// Without the loop's own line.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.lines = None;
        self
    }

    /// One more observer; it is told of the invocation only.
    #[must_use]
    pub fn observe(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    /// Runs `handler` for every record, keys side by side. See the module for the answer.
    ///
    /// # Errors
    /// [`BatchError::NoSequenceNumber`]: the invocation has to fail.
    pub async fn run<I, F, W>(&self, items: Vec<I>, of: &Invocation, handler: F) -> Result<StreamAnswer, BatchError>
    where
        I: StreamItem,
        F: Fn(Arc<I>) -> W,
        W: Future<Output = StreamVerdict>,
    {
        let items = checked(items)?;
        let mut plan = Lines::new(items.iter().map(|item| item.key()), true);
        self.work(&items, of, &mut plan, |places| {
            let item = places.first().and_then(|place| items.get(*place)).map(Arc::clone);
            let handler = &handler;
            async move {
                let verdict = match item {
                    Some(item) => handler(item).await,
                    None => Err(Failure::bug("a place without a record")),
                };
                [verdict.map(done)]
            }
        })
        .await
    }

    /// Runs `handler` for rounds of at most `most` records, no two of one key; the next round begins when every record of
    /// the last one succeeded. The handler answers a verdict for each of its records, in their order; a missing one is that
    /// record's failure.
    ///
    /// # Errors
    /// [`BatchError::NoSequenceNumber`]: the invocation has to fail.
    pub async fn run_in_rounds<I, F, W>(
        &self,
        items: Vec<I>,
        of: &Invocation,
        most: usize,
        handler: F,
    ) -> Result<StreamAnswer, BatchError>
    where
        I: StreamItem,
        F: Fn(Vec<Arc<I>>) -> W,
        W: Future<Output = Vec<StreamVerdict>>,
    {
        let items = checked(items)?;
        let mut plan = Rounds::new(items.iter().map(|item| item.key()).collect(), most);
        self.work(&items, of, &mut plan, |places| {
            let round: Vec<Arc<I>> = places.iter().filter_map(|place| items.get(*place)).map(Arc::clone).collect();
            let handler = &handler;
            async move { handler(round).await.into_iter().map(|verdict| verdict.map(done)).collect::<Vec<Answer>>() }
        })
        .await
    }

    async fn work<I, L, B, W>(
        &self,
        items: &[Arc<I>],
        of: &Invocation,
        plan: &mut L,
        begin: B,
    ) -> Result<StreamAnswer, BatchError>
    where
        I: StreamItem,
        L: Plan,
        B: Fn(&[usize]) -> W,
        W: Future,
        W::Output: IntoIterator<Item = Answer>,
    {
        spans::invocation(of, || self.ports.now_ms(), self.in_span(items, of, plan, begin)).await
    }

    async fn in_span<I, L, B, W>(
        &self,
        items: &[Arc<I>],
        of: &Invocation,
        plan: &mut L,
        begin: B,
    ) -> Result<StreamAnswer, BatchError>
    where
        I: StreamItem,
        L: Plan,
        B: Fn(&[usize]) -> W,
        W: Future,
        W::Output: IntoIterator<Item = Answer>,
    {
        let started_ms = self.ports.now_ms();
        let shares = Shares::of(of.deadline_ms, started_ms);
        let left = |end_ms: u64| in_ms(end_ms.saturating_sub(started_ms));
        let rules = Rules {
            concurrency: self.concurrency,
            times: Times { handlers_end: left(shares.handlers_end_ms), sends_end: left(shares.sends_end_ms) },
            begin,
            letter: |_, _: Option<&Failure>| -> Option<Outgoing> { None },
            goes_on: true,
            send: |_| std::future::ready(Sent::default()),
        };
        let meter = Meter::default();
        let ends: Vec<Fate> = meter.around(drive(plan, items.len(), rules)).await;
        tell_nothing_started(&ends, of.deadline_ms.saturating_sub(started_ms));
        let answer = self.judge(items, ends);
        let now_ms = self.ports.now_ms();
        let failed_ids: Vec<String> = answer.restart_at().map(str::to_owned).into_iter().collect();
        let summary = Summary {
            function: self.function,
            invocation: of,
            queue: "",
            records: items.len(),
            received_ids: &[],
            failed_ids: &failed_ids,
            failed: answer.unfinished_from.map_or(0, |place| items.len().saturating_sub(place)),
            deferred: usize::from(answer.failure.as_ref().is_some_and(Failure::is_deferral)),
            calls: &meter.calls(),
            sends: &meter.sends(),
            started_ms,
            now_ms,
        };
        let own = self.lines.as_ref().map(|lines| -> &dyn Observer { lines });
        for observer in own.into_iter().chain(self.observers.iter().map(|observer| &**observer)) {
            observe::tell(observer, |observer| observer.finished(&summary));
        }
        Ok(answer)
    }

    fn judge<I: StreamItem>(&self, items: &[Arc<I>], ends: Vec<Fate>) -> StreamAnswer {
        let unfinished = ends.into_iter().enumerate().find(|(_, end)| !matches!(end, Fate::Ended(Ok(_))));
        let Some((place, end)) = unfinished else {
            return StreamAnswer { failures: Vec::new(), unfinished_from: None, failure: None };
        };
        let number = items.get(place).and_then(|item| item.sequence_number()).unwrap_or_default().to_owned();
        let now_ms = self.ports.now_ms();
        let failure = match end {
            Fate::Ended(Err(failure)) => failure,
            Fate::Cut => cut_off(number.clone(), now_ms),
            Fate::Ended(Ok(_)) | Fate::Waiting => Failure::defer(now_ms, "the invocation's time ran out"),
        };
        tracing::warn!(sequence_number = number, %failure, "the stream starts again here");
        StreamAnswer {
            failures: vec![ItemFailure { item_identifier: number }],
            unfinished_from: Some(place),
            failure: Some(failure),
        }
    }
}

fn done(verdict: Verdict) -> Done {
    Done { verdict, owes: Vec::new() }
}

fn checked<I: StreamItem>(items: Vec<I>) -> Result<Vec<Arc<I>>, BatchError> {
    for (position, item) in items.iter().enumerate() {
        if item.sequence_number().is_none_or(str::is_empty) {
            return Err(BatchError::NoSequenceNumber { position });
        }
    }
    Ok(items.into_iter().map(Arc::new).collect())
}
