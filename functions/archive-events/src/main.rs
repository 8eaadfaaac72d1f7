//! Wires archive-events: AWS, the batch loop, the step.

use lambda_queue::batch::{Event, Lines};
use lambda_queue::{Batch, serve};
use lambda_runtime::Error;
use platform::{Aws, init_logging, setting};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    init_logging();
    let aws: &Aws = Box::leak(Box::new(Aws::load(&["ARCHIVE_BUCKET"]).await?));
    let batch = Batch::new("archive-events", aws)
        .dead_letters(setting("DLQ_URL")?)
        .max_receive_count(setting("MAX_RECEIVE_COUNT")?.parse()?)
        .concurrency(1_000)
        .lines(Lines::with_subject_as("order_id"));
    let batch: &Batch<'_, Aws> = Box::leak(Box::new(batch));
    serve::events(move |event: Event, invocation| archive_events::handle(batch, event, invocation)).await
}
