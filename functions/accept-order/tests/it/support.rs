//! A world in memory, an issuer, and a client.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use accept_order::{Api, FetchKeys, Invocation, KeysError, Settings, handle};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use http::{Method, StatusCode};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use lambda_queue::breaker::{Row as BreakerRow, State as BreakerState};
use lambda_queue::lag::{Row as LaneRow, SLOT_MS, Word};
use lambda_queue::{Entry, Outgoing};
use order::{
    Capture, CaseId, Currency, CustomerId, Lane, Money, Next, Order, OrderId, Outcome, Parked, Payment, Price,
    Shipment, TenantId, transition,
};
use ports::{
    AcceptOrder, Accepted, Clock, CommandVersion, Commit, CommitOrder, CountRequests, Deadlines, Dependency, Ids,
    LaneRows, ListOrders, LoadOrder, OrderPage, Queue, Random, ReadLanes, SendCommands, StoreError,
};
use serde_json::{Value, json};

pub const ISSUER: &str = "https://issuer.example";
pub const AUDIENCE: &str = "orderflow";
pub const START_MS: u64 = 1_795_426_200_000;

/// What goes wrong from now on.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    pub accept: Option<StoreError>,
    /// With `accept`: the row is written all the same.
    pub accept_written: bool,
    /// The put of a row is as slow as this.
    pub accept_takes: Duration,
    pub load: Option<StoreError>,
    pub commit: Option<StoreError>,
    pub list: Option<StoreError>,
    pub send: bool,
    pub panic: bool,
    pub lanes: Option<StoreError>,
    /// What was told of the lanes never comes.
    pub lanes_hang: bool,
}

/// Tables and queues in memory. Time is tokio's own: paused, it moves only by sleeping.
pub struct World {
    began: tokio::time::Instant,
    ids: AtomicU64,
    pub rows: Mutex<BTreeMap<OrderId, Order>>,
    pub sent: Mutex<Vec<Outgoing>>,
    /// So many sends fail, each after so long, milliseconds.
    pub failing_sends: Mutex<VecDeque<u64>>,
    pub sends: AtomicU32,
    pub faults: Mutex<Faults>,
    /// Rows that somebody else writes, one before each load.
    pub before_loads: Mutex<VecDeque<Order>>,
    /// Rows that somebody else writes, one before each commit.
    pub before_commits: Mutex<VecDeque<Order>>,
    pub loads: AtomicU32,
    /// What was told of the lanes.
    pub lanes: Mutex<LaneRows>,
    pub lane_reads: AtomicU32,
    /// Requests by tenant and window.
    requests: Mutex<BTreeMap<(TenantId, u64), u64>>,
    /// Everything that touched a table or a queue.
    pub touches: AtomicU32,
}

impl World {
    fn new() -> Self {
        Self {
            began: tokio::time::Instant::now(),
            ids: AtomicU64::new(0),
            rows: Mutex::default(),
            sent: Mutex::default(),
            failing_sends: Mutex::default(),
            sends: AtomicU32::new(0),
            faults: Mutex::default(),
            before_loads: Mutex::default(),
            before_commits: Mutex::default(),
            loads: AtomicU32::new(0),
            lanes: Mutex::default(),
            lane_reads: AtomicU32::new(0),
            requests: Mutex::default(),
            touches: AtomicU32::new(0),
        }
    }

    fn touch(&self) -> Faults {
        self.touches.fetch_add(1, Ordering::Relaxed);
        let faults = self.faults.lock().unwrap().clone();
        assert!(!faults.panic, "told to");
        faults
    }

    pub fn put(&self, order: Order) {
        self.rows.lock().unwrap().insert(order.order_id, order);
    }

    pub fn only_row(&self) -> Order {
        let rows = self.rows.lock().unwrap();
        assert_eq!(rows.len(), 1);
        rows.values().next().unwrap().clone()
    }

    pub fn row(&self, id: OrderId) -> Order {
        self.rows.lock().unwrap()[&id].clone()
    }

    pub fn take_sent(&self) -> Vec<Outgoing> {
        std::mem::take(&mut *self.sent.lock().unwrap())
    }

    /// A lane's consumers tell that this many orders wait for payment, of which they do two passes a second.
    pub fn tell_backlog(&self, lane: Lane, orders: u64) {
        let (at_ms, slot) = (self.now_ms(), self.now_ms() / SLOT_MS);
        let done: BTreeMap<u64, u64> = (slot - 10..=slot).map(|slot| (slot, 10)).collect();
        let word = Word { lag_ms: 60_000, at_ms, late_at_ms: at_ms, depth: Some(orders), late: done.clone(), done };
        let row = LaneRow { steps: BTreeMap::from([("payment".to_owned(), word)]) };
        self.lanes.lock().unwrap().lanes.insert(lane, row);
    }

