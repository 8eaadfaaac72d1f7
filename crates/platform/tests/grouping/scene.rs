//! One order of a shop of its own, about to meet a fault; the steps' and the triage's own code around it.

use std::sync::{Arc, Mutex};

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use lambda_queue::batch::Invocation;
use lambda_queue::memory::{MemoryQueue, QueueConfig, World};
use lambda_queue::ports::store::{Item, Store as _, Write, Written};
use lambda_queue::{Batch, Clock as _, Done, Failure, Outgoing, Queue as _, Random as _, Record};
use order::{
    Capture, Currency, Fingerprint, Lane, Line, Money, NewOrder, Next, Order, OrderId, Outcome, Payment, Price, Reason,
    ReasonCode, Shipment, State, Step, transition,
};
use platform::memory::{EVENT_QUEUES, Memory, dead_letters, receives};
use platform::{Guarded, Platform};
use ports::{
    AcceptOrder as _, Accepted, CaseIndex, CaseStatus, Commit, CommitOrder as _, Dependency, Product, ReadCases as _,
    StoredCase, command_message, put_off, queue_name,
};
use providers::{HttpCarrier, Secret, Stripe};
use serde_json::Value;
use triage_dead_letters::DeadLetters;

use crate::consumers::{Bucket, Post};
use crate::dice::Dice;
use crate::provider::{Asked, Provider, Reply, works};

/// The receives that the longest way to a case takes, and some.
const MOST_RECEIVES: u32 = 60;

/// Whom the steps call outside, through their adapters. Made once: a client takes its time.
pub struct Outside {
    pub provider: Provider,
    stripe: Arc<Stripe>,
    van: Arc<HttpCarrier>,
    gone_stripe: Arc<Stripe>,
    gone_van: Arc<HttpCarrier>,
    impatient: Arc<Stripe>,
    impatient_van: Arc<HttpCarrier>,
}

impl Outside {
    pub async fn open() -> Self {
        let provider = Provider::open().await;
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (here, gone) = (provider.url(), format!("http://127.0.0.1:{closed}"));
        let key = || Secret::new("sk_test_1".to_owned());
        let stripe = |url: &str| Stripe::new(url, key()).unwrap();
        let van = |url: &str| HttpCarrier::new(url, key()).unwrap();
        let patience = std::time::Duration::from_millis(40);
        Self {
            stripe: Arc::new(stripe(&here)),
            van: Arc::new(van(&here)),
            gone_stripe: Arc::new(stripe(&gone)),
            gone_van: Arc::new(van(&gone)),
            impatient: Arc::new(stripe(&here).with_timeout(patience)),
            impatient_van: Arc::new(van(&here).with_timeout(patience)),
            provider,
        }
    }
}

pub struct Scene {
    outside: Arc<Outside>,
    pub platform: Arc<Platform<Memory>>,
    pub world: World,
    pub payments: Guarded<Stripe, Memory>,
    pub carrier: Guarded<HttpCarrier, Memory>,
    /// What the mail service says to every mail.
    pub post: Post,
    /// What the archive's bucket says.
    pub bucket: Bucket,
    /// What a consumer dies of, where it does.
    pub panic: Mutex<Option<String>>,
    /// How long a step's invocation may take, milliseconds.
    pub time_ms: Mutex<u64>,
    pub lane: Lane,
    pub dice: Dice,
    tenant: String,
    customer: String,
}

impl Scene {
    pub fn open(seed: u64, outside: &Arc<Outside>) -> Self {
        let world = World::new(seed);
        let platform = Arc::new(Platform::in_memory(world.clone()));
        platform.backend().queues.create(QueueConfig::new("events-dlq.fifo"));
        let lane = Lane::ALL[usize::try_from(world.below(3)).unwrap()];
        let dice = Dice(world.clone());
        world.advance_ms(dice.below(86_400_000));
        Self {
            payments: Guarded::new(Arc::clone(&outside.stripe), &platform, Dependency::Payment).unwrap(),
            carrier: Guarded::new(Arc::clone(&outside.van), &platform, Dependency::Carrier).unwrap(),
            post: Post::new(world.clone()),
            bucket: Bucket::over(Arc::clone(&platform)),
            panic: Mutex::default(),
            time_ms: Mutex::new(15_000),
            platform,
            world,
            outside: Arc::clone(outside),
            lane,
            tenant: dice.word(4, 12),
            customer: dice.word(5, 10),
            dice,
        }
    }

