//! All that is known of one order: its row, what the functions logged about it, its cases, what operators did, its effects'
//! records and, on the local stack, what the providers really did.

use anyhow::Context;
use aws_config::SdkConfig;
use aws_sdk_cloudwatchlogs::error::ProvideErrorMetadata as _;
use lambda_queue::ports::Store as _;
use lambda_queue::ports::store::{number_of, text, text_of};
use order::Order;
use platform::Aws;
use ports::{CaseIndex, CaseStatus, ReadCases as _, StoredCase, UnreadableCase};
use serde::Serialize;
use serde_json::Value;

use crate::stack::FUNCTIONS;
use crate::strangers::strangers;

/// Before the order's acceptance: its request is logged a moment earlier.
const BEFORE_MS: u64 = 60_000;
/// Log lines of one function, at most.
const MOST_LINES: usize = 5_000;

/// Where to look.
pub struct Sources {
    /// The stack's name, which its log groups begin with.
    pub stack: String,
    /// For the logs.
    pub config: SdkConfig,
    /// The sandbox of a local stack, whose ledger is what the providers did.
    pub sandbox_url: Option<String>,
    /// Whether to read the logs: the slow part.
    pub logs: bool,
}

/// One thing that happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Entry {
    /// UTC milliseconds.
    pub at_ms: u64,
    /// `row`, `log`, `case`, `operator`, `provider`.
    pub source: &'static str,
    /// What.
    pub what: String,
    /// Which message, attempt, verdict.
    pub more: String,
}

/// The record of an effect as it is now: it keeps no history.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct EffectNow {
    /// Its key.
    pub record: String,
    /// The operation that was last at it.
    pub operation: String,
    /// How it stands.
    pub status: String,
    /// Attempts at that operation.
    pub attempts: String,
    /// What an attempt kept for whoever looks the effect up.
    pub note: String,
}

/// All of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Trace {
    /// The oldest first.
    pub entries: Vec<Entry>,
    /// The records of its effects.
    pub effects: Vec<EffectNow>,
    /// What could not be looked at, and why.
    pub missing: Vec<String>,
}

/// Collects everything. A source that does not answer is named, and the others are shown all the same.
///
/// # Errors
/// When the tables cannot be read.
pub async fn collect(aws: &Aws, order: &Order, sources: &Sources) -> anyhow::Result<Trace> {
    let mut trace = Trace { entries: of_row(order), effects: effects(aws, order).await?, missing: Vec::new() };
    let (cases, mut unreadable) = cases(aws, order).await?;
    match strangers(&sources.config, &aws.names().cases_table, Some(&order.order_id.to_string())).await {
        Ok(found) => unreadable.extend(found),
        Err(error) => trace.missing.push(format!("{error:#}")),
    }
    let of_cases = cases.iter().map(|case| (case.case.case_id.as_str(), of_case(case)));
    for (id, entry) in of_cases.chain(unreadable.iter().map(|one| (one.case_id.as_str(), of_unreadable(one)))) {
        trace.entries.extend(aws.audits_of(id).await?.iter().map(operator));
        trace.entries.push(entry);
    }
    trace.entries.extend(aws.audits_of(&order.order_id.to_string()).await?.iter().map(operator));
    if let Some(url) = &sources.sandbox_url {
        match ledger(url, order).await {
            Ok(entries) => trace.entries.extend(entries),
            Err(error) => trace.missing.push(format!("the sandbox's ledger: {error:#}")),
        }
    }
    if sources.logs {
        let logs = aws_sdk_cloudwatchlogs::Client::new(&sources.config);
        for function in FUNCTIONS {
            let group = format!("/aws/lambda/{}-{function}", sources.stack);
            match lines(&logs, &group, order, sources.sandbox_url.is_some()).await {
                Ok(entries) => trace.entries.extend(entries),
                Err(error) => trace.missing.push(format!("the log of {function}: {error:#}")),
            }
        }
    }
    // Of one moment: the row first, as the rest follows from it.
    trace.entries.sort_by_key(|entry| (entry.at_ms, entry.source != "row"));
    Ok(trace)
}

