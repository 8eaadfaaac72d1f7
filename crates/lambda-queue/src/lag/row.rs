//! The row of a lane, as it lies in the table.

use std::collections::BTreeMap;

use crate::breaker;
use crate::ports::store::{Item, StoreError, number_of};

/// Width of a slot, milliseconds: the breakers' buckets are as wide.
pub const SLOT_MS: u64 = breaker::BUCKET_MS;
/// Slots that a rate is taken over: 30 s.
pub const SLOTS: u64 = breaker::BUCKETS;
/// A word that is older counts for nothing, milliseconds.
pub const STALE_MS: u64 = 30_000;
/// So many records have to be done before a rate is taken from less than a window of steady work.
const ENOUGH: u64 = 10;
/// Longest that anything waits, milliseconds: SQS keeps a message for 14 days.
pub const FOR_EVER_MS: u64 = 14 * 24 * 60 * 60 * 1_000;
/// A step whose records waited this long is late, milliseconds. A batching window and a cold start are less.
pub const LATE_MS: u64 = 2_000;

/// A punctual word does not clear a late one that is younger, milliseconds: of two processes that each tell every 5 s, one may be
/// late and the other not.
pub const HELD_MS: u64 = 10_000;

/// What every key of a lane begins with. No dependency of a breaker has such a name, so that they can share a table.
const PREFIX: &str = "lane#";

/// A lane, as the table has it. Attributes of the item, for each step:
///
/// | attribute | type | holds |
/// | --- | --- | --- |
/// | `dependency` | S | the key: `lane#` and the lane |
/// | `lag_<step>` | N | how long records had waited at their first receive, mean of what one process saw last, milliseconds |
/// | `at_<step>` | N | when that was told, UTC milliseconds |
/// | `lateat_<step>` | N | when it was last told late (lag of 2 s or more), UTC milliseconds |
/// | `depth_<step>` | N | how many waited in the queue then; while a step is not late nobody looks |
/// | `done_<step>_<slot>` | N | records acknowledged in 5 s, by all processes: `slot` is UTC milliseconds / 5,000 |
/// | `late_<step>_<slot>` | N | of these, those of batches that came late; 0 is no absence: one came late, and nothing was done |
///
/// Attributes that a reader does not know mean nothing to it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Row {
    /// By step.
    pub steps: BTreeMap<String, Word>,
}

/// What was told last of a step.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Word {
    /// `lag_<step>`.
    pub lag_ms: u64,
    /// `at_<step>`.
    pub at_ms: u64,
    /// `lateat_<step>`; 0: never.
    pub late_at_ms: u64,
    /// `depth_<step>`, of the last late word.
    pub depth: Option<u64>,
    /// `done_<step>_<slot>`, by slot.
    pub done: BTreeMap<u64, u64>,
    /// `late_<step>_<slot>`, by slot.
    pub late: BTreeMap<u64, u64>,
}

/// So much done in so long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// Records; 0: a standstill.
    pub done: u64,
    /// Milliseconds, at least 1.
    pub in_ms: u64,
}

impl Pace {
    /// How long so many take, milliseconds; at most [`FOR_EVER_MS`], which is what any take at a standstill.
    pub fn ms_for(self, records: u64) -> u64 {
        let ms = records.saturating_mul(self.in_ms).checked_div(self.done);
        if records == 0 { 0 } else { ms.unwrap_or(FOR_EVER_MS).min(FOR_EVER_MS) }
    }

    /// Records a second.
    #[allow(clippy::cast_precision_loss, reason = "for people; counts of half a minute are far below 2^52")]
    pub fn per_second(self) -> f64 {
        self.done as f64 * 1_000.0 / self.in_ms.max(1) as f64
    }
}

impl Word {
    /// Whether it counts. A word from the future counts as long as one from the past: clocks differ.
    pub fn is_fresh(&self, now_ms: u64) -> bool {
        self.at_ms > 0 && now_ms.abs_diff(self.at_ms) <= STALE_MS
    }

