//! Wires archive-events: AWS, the batch loop, the step.

use aws_lambda_events::event::sqs::SqsEvent;
use lambda_queue::serve::Invocations;
use lambda_queue::{Batch, logging};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use platform::{Aws, setting};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    logging::init();
    let aws = Aws::load(&["ARCHIVE_BUCKET"]).await?;
    let dead_letters = Some(setting("DLQ_URL")?);
    let batch = Batch { function: "archive-events", ports: &aws, dead_letters, concurrency: 1_000 };
    let (batch, invocations) = (&batch, &Invocations::default());
    lambda_runtime::run(service_fn(move |event: LambdaEvent<SqsEvent>| async move {
        let invocation = invocations.next(&event.context);
        Box::pin(archive_events::handle(batch, event.payload, invocation)).await.map_err(Error::from)
    }))
    .await
}
