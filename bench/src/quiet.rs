//! The ports that a batch needs, where nothing is sent: the wall clock, a fixed die, a queue that takes everything.

use std::time::{SystemTime, UNIX_EPOCH};

use lambda_queue::{Clock, Entry, Ids, Outgoing, Queue, Random};
use uuid::Uuid;

/// No network behind it.
#[derive(Clone, Copy, Debug)]
pub struct Quiet;

impl Clock for Quiet {
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Random for Quiet {
    fn below(&self, bound: u64) -> u64 {
        bound / 2
    }
}

impl Ids for Quiet {
    #[allow(clippy::disallowed_methods, reason = "this is where ids come from")]
    fn fresh(&self) -> Uuid {
        Uuid::now_v7()
    }
}

impl Queue for Quiet {
    async fn send(&self, _: &str, messages: &[Outgoing]) -> Vec<Result<(), String>> {
        vec![Ok(()); messages.len()]
    }

    async fn change_visibility(&self, _: &str, entries: &[Entry]) -> Vec<Result<(), String>> {
        vec![Ok(()); entries.len()]
    }
}
