//! What a process counted and has not yet told the row.

use std::collections::BTreeMap;

use super::limits::{Counts, Mark};
use super::row::{BUCKET_MS, BUCKETS};

/// Between two writes of counts, milliseconds.
pub(super) const FLUSH_MS: u64 = 1_000;

/// Counts on their way to the row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Flush {
    /// By which the write is known again: the same for every repeat.
    pub token: String,
    /// By slot.
    pub counts: BTreeMap<u64, Counts>,
}

/// The counts of one epoch.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Tally {
    slots: BTreeMap<u64, Counts>,
    troubled: bool,
    begun_ms: Option<u64>,
    /// Begun, and its answer not yet here: another may not begin, or a lost one would be forgotten.
    flush: Option<Flush>,
    under_way: bool,
}

impl Tally {
    /// Counts a call that ended now.
    pub fn count(&mut self, mark: Mark, now_ms: u64) {
        let slot = now_ms / BUCKET_MS;
        if !self.slots.contains_key(&slot) {
            self.forget(slot);
        }
        self.slots.entry(slot).or_default().add(mark);
        self.troubled |= mark != Mark::Good;
    }

    /// The counts to write now, if there is trouble to tell of: at most once a second, one write at a time. A write whose
    /// answer was lost comes again, with its token, before any other.
    pub fn begin(&mut self, now_ms: u64, token: impl FnOnce() -> String) -> Option<Flush> {
        let rested = self.begun_ms.is_none_or(|begun_ms| now_ms.abs_diff(begun_ms) >= FLUSH_MS);
        if self.under_way || !rested || !(self.troubled || self.flush.is_some()) {
            return None;
        }
        self.forget(now_ms / BUCKET_MS);
        self.flush.take_if(|flush| flush.counts.is_empty());
        if self.flush.is_none() {
            self.troubled = false;
            if self.slots.is_empty() {
                return None;
            }
            self.flush = Some(Flush { token: token(), counts: std::mem::take(&mut self.slots) });
        }
        self.begun_ms = Some(now_ms);
        self.under_way = true;
        self.flush.clone()
    }

    /// The write is over: written or refused for good, or to be repeated.
    pub fn end(&mut self, token: &str, written: bool) {
        if self.flush.as_ref().is_some_and(|flush| flush.token == token) {
            self.under_way = false;
            if written {
                self.flush = None;
            }
        }
    }

    /// Starts anew, in another epoch. The pace of writing stays.
    pub fn clear(&mut self) {
        *self = Self { begun_ms: self.begun_ms, ..Self::default() };
    }

    /// What no window holds any more; a clock that stepped back makes old counts look new, and they go too.
    fn forget(&mut self, slot: u64) {
        let live = (slot + 1).saturating_sub(BUCKETS)..=slot + 1;
        self.slots.retain(|slot, _| live.contains(slot));
        if let Some(flush) = &mut self.flush {
            flush.counts.retain(|slot, _| live.contains(slot));
        }
    }
}
