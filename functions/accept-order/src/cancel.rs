//! `POST /orders/{id}/cancel`.

use http::StatusCode;
use order::{CancelRefusal, Next, Order, OrderId, Outcome, transition};
use ports::Commit;

use crate::answer::Answer;
use crate::auth::Caller;
use crate::fields::Field;
use crate::place::send_owed;
use crate::problem::{Code, Problem};
use crate::read::own;
use crate::{Ports, RACES, Request, busy, headers, json};

/// Asks for an order to be cancelled: sets the flag on the row, which the step that holds the order acts on.
///
/// Idempotency: by nature; a repeat sends again what the row owes. Errors: 409 once shipped or rejected.
pub async fn cancel(
    ports: &impl Ports,
    caller: &Caller,
    id: Option<OrderId>,
    request: &Request,
) -> Result<Answer, Problem> {
    no_fields(request)?;
    let order = request_cancel(ports, own(ports, caller, id).await?).await?;
    send_owed(ports, &order).await;
    Answer::order(StatusCode::ACCEPTED, &order)
}

/// There is nothing to say besides: no body, or an empty object.
fn no_fields(request: &Request) -> Result<(), Problem> {
    if !headers::within_size(request.body())?.is_empty() {
        let body = json::parse(headers::json_body(request.headers(), request.body())?)?;
        Field::root(&body).object(&[])?;
    }
    Ok(())
}

/// The row with the wish on it, whatever version it has got to meanwhile.
async fn request_cancel(ports: &impl Ports, order: Order) -> Result<Order, Problem> {
    let mut before = order;
    let id = before.order_id;
    for _ in 0..RACES {
        before.cancel_allowed().map_err(|refusal| refused(refusal).of(id))?;
        let after = match transition(&before, &Outcome::CancelRequested, ports.now_ms()) {
            Ok(Next::Changed(after)) => *after,
            // It was asked for before, or is being undone already.
            Ok(Next::Absorbed) => return Ok(before),
            Err(bug) => {
                tracing::error!(order_id = %id, %bug, "a cancel met a bug");
                return Err(Problem::internal().of(id));
            }
        };
        match ports.commit_order(&before, &after).await.map_err(|error| Problem::unchanged(&error).of(id))? {
            Commit::Done => return Ok(after),
            Commit::Lost(row) => before = *row,
        }
    }
    Err(busy().of(id))
}

fn refused(refusal: CancelRefusal) -> Problem {
    match refusal {
        CancelRefusal::Shipped => Problem::new(Code::OrderShipped, "It is with the carrier: ask for a refund instead."),
        CancelRefusal::Rejected => Problem::new(Code::OrderRejected, "There is nothing to cancel."),
    }
}
