//! The invariants of the design, each a function over what was asked and what is there.
//!
//! Nothing here trusts the functions' own words where there is another witness: money and shipments are judged by the
//! providers' ledger, stock by the table against what was seeded, the order's way by the table of the design written
//! down again in [`way`]. Each checker has a test that shows it a violation.

mod answers;
mod batches;
mod bounds;
mod ends;
mod evidence;
#[cfg(test)]
mod fixtures;
mod life;
mod money;
mod published;
mod stock;
pub mod way;

use std::fmt::Display;

use serde::Serialize;

pub use answers::{i2_no_phantom, i10_same_key_same_order};
pub use batches::i12_batch_answers;
pub use bounds::{i13_drains, i14_work_is_bounded};
pub use ends::i9_one_end;
pub use evidence::{Evidence, Kill, Placed, RefundAsked};
pub use life::{i1_no_loss, i8_legal_transitions};
pub use money::{i3_money, i4_nothing_ships_uncaptured, i5_nothing_ships_twice, i6_compensation_is_complete};
pub use published::i11_every_version_published;
pub use stock::i7_stock_is_conserved;

/// Three good orders, for tests of what stands on evidence.
#[cfg(test)]
pub(crate) fn evidence_for_tests() -> Evidence {
    fixtures::good()
}

/// How many violations a verdict spells out.
const SHOWN: usize = 5;

/// Whether an invariant holds, and if not, where.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Verdict {
    /// `I1` ... of the design.
    pub id: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// What was looked at, or the first violations with the orders' ids.
    pub detail: String,
}

/// Collects violations of one invariant.
pub(crate) struct Findings {
    id: &'static str,
    what: &'static str,
    looked_at: usize,
    violations: Vec<String>,
}

impl Findings {
    pub(crate) fn new(id: &'static str, what: &'static str) -> Self {
        Self { id, what, looked_at: 0, violations: Vec::new() }
    }

    /// Counts something looked at.
    pub(crate) fn looked(&mut self) {
        self.looked_at += 1;
    }

    /// Notes a violation.
    pub(crate) fn violated(&mut self, subject: impl Display, how: impl Display) {
        self.violations.push(format!("{subject}: {how}"));
    }

    /// Notes a violation unless it is so.
    pub(crate) fn require(&mut self, is_so: bool, subject: impl Display, how: impl FnOnce() -> String) {
        if !is_so {
            self.violated(subject, how());
        }
    }

    pub(crate) fn verdict(self) -> Verdict {
        let detail = if self.violations.is_empty() {
            format!("{}: {} looked at", self.what, self.looked_at)
        } else {
            let shown: Vec<&str> = self.violations.iter().take(SHOWN).map(String::as_str).collect();
            let more = self.violations.len().saturating_sub(SHOWN);
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            format!("{}{more}", shown.join("; "))
        };
        Verdict { id: self.id, holds: self.violations.is_empty(), detail }
    }
}

/// Every invariant that can be seen from outside, in the order of the design.
pub fn all(evidence: &Evidence) -> Vec<Verdict> {
    vec![
        i1_no_loss(evidence),
        i2_no_phantom(evidence),
        i3_money(evidence),
        i4_nothing_ships_uncaptured(evidence),
        i5_nothing_ships_twice(evidence),
        i6_compensation_is_complete(evidence),
        i7_stock_is_conserved(evidence),
        i8_legal_transitions(evidence),
        i9_one_end(evidence),
        i10_same_key_same_order(evidence),
        i11_every_version_published(evidence),
        i12_batch_answers(evidence),
    ]
}
