//! What became of the attempts before the last one.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::FinalizerInterceptorContextMut;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};

/// Interceptor of a client that retries: an answer remembers that an earlier attempt of its call got none. That one may have
/// been done, though the last one was told a throttle: [`store_error`](super::store_error) then says `Unknown`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LostAttempts;

/// An attempt of this call got no answer. In the call's state, and on the answers that come after.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Lost;

impl Storable for Lost {
    type Storer = StoreReplace<Self>;
}

#[dyn_dispatch_hint]
impl Intercept for LostAttempts {
    fn name(&self) -> &'static str {
        "LostAttempts"
    }

    fn modify_before_attempt_completion(
        &self,
        context: &mut FinalizerInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        state: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let done = matches!(context.output_or_error(), Some(Ok(_)));
        let refused = context.response().is_some_and(|response| response.status().is_client_error());
        if !done && !refused {
            state.interceptor_state().store_put(Lost);
        } else if state.load::<Lost>().is_some()
            && let Some(response) = context.response_mut()
        {
            response.add_extension(Lost);
        }
        Ok(())
    }
}

/// Whether an attempt before the one that got this answer got none.
pub(super) fn follows_a_lost_one<E>(error: &SdkError<E, HttpResponse>) -> bool {
    error.raw_response().is_some_and(|response| response.extension::<Lost>().is_some())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_config::retry::RetryConfig;
    use aws_config::{BehaviorVersion, Region};
    use aws_sdk_dynamodb::config::Credentials;

    use super::super::Dynamo;
    use super::super::scripted::{Scripted, answer};
    use crate::ports::store::{Item, Store as _, StoreError, Transacted, Write, Written, text};

    async fn dynamo(endpoint: &str) -> Dynamo {
        let retries = RetryConfig::standard().with_max_attempts(3).with_initial_backoff(Duration::from_millis(1));
        let config = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("0", "local", None, None, "tests"))
            .retry_config(retries)
            .endpoint_url(endpoint)
            .load()
            .await;
        Dynamo::new(&config)
    }

    fn throttled() -> Option<String> {
        answer(400, r#"{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException","message":"slow down"}"#)
    }

    fn refused() -> Option<String> {
        answer(400, r#"{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","message":"no"}"#)
    }

    fn cancelled() -> Option<String> {
        let reasons = r#""CancellationReasons":[{"Code":"TransactionConflict"}]"#;
        let body = r#"{"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException","message":"no","#;
        answer(400, &format!("{body}{reasons}}}"))
    }

    fn put() -> Write {
        Write::put("rows", Item::from([("id".to_owned(), text("1"))])).when("attribute_not_exists(id)")
    }

    async fn written(answers: Vec<Option<String>>) -> Result<Written, StoreError> {
        let server = Scripted::start(answers).await;
        let written = dynamo(&server.endpoint()).await.write(put()).await;
        server.all_were_asked();
        written
    }

    async fn transacted(answers: Vec<Option<String>>) -> Result<Transacted, StoreError> {
        let server = Scripted::start(answers).await;
        let transacted = dynamo(&server.endpoint()).await.transact(vec![put()]).await;
        server.all_were_asked();
        transacted
    }

    #[tokio::test]
    async fn a_throttle_after_an_answer_that_was_lost_is_a_doubt_and_a_throttle_alone_is_none() {
        let throttles = written(vec![throttled(), throttled(), throttled()]).await;
        assert!(matches!(throttles, Err(StoreError::NotDone(_))), "{throttles:?}");
        for answers in [[None, throttled(), throttled()], [throttled(), None, throttled()]] {
            let lost = written(answers.to_vec()).await;
            assert!(matches!(lost, Err(StoreError::Unknown(_))), "{lost:?}");
        }
        assert_eq!(written(vec![None, refused()]).await, Ok(Written::Refused(None)), "an answer is one");
        assert_eq!(written(vec![None, answer(200, "{}")]).await, Ok(Written::Done(Item::new())));
    }

    #[tokio::test]
    async fn so_is_a_transaction_that_was_cancelled_after_one() {
        let met = transacted(vec![cancelled()]).await;
        assert!(matches!(met, Err(StoreError::NotDone(_))), "{met:?}");
        let lost = transacted(vec![None, cancelled()]).await;
        assert!(matches!(lost, Err(StoreError::Unknown(_))), "{lost:?}");
        assert_eq!(transacted(vec![None, answer(200, "{}")]).await, Ok(Transacted::Done));
    }
}
