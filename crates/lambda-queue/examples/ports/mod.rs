//! What the loop needs of the world, in memory: enough to run the examples offline. In a function, AWS stands here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use lambda_queue::batch::Invocation;
use lambda_queue::{Clock, Entry, Outgoing, Queue, Random};

/// The machine's clock, a small random generator, and a queue that prints what it is told.
#[derive(Debug, Default)]
pub struct InMemory {
    state: AtomicU64,
}

impl Clock for InMemory {
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Random for InMemory {
    /// SplitMix64: good enough for jitter.
    fn below(&self, bound: u64) -> u64 {
        let mut z = self.state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).checked_rem(bound).unwrap_or(0)
    }
}

impl Queue for InMemory {
    async fn send(&self, queue: &str, messages: &[Outgoing]) -> Vec<Result<(), String>> {
        for message in messages {
            println!("-> {queue}: {} {:?}", message.body, message.attributes);
        }
        vec![Ok(()); messages.len()]
    }

    async fn change_visibility(&self, _: &str, entries: &[Entry]) -> Vec<Result<(), String>> {
        for entry in entries {
            println!("{} comes back in {} s", entry.receipt_handle, entry.visible_in_s);
        }
        vec![Ok(()); entries.len()]
    }
}

impl InMemory {
    /// An invocation of a function whose timeout is 15 s.
    pub fn invocation(&self) -> Invocation {
        Invocation { request_id: "example".to_owned(), deadline_ms: self.now_ms() + 15_000, cold_start: true }
    }
}
