//! `/_sandbox/...`: the ledger, faults, latency and the clock. Nothing here is part of a provider.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::{App, Reply, Work};
use crate::faults::{Fault, Latency};
use crate::tokens;

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/health", get(health))
        .route("/ledger", get(ledger))
        .route("/faults", get(faults).post(add_faults).delete(clear_faults))
        .route("/faults/hits", get(hits))
        .route("/latency", get(latency).put(set_latency).post(set_latency))
        .route("/clock", get(clock).post(advance_clock))
}

/// The issuer's paths, under `/auth`.
pub(crate) fn auth_routes() -> Router<Arc<App>> {
    Router::new()
        .route("/token", post(token))
        .route("/.well-known/openid-configuration", get(configuration))
        .route("/.well-known/jwks.json", get(jwks))
}

type Answer = (StatusCode, Json<Value>);

fn bad_request(message: impl ToString) -> Answer {
    (StatusCode::BAD_REQUEST, Json(json!({ "error": message.to_string() })))
}

async fn health(State(app): State<Arc<App>>) -> Answer {
    let healthy = app.journal.healthy();
    let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let entries = app.world().ledger.len();
    let under_way = app.under_way.load(Ordering::Acquire);
    // `under_way` counts calls whose effect may still come: the ledger is final once it is 0 and nobody calls.
    (status, Json(json!({ "ok": healthy, "ledger_entries": entries, "under_way": under_way })))
}

#[derive(Debug, Deserialize)]
struct Page {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

async fn ledger(State(app): State<Arc<App>>, Query(page): Query<Page>) -> Response<Body> {
    let body = {
        let world = app.world();
        let start = usize::try_from(page.after).unwrap_or(usize::MAX).min(world.ledger.len());
        let rest = world.ledger.get(start..).unwrap_or_default();
        let rest = rest.get(..page.limit.unwrap_or(rest.len()).min(rest.len())).unwrap_or_default();
        serde_json::to_string(rest)
    };
    match body {
        Ok(body) => app.say(Reply { status: StatusCode::OK, body, retry_after_s: None, keep: false }).await,
        Err(error) => {
            app.say(Reply::json(StatusCode::INTERNAL_SERVER_ERROR, &json!({ "error": error.to_string() }))).await
        }
    }
}

async fn faults(State(app): State<Arc<App>>) -> Answer {
    let faults = app.faults();
    (StatusCode::OK, Json(json!({ "seed": faults.seed, "faults": faults.rules() })))
}

#[derive(Debug, Deserialize)]
struct Seed {
    seed: Option<u64>,
}

async fn add_faults(State(app): State<Arc<App>>, Query(seed): Query<Seed>, body: Bytes) -> Answer {
    let asked: Result<Vec<Fault>, _> = match body.trim_ascii_start().first() {
        Some(b'[') => serde_json::from_slice(&body),
        _ => serde_json::from_slice(&body).map(|fault| vec![fault]),
    };
    let asked = match asked {
        Ok(asked) => asked,
        Err(error) => return bad_request(error),
    };
    let mut faults = app.faults();
    if let Err(error) = faults.add(asked) {
        return bad_request(error);
    }
    if let Some(seed) = seed.seed {
        faults.seed = seed;
    }
    (StatusCode::OK, Json(json!({ "seed": faults.seed, "faults": faults.rules() })))
}

async fn clear_faults(State(app): State<Arc<App>>) -> StatusCode {
    app.faults().clear();
    StatusCode::NO_CONTENT
}

async fn hits(State(app): State<Arc<App>>) -> Answer {
    (StatusCode::OK, Json(json!({ "hits": app.faults().hits() })))
}

async fn latency(State(app): State<Arc<App>>) -> Answer {
    (StatusCode::OK, Json(json!(app.faults().latency)))
}

async fn set_latency(State(app): State<Arc<App>>, body: Bytes) -> Answer {
    match serde_json::from_slice::<Latency>(&body) {
        Ok(latency) => {
            app.faults().latency = latency;
            (StatusCode::OK, Json(json!(latency)))
        }
        Err(error) => bad_request(error),
    }
}

async fn clock(State(app): State<Arc<App>>) -> Answer {
    (StatusCode::OK, Json(json!({ "now_ms": app.clock.now_ms(), "offset_ms": app.clock.offset_ms() })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    advance_ms: u32,
}

/// Moves the clock forward, for good: a key or a hold that expired does not come back with a restart.
async fn advance_clock(State(app): State<Arc<App>>, body: Bytes) -> Response<Body> {
    let advance = match serde_json::from_slice::<Advance>(&body) {
        Ok(advance) => i64::from(advance.advance_ms),
        Err(error) => {
            return app.say(Reply::json(StatusCode::BAD_REQUEST, &json!({ "error": error.to_string() }))).await;
        }
    };
    let work: Work = Box::new(move |tx| {
        let offset_ms = tx.world.clock_offset_ms.saturating_add(advance);
        tx.commit.clock_offset_ms = Some(offset_ms);
        Reply::json(StatusCode::OK, &json!({ "offset_ms": offset_ms }))
    });
    let (reply, _) = app.execute(None, "", work, |reply| reply);
    app.clock.set_offset_ms(app.world().clock_offset_ms);
    app.say(reply).await
}

async fn token(State(app): State<Arc<App>>, headers: HeaderMap, body: Bytes) -> Answer {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let asked = if kind.starts_with("application/json") {
        serde_json::from_slice(&body).map_err(|error| error.to_string())
    } else {
        tokens::asked_by_form(&body)
    };
    match asked {
        Ok(asked) => {
            let (status, token) = app.issuer.issue(&asked, app.clock.now_ms() / 1000);
            (status, Json(token))
        }
        Err(message) => {
            (StatusCode::BAD_REQUEST, Json(json!({ "error": "invalid_request", "error_description": message })))
        }
    }
}

async fn configuration(State(app): State<Arc<App>>) -> Json<Value> {
    Json(app.issuer.configuration())
}

async fn jwks(State(app): State<Arc<App>>) -> Json<Value> {
    Json(app.issuer.jwks())
}
