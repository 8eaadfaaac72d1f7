//! I1 and I8: where orders end, and by which way.

use std::collections::HashSet;

use order::EventKind;

use super::way::Way;
use super::{Evidence, Findings, Verdict};
use crate::deployed::story;
use crate::tables::Row;

/// I1: an accepted order ends Shipped, Rejected or Cancelled with nothing owed, or is parked with an open case, or with one
/// that an operator gave up (ADR 11).
pub fn i1_no_loss(evidence: &Evidence) -> Verdict {
    let mut found = Findings::new("I1", "accepted orders that ended, or are parked with an open case");
    let rows = evidence.row_of();
    let stands = |status: &str| matches!(status, "open" | "abandoned");
    let open_cases: HashSet<&str> =
        evidence.cases.iter().filter(|case| stands(&case.status)).map(|case| case.case_id.as_str()).collect();
    for placed in evidence.placed.iter().filter(|placed| placed.is_accepted()) {
        let Some(id) = placed.order_id else {
            found.violated(format!("key {}", placed.key), "accepted without an order id");
            continue;
        };
        found.require(rows.contains_key(&id.to_string()), id, || "accepted, and has no row".to_owned());
    }
    for row in &evidence.rows {
        found.looked();
        let order = &row.order;
        match &order.parked {
            Some(parked) => found.require(open_cases.contains(parked.case_id.as_str()), order.order_id, || {
                format!("parked with case {}, which is not open", parked.case_id)
            }),
            None => found.require(order.state.is_terminal() && order.next_command().is_none(), order.order_id, || {
                format!("has not ended: {}", story(row))
            }),
        }
    }
    found.verdict()
}

/// I8: only legal transitions, version +1 each, terminal absorbs; and the row is where its timeline leads.
pub fn i8_legal_transitions(evidence: &Evidence) -> Verdict {
    let mut found = Findings::new("I8", "timelines that follow the table, version by version");
    for row in &evidence.rows {
        found.looked();
        if let Err(how) = follows_the_table(row) {
            found.violated(row.order.order_id, format!("{how} ({})", story(row)));
        }
    }
    found.verdict()
}

fn follows_the_table(row: &Row) -> Result<(), String> {
    let order = &row.order;
    for (expected, entry) in (1_u64..).zip(&order.timeline) {
        if entry.version != expected {
            return Err(format!("version {} where {expected} was to be", entry.version));
        }
    }
    let length = u64::try_from(order.timeline.len()).unwrap_or(u64::MAX);
    if order.version != length {
        return Err(format!("version {} with {length} events", order.version));
    }
    let Some((first, rest)) = order.timeline.split_first() else { return Err("no story".to_owned()) };
    if first.event != EventKind::Accepted {
        return Err(format!("begins with {}", first.event));
    }
    let mut way = Way::begin();
    for entry in rest {
        way.follow(entry.event)?;
    }
    if way.state != order.state {
        return Err(format!("is {} where its story ends {}", order.state, way.state));
    }
    // Once an order has ended the flag only remembers.
    if way.cancel_requested != order.cancel_requested {
        return Err(format!("cancel_requested is {}, its story says otherwise", order.cancel_requested));
    }
    if way.parked != order.parked.is_some() {
        return Err("the story and the row disagree on whether it is parked".to_owned());
    }
    if order.due_at.is_some() != order.next_command().is_some() {
        return Err("`due_at` is there exactly while a command is owed".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::fixtures::{broken, case, good, parked};

    #[test]
    fn good_orders_are_good() {
        let verdict = i1_no_loss(&good());
        assert!(verdict.holds, "{}", verdict.detail);
        let verdict = i8_legal_transitions(&good());
        assert!(verdict.holds, "{}", verdict.detail);
    }

    #[test]
    fn a_lost_order_is_seen() {
        broken(i1_no_loss, "has no row", |evidence| drop(evidence.rows.remove(0)));
        broken(i1_no_loss, "has not ended", |evidence| evidence.rows[0].order.state = order::State::Paid);
        broken(i1_no_loss, "has not ended", |evidence| {
            evidence.rows[0].order.refunds[0].status = order::RefundStatus::Requested;
        });
        broken(i1_no_loss, "without an order id", |evidence| evidence.placed[0].order_id = None);
    }

    #[test]
    fn a_parked_order_needs_an_open_case() {
        broken(i1_no_loss, "not open", |evidence| evidence.rows[0].order.parked = Some(parked()));
        broken(i1_no_loss, "not open", |evidence| {
            evidence.rows[0].order.parked = Some(parked());
            evidence.cases.push(case("closed"));
        });
        for status in ["open", "abandoned"] {
            let mut evidence = good();
            evidence.rows[0].order.parked = Some(parked());
            evidence.cases.push(case(status));
            assert!(i1_no_loss(&evidence).holds, "{status}");
        }
    }

    #[test]
    fn a_story_that_cannot_be_is_seen() {
        broken(i8_legal_transitions, "version 9", |evidence| evidence.rows[0].order.timeline[2].version = 9);
        broken(i8_legal_transitions, "with 8 events", |evidence| evidence.rows[0].order.version = 9);
        broken(i8_legal_transitions, "reserved after validated", |evidence| {
            evidence.rows[0].order.timeline[2].event = EventKind::Reserved;
        });
        broken(i8_legal_transitions, "begins with", |evidence| {
            evidence.rows[0].order.timeline[0].event = EventKind::Validated;
        });
        broken(i8_legal_transitions, "is paid where its story ends shipped", |evidence| {
            evidence.rows[0].order.state = order::State::Paid;
        });
        broken(i8_legal_transitions, "cancel_requested", |evidence| evidence.rows[0].order.cancel_requested = true);
        broken(i8_legal_transitions, "due_at", |evidence| evidence.rows[0].order.due_at = Some(1));
        broken(i8_legal_transitions, "disagree", |evidence| evidence.rows[0].order.parked = Some(parked()));
        broken(i8_legal_transitions, "no story", |evidence| {
            evidence.rows[0].order.timeline.clear();
            evidence.rows[0].order.version = 0;
        });
    }
}
