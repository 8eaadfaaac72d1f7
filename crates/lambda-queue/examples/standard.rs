//! A consumer of a standard queue: typed messages, each answered by itself, poison to the dead-letter queue.
//!
//! `cargo run -p lambda-queue --example standard`
//!
//! As a Lambda function the last lines of `main` are
//! `lambda_queue::serve::sqs(Batch::new("greet", ports).dead_letters(url), json(greet)).await`.

use std::sync::Arc;

use lambda_queue::batch::{Event, json};
use lambda_queue::{Answer, Batch, Clock, Done, Failure, Outgoing, Record};
use serde::Deserialize;

mod messages;
mod ports;

#[derive(Deserialize)]
struct Greeting {
    name: String,
}

/// Greets, and owes the next queue a message for it.
async fn greet(greeting: Greeting, record: Arc<Record>) -> Answer {
    match greeting.name.as_str() {
        "nobody" => Err(Failure::poison("there is nobody to greet")),
        "busy" => Err(Failure::busy(record.context.deadline_ms, "somebody else greets them now")),
        name => Ok(Done::now(vec![Outgoing {
            queue: "greeted".to_owned(),
            body: format!("hello {name}"),
            group: None,
            dedup: None,
            attributes: Vec::new(),
        }])),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ports = ports::InMemory::default();
    let batch = Batch::new("greet", &ports).dead_letters("greetings-dlq");
    let event = messages::event(
        "arn:aws:sqs:us-east-1:000000000000:greetings",
        ports.now_ms(),
        &[
            ("1", None, r#"{"name":"Ann"}"#),
            ("2", None, r#"{"name":"nobody"}"#),
            ("3", None, "not JSON"),
            ("4", None, r#"{"name":"busy"}"#),
            ("5", None, r#"{"name":"Ben"}"#),
        ],
    );
    let event: Event = serde_json::from_value(event)?;
    let answer = batch.run(event, ports.invocation(), json(greet)).await?;
    println!("{}", serde_json::to_string(&answer)?);
    let failed: Vec<&str> = answer.batch_item_failures.iter().map(|item| item.item_identifier.as_str()).collect();
    if failed == ["4"] { Ok(()) } else { Err(format!("{failed:?} failed").into()) }
}
