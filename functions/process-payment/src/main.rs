//! Wires process-payment: AWS, the payment provider behind its breaker, the batch loop, the step.

use std::sync::Arc;

use lambda_queue::batch::Lines;
use lambda_queue::{Batch, serve};
use lambda_runtime::Error;
use order::Step;
use platform::{Aws, Guarded, init_logging, lane_teller, setting};
use ports::Dependency;
use providers::{Secret, Stripe};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    init_logging();
    let shared = Arc::new(
        Aws::load(&[
            "ORDERS_TABLE",
            "IDEMPOTENCY_TABLE",
            "IDEMPOTENCY_RETENTION_DAYS",
            "ARCHIVE_RETENTION_DAYS",
            "CASES_TABLE",
            "BREAKERS_TABLE",
            "QUEUE_URL_PREFIX",
            "EMITTED_COMMAND_VERSION",
        ])
        .await?,
    );
    let aws: &Aws = Box::leak(Box::new(Arc::clone(&shared)));
    let key = aws.secret(&setting("PAYMENT_SECRET_ARN")?).await?;
    let stripe = Arc::new(Stripe::new(&setting("PAYMENT_API_URL")?, Secret::new(key))?);
    let payments: &Guarded<_, _> = Box::leak(Box::new(Guarded::new(stripe, &shared, Dependency::Payment)?));
    let batch = Batch::new("process-payment", aws)
        .dead_letters(setting("DLQ_URL")?)
        .lines(Lines::with_subject_as("order_id"))
        .afterwards(lane_teller(&shared, Step::Payment))
        .on_deferral(setting("MAX_RECEIVE_COUNT")?.parse()?, move |record, failure| async move {
            ports::put_off(aws, Step::Payment, &record, &failure).await
        });
    serve::sqs(batch, move |record| async move { process_payment::handle(aws, payments, &record).await }).await
}
