//! Faults of the payment provider and the carrier, one order and operation at a time, so that it is known whom they hit.

use std::collections::{BTreeSet, HashMap};

use order::OrderId;

use super::dice::roll;
use super::journal::Journal;
use crate::ledger::{Fault, FaultKind, InForce, Ledger, Operation};

/// How often a call meets a fault.
const ODDS: f64 = 0.05;
/// How late a late effect comes: after its caller has given up, before the provider's settle time.
const LATE_MS: u64 = 7_000;
/// How long a hang lasts: longer than any caller waits.
const HANG_MS: u64 = 20_000;

const OPERATIONS: [Operation; 7] = [
    Operation::Create,
    Operation::Confirm,
    Operation::Capture,
    Operation::Cancel,
    Operation::Refund,
    Operation::Shipment,
    Operation::Lookup,
];
const KINDS: [FaultKind; 9] = [
    FaultKind::Error500,
    FaultKind::Error500AfterEffect,
    FaultKind::Throttle429,
    FaultKind::Reset,
    FaultKind::Hang,
    FaultKind::EffectThenReset,
    FaultKind::EffectThenHang,
    FaultKind::LateEffect,
    FaultKind::Latency,
];

/// Its name in the report.
pub(super) fn name(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Error500 => "provider_error_500",
        FaultKind::Error500AfterEffect => "provider_error_500_after_effect",
        FaultKind::Throttle429 => "provider_throttle_429",
        FaultKind::Reset => "provider_reset",
        FaultKind::Hang => "provider_hang",
        FaultKind::EffectThenReset => "provider_effect_then_reset",
        FaultKind::EffectThenHang => "provider_effect_then_hang",
        FaultKind::LateEffect => "provider_late_effect",
        FaultKind::Latency => "provider_latency",
    }
}

/// The faults of a run: what each order's first call of each operation meets.
pub(super) fn faults(seed: u64, orders: &[OrderId], intensity: f64) -> Vec<Fault> {
    let mut faults = Vec::new();
    for id in orders {
        for operation in OPERATIONS {
            let of = |nth: u8| roll(seed, &("provider", id.to_string(), operation, nth));
            if of(0) >= ODDS * intensity {
                continue;
            }
            #[allow(clippy::cast_precision_loss, reason = "nine")]
            let place = (of(1) * KINDS.len() as f64) as usize;
            let Some(fault) = KINDS.get(place).copied() else { continue };
            let delay_ms = match fault {
                FaultKind::Throttle429 => Some(1_000),
                FaultKind::Hang | FaultKind::EffectThenHang => Some(HANG_MS),
                FaultKind::LateEffect => Some(LATE_MS),
                FaultKind::Latency => Some(500 + (of(2) * 3_000.0) as u64),
                FaultKind::Error500
                | FaultKind::Error500AfterEffect
                | FaultKind::Reset
                | FaultKind::EffectThenReset => None,
            };
            // Most pass at once; some stay for the next tries.
            let count = if of(3) < 0.8 { 1 } else { 3 };
            faults.push(Fault {
                provider: None,
                operation,
                fault,
                probability: 1.0,
                count: Some(count),
                delay_ms,
                order_id: Some(id.to_string()),
            });
        }
    }
    faults
}

/// Watches them come true.
#[derive(Debug, Default)]
pub(super) struct Watch {
    seen: HashMap<(String, Operation, FaultKind), u64>,
    /// Of sandboxes before the present one.
    before: HashMap<(String, Operation, FaultKind), u64>,
}

impl Watch {
    /// Notes what came true since the last look, and answers what is left to come true.
    pub(super) fn look(&mut self, in_force: &[InForce], journal: &Journal) -> Vec<Fault> {
        let mut left = Vec::new();
        for rule in in_force {
            let Some(order_id) = &rule.order_id else { continue };
            let key = (order_id.clone(), rule.operation, rule.fault);
            let fired = rule.fired + self.before.get(&key).copied().unwrap_or_default();
            let seen = self.seen.entry(key).or_default();
            let orders: BTreeSet<OrderId> = order_id.parse().into_iter().collect();
            for _ in *seen..fired {
                journal.note(name(rule.fault), format!("{:?}", rule.operation).to_lowercase(), orders.clone());
            }
            *seen = (*seen).max(fired);
            let still = rule.count.map(|count| count.saturating_sub(rule.fired));
            if still != Some(0) {
                left.push(Fault {
                    provider: rule.provider,
                    operation: rule.operation,
                    fault: rule.fault,
                    probability: 1.0,
                    count: still,
                    delay_ms: rule.delay_ms,
                    order_id: rule.order_id.clone(),
                });
            }
        }
        left
    }

    /// The sandbox forgot how often what came true.
    pub(super) fn restarted(&mut self) {
        self.before = self.seen.clone();
    }

    /// Looks at a running sandbox.
    pub(super) async fn look_at(&mut self, ledger: &Ledger, journal: &Journal) -> anyhow::Result<Vec<Fault>> {
        Ok(self.look(&ledger.in_force().await?, journal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders(count: u16) -> Vec<OrderId> {
        (0..count).map(|at| format!("6274a7cd-17b9-8f6c-80c0-45bc88db{at:04x}").parse().unwrap()).collect()
    }

    #[test]
    fn every_kind_falls_on_its_share_of_calls_and_the_seed_says_on_which() {
        let orders = orders(2_000);
        let these = faults(1, &orders, 1.0);
        assert_eq!(these, faults(1, &orders, 1.0));
        assert_ne!(these, faults(2, &orders, 1.0));
        let share = these.len() as f64 / (2_000.0 * OPERATIONS.len() as f64);
        assert!((0.04..0.06).contains(&share), "{share}");
        for kind in KINDS {
            assert!(these.iter().filter(|fault| fault.fault == kind).count() > 30, "{kind:?}");
        }
    }

    #[test]
    fn what_came_true_is_told_once_also_over_a_restart() {
        let order = orders(1)[0];
        let rule = |fired| InForce {
            fired,
            last_port: None,
            provider: None,
            operation: Operation::Capture,
            fault: FaultKind::Reset,
            count: Some(3),
            delay_ms: None,
            order_id: Some(order.to_string()),
        };
        let (mut watch, journal) = (Watch::default(), Journal::default());
        assert_eq!(watch.look(&[rule(0)], &journal)[0].count, Some(3));
        assert_eq!(watch.look(&[rule(1)], &journal)[0].count, Some(2));
        watch.look(&[rule(1)], &journal);
        assert_eq!(journal.injected().len(), 1);
        watch.restarted();
        watch.look(&[rule(0)], &journal);
        assert_eq!(watch.look(&[rule(2)], &journal).len(), 1);
        assert_eq!(watch.look(&[rule(3)], &journal), []);
        let injected = journal.injected();
        assert_eq!((injected.len(), injected[0].kind, injected[0].what.as_str()), (4, "provider_reset", "capture"));
        assert!(injected[0].orders.contains(&order));
    }
}