    /// The same with providers that nobody can reach.
    pub fn without_a_connection(mut self) -> Self {
        self.payments =
            Guarded::new(Arc::clone(&self.outside.gone_stripe), &self.platform, Dependency::Payment).unwrap();
        self.carrier = Guarded::new(Arc::clone(&self.outside.gone_van), &self.platform, Dependency::Carrier).unwrap();
        self
    }

    /// The same with less patience, so that a silence is no wait of five seconds.
    pub fn impatient(mut self) -> Self {
        self.payments = Guarded::new(Arc::clone(&self.outside.impatient), &self.platform, Dependency::Payment).unwrap();
        self.carrier =
            Guarded::new(Arc::clone(&self.outside.impatient_van), &self.platform, Dependency::Carrier).unwrap();
        self
    }

    // ---- orders

    /// An order in this state, with all that led there on its row. Its command waits for nobody yet.
    pub async fn order(&self, state: State) -> Order {
        let currency: Currency = self.dice.one_of(&["USD", "EUR", "GBP"]).parse().unwrap();
        let mut lines = Vec::new();
        for _ in 0..=self.dice.below(3) {
            let product = Product {
                sku: self.dice.sku().parse().unwrap(),
                name: self.dice.text(),
                price_minor: 100 + self.dice.below(90_000),
                currency,
                available: 50 + self.dice.below(1_000),
            };
            self.platform.put_product(&product).await.unwrap();
            lines.push((product, u32::try_from(1 + self.dice.below(5)).unwrap()));
        }
        let (tenant, customer) = (self.tenant.parse().unwrap(), self.customer.parse().unwrap());
        let order_id = OrderId::derive(&tenant, &customer, &self.dice.word(12, 20).parse().unwrap());
        let new = NewOrder {
            order_id,
            tenant,
            customer,
            lane: self.lane,
            fingerprint: Fingerprint::of(self.dice.word(9, 9).as_bytes()),
            lines: lines
                .iter()
                .map(|(product, quantity)| Line { sku: product.sku.clone(), quantity: *quantity, price: None })
                .collect(),
            currency,
            expected_total: None,
            ship_to: serde_json::from_value(serde_json::json!({
                "name": self.dice.text(), "line1": self.dice.text(), "city": self.dice.word(4, 9), "postal_code": "12345", "country": "US"
            }))
            .unwrap(),
            email: format!("{}@example.test", self.dice.word(3, 9)).parse().unwrap(),
            payment_method: "pm_card_visa".parse().unwrap(),
            traceparent: None,
        };
        let mut row = Order::accept(new, self.platform.now_ms());
        assert_eq!(self.platform.accept_order(&row).await, Ok(Accepted::New));
        for outcome in self.way_to(state, &lines, currency) {
            let Next::Changed(after) = transition(&row, &outcome, self.platform.now_ms()).unwrap() else {
                panic!("{outcome:?} changes nothing")
            };
            assert_eq!(self.platform.commit_order(&row, &after).await, Ok(Commit::Done));
            row = *after;
        }
        assert_eq!(row.state, state);
        row
    }

    fn way_to(&self, state: State, lines: &[(Product, u32)], currency: Currency) -> Vec<Outcome> {
        let total = lines.iter().map(|(product, quantity)| product.price_minor * u64::from(*quantity)).sum();
        let total = Money::new(total, currency);
        let price =
            |(product, _): &(Product, u32)| Price { name: product.name.clone(), unit_price_minor: product.price_minor };
        let valid = Outcome::Valid { prices: lines.iter().map(price).collect(), total };
        let payment_id = format!("pi_{}{}", self.dice.below(10), self.dice.word(10, 14)).parse().unwrap();
        let authorized = Outcome::Authorized(Payment { payment_id, amount: total });
        let captured = Outcome::Captured(Capture { amount: total });
        let gone = Outcome::Undeliverable(Reason::new(ReasonCode::Undeliverable, "not there"));
        let shipped = Outcome::ShipmentCreated(Shipment {
            shipment_id: self.dice.word(8, 8),
            carrier: "Van".to_owned(),
            tracking_number: self.dice.word(8, 8),
            tracking_url: String::new(),
        });
        let short = Outcome::OutOfStock(lines[0].0.sku.clone());
        match state {
            State::Accepted => vec![],
            State::Validated => vec![valid],
            State::Authorized => vec![valid, authorized],
            State::Reserved => vec![valid, authorized, Outcome::Reserved],
            State::Paid => vec![valid, authorized, Outcome::Reserved, captured],
            State::Shipped => vec![valid, authorized, Outcome::Reserved, captured, shipped],
            State::Voiding => vec![valid, authorized, short],
            State::Releasing => vec![valid, authorized, Outcome::Reserved, captured, gone],
            State::Refunding => vec![valid, authorized, Outcome::Reserved, captured, gone, Outcome::Released],
            State::Rejected | State::Cancelled => unreachable!("nothing is owed there"),
        }
    }

