//! A consumer whose handler panics, or waits for a file, when a record tells it to: built as it is deployed, it has to answer
//! the others, and to take other invocations meanwhile where it may.

use std::path::PathBuf;
use std::time::Duration;

use bench::quiet::Quiet;
use lambda_queue::batch::json;
use lambda_queue::{Answer, Batch, Done, Failure, logging, serve};
use lambda_runtime::Error;
use serde::Deserialize;

#[derive(Deserialize)]
struct Told {
    panic: bool,
    /// Only once there is such a file.
    #[serde(default)]
    once: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    logging::init();
    serve::sqs(Batch::new("one-panics", &Quiet), json(|told: Told, _| handle(told))).await
}

#[allow(clippy::panic, reason = "the panic is what is tested")]
async fn handle(told: Told) -> Answer {
    if let Some(file) = &told.once {
        while !tokio::fs::try_exists(file).await.map_err(Failure::bug)? {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    if told.panic {
        panic!("told to");
    }
    Ok(Done::now(Vec::new()))
}
