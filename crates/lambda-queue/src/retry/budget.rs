//! A retry budget: how many retries a second a process asks for before it slows down.

use super::sync::{AtomicU64, Ordering};

/// A token bucket for retries, shared by all invocations of a process. Every backoff takes a token; while there is none,
/// backoffs are at their longest instead of at their jittered usual ([`crate::retry::backoff_s`]), so that a process
/// whose every record fails does not hammer what is down. It never refuses a retry, and a wish for a certain wait
/// (`Retry { after }`, a `Retry-After` hint, a deferral) neither asks it nor is changed by it.
///
/// It is one number, the moment at which the bucket will be full again (the "theoretical arrival time" of GCRA): taking a
/// token moves it by one token's time, and a token can be had while it is at most a whole bucket away. One
/// compare-and-swap, no lock.
///
/// Source: <https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/> (token buckets)
#[derive(Debug)]
pub struct RetryBudget {
    full_at_us: AtomicU64,
    token_us: u64,
    bucket_us: u64,
}

impl RetryBudget {
    /// A full bucket of `tokens` (at least 1) that regains `per_second` (at least 1, at most a million) of them.
    pub fn new(tokens: u32, per_second: u32) -> Self {
        let token_us = 1_000_000 / u64::from(per_second.clamp(1, 1_000_000));
        let bucket_us = token_us * u64::from(tokens.max(1));
        Self { full_at_us: AtomicU64::new(0), token_us, bucket_us }
    }

    /// Takes a token; `false` where there is none. `now_ms`: UTC milliseconds. A clock that goes back takes nothing away
    /// but the time it lost.
    pub fn take(&self, now_ms: u64) -> bool {
        let now_us = now_ms.saturating_mul(1_000);
        let mut full_at_us = self.full_at_us.load(Ordering::Relaxed);
        loop {
            let next_us = full_at_us.max(now_us).saturating_add(self.token_us);
            if next_us.saturating_sub(now_us) > self.bucket_us {
                return false;
            }
            // Relaxed: the number is all that is shared, nothing else is published by it.
            match self.full_at_us.compare_exchange_weak(full_at_us, next_us, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(present_us) => full_at_us = present_us,
            }
        }
    }
}
