//! The HTTP API: places, lists, reads, cancels and refunds orders. Emits `order.validate.v1`, and for a refund
//! `payment.refund.v1`.
//!
//! A request's way, top to bottom: [`handle`] finds the route, knows the caller by the token (`auth`), counts the
//! tenant (`limit`), and hands over to one module a verb: `place`, `read`, `cancel`, `refund`. What comes in is parsed
//! at the edge (`headers`, `json`, `request`) into types; a "no" is a [`Problem`](problem) with a stable code. The
//! contract for clients is `docs/openapi.yaml`, which the tests hold these answers to.

mod answer;
mod apigw;
mod auth;
mod cancel;
mod fields;
mod headers;
mod json;
mod keys;
mod lanes;
mod limit;
mod place;
mod problem;
mod read;
mod refund;
mod request;
mod routes;
mod view;
mod wait;

use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use http::{HeaderValue, Method, StatusCode, header};
use lambda_queue::meter::Meter;
use lambda_queue::metrics::Document;
use ports::{
    AcceptOrder, Clock, CommitOrder, CountRequests, Deadlines, Ids, ListOrders, LoadOrder, Random, ReadLanes,
    SendCommands,
};
use serde_json::json;

use crate::answer::Answer;
use crate::auth::Verifier;
use crate::lanes::Lanes;
use crate::limit::Limiter;
use crate::problem::Problem;
use crate::routes::Route;

pub use crate::apigw::{Answer as ApiAnswer, Event as ApiEvent};
pub use crate::keys::{FetchKeys, HttpKeys, KeysError};
pub use crate::problem::Code;

/// What the API may touch: its IAM role grants exactly this.
pub trait Ports:
    AcceptOrder + LoadOrder + CommitOrder + ListOrders + ReadLanes + CountRequests + SendCommands + Clock + Ids + Random
{
}
impl<
    P: AcceptOrder
        + LoadOrder
        + CommitOrder
        + ListOrders
        + ReadLanes
        + CountRequests
        + SendCommands
        + Clock
        + Ids
        + Random,
> Ports for P
{
}

/// A request as the handler takes it: its URI is path and query, below the stage.
pub type Request = http::Request<Vec<u8>>;
/// A response: JSON, or nothing.
pub type Response = http::Response<String>;

/// How often a change follows a row that moves under it.
const RACES: u32 = 6;

/// What the API has to be told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A token's `iss`: `JWT_ISSUER`.
    pub issuer: String,
    /// What a token's `aud` has to hold: `JWT_AUDIENCE`.
    pub audience: String,
    /// Requests a second and tenant, over all execution environments: `TENANT_RATE_PER_SECOND`; 0 is no limit.
    pub tenant_rate_per_second: u32,
    /// How long an order of each lane may wait before new ones are turned away: `EXPRESS_DEADLINE_SECONDS`,
    /// `STANDARD_DEADLINE_SECONDS`, `BULK_DEADLINE_SECONDS`.
    pub deadlines: Deadlines,
}

/// What lives from request to request.
pub struct Api<K> {
    verifier: Verifier<K>,
    limiter: Limiter,
    lanes: Lanes,
}

impl<K: FetchKeys> Api<K> {
    /// An API that fetches its issuer's keys through `keys`, when first asked.
    pub fn new(settings: &Settings, keys: K) -> Self {
        Self {
            verifier: Verifier::new(&settings.issuer, &settings.audience, keys),
            limiter: Limiter::new(settings.tenant_rate_per_second),
            lanes: Lanes::new(settings.deadlines),
        }
    }
}

/// What the runtime says of one invocation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invocation {
    /// Lambda's request id.
    pub request_id: String,
    /// When the function is stopped, UTC milliseconds.
    pub deadline_ms: u64,
    /// Whether it is the process's first.
    pub cold_start: bool,
}

