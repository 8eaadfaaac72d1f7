//! `orderflow queue list|peek`: what is in the queues.

use std::io::Write as _;

use anyhow::{Context, bail};
use aws_sdk_sqs::types::MessageSystemAttributeName as Name;
use clap::{Args, Subcommand};
use lambda_queue::envelope::rfc3339;
use serde_json::{Value, json};

use super::output::{out, table};
use super::target::Target;
use crate::stack::{Clients, QueueDepth, queue_depths};

/// What is in the queues.
#[derive(Debug, Subcommand)]
pub(super) enum QueueCommand {
    /// How many messages wait, are in flight, are delayed
    List(Stack),
    /// Show messages of a queue and leave them there. Each look is a receive: it counts towards maxReceiveCount, and for a
    /// moment keeps the message from its consumer
    Peek(Peek),
}

#[derive(Debug, Args)]
pub(super) struct Stack {
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub(super) struct Peek {
    /// The queue, by its name with or without the stack's and without `.fifo`: payment-express, notify, stock-dlq
    queue: String,
    /// How many messages at most
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(i32).range(1..=10))]
    limit: i32,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn run(command: QueueCommand, json: bool) -> anyhow::Result<()> {
    match command {
        QueueCommand::List(what) => list(&what, json).await,
        QueueCommand::Peek(what) => peek(&what, json).await,
    }
}

async fn list(what: &Stack, json: bool) -> anyhow::Result<()> {
    let (clients, name) = (clients(&what.target).await?, what.target.name()?);
    let queues = queue_depths(&clients, &name).await?;
    if json {
        writeln!(out(), "{}", serde_json::to_string_pretty(&queues)?)?;
        return Ok(());
    }
    let mut rows = table();
    rows.set_header(["queue", "visible", "in flight", "delayed"]);
    for queue in queues {
        let counts = [queue.visible, queue.in_flight, queue.delayed].map(|count| count.to_string());
        let [visible, in_flight, delayed] = counts;
        rows.add_row([queue.name, visible, in_flight, delayed]);
    }
    writeln!(out(), "{rows}")?;
    Ok(())
}

async fn clients(target: &Target) -> anyhow::Result<Clients> {
    Ok(target.resolve().await?.0)
}

async fn peek(what: &Peek, json: bool) -> anyhow::Result<()> {
    let (clients, name) = (clients(&what.target).await?, what.target.name()?);
    let queues = queue_depths(&clients, &name).await?;
    let Some(queue) = named(&queues, &what.queue, &name) else {
        bail!("there is no queue {}: `orderflow queue list` shows them", what.queue);
    };
    let url = clients.sqs.get_queue_url().queue_name(&queue.name).send().await.context("the queue has no address")?;
    let received = clients
        .sqs
        .receive_message()
        .set_queue_url(url.queue_url)
        .max_number_of_messages(what.limit)
        .visibility_timeout(0)
        .message_attribute_names("All")
        .message_system_attribute_names(Name::All)
        .send()
        .await
        .with_context(|| format!("{} cannot be read", queue.name))?;
    let messages: Vec<Value> = received.messages().iter().map(shown).collect();
    if json {
        writeln!(out(), "{}", serde_json::to_string_pretty(&messages)?)?;
        return Ok(());
    }
    let mut rows = table();
    rows.set_header(["message", "sent", "receives", "group", "body"]);
    let text = |message: &Value, name: &str| match message.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_))) => other.to_string(),
    };
    for message in &messages {
        rows.add_row(["message_id", "sent", "receives", "group", "body"].map(|name| text(message, name)));
    }
    writeln!(out(), "{rows}")?;
    Ok(())
}

/// The queue of a name: with or without the stack's before it, with or without `.fifo` behind it.
fn named<'a>(queues: &'a [QueueDepth], name: &str, stack: &str) -> Option<&'a QueueDepth> {
    let full = format!("{stack}-{name}");
    let find = |is: &dyn Fn(&str) -> bool| queues.iter().find(|queue| is(&queue.name));
    // The whole name first: it is the one that was meant.
    find(&|is| is == name || is == full)
        .or_else(|| find(&|is| is.strip_suffix(".fifo").is_some_and(|plain| plain == name || plain == full)))
}

fn shown(message: &aws_sdk_sqs::types::Message) -> Value {
    let system = |name: Name| message.attributes().and_then(|all| all.get(&name)).cloned();
    let sent = system(Name::SentTimestamp).and_then(|ms| ms.parse().ok()).map(rfc3339);
    let attributes: serde_json::Map<String, Value> = message
        .message_attributes()
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.clone(), json!(value.string_value()?))))
        .collect();
    json!({
        "message_id": message.message_id(),
        "sent": sent,
        "receives": system(Name::ApproximateReceiveCount).and_then(|count| count.parse::<u32>().ok()),
        "group": system(Name::MessageGroupId),
        "attributes": attributes,
        "body": message.body(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_found_by_any_of_its_names() {
        let queue = |name: &str| QueueDepth { name: name.to_owned(), visible: 0, in_flight: 0, delayed: 0 };
        let queues =
            ["shop-stock-dlq", "shop-notify.fifo", "shop-notify-dlq.fifo", "shop-both.fifo", "shop-both"].map(queue);
        for (name, found) in [
            ("stock-dlq", Some("shop-stock-dlq")),
            ("shop-stock-dlq", Some("shop-stock-dlq")),
            ("notify.fifo", Some("shop-notify.fifo")),
            ("notify", Some("shop-notify.fifo")),
            ("notify-dlq", Some("shop-notify-dlq.fifo")),
            ("shop-notify-dlq", Some("shop-notify-dlq.fifo")),
            ("notify-dlq.fifo", Some("shop-notify-dlq.fifo")),
            ("both", Some("shop-both")),
            ("stock-dlq.fifo", None),
            ("stock", None),
            ("", None),
        ] {
            assert_eq!(named(&queues, name, "shop").map(|queue| queue.name.as_str()), found, "{name}");
        }
    }
}
