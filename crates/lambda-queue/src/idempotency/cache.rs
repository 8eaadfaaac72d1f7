//! Completed results, in this process: a replay that meets one makes no call.

use std::num::NonZeroUsize;

use lru::LruCache;

use super::sync::{Mutex, PoisonError};

/// What an entry costs beside its texts, bytes: the map's slot, links, allocations.
const ENTRY_BYTES: usize = 160;

/// A completed result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cached {
    /// Of the payload.
    pub fingerprint: String,
    /// JSON.
    pub result: String,
    /// When the record ends, UTC milliseconds: afterwards the entry counts for nothing.
    pub expires_ms: u64,
}

/// The results used last, bounded by count and by bytes. Only completed ones belong in it: whether a lease is held is never
/// remembered. One for the life of the process; a lock is held for one map operation at a time, never across a wait.
#[derive(Debug)]
pub struct ResultCache {
    held: Mutex<Held>,
    most_bytes: usize,
}

#[derive(Debug)]
struct Held {
    entries: LruCache<String, Cached>,
    bytes: usize,
}

fn cost(key: &str, cached: &Cached) -> usize {
    ENTRY_BYTES.saturating_add(key.len()).saturating_add(cached.fingerprint.len()).saturating_add(cached.result.len())
}

impl ResultCache {
    /// At most so many results, and so many bytes of them.
    pub fn new(most: NonZeroUsize, most_bytes: usize) -> Self {
        // Sparse: a slot for every result that it may hold one day is not taken beforehand.
        Self { held: Mutex::new(Held { entries: LruCache::sparse(most), bytes: 0 }), most_bytes }
    }

    /// The result of this key, if it is held and has not expired.
    pub fn get(&self, key: &str, now_ms: u64) -> Option<Cached> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let found = held.entries.get(key)?;
        if found.expires_ms > now_ms {
            return Some(found.clone());
        }
        if let Some((key, old)) = held.entries.pop_entry(key) {
            held.bytes = held.bytes.saturating_sub(cost(&key, &old));
        }
        None
    }

    /// Keeps a result; the ones used longest ago make room for it. One that is larger than all the room is not kept.
    pub fn put(&self, key: &str, cached: Cached) {
        let bytes = cost(key, &cached);
        if bytes > self.most_bytes {
            return;
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((key, old)) = held.entries.push(key.to_owned(), cached) {
            held.bytes = held.bytes.saturating_sub(cost(&key, &old));
        }
        held.bytes = held.bytes.saturating_add(bytes);
        while held.bytes > self.most_bytes {
            let Some((key, old)) = held.entries.pop_lru() else { return };
            held.bytes = held.bytes.saturating_sub(cost(&key, &old));
        }
    }

    /// How many results are held, and how many bytes they count for.
    pub fn size(&self) -> (usize, usize) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        (held.entries.len(), held.bytes)
    }
}
