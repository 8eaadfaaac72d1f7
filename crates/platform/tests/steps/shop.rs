//! A shop in one process: the platform in memory, a till and a carrier that do as they are told, every step's own code.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use lambda_queue::batch::Invocation;
use lambda_queue::memory::World;
use lambda_queue::{Batch, Clock as _, Done, Failure, Queue as _, Record};
use order::{
    Currency, Lane, Line, Money, NewOrder, Next, Order, OrderId, Outcome, PaymentId, Shipment, Step, transition,
};
use platform::Platform;
use platform::memory::{Memory, dead_letters, receives};
use ports::{
    AcceptOrder as _, Accepted, Captured, Carrier, ChargeLimits, Commit, CommitOrder as _, Confirmation, Created,
    LoadOrder as _, Lookup, NewPayment, PaymentStatus, PaymentView, Payments, Product, ProviderError, ShipmentAnswer,
    ShipmentRequest, Terms, Voided, command_message, put_off, queue_name,
};

pub const LANE: Lane = Lane::Express;
pub const PRICE: u64 = 1_900;
pub const PIECES: u64 = 10;

type Interruption = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// The payment provider: one payment, and what was asked of it.
#[derive(Default)]
pub struct Till {
    pub asked: Mutex<Vec<&'static str>>,
    status: Mutex<Option<(PaymentStatus, Money)>>,
    /// Happens while a confirmation is under way.
    pub during_confirm: Mutex<Option<Interruption>>,
}

impl Till {
    fn note(&self, what: &'static str, status: PaymentStatus) {
        self.asked.lock().unwrap().push(what);
        if let Some((old, _)) = self.status.lock().unwrap().as_mut() {
            *old = status;
        }
    }
}

impl Payments for Till {
    fn payment_terms(&self) -> Terms {
        Terms { idempotency_window_ms: 86_400_000, lookup: Lookup::Authoritative, settle_ms: 1_000 }
    }

    async fn create_payment(&self, _: &str, payment: &NewPayment) -> Result<Created, ProviderError> {
        *self.status.lock().unwrap() = Some((PaymentStatus::Unconfirmed, payment.amount));
        self.note("create", PaymentStatus::Unconfirmed);
        Ok(Created::Made("pi_1".parse().unwrap()))
    }

    async fn confirm_payment(&self, _: &str, _: &PaymentId) -> Result<Confirmation, ProviderError> {
        let meanwhile = self.during_confirm.lock().unwrap().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile().await;
        }
        self.note("confirm", PaymentStatus::Held);
        Ok(Confirmation::Held)
    }

    async fn capture_payment(&self, _: &str, _: &PaymentId, amount: Money) -> Result<Captured, ProviderError> {
        self.note("capture", PaymentStatus::Captured);
        Ok(Captured::Captured { amount })
    }

    async fn cancel_payment(&self, _: &str, _: &PaymentId) -> Result<Voided, ProviderError> {
        self.note("cancel", PaymentStatus::Cancelled);
        Ok(Voided::Voided)
    }

    async fn refund_payment(
        &self,
        _: &str,
        _: &PaymentId,
        _: OrderId,
        _: usize,
        _: Money,
    ) -> Result<String, ProviderError> {
        self.note("refund", PaymentStatus::Captured);
        Ok("re_1".to_owned())
    }

    async fn look_up_payment(&self, _: &PaymentId) -> Result<PaymentView, ProviderError> {
        let (status, amount) = self.status.lock().unwrap().clone().unwrap();
        let captured_minor = if status == PaymentStatus::Captured { amount.amount_minor } else { 0 };
        Ok(PaymentView { status, amount, captured_minor, refunds: Vec::new() })
    }
}

/// A carrier that goes everywhere.
pub struct Van;

impl Carrier for Van {
    fn carrier_terms(&self) -> Terms {
        Terms { idempotency_window_ms: 86_400_000, lookup: Lookup::Authoritative, settle_ms: 1_000 }
    }

    async fn create_shipment(&self, request: &ShipmentRequest) -> Result<ShipmentAnswer, ProviderError> {
        Ok(ShipmentAnswer::Created(Shipment {
            shipment_id: format!("shp-{}", request.order_id),
            carrier: "Van".to_owned(),
            tracking_number: "V1".to_owned(),
            tracking_url: "https://van.example/V1".to_owned(),
        }))
    }

    async fn look_up_shipment(&self, _: OrderId) -> Result<Option<Shipment>, ProviderError> {
        Ok(None)
    }
}

/// Any amount can be paid.
struct NoLimits;

