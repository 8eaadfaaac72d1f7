//! `orderflow order place|show|list|cancel|refund`: over the HTTP API, as any customer would. What operators do with one is
//! in `operate.rs`.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::operate::{self, Change, Nudge, Operate, ResendMail};
use super::output::{self, out};
use super::stack::Place as StackPlace;
use crate::api::{self, Api};
use crate::stack::StackInfo;

/// Orders, over the API.
#[derive(Debug, Subcommand)]
pub(super) enum OrderCommand {
    /// Place an order
    Place(Box<PlaceOrder>),
    /// Show an order with its timeline
    Show(OneOrder),
    /// List one's own orders, the newest first
    List(List),
    /// Ask for an order to be cancelled
    Cancel(OneOrder),
    /// Refund a shipped order, in part or the rest
    Refund(Refund),
    /// Send what an order owes, now; a parked order goes on (operators: over the stack's tables and queues)
    Nudge(Nudge),
    /// Publish an order's whole story again, in order and under the same event ids (operators)
    Republish(Change),
    /// Show when an order took which step, how long each took, and what it owes (operators)
    Timeline(Operate),
    /// Send the mail of an event once more; mail goes out at most once otherwise (operators)
    ResendMail(ResendMail),
}

/// Which API, and who is asking.
#[derive(Debug, Args)]
pub(super) struct Caller {
    /// Base address of the API [default: the local stack's]
    #[arg(long, env = "ORDERFLOW_API_URL", value_name = "URL")]
    api_url: Option<String>,
    /// Bearer token [default: one of the local stack's issuer]
    #[arg(long, env = "ORDERFLOW_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Tenant of the local token
    #[arg(long, default_value = "acme")]
    tenant: String,
    /// Customer of the local token
    #[arg(long, default_value = "ada")]
    customer: String,
    #[command(flatten)]
    stack: StackPlace,
}

impl Caller {
    async fn api(&self) -> anyhow::Result<Api> {
        let local = StackInfo::load(&self.stack.dir()?)?.filter(StackInfo::is_running);
        let base = match (&self.api_url, &local) {
            (Some(url), _) => url.clone(),
            (None, Some(info)) => info.api_url.clone(),
            (None, None) => bail!("no local stack is running: start one with `make up`, or give --api-url and --token"),
        };
        let token = match (&self.token, &local, &self.api_url) {
            (Some(token), _, _) => token.clone(),
            // A token of the local issuer is good for the local API alone.
            (None, Some(info), None) => {
                api::sandbox_token(&info.sandbox_url, &self.tenant, &self.customer, "express").await?
            }
            (None, _, _) => bail!("the API at {base} needs a token: give --token or set ORDERFLOW_TOKEN"),
        };
        Api::new(&base, &token)
    }
}

#[derive(Debug, Args)]
pub(super) struct PlaceOrder {
    #[command(flatten)]
    caller: Caller,
    /// The whole order as the API takes it, from a JSON file; - reads standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["lines", "email", "name"])]
    file: Option<PathBuf>,
    /// What to order; may be repeated
    #[arg(long = "line", value_name = "SKU=QUANTITY", value_parser = line, required_unless_present = "file")]
    lines: Vec<(String, u32)>,
    /// express, standard or bulk
    #[arg(long)]
    lane: Option<String>,
    /// Where the mail goes
    #[arg(long, required_unless_present = "file")]
    email: Option<String>,
    /// Payment-method token of the payment provider
    #[arg(long, default_value = "pm_card_visa")]
    payment_method: String,
    /// Refuse the order if it comes to another amount
    #[arg(long, value_name = "MINOR UNITS")]
    expected_minor: Option<u64>,
    /// Currency of the expected amount
    #[arg(long, default_value = "USD")]
    currency: String,
    /// Recipient
    #[arg(long, required_unless_present = "file")]
    name: Option<String>,
    /// Street and number
    #[arg(long, required_unless_present = "file")]
    line1: Option<String>,
    /// Second line of the address
    #[arg(long)]
    line2: Option<String>,
    /// City
    #[arg(long, required_unless_present = "file")]
    city: Option<String>,
    /// Postal code
    #[arg(long, required_unless_present = "file")]
    postal_code: Option<String>,
    /// ISO 3166 code
    #[arg(long, default_value = "US")]
    country: String,
    /// Idempotency key: the same key and order again is the same order [default: a new one]
    #[arg(long)]
    key: Option<String>,
    /// Wait up to this many seconds for the decision
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=20))]
    wait: Option<u32>,
}

