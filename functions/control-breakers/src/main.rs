//! Wires control-breakers: AWS, the providers, the step.

use std::sync::Arc;

use control_breakers::{Asked, Normals, Watched, parse};
use lambda_queue::Clock as _;
use lambda_queue::batch::Invocation;
use lambda_queue::meter::Meter;
use lambda_queue::metrics::Document;
use lambda_queue::serve::{Invocations, logged};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use platform::{Aws, Breakers, Cloud, init_logging, setting};
use ports::{Dependency, Probe as _, ProbeProviders, ProviderError};
use providers::{HttpCarrier, Secret, Stripe};
use serde_json::{Value, json};

/// Everything that lives as long as the process.
struct Wired {
    aws: Arc<Aws>,
    breakers: Breakers<Cloud>,
    providers: Outside,
    mappings: Vec<Watched>,
}

struct Outside {
    payment: Stripe,
    carrier: HttpCarrier,
    mail: Arc<Aws>,
}

impl ProbeProviders for Outside {
    async fn probe_provider(&self, dependency: Dependency) -> Result<(), ProviderError> {
        match dependency {
            Dependency::Payment => self.payment.probe().await,
            Dependency::Carrier => self.carrier.probe().await,
            Dependency::Mail => self.mail.probe().await,
        }
    }
}

async fn wire() -> Result<Wired, Error> {
    let aws = Arc::new(Aws::load(&["BREAKERS_TABLE", "MAIL_IDENTITY"]).await?);
    let payment_key = aws.secret(&setting("PAYMENT_SECRET_ARN")?).await?;
    let carrier_key = aws.secret(&setting("CARRIER_SECRET_ARN")?).await?;
    let normals = Normals::read(|name| setting(name).ok())?;
    Ok(Wired {
        breakers: Breakers::new(&aws)?,
        providers: Outside {
            payment: Stripe::new(&setting("PAYMENT_API_URL")?, Secret::new(payment_key))?,
            carrier: HttpCarrier::new(&setting("CARRIER_API_URL")?, Secret::new(carrier_key))?,
            mail: Arc::clone(&aws),
        },
        mappings: parse(&setting("MAPPING_IDS")?, &normals)?,
        aws,
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    init_logging();
    let (wired, invocations) = (&wire().await?, &Invocations::default());
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| async move {
        let invocation = invocations.next(&event.context);
        let asked = Asked::by(&event.payload);
        let trigger = if asked == Asked::Watch { "timer" } else { "datasource" };
        let work = Box::pin(run(wired, asked, &invocation));
        let failed = |answer: &Result<Value, Error>| answer.as_ref().err().map(|_| "error");
        logged(event.context, invocation.cold_start, trigger, work, failed).await
    }))
    .await
}

/// Answers as a stream's consumer has to: no failed item. A run that could not do all fails as a whole, and loudly.
async fn run(wired: &Wired, asked: Asked, invocation: &Invocation) -> Result<Value, Error> {
    let aws = &*wired.aws;
    let started_ms = aws.now_ms();
    let meter = Meter::default();
    let (breakers, providers, mappings) = (&wired.breakers, &wired.providers, &wired.mappings);
    let run = control_breakers::run(aws, breakers, providers, mappings, asked, invocation.deadline_ms);
    let done = meter.around(run).await?;
    let now_ms = aws.now_ms();
    if asked != Asked::Nothing {
        Document::new("invocation finished")
            .dimension("function", "control-breakers")
            .metric("breakers_open", "Count", done.breakers_open)
            .metric("probes", "Count", done.probes)
            .metric("mappings_changed", "Count", done.changed)
            .metric("mappings_turned_on", "Count", done.turned_on)
            .metric("control_failures", "Count", done.failed)
            .metric("duration_ms", "Milliseconds", now_ms.saturating_sub(started_ms))
            .property("good_probes", done.good_probes)
            .property("request_id", invocation.request_id.as_str())
            .property("calls", json!(meter.calls()))
            .property("cold_start", invocation.cold_start)
            .emit(now_ms);
    }
    if invocation.cold_start {
        Document::cold_start("control-breakers").emit(now_ms);
    }
    if done.failed > 0 {
        return Err(format!("{} breakers or mappings could not be dealt with: see the lines above", done.failed).into());
    }
    Ok(json!({ "batchItemFailures": [], "report": done }))
}
