//! The machine's own clock, randomness and ids.

use std::time::{SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use crate::ports::{Clock, Ids, Random};

/// [`Clock`], [`Random`] and [`Ids`] of the machine that the program runs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct System;

impl Clock for System {
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Random for System {
    fn below(&self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { rand::random_range(0..bound) }
    }
}

impl Ids for System {
    #[allow(clippy::disallowed_methods, reason = "this is where ids come from")]
    fn fresh(&self) -> Uuid {
        Uuid::now_v7()
    }
}
