//! The carrier: shipments over JSON, created once for each reference.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::response::{Html, IntoResponse as _};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::app::{App, Reply, Work};
use crate::faults::{Call, Operation};
use crate::ledger::{Effect, Provider};
use crate::world::{Happened, Tx, new_id};

/// The one address nobody can deliver to.
const UNDELIVERABLE_POSTAL_CODE: &str = "00000";
const NAME: &str = "Sandbox Parcel";
const TEXT_CHARS: usize = 200;
const LINES: usize = 100;

/// What a shipment is asked to be. Two requests with one reference are the same if these are equal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    reference: String,
    service: String,
    ship_to: Address,
    lines: Vec<Line>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Address {
    name: String,
    line1: String,
    #[serde(default)]
    line2: Option<String>,
    city: String,
    postal_code: String,
    country: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    sku: String,
    quantity: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shipment {
    pub(crate) id: String,
    pub(crate) reference: String,
    tracking_number: String,
    tracking_url: String,
    created_at: String,
    asked: Asked,
}

impl Shipment {
    fn render(&self) -> Value {
        json!({
            "id": self.id, "reference": self.reference, "carrier": NAME, "service": self.asked.service,
            "tracking_number": self.tracking_number, "tracking_url": self.tracking_url, "status": "label_created",
            "created_at": self.created_at,
        })
    }
}

impl Asked {
    fn check(&self) -> Result<(), String> {
        let to = &self.ship_to;
        let required = [
            ("reference", &self.reference),
            ("service", &self.service),
            ("ship_to.name", &to.name),
            ("ship_to.line1", &to.line1),
            ("ship_to.city", &to.city),
            ("ship_to.postal_code", &to.postal_code),
            ("ship_to.country", &to.country),
        ];
        for (name, text) in required {
            if text.trim().is_empty() || text.chars().count() > TEXT_CHARS {
                return Err(format!("{name} must have 1 to {TEXT_CHARS} characters"));
            }
        }
        if self.lines.is_empty() || self.lines.len() > LINES {
            return Err(format!("lines must be 1 to {LINES}"));
        }
        if self.lines.iter().any(|line| line.sku.is_empty() || line.quantity == 0) {
            return Err("every line needs a sku and a quantity of at least 1".to_owned());
        }
        Ok(())
    }
}

/// An error of the carrier's: `{"code","message"}`.
pub(crate) fn problem(status: StatusCode, code: &str, message: &str) -> Reply {
    Reply::json(status, &json!({ "code": code, "message": message }))
}

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/shipments", post(create).get(list))
        .route("/v1/shipments/{id}", get(read))
        .route("/track/{tracking_number}", get(track))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
}

fn authorize(headers: &HeaderMap) -> Result<(), Reply> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match given.and_then(|value| value.strip_prefix("Bearer ")).filter(|key| !key.trim().is_empty()) {
        Some(_) => Ok(()),
        None => Err(problem(StatusCode::UNAUTHORIZED, "unauthorized", "A Bearer key is required.")),
    }
}

async fn create(State(app): State<Arc<App>>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let asked = authorize(&headers).and_then(|()| {
        serde_json::from_slice::<Asked>(&body)
            .map_err(|error| error.to_string())
            .and_then(|asked| asked.check().map(|()| asked))
            .map_err(|message| problem(StatusCode::BAD_REQUEST, "invalid_request", &message))
    });
    let asked = match asked {
        Ok(asked) => asked,
        Err(refusal) => return app.say(refusal).await,
    };
    let call =
        Call { provider: Provider::Carrier, operation: Operation::Shipment, order_id: Some(asked.reference.clone()) };
    let base = app.base_url.clone();
    let work: Work = Box::new(move |tx| ship(tx, asked, &base));
    app.call(call, None, work).await
}

