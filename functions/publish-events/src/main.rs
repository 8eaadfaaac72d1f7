//! Wires publish-events: AWS, the step.

use aws_lambda_events::event::dynamodb::Event;
use lambda_queue::serve;
use lambda_runtime::Error;
use platform::{Aws, init_logging};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    init_logging();
    let aws: &Aws = Box::leak(Box::new(Aws::load(&["EVENTS_TOPIC_ARN", "EVENT_BUS_NAME"]).await?));
    serve::events(move |event: Event, invocation| async move { publish_events::handle(aws, event, &invocation).await })
        .await
}
