//! The functions' log lines, through CloudWatch Logs.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use aws_sdk_cloudwatchlogs::error::ProvideErrorMetadata;
use orderflow::stack::{FUNCTIONS, StackInfo, local_config};
use serde::Deserialize;

/// Calls of AWS services, by `dynamodb`, `sqs`, `sns`, `events`, `ses`, `s3`, `secrets`.
pub type Calls = BTreeMap<String, u64>;

/// One record of one invocation.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct RecordLine {
    /// RFC 3339.
    pub timestamp: String,
    /// The function.
    pub function: String,
    /// The invocation.
    pub request_id: String,
    /// SQS's id.
    pub message_id: String,
    /// What it was about, where it could be told.
    #[serde(default)]
    pub order_id: Option<String>,
    /// Where it came from.
    pub queue: String,
    /// `done`, `already`, `resent`, `dead_lettered`, `taken_over`: acknowledged. Anything else: failed.
    pub verdict: String,
    /// From its sending to the end of its invocation.
    pub latency_ms: u64,
    /// 1 the first time.
    pub receive_count: u32,
    /// Calls made for it alone.
    #[serde(default)]
    pub calls: Calls,
}

impl RecordLine {
    /// Whether it was acknowledged.
    pub fn is_acknowledged(&self) -> bool {
        matches!(self.verdict.as_str(), "done" | "already" | "resent" | "dead_lettered" | "taken_over")
    }

    /// When it was finished, UTC milliseconds.
    pub fn finished_ms(&self) -> Option<u64> {
        let at: jiff::Timestamp = self.timestamp.parse().ok()?;
        u64::try_from(at.as_millisecond()).ok()
    }
}

/// One version of an order that publish-events published. It is fed by a stream, so nothing names a message.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct PublishedLine {
    /// The function.
    pub function: String,
    /// The order.
    pub order_id: String,
    /// From the version's commit to the end of its publication.
    pub latency_ms: u64,
}

/// One invocation of a queue-fed function.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct InvocationLine {
    /// The function.
    pub function: String,
    /// The invocation.
    pub request_id: String,
    /// Where its batch came from.
    #[serde(default)]
    pub queue: String,
    /// The batch.
    #[serde(default)]
    pub received_ids: Vec<String>,
    /// The answer.
    #[serde(default)]
    pub failed_ids: Vec<String>,
    /// From start to answer.
    #[serde(default)]
    pub duration_ms: u64,
    /// Calls made for the batch, beside those for single records.
    #[serde(default)]
    pub calls: Calls,
    /// Whether it was the process's first.
    #[serde(default)]
    pub cold_start: bool,
}

/// One request to the API.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct RequestLine {
    /// Method and path with its placeholders: `POST /orders`.
    pub route: String,
    /// What was answered.
    pub status: u16,
    /// The order, where there is one.
    #[serde(default)]
    pub order_id: Option<String>,
    /// From start to answer.
    #[serde(default)]
    pub duration_ms: u64,
    /// Calls made for it.
    #[serde(default)]
    pub calls: Calls,
}

/// Everything of interest that the functions logged.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LogLines {
    /// `record finished` of a message.
    pub records: Vec<RecordLine>,
    /// `record finished` of a change in the orders' stream.
    pub published: Vec<PublishedLine>,
    /// `invocation finished`.
    pub invocations: Vec<InvocationLine>,
    /// `request finished`.
    pub requests: Vec<RequestLine>,
    /// Lines of level ERROR or WARN, and whatever a panic or a runtime printed that is no JSON.
    pub troubles: Vec<String>,
}

/// The logs of one stack.
#[derive(Clone, Debug)]
pub struct Logs {
    client: aws_sdk_cloudwatchlogs::Client,
    stack: String,
}

/// CloudWatch's own limit of a page.
const PAGE: i32 = 10_000;

impl Logs {
    /// Of a running stack.
    pub fn new(info: &StackInfo) -> Self {
        let client = aws_sdk_cloudwatchlogs::Client::new(&local_config(&info.endpoint));
        Self { client, stack: info.stack_name.clone() }
    }

    /// What all functions logged since then, UTC milliseconds.
    ///
    /// # Errors
    /// When a log cannot be read, or a line of ours is not of its shape.
    pub async fn since(&self, since_ms: u64) -> anyhow::Result<LogLines> {
        let mut lines = LogLines::default();
        for function in FUNCTIONS {
            let messages = self.messages(function, "", since_ms).await?;
            for message in messages {
                lines.take(&message).with_context(|| format!("{function} logged: {message}"))?;
            }
        }
        Ok(lines)
    }

