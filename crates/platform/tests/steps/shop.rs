//! A shop in one process: the platform in memory, a till and a carrier that do as they are told, every step's own code.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use lambda_queue::batch::Invocation;
use lambda_queue::memory::World;
use lambda_queue::{Batch, Clock as _, Done, Failure, Queue as _, Record};
use order::{
    Currency, Lane, Line, Money, NewOrder, Next, Order, OrderId, Outcome, PaymentId, Shipment, Step, transition,
};
use platform::memory::{Memory, dead_letters, receives};
use platform::{Guarded, Platform};
use ports::{
    AcceptOrder as _, Accepted, Captured, Carrier, ChargeLimits, Commit, CommitOrder as _, Confirmation, Created,
    Dependency, LoadOrder as _, Lookup, NewPayment, PaymentStatus, PaymentView, Payments, Product, ProviderError,
    RefundView, ShipmentAnswer, ShipmentRequest, Terms, Voided, command_message, put_off, queue_name,
};

pub const LANE: Lane = Lane::Express;
pub const PRICE: u64 = 1_900;
pub const PIECES: u64 = 10;
/// How long a provider may still be working after a lost answer, milliseconds.
pub const SETTLE_MS: u64 = 1_000;

type Interruption = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// What becomes of a call for a refund.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Giving {
    /// Done, and answered.
    Done,
    /// A 429.
    Throttled,
    /// A 401: somebody has put a wrong key in.
    Refused,
    /// No answer. It is done later: when the till is next asked for a refund.
    Late,
    /// No answer, and it never happens.
    Lost,
    /// A 500 that is stored for the key.
    Stored500,
    /// A 400 that is stored for the key: there is no balance to give it back from.
    NoBalance,
}

/// The payment provider: one payment, and what was asked of it.
#[derive(Default)]
pub struct Till {
    pub asked: Mutex<Vec<&'static str>>,
    status: Mutex<Option<(PaymentStatus, Money)>>,
    /// Happens while a confirmation is under way.
    pub during_confirm: Mutex<Option<Interruption>>,
    /// What becomes of the next confirmations, and how the payment stands after them; after these it is held.
    pub confirming: Mutex<VecDeque<(PaymentStatus, Result<Confirmation, ProviderError>)>>,
    /// What becomes of the next calls for a refund; after these they are done.
    pub giving: Mutex<VecDeque<Giving>>,
    /// The keys that refunds were asked for with.
    pub refund_keys: Mutex<Vec<String>>,
    /// The refunds that there are.
    pub refunds: Mutex<Vec<RefundView>>,
    /// Whether nothing gets through to it: a call is lost before it did anything.
    pub down: AtomicBool,
    /// Calls that were lost so.
    pub lost: AtomicU64,
    late: Mutex<Option<RefundView>>,
    stored: Mutex<HashMap<String, Result<String, ProviderError>>>,
}

impl Till {
    fn note(&self, what: &'static str, status: PaymentStatus) {
        self.asked.lock().unwrap().push(what);
        if let Some((old, _)) = self.status.lock().unwrap().as_mut() {
            *old = status;
        }
    }

    fn reached(&self) -> Result<(), ProviderError> {
        if self.down.load(Ordering::SeqCst) {
            self.lost.fetch_add(1, Ordering::SeqCst);
            return Err(ProviderError::Unknown { why: "reset".to_owned() });
        }
        Ok(())
    }

    /// A day later no key is known any more.
    pub fn forget_keys(&self) {
        self.stored.lock().unwrap().clear();
    }

    fn give(&self, key: &str, ordinal: usize, amount: Money) -> Result<String, ProviderError> {
        self.refund_keys.lock().unwrap().push(key.to_owned());
        let late = self.late.lock().unwrap().take();
        self.refunds.lock().unwrap().extend(late);
        let giving = self.giving.lock().unwrap().pop_front().unwrap_or(Giving::Done);
        // The limiter stands before everything, the keys included.
        if giving == Giving::Throttled {
            return Err(ProviderError::Throttled { retry_after: None, why: "429".to_owned() });
        }
        if giving == Giving::Refused {
            return Err(ProviderError::Refused { why: "401".to_owned() });
        }
        if let Some(answer) = self.stored.lock().unwrap().get(key) {
            return answer.clone();
        }
        let made = |id: String| RefundView {
            refund_id: id,
            ordinal: Some(ordinal),
            amount_minor: amount.amount_minor,
            failed: false,
        };
        let id = format!("re_{}", self.refund_keys.lock().unwrap().len());
        let lost = || Err(ProviderError::Unknown { why: "no answer in time".to_owned() });
        let (stored, answer) = match giving {
            Giving::Done => {
                self.refunds.lock().unwrap().push(made(id.clone()));
                (Some(Ok(id.clone())), Ok(id))
            }
            Giving::Late => {
                *self.late.lock().unwrap() = Some(made(id.clone()));
                (Some(Ok(id)), lost())
            }
            Giving::Stored500 => {
                let failed = Err(ProviderError::Failed { why: "500".to_owned() });
                (Some(failed.clone()), failed)
            }
            Giving::NoBalance => {
                let refused = Err(ProviderError::WrongState { why: "balance_insufficient".to_owned() });
                (Some(refused.clone()), refused)
            }
            Giving::Lost | Giving::Throttled | Giving::Refused => (None, lost()),
        };
        self.stored.lock().unwrap().extend(stored.map(|stored| (key.to_owned(), stored)));
        answer
    }
}

