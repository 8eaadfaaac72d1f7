//! Figures of a run, from the functions' own lines: calls are counted by an SDK interceptor, latencies are from a
//! message's sending to the end of the invocation that acknowledged it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use order::State;
use serde::Serialize;

use super::drive::Journal;
use crate::check::Evidence;
use crate::logs::{Calls, RecordLine};

/// The functions that work on commands.
const COMMAND_STEPS: [&str; 4] = ["validate-order", "process-payment", "reserve-stock", "ship-order"];
/// Length of the busiest stretch, milliseconds.
const STRETCH_MS: u64 = 10_000;

/// One consumer. What publish-events takes is no message but a change in the orders' stream, and arrives with its commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct StepFigures {
    /// Messages acknowledged.
    pub messages: u64,
    /// Receives that failed, to be received again.
    pub failed: u64,
    /// Half of the messages were done within this, milliseconds from arrival.
    pub p50_ms: u64,
    /// 95 of 100.
    pub p95_ms: u64,
    /// 99 of 100.
    pub p99_ms: u64,
    /// Invocations.
    pub invocations: u64,
    /// Invocations that were their process's first.
    pub cold_starts: u64,
}

/// DynamoDB calls of orders that just shipped: no cancel, refund or repeated request, every message delivered once.
/// Without notification, archive, publication and recovery; with the request that placed them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PerShippedOrder {
    /// Orders counted.
    pub orders: usize,
    /// Orders that just shipped and were left out, as one of their messages was received again.
    pub left_out: usize,
    /// The most of one order.
    pub max: u64,
    /// The mean.
    pub mean: f64,
    /// Mean calls by who made them.
    pub by_function: BTreeMap<String, f64>,
}

/// Sends of the command steps, over invocations without a failed record (a failed record's visibility is changed, which
/// is a call to SQS, too).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sends {
    /// Send calls for one message received.
    pub per_message: f64,
    /// The most in one invocation, by function. A step sends to as many queues as it has steps behind it:
    /// process-payment to two, the others to one.
    pub most_in_an_invocation: BTreeMap<String, u64>,
    /// The most to one queue in one invocation, by function, failed records or not: 1, unless more than ten messages were
    /// owed to a queue, or they were not ready within half a second of each other.
    pub most_to_one_queue: BTreeMap<String, u64>,
    /// Messages in a batch received.
    pub mean_batch: f64,
}

/// All figures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// From the first request to the last order's end.
    pub orders_per_second: f64,
    /// Messages acknowledged by all consumers, from the first arrival to when 99 of 100 were: a straggler that waits
    /// for its visibility to end says nothing of what the stack carries.
    pub messages_per_second: f64,
    /// The same to the last straggler.
    pub messages_per_second_to_the_last: f64,
    /// The same without the archive.
    pub messages_per_second_without_archive: f64,
    /// The same as the first, in the busiest ten seconds.
    pub messages_per_second_busiest: f64,
    /// By function.
    pub steps: BTreeMap<String, StepFigures>,
    /// By service, over accepted orders.
    pub calls_per_order: BTreeMap<String, f64>,
    /// See there.
    pub shipped: PerShippedOrder,
    /// See there.
    pub sends: Sends,
}

#[allow(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn per_second(count: u64, window_ms: u64) -> f64 {
    ratio(count.saturating_mul(1_000), window_ms)
}

/// The smallest value that so many of a hundred are not above (nearest rank).
pub(super) fn percentile(sorted: &[u64], of_hundred: usize) -> u64 {
    let rank = (sorted.len() * of_hundred).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

impl Figures {
    /// Computes them.
    pub fn of(journal: &Journal, evidence: &Evidence) -> Self {
        let records = &evidence.logs.records;
        let accepted = evidence.rows.len() as u64;
        Self {
            orders_per_second: orders_per_second(evidence),
            messages_per_second: rate(records.iter(), 99),
            messages_per_second_to_the_last: rate(records.iter(), 100),
            messages_per_second_without_archive: rate(
                records.iter().filter(|record| record.function != "archive-events"),
                99,
            ),
            messages_per_second_busiest: busiest(records),
            steps: steps(evidence),
            calls_per_order: calls(evidence)
                .into_iter()
                .map(|(service, calls)| (service, ratio(calls, accepted)))
                .collect(),
            shipped: per_shipped_order(journal, evidence),
            sends: sends(evidence),
        }
    }
}

fn orders_per_second(evidence: &Evidence) -> f64 {
    let ends = evidence.rows.iter().filter_map(|row| {
        let is_end = |state: &str| State::ALL.into_iter().any(|known| known.is_terminal() && known.name() == state);
        let end = row
            .order
            .timeline
            .iter()
            .find(|entry| is_end(entry.event.name()) || entry.event == order::EventKind::CancelRefused)?;
        Some(end.at_ms)
    });
    let first = evidence.placed.iter().map(|placed| placed.at_ms).min().unwrap_or_default();
    let ended = ends.clone().count() as u64;
    per_second(ended, ends.max().unwrap_or_default().saturating_sub(first))
}

/// Acknowledged messages a second, from the first arrival to when so many of a hundred were.
fn rate<'a>(records: impl Iterator<Item = &'a RecordLine>, of_hundred: usize) -> f64 {
    let (mut ends, mut first) = (Vec::new(), u64::MAX);
    for record in records.filter(|record| record.is_acknowledged()) {
        let Some(finished_ms) = record.finished_ms() else { continue };
        first = first.min(finished_ms.saturating_sub(record.latency_ms));
        ends.push(finished_ms);
    }
    ends.sort_unstable();
    let counted = (ends.len() * of_hundred).div_ceil(100);
    per_second(counted as u64, percentile(&ends, of_hundred).saturating_sub(first))
}

