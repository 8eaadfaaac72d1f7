//! I9: what became of every message.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Evidence, Findings, Verdict};
use crate::logs::RecordLine;

/// I9: every message id has exactly one end: done, in flight, or one case. Of the messages about the orders that are looked
/// at; what is in flight is known only to the queues, so nothing is said of it before they are drained.
pub fn i9_one_end(evidence: &Evidence) -> Verdict {
    let mut found = Findings::new("I9", "messages with one end: done, in flight, or one case");
    let mut cases_of: HashMap<&str, usize> = HashMap::new();
    for message_id in evidence.cases.iter().filter_map(|case| case.message_id.as_deref()) {
        *cases_of.entry(message_id).or_default() += 1;
    }
    for (message_id, cases) in &cases_of {
        found.require(*cases == 1, message_id, || format!("has {cases} cases"));
    }
    let orders: HashSet<String> = evidence.rows.iter().map(|row| row.order.order_id.to_string()).collect();
    let about_ours = |record: &&RecordLine| record.order_id.as_ref().is_some_and(|id| orders.contains(id));
    let mut of_message: BTreeMap<&str, Vec<&RecordLine>> = BTreeMap::new();
    for record in evidence.logs.records.iter().filter(about_ours) {
        // Triage takes the letter: what became of the message is said by its case.
        if record.function != "triage-dead-letters" {
            of_message.entry(record.message_id.as_str()).or_default().push(record);
        }
    }
    let answered: HashSet<&str> =
        evidence.logs.invocations.iter().map(|invocation| invocation.request_id.as_str()).collect();
    // A record may say that it is done, and its function die before it answers: then it comes back.
    let is_heard = |record: &RecordLine| {
        answered.contains(record.request_id.as_str())
            && !record.finished_ms().is_some_and(|at_ms| evidence.was_unheard(&record.function, at_ms))
    };
    let drained = evidence.queues.are_drained() && evidence.queues.have_no_dead_letters();
    for (message_id, records) in of_message {
        found.looked();
        let cases = cases_of.get(message_id).copied().unwrap_or(0);
        let Some(last) = records.iter().max_by_key(|record| record.receive_count) else { continue };
        let given_up = records.iter().any(|record| record.verdict == "dead_lettered");
        let about = || format!("{}, order {}", last.queue, last.order_id.as_deref().unwrap_or_default());
        found.require(!drained || !given_up || cases == 1, message_id, || {
            format!("given up, and no case ({})", about())
        });
        found.require(!drained || last.is_acknowledged() || cases == 1, message_id, || {
            format!("ended {} and has neither come back nor become a case ({})", last.verdict, about())
        });
        found.require(cases == 0 || given_up || !last.is_acknowledged() || !is_heard(last), message_id, || {
            format!("is done, and has a case as well ({})", about())
        });
    }
    found.verdict()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Kill;
    use crate::check::fixtures::{broken, good};
    use crate::tables::CaseRow;

    /// A message about the first order that failed for good.
    fn failed(evidence: &mut Evidence, verdict: &str) {
        let mut record = evidence.logs.records[0].clone();
        record.message_id = "given-up".to_owned();
        record.order_id = Some(evidence.rows[0].order.order_id.to_string());
        record.verdict = verdict.to_owned();
        evidence.logs.records.push(record);
    }

    fn case_of(evidence: &mut Evidence, case_id: &str) {
        evidence.cases.push(CaseRow {
            case_id: case_id.to_owned(),
            status: "open".to_owned(),
            message_id: Some("given-up".to_owned()),
            ..CaseRow::default()
        });
    }

    #[test]
    fn one_end_is_good() {
        assert!(i9_one_end(&good()).holds, "{}", i9_one_end(&good()).detail);
        for verdict in ["dead_lettered", "bug"] {
            let mut evidence = good();
            failed(&mut evidence, verdict);
            case_of(&mut evidence, "c");
            assert!(i9_one_end(&evidence).holds, "{}", i9_one_end(&evidence).detail);
        }
    }

    #[test]
    fn no_end_and_two_ends_are_seen() {
        broken(i9_one_end, "given up, and no case", |evidence| failed(evidence, "dead_lettered"));
        broken(i9_one_end, "neither come back nor become a case", |evidence| failed(evidence, "bug"));
        broken(i9_one_end, "has 2 cases", |evidence| {
            failed(evidence, "bug");
            case_of(evidence, "c");
            case_of(evidence, "d");
        });
        broken(i9_one_end, "is done, and has a case as well", |evidence| {
            failed(evidence, "done");
            case_of(evidence, "c");
        });
    }

    #[test]
    fn an_acknowledgement_that_was_killed_on_its_way_is_none() {
        let mut evidence = good();
        failed(&mut evidence, "done");
        case_of(&mut evidence, "c");
        let last = evidence.logs.records.last().unwrap();
        let kill = Kill { function: last.function.clone(), at_ms: last.finished_ms().unwrap() + 100 };
        evidence.kills.push(kill);
        assert!(i9_one_end(&evidence).holds, "{}", i9_one_end(&evidence).detail);
    }

    #[test]
    fn what_is_still_in_a_queue_may_yet_come_to_its_end() {
        let mut evidence = good();
        failed(&mut evidence, "dead_lettered");
        let depth = crate::queues::Depth { visible: 1, ..Default::default() };
        evidence.queues.0.insert("validate-dlq".to_owned(), depth);
        assert!(i9_one_end(&evidence).holds);
    }
}
