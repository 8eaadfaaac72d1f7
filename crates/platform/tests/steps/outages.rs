//! What becomes of messages whose provider is not to be called.

use std::sync::atomic::Ordering;
use std::time::Duration;

use lambda_queue::Clock as _;
use lambda_queue::breaker::{Manual, State as Breaker};
use lambda_queue::idempotency::MAX_ATTEMPTS;
use lambda_queue::ports::store::{Item, Store as _, Write, number, number_of, text, text_of};
use order::{OrderId, State, Step};
use ports::{
    CommitOrder as _, Dependency, MAX_NUDGES, PaymentStatus, Payments as _, ProviderError, ReadBreakers as _,
    SendMail as _,
};

use crate::an_order_after;
use crate::shop::{Shop, cancel};

async fn record(shop: &Shop, id: OrderId) -> Option<Item> {
    let key = Item::from([("key".to_owned(), text(format!("payment#{id}")))]);
    shop.platform.backend().get("idempotency", key, true).await.unwrap()
}

async fn epoch(shop: &Shop) -> u64 {
    shop.platform.read_breaker(Dependency::Payment).await.unwrap().epoch
}

async fn open(shop: &Shop) {
    shop.payments.breaker().open(&Manual::new("a test", "an outage"), None).await.unwrap();
}

async fn close(shop: &Shop) {
    let epoch = epoch(shop).await;
    shop.payments.breaker().probe_succeeded(epoch).await.unwrap();
}