/// Answers one request, always: what goes wrong, a panic included, is a problem. Logs one line.
pub async fn handle<K: FetchKeys>(
    ports: &impl Ports,
    api: &Api<K>,
    invocation: &Invocation,
    request: Request,
) -> Response {
    let started_ms = ports.now_ms();
    let meter = Meter::default();
    let route = Route::of(request.uri().path());
    // Boxed: futures over the SDK nest deeper than the compiler likes to lay out.
    let work = AssertUnwindSafe(Box::pin(respond(ports, api, invocation, route.as_ref(), &request))).catch_unwind();
    let result = meter.around(work).await.unwrap_or_else(|_| Err(Problem::internal()));

    let ended_ms = ports.now_ms();
    let (code, order_id) = match &result {
        Ok(answer) => (None, answer.order_id),
        Err(problem) => (Some(problem.code.name()), problem.order_id),
    };
    let order_id = order_id.or_else(|| route.as_ref().and_then(Route::order_id)).map(|id| id.to_string());
    let mut response = answer::response(result, &invocation.request_id);
    let id = headers::request_id(request.headers()).unwrap_or(&invocation.request_id);
    if let Ok(id) = HeaderValue::from_str(id) {
        response.headers_mut().insert("x-request-id", id);
    }
    if request.method() == Method::HEAD {
        response.body_mut().clear();
    }
    // Nothing of the client's own is in this line but the order's id: neither path, nor headers, nor body.
    let method = known_method(request.method());
    let route = route.as_ref().map_or_else(|| "other".to_owned(), |route| format!("{method} {}", route.template()));
    let line = Document::new("request finished")
        .dimension("function", "accept-order")
        .dimension("route", &route)
        .metric("duration_ms", "Milliseconds", ended_ms.saturating_sub(started_ms))
        .property("request_id", invocation.request_id.as_str())
        .property("method", method)
        .property("status", response.status().as_u16())
        .property("calls", json!(meter.calls()));
    let shed = code == Some(Code::LaneOverloaded.name());
    let line = if shed { line.metric("orders_shed", "Count", 1_u64) } else { line };
    let line = [("code", code.map(str::to_owned)), ("order_id", order_id)]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .fold(line, |line, (name, value)| line.property(name, value));
    line.emit(ended_ms);
    if invocation.cold_start {
        Document::cold_start("accept-order").emit(ended_ms);
    }
    response
}

async fn respond<K: FetchKeys>(
    ports: &impl Ports,
    api: &Api<K>,
    invocation: &Invocation,
    route: Option<&Route>,
    request: &Request,
) -> Result<Answer, Problem> {
    let route = route.ok_or_else(|| Problem::new(Code::RouteNotFound, "See docs/openapi.yaml for what there is."))?;
    if !route.takes(request.method()) {
        let problem = Problem::new(Code::MethodNotAllowed, format!("It takes {}.", route.allow()));
        return Err(problem.with(header::ALLOW, route.allow().to_owned()));
    }
    if request.method() == Method::OPTIONS {
        let answer =
            Answer { status: StatusCode::NO_CONTENT, body: String::new(), headers: Vec::new(), order_id: None };
        return Ok(answer.with(header::ALLOW, route.allow().to_owned()));
    }
    if *route == Route::Health {
        return health();
    }
    let caller = api.verifier.caller(request.headers(), ports.now_ms()).await?;
    api.limiter.admit(ports, &caller.tenant).await?;
    match *route {
        Route::Orders if request.method() == Method::POST => {
            place::place(ports, &api.lanes, &caller, request, invocation.deadline_ms).await
        }
        Route::Orders => read::list(ports, &caller, request.uri().query()).await,
        Route::Order(id) => read::read(ports, &caller, id).await,
        Route::Cancel(id) => cancel::cancel(ports, &caller, id, request).await,
        Route::Refunds(id) => refund::refund(ports, &caller, id, request).await,
        Route::Health => health(),
    }
}

/// Says that the function answers, and asks nobody.
fn health() -> Result<Answer, Problem> {
    Answer::json(StatusCode::OK, &json!({ "status": "ok" }))
}

/// The row changed under every try.
fn busy() -> Problem {
    Problem::new(Code::ChangeUnconfirmed, "The order is changing too fast. Nothing was done: repeat the request.")
}

/// A method as the log shows it: a client may send any.
fn known_method(method: &Method) -> &'static str {
    ["GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"]
        .into_iter()
        .find(|known| *known == method.as_str())
        .unwrap_or("OTHER")
}
