//! Wires ship-order: AWS, the carrier, the batch loop, the step.

use lambda_queue::{Batch, logging, serve};
use lambda_runtime::Error;
use platform::{Aws, setting};
use providers::{HttpCarrier, Secret};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    logging::init();
    let aws = Aws::load(&["ORDERS_TABLE", "IDEMPOTENCY_TABLE", "CASES_TABLE", "QUEUE_URL_PREFIX"]).await?;
    let key = aws.secret(&setting("CARRIER_SECRET_ARN")?).await?;
    let carrier = HttpCarrier::new(&setting("CARRIER_API_URL")?, Secret::new(key))?;
    let dead_letters = Some(setting("DLQ_URL")?);
    let batch = Batch { function: "ship-order", ports: &aws, dead_letters, concurrency: 10 };
    serve::sqs(batch, async |record| ship_order::handle(&aws, &carrier, &record).await).await
}
