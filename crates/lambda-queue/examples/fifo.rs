//! A consumer of a FIFO queue: order inside a group, groups side by side, a failure holds its own group back.
//!
//! `cargo run -p lambda-queue --example fifo`

use std::sync::Arc;

use lambda_queue::batch::{AfterPoison, Event};
use lambda_queue::{Answer, Batch, Clock, Done, Failure, Record};

mod messages;
mod ports;

async fn tell(record: Arc<Record>) -> Answer {
    println!("{}: {}", record.context.group.as_deref().unwrap_or("-"), record.body);
    match record.body.as_str() {
        "lost" => Err(Failure::retry("the line was lost")),
        "garbled" => Err(Failure::poison("nobody can read it")),
        _ => Ok(Done::now(Vec::new())),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ports = ports::InMemory::default();
    let batch = Batch::new("tell", &ports).dead_letters("stories-dlq.fifo").after_poison(AfterPoison::Skip).quiet();
    let event = messages::event(
        "arn:aws:sqs:us-east-1:000000000000:stories.fifo",
        ports.now_ms(),
        &[
            ("1", Some("ann"), "once upon a time"),
            ("2", Some("ben"), "lost"),
            ("3", Some("ann"), "garbled"),
            ("4", Some("ben"), "and then"),
            ("5", Some("ann"), "the end"),
        ],
    );
    let event: Event = serde_json::from_value(event)?;
    let answer = batch.run(event, ports.invocation(), tell).await?;
    println!("{}", serde_json::to_string(&answer)?);
    let failed: Vec<&str> = answer.batch_item_failures.iter().map(|item| item.item_identifier.as_str()).collect();
    if failed == ["2", "4"] { Ok(()) } else { Err(format!("{failed:?} failed").into()) }
}
