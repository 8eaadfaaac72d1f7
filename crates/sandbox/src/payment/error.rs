//! Errors in Stripe's shape: <https://docs.stripe.com/api/errors>, codes <https://docs.stripe.com/error-codes>.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use crate::app::{Keyed, Reply};
use crate::payment::model::{Decline, Intent};

fn doc_url(code: &str) -> String {
    format!("https://stripe.com/docs/error-codes/{}", code.replace('_', "-"))
}

fn error(
    status: StatusCode,
    kind: &str,
    code: Option<&str>,
    message: &str,
    param: Option<&str>,
) -> (StatusCode, Value) {
    let mut error = Map::new();
    if let Some(code) = code {
        error.insert("code".to_owned(), code.into());
        error.insert("doc_url".to_owned(), doc_url(code).into());
    }
    error.insert("message".to_owned(), message.into());
    if let Some(param) = param {
        error.insert("param".to_owned(), param.into());
    }
    error.insert("type".to_owned(), kind.into());
    (status, Value::Object(error))
}

fn reply((status, error): (StatusCode, Value)) -> Reply {
    Reply::json(status, &json!({ "error": error }))
}

/// A parameter that failed validation, before anything ran: not kept under an idempotency key.
pub(crate) fn invalid(code: &str, message: &str, param: Option<&str>) -> Reply {
    reply(error(StatusCode::BAD_REQUEST, "invalid_request_error", Some(code), message, param)).not_kept()
}

/// The same, for the validations that Stripe gives no code.
pub(crate) fn invalid_without_code(message: &str, param: Option<&str>) -> Reply {
    reply(error(StatusCode::BAD_REQUEST, "invalid_request_error", None, message, param)).not_kept()
}

/// A refusal by the endpoint itself: kept.
pub(crate) fn refused(code: Option<&str>, message: &str, param: Option<&str>) -> Reply {
    reply(error(StatusCode::BAD_REQUEST, "invalid_request_error", code, message, param))
}

pub(crate) fn unauthorized(message: &str) -> Reply {
    reply(error(StatusCode::UNAUTHORIZED, "invalid_request_error", None, message, None)).not_kept()
}

pub(crate) fn unknown_route(method: &str, path: &str) -> Reply {
    let message = format!("Unrecognized request URL ({method}: {path}).");
    reply(error(StatusCode::NOT_FOUND, "invalid_request_error", None, &message, None)).not_kept()
}

/// An object named in the path that does not exist.
pub(crate) fn not_found(object: &str, id: &str, param: &str) -> Reply {
    let message = format!("No such {object}: '{id}'");
    let code = Some("resource_missing");
    reply(error(StatusCode::NOT_FOUND, "invalid_request_error", code, &message, Some(param))).not_kept()
}

/// An object named in a parameter that does not exist.
pub(crate) fn no_such(object: &str, id: &str, param: &str) -> Reply {
    invalid("resource_missing", &format!("No such {object}: '{id}'"), Some(param))
}

pub(crate) fn unexpected_state(intent: &Intent, message: &str) -> Reply {
    let code = Some("payment_intent_unexpected_state");
    let (status, mut error) = error(StatusCode::BAD_REQUEST, "invalid_request_error", code, message, None);
    if let Some(error) = error.as_object_mut() {
        error.insert("payment_intent".to_owned(), intent.render(None));
    }
    reply((status, error))
}

/// The error object of a decline, which is also the PaymentIntent's `last_payment_error`.
pub(crate) fn card_error(decline: &Decline, charge: Option<&str>, payment_method: Value) -> Value {
    let (_, mut error) = error(StatusCode::PAYMENT_REQUIRED, "card_error", Some(decline.code), decline.message, None);
    if let Some(error) = error.as_object_mut() {
        if let Some(charge) = charge {
            error.insert("charge".to_owned(), charge.into());
        }
        error.insert("decline_code".to_owned(), decline.decline_code.into());
        error.insert("payment_method".to_owned(), payment_method);
    }
    error
}

/// The answer to a decline: the card error with the PaymentIntent as it now is.
pub(crate) fn declined(mut card_error: Value, intent: &Intent) -> Reply {
    if let Some(error) = card_error.as_object_mut() {
        error.insert("payment_intent".to_owned(), intent.render(None));
    }
    reply((StatusCode::PAYMENT_REQUIRED, card_error))
}

pub(crate) fn internal() -> Reply {
    let message = "An unknown error occurred. Please contact support@stripe.com if the problem persists.";
    reply(error(StatusCode::INTERNAL_SERVER_ERROR, "api_error", None, message, None))
}

pub(crate) fn rate_limited() -> Reply {
    let message = "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits.";
    let code = Some("rate_limit");
    reply(error(StatusCode::TOO_MANY_REQUESTS, "invalid_request_error", code, message, None)).not_kept()
}

/// A key used for something else than the first time.
pub(crate) fn key_misuse(keyed: &Keyed, first_path: &str, first_params: &str) -> Option<Reply> {
    let key = &keyed.key;
    let message = if keyed.path != first_path {
        format!(
            "Keys for idempotent requests can only be used for the same endpoint they were first used for ('{}' vs \
             '{first_path}'). Try using a key other than '{key}' if you meant to execute a different request.",
            keyed.path
        )
    } else if keyed.params != first_params {
        format!(
            "Keys for idempotent requests can only be used with the same parameters they were first used with. Try \
             using a key other than '{key}' if you meant to execute a different request."
        )
    } else {
        return None;
    };
    Some(reply(error(StatusCode::BAD_REQUEST, "idempotency_error", None, &message, None)).not_kept())
}

/// A key whose first request has not been answered yet.
pub(crate) fn key_in_use(key: &str) -> Reply {
    let message = format!(
        "There is currently another in-progress request using this Idempotent Key (that probably means you submitted \
         twice, and the other request is still going through): {key}. Please try again later."
    );
    let code = Some("idempotency_key_in_use");
    reply(error(StatusCode::CONFLICT, "idempotency_error", code, &message, None)).not_kept()
}
