//! What the payment provider and the carrier really did, and making them fail.

use std::path::PathBuf;

use anyhow::{Context, ensure};
pub use sandbox::faults::{Fault, FaultKind, Operation};
pub use sandbox::ledger::{Effect, LedgerEntry, Provider};
use serde::Deserialize;
use serde_json::{Value, json};

/// A rule in force, and how often it came true.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct InForce {
    /// How often.
    pub fired: u64,
    /// The port that the last request came from on which it did.
    pub last_port: Option<u16>,
    /// Whose requests.
    pub provider: Option<Provider>,
    /// Which.
    pub operation: Operation,
    /// What goes wrong.
    pub fault: FaultKind,
    /// How often it may.
    pub count: Option<u64>,
    /// See [`Fault::delay_ms`].
    pub delay_ms: Option<u64>,
    /// Only of this order.
    pub order_id: Option<String>,
}

/// The sandbox of one stack.
#[derive(Clone, Debug)]
pub struct Ledger {
    http: reqwest::Client,
    url: String,
    file: PathBuf,
}

impl Ledger {
    /// Of the sandbox at `url` that writes `file`.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(url: &str, file: PathBuf) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().build().context("no HTTP client")?;
        Ok(Self { http, url: url.to_owned(), file })
    }

    /// Every effect so far, oldest first, from the file: what is not there did not happen.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn entries(&self) -> anyhow::Result<Vec<LedgerEntry>> {
        sandbox::ledger::read(&self.file)
    }

    /// Whether no call is under way whose effect may still come.
    ///
    /// # Errors
    /// When the sandbox does not answer.
    pub async fn is_final(&self) -> anyhow::Result<bool> {
        let answer = self.http.get(format!("{}/_sandbox/health", self.url)).send().await?;
        let health: Value = answer.json().await?;
        Ok(health.get("under_way").and_then(Value::as_u64) == Some(0))
    }

    /// Puts a fault in force, beside those that are. Tests that share a sandbox name the order it is for.
    ///
    /// # Errors
    /// When the sandbox does not take it.
    pub async fn fault(&self, fault: &Fault) -> anyhow::Result<()> {
        let answer = self.http.post(format!("{}/_sandbox/faults", self.url)).json(&json!(fault)).send().await?;
        ensure!(answer.status().is_success(), "the fault is refused: {}", answer.text().await.unwrap_or_default());
        Ok(())
    }

    /// Puts faults in force, beside those that are.
    ///
    /// # Errors
    /// When the sandbox does not take them.
    pub async fn faults(&self, faults: &[Fault]) -> anyhow::Result<()> {
        let answer = self.http.post(format!("{}/_sandbox/faults", self.url)).json(&json!(faults)).send().await?;
        ensure!(answer.status().is_success(), "the faults are refused: {}", answer.text().await.unwrap_or_default());
        Ok(())
    }

    /// Every fault in force.
    ///
    /// # Errors
    /// When the sandbox does not answer.
    pub async fn in_force(&self) -> anyhow::Result<Vec<InForce>> {
        let mut answer: Value = self.http.get(format!("{}/_sandbox/faults", self.url)).send().await?.json().await?;
        let faults = answer.get_mut("faults").map(Value::take).context("the sandbox lists no faults")?;
        serde_json::from_value(faults).context("the sandbox lists faults in another shape")
    }

    /// Takes all faults back.
    ///
    /// # Errors
    /// When the sandbox does not do it.
    pub async fn heal(&self) -> anyhow::Result<()> {
        let answer = self.http.delete(format!("{}/_sandbox/faults", self.url)).send().await?;
        ensure!(answer.status().is_success(), "the faults stay: {}", answer.status());
        Ok(())
    }

    /// How often faults of one order have come true so far.
    ///
    /// # Errors
    /// When the sandbox does not answer.
    pub async fn fired(&self, order_id: impl ToString) -> anyhow::Result<u64> {
        let answer: Value = self.http.get(format!("{}/_sandbox/faults", self.url)).send().await?.json().await?;
        let rules = answer.get("faults").and_then(Value::as_array).context("the sandbox lists no faults")?;
        let order_id = order_id.to_string();
        let own = rules.iter().filter(|rule| rule.get("order_id").and_then(Value::as_str) == Some(order_id.as_str()));
        Ok(own.filter_map(|rule| rule.get("fired").and_then(Value::as_u64)).sum())
    }

    /// The port that the last call came from on which a fault of one order came true; `None` while none has.
    ///
    /// # Errors
    /// When the sandbox does not answer.
    pub async fn caught(&self, order_id: impl ToString) -> anyhow::Result<Option<u16>> {
        let order_id = order_id.to_string();
        let mut own = self.in_force().await?;
        own.retain(|rule| rule.order_id.as_ref() == Some(&order_id));
        Ok(own.into_iter().find_map(|rule| rule.last_port))
    }

    /// The usual latency of every provider call.
    ///
    /// # Errors
    /// When the sandbox does not take it.
    pub async fn latency(&self, base_ms: u64, jitter_ms: u64) -> anyhow::Result<()> {
        let latency = json!({ "base_ms": base_ms, "jitter_ms": jitter_ms });
        let answer = self.http.put(format!("{}/_sandbox/latency", self.url)).json(&latency).send().await?;
        ensure!(answer.status().is_success(), "the latency is refused: {}", answer.status());
        Ok(())
    }
}

/// A fault of one order: the first `count` calls of this operation.
pub fn fault_of(order_id: impl ToString, operation: Operation, fault: FaultKind, count: u64) -> Fault {
    Fault {
        provider: None,
        operation,
        fault,
        probability: 1.0,
        count: Some(count),
        delay_ms: None,
        order_id: Some(order_id.to_string()),
    }
}