fn ship(tx: &mut Tx<'_>, asked: Asked, base_url: &str) -> Reply {
    if let Some(existing) = tx.world.references.get(&asked.reference).and_then(|id| tx.world.shipments.get(id)) {
        return if existing.asked == asked {
            Reply::json(StatusCode::OK, &existing.render())
        } else {
            let message = "This reference already has a shipment, and it is a different one.";
            problem(StatusCode::CONFLICT, "reference_conflict", message)
        };
    }
    let happened = |effect, id: &str, metadata| Happened {
        provider: Provider::Carrier,
        effect,
        order_id: Some(asked.reference.clone()),
        id: id.to_owned(),
        payment_intent: None,
        amount_minor: None,
        currency: None,
        metadata,
    };
    if asked.ship_to.postal_code == UNDELIVERABLE_POSTAL_CODE {
        tx.record(happened(Effect::Undeliverable, &asked.reference, BTreeMap::new()));
        let message = "We do not deliver to this address.";
        return problem(StatusCode::UNPROCESSABLE_ENTITY, "undeliverable", message);
    }
    let tracking_number = new_id("SBX", 13).to_ascii_uppercase();
    let mut metadata: BTreeMap<String, String> =
        asked.lines.iter().map(|line| (format!("line.{}", line.sku), line.quantity.to_string())).collect();
    metadata.insert("service".to_owned(), asked.service.clone());
    metadata.insert("tracking_number".to_owned(), tracking_number.clone());
    let shipment = Shipment {
        id: new_id("shp_", 20),
        reference: asked.reference.clone(),
        tracking_url: format!("{base_url}/carrier/track/{tracking_number}"),
        tracking_number,
        created_at: rfc3339(tx.now_ms),
        asked: asked.clone(),
    };
    tx.record(happened(Effect::ShipmentCreated, &shipment.id, metadata));
    let shown = Reply::json(StatusCode::CREATED, &shipment.render());
    tx.commit.shipments.push(shipment);
    shown
}

#[derive(Debug, Deserialize)]
struct Filter {
    reference: Option<String>,
}

async fn list(State(app): State<Arc<App>>, headers: HeaderMap, Query(filter): Query<Filter>) -> Response<Body> {
    if let Err(refusal) = authorize(&headers) {
        return app.say(refusal).await;
    }
    let Some(reference) = filter.reference.filter(|reference| !reference.is_empty()) else {
        return app.say(problem(StatusCode::BAD_REQUEST, "invalid_request", "reference is required")).await;
    };
    let call = Call { provider: Provider::Carrier, operation: Operation::Lookup, order_id: Some(reference.clone()) };
    let work: Work = Box::new(move |tx| {
        let found = tx.world.references.get(&reference).and_then(|id| tx.world.shipments.get(id));
        let shipments: Vec<Value> = found.map(Shipment::render).into_iter().collect();
        Reply::json(StatusCode::OK, &json!({ "shipments": shipments }))
    });
    app.call(call, None, work).await
}

async fn read(State(app): State<Arc<App>>, headers: HeaderMap, Path(id): Path<String>) -> Response<Body> {
    if let Err(refusal) = authorize(&headers) {
        return app.say(refusal).await;
    }
    let order_id = app.world().shipments.get(&id).map(|shipment| shipment.reference.clone());
    let call = Call { provider: Provider::Carrier, operation: Operation::Lookup, order_id };
    let work: Work = Box::new(move |tx| match tx.world.shipments.get(&id) {
        Some(shipment) => Reply::json(StatusCode::OK, &shipment.render()),
        None => problem(StatusCode::NOT_FOUND, "not_found", "There is no such shipment."),
    });
    app.call(call, None, work).await
}

/// The page behind a tracking link: what a customer opens from a mail.
async fn track(State(app): State<Arc<App>>, Path(number): Path<String>, headers: HeaderMap) -> Response<Body> {
    let found = {
        let world = app.world();
        world.shipments.values().find(|shipment| shipment.tracking_number == number).map(Shipment::render)
    };
    let Some(shipment) = found else {
        return app.say(problem(StatusCode::NOT_FOUND, "not_found", "There is no such parcel.")).await;
    };
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.contains("application/json") {
        return app.say(Reply::json(StatusCode::OK, &shipment)).await;
    }
    // Only values the sandbox made itself: nothing a caller wrote stands on the page.
    let created_at = shipment.get("created_at").and_then(Value::as_str).unwrap_or_default();
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{number}</title><h1>{NAME}</h1>\
         <p>Parcel <strong>{number}</strong></p><p>Label created {created_at}</p></html>"
    );
    let mut response = Html(page).into_response();
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn unknown(State(app): State<Arc<App>>) -> Response<Body> {
    app.say(problem(StatusCode::NOT_FOUND, "not_found", "There is no such path.")).await
}

/// UTC, to the millisecond.
fn rfc3339(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms).map(|at| at.to_string()).unwrap_or_default()
}
