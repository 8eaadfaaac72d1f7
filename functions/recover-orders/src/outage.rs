//! Orders whose provider is away, or has just come back.

use std::collections::BTreeMap;
use std::ops::Range;

use lambda_queue::breaker::State;
use order::Order;
use ports::{Dependency, ReadBreakers};

use crate::{FIRST_MS, wait_ms};

/// The longest that an order behind a breaker is put off at a time, milliseconds: however many wait, each costs a write only
/// now and then.
pub const BEHIND_BREAKER_MS: u64 = 5 * 60_000;
/// What is due sooner than this is the next run's, milliseconds: the schedule's minute, less what it may come early.
const NEXT_RUN_MS: u64 = 50_000;

/// After a closing a queue that nothing is heard of has so long to be read from again, milliseconds: Lambda takes up to a minute
/// to turn a mapping on. With the schedule's minute that leaves a run ten seconds of the two minutes ([`LOOKED_AT_MS`]).
const SETTLES_MS: u64 = 50_000;
/// Within this much of a closing all is looked at that waited for it, milliseconds.
const LOOKED_AT_MS: u64 = 120_000;

/// Whose breaker is not closed, and whose closed a while ago, as this run found them.
#[derive(Debug, Default)]
pub(crate) struct Outages {
    /// Since when, UTC milliseconds.
    away: BTreeMap<Dependency, u64>,
    /// Since when again, UTC milliseconds: what was put off until then may have longer to wait than to the next run.
    back: BTreeMap<Dependency, u64>,
}

impl Outages {
    /// One that cannot be read is taken for closed: a command that is sent in vain does no harm.
    pub(crate) async fn read(ports: &impl ReadBreakers, now_ms: u64) -> Self {
        let mut outages = Self::default();
        for dependency in [Dependency::Payment, Dependency::Carrier] {
            match ports.read_breaker(dependency).await {
                Ok(row) if row.state == State::Closed => {
                    if last_put_off_ms(row.changed_at_ms) > now_ms {
                        outages.back.insert(dependency, row.changed_at_ms);
                    }
                }
                Ok(row) => {
                    // A program of before did not write down since when.
                    let since_ms = if row.down_since_ms == 0 { row.opened_at_ms } else { row.down_since_ms };
                    outages.away.insert(dependency, since_ms);
                }
                Err(error) => tracing::warn!(%dependency, %error, "breaker unreadable: taken for closed"),
            }
        }
        outages
    }

    /// Until when to put off an order that this provider is needed for; `None` while it is there. As long again as it has been
    /// away, from the run's beginning on: the breakers were read after that. One that was nudged before is put off for at
    /// most what a nudge puts it off, so that its row says which of the two it was ([`Self::is_back_for`]).
    pub(crate) fn put_off_until_ms(&self, dependency: Dependency, nudges: u32, now_ms: u64) -> Option<u64> {
        let since_ms = self.away.get(&dependency)?;
        let most_ms = if nudges > 1 { wait_ms(nudges - 1).min(BEHIND_BREAKER_MS) } else { BEHIND_BREAKER_MS };
        Some(now_ms.saturating_add(now_ms.saturating_sub(*since_ms).clamp(FIRST_MS, most_ms)))
    }

    /// Whether its breaker has closed lately.
    pub(crate) fn is_back(&self, dependency: Dependency) -> bool {
        self.back.contains_key(&dependency)
    }

    /// When its breaker closed, and until when its queues may not be read from yet, UTC milliseconds; `None` once that is over.
    pub(crate) fn settles(&self, dependency: Dependency, now_ms: u64) -> Option<(u64, u64)> {
        let closed_ms = *self.back.get(&dependency)?;
        let until_ms = closed_ms.saturating_add(SETTLES_MS);
        (until_ms > now_ms).then_some((closed_ms, until_ms))
    }

