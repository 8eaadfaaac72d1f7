//! What an SDK error says about whether the call was done.

use std::error::Error;

use crate::ports::store::StoreError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::attempts::follows_a_lost_one;

/// The service's code and message, or the kind of failure. Holds nothing of the request.
pub fn text<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> String {
    match error.as_service_error() {
        Some(service) => {
            format!("{}: {}", service.code().unwrap_or("unnamed error"), service.message().unwrap_or_default())
        }
        None => match error {
            SdkError::TimeoutError(_) => "timeout".to_owned(),
            SdkError::DispatchFailure(failure) if failure.is_timeout() => "timeout while connecting".to_owned(),
            SdkError::DispatchFailure(failure) => {
                format!("no answer: {:?}", failure.as_connector_error().map(ToString::to_string).unwrap_or_default())
            }
            SdkError::ResponseError(_) => "an answer that cannot be read".to_owned(),
            SdkError::ConstructionFailure(_) | SdkError::ServiceError(_) | _ => format!("{error}"),
        },
    }
}

/// Whether a write surely was not done. 4xx are the service's own "no"; everything else may have been lost on its way back.
///
/// It is the last attempt's answer. Where the client retries, an earlier attempt may have been done and its answer lost: with
/// the interceptor [`LostAttempts`](super::LostAttempts), which [`Dynamo`](super::Dynamo) has, that is `Unknown`; of a client
/// without it, it is not seen, and that client is one that does not retry, or whose writes may be repeated.
pub fn store_error<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> StoreError {
    let said = text(error);
    let refused = error.raw_response().is_some_and(|response| response.status().is_client_error());
    if refused && follows_a_lost_one(error) {
        StoreError::Unknown(format!("of an earlier attempt; the last one was told {said}"))
    } else if refused || matches!(error, SdkError::ConstructionFailure(_)) {
        StoreError::NotDone(said)
    } else {
        StoreError::Unknown(said)
    }
}

/// What failed that only reads: lost or refused, it has done nothing.
pub fn read_error<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> StoreError {
    StoreError::NotDone(text(error))
}

/// Whether the request surely never left: no connection came about (refused, no address for the name, no TLS, the time to
/// connect over). Of the last attempt only: where the client retries, an earlier one may have left, so this is for clients
/// that do not.
pub fn never_connected<E: Error + 'static>(error: &SdkError<E, HttpResponse>) -> bool {
    let SdkError::DispatchFailure(failure) = error else { return false };
    let mut source = failure.as_connector_error().and_then(Error::source);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<hyper_util::client::legacy::Error>() {
            return error.is_connect();
        }
        source = error.source();
    }
    false
}
