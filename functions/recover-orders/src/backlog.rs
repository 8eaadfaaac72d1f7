//! Orders that stand in a queue which is long: nothing of theirs is lost.

use std::collections::BTreeMap;

use order::{Lane, Order, Step};
use ports::{Dependency, ReadLanes, tried_to_park};

use crate::FIRST_MS;
use crate::outage::changed_ms;

/// The longest that an order is put off at a time for a backlog, milliseconds: that may be over sooner than it looks.
pub const BEHIND_BACKLOG_MS: u64 = 5 * 60_000;

/// What the lanes' steps told.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// How long what came had waited, milliseconds; of those that do not keep up.
    late: BTreeMap<(Lane, Step), u64>,
    /// When they told last, UTC milliseconds.
    told: BTreeMap<(Lane, Step), u64>,
}

impl Backlog {
    /// Where it cannot be read no lane is taken for late: a command that is sent twice does no harm.
    pub(crate) async fn read(ports: &impl ReadLanes, now_ms: u64) -> Self {
        let rows = match ports.read_lanes().await {
            Ok(rows) => rows,
            Err(error) => {
                tracing::warn!(%error, "how late the lanes are cannot be read: none is taken for late");
                return Self::default();
            }
        };
        let mut backlog = Self::default();
        for (lane, step) in Lane::ALL.into_iter().flat_map(|lane| Step::ALL.map(|step| (lane, step))) {
            if let Some(lag_ms) = rows.late_by_ms(lane, step, now_ms) {
                backlog.late.insert((lane, step), lag_ms);
            }
            if let Some(word) = rows.lanes.get(&lane).and_then(|row| row.steps.get(step.name())) {
                backlog.told.insert((lane, step), word.at_ms);
            }
        }
        backlog
    }

    /// Whether a lane's step has told something after then, UTC milliseconds: its queue is read from.
    pub(crate) fn has_told_of(&self, lane: Lane, step: Step, since_ms: u64) -> bool {
        self.told.get(&(lane, step)).is_some_and(|at_ms| *at_ms > since_ms)
    }

    /// Whether a step that calls this provider has, in any lane.
    pub(crate) fn has_told(&self, dependency: Dependency, since_ms: u64) -> bool {
        self.told.iter().any(|((_, step), at_ms)| Dependency::of(*step) == Some(dependency) && *at_ms > since_ms)
    }

    /// Until when to put off an order whose command stands in its queue most likely, by so much at most; `None` where that
    /// should have come, or the lane keeps up. An order that recovery would give up waits, too, while its lane is late: so many nudges say nothing
    /// then.
    ///
    /// Half as long again as others had waited: theirs is a mean, and in a fair queue a loud tenant's come later.
    pub(crate) fn put_off_until_ms(&self, order: &Order, step: Step, now_ms: u64, most_ms: u64) -> Option<u64> {
        let lag_ms = *self.late.get(&(order.lane, step))?;
        let comes_ms = changed_ms(order).saturating_add(lag_ms).saturating_add(lag_ms / 2);
        let waits = comes_ms > now_ms || tried_to_park(order);
        waits.then(|| now_ms.saturating_add(comes_ms.saturating_sub(now_ms).clamp(FIRST_MS, most_ms.max(FIRST_MS))))
    }
}

#[cfg(test)]
mod tests {
    use ports::MAX_NUDGES;

    use super::*;

    #[test]
    fn an_order_waits_for_half_as_long_again_as_what_came_and_is_looked_at_every_five_minutes_at_least() {
        let late = [((Lane::Standard, Step::Validate), 600_000)].into();
        let backlog = Backlog { late, told: BTreeMap::new() };
        let put_off = |order: &Order, step, now_ms| backlog.put_off_until_ms(order, step, now_ms, BEHIND_BACKLOG_MS);
        let order = crate::sample::order(1, 1_000_000);
        for (after_s, for_s) in [(30, Some(300)), (500, Some(300)), (700, Some(200)), (899, Some(60)), (900, None)] {
            let now_ms = 1_000_000 + after_s * 1_000;
            let until_ms = put_off(&order, Step::Validate, now_ms);
            assert_eq!(until_ms, for_s.map(|for_s| now_ms + for_s * 1_000), "after {after_s} s");
            let shorter_ms = backlog.put_off_until_ms(&order, Step::Validate, now_ms, FIRST_MS);
            assert_eq!(shorter_ms, for_s.map(|_| now_ms + 60_000), "after {after_s} s, for a minute at most");
        }
        let express = Order { lane: Lane::Express, ..order.clone() };
        assert_eq!(put_off(&express, Step::Validate, 1_030_000), None);
        assert_eq!(put_off(&order, Step::Payment, 1_030_000), None);
        let given_up = Order { nudges: MAX_NUDGES, ..order };
        assert_eq!(put_off(&given_up, Step::Validate, 9_000_000), Some(9_060_000));
    }

    #[test]
    fn a_provider_is_heard_of_by_the_steps_that_call_it_and_only_since() {
        let told = [((Lane::Bulk, Step::Payment), 5_000), ((Lane::Express, Step::Stock), 9_000)].into();
        let backlog = Backlog { late: BTreeMap::new(), told };
        assert!(backlog.has_told(Dependency::Payment, 4_999) && !backlog.has_told(Dependency::Payment, 5_000));
        assert!(!backlog.has_told(Dependency::Carrier, 0));
        assert!(backlog.has_told_of(Lane::Bulk, Step::Payment, 4_999));
        assert!(!backlog.has_told_of(Lane::Express, Step::Payment, 4_999));
    }
}
