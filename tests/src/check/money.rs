//! I3 to I6: what the payment provider and the carrier did, by their own ledger.

use std::collections::{BTreeMap, BTreeSet};

use order::{IdempotencyKey, Order, RefundStatus, State};

use super::{Evidence, Findings, Verdict};
use crate::ledger::{Effect, LedgerEntry};

fn of_kind<'a>(entries: &'a [&LedgerEntry], effect: Effect) -> impl Iterator<Item = &'a LedgerEntry> {
    entries.iter().copied().filter(move |entry| entry.effect == effect)
}

fn amount(entry: &LedgerEntry) -> u64 {
    entry.amount_minor.and_then(|minor| u64::try_from(minor).ok()).unwrap_or_default()
}

fn sum<'a>(entries: impl Iterator<Item = &'a LedgerEntry>) -> u64 {
    entries.map(amount).fold(0, u64::saturating_add)
}

/// I3: at most one capture per order, of exactly its total; refunds add up to what was asked, never over the capture.
pub fn i3_money(evidence: &Evidence) -> Verdict {
    let mut found = Findings::new("I3", "orders with at most one capture of their total, and the refunds asked for");
    let rows = evidence.row_of();
    let asked = refunds_asked(evidence);
    for (id, entries) in &evidence.ledger_of() {
        found.looked();
        let captures: Vec<_> = of_kind(entries, Effect::Captured).collect();
        let order = rows.get(*id).map(|row| &row.order);
        found.require(captures.len() <= 1, id, || format!("captured {} times", captures.len()));
        for capture in &captures {
            let total = order.and_then(|order| order.total);
            let is_total = total.is_some_and(|total| {
                let currency = capture.currency.as_deref().unwrap_or_default();
                total.amount_minor == amount(capture) && total.currency.code().eq_ignore_ascii_case(currency)
            });
            found.require(is_total, id, || {
                let total = total.map_or_else(|| "none".to_owned(), |total| total.to_string());
                format!("captured {} where its total is {total}", amount(capture))
            });
        }
        let (refunded, captured) = (sum(of_kind(entries, Effect::Refunded)), sum(captures.into_iter()));
        found.require(refunded <= captured, id, || format!("refunded {refunded} of {captured} captured"));
        let mut done: Vec<u64> = of_kind(entries, Effect::Refunded).map(amount).collect();
        let mut listed: Vec<u64> = order.map(done_refunds).unwrap_or_default();
        done.sort_unstable();
        listed.sort_unstable();
        found.require(done == listed, id, || format!("refunds {done:?} happened, the row has {listed:?} done"));
    }
    for row in &evidence.rows {
        let order = &row.order;
        let id = order.order_id;
        let entries = evidence.ledger.iter().filter(|entry| entry.order_id.as_deref() == Some(id.to_string().as_str()));
        let captured = sum(entries.clone().filter(|entry| entry.effect == Effect::Captured));
        let on_the_row = order.capture.as_ref().map_or(0, |capture| capture.amount.amount_minor);
        found.require(captured == on_the_row, id, || {
            format!("the row has {on_the_row} captured, the provider {captured}")
        });
        let refunded = sum(entries.filter(|entry| entry.effect == Effect::Refunded));
        let on_the_row: u64 = done_refunds(order).iter().sum();
        found.require(refunded == on_the_row, id, || {
            format!("the row has {on_the_row} refunded, the provider {refunded}")
        });
        refunds_are_as_asked(&mut found, order, asked.get(&id.to_string()));
    }
    found.verdict()
}

fn done_refunds(order: &Order) -> Vec<u64> {
    let done = order.refunds.iter().filter(|refund| refund.status == RefundStatus::Done);
    done.map(|refund| refund.amount_minor).collect()
}

/// What was asked back, by order and key; only what the API took.
type Asked = BTreeMap<String, BTreeMap<String, Option<u64>>>;

