//! A thousand cases, replayed when the provider has long forgotten every idempotency key: nobody is charged twice.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use lambda_queue::batch::Invocation;
use lambda_queue::memory::World;
use lambda_queue::{Batch, Clock as _, Failure, Queue as _};
use order::{Currency, Line, Money, NewOrder, Next, Order, OrderId, Outcome, PaymentId, Price, State, transition};
use platform::Platform;
use platform::memory::Memory;
use ports::{
    AcceptOrder as _, Accepted, Captured, CaseIndex, CaseStatus, ChargeLimits, Commit, CommitOrder as _, Confirmation,
    Created, Gate, LoadOrder as _, Lookup, NewPayment, PaymentStatus, PaymentView, Payments, ProviderError,
    ReadCases as _, Terms, Voided, command_message,
};
use triage_dead_letters::DeadLetters;
use triage_dead_letters::replay::{Fate, Outcome as Replayed, Pace, plan, run};

use crate::shop::{LANE, PRICE};

const ORDERS: usize = 1_000;

/// A bank that holds the money and loses every answer, once. A day later it knows no key any more: whoever confirms again,
/// holds again.
#[derive(Default)]
struct Bank {
    /// How often each payment was held.
    holds: Mutex<BTreeMap<String, u32>>,
    /// Whether answers come through.
    heard: Mutex<bool>,
}

impl Gate for Bank {
    async fn gate(&self) -> Result<(), Failure> {
        Ok(())
    }
}

impl ChargeLimits for Bank {
    fn least_charge_minor(&self, _: Currency) -> u64 {
        0
    }
}

fn total() -> Money {
    Money::new(2 * PRICE, Currency::USD)
}

impl Payments for Bank {
    fn payment_terms(&self) -> Terms {
        Terms { idempotency_window_ms: 86_400_000, lookup: Lookup::Authoritative, settle_ms: 1_000 }
    }

    async fn create_payment(&self, _: &str, payment: &NewPayment) -> Result<Created, ProviderError> {
        Ok(Created::Made(format!("pi_{}", payment.order_id).parse().unwrap()))
    }

    async fn confirm_payment(&self, _: &str, id: &PaymentId) -> Result<Confirmation, ProviderError> {
        *self.holds.lock().unwrap().entry(id.as_str().to_owned()).or_default() += 1;
        if *self.heard.lock().unwrap() {
            return Ok(Confirmation::Held);
        }
        Err(ProviderError::Unknown { why: "no answer in time".to_owned() })
    }

    async fn capture_payment(&self, _: &str, _: &PaymentId, _: Money) -> Result<Captured, ProviderError> {
        unreachable!("nothing is reserved here")
    }

    async fn cancel_payment(&self, _: &str, _: &PaymentId) -> Result<Voided, ProviderError> {
        unreachable!("nothing is cancelled here")
    }

    async fn refund_payment(
        &self,
        _: &str,
        _: &PaymentId,
        _: OrderId,
        _: usize,
        _: Money,
    ) -> Result<String, ProviderError> {
        unreachable!("nothing is refunded here")
    }

    async fn look_up_payment(&self, id: &PaymentId) -> Result<PaymentView, ProviderError> {
        let held = self.holds.lock().unwrap().contains_key(id.as_str());
        let status = if held { PaymentStatus::Held } else { PaymentStatus::Unconfirmed };
        Ok(PaymentView { status, amount: total(), captured_minor: 0, refunds: Vec::new() })
    }
}

/// A priced order whose authorization is due.
async fn validated(platform: &Platform<Memory>, at: usize) -> OrderId {
    let (tenant, customer) = ("acme".parse().unwrap(), "ada".parse().unwrap());
    let order_id = OrderId::derive(&tenant, &customer, &format!("key-{at}").parse().unwrap());
    let new = NewOrder {
        order_id,
        tenant,
        customer,
        lane: LANE,
        fingerprint: "0".repeat(64).parse().unwrap(),
        lines: vec![Line { sku: "MUG".parse().unwrap(), quantity: 2, price: None }],
        currency: Currency::USD,
        expected_total: None,
        ship_to: serde_json::from_value(serde_json::json!({
            "name": "Ada L", "line1": "1 Main St", "city": "Springfield", "postal_code": "12345", "country": "US"
        }))
        .unwrap(),
        email: "ada@example.test".parse().unwrap(),
        payment_method: "pm_card_visa".parse().unwrap(),
        traceparent: None,
    };
    let accepted = Order::accept(new, platform.now_ms());
    assert_eq!(platform.accept_order(&accepted).await, Ok(Accepted::New));
    let valid =
        Outcome::Valid { prices: vec![Price { name: "Mug".to_owned(), unit_price_minor: PRICE }], total: total() };
    let Next::Changed(row) = transition(&accepted, &valid, platform.now_ms()).unwrap() else { panic!("absorbed") };
    assert_eq!(platform.commit_order(&accepted, &row).await, Ok(Commit::Done));
    let owed = command_message(&row, None, platform.now_ms()).unwrap();
    assert_eq!(platform.send(&owed.queue.clone(), &[owed]).await, [Ok(())]);
    order_id
}

