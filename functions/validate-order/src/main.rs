//! Wires validate-order: AWS, the batch loop, the step.

use std::sync::Arc;

use lambda_queue::batch::Lines;
use lambda_queue::{Batch, serve};
use lambda_runtime::Error;
use order::Step;
use platform::{Aws, init_logging, lane_teller, setting};
use providers::StripeLimits;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    init_logging();
    let needs =
        ["ORDERS_TABLE", "STOCK_TABLE", "CASES_TABLE", "BREAKERS_TABLE", "QUEUE_URL_PREFIX", "EMITTED_COMMAND_VERSION"];
    let shared = Arc::new(Aws::load(&needs).await?);
    let aws: &Aws = Box::leak(Box::new(Arc::clone(&shared)));
    let batch = Batch::new("validate-order", aws)
        .dead_letters(setting("DLQ_URL")?)
        .lines(Lines::with_subject_as("order_id"))
        .afterwards(lane_teller(&shared, Step::Validate))
        .on_deferral(setting("MAX_RECEIVE_COUNT")?.parse()?, move |record, failure| async move {
            ports::put_off(aws, Step::Validate, &record, &failure).await
        });
    serve::sqs(batch, move |record| async move { validate_order::handle(aws, &StripeLimits, &record).await }).await
}