impl ChargeLimits for Till {
    fn least_charge_minor(&self, _: Currency) -> u64 {
        0
    }
}

impl Payments for Till {
    fn payment_terms(&self) -> Terms {
        Terms { idempotency_window_ms: 86_400_000, lookup: Lookup::Authoritative, settle_ms: SETTLE_MS }
    }

    async fn create_payment(&self, _: &str, payment: &NewPayment) -> Result<Created, ProviderError> {
        self.reached()?;
        *self.status.lock().unwrap() = Some((PaymentStatus::Unconfirmed, payment.amount));
        self.note("create", PaymentStatus::Unconfirmed);
        Ok(Created::Made("pi_1".parse().unwrap()))
    }

    async fn confirm_payment(&self, _: &str, _: &PaymentId) -> Result<Confirmation, ProviderError> {
        self.reached()?;
        let meanwhile = self.during_confirm.lock().unwrap().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile().await;
        }
        let (status, answer) =
            self.confirming.lock().unwrap().pop_front().unwrap_or((PaymentStatus::Held, Ok(Confirmation::Held)));
        self.note("confirm", status);
        answer
    }

    async fn capture_payment(&self, _: &str, _: &PaymentId, amount: Money) -> Result<Captured, ProviderError> {
        self.reached()?;
        self.note("capture", PaymentStatus::Captured);
        Ok(Captured::Captured { amount })
    }

    async fn cancel_payment(&self, _: &str, _: &PaymentId) -> Result<Voided, ProviderError> {
        self.reached()?;
        self.note("cancel", PaymentStatus::Cancelled);
        Ok(Voided::Voided)
    }

    async fn refund_payment(
        &self,
        key: &str,
        _: &PaymentId,
        _: OrderId,
        ordinal: usize,
        amount: Money,
    ) -> Result<String, ProviderError> {
        self.reached()?;
        self.note("refund", PaymentStatus::Captured);
        self.give(key, ordinal, amount)
    }

    async fn look_up_payment(&self, _: &PaymentId) -> Result<PaymentView, ProviderError> {
        self.reached()?;
        self.asked.lock().unwrap().push("look up");
        let (status, amount) = self.status.lock().unwrap().clone().unwrap();
        let captured_minor = if status == PaymentStatus::Captured { amount.amount_minor } else { 0 };
        Ok(PaymentView { status, amount, captured_minor, refunds: self.refunds.lock().unwrap().clone() })
    }
}

/// A carrier that goes everywhere.
pub struct Van;

impl Carrier for Van {
    fn carrier_terms(&self) -> Terms {
        Terms { idempotency_window_ms: 86_400_000, lookup: Lookup::Authoritative, settle_ms: SETTLE_MS }
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

pub struct Shop {
    pub platform: Arc<Platform<Memory>>,
    pub till: Arc<Till>,
    pub payments: Guarded<Till, Memory>,
    pub carrier: Guarded<Van, Memory>,
    /// Calls to the tables, without those to the breakers'.
    pub calls: Arc<AtomicU64>,
    /// Calls to the breakers' table.
    pub breaker_calls: Arc<AtomicU64>,
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
        let (calls, breaker_calls) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (counted, counted_apart) = (calls.clone(), breaker_calls.clone());
        platform.backend().store.set_faults(move |call| {
            let of_breakers = call.items.iter().all(|(table, _)| table == "breakers");
            (if of_breakers { &counted_apart } else { &counted }).fetch_add(1, Ordering::SeqCst);
            lambda_queue::memory::Fault::None
        });
        let (platform, till) = (Arc::new(platform), Arc::new(Till::default()));
        let payments = Guarded::new(till.clone(), &platform, Dependency::Payment).unwrap();
        let carrier = Guarded::new(Arc::new(Van), &platform, Dependency::Carrier).unwrap();
        Self { platform, till, payments, carrier, calls, breaker_calls }
    }

    /// Accepts an order of two mugs and sends its first command.
    pub async fn place(&self) -> OrderId {
        self.place_as("my-key").await
    }

    /// The same under this key.
    pub async fn place_as(&self, key: &str) -> OrderId {
        let (tenant, customer, key) = ("acme".parse().unwrap(), "ada".parse().unwrap(), key.parse().unwrap());
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
            Step::Validate => validate_order::handle(ports, &*self.till, &record).await,
            Step::Payment => process_payment::handle(ports, &self.payments, &record).await,
            Step::Stock => reserve_stock::handle(ports, &record).await,
            Step::Shipping => ship_order::handle(ports, &self.carrier, &record).await,
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
