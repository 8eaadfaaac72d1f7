//! Wires publish-events: AWS, the step.

use aws_lambda_events::event::dynamodb::Event;
use lambda_queue::logging;
use lambda_queue::serve::Invocations;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use platform::Aws;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    logging::init();
    let aws = Aws::load(&["EVENTS_TOPIC_ARN", "EVENT_BUS_NAME"]).await?;
    let (aws, invocations) = (&aws, &Invocations::default());
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Event>| async move {
        let invocation = invocations.next(&event.context);
        Box::pin(publish_events::handle(aws, event.payload, &invocation)).await.map_err(Error::from)
    }))
    .await
}