async fn later(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_receive_that_meets_an_open_breaker_claims_nothing_and_is_no_attempt() {
    let shop = Shop::open().await;
    let id = an_order_after(&shop, 1).await;
    open(&shop).await;
    for _ in 0..10 {
        assert_eq!(shop.invoke(Step::Payment).await, 0);
        assert_eq!(record(&shop, id).await, None);
        // It comes back when a probe may have gone well, and not at once.
        assert_eq!(shop.platform.backend().queues.counts("payment-express").visible, 0);
        later(30).await;
    }
    assert!(shop.till.asked.lock().unwrap().is_empty());
    close(&shop).await;
    assert_eq!(shop.invoke(Step::Payment).await, 1);
    assert_eq!(shop.row(id).await.state, State::Authorized);
    assert_eq!(number_of(&record(&shop, id).await.unwrap(), "attempts"), Some(1));
}

#[tokio::test(start_paused = true)]
async fn an_outage_opens_the_breaker_once_and_everything_goes_on_when_it_is_over() {
    let shop = Shop::open().await;
    let mut ids = Vec::new();
    for nth in 0..4 {
        ids.push(shop.place_as(&format!("key-{nth}")).await);
    }
    assert_eq!(shop.invoke(Step::Validate).await, 4);
    shop.till.down.store(true, Ordering::SeqCst);
    let mut receives = 0;
    while shop.platform.read_breaker(Dependency::Payment).await.unwrap().state == Breaker::Closed {
        assert_eq!(shop.invoke(Step::Payment).await, 0);
        // Doubt is looked up a minute after; more orders come meanwhile.
        later(2).await;
        for nth in 0..4 {
            ids.push(shop.place_as(&format!("key-{receives}-{nth}")).await);
        }
        shop.invoke(Step::Validate).await;
        receives += 1;
        assert!(receives < 20, "it never opens");
    }
    let row = shop.platform.read_breaker(Dependency::Payment).await.unwrap();
    assert!(row.cause.as_deref().unwrap().starts_with("100 % of 2"), "{:?}", row.cause);
    let lost = shop.till.lost.load(Ordering::SeqCst);
    for _ in 0..3 {
        assert_eq!(shop.invoke(Step::Payment).await, 0);
        later(20).await;
    }
    assert_eq!(shop.till.lost.load(Ordering::SeqCst), lost, "nobody asks while it is open");

    shop.till.down.store(false, Ordering::SeqCst);
    close(&shop).await;
    for _ in 0..40 {
        shop.invoke(Step::Payment).await;
        later(5).await;
    }
    for id in ids {
        assert_eq!(shop.row(id).await.state, State::Authorized);
        let attempts = number_of(&record(&shop, id).await.unwrap(), "attempts").unwrap();
        assert!(attempts <= 2 && attempts < u64::from(MAX_ATTEMPTS), "{attempts} attempts");
    }
    assert_eq!(shop.platform.backend().queues.counts("payment-dlq"), lambda_queue::memory::Counts::default());
}

#[tokio::test(start_paused = true)]
async fn the_last_attempt_parks_its_order_at_once_and_whoever_resumes_looks_first_and_not_too_soon() {
    let shop = Shop::open().await;
    let id = an_order_after(&shop, 1).await;
    // It is held, but nobody hears of it; and so it goes on to the last attempt.
    let lost = Err(ProviderError::Unknown { why: "no answer in time".to_owned() });
    shop.till.confirming.lock().unwrap().push_back((PaymentStatus::Held, lost));
    assert_eq!(shop.invoke(Step::Payment).await, 0);
    let mut worn = record(&shop, id).await.unwrap();
    worn.insert("attempts".to_owned(), number(MAX_ATTEMPTS - 1));
    shop.platform.backend().write(Write::put("idempotency", worn)).await.unwrap();
    shop.till.down.store(true, Ordering::SeqCst);
    for _ in 0..12 {
        later(10).await;
        shop.invoke(Step::Payment).await;
        if shop.row(id).await.parked.is_some() {
            break;
        }
    }
    let reason = shop.row(id).await.parked.unwrap().reason;
    assert!(reason.starts_with("12 attempts at authorize#0 came to nothing, the last: look-up failed: "), "{reason}");
    let parked = record(&shop, id).await.unwrap();
    assert_eq!((text_of(&parked, "status"), number_of(&parked, "attempts")), (Some("IN_PROGRESS"), Some(0)));
    let until_ms = number_of(&parked, "lease_until").unwrap();
    assert!(until_ms > shop.platform.now_ms(), "what was asked last may come as long as its invocation could live");

    shop.till.down.store(false, Ordering::SeqCst);
    let looks_at_ms = until_ms + shop.till.payment_terms().settle_ms;
    tokio::time::advance(Duration::from_millis(looks_at_ms - 1 - shop.platform.now_ms())).await;
    recover_orders::nudge(&*shop.platform, id).await.unwrap();
    let before = shop.till.asked.lock().unwrap().clone();
    assert_eq!(before, ["create", "confirm"]);
    assert_eq!(shop.invoke(Step::Payment).await, 0);
    assert_eq!(*shop.till.asked.lock().unwrap(), before, "nobody may look yet");
    later(61).await;
    assert_eq!(shop.invoke(Step::Payment).await, 1);
    assert_eq!(shop.row(id).await.state, State::Authorized);
    assert_eq!(*shop.till.asked.lock().unwrap(), ["create", "confirm", "look up"], "nothing is done twice");
}

#[tokio::test(start_paused = true)]
async fn while_all_is_well_a_process_writes_no_breaker_and_reads_each_once_in_five_seconds() {
    let shop = Shop::open().await;
    // Two seconds apart, as many as there are mugs for.
    for (nth, expected) in [2, 0, 0, 2, 0].into_iter().enumerate() {
        let before = shop.breaker_calls.load(Ordering::SeqCst);
        shop.place_as(&format!("key-{nth}")).await;
        for step in [Step::Validate, Step::Payment, Step::Stock, Step::Payment, Step::Shipping] {
            assert_eq!(shop.invoke(step).await, 1);
        }
        let calls = shop.breaker_calls.load(Ordering::SeqCst) - before;
        assert_eq!(calls, expected, "order {nth}: of payment and carrier");
        later(2).await;
    }
    assert!(shop.platform.backend().store.items("breakers").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_cancel_before_the_effect_needs_no_provider_and_waits_for_none() {
    let shop = Shop::open().await;
    let id = an_order_after(&shop, 1).await;
    open(&shop).await;
    cancel(&shop.platform, id).await;
    recover_orders::nudge(&*shop.platform, id).await.unwrap();
    shop.invoke(Step::Payment).await;
    assert_eq!(shop.row(id).await.state, State::Cancelled);
    assert!(shop.till.asked.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_effect_that_has_begun_goes_on_behind_a_breaker_that_opens_meanwhile() {
    let shop = Shop::open().await;
    let id = an_order_after(&shop, 1).await;
    let breaker = platform::breaker(&shop.platform, Dependency::Payment).unwrap();
    *shop.till.during_confirm.lock().unwrap() = Some(Box::new(move || {
        Box::pin(async move {
            breaker.open(&Manual::new("a test", "meanwhile"), None).await.unwrap();
        })
    }));
    assert_eq!(shop.invoke(Step::Payment).await, 1);
    assert_eq!(shop.row(id).await.state, State::Authorized);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_cannot_be_read_lets_calls_through() {
    let shop = Shop::open().await;
    let id = an_order_after(&shop, 1).await;
    shop.platform.backend().store.set_faults(|call| {
        let of_breakers = call.items.iter().any(|(table, _)| table == "breakers");
        if of_breakers { lambda_queue::memory::Fault::Throttle } else { lambda_queue::memory::Fault::None }
    });
    assert_eq!(shop.invoke(Step::Payment).await, 1);
    assert_eq!(shop.row(id).await.state, State::Authorized);
}

#[tokio::test(start_paused = true)]
async fn recovery_only_moves_the_due_time_of_what_stands_behind_an_open_breaker() {
    let shop = Shop::open().await;
    let id = an_order_after(&shop, 1).await;
    open(&shop).await;
    let queues = &shop.platform.backend().queues;
    let waiting = queues.counts("payment-express");
    // Also one whose next look would open a case: the outage is not its fault.
    for nudges in [0, MAX_NUDGES] {
        let row = shop.row(id).await;
        assert_eq!(shop.platform.postpone(&row, shop.platform.now_ms() - 1_000, nudges).await, Ok(true));
        let done = recover_orders::recover(&*shop.platform, shop.platform.now_ms() + 50_000).await.unwrap();
        assert_eq!((done.due, done.behind_breaker, done.sent, done.parked), (1, 1, 0, 0));
        let after = shop.row(id).await;
        assert_eq!((after.version, after.nudges, after.parked), (row.version, nudges, None));
        assert_eq!(after.due_at, Some(shop.platform.now_ms() + 60_000));
    }
    assert_eq!(queues.counts("payment-express"), waiting);
    // Another step's order is none of this breaker's.
    let other = shop.place_as("other").await;
    let row = shop.row(other).await;
    assert_eq!(shop.platform.postpone(&row, shop.platform.now_ms() - 1_000, 0).await, Ok(true));
    let done = recover_orders::recover(&*shop.platform, shop.platform.now_ms() + 50_000).await.unwrap();
    assert_eq!((done.behind_breaker, done.sent), (0, 1));
    // Closed again, its queue is let be read from first; what is still there then is nudged.
    let row = shop.row(id).await;
    assert_eq!(shop.platform.postpone(&row, shop.platform.now_ms() - 1_000, 3).await, Ok(true));
    close(&shop).await;
    let done = recover_orders::recover(&*shop.platform, shop.platform.now_ms() + 50_000).await.unwrap();
    assert_eq!((done.behind_breaker, done.sent), (1, 0));
    assert_eq!(shop.row(id).await.nudges, 3);
    later(51).await;
    let done = recover_orders::recover(&*shop.platform, shop.platform.now_ms() + 50_000).await.unwrap();
    assert_eq!((done.behind_breaker, done.sent), (0, 1));
    assert_eq!(shop.row(id).await.nudges, 4);
}

#[tokio::test(start_paused = true)]
async fn a_mail_behind_an_open_breaker_is_not_claimed_and_goes_out_later_once() {
    let shop = Shop::open().await;
    let id = an_order_after(&shop, 5).await;
    let mail = platform::Guarded::new(shop.platform.clone(), &shop.platform, Dependency::Mail).unwrap();
    let event = shipped(&shop, id).await;
    mail.breaker().open(&Manual::new("a test", "an outage"), None).await.unwrap();
    let answer = notify_customer::handle(&*shop.platform, &mail, render, &event).await;
    assert!(matches!(answer, Err(lambda_queue::Failure::Defer { .. })), "{answer:?}");
    let row = shop.platform.read_breaker(Dependency::Mail).await.unwrap();
    mail.breaker().probe_succeeded(row.epoch).await.unwrap();
    for _ in 0..2 {
        notify_customer::handle(&*shop.platform, &mail, render, &event).await.unwrap();
    }
    assert_eq!(shop.platform.backend().mails().len(), 1);
    // The port itself goes through whatever the breaker says: the claim stands by then.
    mail.breaker().open(&Manual::forced("a test", "stop"), None).await.unwrap();
    let email = shop.row(id).await.email.unwrap();
    assert!(mail.send_mail(&email, &render(&shop.row(id).await, order::EventKind::Shipped).unwrap()).await.is_ok());
}

fn render(order: &order::Order, event: order::EventKind) -> Option<ports::Mail> {
    let subject = format!("{event} {}", order.order_id);
    Some(ports::Mail { subject: subject.clone(), text: subject.clone(), html: subject })
}

/// The event of the order's last version, as the queue brings it.
async fn shipped(shop: &Shop, id: OrderId) -> lambda_queue::Record {
    let row = shop.row(id).await;
    let body = ports::Publication::of(&row).body;
    let deadline_ms = shop.platform.now_ms() + 8_000;
    let context = lambda_queue::RecordContext {
        receive_count: 1,
        sent_ms: shop.platform.now_ms(),
        group: Some(id.to_string()),
        handler_deadline_ms: deadline_ms,
        deadline_ms,
    };
    lambda_queue::Record::new("m", body, context)
}
