//! I7: the stock table against what it was seeded with.

use std::collections::BTreeMap;

use order::Sku;

use super::{Evidence, Findings, Verdict};

/// I7: available + lines of orders holding or having shipped it = seeded; never negative.
pub fn i7_stock_is_conserved(evidence: &Evidence) -> Verdict {
    let mut found = Findings::new("I7", "products whose stock adds up");
    let mut out: BTreeMap<&Sku, i128> = BTreeMap::new();
    for row in evidence.rows.iter().filter(|row| row.order.state.holds_stock()) {
        for line in &row.order.lines {
            *out.entry(&line.sku).or_default() += i128::from(line.quantity);
        }
    }
    for (sku, seeded) in &evidence.seeded {
        found.looked();
        let Some(available) = evidence.stock.get(sku) else {
            found.violated(sku, "is gone from the table");
            continue;
        };
        let out = out.get(sku).copied().unwrap_or_default();
        found.require(*available >= 0, sku, || format!("{available} available"));
        found.require(i128::from(*available) + out == i128::from(*seeded), sku, || {
            format!("{available} available and {out} with orders, of {seeded} seeded")
        });
    }
    for sku in evidence.stock.keys().chain(out.into_keys()).filter(|sku| !evidence.seeded.contains_key(sku)) {
        found.violated(sku, "was never seeded");
    }
    found.verdict()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::fixtures::{broken, good};

    #[test]
    fn good_stock_is_good() {
        let verdict = i7_stock_is_conserved(&good());
        assert!(verdict.holds, "{}", verdict.detail);
    }

    #[test]
    fn stock_that_does_not_add_up_is_seen() {
        broken(i7_stock_is_conserved, "with orders, of", |evidence| {
            evidence.stock.values_mut().for_each(|available| *available += 1);
        });
        broken(i7_stock_is_conserved, "with orders, of", |evidence| drop(evidence.rows.remove(0)));
        broken(i7_stock_is_conserved, "-1 available", |evidence| {
            evidence.stock.values_mut().for_each(|available| *available = -1);
        });
        broken(i7_stock_is_conserved, "is gone", |evidence| evidence.stock.clear());
        broken(i7_stock_is_conserved, "never seeded", |evidence| {
            evidence.stock.insert("STRANGER".parse().unwrap(), 3);
        });
    }
}