    /// The payment provider's breaker changes to this, now.
    pub fn turn_breaker(&self, state: BreakerState) {
        let mut row = BreakerRow::absent(Dependency::Payment.name());
        (row.state, row.epoch, row.changed_at_ms) = (state, 1, self.now_ms());
        self.lanes.lock().unwrap().breakers.insert(Dependency::Payment, row);
    }

    pub fn fail(&self, faults: Faults) {
        *self.faults.lock().unwrap() = faults;
    }
}

impl Clock for World {
    fn now_ms(&self) -> u64 {
        START_MS + u64::try_from(self.began.elapsed().as_millis()).unwrap()
    }
}

impl Ids for World {
    fn fresh(&self) -> uuid::Uuid {
        let number = self.ids.fetch_add(1, Ordering::Relaxed) + 1;
        uuid::Uuid::from_u128((u128::from(number) << 64) | u128::from(number))
    }
}

impl AcceptOrder for World {
    async fn accept_order(&self, order: &Order) -> Result<Accepted, StoreError> {
        let faults = self.touch();
        if !faults.accept_takes.is_zero() {
            tokio::time::sleep(faults.accept_takes).await;
        }
        if let Some(error) = faults.accept {
            if faults.accept_written {
                self.rows.lock().unwrap().entry(order.order_id).or_insert_with(|| order.clone());
            }
            return Err(error);
        }
        let mut rows = self.rows.lock().unwrap();
        if let Some(row) = rows.get(&order.order_id) {
            return Ok(Accepted::Known(Box::new(row.clone())));
        }
        rows.insert(order.order_id, order.clone());
        Ok(Accepted::New)
    }
}

impl LoadOrder for World {
    async fn load_order(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        if let Some(error) = self.touch().load {
            return Err(error);
        }
        if let Some(row) = self.before_loads.lock().unwrap().pop_front() {
            self.put(row);
        }
        Ok(self.rows.lock().unwrap().get(&id).cloned())
    }
}

impl CommitOrder for World {
    async fn commit_order(&self, before: &Order, after: &Order) -> Result<Commit, StoreError> {
        if let Some(error) = self.touch().commit {
            return Err(error);
        }
        if let Some(row) = self.before_commits.lock().unwrap().pop_front() {
            self.put(row);
        }
        let mut rows = self.rows.lock().unwrap();
        let row = &rows[&before.order_id];
        if row.version != before.version {
            return Ok(Commit::Lost(Box::new(row.clone())));
        }
        assert_eq!(after.version, before.version + 1);
        rows.insert(after.order_id, after.clone());
        Ok(Commit::Done)
    }

    async fn postpone(&self, _: &Order, _: u64, _: u32) -> Result<bool, StoreError> {
        panic!("the API does not postpone")
    }
}

impl ReadLanes for World {
    async fn read_lanes(&self) -> Result<LaneRows, StoreError> {
        self.lane_reads.fetch_add(1, Ordering::Relaxed);
        let faults = self.faults.lock().unwrap().clone();
        if faults.lanes_hang {
            std::future::pending::<()>().await;
        }
        // A read takes its time, in which others come.
        tokio::task::yield_now().await;
        faults.lanes.map_or_else(|| Ok(self.lanes.lock().unwrap().clone()), Err)
    }
}

impl CountRequests for World {
    async fn count_requests(&self, tenant: &TenantId, window_ms: u64, requests: u64) -> Result<u64, StoreError> {
        let mut counts = self.requests.lock().unwrap();
        let count = counts.entry((tenant.clone(), window_ms)).or_default();
        *count += requests;
        Ok(*count)
    }
}

impl Random for World {
    fn below(&self, bound: u64) -> u64 {
        bound.saturating_sub(1)
    }
}

impl ListOrders for World {
    async fn list_orders(
        &self,
        tenant: &TenantId,
        customer: &CustomerId,
        limit: u32,
        after: Option<&str>,
    ) -> Result<OrderPage, StoreError> {
        if let Some(error) = self.touch().list {
            return Err(error);
        }
        let rows = self.rows.lock().unwrap();
        let mut own: Vec<&Order> =
            rows.values().filter(|row| row.tenant == *tenant && row.customer == *customer).collect();
        own.sort_by_key(|row| (std::cmp::Reverse(row.created_at), row.order_id));
        let start: usize = after.map_or(0, |cursor| cursor.parse().unwrap());
        let end = start + usize::try_from(limit).unwrap();
        let next = (own.len() > end).then(|| end.to_string());
        Ok(OrderPage { orders: own.into_iter().skip(start).take(end - start).cloned().collect(), next })
    }
}

