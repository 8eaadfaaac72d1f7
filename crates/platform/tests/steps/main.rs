//! Every command step in one process, over the platform in memory: its own code, batch loop, tables and queues included.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::wildcard_enum_match_arm)]

mod backlog;
mod canaries;
mod cases;
mod catalogue;
mod control;
mod dead_letters;
mod differences;
mod flapping;
mod outages;
mod privacy;
mod records;
mod refunds;
mod replays;
mod shop;
mod slow_mappings;
mod thousand;

use std::sync::atomic::Ordering;

use lambda_queue::batch::Deferral;
use lambda_queue::{Clock as _, Failure, Record, RecordContext};
use order::{OrderId, State, Step};
use ports::{CommitOrder as _, Confirmation, PaymentStatus, ProviderError};
use shop::{PIECES, PRICE, Shop, cancel};

/// The steps of an order that goes well, and the states they lead to.
const WAY: [(Step, State); 5] = [
    (Step::Validate, State::Validated),
    (Step::Payment, State::Authorized),
    (Step::Stock, State::Reserved),
    (Step::Payment, State::Paid),
    (Step::Shipping, State::Shipped),
];

/// An order that has come this far: its next message waits.
async fn an_order_after(shop: &Shop, steps: usize) -> OrderId {
    let id = shop.place().await;
    for (step, state) in &WAY[..steps] {
        assert_eq!(shop.invoke(*step).await, 1);
        assert_eq!(shop.row(id).await.state, *state);
    }
    id
}

#[tokio::test(start_paused = true)]
async fn validating_prices_an_order_and_asks_for_the_money() {
    let shop = Shop::open().await;
    let id = an_order_after(&shop, 1).await;
    let row = shop.row(id).await;
    assert_eq!(row.total.unwrap().amount_minor, 2 * PRICE);
    assert_eq!(shop.platform.backend().queues.counts("payment-express").visible, 1);
}

#[tokio::test(start_paused = true)]
async fn authorizing_holds_the_total_once_also_for_a_message_that_comes_twice() {
    let shop = Shop::open().await;
    let id = an_order_after(&shop, 1).await;
    let queues = &shop.platform.backend().queues;
    queues.set_disorder(lambda_queue::memory::Disorder { duplicates: 1.0, shuffled: false });
    assert!(shop.invoke(Step::Payment).await >= 1);
    queues.set_disorder(lambda_queue::memory::Disorder::default());
    shop.invoke(Step::Payment).await;
    assert_eq!(*shop.till.asked.lock().unwrap(), ["create", "confirm"]);
    let row = shop.row(id).await;
    assert_eq!((row.state, row.payment.unwrap().amount.amount_minor), (State::Authorized, 2 * PRICE));
}

#[tokio::test(start_paused = true)]
async fn reserving_takes_the_pieces_and_the_row_in_one_write() {
    let shop = Shop::open().await;
    let id = an_order_after(&shop, 3).await;
    assert_eq!(shop.available().await, PIECES - 2);
    assert_eq!(shop.row(id).await.version, 4);
}

#[tokio::test(start_paused = true)]
async fn capturing_takes_what_was_held() {
    let shop = Shop::open().await;
    let id = an_order_after(&shop, 4).await;
    assert_eq!(*shop.till.asked.lock().unwrap(), ["create", "confirm", "capture"]);
    assert_eq!(shop.row(id).await.capture.unwrap().amount.amount_minor, 2 * PRICE);
}

#[tokio::test(start_paused = true)]
async fn shipping_ends_the_order_and_leaves_no_message_behind() {
    let shop = Shop::open().await;
    let before = shop.calls.load(Ordering::SeqCst);
    let id = an_order_after(&shop, 5).await;
    let row = shop.row(id).await;
    assert_eq!(row.shipment.unwrap().tracking_number, "V1");
    assert_eq!(row.due_at, None);
    let queues = &shop.platform.backend().queues;
    for name in queues.names() {
        assert_eq!(queues.counts(&name), lambda_queue::memory::Counts::default(), "{name}");
    }
    // Of them six are this test's own looks at the row.
    let calls = shop.calls.load(Ordering::SeqCst) - before - 6;
    assert_eq!(calls, 16, "DynamoDB calls of a shipped order");
    assert_eq!(shop.breaker_calls.load(Ordering::SeqCst), 2, "one read of each breaker in five seconds a process");
}

