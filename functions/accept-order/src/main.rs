//! Wires accept-order: AWS, the issuer's keys, the API.

use accept_order::{Api, ApiAnswer, ApiEvent, HttpKeys, Invocation, Settings, handle};
use lambda_queue::logging;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use platform::{Aws, setting};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    logging::init();
    let aws = Aws::load(&["ORDERS_TABLE", "QUEUE_URL_PREFIX"]).await?;
    let settings = Settings {
        issuer: setting("JWT_ISSUER")?,
        audience: setting("JWT_AUDIENCE")?,
        tenant_rate_per_second: setting("TENANT_RATE_PER_SECOND")?.parse()?,
    };
    let api = Api::new(&settings, HttpKeys::new(setting("JWKS_URL")?)?);
    let (aws, api) = (&aws, &api);
    lambda_runtime::run(service_fn(move |event: LambdaEvent<ApiEvent>| async move {
        let invocation = Invocation { request_id: event.context.request_id, deadline_ms: event.context.deadline };
        let response = handle(aws, api, &invocation, event.payload.into()).await;
        Ok::<_, Error>(ApiAnswer::from(response))
    }))
    .await
}
