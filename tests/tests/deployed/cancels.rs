//! Cancel at every state: before the state's step has sent anything, and while its call is under way. While the steps write that
//! call nobody: `tests/outages/races.rs`.

use order::{Lane, OrderId, ReasonCode, State};
use tests::ledger::{Effect, FaultKind, Operation, fault_of};
use tests::mappings::Held;
use tests::wait::eventually;
use tokio::sync::Mutex;

use crate::shop::{PIECES, SOON, Shop, events};

/// Whoever stops a mapping of the bulk lane has the lane for itself.
pub static BULK: Mutex<()> = Mutex::const_new(());

/// Places an order that is held in a state, its next command in a queue that nothing feeds from, cancels it there, lets
/// go, and answers how it ended.
async fn cancelled_before(shop: &Shop, key: &str, queue: &str, state: State) -> anyhow::Result<OrderId> {
    let held = shop.d.mappings.hold(queue).await?;
    let id = shop.order(key, &shop.body(Lane::Bulk)).await?;
    waits_before(shop, id, queue, state).await?;
    cancel_and_let_go(shop, id, state, held).await?;
    Ok(id)
}

/// Waits until an order is in a state and its command in front of a step that is held.
async fn waits_before(shop: &Shop, id: OrderId, queue: &str, state: State) -> anyhow::Result<()> {
    shop.when(id, &format!("it is {state}"), |order| order.state == state).await?;
    eventually("its command waits in front of the step", SOON, || async {
        let depths = shop.d.queues.depths().await?;
        Ok(depths.0.get(queue).is_some_and(|depth| depth.visible > 0 && depth.in_flight == 0).then_some(()))
    })
    .await
}

async fn cancel_and_let_go(shop: &Shop, id: OrderId, state: State, held: Held) -> anyhow::Result<()> {
    let answer = shop.d.api.cancel(&shop.who, id).await?;
    assert_eq!((answer.status, answer.state()), (202, state.name()), "{}", answer.text);
    assert_eq!(answer.body["cancel_requested"], true);
    // A repeat changes nothing.
    let again = shop.d.api.cancel(&shop.who, id).await?;
    assert_eq!((again.status, &again.body["version"]), (202, &answer.body["version"]));
    held.release().await?;
    let order = shop.ended(id).await?.order;
    assert_eq!(order.state, State::Cancelled, "{:?}", events(&order));
    assert_eq!(order.reason.map(|reason| reason.code), Some(ReasonCode::CustomerCancelled));
    let too_late = shop.d.api.cancel(&shop.who, id).await?;
    assert_eq!(too_late.status, 202, "a cancelled order says yes");
    Ok(())
}

#[tokio::test]
async fn a_cancel_before_the_step_runs_skips_its_effect() -> anyhow::Result<()> {
    let _bulk = BULK.lock().await;
    let shop = Shop::open("cancel-before").await?;
    let held = [Effect::PaymentCreated, Effect::Authorized, Effect::Voided];
    let captured = [Effect::PaymentCreated, Effect::Authorized, Effect::Captured, Effect::Refunded];
    for (state, queue, effects) in [
        (State::Accepted, "validate-bulk", &[][..]),
        (State::Validated, "payment-bulk", &[]),
        (State::Authorized, "stock-bulk", &held),
        (State::Paid, "shipping-bulk", &captured),
    ] {
        let id = cancelled_before(&shop, state.name(), queue, state).await?;
        assert_eq!(shop.effects(id)?, effects, "cancelled while {state}");
        assert_eq!(shop.available().await?, PIECES as i64, "cancelled while {state}");
    }

    // Reserved: the same queue brings the hold and its capture, so the way there leads over the stock's.
    let stock = shop.d.mappings.hold("stock-bulk").await?;
    let id = shop.order("reserved", &shop.body(Lane::Bulk)).await?;
    waits_before(&shop, id, "stock-bulk", State::Authorized).await?;
    let payment = shop.d.mappings.hold("payment-bulk").await?;
    stock.release().await?;
    waits_before(&shop, id, "payment-bulk", State::Reserved).await?;
    assert_eq!(shop.available().await?, PIECES as i64 - 2);
    cancel_and_let_go(&shop, id, State::Reserved, payment).await?;
    assert_eq!(shop.effects(id)?, held, "cancelled while reserved");
    assert_eq!(shop.available().await?, PIECES as i64, "cancelled while reserved");
    shop.close().await
}

