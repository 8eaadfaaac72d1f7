//! One record of ten panics, and the other nine are answered: the exit code tells. For the release profile, whose panics
//! have to unwind for that.
//!
//! `cargo run --release -p lambda-queue --example one_panics`

use std::process::ExitCode;

use lambda_queue::batch::Event;
use lambda_queue::{Batch, Clock, Done};

mod messages;
mod ports;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let ports = ports::InMemory::default();
    let ids = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
    let messages = ids.map(|id| (id, None, if id == "4" { "[]" } else { "[1]" }));
    let event = messages::event("arn:aws:sqs:us-east-1:000000000000:work", ports.now_ms(), &messages);
    let Ok(event) = serde_json::from_value::<Event>(event) else { return ExitCode::FAILURE };
    let answer = Batch::new("one_panics", &ports)
        .quiet()
        .run(event, ports.invocation(), |record| async move {
            let numbers: Vec<u32> = serde_json::from_str(&record.body).unwrap_or_default();
            // What people write: fine until the list is empty.
            #[allow(clippy::indexing_slicing, reason = "this is the panic")]
            let first = numbers[0];
            println!("{}: {first}", record.message_id);
            Ok(Done::now(Vec::new()))
        })
        .await;
    let failed: Vec<String> = match answer {
        Ok(answer) => answer.batch_item_failures.into_iter().map(|item| item.item_identifier).collect(),
        Err(error) => vec![error.to_string()],
    };
    println!("failed: {failed:?}");
    if failed == ["4"] { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
