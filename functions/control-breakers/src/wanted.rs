//! What a mapping should be: a pure function of the breaker's row, the configured normal and the clock. The mapping as it is
//! has no say in it, so whatever was done to it by hand or got lost on the way is put right by the next run. But for one
//! thing: a ramp leads up from nothing, and takes nothing away from a mapping that is on ([`Wanted::not_below`]).

use lambda_queue::breaker::{Row, State};
use ports::Mapping;

/// The concurrency with which a mapping begins again: the least that Lambda has.
pub const FIRST: u32 = 2;
/// It doubles so often after its breaker closed, milliseconds.
pub const DOUBLES_EVERY_MS: u64 = 5_000;

/// A mapping as it should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// Whether it feeds its function.
    pub enabled: bool,
    /// Its MaximumConcurrency, where it has one.
    pub maximum_concurrency: Option<u32>,
}

impl Wanted {
    /// The same for a mapping that is on with more than a ramp would give it by now, up to its normal: its breaker opened and
    /// closed before it was turned off, or while that was on its way. A change takes Lambda up to a minute, in which the
    /// mapping takes no other: it is not spent on taking away what the next one gives back.
    pub fn not_below(self, live: &Mapping, normal: Option<u32>) -> Self {
        if !(self.enabled && live.enabled) {
            return self;
        }
        let kept = live.maximum_concurrency.zip(normal).map(|(live, normal)| live.min(normal));
        Self { maximum_concurrency: self.maximum_concurrency.max(kept), ..self }
    }
}

/// What a mapping with this normal MaximumConcurrency (`None`: it has none) should be while its breaker's row is this. `None`
/// for a row: it has no breaker, or the row cannot be read. Then it is on, as normal: fail open.
///
/// - Not closed: off. It begins again with [`FIRST`], so turning it on is one change.
/// - Closed: on, with 2 for the first 5 s, then 4, 8, ... up to the normal.
pub fn wanted(row: Option<&Row>, normal: Option<u32>, now_ms: u64) -> Wanted {
    let Some(row) = row else { return Wanted { enabled: true, maximum_concurrency: normal } };
    let enabled = row.state == State::Closed;
    let most = if enabled { ramp(row, now_ms) } else { FIRST };
    Wanted { enabled, maximum_concurrency: normal.map(|normal| normal.min(most)) }
}

/// Whether a closed breaker's mappings are on their way up still.
pub fn is_ramping(row: &Row, most_normal: u32, now_ms: u64) -> bool {
    row.state == State::Closed && ramp(row, now_ms) < most_normal
}

