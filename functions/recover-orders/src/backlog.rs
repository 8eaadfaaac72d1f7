//! Orders that stand in a queue which is long: nothing of theirs is lost.

use std::collections::BTreeMap;

use order::{Lane, Order, Step};
use ports::{ReadLanes, tried_to_park};

use crate::FIRST_MS;
use crate::outage::changed_ms;

/// The longest that an order is put off at a time for a backlog, milliseconds: that may be over sooner than it looks.
pub const BEHIND_BACKLOG_MS: u64 = 5 * 60_000;

/// How long what came to a lane's step had waited, milliseconds; of those that do not keep up.
#[derive(Debug, Default)]
pub(crate) struct Backlog(BTreeMap<(Lane, Step), u64>);

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
        let all = Lane::ALL.into_iter().flat_map(|lane| Step::ALL.map(|step| (lane, step)));
        let late = all.filter_map(|(lane, step)| Some(((lane, step), rows.late_by_ms(lane, step, now_ms)?)));
        Self(late.collect())
    }

    /// Until when to put off an order whose command stands in its queue most likely; `None` where that should have come, or
    /// the lane keeps up. An order that recovery would give up waits, too, while its lane is late: so many nudges say nothing
    /// then.
    ///
    /// Half as long again as others had waited: theirs is a mean, and in a fair queue a loud tenant's come later.
    pub(crate) fn put_off_until_ms(&self, order: &Order, step: Step, now_ms: u64) -> Option<u64> {
        let lag_ms = *self.0.get(&(order.lane, step))?;
        let comes_ms = changed_ms(order).saturating_add(lag_ms).saturating_add(lag_ms / 2);
        let waits = comes_ms > now_ms || tried_to_park(order);
        waits.then(|| now_ms.saturating_add(comes_ms.saturating_sub(now_ms).clamp(FIRST_MS, BEHIND_BACKLOG_MS)))
    }
}

#[cfg(test)]
mod tests {
    use ports::MAX_NUDGES;

    use super::*;

    #[test]
    fn an_order_waits_for_half_as_long_again_as_what_came_and_is_looked_at_every_five_minutes_at_least() {
        let backlog = Backlog([((Lane::Standard, Step::Validate), 600_000)].into());
        let order = crate::tests::order(1_000_000);
        for (after_s, for_s) in [(30, Some(300)), (500, Some(300)), (700, Some(200)), (899, Some(60)), (900, None)] {
            let now_ms = 1_000_000 + after_s * 1_000;
            let until_ms = backlog.put_off_until_ms(&order, Step::Validate, now_ms);
            assert_eq!(until_ms, for_s.map(|for_s| now_ms + for_s * 1_000), "after {after_s} s");
        }
        let express = Order { lane: Lane::Express, ..order.clone() };
        assert_eq!(backlog.put_off_until_ms(&express, Step::Validate, 1_030_000), None);
        assert_eq!(backlog.put_off_until_ms(&order, Step::Payment, 1_030_000), None);
        let given_up = Order { nudges: MAX_NUDGES, ..order };
        assert_eq!(backlog.put_off_until_ms(&given_up, Step::Validate, 9_000_000), Some(9_060_000));
    }
}