impl ChargeLimits for NoLimits {
    fn least_charge_minor(&self, _: Currency) -> u64 {
        0
    }
}

pub struct Shop {
    pub platform: std::sync::Arc<Platform<Memory>>,
    pub till: Till,
    pub calls: std::sync::Arc<AtomicU64>,
}

impl Shop {
    pub async fn open() -> Self {
        let platform = Platform::in_memory(World::with_tokio(1));
        let product = Product {
            sku: "MUG".parse().unwrap(),
            name: "Mug".to_owned(),
            price_minor: PRICE,
            currency: "USD".parse::<Currency>().unwrap(),
            available: PIECES,
        };
        platform.put_product(&product).await.unwrap();
        let calls = std::sync::Arc::new(AtomicU64::new(0));
        let counted = calls.clone();
        platform.backend().store.set_faults(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            lambda_queue::memory::Fault::None
        });
        Self { platform: platform.into(), till: Till::default(), calls }
    }

    /// Accepts an order of two mugs and sends its first command.
    pub async fn place(&self) -> OrderId {
        let (tenant, customer, key) = ("acme".parse().unwrap(), "ada".parse().unwrap(), "my-key".parse().unwrap());
        let order_id = OrderId::derive(&tenant, &customer, &key);
        let new = NewOrder {
            order_id,
            tenant,
            customer,
            lane: LANE,
            fingerprint: serde_json::from_value(serde_json::json!("0".repeat(64))).unwrap(),
            lines: vec![Line { sku: "MUG".parse().unwrap(), quantity: 2, price: None }],
            currency: "USD".parse().unwrap(),
            expected_total: None,
            ship_to: serde_json::from_value(serde_json::json!({
                "name": "Ada L", "line1": "1 Main St", "city": "Springfield", "postal_code": "12345", "country": "US"
            }))
            .unwrap(),
            email: "ada@example.test".parse().unwrap(),
            payment_method: "pm_card_visa".parse().unwrap(),
            traceparent: None,
        };
        let order = Order::accept(new, self.platform.now_ms());
        assert_eq!(self.platform.accept_order(&order).await, Ok(Accepted::New));
        let owed = command_message(&order, None, self.platform.now_ms()).unwrap();
        let queue = owed.queue.clone();
        assert_eq!(self.platform.send(&queue, &[owed]).await, [Ok(())]);
        order_id
    }

    pub async fn row(&self, id: OrderId) -> Order {
        self.platform.load_order(id).await.unwrap().unwrap()
    }

    pub async fn available(&self) -> u64 {
        use ports::ReadCatalogue as _;
        self.platform.read_catalogue(&["MUG".parse().unwrap()]).await.unwrap()[0].available
    }

    /// One invocation of a step's function with what its queue holds; answers how many messages it finished.
    pub async fn invoke(&self, step: Step) -> usize {
        self.invoke_for(step, 15_000).await
    }

    /// The same with so much time, milliseconds.
    pub async fn invoke_for(&self, step: Step, time_ms: u64) -> usize {
        let queues = &self.platform.backend().queues;
        let event = queues.receive(&queue_name(step, LANE), 10);
        let ports = &*self.platform;
        let batch = Batch::new("step", ports)
            .dead_letters(dead_letters(step))
            .on_deferral(receives(step), move |record, failure| async move {
                put_off(ports, step, &record, &failure).await
            });
        let deadline_ms = self.platform.now_ms() + time_ms;
        let of = Invocation { request_id: "r".to_owned(), deadline_ms, cold_start: false };
        let answer = batch.run(event.clone(), of, |record| self.handle(step, record)).await.unwrap();
        queues.settle(&event, &answer)
    }

    async fn handle(&self, step: Step, record: Arc<Record>) -> Result<Done, Failure> {
        let ports = &*self.platform;
        match step {
            Step::Validate => validate_order::handle(ports, &NoLimits, &record).await,
            Step::Payment => process_payment::handle(ports, &self.till, &record).await,
            Step::Stock => reserve_stock::handle(ports, &record).await,
            Step::Shipping => ship_order::handle(ports, &Van, &record).await,
        }
    }
}

/// Puts the wish to cancel on the row.
pub async fn cancel(platform: &Platform<Memory>, id: OrderId) {
    let before = platform.load_order(id).await.unwrap().unwrap();
    before.cancel_allowed().unwrap();
    let Next::Changed(after) = transition(&before, &Outcome::CancelRequested, platform.now_ms()).unwrap() else {
        panic!("absorbed")
    };
    assert_eq!(platform.commit_order(&before, &after).await, Ok(Commit::Done));
}
