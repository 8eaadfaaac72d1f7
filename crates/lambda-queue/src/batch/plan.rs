//! What may be started next: the only difference between a standard queue, a FIFO queue and a stream.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::hash::Hash;

/// A piece of work for one call of the handler: one record, or some.
pub(super) trait Job {
    /// The places of its records.
    fn places(&self) -> &[usize];
}

/// One record.
pub(super) struct Single([usize; 1]);

impl Job for Single {
    fn places(&self) -> &[usize] {
        &self.0
    }
}

impl Job for Vec<usize> {
    fn places(&self) -> &[usize] {
        self
    }
}

pub(super) trait Plan {
    type Job: Job;

    /// The next piece of work that may be started now.
    fn next(&mut self) -> Option<Self::Job>;

    /// Whether there is one.
    fn has_next(&self) -> bool;

    /// A record has come to its end; `goes_on` says whether what is ordered after it may still be started.
    fn ended(&mut self, place: usize, goes_on: bool);
}

/// A standard queue: any record at any time.
pub(super) struct Free {
    next: usize,
    end: usize,
}

impl Free {
    pub(super) fn new(records: usize) -> Self {
        Self { next: 0, end: records }
    }
}

impl Plan for Free {
    type Job = Single;

    fn next(&mut self) -> Option<Single> {
        let place = self.next;
        self.has_next().then(|| {
            self.next += 1;
            Single([place])
        })
    }

    fn has_next(&self) -> bool {
        self.next < self.end
    }

    fn ended(&mut self, _: usize, _: bool) {}
}

/// Lines: in each, one record after the other; the lines side by side. On a FIFO queue a line is a group, on a stream a key.
pub(super) struct Lines {
    /// Records that may be started, the earliest first.
    heads: BinaryHeap<Reverse<usize>>,
    /// What follows each record in its line.
    follower: Vec<Option<usize>>,
    /// On a stream, the earliest failure: nothing behind it is started, as all of it comes again.
    stop: Option<usize>,
    stops_all: bool,
}

impl Lines {
    /// One line a key. A failure stops its own line; with `stops_all` also whatever comes after it in the batch.
    pub(super) fn new<K: Hash + Eq>(keys: impl Iterator<Item = K>, stops_all: bool) -> Self {
        let mut lines = Self { heads: BinaryHeap::new(), follower: Vec::new(), stop: None, stops_all };
        let mut last_of: HashMap<K, usize> = HashMap::new();
        for (place, key) in keys.enumerate() {
            lines.follower.push(None);
            match last_of.insert(key, place) {
                None => lines.heads.push(Reverse(place)),
                Some(last) => {
                    if let Some(follower) = lines.follower.get_mut(last) {
                        *follower = Some(place);
                    }
                }
            }
        }
        lines
    }
}

impl Plan for Lines {
    type Job = Single;

    fn next(&mut self) -> Option<Single> {
        if !self.has_next() {
            return None;
        }
        self.heads.pop().map(|Reverse(place)| Single([place]))
    }

    fn has_next(&self) -> bool {
        self.heads.peek().is_some_and(|Reverse(place)| self.stop.is_none_or(|stop| *place < stop))
    }

    fn ended(&mut self, place: usize, goes_on: bool) {
        if goes_on {
            self.heads.extend(self.follower.get(place).copied().flatten().map(Reverse));
        } else if self.stops_all {
            self.stop = Some(self.stop.map_or(place, |stop| stop.min(place)));
        }
    }
}

/// Rounds: the longest run of records of which no two have the same key, one round after the other.
pub(super) struct Rounds<K> {
    keys: Vec<K>,
    next: usize,
    most: usize,
    /// Records of the present round that have not ended.
    open: usize,
    stopped: bool,
}

impl<K: Hash + Eq> Rounds<K> {
    pub(super) fn new(keys: Vec<K>, most: usize) -> Self {
        Self { keys, next: 0, most: most.max(1), open: 0, stopped: false }
    }
}

impl<K: Hash + Eq> Plan for Rounds<K> {
    type Job = Vec<usize>;

    fn next(&mut self) -> Option<Vec<usize>> {
        if !self.has_next() {
            return None;
        }
        let mut seen = HashSet::new();
        let different = self.keys.iter().skip(self.next).take(self.most).take_while(|key| seen.insert(*key)).count();
        let round: Vec<usize> = (self.next..self.next + different).collect();
        self.next += different;
        self.open = different;
        Some(round)
    }

    fn has_next(&self) -> bool {
        !self.stopped && self.open == 0 && self.next < self.keys.len()
    }

    fn ended(&mut self, _: usize, goes_on: bool) {
        self.open = self.open.saturating_sub(1);
        self.stopped |= !goes_on;
    }
}
