//! Wires accept-order: AWS, the issuer's keys, the API.

use accept_order::{Api, ApiAnswer, ApiEvent, HttpKeys, Invocation, Response, Settings, handle};
use lambda_queue::logging;
use lambda_queue::serve::{Invocations, logged};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use platform::{Aws, setting};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    logging::init();
    let aws = Aws::load(&["ORDERS_TABLE", "QUEUE_URL_PREFIX", "EMITTED_COMMAND_VERSION"]).await?;
    let settings = Settings {
        issuer: setting("JWT_ISSUER")?,
        audience: setting("JWT_AUDIENCE")?,
        tenant_rate_per_second: setting("TENANT_RATE_PER_SECOND")?.parse()?,
    };
    let api = Api::new(&settings, HttpKeys::new(setting("JWKS_URL")?)?);
    let (aws, api, invocations) = (&aws, &api, &Invocations::default());
    lambda_runtime::run(service_fn(move |event: LambdaEvent<ApiEvent>| async move {
        let LambdaEvent { payload, context } = event;
        let cold_start = invocations.next(&context).cold_start;
        let invocation =
            Invocation { request_id: context.request_id.clone(), deadline_ms: context.deadline, cold_start };
        let work = handle(aws, api, &invocation, payload.into());
        let failed = |response: &Response| response.status().is_server_error().then_some("server_error");
        let response = Box::pin(logged(context, cold_start, "http", work, failed)).await;
        Ok::<_, Error>(ApiAnswer::from(response))
    }))
    .await
}
