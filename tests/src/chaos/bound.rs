//! How long the system may take to come to rest once the faults have stopped: added up from what it waits for.

use std::time::Duration;

use crate::tables::Row;

/// The longest a message stays invisible whose function was killed: the archive's, the longest of all queues.
const VISIBILITY_S: u64 = 240;
/// `recover-orders` runs each minute; it may be just past.
const SCHEDULE_S: u64 = 60;
/// A doubt: lease (15 s of the function, 5 past its deadline), the payment provider's settle time (30 s), and the message
/// that comes back at most a minute after.
const DOUBT_S: u64 = 15 + 5 + 30 + 60;
/// Backoff of a message that failed again and again: a minute, and a quarter of an hour for one that is half an hour old.
const BACKOFF_S: u64 = 60;
const OLD_BACKOFF_S: u64 = 15 * 60;
const OLD_MS: u64 = 30 * 60 * 1000;
/// What the machine surely carries, orders a second, beside whatever else runs on it.
const SLOWEST: f64 = 2.0;

/// The bound, and how it came about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Bound {
    pub(super) within: Duration,
    pub(super) how: String,
}

/// For the rows as they are when the faults stop. An order is looked at when it is due, and from there at most one doubt
/// stands before it, as nothing fails any more; the same for a message that comes back by itself.
pub(super) fn bound(rows: &[Row], now_ms: u64) -> Bound {
    let open: Vec<&Row> = rows.iter().filter(|row| row.order.next_command().is_some()).collect();
    let due_s = open.iter().filter_map(|row| row.order.due_at).max().unwrap_or(now_ms).saturating_sub(now_ms) / 1000;
    let is_old = |row: &&Row| row.order.timeline.last().is_some_and(|entry| entry.at_ms + OLD_MS < now_ms);
    let backoff_s = if open.iter().any(is_old) { OLD_BACKOFF_S } else { BACKOFF_S };
    #[allow(clippy::cast_precision_loss, reason = "orders are counted in thousands")]
    let backlog_s = (open.len() as f64 / SLOWEST).ceil() as u64;
    let first_s = VISIBILITY_S.max(due_s + SCHEDULE_S).max(backoff_s);
    let within = Duration::from_secs(first_s + DOUBT_S + backlog_s);
    let how = format!(
        "looked at within {first_s} s (visibility {VISIBILITY_S}; the last is due in {due_s}, schedule {SCHEDULE_S}; \
         backoff {backoff_s}), a doubt {DOUBT_S} s, {} open orders {backlog_s} s",
        open.len()
    );
    Bound { within, how }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::evidence_for_tests;

    #[test]
    fn an_order_that_is_due_late_and_a_backlog_make_it_longer() {
        let none = bound(&[], 1_000_000);
        assert_eq!(none.within, Duration::from_secs(VISIBILITY_S + DOUBT_S));
        let mut rows = evidence_for_tests().rows;
        let ended = bound(&rows, 1_000_000);
        assert_eq!(ended, Bound { how: ended.how.clone(), ..none.clone() });
        rows[0].order.state = order::State::Paid;
        rows[0].order.due_at = Some(1_000_000 + 480_000);
        let open = bound(&rows, 1_000_000);
        assert_eq!(open.within, Duration::from_secs(480 + SCHEDULE_S + DOUBT_S + 1));
        assert!(open.how.contains("due in 480"), "{}", open.how);
    }
}