fn of_row(order: &Order) -> Vec<Entry> {
    let entry = |entry: &order::TimelineEntry| Entry {
        at_ms: entry.at_ms,
        source: "row",
        what: format!("version {}: {}", entry.version, entry.event.name()),
        more: format!("event {}", entry.event_id(order.order_id)),
    };
    order.timeline.iter().map(entry).collect()
}

fn of_case(case: &StoredCase) -> Entry {
    let letter = case.case.letter.as_ref();
    let of =
        letter.map(|letter| format!(" of message {} from {}", letter.message_id, letter.queue)).unwrap_or_default();
    Entry {
        at_ms: case.case.opened_at_ms,
        source: "case",
        what: format!("{} case {}: {}", case.case.class.name(), case.case.case_id, case.case.digest),
        more: format!("{}{of}", case.status.name()),
    }
}

fn of_unreadable(one: &UnreadableCase) -> Entry {
    Entry {
        at_ms: one.opened_at_ms,
        source: "case",
        what: format!("case {}, which this program cannot read", one.case_id),
        more: one.unreadable.clone(),
    }
}

fn operator(audit: &ports::Audit) -> Entry {
    Entry {
        at_ms: audit.at_ms,
        source: "operator",
        what: format!("{}: {}", audit.action, audit.detail),
        more: format!("{}, because: {}", audit.who, audit.reason),
    }
}

/// The order's cases, and those of them that cannot be read. No index leads from an order to them: the open and the decided ones
/// are looked through.
async fn cases(aws: &Aws, order: &Order) -> anyhow::Result<(Vec<StoredCase>, Vec<UnreadableCase>)> {
    let id = order.order_id.to_string();
    let (mut found, mut unreadable) = (Vec::new(), Vec::new());
    for status in CaseStatus::ALL {
        let mut after = None;
        loop {
            let page = aws.list_cases(&CaseIndex::Status(status), 100, after.as_deref()).await?;
            // The newest come first: none is older than its order.
            let is_past = page.cases.last().is_some_and(|case| case.case.opened_at_ms < order.created_at);
            found.extend(page.cases.into_iter().filter(|case| case.case.order_id == id));
            unreadable.extend(page.unreadable.into_iter().filter(|one| one.order_id == id));
            after = page.next;
            if after.is_none() || is_past {
                break;
            }
        }
    }
    Ok((found, unreadable))
}

async fn effects(aws: &Aws, order: &Order) -> anyhow::Result<Vec<EffectNow>> {
    let id = order.order_id;
    let mails = order.timeline.iter().map(|entry| format!("mail#{id}#{}", entry.version));
    let records: Vec<String> = [format!("payment#{id}"), format!("shipment#{id}")].into_iter().chain(mails).collect();
    let mut found = Vec::new();
    for chunk in records.chunks(100) {
        let keys = chunk.iter().map(|record| [("key".to_owned(), text(record.clone()))].into()).collect();
        let items = aws.get_all(&aws.names().idempotency_table, keys, true).await?;
        found.extend(items.iter().map(|item| {
            let field = |name: &str| text_of(item, name).unwrap_or_default().to_owned();
            EffectNow {
                record: field("key"),
                operation: field("operation"),
                status: field("status"),
                attempts: number_of(item, "attempts").map(|count| count.to_string()).unwrap_or_default(),
                note: field("note"),
            }
        }));
    }
    found.sort_by_key(|effect| records.iter().position(|record| *record == effect.record));
    Ok(found)
}

