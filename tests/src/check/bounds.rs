//! I13 and I14: that it comes to rest in time, and that nothing is tried without end. The limits are the design's, written
//! down a second time.

use std::time::Duration;

use super::{Evidence, Findings, Verdict};

/// Attempts at an effect before it parks its order; the one that parks is counted.
const ATTEMPTS: u64 = 12 + 1;
/// Nudges without a new version before the order is parked.
const NUDGES: u32 = 10;
/// Receives of a message before SQS moves it away, behind a provider and elsewhere.
const RECEIVES: (u32, u32) = (50, 10);
/// Functions behind a provider.
const BEHIND_A_PROVIDER: [&str; 3] = ["process-payment", "ship-order", "notify-customer"];
/// Longest invocations, milliseconds.
const LONGEST_MS: [(&str, u64); 6] = [
    ("validate-order", 15_000),
    ("process-payment", 15_000),
    ("reserve-stock", 15_000),
    ("ship-order", 15_000),
    ("notify-customer", 10_000),
    ("archive-events", 30_000),
];

/// I13: once the faults stopped, everything drained within a computed bound. `took` is `None` where it did not.
pub fn i13_drains(took: Option<Duration>, bound: Duration, how: &str) -> Verdict {
    let holds = took.is_some_and(|took| took <= bound);
    let took =
        took.map_or_else(|| "had not drained".to_owned(), |took| format!("drained in {:.0} s", took.as_secs_f64()));
    Verdict { id: "I13", holds, detail: format!("{took}, bound {:.0} s: {how}", bound.as_secs_f64()) }
}

/// I14: work is bounded: attempts at effects, nudges, receives, the time of an invocation.
pub fn i14_work_is_bounded(evidence: &Evidence) -> Verdict {
    let mut found = Findings::new("I14", "effects, orders, messages and invocations within their limits");
    for (key, attempts) in &evidence.effects {
        found.looked();
        found.require(*attempts <= ATTEMPTS, key, || format!("attempted {attempts} times"));
    }
    for row in &evidence.rows {
        found.looked();
        found.require(row.order.nudges <= NUDGES, row.order.order_id, || format!("nudged {} times", row.order.nudges));
    }
    for record in &evidence.logs.records {
        found.looked();
        let behind = BEHIND_A_PROVIDER.contains(&record.function.as_str());
        let most = if behind { RECEIVES.0 } else { RECEIVES.1 };
        found.require(record.receive_count <= most, &record.message_id, || {
            format!("received {} times by {}", record.receive_count, record.function)
        });
    }
    for invocation in &evidence.logs.invocations {
        found.looked();
        let longest = LONGEST_MS.iter().find(|(function, _)| *function == invocation.function);
        let is_short = longest.is_none_or(|(_, longest_ms)| invocation.duration_ms <= *longest_ms);
        found.require(is_short, &invocation.request_id, || {
            format!("{} took {} ms", invocation.function, invocation.duration_ms)
        });
    }
    found.verdict()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::fixtures::{broken, good};

    #[test]
    fn good_work_is_bounded() {
        let verdict = i14_work_is_bounded(&good());
        assert!(verdict.holds, "{}", verdict.detail);
    }

    #[test]
    fn work_without_end_is_seen() {
        broken(i14_work_is_bounded, "attempted 14", |evidence| evidence.effects.push(("payment#1".to_owned(), 14)));
        broken(i14_work_is_bounded, "nudged 11", |evidence| evidence.rows[0].order.nudges = 11);
        broken(i14_work_is_bounded, "received 51", |evidence| evidence.logs.records[0].receive_count = 51);
        broken(i14_work_is_bounded, "received 11", |evidence| {
            evidence.logs.records[0].function = "reserve-stock".to_owned();
            evidence.logs.records[0].receive_count = 11;
        });
        broken(i14_work_is_bounded, "took 15001", |evidence| evidence.logs.invocations[0].duration_ms = 15_001);
    }

    #[test]
    fn draining_late_or_never_is_seen() {
        let bound = Duration::from_secs(60);
        assert!(i13_drains(Some(Duration::from_secs(59)), bound, "").holds);
        assert!(!i13_drains(Some(Duration::from_secs(61)), bound, "").holds);
        assert!(!i13_drains(None, bound, "").holds);
    }
}
