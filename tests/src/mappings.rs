//! The event source mappings: stopping one holds the orders of a lane in front of a step, so that what races a step can
//! be put exactly before it.

use std::time::Duration;

use anyhow::{Context, ensure};
use orderflow::stack::StackInfo;
use serde_json::{Value, json};

use crate::wait::eventually;

/// The mappings of one stack.
#[derive(Clone, Debug)]
pub struct Mappings {
    http: reqwest::Client,
    url: String,
    stack: String,
}

/// A mapping that is off. Dropped, it is on again.
#[derive(Debug)]
pub struct Held {
    mappings: Mappings,
    id: String,
}

impl Mappings {
    /// Of a running stack.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(info: &StackInfo) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().build().context("no HTTP client")?;
        let url = format!("{}/2015-03-31/event-source-mappings", info.endpoint);
        Ok(Self { http, url, stack: info.stack_name.clone() })
    }

    /// Stops what feeds from a queue, named without the stack's part: `stock-bulk`.
    ///
    /// # Errors
    /// When there is no such mapping, or it is not stopped.
    pub async fn hold(&self, queue: &str) -> anyhow::Result<Held> {
        let (id, _) = self.find(queue).await?;
        self.set(&id, false).await?;
        Ok(Held { mappings: self.clone(), id })
    }

    /// Whether what feeds from a queue is on, and its MaximumConcurrency.
    ///
    /// # Errors
    /// When there is no such mapping.
    pub async fn is(&self, queue: &str) -> anyhow::Result<(bool, Option<u64>)> {
        let (_, mapping) = self.find(queue).await?;
        let on = mapping.get("State").and_then(Value::as_str) == Some("Enabled");
        Ok((on, mapping.pointer("/ScalingConfig/MaximumConcurrency").and_then(Value::as_u64)))
    }

    /// Turns off what feeds from a queue, as somebody might by hand, and leaves it so.
    ///
    /// # Errors
    /// When there is no such mapping, or it is not stopped.
    pub async fn turn_off(&self, queue: &str) -> anyhow::Result<()> {
        let (id, _) = self.find(queue).await?;
        self.set(&id, false).await
    }

    async fn find(&self, queue: &str) -> anyhow::Result<(String, Value)> {
        let listing: Value = self.http.get(format!("{}/", self.url)).send().await?.json().await?;
        let all = listing.get("EventSourceMappings").and_then(Value::as_array).context("no mappings")?;
        let ends = format!(":{}-{queue}", self.stack);
        let is_it = |mapping: &&Value| {
            mapping.get("EventSourceArn").and_then(Value::as_str).is_some_and(|arn| arn.ends_with(&ends))
        };
        let mapping = all.iter().find(is_it).with_context(|| format!("nothing feeds from {queue}"))?;
        let id = mapping.get("UUID").and_then(Value::as_str).context("a mapping without an id")?.to_owned();
        Ok((id, mapping.clone()))
    }

    async fn set(&self, id: &str, enabled: bool) -> anyhow::Result<()> {
        let url = format!("{}/{id}", self.url);
        let answer = self.http.put(&url).body(json!({ "Enabled": enabled }).to_string()).send().await?;
        ensure!(answer.status().is_success(), "the mapping is not changed: {}", answer.status());
        let wanted = if enabled { "Enabled" } else { "Disabled" };
        eventually(&format!("the mapping is {wanted}"), Duration::from_secs(10), || async {
            let mapping: Value = self.http.get(&url).send().await?.json().await?;
            Ok((mapping.get("State").and_then(Value::as_str) == Some(wanted)).then_some(()))
        })
        .await
    }
}

impl Held {
    /// Lets it feed again.
    ///
    /// # Errors
    /// When it is not started.
    pub async fn release(self) -> anyhow::Result<()> {
        self.mappings.set(&self.id, true).await
    }
}

impl Drop for Held {
    /// A test that fails midway does not leave the others without their step. Setting it on twice does no harm.
    fn drop(&mut self) {
        let url = format!("{}/{}", self.mappings.url, self.id);
        let on = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
            let http = reqwest::Client::builder().no_proxy().build().ok()?;
            runtime.block_on(http.put(url).body(r#"{"Enabled":true}"#).send()).ok()
        });
        if !on.join().is_ok_and(|answer| answer.is_some()) {
            eprintln!("a mapping could not be turned on again");
        }
    }
}