impl Queue for World {
    async fn send(&self, queue: &str, messages: &[Outgoing]) -> Vec<Result<(), String>> {
        self.sends.fetch_add(1, Ordering::Relaxed);
        let fails = self.failing_sends.lock().unwrap().pop_front();
        if let Some(after_ms) = fails {
            tokio::time::sleep(std::time::Duration::from_millis(after_ms)).await;
        }
        if self.touch().send || fails.is_some() {
            return vec![Err("the queue is away".to_owned()); messages.len()];
        }
        assert!(messages.iter().all(|message| message.queue == queue));
        self.sent.lock().unwrap().extend(messages.iter().cloned());
        vec![Ok(()); messages.len()]
    }

    async fn change_visibility(&self, _: &str, _: &[Entry]) -> Vec<Result<(), String>> {
        panic!("the API receives nothing")
    }
}

impl SendCommands for World {
    fn command_version(&self) -> CommandVersion {
        CommandVersion::default()
    }
}

/// An issuer's signing key.
pub struct Signer {
    pub kid: &'static str,
    pub key: EncodingKey,
    pub jwk: Value,
}

impl Signer {
    fn make(kid: &'static str) -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
        let text = pem::encode(&pem::Pem::new("PRIVATE KEY", der.as_ref()));
        let key = EncodingKey::from_rsa_pem(text.as_bytes()).unwrap();
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::RS256).unwrap();
        jwk.common.key_id = Some(kid.to_owned());
        Self { kid, key, jwk: serde_json::to_value(jwk).unwrap() }
    }

    pub fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.kid.to_owned()), ..Header::new(Algorithm::RS256) };
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }
}

/// The issuer's key.
pub static SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer::make("key-1"));
/// Its next one, or somebody else's.
pub static OTHER_SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer::make("key-2"));

/// The issuer's key set, as a network would bring it.
#[derive(Clone)]
pub struct IssuerKeys(Arc<IssuerState>);

struct IssuerState {
    answer: Mutex<Result<Vec<u8>, KeysError>>,
    fetches: AtomicU32,
}

impl IssuerKeys {
    pub fn new() -> Self {
        let answer = Mutex::new(Ok(set(&[&SIGNER.jwk])));
        Self(Arc::new(IssuerState { answer, fetches: AtomicU32::new(0) }))
    }

    pub fn publish(&self, keys: &[&Value]) {
        *self.0.answer.lock().unwrap() = Ok(set(keys));
    }

    pub fn go_away(&self) {
        *self.0.answer.lock().unwrap() = Err(KeysError("gone".to_owned()));
    }

    pub fn answer_with(&self, bytes: &[u8]) {
        *self.0.answer.lock().unwrap() = Ok(bytes.to_vec());
    }

    pub fn fetches(&self) -> u32 {
        self.0.fetches.load(Ordering::Relaxed)
    }
}

fn set(keys: &[&Value]) -> Vec<u8> {
    serde_json::to_vec(&json!({ "keys": keys })).unwrap()
}

impl FetchKeys for IssuerKeys {
    async fn fetch_keys(&self) -> Result<Vec<u8>, KeysError> {
        self.0.fetches.fetch_add(1, Ordering::Relaxed);
        self.0.answer.lock().unwrap().clone()
    }
}

/// The API, its world and its issuer.
pub struct Scene {
    pub world: World,
    pub keys: IssuerKeys,
    api: Api<IssuerKeys>,
}

impl Scene {
    pub fn new() -> Self {
        Self::with_rate(0)
    }

    pub fn with_rate(tenant_rate_per_second: u32) -> Self {
        let keys = IssuerKeys::new();
        let deadlines = Deadlines { express_ms: 60_000, standard_ms: 300_000, bulk_ms: 3_600_000 };
        let (issuer, audience) = (ISSUER.to_owned(), AUDIENCE.to_owned());
        let settings = Settings { issuer, audience, tenant_rate_per_second, deadlines };
        Self { world: World::new(), api: Api::new(&settings, keys.clone()), keys }
    }

    pub async fn ask(&self, ask: Ask) -> Reply {
        let deadline_ms = self.world.now_ms() + 25_000;
        self.ask_until(ask, deadline_ms).await
    }

    pub async fn ask_until(&self, ask: Ask, deadline_ms: u64) -> Reply {
        let invocation = Invocation { request_id: "invocation-1".to_owned(), deadline_ms, cold_start: false };
        handle(&self.world, &self.api, &invocation, ask.0).await.into()
    }

    /// Places the usual order and answers its row.
    pub async fn placed(&self) -> Order {
        let reply = self.ask(post_order(&order_body()).key("placed")).await;
        assert_eq!(reply.status, StatusCode::ACCEPTED, "{}", reply.text);
        self.world.take_sent();
        self.world.row(reply.json["order_id"].as_str().unwrap().parse().unwrap())
    }

