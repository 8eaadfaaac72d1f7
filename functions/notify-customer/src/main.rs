//! Wires notify-customer: AWS, the templates, the batch loop, the step.

use lambda_queue::batch::Lines;
use lambda_queue::{Batch, logging, serve};
use lambda_runtime::Error;
use platform::{Aws, setting};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    logging::init();
    let aws: &Aws = Box::leak(Box::new(
        Aws::load(&[
            "ORDERS_TABLE",
            "IDEMPOTENCY_TABLE",
            "IDEMPOTENCY_RETENTION_DAYS",
            "ARCHIVE_RETENTION_DAYS",
            "MAIL_FROM",
        ])
        .await?,
    ));
    let batch =
        Batch::new("notify-customer", aws).dead_letters(setting("DLQ_URL")?).lines(Lines::with_subject_as("order_id"));
    serve::sqs(batch, move |record| async move { notify_customer::handle(aws, providers::mail::render, &record).await })
        .await
}
