//! Wires process-payment: AWS, the payment provider, the batch loop, the step.

use lambda_queue::{Batch, logging, serve};
use lambda_runtime::Error;
use platform::{Aws, setting};
use providers::{Secret, Stripe};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    logging::init();
    let aws = Aws::load(&["ORDERS_TABLE", "IDEMPOTENCY_TABLE", "CASES_TABLE", "QUEUE_URL_PREFIX"]).await?;
    let key = aws.secret(&setting("PAYMENT_SECRET_ARN")?).await?;
    let stripe = Stripe::new(&setting("PAYMENT_API_URL")?, Secret::new(key))?;
    let dead_letters = Some(setting("DLQ_URL")?);
    let batch = Batch { function: "process-payment", ports: &aws, dead_letters, concurrency: 10 };
    serve::sqs(batch, async |record| process_payment::handle(&aws, &stripe, &record).await).await
}