    /// Places the usual order a second time, under another key.
    pub async fn placed_again(&self) -> Order {
        let reply = self.ask(post_order(&order_body()).key("placed again")).await;
        self.world.row(reply.json["order_id"].as_str().unwrap().parse().unwrap())
    }

    /// Places the usual order and has it shipped for 10.00 USD.
    pub async fn shipped(&self) -> Order {
        let order = after(&self.placed().await, &to_shipped());
        self.world.put(order.clone());
        order
    }
}

/// A request in the making.
pub struct Ask(pub accept_order::Request);

impl Ask {
    /// With the usual caller's token.
    pub fn new(method: &str, path: &str) -> Self {
        Self::open(method, path).bearer(&token(json!({})))
    }

    /// Without a token.
    pub fn open(method: &str, path: &str) -> Self {
        let mut request = http::Request::new(Vec::new());
        *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
        *request.uri_mut() = path.parse().unwrap();
        Self(request)
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.0.headers_mut().insert(name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        self
    }

    pub fn without(mut self, name: &'static str) -> Self {
        self.0.headers_mut().remove(name);
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        *self.0.body_mut() = body.into();
        self.header("content-type", "application/json")
    }
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: http::HeaderMap,
    pub text: String,
    pub json: Value,
}

impl From<accept_order::Response> for Reply {
    fn from(response: accept_order::Response) -> Self {
        let (parts, body) = response.into_parts();
        let json = if body.is_empty() { Value::Null } else { serde_json::from_str(&body).unwrap() };
        Self { status: parts.status, headers: parts.headers, text: body, json }
    }
}

impl Reply {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn code(&self) -> &str {
        self.json["code"].as_str().unwrap_or("")
    }

    /// Asserts a problem, its code and its outer form.
    pub fn is_problem(&self, status: u16, code: &str) {
        assert_eq!((self.status.as_u16(), self.code()), (status, code), "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.json["type"], format!("urn:orderflow:problem:{code}"));
        assert_eq!(self.json["status"], status);
    }
}

/// The usual claims, with these over them; `null` takes one away.
pub fn claims(over: Value) -> Value {
    let now_s = START_MS / 1_000;
    let mut claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "customer-1", "tenant": "acme", "max_lane": "express",
        "iat": now_s, "exp": now_s + 3_600,
    });
    for (name, value) in over.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

pub fn token(over: Value) -> String {
    SIGNER.sign(&claims(over))
}

/// The usual order: 2 shirts to Ada.
pub fn order_body() -> Value {
    json!({
        "lane": "express",
        "lines": [{ "sku": "TEE-S-BLK", "quantity": 2 }],
        "ship_to": {
            "name": "Ada Lovelace", "line1": "12 St James's Square", "city": "London",
            "postal_code": "SW1Y 4JH", "country": "GB"
        },
        "email": "ada@example.com",
        "payment_method": "pm_card_visa",
    })
}

pub fn post_order(body: &Value) -> Ask {
    Ask::new("POST", "/orders").key("key-1").body(body.to_string())
}

/// A row after these outcomes.
pub fn after(order: &Order, outcomes: &[Outcome]) -> Order {
    outcomes.iter().fold(order.clone(), |row, outcome| match transition(&row, outcome, START_MS).unwrap() {
        Next::Changed(next) => *next,
        Next::Absorbed => panic!("{outcome:?} was absorbed by {row:?}"),
    })
}

fn total() -> Money {
    Money::new(1_000, Currency::USD)
}

/// The way of the usual order up to its capture.
pub fn to_paid() -> Vec<Outcome> {
    let prices = vec![Price { name: "T-shirt".to_owned(), unit_price_minor: 500 }];
    vec![
        Outcome::Valid { prices, total: total() },
        Outcome::Authorized(Payment { payment_id: "pi_1".parse().unwrap(), amount: total() }),
        Outcome::Reserved,
        Outcome::Captured(Capture { amount: total() }),
    ]
}

/// The way of the usual order to its end.
pub fn to_shipped() -> Vec<Outcome> {
    let shipment = Shipment {
        shipment_id: "sh_1".to_owned(),
        carrier: "Swift".to_owned(),
        tracking_number: "SW1".to_owned(),
        tracking_url: "https://track.example/SW1".to_owned(),
    };
    [to_paid(), vec![Outcome::ShipmentCreated(shipment)]].concat()
}

pub fn parked(order: &Order) -> Order {
    let case_id: CaseId = "case-1".parse().unwrap();
    let parked = Parked { case_id, reason: "12 attempts".to_owned(), at_ms: START_MS, abandoned: false };
    after(order, &[Outcome::Parked(parked)])
}
