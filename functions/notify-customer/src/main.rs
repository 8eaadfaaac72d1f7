//! Wires notify-customer: AWS, mail behind its breaker, the templates, the batch loop, the step.

use std::sync::Arc;

use lambda_queue::batch::Lines;
use lambda_queue::{Batch, serve};
use lambda_runtime::Error;
use platform::{Aws, Guarded, init_logging, setting};
use ports::Dependency;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    init_logging();
    let shared = Arc::new(
        Aws::load(&[
            "ORDERS_TABLE",
            "IDEMPOTENCY_TABLE",
            "IDEMPOTENCY_RETENTION_DAYS",
            "ARCHIVE_RETENTION_DAYS",
            "BREAKERS_TABLE",
            "MAIL_FROM",
        ])
        .await?,
    );
    let aws: &Aws = Box::leak(Box::new(Arc::clone(&shared)));
    let sender: &Guarded<_, _> = Box::leak(Box::new(Guarded::new(Arc::clone(&shared), &shared, Dependency::Mail)?));
    let batch = Batch::new("notify-customer", aws)
        .dead_letters(setting("DLQ_URL")?)
        .max_receive_count(setting("MAX_RECEIVE_COUNT")?.parse()?)
        .lines(Lines::with_subject_as("order_id"));
    serve::sqs(batch, move |record| async move {
        notify_customer::handle(aws, sender, providers::mail::render, &record).await
    })
    .await
}
