//! A sandbox in this process, and a caller of its APIs.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use reqwest::{Client, RequestBuilder, Response};
use sandbox::ledger::{Effect, LedgerEntry};
use sandbox::{Config, Running};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const API_KEY: &str = "sk_test_sandbox";

/// Parameters of a payment request.
pub type Form<'a> = &'a [(&'a str, &'a str)];

/// What came back: status, headers and JSON.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Answer {
    pub async fn of(response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        Self { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::Null) }
    }

    pub fn text(&self, pointer: &str) -> &str {
        self.body.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer} in {:#}", self.body))
    }

    pub fn id(&self) -> String {
        self.text("/id").to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:#}", self.body);
        self
    }
}

/// Speaks to a sandbox at `base`.
#[derive(Debug, Clone)]
pub struct Caller {
    pub base: String,
    pub client: Client,
}

impl Caller {
    pub fn new(base: String) -> Self {
        Self { base, client: Client::builder().no_proxy().build().unwrap() }
    }

    pub fn post(&self, path: &str, form: Form<'_>) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.base)).bearer_auth(API_KEY).form(form)
    }

    pub fn keyed(&self, key: &str, path: &str, form: Form<'_>) -> RequestBuilder {
        self.post(path, form).header("Idempotency-Key", key)
    }

    pub async fn pay(&self, path: &str, form: Form<'_>) -> Answer {
        Answer::of(self.post(path, form).send().await.unwrap()).await
    }

    pub async fn pay_keyed(&self, key: &str, path: &str, form: Form<'_>) -> Answer {
        Answer::of(self.keyed(key, path, form).send().await.unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        let request = self.client.get(format!("{}{path}", self.base)).bearer_auth(API_KEY);
        Answer::of(request.send().await.unwrap()).await
    }

    pub fn ship(&self, body: &Value) -> RequestBuilder {
        self.client.post(format!("{}/carrier/v1/shipments", self.base)).bearer_auth("carrier-key").json(body)
    }

    pub async fn ship_now(&self, body: &Value) -> Answer {
        Answer::of(self.ship(body).send().await.unwrap()).await
    }

    pub async fn admin(&self, path: &str, body: &Value) -> Answer {
        let request = self.client.post(format!("{}/_sandbox{path}", self.base)).json(body);
        Answer::of(request.send().await.unwrap()).await
    }

    pub async fn fault(&self, fault: Value) {
        self.admin("/faults", &json!([fault])).await.expect(200);
    }

    pub async fn ledger(&self) -> Vec<LedgerEntry> {
        let answer = self.get("/_sandbox/ledger").await.expect(200);
        serde_json::from_value(answer.body).unwrap()
    }

    pub async fn effects(&self) -> Vec<Effect> {
        self.ledger().await.into_iter().map(|entry| entry.effect).collect()
    }

    /// Waits until so many calls are between their first byte and their effect.
    pub async fn until_under_way(&self, count: u64) {
        let start = Instant::now();
        loop {
            let health = self.get("/_sandbox/health").await.expect(200);
            if health.body["under_way"] == count {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "never {count} under way: {}", health.body);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// A PaymentIntent of 1000 usd for order `o1`, unconfirmed.
    pub async fn intent(&self, token: &str) -> String {
        self.pay("/v1/payment_intents", &created_with(token)).await.expect(200).id()
    }

    /// One that is confirmed as well.
    pub async fn held(&self, token: &str) -> String {
        let id = self.intent(token).await;
        self.pay(&format!("/v1/payment_intents/{id}/confirm"), &[]).await.expect(200);
        id
    }

    /// One that is captured as well.
    pub async fn captured(&self) -> String {
        let id = self.held("pm_card_visa").await;
        self.pay(&format!("/v1/payment_intents/{id}/capture"), &[]).await.expect(200);
        id
    }
}

pub fn created_with(token: &str) -> Vec<(&'static str, &str)> {
    vec![
        ("amount", "1000"),
        ("currency", "usd"),
        ("payment_method", token),
        ("capture_method", "manual"),
        ("metadata[order_id]", "o1"),
    ]
}

/// A sandbox of one test, with its folder.
pub struct World {
    pub call: Caller,
    pub folder: TempDir,
    running: Running,
}

impl World {
    pub fn ledger_path(&self) -> PathBuf {
        self.folder.path().join("ledger.jsonl")
    }

    pub fn running(&self) -> &Running {
        &self.running
    }

    /// Stops it and starts another on the same ledger and port.
    pub async fn restart(self) -> Self {
        let port = self.running.addr.port();
        self.running.shutdown().await.unwrap();
        let running = sandbox::serve(Config { port, ..Config::new(self.folder.path().join("ledger.jsonl")) });
        Self { running: running.await.unwrap(), ..self }
    }

    pub async fn stop(self) -> TempDir {
        self.running.shutdown().await.unwrap();
        self.folder
    }
}

pub async fn sandbox() -> World {
    let folder = tempfile::tempdir().unwrap();
    let running = sandbox::serve(Config::new(folder.path().join("ledger.jsonl"))).await.unwrap();
    World { call: Caller::new(running.url()), folder, running }
}