    /// Whether the step does not keep up: as told last, or a moment before by another process.
    pub fn is_late(&self, now_ms: u64) -> bool {
        self.lag_ms >= LATE_MS || now_ms.abs_diff(self.late_at_ms) <= HELD_MS
    }

    /// When it was last told late, UTC milliseconds; 0: never.
    pub fn late_told_at_ms(&self) -> u64 {
        if self.lag_ms >= LATE_MS { self.at_ms } else { self.late_at_ms }
    }

    /// What was done in the last 30 s; `None` where that is nothing.
    pub fn pace(&self, now_ms: u64) -> Option<Pace> {
        let slot = now_ms / SLOT_MS;
        let done = self.done.range((slot + 1).saturating_sub(SLOTS)..=slot + 1).map(|(_, done)| done).sum();
        (done > 0).then_some(Pace { done, in_ms: SLOTS * SLOT_MS })
    }

    /// What it can do: its pace while it was late, when it was not short of work. Of the 30 s before the word, however old
    /// that is by now: nobody tells of an empty queue. Counted is what was done in slots since it fell late, without the first
    /// of them and without those that not all processes have told yet. A slot in which all was on time ends the lateness.
    ///
    /// `None` while too little is known: fewer than ten records say nothing, unless it has been late for 25 s and late batches came
    /// in half of the slots. Then so few, even none, are what it can do.
    pub fn capacity(&self) -> Option<Pace> {
        let slot = self.late_told_at_ms() / SLOT_MS;
        let (first, end) = (slot.checked_sub(SLOTS + 2)?, slot.checked_sub(1)?);
        let on_time = |slot: &u64| !self.late.contains_key(slot);
        let punctual = self.done.range(first..end).rev().find(|(slot, done)| **done > 0 && on_time(slot));
        let since = punctual.map_or(first, |(slot, _)| slot + 1);
        let late = self.late.range(since..end);
        let counted = late.clone().next()?.0 + 1..end;
        let in_slots = end.saturating_sub(counted.start);
        let done = self.done.range(counted).map(|(_, done)| done).sum();
        // A slow step may skip a slot in turns, the oldest too.
        let steady = in_slots + 1 >= SLOTS && late.count() as u64 * 2 >= SLOTS;
        (done >= ENOUGH || steady).then_some(Pace { done, in_ms: in_slots * SLOT_MS })
    }
}

impl Row {
    /// The key of a lane's row.
    pub fn key(lane: &str) -> Item {
        breaker::Row::key(&format!("{PREFIX}{lane}"))
    }

    /// The lane whose row this is; `None` where it is another one's.
    pub fn lane_of(item: &Item) -> Option<&str> {
        breaker::Row::dependency_of(item)?.strip_prefix(PREFIX)
    }

    /// Reads an item.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`] for a number that is none.
    pub fn from_item(item: &Item) -> Result<Self, StoreError> {
        let mut row = Self::default();
        for name in item.keys() {
            let Some((what, rest)) = name.split_once('_') else { continue };
            let value = || number_of(item, name).ok_or_else(|| StoreError::Unreadable(format!("lane: {name}")));
            let slot = || rest.rsplit_once('_').and_then(|(step, slot)| Some((step, slot.parse::<u64>().ok()?)));
            match what {
                "lag" => row.word(rest).lag_ms = value()?,
                "at" => row.word(rest).at_ms = value()?,
                "lateat" => row.word(rest).late_at_ms = value()?,
                "depth" => row.word(rest).depth = Some(value()?),
                "done" | "late" => {
                    let Some((step, slot)) = slot() else { continue };
                    let word = row.word(step);
                    let slots = if what == "done" { &mut word.done } else { &mut word.late };
                    slots.insert(slot, value()?);
                }
                _ => {}
            }
        }
        Ok(row)
    }

    fn word(&mut self, step: &str) -> &mut Word {
        self.steps.entry(step.to_owned()).or_default()
    }
}

/// The name of a slot's attribute.
pub(super) fn slot_name(what: &str, step: &str, slot: u64) -> String {
    format!("{what}_{step}_{slot}")
}