/// The rate of the busiest stretch; of all of it where the run was shorter.
fn busiest(records: &[RecordLine]) -> f64 {
    let acknowledged = records.iter().filter(|record| record.is_acknowledged());
    let mut ends: Vec<u64> = acknowledged.filter_map(RecordLine::finished_ms).collect();
    ends.sort_unstable();
    let whole = ends.last().zip(ends.first()).map_or(0, |(last, first)| last - first);
    let mut from = 0;
    let mut most = 0_u64;
    for (at, end) in ends.iter().enumerate() {
        while ends.get(from).is_some_and(|start| end - start > STRETCH_MS) {
            from += 1;
        }
        most = most.max((at + 1 - from) as u64);
    }
    per_second(most, whole.min(STRETCH_MS))
}

fn steps(evidence: &Evidence) -> BTreeMap<String, StepFigures> {
    let mut steps: BTreeMap<String, StepFigures> = BTreeMap::new();
    let mut latencies: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for record in &evidence.logs.records {
        let step = steps.entry(record.function.clone()).or_default();
        if record.is_acknowledged() {
            step.messages += 1;
            latencies.entry(record.function.as_str()).or_default().push(record.latency_ms);
        } else {
            step.failed += 1;
        }
    }
    for change in &evidence.logs.published {
        steps.entry(change.function.clone()).or_default().messages += 1;
        latencies.entry(change.function.as_str()).or_default().push(change.latency_ms);
    }
    for (function, mut of_step) in latencies {
        of_step.sort_unstable();
        if let Some(step) = steps.get_mut(function) {
            step.p50_ms = percentile(&of_step, 50);
            step.p95_ms = percentile(&of_step, 95);
            step.p99_ms = percentile(&of_step, 99);
        }
    }
    for invocation in &evidence.logs.invocations {
        let step = steps.entry(invocation.function.clone()).or_default();
        step.invocations += 1;
        step.cold_starts += u64::from(invocation.cold_start);
    }
    steps
}

/// All calls by service.
fn calls(evidence: &Evidence) -> BTreeMap<String, u64> {
    let logs = &evidence.logs;
    let records = logs.records.iter().map(|line| &line.calls);
    let invocations = logs.invocations.iter().map(|line| &line.calls);
    let requests = logs.requests.iter().map(|line| &line.calls);
    let mut all: BTreeMap<String, u64> =
        ["dynamodb", "sqs", "sns", "events", "ses"].into_iter().map(|service| (service.to_owned(), 0)).collect();
    for (service, calls) in records.chain(invocations).chain(requests).flatten() {
        *all.entry(service.clone()).or_default() += calls;
    }
    all
}

fn dynamodb(calls: &Calls) -> u64 {
    calls.get("dynamodb").copied().unwrap_or_default()
}

fn per_shipped_order(journal: &Journal, evidence: &Evidence) -> PerShippedOrder {
    let mut times_asked: HashMap<String, usize> = HashMap::new();
    for placed in &evidence.placed {
        if let Ok(id) = placed.who.order_id(&placed.key) {
            *times_asked.entry(id.to_string()).or_default() += 1;
        }
    }
    let shipped: HashSet<String> = evidence
        .rows
        .iter()
        .filter(|row| row.order.state == State::Shipped)
        .map(|row| row.order.order_id.to_string())
        .collect();
    let plain: HashSet<String> = journal
        .orders
        .iter()
        .filter(|order| order.is_plain())
        .map(|order| order.order_id.to_string())
        .filter(|id| shipped.contains(id) && times_asked.get(id) == Some(&1))
        .collect();
    let mut again: BTreeSet<&str> = BTreeSet::new();
    let mut by_order: BTreeMap<&str, u64> = BTreeMap::new();
    let mut by_function: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    let records = evidence.logs.records.iter().filter(|record| COMMAND_STEPS.contains(&record.function.as_str()));
    let requests = evidence.logs.requests.iter().filter(|request| request.route == "POST /orders");
    let lines = records
        .map(|line| (line.order_id.as_deref(), line.function.as_str(), dynamodb(&line.calls), line.receive_count > 1))
        .chain(requests.map(|line| (line.order_id.as_deref(), "accept-order", dynamodb(&line.calls), false)));
    for (id, function, calls, is_again) in lines {
        let Some(id) = id.filter(|id| plain.contains(*id)) else { continue };
        *by_order.entry(id).or_default() += calls;
        *by_function.entry(function).or_default().entry(id).or_default() += calls;
        if is_again {
            again.insert(id);
        }
    }
    let counted: Vec<u64> = by_order.iter().filter(|(id, _)| !again.contains(*id)).map(|(_, calls)| *calls).collect();
    let orders = counted.len() as u64;
    PerShippedOrder {
        orders: counted.len(),
        left_out: again.len(),
        max: counted.iter().copied().max().unwrap_or_default(),
        mean: ratio(counted.iter().sum(), orders),
        by_function: by_function
            .into_iter()
            .map(|(function, of_order)| {
                let calls = of_order.iter().filter(|(id, _)| !again.contains(*id)).map(|(_, calls)| calls).sum();
                (function.to_owned(), ratio(calls, orders))
            })
            .collect(),
    }
}