    /// The provider works, but for what this says; a payment that is looked at stands like this.
    pub fn provider_but(
        &self,
        order: &Order,
        stands: &'static str,
        but: impl Fn(&Asked, &Dice) -> Option<Reply> + Send + 'static,
    ) {
        let id = order.payment.as_ref().map_or("pi_new", |payment| payment.payment_id.as_str()).to_owned();
        let total = order.total.as_ref().map_or(0, |total| total.amount_minor);
        let (currency, dice) = (order.currency.code().to_owned(), self.dice.clone());
        self.outside
            .provider
            .answer_with(move |asked| but(asked, &dice).unwrap_or_else(|| works(asked, &id, stands, total, &currency)));
    }

    /// Replaces the row by what this makes of it, behind everybody's back.
    pub async fn spoil(&self, table: &str, spoil: impl Fn(&mut Item)) {
        for mut item in self.platform.backend().store.items(table) {
            spoil(&mut item);
            self.put_item(table, item).await;
        }
    }

    /// Puts a row into a table, behind everybody's back.
    pub async fn put_item(&self, table: &str, item: Item) {
        let written = self.platform.write(Write::put(table, item)).await;
        assert!(matches!(written, Ok(Written::Done(_))), "{written:?}");
    }

    /// Deletes every row of a table, whose key is this, behind everybody's back.
    pub async fn empty(&self, table: &str, key: &str) {
        for item in self.platform.backend().store.items(table) {
            let of_it = Item::from([(key.to_owned(), item[key].clone())]);
            let written = self.platform.write(Write::delete(table, of_it)).await;
            assert!(matches!(written, Ok(Written::Done(_))), "{written:?}");
        }
    }

    // ---- messages

    pub fn queues(&self) -> &MemoryQueue {
        &self.platform.backend().queues
    }

    pub fn queue(&self, step: Step) -> String {
        queue_name(step, self.lane)
    }

    pub async fn put(&self, queue: &str, body: &str) {
        let message = Outgoing {
            queue: queue.to_owned(),
            body: body.to_owned(),
            group: Some(self.tenant.clone()),
            dedup: queue.ends_with(".fifo").then(|| Fingerprint::of(body.as_bytes()).to_string()),
            attributes: Vec::new(),
        };
        assert_eq!(self.platform.send(queue, &[message]).await, [Ok(())]);
    }

    /// Sends what the row owes; answers the step that takes it.
    pub async fn send_owed(&self, order: &Order) -> Step {
        let message = command_message(order, None, self.platform.now_ms()).unwrap();
        assert_eq!(self.platform.send(&message.queue.clone(), &[message]).await, [Ok(())]);
        order.next_command().unwrap().step()
    }

    /// Lets a step's consumer have its message again and again until there is a case, as long as its queue would.
    pub async fn work(&self, step: Step) {
        let started_ms = self.platform.now_ms();
        for _ in 0..MOST_RECEIVES {
            let event = self.queues().receive(&self.queue(step), 10);
            if !event.records.is_empty() {
                let answer = self.invoke(step, event.clone()).await;
                self.queues().settle(&event, &answer);
            }
            self.triage().await;
            if !self.cases().await.is_empty() {
                return;
            }
            let age_ms = self.platform.now_ms() - started_ms;
            self.world.advance_ms(if age_ms < 30 * 60_000 { 61_000 } else { 901_000 });
        }
    }

