//! What several tests need: an order, a sandbox in this process, and a provider that does what it is told.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod stub;

use std::net::{Ipv4Addr, TcpListener};

use order::{
    Address, Currency, CustomerId, Lane, Line, Money, NewOrder, Order, OrderId, PaymentId, PaymentMethod, Price,
};
use ports::{NewPayment, ShipmentRequest};
use providers::{HttpCarrier, Secret, Stripe};
use sandbox::ledger::{Effect, LedgerEntry};
use sandbox::{Config, Running};
use serde_json::Value;
use tempfile::TempDir;

pub const KEY: &str = "sk_test_never_printed";
pub const ORDER: &str = "0b8e6c1e-5d7f-8a2b-9c3d-4e5f60718293";

pub fn usd(amount_minor: u64) -> Money {
    Money::new(amount_minor, Currency::USD)
}

pub fn order_id() -> OrderId {
    ORDER.parse().unwrap()
}

pub fn payment(amount: Money, method: &str) -> NewPayment {
    NewPayment { order_id: order_id(), amount, method: method.parse::<PaymentMethod>().unwrap() }
}

pub fn secret() -> Secret {
    Secret::new(KEY.to_owned())
}

pub fn address() -> Address {
    Address {
        name: "Ada Lovelace".to_owned(),
        line1: "12 St James's Square".to_owned(),
        line2: None,
        city: "London".to_owned(),
        postal_code: "SW1Y 4JH".to_owned(),
        country: "GB".to_owned(),
    }
}

pub fn line(sku: &str, quantity: u32, name: &str, unit_price_minor: u64) -> Line {
    Line { sku: sku.parse().unwrap(), quantity, price: Some(Price { name: name.to_owned(), unit_price_minor }) }
}

pub fn shipment_request() -> ShipmentRequest {
    let lines = vec![line("TEE-S-BLK", 2, "T-shirt, black, S", 1_250)];
    ShipmentRequest { order_id: order_id(), ship_to: address(), lines, service: "standard" }
}

/// An order with a line of 25.00 USD, as it is when it was just placed.
pub fn order() -> Order {
    let new = NewOrder {
        order_id: order_id(),
        tenant: "acme".parse().unwrap(),
        customer: "customer-1".parse::<CustomerId>().unwrap(),
        lane: Lane::Standard,
        fingerprint: "0".repeat(64).parse().unwrap(),
        lines: vec![line("TEE-S-BLK", 2, "T-shirt, black, S", 1_250)],
        currency: Currency::USD,
        expected_total: None,
        ship_to: address(),
        email: "ada@example.com".parse().unwrap(),
        payment_method: "pm_card_visa".parse().unwrap(),
        traceparent: None,
    };
    Order::accept(new, 1_700_000_000_000)
}

/// A port of this machine that nobody listens on.
pub fn closed_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// A sandbox in this process, with the adapters on it.
pub struct World {
    pub sandbox: Running,
    pub stripe: Stripe,
    pub carrier: HttpCarrier,
    pub http: reqwest::Client,
    dir: TempDir,
}

impl World {
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sandbox = sandbox::serve(Config::new(dir.path().join("ledger.jsonl"))).await.unwrap();
        Self {
            stripe: Stripe::new(&sandbox.url(), secret()).unwrap(),
            carrier: HttpCarrier::new(&sandbox.carrier_url(), Secret::new("carrier-key".to_owned())).unwrap(),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            sandbox,
            dir,
        }
    }

    pub async fn fault(&self, fault: Value) {
        let url = format!("{}/_sandbox/faults", self.sandbox.url());
        let answer = self.http.post(url).json(&fault).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// What really happened.
    pub fn ledger(&self) -> Vec<LedgerEntry> {
        sandbox::ledger::read(&self.dir.path().join("ledger.jsonl")).unwrap()
    }

    pub fn count(&self, effect: Effect) -> usize {
        self.ledger().iter().filter(|entry| entry.effect == effect).count()
    }

    /// Waits until no effect is still to come.
    pub async fn settled(&self) {
        let url = format!("{}/_sandbox/health", self.sandbox.url());
        let start = std::time::Instant::now();
        loop {
            let health: Value = self.http.get(&url).send().await.unwrap().json().await.unwrap();
            if health["under_way"] == 0 {
                return;
            }
            assert!(start.elapsed().as_secs() < 20, "never settled: {health}");
            tokio::task::yield_now().await;
        }
    }
}

pub fn payment_id(id: &str) -> PaymentId {
    id.parse().unwrap()
}