fn sends(evidence: &Evidence) -> Sends {
    let clean = evidence
        .logs
        .invocations
        .iter()
        .filter(|line| COMMAND_STEPS.contains(&line.function.as_str()) && line.failed_ids.is_empty());
    let (mut sends, mut messages, mut invocations) = (0_u64, 0_u64, 0_u64);
    let mut most: BTreeMap<String, u64> = BTreeMap::new();
    for line in clean {
        let sent = line.calls.get("sqs").copied().unwrap_or_default();
        sends += sent;
        messages += line.received_ids.len() as u64;
        invocations += 1;
        let most = most.entry(line.function.clone()).or_default();
        *most = sent.max(*most);
    }
    let mut most_to_one_queue: BTreeMap<String, u64> = BTreeMap::new();
    for line in evidence.logs.invocations.iter().filter(|line| COMMAND_STEPS.contains(&line.function.as_str())) {
        let most = most_to_one_queue.entry(line.function.clone()).or_default();
        *most = line.sends.values().copied().fold(*most, u64::max);
    }
    Sends {
        per_message: ratio(sends, messages),
        most_in_an_invocation: most,
        most_to_one_queue,
        mean_batch: ratio(messages, invocations),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!((percentile(&hundred, 50), percentile(&hundred, 95), percentile(&hundred, 99)), (50, 95, 99));
        assert_eq!(percentile(&[7], 99), 7);
        assert_eq!(percentile(&[], 50), 0);
    }

    fn record(message_id: &str, second: u64, latency_ms: u64) -> RecordLine {
        let line = format!(
            r#"{{"timestamp":"2026-11-23T09:30:{second:02}.000Z","message":"record finished","function":"ship-order",
                "request_id":"r","message_id":"{message_id}","queue":"q","verdict":"done","latency_ms":{latency_ms},
                "receive_count":1,"calls":{{"dynamodb":3}}}}"#
        );
        serde_json::from_str(&line).unwrap()
    }

    #[test]
    fn rates_are_over_the_window_from_the_first_arrival_to_the_last_end() {
        let records: Vec<RecordLine> = (1..=20).map(|second| record(&second.to_string(), second, 1_000)).collect();
        assert!((rate(records.iter(), 100) - 1.0).abs() < 1e-9);
        assert!((busiest(&records) - 1.1).abs() < 1e-9, "eleven ends within ten seconds");
        let mut with_failed = records.clone();
        with_failed[3].verdict = "retry".to_owned();
        assert!((rate(with_failed.iter(), 100) - 0.95).abs() < 1e-9);
        let mut with_straggler: Vec<RecordLine> = (0..99).map(|at| record(&at.to_string(), 9, 9_000)).collect();
        with_straggler.push(record("late", 59, 50_000));
        assert!((rate(with_straggler.iter(), 99) - 11.0).abs() < 1e-9);
        assert!(rate(with_straggler.iter(), 100) < 2.0);
    }

    #[test]
    fn the_most_sends_are_told_by_queue_and_count_failed_batches_too() {
        let line = r#"{"message":"invocation finished","function":"ship-order","request_id":"r","received_ids":["m","n"],
            "failed_ids":["m"],"calls":{"sqs":4},"sends":{"stock-express":1,"stock-bulk":2}}"#;
        let mut evidence = Evidence::default();
        evidence.logs.invocations = vec![serde_json::from_str(line).unwrap()];
        assert_eq!(sends(&evidence).most_to_one_queue, BTreeMap::from([("ship-order".to_owned(), 2)]));
    }

    #[test]
    fn calls_are_summed_over_records_invocations_and_requests() {
        let mut evidence = Evidence::default();
        evidence.logs.records = vec![record("m", 1, 1), record("n", 2, 1)];
        let sum = calls(&evidence);
        assert_eq!((sum["dynamodb"], sum["ses"]), (6, 0));
        let step = steps(&evidence)["ship-order"];
        assert_eq!((step.messages, step.failed, step.p50_ms), (2, 0, 1));
    }
}
