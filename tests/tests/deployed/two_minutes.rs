//! Detect to recovered in under two minutes, measured from the fault, with nobody's help: by queues, leases and the schedule of
//! `recover-orders`. (A mapping that is turned off is the fourth: `tests/outages`.)

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use lambda_queue::RecordContext;
use lambda_queue::idempotency::{EffectKey, Lease};
use order::{Command, Currency, Lane, Money, Next, Order, OrderId, Outcome, Price, State, transition};
use ports::{CommandData, CommandMessage, EffectRun, Stop, command_message, payment_record, run_effect};
use tests::chaos::victims;
use tests::clock::now_ms;
use tests::ledger::{Effect, FaultKind, Operation, fault_of};
use tests::wait::eventually;
use tokio::sync::Notify;

use crate::cancels::BULK;
use crate::fences::{Closed, adapters};
use crate::shop::{PIECES, PRICE, SOON, Shop};

/// The promise.
const PROMISE: Duration = Duration::from_secs(120);

/// Waits until an order has left the version in which the fault met it; answers how long that took.
async fn moved_on(shop: &Shop, id: OrderId, version: u64, fault: Instant, what: &str) -> anyhow::Result<Duration> {
    let left = PROMISE.saturating_sub(fault.elapsed());
    shop.d.row_when(id, what, left, |row| row.order.version > version).await?;
    Ok(fault.elapsed())
}

/// The function that holds a payment dies in the middle of the provider's call.
async fn killed_function(shop: &Shop) -> anyhow::Result<Duration> {
    let id = shop.id("killed");
    let mut slow = fault_of(id, Operation::Confirm, FaultKind::Latency, 1);
    slow.delay_ms = Some(4_000);
    shop.d.ledger.fault(&slow).await?;
    let fault = {
        // Nobody else's order is in its batch.
        let _bulk = BULK.lock().await;
        shop.order("killed", &shop.body(Lane::Bulk)).await?;
        let under_way = || async { shop.d.ledger.caught(id).await };
        let from = eventually("the call is under way", SOON, under_way).await?;
        let sandbox = shop.d.info.sandbox_url.rsplit(':').next().and_then(|port| port.parse().ok());
        let sandbox = sandbox.context("the sandbox has no port")?;
        let (ministack, stack) = (shop.d.info.ministack_pid, &shop.d.info.stack_name);
        let victim = victims::holder(ministack, stack, from, sandbox).context("nobody holds the connection")?;
        ensure!(victim.function == "process-payment", "{victim:?}");
        let fault = Instant::now();
        ensure!(victims::kill(&victim), "{victim:?} was gone already");
        fault
    };
    let row = shop.d.tables.order(id).await?.context("no row")?;
    ensure!(row.order.state == State::Validated, "it was not in the middle: {}", row.order.state);
    moved_on(shop, id, row.order.version, fault, "the order of a killed function goes on").await
}

/// The API dies between the row and the message.
async fn lost_first_message(shop: &Shop) -> anyhow::Result<Duration> {
    let fault = Instant::now();
    let order = shop.accept_without_message("lost", Lane::Express, now_ms()).await?;
    moved_on(shop, order.order_id, order.version, fault, "an order without its first message goes on").await
}

/// The worker that holds an order's payment lease dies before it has called anybody, and its message comes to another.
async fn stuck_lease(shop: &Shop) -> anyhow::Result<Duration> {
    let aws = adapters(shop)?;
    let accepted = shop.accept_without_message("stuck", Lane::Express, now_ms()).await?;
    let price = Price { name: format!("The {}", shop.sku), unit_price_minor: PRICE };
    let valid = Outcome::Valid { prices: vec![price], total: Money::new(2 * PRICE, Currency::USD) };
    let Next::Changed(order) = transition(&accepted, &valid, now_ms())? else { bail!("it was valid already") };
    shop.d.tables.replace_order(&order).await?;

    let context = claim_and_die(&aws, &order).await?;
    let fault = Instant::now();
    ensure!(now_ms() < context.deadline_ms, "the lease is live");
    let message = command_message(&order, None, now_ms()).context("it owes nothing")?;
    shop.d.queues.send(&message.queue, Some(&shop.who.tenant), &[message.body]).await?;
    moved_on(shop, order.order_id, order.version, fault, "an order with a stuck lease goes on").await
}

/// Claims the authorization as the step does, with a whole invocation's time, and is gone.
async fn claim_and_die(aws: &platform::Aws, order: &Order) -> anyhow::Result<RecordContext> {
    let message = CommandMessage {
        id: "dead".to_owned(),
        command: Command::AuthorizePayment,
        data: CommandData { order_id: order.order_id, version: order.version },
        traceparent: None,
    };
    let now_ms = now_ms();
    let context = RecordContext {
        receive_count: 1,
        sent_ms: now_ms,
        group: None,
        handler_deadline_ms: now_ms + 13_000,
        deadline_ms: now_ms + 15_000,
    };
    let run = EffectRun {
        key: EffectKey {
            record: payment_record(order.order_id),
            operation: "authorize#0".to_owned(),
            version: order.version,
        },
        skippable: true,
        // Of no consequence for one that is not in doubt yet: whoever comes next asks by his own.
        settle_ms: 0,
        step: "payment",
        message: &message,
        context: &context,
    };
    let claimed = Notify::new();
    let dying = run_effect(aws, &Closed, order.clone(), run, async |_: Lease, _: bool| {
        claimed.notify_one();
        std::future::pending::<Result<Outcome, Stop>>().await
    });
    tokio::select! {
        answer = dying => bail!("the effect ended: {answer:?}"),
        () = claimed.notified() => {}
    }
    Ok(context)
}

#[tokio::test]
async fn a_killed_function_a_lost_first_message_and_a_stuck_lease_are_recovered_in_under_two_minutes()
-> anyhow::Result<()> {
    let shop = Shop::open("two-minutes").await?;
    let (killed, lost, stuck) =
        tokio::try_join!(killed_function(&shop), lost_first_message(&shop), stuck_lease(&shop))?;
    for (what, took) in [("a killed function", killed), ("a lost first message", lost), ("a stuck lease", stuck)] {
        println!("{what}: recovered after {:.0} s", took.as_secs_f64());
        assert!(took < PROMISE, "{what}: {took:?}");
    }
    for key in ["killed", "lost", "stuck"] {
        let order = shop.ended(shop.id(key)).await?.order;
        assert_eq!((order.state, order.parked), (State::Shipped, None), "{key}");
        let effects = [Effect::PaymentCreated, Effect::Authorized, Effect::Captured, Effect::ShipmentCreated];
        assert_eq!(shop.effects(order.order_id)?, effects, "{key}");
    }
    assert_eq!(shop.available().await?, PIECES as i64 - 6);
    shop.close().await
}