/// How much a closed breaker lets through by now.
fn ramp(row: &Row, now_ms: u64) -> u32 {
    // One that never opened has nothing to come back from.
    if row.changed_at_ms == 0 {
        return u32::MAX;
    }
    let doublings = now_ms.saturating_sub(row.changed_at_ms) / DOUBLES_EVERY_MS;
    u32::try_from(doublings)
        .ok()
        .and_then(|doublings| FIRST.checked_shl(doublings))
        .filter(|most| *most >= FIRST)
        .unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(state: State, changed_at_ms: u64) -> Row {
        let mut row = Row::absent("payment");
        (row.state, row.epoch, row.changed_at_ms) = (state, 1, changed_at_ms);
        row
    }

    #[test]
    fn off_while_it_is_not_closed_then_on_with_two_and_doubling() {
        let off = Wanted { enabled: false, maximum_concurrency: Some(2) };
        let on = |most| Wanted { enabled: true, maximum_concurrency: Some(most) };
        let closed = row(State::Closed, 100_000);
        for (row, now_ms, expected) in [
            (None, 0, on(20)),
            (Some(Row::absent("payment")), 0, on(20)),
            (Some(row(State::Open, 100_000)), 100_000, off),
            (Some(row(State::Open, 100_000)), 900_000, off),
            (Some(row(State::HalfOpen, 100_000)), 100_000, off),
            (Some(closed.clone()), 90_000, on(2)),
            (Some(closed.clone()), 100_000, on(2)),
            (Some(closed.clone()), 104_999, on(2)),
            (Some(closed.clone()), 105_000, on(4)),
            (Some(closed.clone()), 114_999, on(8)),
            (Some(closed.clone()), 115_000, on(16)),
            (Some(closed.clone()), 120_000, on(20)),
            (Some(closed.clone()), u64::MAX, on(20)),
        ] {
            assert_eq!(wanted(row.as_ref(), Some(20), now_ms), expected, "{row:?} at {now_ms}");
        }
        let none = Wanted { enabled: true, maximum_concurrency: None };
        assert_eq!(wanted(Some(&closed), None, 100_000), none, "a stream has no MaximumConcurrency");
        assert!(is_ramping(&closed, 20, 119_999) && !is_ramping(&closed, 20, 120_000));
        assert!(!is_ramping(&row(State::Open, 0), 20, 0) && !is_ramping(&Row::absent("payment"), 20, 0));
    }

    #[test]
    fn a_ramp_takes_nothing_away_from_what_is_on_and_gives_nothing_over_the_normal() {
        let live =
            |enabled, maximum_concurrency| Mapping { enabled, settled: true, maximum_concurrency, changed_at_ms: 0 };
        let on = |most| Wanted { enabled: true, maximum_concurrency: most };
        let off = Wanted { enabled: false, maximum_concurrency: Some(2) };
        for (wanted, live, expected) in [
            (on(Some(4)), live(true, Some(16)), on(Some(16))),
            (on(Some(4)), live(true, Some(2)), on(Some(4))),
            (on(Some(4)), live(true, Some(40)), on(Some(20))),
            (on(Some(20)), live(true, Some(40)), on(Some(20))),
            (on(Some(4)), live(false, Some(16)), on(Some(4))),
            (on(Some(4)), live(true, None), on(Some(4))),
            (off, live(true, Some(20)), off),
        ] {
            assert_eq!(wanted.not_below(&live, Some(20)), expected, "{wanted:?} {live:?}");
        }
        assert_eq!(on(None).not_below(&live(true, None), None), on(None));
    }

    proptest! {
        /// Over any history of a breaker, looked at at any moments.
        #[test]
        fn it_feeds_exactly_while_the_breaker_is_closed_and_never_more_than_normal_and_ever_more_until_then(
            changes in proptest::collection::vec((0_u64..120_000, 0_usize..3), 1..20),
            looks in proptest::collection::vec(0_u64..5_000, 1..200),
            normal in 2_u32..=1_000,
        ) {
            let states = [State::Closed, State::Open, State::HalfOpen];
            let mut at_ms = 1_000_000;
            let mut history = vec![row(State::Closed, at_ms)];
            for (after_ms, state) in changes {
                at_ms += after_ms;
                let mut next = row(states[state], at_ms);
                next.epoch = history.len() as u64 + 1;
                history.push(next);
            }
            let mut now_ms = 1_000_000;
            let mut last: Option<(u64, u32)> = None;
            for after_ms in looks {
                now_ms += after_ms;
                let row = history.iter().rev().find(|row| row.changed_at_ms <= now_ms).unwrap();
                let is = wanted(Some(row), Some(normal), now_ms);
                prop_assert_eq!(is.enabled, row.state == State::Closed);
                let most = is.maximum_concurrency.unwrap();
                prop_assert!((2..=normal).contains(&most));
                if !is.enabled {
                    prop_assert_eq!(most, 2);
                    last = None;
                    continue;
                }
                if let Some((epoch, before)) = last {
                    prop_assert!(epoch != row.epoch || before <= most, "less than before: {} {}", before, most);
                }
                prop_assert!(most <= 2 << ((now_ms - row.changed_at_ms) / DOUBLES_EVERY_MS).min(20));
                prop_assert!(now_ms < row.changed_at_ms + 45_000 || most == normal, "three quarters of a minute after, it is as before");
                last = Some((row.epoch, most));
            }
        }
    }
}
