//! Wires reconcile-payments: AWS, the payment provider's ledger, the step.

use lambda_queue::Clock;
use lambda_queue::batch::Invocation;
use lambda_queue::meter::Meter;
use lambda_queue::metrics::Document;
use lambda_queue::serve::{Invocations, logged};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use platform::{Aws, init_logging, setting};
use providers::{Secret, Stripe};
use reconcile_payments::{Ask, Kind, reconcile};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    init_logging();
    let aws = Aws::load(&["ORDERS_TABLE", "IDEMPOTENCY_TABLE", "CASES_TABLE"]).await?;
    let key = aws.secret(&setting("PAYMENT_SECRET_ARN")?).await?;
    let stripe = Stripe::new(&setting("PAYMENT_API_URL")?, Secret::new(key))?;
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
    let counts = done.counts;
    Document::new("invocation finished")
        .dimension("function", "reconcile-payments")
        .metric("payments", "Count", counts.payments)
        .metric("refunds", "Count", counts.refunds)
        .metric("reconciled", "Count", counts.reconciled)
        .metric("differences", "Count", done.differences.values().sum::<u64>())
        .metric("decided", "Count", done.decided)
        .metric("foreign", "Count", counts.foreign)
        .metric("unreadable", "Count", counts.unreadable)
        .metric("unsettled", "Count", counts.unsettled)
        .metric("left", "Count", counts.left)
        .metric("unfinished", "Count", u32::from(done.unfinished.is_some()))
        .metric("duration_ms", "Milliseconds", now_ms.saturating_sub(started_ms))
        .property("request_id", invocation.request_id.as_str())
        .property("window_hours", ask.window_ms / 3_600_000)
        .property("calls", json!(meter.calls()))
        .property("cold_start", invocation.cold_start)
        .emit(now_ms);
    for kind in Kind::ALL {
        if let Some(count) = done.differences.get(kind.name()) {
            Document::new("differences")
                .dimension("kind", kind.name())
                .metric("differences", "Count", *count)
                .emit(now_ms);
        }
    }
    if invocation.cold_start {
        Document::cold_start("reconcile-payments").emit(now_ms);
    }
    Ok(json!(done))
}
