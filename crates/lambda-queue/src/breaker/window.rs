//! The sliding window of the local breaker: over the last calls, or over the last stretch of time.

use super::limits::{Counts, InvalidSettings, Mark};

/// What the local breaker judges.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Window {
    /// The last this many calls, 1 to 10,000.
    Calls(u32),
    /// The calls of the last `slots` stretches of `slot_ms` milliseconds, the present one included.
    Time {
        /// How many, 1 to 1,000.
        slots: u32,
        /// Of how long, milliseconds, at least 1.
        slot_ms: u64,
    },
}

impl Default for Window {
    /// 30 s, in 5 s slots.
    fn default() -> Self {
        Self::Time { slots: 6, slot_ms: 5_000 }
    }
}

impl Window {
    pub(crate) fn check(&self) -> Result<(), InvalidSettings> {
        match self {
            Self::Calls(calls) if (1..=10_000).contains(calls) => Ok(()),
            Self::Time { slots, slot_ms } if (1..=1_000).contains(slots) && *slot_ms > 0 => Ok(()),
            Self::Calls(_) => Err(InvalidSettings("a window is of 1 to 10,000 calls")),
            Self::Time { .. } => Err(InvalidSettings("a window is of 1 to 1,000 slots of at least 1 ms")),
        }
    }
}

/// A window with what fell into it: a ring, and its total kept beside it, so that a call costs no walk.
#[derive(Debug)]
pub(crate) struct Ring {
    kind: Window,
    /// Of a call each, or of a slot each.
    cells: Vec<Counts>,
    /// Where the next call goes, or the number of the newest slot.
    at: u64,
    total: Counts,
}

impl Ring {
    pub(crate) fn new(kind: Window) -> Self {
        let size = match kind {
            Window::Calls(calls) => calls,
            Window::Time { slots, .. } => slots,
        };
        let cells = vec![Counts::default(); usize::try_from(size.max(1)).unwrap_or(1)];
        Self { kind, cells, at: 0, total: Counts::default() }
    }

    pub(crate) fn clear(&mut self) {
        self.cells.fill(Counts::default());
        self.total = Counts::default();
    }

    /// Counts a call that ended now.
    pub(crate) fn record(&mut self, mark: Mark, now_ms: u64) {
        self.turn_to(now_ms);
        let new = Counts::of(mark);
        let at = self.position(self.at);
        if let Some(cell) = self.cells.get_mut(at) {
            match self.kind {
                Window::Calls(_) => {
                    self.total.minus(std::mem::replace(cell, new));
                    self.at = self.at.wrapping_add(1);
                }
                Window::Time { .. } => cell.plus(new),
            }
            self.total.plus(new);
        }
    }

    /// What the window holds now.
    pub(crate) fn counts(&mut self, now_ms: u64) -> Counts {
        self.turn_to(now_ms);
        self.total
    }

    fn position(&self, at: u64) -> usize {
        usize::try_from(at % self.cells.len().max(1) as u64).unwrap_or(0)
    }

    /// Empties the slots that time has passed by. A clock that steps back by less than the window counts into the newest
    /// slot until it has caught up; one that steps back further starts the window anew.
    fn turn_to(&mut self, now_ms: u64) {
        let Window::Time { slot_ms, .. } = self.kind else { return };
        let (slot, size) = (now_ms / slot_ms.max(1), self.cells.len() as u64);
        if slot > self.at {
            if slot - self.at >= size {
                self.clear();
            } else {
                for passed in self.at + 1..=slot {
                    let at = self.position(passed);
                    if let Some(cell) = self.cells.get_mut(at) {
                        self.total.minus(std::mem::take(cell));
                    }
                }
            }
            self.at = slot;
        } else if slot.saturating_add(size) <= self.at {
            self.clear();
            self.at = slot;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn marks() -> impl Strategy<Value = Mark> {
        prop_oneof![Just(Mark::Good), Just(Mark::Slow), Just(Mark::Failed)]
    }

    fn sum(marks: impl Iterator<Item = Mark>) -> Counts {
        marks.fold(Counts::default(), |mut sum, mark| {
            sum.add(mark);
            sum
        })
    }

    proptest! {
        #[test]
        fn a_window_of_calls_holds_exactly_the_last_ones(size in 1_u32..20, calls in prop::collection::vec(marks(), 0..80)) {
            let mut ring = Ring::new(Window::Calls(size));
            for (done, mark) in calls.iter().enumerate() {
                ring.record(*mark, 7);
                let from = (done + 1).saturating_sub(size as usize);
                prop_assert_eq!(ring.counts(7), sum(calls[from..=done].iter().copied()));
            }
        }

        #[test]
        fn a_window_of_time_holds_exactly_the_calls_of_its_slots(
            slots in 1_u32..8,
            slot_ms in 1_u64..50,
            calls in prop::collection::vec((0_u64..60, marks()), 0..80),
        ) {
            let mut ring = Ring::new(Window::Time { slots, slot_ms });
            let (mut now_ms, mut seen) = (1_000_000, Vec::new());
            for (passed_ms, mark) in calls {
                now_ms += passed_ms;
                ring.record(mark, now_ms);
                seen.push((now_ms / slot_ms, mark));
                let oldest = now_ms / slot_ms + 1 - u64::from(slots);
                let inside = seen.iter().filter(|(slot, _)| *slot >= oldest).map(|(_, mark)| *mark);
                prop_assert_eq!(ring.counts(now_ms), sum(inside));
            }
        }
    }

    #[test]
    fn a_clock_that_steps_back_never_freezes_the_window() {
        let mut ring = Ring::new(Window::Time { slots: 6, slot_ms: 5_000 });
        ring.record(Mark::Failed, 1_000_000);
        ring.record(Mark::Failed, 995_000);
        assert_eq!(ring.counts(995_000).failures, 2, "a small step counts into the newest slot");
        ring.record(Mark::Good, 500_000);
        assert_eq!(ring.counts(500_000), Counts::of(Mark::Good), "a large one starts anew");
        assert_eq!(ring.counts(530_000), Counts::default());
    }
}
