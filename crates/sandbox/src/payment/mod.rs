//! The payment provider: Stripe's PaymentIntents and Refunds, as far as an order needs them.
//!
//! <https://docs.stripe.com/api/payment_intents>, <https://docs.stripe.com/api/refunds>,
//! <https://docs.stripe.com/api/idempotent_requests>

pub(crate) mod error;
mod intents;
mod list;
pub(crate) mod model;
mod params;
mod refunds;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{OriginalUri, Path, RawQuery, State};
use axum::http::{HeaderMap, Method, Response, Uri, header};
use axum::routing::{get, post};

use crate::app::{App, Keyed, Reply, Work};
use crate::faults::{Call, Operation};
use crate::ledger::Provider;
use params::Params;

const KEY_CHARS: usize = 255;

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/payment_intents", post(create).get(list))
        // Stripe's Search lags behind its objects, so nothing may be decided by it: here it does not exist.
        .route("/payment_intents/search", get(unknown))
        .route("/payment_intents/{id}", get(read))
        .route("/payment_intents/{id}/confirm", post(confirm))
        .route("/payment_intents/{id}/capture", post(capture))
        .route("/payment_intents/{id}/cancel", post(cancel))
        .route("/refunds", post(refund).get(list_refunds))
        .route("/refunds/{id}", get(read_refund))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
}

/// What all requests have in common once they are let in.
struct Asked {
    app: Arc<App>,
    operation: Operation,
    order_id: Option<String>,
    params: Params,
    keyed: Option<Keyed>,
}

impl Asked {
    async fn run(
        self,
        work: impl FnOnce(&mut crate::world::Tx<'_>, &Params) -> Result<Reply, Reply> + Send + 'static,
    ) -> Response<Body> {
        let Self { app, operation, order_id, params, keyed } = self;
        let work: Work = Box::new(move |tx| work(tx, &params).unwrap_or_else(|refusal| refusal));
        app.call(Call { provider: Provider::Payment, operation, order_id }, keyed, work).await
    }
}

fn authorize(headers: &HeaderMap) -> Result<(), Reply> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(key) = given.and_then(|value| value.strip_prefix("Bearer ")).map(str::trim).filter(|key| !key.is_empty())
    else {
        return Err(error::unauthorized(
            "You did not provide an API key. You need to provide your API key in the Authorization header, using \
             Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
        ));
    };
    if key.starts_with("sk_test_") || key.starts_with("rk_test_") {
        Ok(())
    } else {
        // Never the key itself: it may be a live one.
        Err(error::unauthorized("Invalid API Key provided: only test keys (sk_test_...) work here."))
    }
}

fn by_post(app: Arc<App>, operation: Operation, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Result<Asked, Reply> {
    authorize(headers)?;
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if content_type.is_some_and(|kind| !kind.starts_with("application/x-www-form-urlencoded")) {
        let message = "Invalid request: send parameters as application/x-www-form-urlencoded.";
        return Err(error::invalid_without_code(message, None));
    }
    let params = Params::parse(body);
    let keyed = match headers.get("idempotency-key").map(|value| value.to_str()) {
        None => None,
        Some(Ok(key)) if !key.is_empty() && key.len() <= KEY_CHARS => {
            Some(Keyed { key: key.to_owned(), path: uri.path().to_owned(), params: params.canonical() })
        }
        Some(_) => {
            let message = format!("Idempotency keys are 1 to {KEY_CHARS} printable characters long.");
            return Err(error::invalid_without_code(&message, None));
        }
    };
    Ok(Asked { app, operation, order_id: None, params, keyed })
}

fn by_get(app: Arc<App>, headers: &HeaderMap, query: Option<&str>) -> Result<Asked, Reply> {
    authorize(headers)?;
    let params = Params::parse(query.unwrap_or_default().as_bytes());
    Ok(Asked { app, operation: Operation::Lookup, order_id: None, params, keyed: None })
}

fn order_of(app: &App, intent: &str) -> Option<String> {
    app.world().intents.get(intent).and_then(model::Intent::order_id)
}

/// The answer to a request that was not let in.
async fn refuse(app: &Arc<App>, refusal: Reply) -> Response<Body> {
    app.say(refusal).await
}

async fn create(
    State(app): State<Arc<App>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    match by_post(Arc::clone(&app), Operation::Create, &uri, &headers, &body) {
        Ok(asked) => {
            let order_id = asked.params.get("metadata[order_id]").map(str::to_owned);
            Asked { order_id, ..asked }.run(intents::create).await
        }
        Err(refusal) => refuse(&app, refusal).await,
    }
}

async fn list(State(app): State<Arc<App>>, headers: HeaderMap, RawQuery(query): RawQuery) -> Response<Body> {
    match by_get(Arc::clone(&app), &headers, query.as_deref()) {
        Ok(asked) => asked.run(intents::list).await,
        Err(refusal) => refuse(&app, refusal).await,
    }
}

/// An endpoint on one PaymentIntent.
type OnIntent = fn(&mut crate::world::Tx<'_>, &str, &Params) -> Result<Reply, Reply>;

async fn on_intent(app: Arc<App>, asked: Result<Asked, Reply>, id: String, endpoint: OnIntent) -> Response<Body> {
    match asked {
        Ok(asked) => {
            let order_id = order_of(&app, &id);
            Asked { order_id, ..asked }.run(move |tx, params| endpoint(tx, &id, params)).await
        }
        Err(refusal) => refuse(&app, refusal).await,
    }
}

async fn read(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response<Body> {
    let asked = by_get(Arc::clone(&app), &headers, query.as_deref());
    on_intent(app, asked, id, intents::read).await
}

async fn confirm(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let asked = by_post(Arc::clone(&app), Operation::Confirm, &uri, &headers, &body);
    on_intent(app, asked, id, intents::confirm).await
}

async fn capture(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let asked = by_post(Arc::clone(&app), Operation::Capture, &uri, &headers, &body);
    on_intent(app, asked, id, intents::capture).await
}

async fn cancel(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let asked = by_post(Arc::clone(&app), Operation::Cancel, &uri, &headers, &body);
    on_intent(app, asked, id, intents::cancel).await
}

async fn refund(
    State(app): State<Arc<App>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    match by_post(Arc::clone(&app), Operation::Refund, &uri, &headers, &body) {
        Ok(asked) => {
            let order_id = asked.params.get("payment_intent").and_then(|id| order_of(&app, id));
            Asked { order_id, ..asked }.run(refunds::create).await
        }
        Err(refusal) => refuse(&app, refusal).await,
    }
}

async fn list_refunds(State(app): State<Arc<App>>, headers: HeaderMap, RawQuery(query): RawQuery) -> Response<Body> {
    match by_get(Arc::clone(&app), &headers, query.as_deref()) {
        Ok(asked) => {
            let order_id = asked.params.get("payment_intent").and_then(|id| order_of(&app, id));
            Asked { order_id, ..asked }.run(refunds::list).await
        }
        Err(refusal) => refuse(&app, refusal).await,
    }
}

async fn read_refund(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response<Body> {
    match by_get(Arc::clone(&app), &headers, query.as_deref()) {
        Ok(asked) => asked.run(move |tx, params| refunds::read(tx, &id, params)).await,
        Err(refusal) => refuse(&app, refusal).await,
    }
}

async fn unknown(State(app): State<Arc<App>>, method: Method, OriginalUri(uri): OriginalUri) -> Response<Body> {
    refuse(&app, error::unknown_route(method.as_str(), uri.path())).await
}
