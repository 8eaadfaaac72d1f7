//! Backoff by visibility timeout.

use std::time::Duration;

use crate::Random;

/// The first ceiling, seconds.
const BASE_S: u64 = 2;
/// The ceiling of a message younger than [`YOUNG_MS`], seconds.
const CAP_YOUNG_S: u64 = 60;
/// The ceiling after that, seconds.
const CAP_OLD_S: u64 = 15 * 60;
/// 30 minutes.
const YOUNG_MS: u64 = 30 * 60 * 1000;
/// After this age nothing is retried: the message is dead-lettered.
pub const GIVE_UP_MS: u64 = 12 * 60 * 60 * 1000;
/// A visibility change reaches at most 12 h from the receive.
///
/// Source: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html>
const MOST_S: u64 = 43_200;
/// Longest deferral at a time, seconds.
const DEFER_CAP_S: u64 = 60;

/// Full-jitter exponential backoff, in seconds: uniform over 1 to the ceiling, which doubles from [`BASE_S`] with every
/// receive up to 60 s in the first 30 minutes of a message's life and 15 minutes after that.
///
/// Source: <https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/>
pub fn backoff_s(receive_count: u32, age_ms: u64, random: &impl Random) -> u32 {
    let cap = if age_ms < YOUNG_MS { CAP_YOUNG_S } else { CAP_OLD_S };
    let doublings = receive_count.saturating_sub(1).min(16);
    let ceiling = (BASE_S << doublings).min(cap);
    seconds(1 + random.below(ceiling))
}

/// Seconds of an explicit wish, rounded up, at least 1.
pub fn after_s(after: Duration) -> u32 {
    seconds(after.as_millis().div_ceil(1000).try_into().unwrap_or(MOST_S).max(1))
}

/// Seconds to a moment, rounded up, at least 1 and at most 60.
pub fn until_s(until_ms: u64, now_ms: u64) -> u32 {
    seconds(until_ms.saturating_sub(now_ms).div_ceil(1000).clamp(1, DEFER_CAP_S))
}

fn seconds(seconds: u64) -> u32 {
    u32::try_from(seconds.min(MOST_S)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Highest;
    impl Random for Highest {
        fn below(&self, bound: u64) -> u64 {
            bound.saturating_sub(1)
        }
    }

    #[test]
    fn the_ceiling_doubles_and_is_capped_by_age() {
        let young: Vec<u32> = (1..=8).map(|count| backoff_s(count, 0, &Highest)).collect();
        assert_eq!(young, [2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(backoff_s(50, YOUNG_MS, &Highest), 900);
        assert_eq!(backoff_s(u32::MAX, u64::MAX, &Highest), 900);
    }

    #[test]
    fn a_deferral_waits_at_most_a_minute_at_a_time() {
        assert_eq!(until_s(10_000, 9_999), 1);
        assert_eq!(until_s(0, 9_999), 1);
        assert_eq!(until_s(u64::MAX, 0), 60);
    }

    #[test]
    fn an_explicit_wish_is_rounded_up_and_stays_within_what_sqs_takes() {
        assert_eq!(after_s(Duration::from_millis(1)), 1);
        assert_eq!(after_s(Duration::from_secs(1_000_000)), 43_200);
    }
}
