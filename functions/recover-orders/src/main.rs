//! Wires recover-orders: AWS, the step.

use lambda_queue::Clock;
use lambda_queue::batch::Invocation;
use lambda_queue::meter::Meter;
use lambda_queue::metrics::Document;
use lambda_queue::serve::{Invocations, logged};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use platform::{Aws, init_logging};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    init_logging();
    let aws =
        Aws::load(&["ORDERS_TABLE", "CASES_TABLE", "BREAKERS_TABLE", "QUEUE_URL_PREFIX", "EMITTED_COMMAND_VERSION"])
            .await?;
    let (aws, invocations) = (&aws, &Invocations::default());
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| async move {
        let invocation = invocations.next(&event.context);
        let work = Box::pin(run(aws, &invocation));
        let failed = |answer: &Result<Value, Error>| answer.as_ref().err().map(|_| "error");
        logged(event.context, invocation.cold_start, "timer", work, failed).await
    }))
    .await
}

async fn run(aws: &Aws, invocation: &Invocation) -> Result<Value, Error> {
    let started_ms = aws.now_ms();
    let meter = Meter::default();
    let done = meter.around(recover_orders::recover(aws, invocation.deadline_ms)).await?;
    let now_ms = aws.now_ms();
    Document::new("invocation finished")
        .dimension("function", "recover-orders")
        .metric("due", "Count", done.due)
        .metric("nudged", "Count", done.sent)
        .metric("parked", "Count", done.parked)
        .metric("behind_breaker", "Count", done.behind_breaker)
        .metric("set_aside", "Count", done.set_aside)
        .metric("duration_ms", "Milliseconds", now_ms.saturating_sub(started_ms))
        .property("request_id", invocation.request_id.as_str())
        .property("calls", json!(meter.calls()))
        .property("cold_start", invocation.cold_start)
        .emit(now_ms);
    if invocation.cold_start {
        Document::cold_start("recover-orders").emit(now_ms);
    }
    Ok(json!(done))
}
