//! Wires reconcile-payments: AWS, the payment provider's ledger, the step.

use lambda_queue::Clock;
use lambda_queue::batch::Invocation;
use lambda_queue::meter::Meter;
use lambda_queue::serve::{Invocations, logged};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use platform::{Aws, address, init_logging, setting};
use providers::{Secret, Stripe};
use reconcile_payments::{Ask, Run, reconcile, told};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    init_logging();
    let aws = Aws::load(&["ORDERS_TABLE", "IDEMPOTENCY_TABLE", "CASES_TABLE"]).await?;
    let key = aws.secret(&setting("PAYMENT_SECRET_ARN")?).await?;
    let stripe = Stripe::new(&address("PAYMENT_API_URL")?, Secret::new(key))?;
    let (aws, stripe, invocations) = (&aws, &stripe, &Invocations::default());
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| async move {
        let invocation = invocations.next(&event.context);
        let work = Box::pin(run(aws, stripe, event.payload, &invocation));
        let failed = |answer: &Result<Value, Error>| answer.as_ref().err().map(|_| "error");
        logged(event.context, invocation.cold_start, "timer", work, failed).await
    }))
    .await
}

async fn run(aws: &Aws, stripe: &Stripe, event: Value, invocation: &Invocation) -> Result<Value, Error> {
    let started_ms = aws.now_ms();
    let ask = Ask::of(&event)?;
    let meter = Meter::default();
    let done = meter.around(reconcile(aws, stripe, &ask, invocation.deadline_ms)).await?;
    let now_ms = aws.now_ms();
    let documents = told(&Run {
        ask: &ask,
        done: &done,
        request_id: &invocation.request_id,
        calls: meter.calls(),
        duration_ms: now_ms.saturating_sub(started_ms),
        cold_start: invocation.cold_start,
    });
    documents.into_iter().for_each(|document| document.emit(now_ms));
    Ok(json!(done))
}
