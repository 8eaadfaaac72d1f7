//! A consumer whose handler panics when a record tells it to: built as it is deployed, it has to answer the others.

use bench::quiet::Quiet;
use lambda_queue::batch::json;
use lambda_queue::{Answer, Batch, Done, logging, serve};
use lambda_runtime::Error;
use serde::Deserialize;

#[derive(Deserialize)]
struct Told {
    panic: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    logging::init();
    serve::sqs(Batch::new("one-panics", &Quiet), json(|told: Told, _| handle(told))).await
}

#[allow(clippy::panic, reason = "the panic is what is tested")]
async fn handle(told: Told) -> Answer {
    if told.panic {
        panic!("told to");
    }
    Ok(Done::now(Vec::new()))
}
