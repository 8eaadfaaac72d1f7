//! A consumer as a Lambda function: the batch loop under the Lambda runtime.
//!
//! One process takes one invocation at a time, or as many as `AWS_LAMBDA_MAX_CONCURRENCY` says (Lambda Managed Instances):
//! then invocations share handler and ports, and nothing else. So both live as long as the process: leak what `main` makes
//! (`Box::leak`), or keep it in an `Arc`.
//!
//! Source: <https://docs.aws.amazon.com/lambda/latest/dg/lambda-managed-instances.html>

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use lambda_runtime::Error;
use lambda_runtime::{Context, LambdaEvent, service_fn};
use serde::de::{self, DeserializeOwned};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::batch::{Event, Invocation};
use crate::{Answer, Batch, Clock, Queue, Random, Record};

/// Tells the invocations of one process apart: the first is its cold start.
#[derive(Debug, Default)]
pub struct Invocations(AtomicBool);

impl Invocations {
    /// What the runtime says of an invocation.
    pub fn next(&self, context: &Context) -> Invocation {
        Invocation {
            request_id: context.request_id.clone(),
            deadline_ms: context.deadline,
            cold_start: !self.0.swap(true, Ordering::Relaxed),
        }
    }
}

/// Serves an SQS-fed function until Lambda stops it. An event that is none of SQS, or a record without messageId, fails
/// the invocation: nothing is deleted.
///
/// Built with `panic = "abort"` it says at start that a record's panic ends the process: then the whole batch comes back.
///
/// # Errors
/// When the Lambda runtime does.
pub async fn sqs<P, F, W>(batch: Batch<'static, P>, handler: F) -> Result<(), Error>
where
    P: Clock + Random + Queue + Sync + 'static,
    F: Fn(Arc<Record>) -> W + Send + Sync + 'static,
    W: Future<Output = Answer> + Send + 'static,
{
    if cfg!(panic = "abort") {
        tracing::warn!("built with panic = abort: a record that panics takes its whole batch with it");
    }
    let shared = Arc::new((batch, handler));
    events(move |event: Payload, invocation| {
        let shared = Arc::clone(&shared);
        async move { shared.0.run(event.0, invocation, &shared.1).await }
    })
    .await
}

/// An event as [`sqs`] takes it out of the runtime's hands: passed over once as it is, and then read by
/// [`Event::from_json`]. The runtime's own way of reading keeps the path to every value for its error text, which costs more
/// than both.
struct Payload(Event);

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?;
        Event::from_json(json.get()).map(Self).map_err(de::Error::custom)
    }
}

/// Serves a function of any event until Lambda stops it: for whoever has to see a batch as a whole, and for streams. The
/// error of an invocation fails it. With the feature `logging` the handler runs in the invocation's span
/// ([`crate::logging::invocation`]).
///
/// # Errors
/// When the Lambda runtime does.
pub async fn events<E, A, X, F, W>(handler: F) -> Result<(), Error>
where
    E: DeserializeOwned + Send + 'static,
    A: Serialize + Send + 'static,
    X: Into<Error> + 'static,
    F: Fn(E, Invocation) -> W + Clone + Send + 'static,
    W: Future<Output = Result<A, X>> + Send + 'static,
{
    let invocations = Arc::new(Invocations::default());
    lambda_runtime::run_concurrent(service_fn(move |event: LambdaEvent<E>| {
        let invocation = invocations.next(&event.context);
        let cold_start = invocation.cold_start;
        // Boxed, both: a handler over the SDK nests futures deeper than the compiler likes to lay out, and each layer around one
        // that is not has room for it twice.
        let work = Box::pin(handler(event.payload, invocation));
        let work = async move { work.await.map_err(Into::<Error>::into) };
        Box::pin(logged(event.context, cold_start, "pubsub", work, |answer| answer.as_ref().err().map(|_| "error")))
    }))
    .await
}

/// Runs an invocation's work inside its span ([`crate::logging::invocation`]), for whoever has the Lambda runtime's context
/// and a loop of his own. `trigger` is `faas.trigger`: `pubsub`, `http`, `timer`; `failed` names the kind of failure that an
/// answer is. Spans are exported in what is left until the context's deadline. Without the feature `logging` it only runs.
pub async fn logged<T>(
    context: Context,
    cold_start: bool,
    trigger: &'static str,
    work: impl Future<Output = T>,
    failed: impl FnOnce(&T) -> Option<&'static str>,
) -> T {
    #[cfg(feature = "logging")]
    {
        let of = crate::logging::InvocationIds {
            request_id: &context.request_id,
            cold_start,
            xray_trace: context.xray_trace_id.as_deref(),
            trigger,
        };
        let left = || {
            let left_ms = context.deadline.saturating_sub(crate::logging::system_ms());
            std::time::Duration::from_millis(left_ms)
        };
        crate::logging::invocation(&of, work, failed, left).await
    }
    #[cfg(not(feature = "logging"))]
    {
        drop((context, cold_start, trigger, failed));
        work.await
    }
}