    /// When those are due that were put off behind a breaker that has closed since, and that the next run does not come to in
    /// time. Empty where none has closed lately, or where those that have may not be read from yet: `has_told` says of whom
    /// something was heard since so many UTC milliseconds.
    pub(crate) fn put_off(&self, now_ms: u64, has_told: impl Fn(Dependency, u64) -> bool) -> Range<u64> {
        let mut due = now_ms.saturating_add(NEXT_RUN_MS)..0;
        for (dependency, closed_ms) in &self.back {
            if self.settles(*dependency, now_ms).is_some() && !has_told(*dependency, *closed_ms) {
                continue;
            }
            // The first look comes late, so it leaves nothing to the next run.
            if now_ms < closed_ms.saturating_add(LOOKED_AT_MS) {
                due.start = now_ms;
            }
            due.end = due.end.max(last_put_off_ms(*closed_ms));
        }
        due
    }

    /// Whether an order that is not due yet was put off behind a breaker that has closed since. Not one whose command was sent
    /// when it came to its present version, nor one that was sent again since the closing: that they are not due is their own
    /// time.
    pub(crate) fn is_back_for(&self, dependency: Dependency, order: &Order, now_ms: u64) -> bool {
        let (Some(closed_ms), Some(due_ms)) = (self.back.get(&dependency), order.due_at) else { return false };
        let is_new = changed_ms(order).saturating_add(FIRST_MS) > now_ms;
        let last = order.nudges.checked_sub(1).map(|before| due_ms.saturating_sub(wait_ms(before)));
        let nudged = last.is_some_and(|nudged_ms| (*closed_ms..=now_ms).contains(&nudged_ms));
        !is_new && !nudged
    }
}

/// The latest that is put off by who found a breaker open, if it closed then; 0 for one that never was open.
fn last_put_off_ms(closed_ms: u64) -> u64 {
    if closed_ms == 0 { 0 } else { closed_ms.saturating_add(BEHIND_BREAKER_MS) }
}