#[tokio::test(start_paused = true)]
async fn a_cancel_that_comes_while_the_money_is_being_held_gives_the_hold_up() {
    let shop = Shop::open().await;
    let id = an_order_after(&shop, 1).await;
    let platform = shop.platform.clone();
    let meanwhile: Box<dyn FnOnce() -> _ + Send> =
        Box::new(move || -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
            Box::pin(async move { cancel(&platform, id).await })
        });
    *shop.till.during_confirm.lock().unwrap() = Some(meanwhile);
    assert_eq!(shop.invoke(Step::Payment).await, 1);
    assert_eq!(shop.row(id).await.state, State::Voiding);
    assert_eq!(shop.invoke(Step::Payment).await, 1);
    assert_eq!(shop.row(id).await.state, State::Cancelled);
    assert_eq!(*shop.till.asked.lock().unwrap(), ["create", "confirm", "cancel"]);
    assert_eq!(shop.available().await, PIECES);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_is_only_ever_deferred_leaves_its_queue_for_recovery_and_not_for_the_dead_letters() {
    let shop = Shop::open().await;
    let id = an_order_after(&shop, 1).await;
    let queues = &shop.platform.backend().queues;
    let version = shop.row(id).await.version;
    // Too little time for a call to the provider: each receive is a deferral, and no attempt.
    for receive in 1..=45 {
        let taken_over = shop.invoke_for(Step::Payment, 6_000).await == 1;
        assert_eq!(taken_over, receive == 45, "receive {receive} of 50");
        tokio::time::advance(std::time::Duration::from_secs(60)).await;
    }
    for queue in ["payment-express", "payment-dlq"] {
        assert_eq!(queues.counts(queue), lambda_queue::memory::Counts::default(), "{queue}");
    }
    let row = shop.row(id).await;
    assert_eq!((row.state, row.version, row.nudges), (State::Validated, version, 0));
    assert!(shop.till.asked.lock().unwrap().is_empty());

    let recovered = recover_orders::recover(&*shop.platform, shop.platform.now_ms() + 50_000).await.unwrap();
    assert_eq!((recovered.due, recovered.sent), (1, 1));
    assert_eq!(shop.invoke(Step::Payment).await, 1);
    assert_eq!(shop.row(id).await.state, State::Authorized);
}

#[tokio::test(start_paused = true)]
async fn a_put_off_command_is_due_when_it_may_go_on_and_never_later_than_a_quarter_of_an_hour() {
    let shop = Shop::open().await;
    let id = an_order_after(&shop, 1).await;
    // It is overdue, and nobody has sent it again.
    tokio::time::advance(std::time::Duration::from_secs(60)).await;
    let now_ms = shop.platform.now_ms();
    let event: lambda_queue::batch::Event = shop.platform.backend().queues.receive("payment-express", 1).into();
    let body = event.records[0].body.clone().unwrap();
    let put_off = async |body: &str, failure: Failure| {
        let context =
            RecordContext { receive_count: 45, sent_ms: 0, group: None, handler_deadline_ms: 0, deadline_ms: 0 };
        ports::put_off(&*shop.platform, Step::Payment, &Record::new("m", body, context), &failure).await
    };
    // Never earlier than it was: recovery has sent it again then.
    let times = [(0, now_ms), (now_ms + 7_000, now_ms + 7_000), (now_ms, now_ms + 7_000), (u64::MAX, now_ms + 900_000)];
    for (until_ms, due_at) in times {
        for failure in [Failure::defer(until_ms, "a breaker is open"), Failure::busy(until_ms, "held")] {
            assert_eq!(put_off(&body, failure).await, Deferral::TakenOver);
            assert_eq!(shop.row(id).await.due_at, Some(due_at));
        }
    }
    // What is none, what cannot be read, and what the row does not owe any more is left to the queue.
    assert_eq!(put_off(&body, Failure::retry("429")).await, Deferral::Left);
    assert_eq!(put_off("{}", Failure::defer(0, "")).await, Deferral::Left);
    cancel(&shop.platform, id).await;
    assert_eq!(put_off(&body, Failure::defer(0, "")).await, Deferral::Left);
}

#[tokio::test(start_paused = true)]
async fn a_row_that_recovery_has_moved_meanwhile_is_not_postponed_by_who_read_it_before() {
    let shop = Shop::open().await;
    let id = an_order_after(&shop, 1).await;
    let (read, now_ms) = (shop.row(id).await, shop.platform.now_ms());
    assert_eq!(shop.platform.postpone(&read, now_ms + 120_000, 1).await, Ok(true));
    assert_eq!(shop.platform.postpone(&read, now_ms + 120_000, 1).await, Ok(true), "the same, whose answer was lost");
    assert_eq!(shop.platform.postpone(&read, now_ms + 7_000, 0).await, Ok(false));
    let row = shop.row(id).await;
    assert_eq!((row.due_at, row.nudges), (Some(now_ms + 120_000), 1));
}

#[tokio::test(start_paused = true)]
async fn a_payment_that_needs_the_customer_is_given_up_also_where_its_answer_was_lost() {
    let lost = Err(ProviderError::Unknown { why: "no answer in time".to_owned() });
    for (answer, asked) in [
        (Ok(Confirmation::NeedsCustomer), vec!["create", "confirm", "cancel"]),
        (lost, vec!["create", "confirm", "look up", "cancel"]),
    ] {
        let shop = Shop::open().await;
        let id = an_order_after(&shop, 1).await;
        shop.till.confirming.lock().unwrap().push_back((PaymentStatus::NeedsCustomer, answer));
        for _ in 0..120 {
            shop.invoke(Step::Payment).await;
            tokio::time::advance(std::time::Duration::from_secs(1)).await;
        }
        assert_eq!(*shop.till.asked.lock().unwrap(), asked);
        assert_eq!(shop.row(id).await.state, State::Rejected);
    }
}
