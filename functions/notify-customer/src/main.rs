//! Wires notify-customer: AWS, the templates, the batch loop, the step.

use lambda_queue::{Batch, logging, serve};
use lambda_runtime::Error;
use platform::{Aws, setting};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    logging::init();
    let aws = Aws::load(&["ORDERS_TABLE", "IDEMPOTENCY_TABLE", "MAIL_FROM"]).await?;
    let dead_letters = Some(setting("DLQ_URL")?);
    let batch = Batch { function: "notify-customer", ports: &aws, dead_letters, concurrency: 10 };
    serve::sqs(batch, async |record| notify_customer::handle(&aws, providers::mail::render, &record).await).await
}