    async fn invoke(&self, step: Step, event: SqsEvent) -> SqsBatchResponse {
        let ports = &*self.platform;
        let batch = Batch::new("step", ports)
            .quiet()
            .dead_letters(dead_letters(step))
            .on_deferral(receives(step), move |record, failure| async move {
                put_off(ports, step, &record, &failure).await
            });
        let deadline_ms = ports.now_ms() + *self.time_ms.lock().unwrap();
        let of = Invocation { request_id: "r".to_owned(), deadline_ms, cold_start: false };
        batch.run(event, of, |record| self.handle(step, record)).await.unwrap()
    }

    async fn handle(&self, step: Step, record: Arc<Record>) -> Result<Done, Failure> {
        let ports = &*self.platform;
        let text = self.panic.lock().unwrap().clone();
        if let Some(text) = text {
            panic!("{text}");
        }
        match step {
            Step::Validate => validate_order::handle(ports, &providers::StripeLimits, &record).await,
            Step::Payment => process_payment::handle(ports, &self.payments, &record).await,
            Step::Stock => reserve_stock::handle(ports, &record).await,
            Step::Shipping => ship_order::handle(ports, &self.carrier, &record).await,
        }
    }

    /// The same for the consumers of events.
    pub async fn work_events(&self, queue: &str) {
        for _ in 0..MOST_RECEIVES {
            let event = self.queues().receive(queue, 10);
            if !event.records.is_empty() {
                let answer = self.consume(queue, &event).await;
                self.queues().settle(&event, &answer);
            }
            self.triage().await;
            if !self.cases().await.is_empty() {
                return;
            }
            self.world.advance_ms(901_000);
        }
    }

    async fn consume(&self, queue: &str, event: &SqsEvent) -> SqsBatchResponse {
        let deadline_ms = self.platform.now_ms() + 30_000;
        let of = Invocation { request_id: "r".to_owned(), deadline_ms, cold_start: false };
        let (_, dead_letters, receives) = EVENT_QUEUES.into_iter().find(|(name, ..)| *name == queue).unwrap();
        if queue == "archive" {
            let batch = Batch::new("archive-events", &self.bucket).quiet().dead_letters(dead_letters);
            return archive_events::handle(&batch.max_receive_count(receives), event.clone().into(), of).await.unwrap();
        }
        let ports = &*self.platform;
        let batch = Batch::new("notify-customer", ports).quiet().dead_letters(dead_letters).max_receive_count(receives);
        let handler = |record: Arc<Record>| async move {
            let text = self.panic.lock().unwrap().clone();
            if let Some(text) = text {
                panic!("{text}");
            }
            notify_customer::handle(ports, &self.post, providers::mail::render, &record).await
        };
        batch.run(event.clone(), of, handler).await.unwrap()
    }

    /// Nobody answers for the message: whoever takes it dies with it, until its queue gives it up.
    pub async fn die_with(&self, queue: &str) {
        for _ in 0..MOST_RECEIVES {
            self.queues().receive(queue, 10);
            self.world.advance_ms(91_000);
        }
    }

    // ---- cases

    /// Every dead letter to its case.
    pub async fn triage(&self) {
        let batch = Batch::new("triage-dead-letters", &*self.platform).quiet();
        for queue in self.queues().names().into_iter().filter(|name| name.contains("-dlq")) {
            loop {
                let event = self.queues().receive(&queue, 10);
                if event.records.is_empty() {
                    break;
                }
                let dead: DeadLetters = serde_json::from_value(serde_json::to_value(&event).unwrap()).unwrap();
                let deadline_ms = self.platform.now_ms() + 10_000;
                let of = Invocation { request_id: "t".to_owned(), deadline_ms, cold_start: false };
                let answer = triage_dead_letters::handle(&batch, dead, of).await.unwrap();
                self.queues().settle(&event, &answer);
            }
        }
    }

    pub async fn cases(&self) -> Vec<StoredCase> {
        let open = CaseIndex::Status(CaseStatus::Open);
        self.platform.list_cases(&open, 100, None).await.map(|page| page.cases).unwrap_or_default()
    }
}

/// A command's body as JSON, to be spoilt.
pub fn body_of(order: &Order) -> Value {
    let message = command_message(order, None, order.created_at).unwrap();
    serde_json::from_str(&message.body).unwrap()
}
