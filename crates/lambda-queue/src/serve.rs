//! A consumer as a Lambda function: the batch loop under the Lambda runtime.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use lambda_runtime::{Context, Error, LambdaEvent, service_fn};

use crate::batch::Invocation;
use crate::{Batch, Clock, Done, Failure, Queue, Random, Record};

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
pub async fn sqs<P, F, W>(batch: Batch<'_, P>, handler: F) -> Result<(), Error>
where
    P: Clock + Random + Queue,
    F: Fn(Record) -> W,
    W: Future<Output = Result<Done, Failure>>,
{
    let invocations = Invocations::default();
    let (batch, invocations, handler) = (&batch, &invocations, &handler);
    lambda_runtime::run(service_fn(move |event: LambdaEvent<SqsEvent>| async move {
        let invocation = invocations.next(&event.context);
        let answer: Result<SqsBatchResponse, Error> =
            Box::pin(batch.run(event.payload, invocation, handler)).await.map_err(Error::from);
        answer
    }))
    .await
}