/// Places an order one of whose provider calls takes two seconds, and cancels it once the call is under way.
async fn cancelled_during(shop: &Shop, key: &str, operation: Operation, state: State) -> anyhow::Result<OrderId> {
    let id = shop.id(key);
    let mut slow = fault_of(id, operation, FaultKind::Latency, 1);
    slow.delay_ms = Some(2_000);
    shop.d.ledger.fault(&slow).await?;
    shop.order(key, &shop.body(Lane::Express)).await?;
    // The provider has the request, and takes its time.
    eventually("the call is under way", SOON, || async { Ok((shop.d.ledger.fired(id).await? == 1).then_some(())) })
        .await?;
    let answer = shop.d.api.cancel(&shop.who, id).await?;
    assert_eq!((answer.status, answer.state()), (202, state.name()), "{}", answer.text);
    Ok(id)
}

#[tokio::test]
async fn a_cancel_while_the_hold_is_made_gives_it_back() -> anyhow::Result<()> {
    let shop = Shop::open("cancel-hold").await?;
    let id = cancelled_during(&shop, "key", Operation::Confirm, State::Validated).await?;
    assert_eq!(shop.ended(id).await?.order.state, State::Cancelled);
    assert_eq!(shop.effects(id)?, [Effect::PaymentCreated, Effect::Authorized, Effect::Voided]);
    shop.close().await
}

#[tokio::test]
async fn a_cancel_while_the_hold_is_captured_refunds_it() -> anyhow::Result<()> {
    let shop = Shop::open("cancel-capture").await?;
    let id = cancelled_during(&shop, "key", Operation::Capture, State::Reserved).await?;
    assert_eq!(shop.ended(id).await?.order.state, State::Cancelled);
    let effects = [Effect::PaymentCreated, Effect::Authorized, Effect::Captured, Effect::Refunded];
    assert_eq!(shop.effects(id)?, effects);
    assert_eq!(shop.available().await?, PIECES as i64);
    shop.close().await
}

#[tokio::test]
async fn a_cancel_while_the_carrier_takes_it_is_refused_and_told() -> anyhow::Result<()> {
    let shop = Shop::open("cancel-shipment").await?;
    let id = cancelled_during(&shop, "key", Operation::Shipment, State::Paid).await?;
    let order = shop.ended(id).await?.order;
    assert_eq!(order.state, State::Shipped);
    assert!(!order.cancel_requested);
    assert_eq!(events(&order)[5..], ["cancel_requested", "cancel_refused"]);
    let too_late = shop.d.api.cancel(&shop.who, id).await?;
    assert_eq!((too_late.status, too_late.code()), (409, "order_shipped"));
    shop.close().await
}

#[tokio::test]
async fn a_cancel_at_any_moment_ends_well() -> anyhow::Result<()> {
    let shop = Shop::open("cancel-any").await?;
    let mut ids = Vec::new();
    for at in 0..10 {
        let key = format!("key-{at}");
        let id = shop.order(&key, &shop.body(Lane::Express)).await?;
        // One after the other meets each order a version later.
        let version = at % 6 + 1;
        shop.when(id, "it got so far", |order| order.version >= version).await?;
        let answer = shop.d.api.cancel(&shop.who, id).await?;
        assert!(matches!(answer.status, 202 | 409), "{}", answer.text);
        ids.push((id, answer.status));
    }
    for (id, status) in ids {
        let order = shop.ended(id).await?.order;
        let told = order.state == State::Shipped && events(&order).contains(&"cancel_refused");
        let well = if status == 202 { order.state == State::Cancelled || told } else { order.state == State::Shipped };
        assert!(well, "answered {status}, {:?}", events(&order));
    }
    shop.close().await
}

#[tokio::test]
async fn what_was_rejected_cannot_be_cancelled() -> anyhow::Result<()> {
    let shop = Shop::open("cancel-rejected").await?;
    let id = shop.order("key", &shop.body_paid_by(Lane::Express, "pm_card_visa_chargeDeclined")).await?;
    shop.ended(id).await?;
    let answer = shop.d.api.cancel(&shop.who, id).await?;
    assert_eq!((answer.status, answer.code()), (409, "order_rejected"));
    shop.close().await
}
