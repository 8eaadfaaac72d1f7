//! Wires triage-dead-letters: AWS, the batch loop, the step.

use lambda_queue::batch::Lines;
use lambda_queue::{Batch, serve};
use lambda_runtime::Error;
use platform::{Aws, init_logging};
use triage_dead_letters::DeadLetters;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    init_logging();
    let needs = ["ORDERS_TABLE", "CASES_TABLE", "ARCHIVE_BUCKET", "QUEUE_URL_PREFIX"];
    let aws: &Aws = Box::leak(Box::new(Aws::load(&needs).await?));
    let batch = Batch::new("triage-dead-letters", aws).lines(Lines::with_subject_as("order_id"));
    let batch: &Batch<'_, Aws> = Box::leak(Box::new(batch));
    serve::events(move |event: DeadLetters, invocation| triage_dead_letters::handle(batch, event, invocation)).await
}