    /// The lines of one function that hold this term (everything with none), oldest first. The local CloudWatch
    /// understands plain terms only.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn messages(&self, function: &str, term: &str, since_ms: u64) -> anyhow::Result<Vec<String>> {
        let group = format!("/aws/lambda/{}-{function}", self.stack);
        let mut found = Vec::new();
        let mut from = i64::try_from(since_ms).unwrap_or(0);
        // Without page tokens a page begins where the last one ended, with that very millisecond once more.
        let mut seen: BTreeSet<(String, String)> = BTreeSet::new();
        let mut token = None;
        loop {
            let ask = self.client.filter_log_events().log_group_name(&group).start_time(from).limit(PAGE);
            let ask = ask.set_filter_pattern((!term.is_empty()).then(|| term.to_owned())).set_next_token(token.take());
            let page = match ask.send().await {
                Ok(page) => page,
                Err(error) if error.code() == Some("ResourceNotFoundException") => return Ok(found),
                Err(error) => return Err(error).with_context(|| format!("cannot read {group}")),
            };
            let full = page.events().len() >= usize::try_from(PAGE).unwrap_or(usize::MAX);
            let mut last = BTreeSet::new();
            let newest = page.events().last().and_then(|event| event.timestamp()).unwrap_or(from);
            let mut news = 0_usize;
            for event in page.events() {
                let message = event.message().unwrap_or_default().to_owned();
                let id = (event.log_stream_name().unwrap_or_default().to_owned(), message.clone());
                if event.timestamp() == Some(newest) {
                    last.insert(id.clone());
                }
                if !seen.contains(&id) {
                    news += 1;
                    found.push(message);
                }
            }
            token = page.next_token;
            if token.is_none() && (!full || news == 0) {
                return Ok(found);
            }
            if token.is_none() {
                from = newest;
                seen = last;
            }
        }
    }
}

impl LogLines {
    /// Takes one line: ours by its `message`; others are kept only as trouble.
    ///
    /// # Errors
    /// When a line of ours is not of its shape.
    pub fn take(&mut self, line: &str) -> anyhow::Result<()> {
        let line = line.trim();
        if line.is_empty() || ["START ", "END ", "REPORT "].iter().any(|own| line.starts_with(own)) {
            return Ok(());
        }
        let Ok(json) = serde_json::from_str::<serde_json::Value>(line) else {
            self.troubles.push(line.to_owned());
            return Ok(());
        };
        let field = |name: &str| json.get(name).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        match field("message").as_str() {
            "record finished" if field("function") == "publish-events" => {
                self.published.push(serde_json::from_value(json)?);
            }
            "record finished" => self.records.push(serde_json::from_value(json)?),
            "invocation finished" => self.invocations.push(serde_json::from_value(json)?),
            "request finished" => self.requests.push(serde_json::from_value(json)?),
            _ if matches!(field("level").as_str(), "ERROR" | "WARN") => self.troubles.push(line.to_owned()),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart_by_their_message() {
        let mut lines = LogLines::default();
        for line in [
            "START RequestId: r Version: $LATEST",
            r#"{"timestamp":"2026-11-23T09:30:00.123Z","level":"INFO","message":"record finished","function":"ship-order",
                "request_id":"r","message_id":"m","order_id":null,"queue":"q","verdict":"retry","latency_ms":7,
                "receive_count":2,"calls":{"dynamodb":3},"_aws":{}}"#,
            r#"{"level":"INFO","message":"invocation finished","function":"ship-order","request_id":"r","queue":"q",
                "records":1,"failed":1,"received_ids":["m"],"failed_ids":["m"],"duration_ms":5,"calls":{},"cold_start":true}"#,
            r#"{"level":"INFO","message":"request finished","function":"accept-order","method":"POST",
                "route":"POST /orders","status":202,"order_id":"o","duration_ms":4,"calls":{"dynamodb":1}}"#,
            r#"{"level":"INFO","message":"record finished","function":"publish-events","order_id":"o","version":3,
                "request_id":"r","verdict":"done","latency_ms":9,"receive_count":1}"#,
            r#"{"level":"INFO","message":"something else"}"#,
            r#"{"level":"ERROR","message":"something bad"}"#,
            "thread 'main' panicked at",
        ] {
            lines.take(line).unwrap();
        }
        assert_eq!(lines.records.len(), 1);
        assert_eq!(lines.published[0].latency_ms, 9);
        assert_eq!(lines.records[0].finished_ms(), Some(1_795_426_200_123));
        assert!(!lines.records[0].is_acknowledged());
        assert_eq!(lines.invocations[0].failed_ids, ["m"]);
        assert_eq!(lines.requests[0].calls["dynamodb"], 1);
        assert_eq!(lines.troubles.len(), 2);
    }

    #[test]
    fn a_line_of_ours_that_lacks_a_field_is_refused() {
        assert!(LogLines::default().take(r#"{"message":"record finished","function":"f"}"#).is_err());
    }
}
