//! `POST /orders`.

use http::{HeaderName, StatusCode, header};
use lambda_queue::Outgoing;
use order::{Lane, NewOrder, Order, OrderId};
use ports::{Accepted, owed};

use crate::answer::Answer;
use crate::auth::Caller;
use crate::lanes::{Full, Lanes};
use crate::problem::{Code, Problem};
use crate::request::PlaceOrder;
use crate::wait::until_decided;
use crate::{Ports, Request, headers, json, view};

/// Longest `Prefer: wait`, seconds.
const MAX_WAIT_S: u64 = 20;

/// Accepts an order: one conditional put of its row, whose id is the request's own. Then its first command leaves, as
/// best it can; the row's `due_at` stands behind it.
///
/// Idempotency: a repeat (tenant, customer and Idempotency-Key) answers from its row and sends again what that owes;
/// with another body it is 422. Errors: 503 where the row's write failed or is unknown, or where the lane is shed and the
/// request is no repeat.
pub async fn place(
    ports: &impl Ports,
    lanes: &Lanes,
    caller: &Caller,
    request: &Request,
    deadline_ms: u64,
) -> Result<Answer, Problem> {
    let key = headers::idempotency_key(request.headers())?;
    let body = json::parse(headers::json_body(request.headers(), request.body())?)?;
    let asked = PlaceOrder::read(&body)?;
    let wait_s = headers::prefer_wait(request.headers()).map(|seconds| seconds.min(MAX_WAIT_S));
    let new = NewOrder {
        order_id: OrderId::derive(&caller.tenant, &caller.customer, &key),
        tenant: caller.tenant.clone(),
        customer: caller.customer.clone(),
        lane: lane(asked.lane, caller.max_lane)?,
        fingerprint: asked.fingerprint,
        lines: asked.lines,
        currency: asked.currency,
        expected_total: asked.expected_total,
        ship_to: asked.ship_to,
        email: asked.email,
        payment_method: asked.payment_method,
        traceparent: Some(headers::traceparent(request.headers(), ports)),
    };
    let order = Order::accept(new, ports.now_ms());
    let order = match lanes.shed(ports, order.lane, caller.max_lane).await {
        None => accept(ports, order).await?,
        Some(full) => known(ports, order, full).await?,
    };
    send_owed(ports, &order).await;
    answer(ports, order, wait_s, deadline_ms).await
}

/// The new row, or the row of the request that this one repeats.
async fn accept(ports: &impl Ports, order: Order) -> Result<Order, Problem> {
    match ports.accept_order(&order).await {
        Ok(Accepted::New) => Ok(order),
        Ok(Accepted::Known(row)) if row.fingerprint == order.fingerprint => Ok(*row),
        Ok(Accepted::Known(_)) => Err(reused().of(order.order_id)),
        Err(error) => Err(Problem::unaccepted(&error).of(order.order_id)),
    }
}

/// The row of the request that this one repeats: only that is answered while its lane is shed.
async fn known(ports: &impl Ports, order: Order, full: Full) -> Result<Order, Problem> {
    match ports.load_order(order.order_id).await {
        Ok(Some(row)) if row.fingerprint == order.fingerprint => Ok(row),
        Ok(Some(_)) => Err(reused().of(order.order_id)),
        Ok(None) => Err(Problem::overloaded(full).of(order.order_id)),
        Err(error) => Err(Problem::unaccepted(&error).of(order.order_id)),
    }
}

/// The key was used before, with another body.
pub fn reused() -> Problem {
    Problem::new(
        Code::IdempotencyKeyReused,
        "This Idempotency-Key was used with another body. Nothing was done: use a new key for a new request.",
    )
}

/// The asked lane, or the best that both an everyday order and the token have.
fn lane(asked: Option<Lane>, max_lane: Lane) -> Result<Lane, Problem> {
    match asked {
        Some(lane) if lane > max_lane => {
            let detail = format!("The token allows lanes up to {max_lane}.");
            Err(Problem::at(Code::LaneNotAllowed, "/lane", detail))
        }
        Some(lane) => Ok(lane),
        None => Ok(max_lane.min(Lane::Standard)),
    }
}

/// How long ago a send may have begun that is made once more, milliseconds. An entry of a batch that SQS could not take is
/// answered at once, and the client does not repeat it; a call that took longer it has repeated already.
const ONCE_MORE_MS: u64 = 1_000;

/// Sends what a committed row owes, once more where it is answered quickly that it did not leave: a command only points at
/// its row, so that two of them do no harm. A send that fails loses nothing: the row is due for `recover-orders`.
pub async fn send_owed(ports: &impl Ports, order: &Order) {
    let messages: Vec<Outgoing> = owed(ports, order, None);
    let Some(first) = messages.first() else { return };
    let began_ms = ports.now_ms();
    let results = ports.send(&first.queue, &messages).await;
    let failed = messages.iter().zip(results).filter(|(_, result)| result.is_err()).map(|(message, _)| message.clone());
    let failed: Vec<Outgoing> = failed.collect();
    if failed.is_empty() {
        return;
    }
    let again = if ports.now_ms().saturating_sub(began_ms) < ONCE_MORE_MS {
        ports.send(&first.queue, &failed).await
    } else {
        vec![Err("it took too long to try once more".to_owned()); failed.len()]
    };
    for why in again.into_iter().filter_map(Result::err) {
        tracing::warn!(order_id = %order.order_id, queue = first.queue, why, "a command did not leave: recovery will send it");
    }
}

/// 200 with the decision if it is awaited and comes, else 202.
async fn answer(ports: &impl Ports, order: Order, wait_s: Option<u64>, deadline_ms: u64) -> Result<Answer, Problem> {
    let Some(wait_s) = wait_s else { return accepted(StatusCode::ACCEPTED, &order) };
    let order = until_decided(ports, order, wait_s, deadline_ms).await;
    let status = if order.state.is_decided() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let applied = HeaderName::from_static("preference-applied");
    Ok(accepted(status, &order)?.with(applied, format!("wait={wait_s}")))
}

fn accepted(status: StatusCode, order: &Order) -> Result<Answer, Problem> {
    Ok(Answer::order(status, order)?.with(header::LOCATION, view::location(order.order_id)))
}
