//! One handle on a deployed stack.

use std::time::Duration;

use anyhow::{Context, ensure};
use order::OrderId;
use orderflow::stack::{Clients, StackInfo};

use crate::api::Client;
use crate::ledger::Ledger;
use crate::logs::Logs;
use crate::mail::Mailbox;
use crate::mappings::Mappings;
use crate::queues::Queues;
use crate::tables::{Row, Tables};
use crate::wait::eventually;

/// Every window on a running stack. Cheap to make; make one for each async runtime, as connections belong to it.
#[derive(Debug)]
pub struct Deployed {
    /// Where everything is.
    pub info: StackInfo,
    /// SDK clients.
    pub clients: Clients,
    /// The HTTP API.
    pub api: Client,
    /// The tables.
    pub tables: Tables,
    /// The queues.
    pub queues: Queues,
    /// The functions' logs.
    pub logs: Logs,
    /// The providers' own record.
    pub ledger: Ledger,
    /// The mail sent.
    pub mail: Mailbox,
    /// The event source mappings.
    pub mappings: Mappings,
}

impl Deployed {
    /// Of a running stack.
    ///
    /// # Errors
    /// When the stack lacks an output.
    pub fn new(info: StackInfo) -> anyhow::Result<Self> {
        let clients = Clients::new(&info.endpoint);
        Ok(Self {
            api: Client::new(&info.api_url, &info.sandbox_url)?,
            tables: Tables::new(clients.dynamodb.clone(), &info)?,
            queues: Queues::new(clients.sqs.clone(), &info)?,
            logs: Logs::new(&info),
            ledger: Ledger::new(&info.sandbox_url, info.ledger.clone())?,
            mail: Mailbox::new(&info.endpoint)?,
            mappings: Mappings::new(&info)?,
            clients,
            info,
        })
    }

    /// Waits until a row is as asked.
    ///
    /// # Errors
    /// When it is not in time; the error tells how it is.
    pub async fn row_when(
        &self,
        id: OrderId,
        what: &str,
        timeout: Duration,
        is_so: impl Fn(&Row) -> bool,
    ) -> anyhow::Result<Row> {
        let found = eventually(what, timeout, || async { Ok(self.tables.order(id).await?.filter(|row| is_so(row))) });
        match found.await {
            Ok(row) => Ok(row),
            Err(error) => {
                let row = self.tables.order(id).await?;
                let how = row.map_or_else(|| "no row".to_owned(), |row| story(&row));
                Err(error.context(format!("order {id}: {how}")))
            }
        }
    }

    /// Waits until an order has ended and owes nothing.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn ended(&self, id: OrderId, timeout: Duration) -> anyhow::Result<Row> {
        let is_so = |row: &Row| row.order.state.is_terminal() && row.order.next_command().is_none();
        self.row_when(id, "the order ends", timeout, is_so).await
    }

    /// Invokes a function through the Lambda API and answers its payload.
    ///
    /// # Errors
    /// When it fails.
    pub async fn invoke(&self, function: &str, payload: &serde_json::Value) -> anyhow::Result<String> {
        let name = format!("{}-{function}", self.info.stack_name);
        let url = format!("{}/2015-03-31/functions/{name}/invocations", self.info.endpoint);
        let http = reqwest::Client::builder().no_proxy().build()?;
        let answer = http.post(url).body(payload.to_string()).send().await.context("no answer from Lambda")?;
        let failed = answer.headers().contains_key("x-amz-function-error");
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success() && !failed, "{function} failed ({status}): {text}");
        Ok(text)
    }
}

/// An order's way in one line.
pub fn story(row: &Row) -> String {
    let order = &row.order;
    let events: Vec<&str> = order.timeline.iter().map(|entry| entry.event.name()).collect();
    let parked = order.parked.as_ref().map(|parked| format!(", parked: {}", parked.reason)).unwrap_or_default();
    format!("{} at version {} ({}){parked}", order.state, order.version, events.join(", "))
}
