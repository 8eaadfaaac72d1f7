//! Wires reserve-stock: AWS, the batch loop, the step.

use lambda_queue::{Batch, logging, serve};
use lambda_runtime::Error;
use platform::{Aws, setting};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    logging::init();
    let aws = Aws::load(&["ORDERS_TABLE", "STOCK_TABLE", "QUEUE_URL_PREFIX"]).await?;
    let dead_letters = Some(setting("DLQ_URL")?);
    let batch = Batch { function: "reserve-stock", ports: &aws, dead_letters, concurrency: 10 };
    serve::sqs(batch, async |record| reserve_stock::handle(&aws, &record).await).await
}
