//! Wires reserve-stock: AWS, the batch loop, the step.

use std::sync::Arc;

use lambda_queue::batch::Lines;
use lambda_queue::{Batch, serve};
use lambda_runtime::Error;
use order::Step;
use platform::{Aws, init_logging, lane_teller, setting};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    init_logging();
    let needs =
        ["ORDERS_TABLE", "STOCK_TABLE", "CASES_TABLE", "BREAKERS_TABLE", "QUEUE_URL_PREFIX", "EMITTED_COMMAND_VERSION"];
    let shared = Arc::new(Aws::load(&needs).await?);
    let aws: &Aws = Box::leak(Box::new(Arc::clone(&shared)));
    let batch = Batch::new("reserve-stock", aws)
        .dead_letters(setting("DLQ_URL")?)
        .lines(Lines::with_subject_as("order_id"))
        .afterwards(lane_teller(&shared, Step::Stock))
        .on_deferral(setting("MAX_RECEIVE_COUNT")?.parse()?, move |record, failure| async move {
            ports::put_off(aws, Step::Stock, &record, &failure).await
        });
    serve::sqs(batch, move |record| async move { reserve_stock::handle(aws, &record).await }).await
}