/// What the providers did, by their own ledger.
async fn ledger(sandbox_url: &str, order: &Order) -> anyhow::Result<Vec<Entry>> {
    let url = format!("{sandbox_url}/_sandbox/ledger");
    let http = reqwest::Client::builder().no_proxy().build()?;
    let all: Vec<Value> = http.get(&url).send().await?.error_for_status()?.json().await.context("no ledger")?;
    let id = order.order_id.to_string();
    let field = |entry: &Value, name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let own = all.iter().filter(|entry| field(entry, "order_id") == id);
    Ok(own
        .map(|entry| Entry {
            at_ms: entry.get("at_ms").and_then(Value::as_u64).unwrap_or(0),
            source: "provider",
            what: match entry.get("amount_minor").and_then(Value::as_i64) {
                Some(amount) => format!("{} {amount} {}", field(entry, "effect"), field(entry, "currency")),
                None => field(entry, "effect"),
            },
            more: format!("{} {}", field(entry, "id"), field(entry, "idempotency_key")).trim_end().to_owned(),
        })
        .collect())
}

/// What one function logged about the order.
async fn lines(
    logs: &aws_sdk_cloudwatchlogs::Client,
    group: &str,
    order: &Order,
    local: bool,
) -> anyhow::Result<Vec<Entry>> {
    let id = order.order_id.to_string();
    // A term with dashes is quoted; the local CloudWatch knows plain terms only.
    let pattern = if local { id.clone() } else { format!("\"{id}\"") };
    let from = i64::try_from(order.created_at.saturating_sub(BEFORE_MS)).unwrap_or(0);
    let ask = logs.filter_log_events().log_group_name(group).filter_pattern(pattern).start_time(from);
    let mut pages = ask.into_paginator().send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let page = match page {
            Ok(page) => page,
            // It has not run yet.
            Err(error) if error.code() == Some("ResourceNotFoundException") => break,
            Err(error) => return Err(error).context("it cannot be read"),
        };
        for event in page.events() {
            let at_ms = event.timestamp().and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0);
            found.extend(event.message().and_then(|line| of_line(line, at_ms)));
        }
        anyhow::ensure!(found.len() <= MOST_LINES, "more than {MOST_LINES} lines");
    }
    Ok(found)
}

/// A line of ours in words. What is none of ours is left out.
fn of_line(line: &str, logged_ms: u64) -> Option<Entry> {
    let line: Value = serde_json::from_str(line.trim()).ok()?;
    let text = |name: &str| match line.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => String::new(),
    };
    let named = |name: &str, label: &str| {
        let value = text(name);
        if value.is_empty() { None } else { Some(format!("{label}{value}")) }
    };
    let what = [named("function", ""), Some(text("message")), named("verdict", "")];
    let what: Vec<String> = what.into_iter().flatten().filter(|word| !word.is_empty()).collect();
    let more = [
        named("level", "").filter(|level| level != "INFO"),
        named("route", ""),
        named("status", "answered "),
        named("queue", "from "),
        named("message_id", "message "),
        named("receive_count", "receive "),
        named("latency_ms", "latency ms "),
        named("failure", ""),
        named("why", ""),
    ];
    let more: Vec<String> = more.into_iter().flatten().collect();
    let at_ms = line.get("timestamp").and_then(Value::as_str).and_then(ms_of).unwrap_or(logged_ms);
    Some(Entry { at_ms, source: "log", what: what.join(" "), more: more.join(", ") })
}

/// `2026-11-24T01:28:05.937Z` as UTC milliseconds.
fn ms_of(text: &str) -> Option<u64> {
    let at: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(at.as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_told_in_words_and_what_is_none_is_left_out() {
        let line = r#"{"timestamp":"2026-11-23T09:30:00.123Z","level":"INFO","message":"record finished","function":"ship-order",
            "message_id":"m","order_id":"o","queue":"q","verdict":"retry","latency_ms":7,"receive_count":2}"#;
        let entry = of_line(line, 1).unwrap();
        assert_eq!((entry.at_ms, entry.source), (1_795_426_200_123, "log"));
        assert_eq!(entry.what, "ship-order record finished retry");
        assert_eq!(entry.more, "from q, message m, receive 2, latency ms 7");
        assert_eq!(of_line("START RequestId: o", 1), None);
        assert_eq!(of_line(r#"{"message":"x"}"#, 7).unwrap().at_ms, 7);
    }
}
