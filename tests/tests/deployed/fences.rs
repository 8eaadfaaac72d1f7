//! What stands between two effects on one order: the fence of versions, and the look-up that comes before everything where
//! an effect is in doubt.

use std::cell::Cell;

use lambda_queue::idempotency::EffectKey;
use lambda_queue::{Failure, RecordContext};
use order::{Command, Lane, State};
use orderflow::stack::local_config;
use platform::{Aws, Names};
use ports::{CommandData, CommandMessage, EffectRun, Stop, run_effect};
use tests::clock::now_ms;
use tests::ledger::{Effect, FaultKind, Operation, fault_of};
use tests::wait::eventually;

use crate::faults::IN_DOUBT;
use crate::shop::{PIECES, SOON, Shop};

/// The functions' own adapters over the stack.
pub fn adapters(shop: &Shop) -> anyhow::Result<Aws> {
    let output = |name: &str| shop.d.info.output(name).map(str::to_owned);
    let names = Names {
        orders_table: output("OrdersTable")?,
        idempotency_table: output("IdempotencyTable")?,
        cases_table: output("CasesTable")?,
        breakers_table: output("BreakersTable")?,
        archive_bucket: output("ArchiveBucket")?,
        queue_url_prefix: output("QueueUrlPrefix")?,
        ..Names::default()
    };
    Ok(Aws::with(local_config(&shop.d.info.endpoint), names))
}

/// The breaker of a provider that nobody calls.
pub struct Closed;

impl ports::Gate for Closed {
    async fn gate(&self) -> Result<(), Failure> {
        Ok(())
    }
}

#[tokio::test]
async fn a_copy_that_read_an_old_version_does_not_begin_a_finished_effect_again() -> anyhow::Result<()> {
    let shop = Shop::open("old-copy").await?;
    let id = shop.order("key", &shop.body(Lane::Express)).await?;
    let shipped = shop.ended(id).await?.order;
    // A copy of the authorization's message read the row when that was due, and was stopped for as long as the rest took.
    let mut read = shipped.clone();
    (read.state, read.version) = (State::Validated, 2);
    (read.payment, read.capture, read.shipment) = (None, None, None);
    let message = CommandMessage {
        id: "copy".to_owned(),
        command: Command::AuthorizePayment,
        data: CommandData { order_id: id, version: 2 },
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
        key: EffectKey { record: format!("payment#{id}"), operation: "authorize#0".to_owned(), version: 2 },
        skippable: true,
        settle_ms: 0,
        step: "payment",
        message: &message,
        context: &context,
    };
    let ran = Cell::new(false);
    let answer = run_effect(&adapters(&shop)?, &Closed, read, run, async |_, _| {
        ran.set(true);
        Err(Stop::NotRun { retry_after: None, why: "only asked whether it would".to_owned() })
    })
    .await;
    assert!(!ran.get(), "it would have held the money a second time");
    assert!(matches!(answer, Err(Failure::Retry { .. })), "{answer:?}");
    // The record is as it was: the order's money can go on.
    assert_eq!(shop.refund(id, "refund", Some(100)).await?.status, 202);
    shop.close().await
}

#[tokio::test]
async fn a_cancel_while_an_effect_is_in_doubt_waits_for_its_look_up() -> anyhow::Result<()> {
    use Effect::{Authorized, Captured, PaymentCreated, Refunded, ShipmentCreated, Voided};
    let shop = Shop::open("cancel-doubt").await?;
    let refunded = [PaymentCreated, Authorized, Captured, Refunded];
    let voided = [PaymentCreated, Authorized, Voided];
    let delivered = [PaymentCreated, Authorized, Captured, ShipmentCreated];
    // What was lost never happened, and does not happen any more; what happened is found, and undone.
    let cases = [
        (
            "confirm-lost",
            Operation::Confirm,
            FaultKind::Error500,
            State::Validated,
            State::Cancelled,
            &[PaymentCreated][..],
        ),
        ("confirm-done", Operation::Confirm, FaultKind::EffectThenReset, State::Validated, State::Cancelled, &voided),
        ("capture-lost", Operation::Capture, FaultKind::Reset, State::Reserved, State::Cancelled, &voided),
        ("capture-done", Operation::Capture, FaultKind::EffectThenReset, State::Reserved, State::Cancelled, &refunded),
        ("shipment-lost", Operation::Shipment, FaultKind::Reset, State::Paid, State::Cancelled, &refunded),
        ("shipment-done", Operation::Shipment, FaultKind::EffectThenReset, State::Paid, State::Shipped, &delivered),
    ];
    for (key, operation, kind, state, ..) in cases {
        let id = shop.id(key);
        shop.d.ledger.fault(&fault_of(id, operation, kind, 1)).await?;
        shop.order(key, &shop.body(Lane::Express)).await?;
        let in_doubt = || async { Ok((shop.d.ledger.fired(id).await? == 1).then_some(())) };
        eventually("the answer is lost", SOON, in_doubt).await?;
        let answer = shop.d.api.cancel(&shop.who, id).await?;
        assert_eq!((answer.status, answer.state()), (202, state.name()), "{key}: {}", answer.text);
    }
    for (key, .., end, effects) in cases {
        let order = shop.d.ended(shop.id(key), IN_DOUBT).await?.order;
        assert_eq!(order.state, end, "{key}");
        assert_eq!(shop.effects(shop.id(key))?, effects, "{key}");
    }
    // Two pieces went with the parcel.
    assert_eq!(shop.available().await?, PIECES as i64 - 2);
    shop.close().await
}
