//! Figures with what they have to keep to, and how a run's end is told.

use std::fmt;

use order::EventKind;
use serde::Serialize;

use crate::check::{Evidence, Verdict};
use crate::deployed::story;
use crate::tables::Row;

/// Troubles that are spelt out.
const SHOWN: usize = 20;

/// Which side of its bound a figure has to be on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum HasToBe {
    /// Not above.
    #[serde(rename = "at most")]
    AtMost,
    /// Not below.
    #[serde(rename = "at least")]
    AtLeast,
}

/// A figure and what it has to keep to.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Figure {
    /// What was measured.
    pub what: String,
    /// Of this.
    pub unit: &'static str,
    /// What came out.
    pub value: f64,
    /// On this side of the bound.
    pub has_to_be: HasToBe,
    /// This.
    pub bound: f64,
    /// Whether it is.
    pub holds: bool,
}

impl Figure {
    pub(super) fn at_most(what: impl Into<String>, unit: &'static str, value: f64, bound: f64) -> Self {
        Self { what: what.into(), unit, value, has_to_be: HasToBe::AtMost, bound, holds: value <= bound }
    }

    pub(super) fn at_least(what: impl Into<String>, unit: &'static str, value: f64, bound: f64) -> Self {
        Self { what: what.into(), unit, value, has_to_be: HasToBe::AtLeast, bound, holds: value >= bound }
    }

    /// It holds only where this does too: that there was something to measure.
    pub(super) fn only_if(mut self, measured: bool) -> Self {
        self.holds &= measured;
        self
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, unit, value, has_to_be, bound, holds } = self;
        let has_to_be = match has_to_be {
            HasToBe::AtMost => "at most",
            HasToBe::AtLeast => "at least",
        };
        let holds = if *holds { "yes" } else { "NO" };
        write!(out, "{what:<65} {value:>9.2} {unit:<8} {has_to_be:<8} {bound:>8.2}  {holds}")
    }
}

/// Whether a run may call itself good.
pub(super) fn all_hold(figures: &[Figure], invariants: &[Verdict], troubles: &[String]) -> bool {
    figures.iter().all(|figure| figure.holds) && invariants.iter().all(|one| one.holds) && troubles.is_empty()
}

/// What is left over of orders of which all had to ship: dead letters, and those that did not.
pub(super) fn left_over(evidence: &Evidence) -> impl Iterator<Item = String> {
    let dead = evidence.queues.holding(true).map(|(name, depth)| format!("{name}: {} dead letters", depth.total()));
    let open = evidence.rows.iter().filter(|row| at_ms(row, EventKind::Shipped).is_none());
    dead.chain(open.map(|row| format!("order {}: {}", row.order.order_id, story(row))))
}

/// The last lines of a run: invariants and troubles.
pub(super) fn print_end(invariants: &[Verdict], troubles: &[String]) {
    for verdict in invariants {
        println!("{} {}: {}", verdict.id, if verdict.holds { "holds" } else { "DOES NOT HOLD" }, verdict.detail);
    }
    for trouble in troubles.iter().take(SHOWN) {
        println!("trouble: {trouble}");
    }
    if troubles.len() > SHOWN {
        println!("and {} more troubles: see the report", troubles.len() - SHOWN);
    }
}

/// When this happened to an order first, UTC milliseconds.
pub(super) fn at_ms(row: &Row, event: EventKind) -> Option<u64> {
    row.order.timeline.iter().find(|entry| entry.event == event).map(|entry| entry.at_ms)
}

#[allow(clippy::cast_precision_loss, reason = "figures of a run are far below 2^52")]
pub(super) fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_judged_on_its_side_of_the_bound() {
        assert!(Figure::at_most("f", "s", 2.0, 2.0).holds && !Figure::at_most("f", "s", 2.1, 2.0).holds);
        assert!(Figure::at_least("f", "s", 2.0, 2.0).holds && !Figure::at_least("f", "s", 1.9, 2.0).holds);
        assert!(!Figure::at_most("f", "s", 0.0, 2.0).only_if(false).holds, "nothing was measured");
        assert!(!Figure::at_most("f", "s", f64::NAN, 2.0).holds && !Figure::at_least("f", "s", f64::NAN, 2.0).holds);
        assert_eq!(serde_json::to_value(HasToBe::AtMost).unwrap(), "at most");
    }
}
