//! The small works, over and over inside one invocation. The driver measures the process from outside; an answer only
//! proves that the work was done.

use std::cell::Cell;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use aws_config::BehaviorVersion;
use bench::quiet::Quiet;
use lambda_queue::aws::Dynamo;
use lambda_queue::batch::{Event, Invocation, json};
use lambda_queue::idempotency::{Call, Capability, Fingerprint, Idempotency, Namespace, Settings};
use lambda_queue::logging::{self, InvocationIds};
use lambda_queue::metrics::Document;
use lambda_queue::ports::Store;
use lambda_queue::{Batch, Clock, Done, Failure};
use lambda_runtime::{Context, Error, LambdaEvent, run, service_fn};
use serde::Deserialize;
use serde_json::{Value, json as value};

use crate::instant::Instant;
use crate::{Order, Placed};

/// How long results are kept: as long as Powertools keeps them unless told otherwise.
pub(crate) const KEPT_MS: u64 = 3_600_000;

/// What the driver asks for.
#[derive(Deserialize)]
#[serde(tag = "work", rename_all = "lowercase")]
enum Work {
    Batch { path: String, repeat: usize },
    Idempotent { store: Kind, prefix: String, repeat: usize },
    Emf { repeat: usize },
    Log { repeat: usize },
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Dynamodb,
    Memory,
}

struct Stores {
    dynamodb: Dynamo,
    instant: Instant,
    settings: Settings,
}

pub(crate) async fn serve() -> Result<(), Error> {
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let stores = Stores {
        dynamodb: Dynamo::new(&config),
        instant: Instant::default(),
        settings: Settings::new(std::env::var("IDEMPOTENCY_TABLE")?, KEPT_MS),
    };
    let stores = Arc::new(stores);
    run(service_fn(move |event: LambdaEvent<Work>| {
        let stores = Arc::clone(&stores);
        async move { work(&stores, event.payload, event.context).await }
    }))
    .await
}

async fn work(stores: &Stores, work: Work, context: Context) -> Result<Value, Error> {
    match work {
        Work::Batch { path, repeat } => batch(&std::fs::read(path)?, repeat, &context).await,
        Work::Idempotent { store, prefix, repeat } => match store {
            Kind::Dynamodb => idempotent(&stores.dynamodb, &stores.settings, &prefix, repeat, &context).await,
            Kind::Memory => idempotent(&stores.instant, &stores.settings, &prefix, repeat, &context).await,
        },
        Work::Emf { repeat } => {
            for at in 0..repeat {
                Document::new("order placed")
                    .dimension("service", "bench")
                    .metric("OrdersPlaced", "Count", 1_u64)
                    .metric("Lines", "Count", u64::try_from(at)?)
                    .metric("Latency", "Milliseconds", 12_u64)
                    .emit(Quiet.now_ms());
            }
            Ok(Value::Null)
        }
        Work::Log { repeat } => {
            let ids = InvocationIds { request_id: &context.request_id, ..InvocationIds::default() };
            let lines = async {
                for at in 0..repeat {
                    tracing::info!(order_id = "o-1", receive_count = at, queue = "validate", "order placed");
                }
            };
            logging::invocation(&ids, lines, |()| None, || Duration::ZERO).await;
            Ok(Value::Null)
        }
    }
}

/// From the event's bytes to the answer's, every body read.
async fn batch(text: &[u8], repeat: usize, context: &Context) -> Result<Value, Error> {
    let batch = Batch::new("bench", &Quiet).quiet();
    let handler = json(|order: Order, _| {
        ready(if order.quantity > 0 { Ok(Done::now(Vec::new())) } else { Err(Failure::retry("quantity")) })
    });
    let mut answer = Vec::new();
    for _ in 0..repeat {
        let event = Event::from_slice(text)?;
        let of =
            Invocation { request_id: context.request_id.clone(), deadline_ms: context.deadline, cold_start: false };
        answer = serde_json::to_vec(&batch.run(event, of, &handler).await?)?;
    }
    Ok(serde_json::from_slice(&answer)?)
}

async fn idempotent(
    store: &(impl Store + Sync),
    settings: &Settings,
    prefix: &str,
    repeat: usize,
    context: &Context,
) -> Result<Value, Error> {
    let namespace = Namespace::new("bench", "place")?;
    let idempotency = Idempotency::new(store, &Quiet, settings);
    let ran = Cell::new(0_usize);
    let mut last = Value::Null;
    for at in 0..repeat {
        let order_id = format!("{prefix}-{at}");
        let order = value!({ "order_id": order_id, "quantity": 2, "currency": "EUR" });
        let (key, fingerprint) = (namespace.key_at(&order, &["/order_id"])?, Fingerprint::of_value(&order)?);
        let call = Call { key: &key, fingerprint: &fingerprint, lease_until_ms: context.deadline + 5_000 };
        let place = |_| {
            ran.set(ran.get() + 1);
            ready(Ok(Placed::accepted(&order_id)))
        };
        let answer = idempotency.run(call, Capability::REPEATABLE, place).await?;
        last = serde_json::to_value(answer.value)?;
    }
    Ok(value!({ "ran": ran.get(), "last": last }))
}
