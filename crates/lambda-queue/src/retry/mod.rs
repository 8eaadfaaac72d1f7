//! Backoff by visibility timeout.
//!
//! A failed record comes back when its visibility ends, so the wait is set on the message and costs no invocation:
//!
//! | failure | seconds |
//! | --- | --- |
//! | `Retry { after }`, a `Retry-After` hint in it | as asked, rounded up |
//! | `Retry`, `Bug`, poison that could not be moved, `Unknown` that may be looked at already | [`backoff_s`], lengthened while the [`RetryBudget`] is empty |
//! | `Defer`, `Unknown` until later | [`until_s`] |
//! | `Busy` | [`busy_s`] |

use std::time::Duration;

use crate::{Failure, Random};

mod budget;
mod sync {
    //! Named apart so that a test can put `shuttle`'s in their place.
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
}

pub use budget::RetryBudget;

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
/// SQS takes a change that ends at most 12 h after the receive, and refuses one that ends later. What may have passed since
/// the receive is taken off: the longest batching window of an event source mapping (5 minutes), and the longest run of a
/// function (15 minutes).
///
/// Source: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html>
const MOST_S: u64 = 43_200 - 300 - 900;
/// Longest deferral at a time, seconds.
const DEFER_CAP_S: u64 = 60;

/// How a message came that failed: what its wait depends on beside the failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// `ApproximateReceiveCount`, this receive included.
    pub count: u32,
    /// Since it was sent first, milliseconds.
    pub age_ms: u64,
}

/// Seconds until a failed message comes back, 1 to 42,000: SQS counts its 12 h from the receive.
pub fn wait_s(
    failure: &Failure,
    received: Received,
    now_ms: u64,
    budget: Option<&RetryBudget>,
    random: &impl Random,
) -> u32 {
    match failure {
        Failure::Retry { after: Some(after), .. } => after_s(*after),
        Failure::Defer { until_ms, .. } => until_s(*until_ms, now_ms),
        Failure::Unknown { until_ms, .. } if *until_ms > now_ms => until_s(*until_ms, now_ms),
        Failure::Busy { until_ms, .. } => busy_s(received.count, *until_ms, now_ms, random),
        Failure::Retry { after: None, .. } | Failure::Unknown { .. } | Failure::Poison { .. } | Failure::Bug { .. } => {
            if budget.is_none_or(|budget| budget.take(now_ms)) {
                backoff_s(received.count, received.age_ms, random)
            } else {
                longest_s(received.age_ms, random)
            }
        }
    }
}

/// Full-jitter exponential backoff, in seconds: uniform over 1 to the ceiling, which doubles from [`BASE_S`] with every
/// receive up to 60 s in the first 30 minutes of a message's life and 15 minutes after that.
///
/// Source: <https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/>
pub fn backoff_s(receive_count: u32, age_ms: u64, random: &impl Random) -> u32 {
    let cap = cap_s(age_ms);
    let doublings = receive_count.saturating_sub(1).min(16);
    let ceiling = (BASE_S << doublings).min(cap);
    seconds(1 + random.below(ceiling))
}

/// The backoff while the [`RetryBudget`] is empty: uniform over the upper half of what the message's age allows.
pub fn longest_s(age_ms: u64, random: &impl Random) -> u32 {
    let cap = cap_s(age_ms);
    seconds(cap - random.below(cap / 2))
}

fn cap_s(age_ms: u64) -> u64 {
    if age_ms < YOUNG_MS { CAP_YOUNG_S } else { CAP_OLD_S }
}

/// Seconds of a short deferral: 1 at the first receive, then uniform over 1 to 2, 4, 8, ...; never past the moment until
/// which it is busy at most, nor past 60. A lease's holder mostly ends in a fraction of a second, though the lease is for
/// much longer: who waits for the lease's end waits for nothing.
pub fn busy_s(receive_count: u32, until_ms: u64, now_ms: u64, random: &impl Random) -> u32 {
    let ceiling = 1_u64 << receive_count.saturating_sub(1).min(6);
    seconds(1 + random.below(ceiling)).min(until_s(until_ms, now_ms))
}

/// Seconds of an explicit wish, rounded up, at least 1 and at most 42,000.
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

    struct Lowest;
    impl Random for Lowest {
        fn below(&self, _: u64) -> u64 {
            0
        }
    }

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
    fn an_empty_budget_lengthens_a_backoff_and_leaves_every_other_wait_alone() {
        let budget = RetryBudget::new(2, 1);
        let received = Received { count: 1, age_ms: 0 };
        let wait = |failure: &Failure, now_ms| wait_s(failure, received, now_ms, Some(&budget), &Lowest);
        let waits: Vec<u32> = (0..3).map(|_| wait(&Failure::retry("down"), 0)).collect();
        assert_eq!(waits, [1, 1, 60]);
        assert_eq!(wait(&Failure::again("a lost race"), 0), 1);
        assert_eq!(wait(&Failure::defer(5_000, "open"), 0), 5);
        assert_eq!(wait(&Failure::bug("cannot be"), 999), 60);
        assert_eq!(wait(&Failure::retry("down"), 1_000), 1, "a token a second comes back");
        assert_eq!(longest_s(0, &Highest), 31);
        assert_eq!(longest_s(YOUNG_MS, &Lowest), 900);
    }

    #[test]
    fn a_busy_record_comes_back_soon_then_later_and_never_after_the_end() {
        let highest: Vec<u32> = (1..=8).map(|count| busy_s(count, 90_000, 0, &Highest)).collect();
        assert_eq!(highest, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(busy_s(5, 90_000, 0, &Lowest), 1);
        assert_eq!(busy_s(5, 2_500, 0, &Highest), 3);
        assert_eq!(busy_s(5, 0, 9_999, &Highest), 1);
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
        assert_eq!(after_s(Duration::from_secs(1_000_000)), 42_000);
        assert_eq!(after_s(Duration::MAX), 42_000);
        let wish = Failure::Retry { after: Some(Duration::from_secs(43_200)), why: "tomorrow".to_owned() };
        let received = Received { count: 1, age_ms: 0 };
        let wait_s = wait_s(&wish, received, 0, None, &Highest);
        let (window_s, run_s) = (300, 900);
        assert!(window_s + run_s + wait_s <= 43_200, "however late in the longest run it is asked for");
    }
}
