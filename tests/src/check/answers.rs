//! I2 and I10: rows and answers against what was asked.

use std::collections::{BTreeMap, HashMap, HashSet};

use order::Order;
use serde_json::Value;

use super::{Evidence, Findings, Placed, Verdict};

/// I2: every row was asked for, by the customer whose it is and as it is; and every effect was on such an order.
pub fn i2_no_phantom(evidence: &Evidence) -> Verdict {
    let mut found = Findings::new("I2", "rows that were asked for, as they were asked for");
    let mut asked: HashMap<String, Vec<&Placed>> = HashMap::new();
    // A refusal is a promise that there is nothing; what is unknown may have become a row.
    for placed in evidence.placed.iter().filter(|placed| placed.is_accepted() || placed.is_unknown()) {
        match placed.who.order_id(&placed.key) {
            Ok(id) => asked.entry(id.to_string()).or_default().push(placed),
            Err(error) => found.violated(format!("key {}", placed.key), format!("taken, and is none: {error}")),
        }
    }
    for row in &evidence.rows {
        found.looked();
        let order = &row.order;
        let id = order.order_id;
        match asked.get(&id.to_string()) {
            None => found.violated(id, "nobody asked for it"),
            Some(placed) => found.require(placed.iter().any(|placed| is_as_asked(order, placed)), id, || {
                "nobody asked for it as it is".to_owned()
            }),
        }
    }
    let rows: HashSet<String> = evidence.rows.iter().map(|row| row.order.order_id.to_string()).collect();
    for (id, entries) in evidence.ledger_of() {
        let effects: Vec<String> = entries.iter().map(|entry| format!("{:?}", entry.effect)).collect();
        found.require(rows.contains(id), if id.is_empty() { "no order" } else { id }, || {
            format!("has effects ({}) and no row", effects.join(", "))
        });
    }
    found.verdict()
}

fn is_as_asked(order: &Order, placed: &Placed) -> bool {
    let text = |name: &str| placed.body.get(name).and_then(Value::as_str);
    let none = Vec::new();
    let lines = placed.body.get("lines").and_then(Value::as_array).unwrap_or(&none);
    let same_lines = lines.len() == order.lines.len()
        && lines.iter().zip(&order.lines).all(|(asked, line)| {
            asked.get("sku").and_then(Value::as_str) == Some(line.sku.as_str())
                && asked.get("quantity").and_then(Value::as_u64) == Some(u64::from(line.quantity))
        });
    same_lines
        && order.tenant.as_str() == placed.who.tenant
        && order.customer.as_str() == placed.who.customer
        && text("lane").is_none_or(|lane| lane == order.lane.name())
        && text("currency").is_none_or(|currency| currency == order.currency.code())
}

/// I10: same Idempotency-Key and body: same order; other body: 422 and no effect (which I2 sees, as the row would be
/// another's).
pub fn i10_same_key_same_order(evidence: &Evidence) -> Verdict {
    let mut found = Findings::new("I10", "keys that mean one order each");
    let mut by_key: BTreeMap<(&str, &str, &str), Vec<&Placed>> = BTreeMap::new();
    for placed in &evidence.placed {
        let key = (placed.who.tenant.as_str(), placed.who.customer.as_str(), placed.key.as_str());
        by_key.entry(key).or_default().push(placed);
    }
    for ((tenant, _, key), requests) in by_key {
        found.looked();
        let subject = format!("key {key} of {tenant}");
        let Some(winner) = requests.iter().find(|placed| placed.is_accepted()) else {
            // Nothing won, so nothing can have been in the way of it.
            let refused = requests.iter().any(|placed| placed.status == 422)
                && requests.iter().all(|placed| !placed.is_unknown());
            found.require(!refused, &subject, || "422 with nothing accepted under the key".to_owned());
            continue;
        };
        for placed in &requests {
            let same = placed.body == winner.body;
            match placed.status {
                _ if placed.is_accepted() => {
                    found.require(same, &subject, || "two bodies were accepted under one key".to_owned());
                    found.require(placed.order_id == winner.order_id, &subject, || {
                        format!("answered as {:?} and as {:?}", winner.order_id, placed.order_id)
                    });
                }
                422 => found.require(!same, &subject, || "a repeat of the same request was answered 422".to_owned()),
                // Told to come again, or not told.
                429 => {}
                _ if placed.is_unknown() => {}
                status => found.violated(&subject, format!("a repeat was answered {status}")),
            }
        }
        let derived = winner.who.order_id(&winner.key).ok();
        found.require(winner.order_id == derived, &subject, || {
            format!("answered as {:?}, derived as {derived:?}", winner.order_id)
        });
    }
    found.verdict()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::fixtures::{broken, good};
    use crate::ledger::Effect;

    #[test]
    fn good_answers_are_good() {
        for check in [i2_no_phantom, i10_same_key_same_order] {
            let verdict = check(&good());
            assert!(verdict.holds, "{}: {}", verdict.id, verdict.detail);
        }
    }

    #[test]
    fn a_phantom_is_seen() {
        broken(i2_no_phantom, "nobody asked for it", |evidence| drop(evidence.placed.remove(1)));
        broken(i2_no_phantom, "nobody asked for it", |evidence| evidence.placed[1].status = 400);
        broken(i2_no_phantom, "as it is", |evidence| evidence.rows[1].order.lines[0].quantity += 1);
        broken(i2_no_phantom, "as it is", |evidence| evidence.rows[1].order.lane = order::Lane::Bulk);
        broken(i2_no_phantom, "as it is", |evidence| evidence.rows[1].order.tenant = "another".parse().unwrap());
        broken(i2_no_phantom, "and no row", |evidence| {
            let entry = evidence.ledger.iter_mut().find(|entry| entry.effect == Effect::Voided);
            entry.unwrap().order_id = None;
        });
    }

    #[test]
    fn an_unknown_answer_may_have_become_a_row() {
        let mut evidence = good();
        evidence.placed[1].status = 503;
        evidence.placed[1].order_id = None;
        assert!(i2_no_phantom(&evidence).holds);
    }

    #[test]
    fn a_key_that_means_two_orders_is_seen() {
        let repeat = |evidence: &mut Evidence, change: fn(&mut Placed)| {
            let mut placed = evidence.placed[0].clone();
            change(&mut placed);
            evidence.placed.push(placed);
        };
        broken(i10_same_key_same_order, "answered as", |evidence| {
            repeat(evidence, |placed| placed.order_id = Some(uuid::Uuid::nil().into()));
        });
        broken(i10_same_key_same_order, "two bodies", |evidence| {
            repeat(evidence, |placed| placed.body["email"] = "other@example.test".into());
        });
        broken(i10_same_key_same_order, "was answered 422", |evidence| repeat(evidence, |placed| placed.status = 422));
        broken(i10_same_key_same_order, "was answered 409", |evidence| repeat(evidence, |placed| placed.status = 409));
        broken(i10_same_key_same_order, "derived as", |evidence| evidence.placed[1].key = "another key".to_owned());
        broken(i10_same_key_same_order, "nothing accepted", |evidence| evidence.placed[1].status = 422);
    }

    #[test]
    fn repeats_that_keep_the_promise_are_good() {
        let mut evidence = good();
        for (status, other_body) in [(200, false), (202, false), (422, true), (429, false), (503, false), (0, true)] {
            let mut placed = evidence.placed[0].clone();
            placed.status = status;
            if other_body {
                placed.body["email"] = "other@example.test".into();
            }
            evidence.placed.push(placed);
        }
        let verdict = i10_same_key_same_order(&evidence);
        assert!(verdict.holds, "{}", verdict.detail);
    }
}
