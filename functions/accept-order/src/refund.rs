//! `POST /orders/{id}/refunds`.

use http::StatusCode;
use order::{Fingerprint, MAX_REFUNDS, Next, Order, OrderId, Outcome, RefundRefusal, transition};
use ports::Commit;

use crate::answer::Answer;
use crate::auth::Caller;
use crate::place::{reused, send_owed};
use crate::problem::{Code, Problem};
use crate::read::own;
use crate::request::AskRefund;
use crate::view::OrderView;
use crate::{Ports, RACES, Request, busy, headers, json};

/// Asks for money of a shipped order back: puts a refund on the row, which then owes it.
///
/// Idempotency: a repeat (Idempotency-Key and body) answers with the refund that is there; with another body it is 422.
/// Errors: 409 before the order is shipped, once it was given up, or after 20 refunds; 422 over what is left of the capture.
pub async fn refund(
    ports: &impl Ports,
    caller: &Caller,
    id: Option<OrderId>,
    request: &Request,
) -> Result<Answer, Problem> {
    let key_hash = headers::idempotency_key(request.headers())?.hash();
    let asked = AskRefund::read(&json::parse(headers::json_body(request.headers(), request.body())?)?)?;
    let order = own(ports, caller, id).await?;
    let (order, ordinal) = request_refund(ports, order, &asked, &key_hash).await?;
    send_owed(ports, &order).await;
    let answer = Answer::json(StatusCode::ACCEPTED, &OrderView::from(&order).with_refund(ordinal))?;
    Ok(Answer { order_id: Some(order.order_id), ..answer })
}

/// The row with the refund on it, and its place.
async fn request_refund(
    ports: &impl Ports,
    order: Order,
    asked: &AskRefund,
    key_hash: &Fingerprint,
) -> Result<(Order, usize), Problem> {
    let mut before = order;
    let id = before.order_id;
    for _ in 0..RACES {
        // The key first: a repeat is answered even where the same would no longer be allowed.
        if let Some(ordinal) = before.refunds.iter().position(|refund| refund.key_hash.as_ref() == Some(key_hash)) {
            let same = before
                .refunds
                .get(ordinal)
                .is_some_and(|refund| refund.fingerprint.as_ref() == Some(&asked.fingerprint));
            return if same { Ok((before, ordinal)) } else { Err(reused().of(id)) };
        }
        let amount_minor = asked.amount_minor.unwrap_or_else(|| before.refundable_minor());
        before.refund_allowed(amount_minor).map_err(|refusal| refused(refusal).of(id))?;
        let outcome = Outcome::RefundRequested {
            amount_minor,
            key_hash: key_hash.clone(),
            fingerprint: asked.fingerprint.clone(),
            reason: asked.reason.clone(),
        };
        let after = match transition(&before, &outcome, ports.now_ms()) {
            Ok(Next::Changed(after)) => *after,
            Ok(Next::Absorbed) => {
                tracing::error!(order_id = %id, "a refund that is allowed was absorbed");
                return Err(Problem::internal().of(id));
            }
            Err(bug) => {
                tracing::error!(order_id = %id, %bug, "a refund met a bug");
                return Err(Problem::internal().of(id));
            }
        };
        match ports.commit_order(&before, &after).await.map_err(|error| Problem::unchanged(&error).of(id))? {
            Commit::Done => {
                let ordinal = after.refunds.len().saturating_sub(1);
                return Ok((after, ordinal));
            }
            Commit::Lost(row) => before = *row,
        }
    }
    Err(busy().of(id))
}

fn refused(refusal: RefundRefusal) -> Problem {
    match refusal {
        RefundRefusal::NotShipped => {
            Problem::new(Code::OrderNotShipped, "Only what shipped is refunded: cancel it instead.")
        }
        RefundRefusal::Abandoned => Problem::new(
            Code::OrderAbandoned,
            "It was given up: its money is settled by hand. Nothing was done: ask whoever runs the shop.",
        ),
        RefundRefusal::TooMany => {
            Problem::new(Code::RefundLimitReached, format!("An order takes at most {MAX_REFUNDS} refunds."))
        }
        RefundRefusal::OverCapture { refundable_minor } => {
            let detail = format!("At most {refundable_minor} minor units are left to refund.");
            Problem::at(Code::RefundOverCapture, "/amount_minor", detail)
        }
        RefundRefusal::Zero => {
            Problem::at(Code::InvalidAmount, "/amount_minor", "A refund is of at least one minor unit.")
        }
    }
}
