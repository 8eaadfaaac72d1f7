//! The loop's own observer: a line for every record and one for every invocation, as metrics and as log.

use serde_json::json;

use super::observe::{Failed, Finished, Observer, Summary};
use super::spans::Story;
use crate::metrics::Document;
use crate::{Failure, Verdict};

/// Prints `record finished` for every record (metric `latency_ms`: from its sending to the end of its invocation) and
/// `invocation finished` (metrics `records`, `failed`, `deferred`, `duration_ms`), `cold start` (metric `cold_start`) for a
/// process's first one, and logs why a record failed.
#[derive(Clone, Copy, Debug)]
pub struct Lines {
    subject: &'static str,
}

impl Default for Lines {
    fn default() -> Self {
        Self { subject: "subject" }
    }
}

impl Lines {
    /// Lines that keep the `subject` of a CloudEvent under this name.
    pub fn with_subject_as(name: &'static str) -> Self {
        Self { subject: name }
    }

    fn record(self, of: &Finished<'_>, verdict: &str) {
        Document::new("record finished")
            .dimension("function", of.function)
            .metric("latency_ms", "Milliseconds", of.now_ms.saturating_sub(of.record.context.sent_ms))
            .property("request_id", of.invocation.request_id.as_str())
            .property("message_id", of.record.message_id.as_str())
            .property(self.subject, Story::of(&of.record.body).subject())
            .property("queue", of.queue)
            .property("verdict", verdict)
            .property("receive_count", of.record.context.receive_count)
            .property("calls", json!(of.calls))
            .emit(of.now_ms);
    }
}

impl Observer for Lines {
    fn succeeded(&self, of: &Finished<'_>, verdict: Verdict) {
        if verdict == Verdict::TakenOver {
            tracing::warn!(message_id = of.record.message_id, "deferred record taken over near its last receive");
        }
        self.record(of, verdict.name());
    }

    fn failed(&self, of: &Finished<'_>, why: Failed<'_>) {
        let (message_id, receive_count) = (of.record.message_id.as_str(), of.record.context.receive_count);
        match why {
            Failed::Itself(failure) => match failure {
                Failure::Bug { .. } | Failure::Poison { .. } => {
                    tracing::error!(message_id, receive_count, %failure, "record failed");
                }
                Failure::Retry { .. } | Failure::Unknown { .. } => {
                    tracing::warn!(message_id, receive_count, %failure, "record failed");
                }
                Failure::Defer { .. } | Failure::Busy { .. } => {
                    tracing::warn!(message_id, receive_count, %failure, "record deferred");
                }
            },
            Failed::Follower => {}
        }
        self.record(of, why.name());
    }

    fn finished(&self, of: &Summary<'_>) {
        let document = Document::new("invocation finished")
            .dimension("function", of.function)
            .metric("records", "Count", count(of.records))
            .metric("failed", "Count", count(of.failed))
            .metric("deferred", "Count", count(of.deferred))
            .metric("duration_ms", "Milliseconds", of.now_ms.saturating_sub(of.started_ms))
            .property("request_id", of.invocation.request_id.as_str());
        let document = if of.queue.is_empty() { document } else { document.property("queue", of.queue) };
        document
            .property("received_ids", json!(of.received_ids))
            .property("failed_ids", json!(of.failed_ids))
            .property("calls", json!(of.calls))
            .property("sends", json!(of.sends))
            .property("cold_start", of.invocation.cold_start)
            .emit(of.now_ms);
        if of.invocation.cold_start {
            Document::cold_start(of.function).emit(of.now_ms);
        }
    }
}

fn count(of: usize) -> u64 {
    u64::try_from(of).unwrap_or(u64::MAX)
}
