//! A consumer whose handler panics when a record tells it to: built as it is deployed, it has to answer the others.

use bench::quiet::Quiet;
use lambda_queue::{Batch, Done, Failure, Record, logging, serve};
use lambda_runtime::Error;
use serde::Deserialize;

#[derive(Deserialize)]
struct Told {
    panic: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    logging::init();
    let batch = Batch { function: "one-panics", ports: &Quiet, dead_letters: None, concurrency: 10 };
    serve::sqs(batch, async |record| handle(&record)).await
}

#[allow(clippy::panic, reason = "the panic is what is tested")]
fn handle(record: &Record) -> Result<Done, Failure> {
    let told: Told =
        serde_json::from_str(&record.body).map_err(|error| Failure::Poison { reason: error.to_string() })?;
    if told.panic {
        panic!("told to");
    }
    Ok(Done::now(Vec::new()))
}
