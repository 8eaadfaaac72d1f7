//! What a run is asked for.

use std::collections::BTreeSet;

use order::OrderId;
use serde::Deserialize;
use serde_json::Value;

/// Where nothing is said.
pub const WINDOW_HOURS: u64 = 48;
/// The longest window, hours: 90 days.
pub const MOST_HOURS: u64 = 90 * 24;
/// What is younger than this is not judged, minutes, where nothing is said: longer than a step's time, its lease, the
/// provider's settle time and a few retries together.
pub const GRACE_MINUTES: u64 = 15;

/// What to reconcile.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ask {
    /// How far back, milliseconds.
    pub window_ms: u64,
    /// What is younger than this is not judged, milliseconds.
    pub grace_ms: u64,
    /// Only these orders; `None` for all.
    pub orders: Option<BTreeSet<OrderId>>,
}

/// The event of an invocation. A schedule without an input sends one of its own, which says none of these.
#[derive(Deserialize)]
struct Event {
    window_hours: Option<u64>,
    grace_minutes: Option<u64>,
    orders: Option<BTreeSet<OrderId>>,
}

impl Ask {
    /// From an event: `{"window_hours": 48, "grace_minutes": 15, "orders": ["..."]}`, each of them optional. `orders` is
    /// for a look at a few by hand; such a run keeps no place.
    ///
    /// # Errors
    /// Where a number or an id is none; the text says which.
    pub fn of(event: &Value) -> Result<Self, String> {
        let event: Event = serde_json::from_value(event.clone()).map_err(|error| error.to_string())?;
        let window_hours = event.window_hours.unwrap_or(WINDOW_HOURS);
        if !(1..=MOST_HOURS).contains(&window_hours) {
            return Err(format!("window_hours is 1 to {MOST_HOURS}, not {window_hours}"));
        }
        let grace_minutes = event.grace_minutes.unwrap_or(GRACE_MINUTES);
        if grace_minutes >= window_hours * 60 {
            return Err(format!("a grace of {grace_minutes} minutes leaves nothing of {window_hours} hours"));
        }
        Ok(Self { window_ms: window_hours * 3_600_000, grace_ms: grace_minutes * 60_000, orders: event.orders })
    }

    /// Whether an order is asked for.
    pub fn takes(&self, order_id: OrderId) -> bool {
        self.orders.as_ref().is_none_or(|orders| orders.contains(&order_id))
    }

    /// The name under which a run's place is kept: windows of different lengths do not go on for each other.
    pub fn walk(&self) -> Option<String> {
        self.orders.is_none().then(|| format!("reconcile-{}h", self.window_ms / 3_600_000))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_said_is_two_days_and_a_quarter_of_an_hour() {
        let plain = Ask::of(&json!({ "version": "0", "detail-type": "Scheduled Event", "detail": {} })).unwrap();
        assert_eq!(plain, Ask { window_ms: 48 * 3_600_000, grace_ms: 15 * 60_000, orders: None });
        assert_eq!(plain.walk().as_deref(), Some("reconcile-48h"));
        let daily = Ask::of(&json!({ "window_hours": 384 })).unwrap();
        assert_eq!(daily.walk().as_deref(), Some("reconcile-384h"));
    }

    #[test]
    fn a_look_at_a_few_orders_takes_only_these_and_keeps_no_place() {
        let id = "0b8e6c1e-5d7f-8a2b-9c3d-4e5f60718293";
        let few = Ask::of(&json!({ "orders": [id], "grace_minutes": 0 })).unwrap();
        assert!(few.takes(id.parse().unwrap()));
        assert!(!few.takes("0b8e6c1e-5d7f-8a2b-9c3d-4e5f60718294".parse().unwrap()));
        assert_eq!((few.grace_ms, few.walk()), (0, None));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for event in [
            json!({ "window_hours": 0 }),
            json!({ "window_hours": 2_161 }),
            json!({ "window_hours": "48" }),
            json!({ "window_hours": 1, "grace_minutes": 60 }),
            json!({ "orders": ["not an id"] }),
            json!([]),
        ] {
            assert!(Ask::of(&event).is_err(), "{event}");
        }
    }
}