fn refunds_asked(evidence: &Evidence) -> Asked {
    let mut asked = Asked::new();
    for refund in evidence.refunds.iter().filter(|refund| (200..300).contains(&refund.status)) {
        let of_order = asked.entry(refund.order_id.to_string()).or_default();
        of_order.insert(refund.key.clone(), refund.amount_minor);
    }
    asked
}

/// Every refund on the row was asked for, each once and of its amount, and none that was taken is missing.
fn refunds_are_as_asked(found: &mut Findings, order: &Order, asked: Option<&BTreeMap<String, Option<u64>>>) {
    let none = BTreeMap::new();
    let asked = asked.unwrap_or(&none);
    let id = order.order_id;
    let mut hashes = BTreeMap::new();
    for (key, amount_minor) in asked {
        match key.parse::<IdempotencyKey>() {
            Ok(key) => {
                hashes.insert(key.hash().as_str().to_owned(), *amount_minor);
            }
            Err(error) => found.violated(id, format!("a refund was taken under a key that is none: {error}")),
        }
    }
    let mut seen = BTreeSet::new();
    for refund in &order.refunds {
        let Some(hash) = &refund.key_hash else {
            found.require(order.state != State::Shipped, id, || "a shipped order is refunded by itself".to_owned());
            continue;
        };
        found.require(seen.insert(hash.as_str().to_owned()), id, || "one refund request is listed twice".to_owned());
        match hashes.get(hash.as_str()) {
            None => found.violated(id, format!("a refund of {} that nobody asked for", refund.amount_minor)),
            Some(Some(amount_minor)) => found.require(*amount_minor == refund.amount_minor, id, || {
                format!("{amount_minor} was asked back, {} is listed", refund.amount_minor)
            }),
            Some(None) => {}
        }
    }
    for hash in hashes.keys().filter(|hash| !seen.contains(*hash)) {
        found.violated(id, format!("a refund that was taken is not listed (key hash {hash})"));
    }
}

/// I4: nothing ships that is not captured in full before, or was given back before.
pub fn i4_nothing_ships_uncaptured(evidence: &Evidence) -> Verdict {
    let mut found = Findings::new("I4", "shipments, each after its capture");
    let rows = evidence.row_of();
    for (id, entries) in &evidence.ledger_of() {
        for shipment in of_kind(entries, Effect::ShipmentCreated) {
            found.looked();
            let before = || entries.iter().copied().filter(|entry| entry.seq < shipment.seq);
            let captured = sum(before().filter(|entry| entry.effect == Effect::Captured));
            let refunded = sum(before().filter(|entry| entry.effect == Effect::Refunded));
            let total = rows.get(*id).and_then(|row| row.order.total).map_or(0, |total| total.amount_minor);
            found.require(captured > 0 && captured >= total, id, || {
                format!("shipped as effect {} with {captured} of {total} captured", shipment.seq)
            });
            found.require(refunded == 0, id, || format!("shipped after {refunded} went back"));
        }
    }
    for row in evidence.rows.iter().filter(|row| row.order.state == State::Shipped) {
        found.require(row.order.capture.is_some(), row.order.order_id, || "shipped without a capture".to_owned());
    }
    found.verdict()
}

/// I5: nothing ships twice; and what is said to have shipped did.
pub fn i5_nothing_ships_twice(evidence: &Evidence) -> Verdict {
    let mut found = Findings::new("I5", "orders with at most one shipment, the one on the row");
    let ledger = evidence.ledger_of();
    for (id, entries) in &ledger {
        found.looked();
        let shipments = of_kind(entries, Effect::ShipmentCreated).count();
        found.require(shipments <= 1, id, || format!("shipped {shipments} times"));
    }
    for row in &evidence.rows {
        let order = &row.order;
        let id = order.order_id.to_string();
        let shipped: Vec<&str> = ledger
            .get(id.as_str())
            .map(|entries| of_kind(entries, Effect::ShipmentCreated).map(|entry| entry.id.as_str()).collect())
            .unwrap_or_default();
        let on_the_row: Vec<&str> = order.shipment.iter().map(|shipment| shipment.shipment_id.as_str()).collect();
        // Parked, it may wait for somebody to find out.
        let same = shipped == on_the_row || order.parked.is_some();
        found.require(same, &id, || format!("the row has the shipments {on_the_row:?}, the carrier {shipped:?}"));
        found.require((order.state == State::Shipped) == order.shipment.is_some(), &id, || {
            format!("is {} with {} shipment(s) on its row", order.state, on_the_row.len())
        });
    }
    found.verdict()
}

