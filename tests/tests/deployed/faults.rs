//! Providers that fail: whatever is lost on the way back, nothing is charged, shipped or refunded twice.

use std::time::Duration;

use order::{Lane, State};
use tests::ledger::{Effect, FaultKind, Operation, fault_of};

use crate::shop::Shop;

/// In doubt it waits for the lease's end and the provider's settle time, and then for its message to come back.
pub const IN_DOUBT: Duration = Duration::from_secs(150);
const EFFECTS: [Effect; 4] = [Effect::PaymentCreated, Effect::Authorized, Effect::Captured, Effect::ShipmentCreated];

#[tokio::test]
async fn a_lost_answer_is_looked_up_and_not_charged_or_shipped_again() -> anyhow::Result<()> {
    let shop = Shop::open("lost-answers").await?;
    let faults = [
        ("capture-hangs", Operation::Capture, FaultKind::EffectThenHang),
        ("capture-resets", Operation::Capture, FaultKind::EffectThenReset),
        ("capture-500", Operation::Capture, FaultKind::Error500AfterEffect),
        ("confirm-resets", Operation::Confirm, FaultKind::EffectThenReset),
        ("confirm-500", Operation::Confirm, FaultKind::Error500AfterEffect),
        ("shipment-resets", Operation::Shipment, FaultKind::EffectThenReset),
        ("shipment-500", Operation::Shipment, FaultKind::Error500AfterEffect),
        ("capture-late", Operation::Capture, FaultKind::LateEffect),
        // Nothing happened, but nobody knows.
        ("capture-lost", Operation::Capture, FaultKind::Reset),
        ("confirm-lost", Operation::Confirm, FaultKind::Error500),
        ("shipment-lost", Operation::Shipment, FaultKind::Hang),
    ];
    for (key, operation, kind) in faults {
        let mut fault = fault_of(shop.id(key), operation, kind, 1);
        fault.delay_ms = Some(7_000);
        shop.d.ledger.fault(&fault).await?;
        shop.order(key, &shop.body(Lane::Express)).await?;
    }
    for (key, ..) in faults {
        let order = shop.d.ended(shop.id(key), IN_DOUBT).await?.order;
        assert_eq!(order.state, State::Shipped, "{key}");
        let effects = shop.effects(shop.id(key))?;
        // A create whose answer was lost holds no money.
        let effects: Vec<Effect> = effects.into_iter().filter(|effect| *effect != Effect::PaymentCreated).collect();
        assert_eq!(effects, EFFECTS[1..], "{key}");
        assert_eq!(shop.d.ledger.fired(shop.id(key)).await?, 1, "{key}: the fault never came true");
    }
    shop.close().await
}

#[tokio::test]
async fn a_lost_answer_to_an_undoing_is_looked_up_too() -> anyhow::Result<()> {
    let shop = Shop::open("lost-undoing").await?;
    shop.sell("lost-undoing-2", 0).await?;
    let mut sold_out = shop.body(Lane::Express);
    sold_out["lines"][0]["sku"] = "lost-undoing-2".into();
    let mut undeliverable = shop.body(Lane::Express);
    undeliverable["ship_to"]["postal_code"] = "00000".into();
    let cases = [
        ("void-resets", Operation::Cancel, &sold_out, State::Rejected, Effect::Voided),
        ("refund-resets", Operation::Refund, &undeliverable, State::Cancelled, Effect::Refunded),
    ];
    for (key, operation, body, ..) in cases {
        shop.d.ledger.fault(&fault_of(shop.id(key), operation, FaultKind::EffectThenReset, 1)).await?;
        shop.order(key, body).await?;
    }
    for (key, _, _, state, effect) in cases {
        let order = shop.d.ended(shop.id(key), IN_DOUBT).await?.order;
        assert_eq!(order.state, state, "{key}");
        let effects = shop.effects(shop.id(key))?;
        assert_eq!(effects.iter().filter(|happened| **happened == effect).count(), 1, "{key}: {effects:?}");
        assert_eq!(shop.d.ledger.fired(shop.id(key)).await?, 1, "{key}: the fault never came true");
    }
    shop.close().await
}

#[tokio::test]
async fn a_throttled_provider_is_asked_again() -> anyhow::Result<()> {
    let shop = Shop::open("throttled").await?;
    for (at, operation) in
        [Operation::Create, Operation::Confirm, Operation::Capture, Operation::Shipment].into_iter().enumerate()
    {
        let key = format!("key-{at}");
        let mut fault = fault_of(shop.id(&key), operation, FaultKind::Throttle429, 2);
        fault.delay_ms = Some(1_000);
        shop.d.ledger.fault(&fault).await?;
        let id = shop.order(&key, &shop.body(Lane::Express)).await?;
        assert_eq!(shop.ended(id).await?.order.state, State::Shipped, "{key}");
        assert_eq!(shop.effects(id)?, EFFECTS, "{key}");
        assert_eq!(shop.d.ledger.fired(id).await?, 2, "{key}: the fault never came true");
    }
    shop.close().await
}