/// Attributes of a step's slots that no rate is taken over any more; and those as far in the future, since clocks differ.
pub(super) fn swept(word: &Word, step: &str, now_ms: u64) -> Vec<String> {
    let slot = now_ms / SLOT_MS;
    let live = slot.saturating_sub(2 * SLOTS)..=slot + 2 * SLOTS;
    let dead = |slots: &BTreeMap<u64, u64>, what: &str| -> Vec<String> {
        let dead = slots.keys().filter(|slot| !live.contains(slot)).take(MOST_SWEPT);
        dead.map(|slot| slot_name(what, step, *slot)).collect()
    };
    [dead(&word.done, "done"), dead(&word.late, "late")].concat()
}

/// Of each kind removed with one write, so that its expression stays under 4 KB.
const MOST_SWEPT: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::store::{number, text};

    const NOW_MS: u64 = 1_000 * SLOT_MS + 2_500;

    /// All that was done came late.
    fn late(slots: &[(u64, u64)]) -> Word {
        let slots: BTreeMap<u64, u64> = slots.iter().copied().collect();
        Word { lag_ms: 9_000, at_ms: NOW_MS, done: slots.clone(), late: slots, ..Word::default() }
    }

    #[test]
    fn capacity_is_what_was_done_while_late_without_the_first_slot_and_what_is_not_all_told() {
        for (slots, expected) in [
            (&[][..], None),
            (&[(1_000, 50), (999, 50)], None),
            (&[(998, 50), (999, 50), (1_000, 50)], None),
            (&[(997, 50), (998, 40), (999, 30)], Some((40, 5_000))),
            (&[(996, 9), (997, 50), (998, 40), (999, 30)], Some((90, 10_000))),
            // A slot without work in between was a slow one.
            (&[(995, 9), (998, 40)], Some((40, 15_000))),
            // What is long past does not count.
            (&[(900, 500), (997, 50), (998, 40)], Some((40, 5_000))),
            (&[(992, 10), (993, 10), (994, 10), (995, 10), (996, 10), (997, 10), (998, 10)], Some((60, 30_000))),
            (&[(997, 50)], None),
        ] {
            let expected = expected.map(|(done, in_ms)| Pace { done, in_ms });
            assert_eq!(late(slots).capacity(), expected, "{slots:?}");
        }
        let epoch = Word { at_ms: 1, ..late(&[(0, 1), (1, 1)]) };
        assert_eq!(epoch.capacity(), None, "near the epoch, too");
    }

    #[test]
    fn a_slot_in_which_all_was_on_time_ends_the_lateness_and_a_mixed_one_counts_with_all_that_was_done() {
        // A late batch, half a minute of punctual ones, and a late one again: of what it can do that says nothing.
        let mut word = late(&[(991, 20), (997, 1)]);
        word.done.extend([(993, 40), (995, 40), (996, 40)]);
        assert_eq!(word.capacity(), None);
        // From there on it is late for good.
        word.done.insert(998, 30);
        word.late.insert(998, 30);
        assert_eq!(word.capacity(), Some(Pace { done: 30, in_ms: 5_000 }));
        // Some batches of a slot came late, others not.
        word.late.insert(998, 1);
        assert_eq!(word.capacity(), Some(Pace { done: 30, in_ms: 5_000 }));
        word.done.insert(998, 9);
        assert_eq!(word.capacity(), None, "nine records are too few to judge by");
        // In the last slot that counts all was on time.
        word.late.remove(&998);
        assert_eq!(word.capacity(), None);
    }

    #[test]
    fn few_records_say_something_only_where_late_batches_came_for_half_a_minute() {
        assert_eq!(late(&[(992, 1), (998, 1)]).capacity(), None, "two late records in half a minute");
        let few = late(&[(992, 1), (994, 1), (996, 1), (998, 1)]);
        assert_eq!(few.capacity(), Some(Pace { done: 3, in_ms: 30_000 }));
        // A slot later it is the same step.
        let few = late(&[(991, 1), (993, 1), (995, 1), (997, 1)]);
        assert_eq!(few.capacity(), Some(Pace { done: 2, in_ms: 25_000 }));
        // They come, and all go back: a standstill.
        let mut stuck = late(&[]);
        stuck.late = (992..=998).map(|slot| (slot, 0)).collect();
        let pace = stuck.capacity().unwrap();
        assert_eq!((pace.done, pace.ms_for(1), pace.ms_for(0), pace.per_second()), (0, FOR_EVER_MS, 0, 0.0));
        stuck.late.retain(|slot, _| *slot >= 994);
        assert_eq!(stuck.capacity(), None, "not for long enough");
    }

    #[test]
    fn capacity_is_that_of_the_words_own_time() {
        let mut word = late(&[(992, 50), (993, 50), (994, 50), (995, 50), (996, 50), (997, 50), (998, 50)]);
        assert_eq!(word.capacity().unwrap().per_second(), 10.0);
        // One that is on time a moment later takes nothing back, and the late word's time is the one that counts.
        (word.lag_ms, word.at_ms, word.late_at_ms) = (100, NOW_MS + 9_000, NOW_MS);
        assert_eq!(word.capacity().unwrap().per_second(), 10.0);
        assert!(word.is_late(NOW_MS + HELD_MS) && !word.is_late(NOW_MS + HELD_MS + 1));
        assert!(!Word { lag_ms: 100, at_ms: NOW_MS, ..Word::default() }.is_late(NOW_MS));
    }

    #[test]
    fn the_pace_is_that_of_half_a_minute_whether_it_was_late_or_not() {
        let word = Word { done: BTreeMap::from([(994, 7), (995, 30), (1_000, 60)]), ..Word::default() };
        let pace = word.pace(NOW_MS).unwrap();
        assert_eq!((pace.done, pace.in_ms, pace.per_second()), (90, 30_000, 3.0));
        assert_eq!(pace.ms_for(30), 10_000);
        assert_eq!(Word::default().pace(NOW_MS), None);
    }

    #[test]
    fn a_word_is_believed_for_half_a_minute() {
        let told = |at_ms| Word { at_ms, ..Word::default() }.is_fresh(NOW_MS);
        assert!(told(NOW_MS) && told(NOW_MS - STALE_MS) && told(NOW_MS + 1_000));
        assert!(!told(NOW_MS - STALE_MS - 1) && !told(NOW_MS + STALE_MS + 1) && !told(0));
    }

    #[test]
    fn what_is_not_known_means_nothing_and_what_is_no_number_is_refused() {
        let mut item = Row::key("bulk");
        for name in
            ["lag_payment", "at_payment", "lateat_payment", "depth_payment", "done_payment_1000", "late_payment_999"]
        {
            item.insert(name.to_owned(), number(7));
        }
        for name in ["done_payment_soon", "done_payment", "colour_payment", "state", "epoch"] {
            item.insert(name.to_owned(), text("blue"));
        }
        assert_eq!(Row::lane_of(&item), Some("bulk"));
        let row = Row::from_item(&item).unwrap();
        let word = Word {
            lag_ms: 7,
            at_ms: 7,
            late_at_ms: 7,
            depth: Some(7),
            done: BTreeMap::from([(1_000, 7)]),
            late: BTreeMap::from([(999, 7)]),
        };
        assert_eq!(row, Row { steps: BTreeMap::from([("payment".to_owned(), word)]) });
        item.insert("lag_stock".to_owned(), text("a while"));
        assert!(Row::from_item(&item).is_err());
        assert_eq!(Row::lane_of(&breaker::Row::key("payment")), None);
    }

    #[test]
    fn slots_go_that_nobody_counts() {
        let word = Word {
            done: BTreeMap::from([(900, 1), (988, 1), (1_000, 1), (2_000, 1)]),
            late: BTreeMap::from([(987, 1), (1_012, 1)]),
            ..Word::default()
        };
        assert_eq!(swept(&word, "stock", NOW_MS), ["done_stock_900", "done_stock_2000", "late_stock_987"]);
    }
}
