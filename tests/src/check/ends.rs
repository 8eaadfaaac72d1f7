//! I9: what became of every message, by what the functions told of it and what lies in the dead-letter queues.

use std::collections::{BTreeMap, HashSet};

use super::{Evidence, Findings, Verdict};
use crate::logs::RecordLine;

/// I9, as far as it can be seen: every message that a function received was acknowledged once, or is in flight, or lies in
/// a dead-letter queue, and never two of these. An acknowledgement counts when its invocation answered.
pub fn i9_one_end(evidence: &Evidence) -> Verdict {
    let mut found = Findings::new("I9", "messages with exactly one end");
    let answered: HashSet<&str> =
        evidence.logs.invocations.iter().map(|invocation| invocation.request_id.as_str()).collect();
    let mut of_message: BTreeMap<&str, Vec<&RecordLine>> = BTreeMap::new();
    for record in &evidence.logs.records {
        of_message.entry(record.message_id.as_str()).or_default().push(record);
    }
    for (message_id, records) in of_message {
        found.looked();
        let order =
            || records.iter().find_map(|record| record.order_id.clone()).unwrap_or_else(|| "no order".to_owned());
        let unheard = |record: &RecordLine| {
            record.finished_ms().is_some_and(|at_ms| evidence.was_unheard(&record.function, at_ms))
        };
        // The same message may be in one batch twice: that is one acknowledgement.
        let ends: BTreeMap<&str, &RecordLine> = records
            .iter()
            .filter(|record| record.is_acknowledged() && answered.contains(record.request_id.as_str()))
            .map(|record| (record.request_id.as_str(), *record))
            .collect();
        let certain = ends.values().filter(|record| !unheard(record)).count();
        let is_dead = evidence.dead.contains(message_id);
        found.require(certain <= 1, message_id, || format!("acknowledged {certain} times ({})", order()));
        found.require(!(certain > 0 && is_dead), message_id, || {
            format!("acknowledged, and a dead letter as well ({})", order())
        });
        let is_left = !is_dead && !evidence.queues.are_drained();
        found.require(!ends.is_empty() || is_dead || is_left, message_id, || {
            let verdicts: Vec<&str> = records.iter().map(|record| record.verdict.as_str()).collect();
            format!("has no end: {} ({})", verdicts.join(", "), order())
        });
    }
    found.verdict()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Kill;
    use crate::check::fixtures::{broken, good};

    #[test]
    fn good_messages_are_good() {
        let verdict = i9_one_end(&good());
        assert!(verdict.holds, "{}", verdict.detail);
    }

    #[test]
    fn a_message_with_two_ends_or_none_is_seen() {
        broken(i9_one_end, "acknowledged 2 times", |evidence| evidence.logs.records[1].verdict = "done".to_owned());
        broken(i9_one_end, "a dead letter as well", |evidence| drop(evidence.dead.insert("m1".to_owned())));
        broken(i9_one_end, "has no end: retry", |evidence| drop(evidence.logs.records.remove(2)));
        // It says that it acknowledged, and answered nothing.
        broken(i9_one_end, "has no end: done", |evidence| {
            evidence.logs.records.remove(1);
            evidence.logs.records.remove(1);
            evidence.logs.invocations.remove(0);
        });
    }

    #[test]
    fn a_dead_letter_is_an_end_and_so_is_a_message_on_its_way() {
        let mut evidence = good();
        evidence.logs.records.remove(2);
        evidence.dead.insert("m2".to_owned());
        assert!(i9_one_end(&evidence).holds);
        evidence.dead.clear();
        let depth = crate::queues::Depth { in_flight: 1, ..Default::default() };
        evidence.queues.0.insert("shipping-bulk".to_owned(), depth);
        assert!(i9_one_end(&evidence).holds);
    }

    #[test]
    fn an_acknowledgement_that_was_killed_on_its_way_is_none() {
        let mut evidence = good();
        evidence.logs.records[1].verdict = "done".to_owned();
        let at_ms = evidence.logs.records[1].finished_ms().unwrap() + 100;
        evidence.kills.push(Kill { function: "ship-order".to_owned(), at_ms });
        let verdict = i9_one_end(&evidence);
        assert!(verdict.holds, "{}", verdict.detail);
    }
}