/// Invocations of process-payment until its queue shows nothing more.
async fn pay(platform: &Platform<Memory>, bank: &Bank) {
    loop {
        let event = platform.backend().queues.receive("payment-express", 10);
        if event.records.is_empty() {
            return;
        }
        let batch = Batch::new("process-payment", platform).quiet();
        let of = Invocation { request_id: "r".to_owned(), deadline_ms: platform.now_ms() + 15_000, cold_start: false };
        let handler = |record: std::sync::Arc<lambda_queue::Record>| async move {
            process_payment::handle(platform, bank, &record).await
        };
        let answer = batch.run(event.clone(), of, handler).await.unwrap();
        platform.backend().queues.settle(&event, &answer);
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_cases_replayed_after_the_providers_keys_are_gone_have_no_effect_twice() {
    let platform = Platform::in_memory(World::with_tokio(7));
    let bank = Bank::default();
    let mut orders = Vec::with_capacity(ORDERS);
    for at in 0..ORDERS {
        orders.push(validated(&platform, at).await);
    }
    pay(&platform, &bank).await;
    assert_eq!(bank.holds.lock().unwrap().len(), ORDERS, "the money is held, and nobody heard of it");

    // Every message is given up by its queue while the provider stays silent.
    let queues = &platform.backend().queues;
    let bodies = queues.bodies("payment-express");
    assert_eq!(bodies.len(), ORDERS);
    queues.purge("payment-express");
    for body in &bodies {
        let dead = crate::dead_letters::message("payment-dlq", body);
        assert_eq!(platform.send("payment-dlq", &[dead]).await, [Ok(())]);
    }
    let batch = Batch::new("triage-dead-letters", &platform).quiet();
    loop {
        let event = queues.receive("payment-dlq", 10);
        if event.records.is_empty() {
            break;
        }
        let dead: DeadLetters = serde_json::from_value(serde_json::to_value(&event).unwrap()).unwrap();
        let of = Invocation { request_id: "t".to_owned(), deadline_ms: platform.now_ms() + 10_000, cold_start: false };
        let answer = triage_dead_letters::handle(&batch, dead, of).await.unwrap();
        assert_eq!(queues.settle(&event, &answer), event.records.len());
    }

    // Past the provider's 24 hours, and past our leases. It answers again.
    tokio::time::advance(Duration::from_secs(15 * 86_400)).await;
    *bank.heard.lock().unwrap() = true;
    let mut open = Vec::new();
    let mut after = None;
    loop {
        let page = platform.list_cases(&CaseIndex::Status(CaseStatus::Open), 100, after.as_deref()).await.unwrap();
        open.extend(page.cases);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(open.len(), ORDERS);
    let planned = plan(&platform, open.clone(), &open, &[], false).await.unwrap();
    let pace = Pace { between: Duration::from_millis(10), watch: Duration::from_secs(5) };
    let operator = crate::replays::by("the provider is back");
    let consumer = async {
        loop {
            pay(&platform, &bank).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let report = tokio::select! {
        report = run(&platform, planned.clone(), &operator, pace, |_| ()) => report,
        () = consumer => unreachable!("it never ends"),
    };
    assert_eq!((report.sent, report.failed, report.stopped), (ORDERS, 0, None));
    assert!(report.cases.iter().all(|(_, became)| *became == Replayed::Sent(Fate::Done)));
    for id in &orders {
        assert_eq!(platform.load_order(*id).await.unwrap().unwrap().state, State::Authorized);
    }

    // All of it once more, by mistake.
    let again = run(&platform, planned, &operator, Pace { watch: Duration::ZERO, ..pace }, |_| ()).await;
    assert!(again.cases.len() == ORDERS && again.cases.iter().all(|(_, became)| *became == Replayed::Changed));
    pay(&platform, &bank).await;
    let holds = bank.holds.lock().unwrap();
    assert!(holds.len() == ORDERS && holds.values().all(|held| *held == 1), "held twice");
}