/// I6: compensation is complete: cancelled or rejected after capture means refunded in full and stock released; no hold
/// is orphaned. That the stock was released to the piece is I7's; here it is the row's story.
pub fn i6_compensation_is_complete(evidence: &Evidence) -> Verdict {
    let mut found = Findings::new("I6", "orders without an orphaned hold, undone in full where they did not ship");
    let rows = evidence.row_of();
    for (id, entries) in &evidence.ledger_of() {
        found.looked();
        let order = rows.get(*id).map(|row| &row.order);
        // What is parked, or has not ended, still has its hold; I1 judges that.
        let ended = order.is_none_or(|order| order.state.is_terminal() && order.parked.is_none());
        for hold in of_kind(entries, Effect::Authorized).filter(|_| ended) {
            let settled = entries.iter().any(|entry| {
                matches!(entry.effect, Effect::Captured | Effect::Voided | Effect::HoldExpired)
                    && entry.payment_intent == hold.payment_intent
                    && entry.seq > hold.seq
            });
            let payment = hold.payment_intent.as_deref().unwrap_or("?");
            found.require(settled, id, || format!("the hold of {} on {payment} is orphaned", amount(hold)));
        }
        let undone = order.is_none_or(|order| matches!(order.state, State::Rejected | State::Cancelled));
        if undone {
            let captured = sum(of_kind(entries, Effect::Captured));
            let refunded = sum(of_kind(entries, Effect::Refunded));
            found.require(captured == refunded, id, || {
                format!("ended undone with {refunded} of {captured} captured refunded")
            });
            let shipments = of_kind(entries, Effect::ShipmentCreated).count();
            found.require(shipments == 0, id, || "ended undone, and shipped".to_owned());
        }
    }
    for row in evidence.rows.iter().filter(|row| matches!(row.order.state, State::Rejected | State::Cancelled)) {
        let happened = |event| row.order.timeline.iter().position(|entry| entry.event == event);
        if let Some(reserved) = happened(order::EventKind::Reserved) {
            let released = happened(order::EventKind::Releasing).is_some_and(|releasing| releasing > reserved);
            let then = happened(order::EventKind::Refunding).or(happened(order::EventKind::Voiding));
            found.require(released && then.is_some(), row.order.order_id, || {
                "took stock, ended undone, and never released it".to_owned()
            });
        }
    }
    found.verdict()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::fixtures::{broken, good, index_of, refund_asked};

    #[test]
    fn good_money_is_good() {
        for check in [i3_money, i4_nothing_ships_uncaptured, i5_nothing_ships_twice, i6_compensation_is_complete] {
            let verdict = check(&good());
            assert!(verdict.holds, "{}: {}", verdict.id, verdict.detail);
        }
    }

    fn again(evidence: &mut Evidence, order: usize, effect: Effect) -> usize {
        let at = index_of(evidence, order, effect);
        let mut entry = evidence.ledger[at].clone();
        entry.seq = evidence.ledger.len() as u64 + 1;
        evidence.ledger.push(entry);
        evidence.ledger.len() - 1
    }

    #[test]
    fn a_second_capture_or_another_amount_is_seen() {
        broken(i3_money, "captured 2 times", |evidence| {
            again(evidence, 0, Effect::Captured);
        });
        broken(i3_money, "where its total is", |evidence| {
            let at = index_of(evidence, 0, Effect::Captured);
            evidence.ledger[at].amount_minor = Some(1);
        });
        broken(i3_money, "where its total is", |evidence| {
            let at = index_of(evidence, 0, Effect::Captured);
            evidence.ledger[at].currency = Some("eur".to_owned());
        });
        broken(i3_money, "the provider 0", |evidence| {
            let at = index_of(evidence, 0, Effect::Captured);
            evidence.ledger.remove(at);
        });
    }

    #[test]
    fn a_refund_too_many_or_too_large_is_seen() {
        broken(i3_money, "the row has", |evidence| {
            again(evidence, 0, Effect::Refunded);
        });
        broken(i3_money, "captured", |evidence| {
            let at = again(evidence, 0, Effect::Refunded);
            evidence.ledger[at].amount_minor = Some(1_000_000);
        });
        broken(i3_money, "nobody asked for", |evidence| evidence.refunds.clear());
        broken(i3_money, "is not listed", |evidence| evidence.refunds.push(refund_asked(0, "another", Some(5))));
        broken(i3_money, "was asked back", |evidence| evidence.refunds[0].amount_minor = Some(7));
        broken(i3_money, "listed twice", |evidence| {
            let refund = evidence.rows[0].order.refunds[0].clone();
            evidence.rows[0].order.refunds.push(refund);
        });
        broken(i3_money, "by itself", |evidence| evidence.rows[0].order.refunds[0].key_hash = None);
    }

    #[test]
    fn a_shipment_before_its_money_is_seen() {
        broken(i4_nothing_ships_uncaptured, "with 0 of", |evidence| {
            let at = index_of(evidence, 0, Effect::Captured);
            evidence.ledger[at].seq = 1_000;
        });
        broken(i4_nothing_ships_uncaptured, "went back", |evidence| {
            let at = index_of(evidence, 0, Effect::ShipmentCreated);
            evidence.ledger[at].seq = 1_000;
        });
        broken(i4_nothing_ships_uncaptured, "without a capture", |evidence| evidence.rows[0].order.capture = None);
    }

    #[test]
    fn a_second_shipment_is_seen() {
        broken(i5_nothing_ships_twice, "shipped 2 times", |evidence| {
            again(evidence, 0, Effect::ShipmentCreated);
        });
        broken(i5_nothing_ships_twice, "the carrier", |evidence| {
            let at = index_of(evidence, 0, Effect::ShipmentCreated);
            evidence.ledger.remove(at);
        });
        broken(i5_nothing_ships_twice, "0 shipment(s)", |evidence| evidence.rows[0].order.shipment = None);
    }

    #[test]
    fn an_orphaned_hold_is_seen() {
        broken(i6_compensation_is_complete, "orphaned", |evidence| {
            let at = index_of(evidence, 1, Effect::Voided);
            evidence.ledger.remove(at);
        });
        // The hold of another payment was given up, and before this one was made.
        broken(i6_compensation_is_complete, "orphaned", |evidence| {
            let at = index_of(evidence, 1, Effect::Voided);
            evidence.ledger[at].payment_intent = Some("pi_other".to_owned());
        });
    }

    #[test]
    fn an_order_that_was_not_undone_is_seen() {
        broken(i6_compensation_is_complete, "refunded", |evidence| {
            let at = index_of(evidence, 2, Effect::Refunded);
            evidence.ledger[at].amount_minor = Some(1);
        });
        broken(i6_compensation_is_complete, "and shipped", |evidence| {
            let at = index_of(evidence, 0, Effect::ShipmentCreated);
            evidence.ledger[at].order_id = evidence.placed[2].order_id.map(|id| id.to_string());
        });
        broken(i6_compensation_is_complete, "never released", |evidence| {
            evidence.rows[2].order.timeline.retain(|entry| entry.event != order::EventKind::Releasing);
        });
    }

    #[test]
    fn effects_of_an_order_that_is_nobodys_are_held_against_it() {
        broken(i6_compensation_is_complete, "orphaned", |evidence| {
            evidence.rows.remove(1);
            let at = index_of(evidence, 1, Effect::Voided);
            evidence.ledger.remove(at);
        });
    }
}
