//! Wires validate-order: AWS, the batch loop, the step.

use lambda_queue::{Batch, logging, serve};
use lambda_runtime::Error;
use platform::{Aws, setting};
use providers::StripeLimits;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    logging::init();
    let aws = Aws::load(&["ORDERS_TABLE", "STOCK_TABLE", "QUEUE_URL_PREFIX"]).await?;
    let dead_letters = Some(setting("DLQ_URL")?);
    let batch = Batch { function: "validate-order", ports: &aws, dead_letters, concurrency: 10 };
    serve::sqs(batch, async |record| validate_order::handle(&aws, &StripeLimits, &record).await).await
}
