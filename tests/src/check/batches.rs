//! I12: what the functions answered to their batches.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Evidence, Findings, Verdict};
use crate::logs::RecordLine;

/// Fed by a stream, which has no message ids: it names the one sequence number at which it starts again.
const STREAM_FED: &str = "publish-events";

/// I12: a batch answer names exactly the unhandled ids, none empty, all from the batch; and what was named came back.
pub fn i12_batch_answers(evidence: &Evidence) -> Verdict {
    let mut found = Findings::new("I12", "batch answers that name exactly what was not handled");
    let mut of_invocation: HashMap<&str, Vec<&RecordLine>> = HashMap::new();
    for record in &evidence.logs.records {
        of_invocation.entry(record.request_id.as_str()).or_default().push(record);
    }
    for invocation in &evidence.logs.invocations {
        found.looked();
        let subject = format!("{} {}", invocation.function, invocation.request_id);
        if invocation.function == STREAM_FED {
            let named: Vec<&str> = invocation.failed_ids.iter().map(String::as_str).collect();
            let names_one = matches!(named.as_slice(), [] | [_]) && !named.contains(&"");
            found.require(names_one, &subject, || format!("starts its stream again at {named:?}"));
            continue;
        }
        let received: BTreeSet<&str> = invocation.received_ids.iter().map(String::as_str).collect();
        let failed: BTreeSet<&str> = invocation.failed_ids.iter().map(String::as_str).collect();
        found.require(!failed.contains("") && !received.contains(""), &subject, || "an empty id".to_owned());
        found.require(failed.len() == invocation.failed_ids.len(), &subject, || "an id is named twice".to_owned());
        found.require(failed.is_subset(&received), &subject, || {
            let strangers: Vec<_> = failed.difference(&received).collect();
            format!("names {strangers:?}, which it did not receive")
        });
        let records = of_invocation.remove(invocation.request_id.as_str()).unwrap_or_default();
        let told: BTreeSet<&str> = records.iter().map(|record| record.message_id.as_str()).collect();
        found.require(told == received && told.len() == records.len(), &subject, || {
            format!("received {} messages and tells of {}", received.len(), records.len())
        });
        let unhandled: BTreeSet<&str> = records
            .iter()
            .filter(|record| !record.is_acknowledged())
            .map(|record| record.message_id.as_str())
            .collect();
        found.require(failed == unhandled, &subject, || format!("names {failed:?}, did not handle {unhandled:?}"));
    }
    for (request_id, records) in of_invocation {
        // Killed, an invocation tells of no end and names nobody: all of its batch comes back.
        let cut_off = |record: &RecordLine| {
            record.finished_ms().is_some_and(|at_ms| evidence.was_cut_off(&record.function, at_ms))
        };
        if records.iter().all(|record| cut_off(record)) {
            continue;
        }
        found.violated(request_id, format!("tells of {} records and not of itself", records.len()));
    }
    // Once nothing is left anywhere, the last word on every message has to be a yes, or it has become a case: what was named
    // and did not come back was deleted unhandled.
    let cases: BTreeSet<&str> = evidence.cases.iter().filter_map(|case| case.message_id.as_deref()).collect();
    if evidence.queues.are_drained() && evidence.queues.have_no_dead_letters() {
        let mut last: BTreeMap<&str, &RecordLine> = BTreeMap::new();
        for record in &evidence.logs.records {
            let known = last.entry(record.message_id.as_str()).or_insert(record);
            if record.receive_count >= known.receive_count {
                *known = record;
            }
        }
        for (message_id, record) in last {
            found.require(record.is_acknowledged() || cases.contains(message_id), message_id, || {
                let order = record.order_id.as_deref().unwrap_or("no order");
                format!("failed in {} ({}, {order}) and never came back", record.queue, record.verdict)
            });
        }
    }
    found.verdict()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::fixtures::{broken, good};

    #[test]
    fn good_batches_are_good() {
        let verdict = i12_batch_answers(&good());
        assert!(verdict.holds, "{}", verdict.detail);
    }

    #[test]
    fn a_wrong_batch_answer_is_seen() {
        broken(i12_batch_answers, "an empty id", |evidence| {
            evidence.logs.invocations[0].failed_ids.push(String::new());
        });
        broken(i12_batch_answers, "which it did not receive", |evidence| {
            evidence.logs.invocations[0].failed_ids.push("stranger".to_owned());
        });
        broken(i12_batch_answers, "named twice", |evidence| {
            let id = evidence.logs.invocations[0].failed_ids[0].clone();
            evidence.logs.invocations[0].failed_ids.push(id);
        });
        broken(i12_batch_answers, "did not handle", |evidence| evidence.logs.invocations[0].failed_ids.clear());
        broken(i12_batch_answers, "tells of", |evidence| drop(evidence.logs.records.remove(0)));
        broken(i12_batch_answers, "not of itself", |evidence| drop(evidence.logs.invocations.remove(1)));
    }

    #[test]
    fn a_stream_starts_again_at_one_place() {
        let mut evidence = good();
        let mut stream = evidence.logs.invocations[1].clone();
        stream.function = STREAM_FED.to_owned();
        stream.received_ids.clear();
        stream.failed_ids = vec!["100".to_owned()];
        evidence.logs.invocations.push(stream);
        let verdict = i12_batch_answers(&evidence);
        assert!(verdict.holds, "{}", verdict.detail);
        broken(i12_batch_answers, "starts its stream again at", |evidence| {
            evidence.logs.invocations[1].function = STREAM_FED.to_owned();
            evidence.logs.invocations[1].failed_ids = vec!["1".to_owned(), "2".to_owned()];
        });
    }

    #[test]
    fn an_invocation_that_was_killed_tells_of_no_end() {
        let mut evidence = good();
        evidence.logs.invocations.retain(|invocation| invocation.request_id != "r1");
        assert!(!i12_batch_answers(&evidence).holds);
        let at_ms = evidence.logs.records[0].finished_ms().unwrap();
        for (function, at_ms, holds) in [
            ("ship-order", at_ms + 10_000, true),
            ("ship-order", at_ms + 60_000, false),
            ("reserve-stock", at_ms + 10_000, false),
        ] {
            evidence.kills = vec![crate::check::Kill { function: function.to_owned(), at_ms }];
            assert_eq!(i12_batch_answers(&evidence).holds, holds, "{function} {at_ms}");
        }
    }

    #[test]
    fn a_failed_message_that_never_came_back_is_seen() {
        broken(i12_batch_answers, "never came back", |evidence| {
            evidence.logs.invocations.remove(1);
            evidence.logs.records.retain(|record| record.request_id != "r2");
        });
    }

    #[test]
    fn a_failed_message_that_became_a_case_has_its_end() {
        let mut evidence = good();
        evidence.logs.invocations.remove(1);
        evidence.logs.records.retain(|record| record.request_id != "r2");
        let message_id = evidence.logs.invocations[0].failed_ids[0].clone();
        evidence.cases.push(crate::tables::CaseRow { message_id: Some(message_id), ..Default::default() });
        assert!(i12_batch_answers(&evidence).holds);
    }
}