/// When an order came to its present version, UTC milliseconds: then its command was sent.
pub(crate) fn changed_ms(order: &Order) -> u64 {
    order.timeline.last().map_or(order.created_at, |entry| entry.at_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSED_MS: u64 = 10_000_000;

    #[test]
    fn what_waits_for_a_provider_is_put_off_for_as_long_again_as_that_has_been_away() {
        let outages = Outages { away: [(Dependency::Payment, 1_000_000)].into(), back: BTreeMap::new() };
        for (away_s, nudges, for_s) in [
            (0, 0, 60),
            (59, 0, 60),
            (60, 1, 60),
            (150, 1, 150),
            (299, 0, 299),
            (301, 1, 300),
            (86_400, 0, 300),
            // Sent again twice: 2 minutes after the last of them it would have been due.
            (86_400, 2, 120),
            (86_400, 3, 240),
            (86_400, 4, 300),
            (86_400, 10, 300),
            (0, 2, 60),
        ] {
            let now_ms = 1_000_000 + away_s * 1_000;
            let until_ms = outages.put_off_until_ms(Dependency::Payment, nudges, now_ms);
            assert_eq!(until_ms, Some(now_ms + for_s * 1_000), "{away_s} s, {nudges} nudges");
        }
        assert_eq!(outages.put_off_until_ms(Dependency::Payment, 0, 0), Some(60_000), "a clock that is behind");
        assert_eq!(outages.put_off_until_ms(Dependency::Carrier, 0, 2_000_000), None);
    }

    #[test]
    fn after_a_closing_all_is_looked_for_that_may_have_been_put_off_before_it_and_not_the_next_runs() {
        let closed = |closed_ms| Outages { away: BTreeMap::new(), back: [(Dependency::Carrier, closed_ms)].into() };
        let (silent, told) = (|_: Dependency, _: u64| false, |of: Dependency, _: u64| of == Dependency::Carrier);
        for (after_s, start_s) in [(50, 50), (119, 119), (120, 170), (200, 250)] {
            let due = closed(CLOSED_MS).put_off(CLOSED_MS + after_s * 1_000, silent);
            assert_eq!(due, CLOSED_MS + start_s * 1_000..CLOSED_MS + 300_000, "{after_s} s after");
        }
        assert!(closed(CLOSED_MS).put_off(CLOSED_MS + 250_000, silent).is_empty());
        assert!(Outages::default().put_off(CLOSED_MS, told).is_empty());
        // Before its queues are read from again nothing of it is looked at.
        for now_ms in [CLOSED_MS, CLOSED_MS + 49_999] {
            assert!(closed(CLOSED_MS).put_off(now_ms, silent).is_empty());
            assert_eq!(closed(CLOSED_MS).put_off(now_ms, told), now_ms..CLOSED_MS + 300_000);
        }
        let mut both = closed(CLOSED_MS);
        both.back.insert(Dependency::Payment, CLOSED_MS - 150_000);
        assert_eq!(both.put_off(CLOSED_MS, silent), CLOSED_MS + 50_000..CLOSED_MS + 150_000, "payment's alone");
    }

    #[test]
    fn a_queue_has_fifty_seconds_to_be_read_from_again() {
        let outages = Outages { away: BTreeMap::new(), back: [(Dependency::Carrier, CLOSED_MS)].into() };
        let settled_ms = CLOSED_MS + 50_000;
        assert_eq!(outages.settles(Dependency::Carrier, CLOSED_MS), Some((CLOSED_MS, settled_ms)));
        assert_eq!(outages.settles(Dependency::Carrier, settled_ms - 1), Some((CLOSED_MS, settled_ms)));
        assert_eq!(outages.settles(Dependency::Carrier, settled_ms), None);
        assert_eq!(outages.settles(Dependency::Payment, CLOSED_MS), None);
    }

    /// Every order that a run could put off before the closing and every one that a run could nudge after it, as their rows
    /// show them at any run in the five minutes after.
    #[test]
    fn a_row_tells_whether_it_was_put_off_before_the_closing_or_sent_again_since() {
        let outages = Outages { away: BTreeMap::new(), back: [(Dependency::Payment, CLOSED_MS)].into() };
        let away = Outages { away: [(Dependency::Payment, 0)].into(), back: BTreeMap::new() };
        for nudges in 0..=10_u32 {
            for now_ms in (CLOSED_MS..CLOSED_MS + 300_000).step_by(7_000) {
                let row = |due_ms: u64| {
                    let order = crate::sample::order(1, 1_000);
                    Order { due_at: Some(due_ms), nudges, ..order }
                };
                let looked_at = |order: &Order| {
                    let is_its_turn =
                        order.due_at.is_some_and(|due_ms| outages.put_off(now_ms, |_, _| true).contains(&due_ms));
                    is_its_turn && outages.is_back_for(Dependency::Payment, order, now_ms)
                };
                for ago_ms in (1..300_000).step_by(1_001) {
                    let run_ms = CLOSED_MS - ago_ms;
                    let due_ms = away.put_off_until_ms(Dependency::Payment, nudges, run_ms).unwrap();
                    // Sent once, a row that is due just after the next run may as well have been sent again just now.
                    let late_for_the_next = due_ms > now_ms + if nudges == 1 { FIRST_MS } else { NEXT_RUN_MS };
                    assert!(
                        looked_at(&row(due_ms)) || !late_for_the_next,
                        "{nudges} nudges, due {} s after a run {} s after the closing",
                        (due_ms - now_ms) / 1_000,
                        (now_ms - CLOSED_MS) / 1_000
                    );
                }
                for nudged_ms in (CLOSED_MS..=now_ms).step_by(1_001) {
                    let Some(before) = nudges.checked_sub(1) else { continue };
                    assert!(!looked_at(&row(nudged_ms + wait_ms(before))), "{nudges} nudges, the last one since");
                }
            }
        }
    }

    #[test]
    fn an_order_that_has_just_come_to_its_version_is_in_its_own_time() {
        let outages = Outages { away: BTreeMap::new(), back: [(Dependency::Payment, CLOSED_MS)].into() };
        let now_ms = CLOSED_MS + 30_000;
        let order = |changed_ms| Order { due_at: Some(now_ms + 55_000), ..crate::sample::order(1, changed_ms) };
        assert!(!outages.is_back_for(Dependency::Payment, &order(now_ms - 5_000), now_ms));
        assert!(outages.is_back_for(Dependency::Payment, &order(now_ms - 60_000), now_ms));
        assert!(!outages.is_back_for(Dependency::Carrier, &order(now_ms - 60_000), now_ms));
    }
}
