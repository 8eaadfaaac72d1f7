//! Wires accept-order: AWS, the issuer's keys, the API.

use accept_order::{Api, ApiAnswer, ApiEvent, HttpKeys, Invocation, Response, Settings, handle};
use lambda_queue::serve::{Invocations, logged};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use platform::{Aws, init_logging, setting};
use ports::Deadlines;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    init_logging();
    let needs = ["ORDERS_TABLE", "BREAKERS_TABLE", "QUEUE_URL_PREFIX", "EMITTED_COMMAND_VERSION"];
    let aws = Aws::load(&needs).await?;
    let milliseconds = |seconds: String| seconds.parse::<u32>().map(|seconds| u64::from(seconds) * 1_000);
    let settings = Settings {
        issuer: setting("JWT_ISSUER")?,
        audience: setting("JWT_AUDIENCE")?,
        tenant_rate_per_second: setting("TENANT_RATE_PER_SECOND")?.parse()?,
        deadlines: Deadlines {
            express_ms: milliseconds(setting("EXPRESS_DEADLINE_SECONDS")?)?,
            standard_ms: milliseconds(setting("STANDARD_DEADLINE_SECONDS")?)?,
            bulk_ms: milliseconds(setting("BULK_DEADLINE_SECONDS")?)?,
        },
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