fn line(text: &str) -> Result<(String, u32), String> {
    let (sku, quantity) = text.split_once('=').unwrap_or((text, "1"));
    let quantity = quantity.parse().map_err(|_| format!("`{quantity}` is no quantity; expected SKU=QUANTITY"))?;
    Ok((sku.to_owned(), quantity))
}

impl PlaceOrder {
    fn body(&self) -> anyhow::Result<Value> {
        if let Some(path) = &self.file {
            let mut text = String::new();
            if path.as_os_str() == "-" {
                std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
            } else {
                text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            }
            return serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()));
        }
        let lines: Vec<_> =
            self.lines.iter().map(|(sku, quantity)| json!({ "sku": sku, "quantity": quantity })).collect();
        let mut ship_to = serde_json::Map::new();
        for (field, value) in [
            ("name", self.name.as_ref()),
            ("line1", self.line1.as_ref()),
            ("line2", self.line2.as_ref()),
            ("city", self.city.as_ref()),
            ("postal_code", self.postal_code.as_ref()),
            ("country", Some(&self.country)),
        ] {
            if let Some(value) = value {
                ship_to.insert(field.to_owned(), json!(value));
            }
        }
        let mut body = serde_json::Map::new();
        body.insert("lines".to_owned(), json!(lines));
        body.insert("ship_to".to_owned(), Value::Object(ship_to));
        body.insert("email".to_owned(), json!(self.email));
        body.insert("payment_method".to_owned(), json!(self.payment_method));
        if let Some(lane) = &self.lane {
            body.insert("lane".to_owned(), json!(lane));
        }
        if let Some(amount_minor) = self.expected_minor {
            let expected = json!({ "amount_minor": amount_minor, "currency": self.currency });
            body.insert("expected_total".to_owned(), expected);
        }
        Ok(Value::Object(body))
    }
}

#[derive(Debug, Args)]
pub(super) struct OneOrder {
    /// The order's id
    order_id: String,
    #[command(flatten)]
    caller: Caller,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// How many
    #[arg(long)]
    limit: Option<u32>,
    /// Where the page before this one ended
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    caller: Caller,
}

#[derive(Debug, Args)]
pub(super) struct Refund {
    /// The order's id
    order_id: String,
    /// How much, in minor units [default: what is left of the capture]
    #[arg(long, value_name = "MINOR UNITS")]
    amount_minor: Option<u64>,
    /// Why
    #[arg(long)]
    reason: Option<String>,
    /// Idempotency key: the same key again is the same refund [default: a new one]
    #[arg(long)]
    key: Option<String>,
    #[command(flatten)]
    caller: Caller,
}

pub(super) async fn run(command: OrderCommand, json: bool) -> anyhow::Result<()> {
    let order = match command {
        OrderCommand::Place(place) => {
            let body = place.body()?;
            let key = key_or_new(place.key.as_deref());
            let placed = place.caller.api().await?.place(&key, &body, place.wait).await;
            placed.and_then(api::Answer::success).with_context(|| format!("not placed (--key {key})"))?
        }
        OrderCommand::Nudge(what) => return operate::nudge(&what, json).await,
        OrderCommand::Republish(change) => return operate::republish(&change, json).await,
        OrderCommand::Timeline(what) => return operate::timeline(&what, json).await,
        OrderCommand::ResendMail(mail) => return operate::resend_mail(&mail, json).await,
        OrderCommand::Show(one) => one.caller.api().await?.show(&one.order_id).await?.success()?,
        OrderCommand::Cancel(one) => one.caller.api().await?.cancel(&one.order_id).await?.success()?,
        OrderCommand::Refund(refund) => {
            let key = key_or_new(refund.key.as_deref());
            let api = refund.caller.api().await?;
            let asked = api.refund(&refund.order_id, &key, refund.amount_minor, refund.reason.as_deref()).await;
            asked.and_then(api::Answer::success).with_context(|| format!("not refunded (--key {key})"))?
        }
        OrderCommand::List(list) => {
            let page = list.caller.api().await?.list(list.limit, list.cursor.as_deref()).await?.success()?;
            if json {
                writeln!(out(), "{}", serde_json::to_string_pretty(&page)?)?;
            } else {
                output::orders(&page)?;
            }
            return Ok(());
        }
    };
    if json {
        writeln!(out(), "{}", serde_json::to_string_pretty(&order)?)?;
    } else {
        output::order(&order)?;
    }
    Ok(())
}

/// The key given, or one that nobody used.
#[allow(clippy::disallowed_methods, reason = "a tool's own key; nothing that is simulated")]
fn key_or_new(given: Option<&str>) -> String {
    given.map_or_else(|| uuid::Uuid::new_v4().to_string(), ToOwned::to_owned)
}
