//! Authorize: create a payment unconfirmed, keep its id, confirm it.

use lambda_queue::idempotency::Lease;
use order::{Money, Outcome, Payment, PaymentId, Reason, ReasonCode};
use ports::{Confirmation, Created, NewPayment, PaymentStatus, Stop, time_for_call};

use crate::{Attempt, Ports, Provider, is_wrong_state, stuck};

/// Holds the total. A payment that was created but never confirmed holds nothing, so a lost create is simply made again;
/// from the moment its id is kept every doubt is settled by reading that payment.
pub(crate) async fn run<P: Ports, Q: Provider>(
    attempt: &Attempt<'_, P, Q>,
    lease: Lease,
    in_doubt: bool,
) -> Result<Outcome, Stop> {
    let total = attempt.order.total.ok_or_else(|| stuck("the row has no total"))?;
    let (lease, payment_id) = match &lease.note {
        Some(kept) => (lease.clone(), kept.parse::<PaymentId>().map_err(|error| stuck(error.to_string()))?),
        None => match create(attempt, lease, in_doubt).await? {
            Some(made) => made,
            // Declined for good: the same total would be refused every time, and nothing is held.
            None => return Ok(Outcome::Declined(too_small(total))),
        },
    };
    let held = || Outcome::Authorized(Payment { payment_id: payment_id.clone(), amount: total });
    let mut lease = lease;
    if in_doubt {
        match look_up(attempt, &payment_id).await? {
            Seen::Ended(outcome) => return Ok(outcome.unwrap_or_else(held)),
            Seen::NeedsCustomer => return give_up(attempt, &lease, &payment_id).await,
            Seen::Unconfirmed => {
                attempt.still_wanted()?;
                lease = attempt.next_generation(&lease).await?;
            }
        }
    }
    attempt.time_left()?;
    let answer = attempt.payments.confirm_payment(&lease.provider_key(), &payment_id).await;
    if is_wrong_state(&answer) {
        return match look_up(attempt, &payment_id).await? {
            Seen::Ended(outcome) => Ok(outcome.unwrap_or_else(held)),
            Seen::NeedsCustomer => give_up(attempt, &lease, &payment_id).await,
            Seen::Unconfirmed => Err(stuck("an unconfirmed payment that cannot be confirmed")),
        };
    }
    match answer? {
        Confirmation::Held => Ok(held()),
        Confirmation::Declined { code } => Ok(declined(&code)),
        Confirmation::NeedsCustomer => give_up(attempt, &lease, &payment_id).await,
    }
}

/// The payment and the lease that keeps its id; `None` where the provider takes no charge as small as the total.
async fn create<P: Ports, Q: Provider>(
    attempt: &Attempt<'_, P, Q>,
    lease: Lease,
    in_doubt: bool,
) -> Result<Option<(Lease, PaymentId)>, Stop> {
    // Whatever an earlier create led to, it holds nothing; its stored answer may be a 500, so it is not asked for again.
    let lease = if in_doubt {
        attempt.still_wanted()?;
        attempt.next_generation(&lease).await?
    } else {
        lease
    };
    attempt.time_left()?;
    let total = attempt.order.total.ok_or_else(|| stuck("the row has no total"))?;
    let method = attempt.order.payment_method.clone().ok_or_else(|| stuck("the payment method was erased"))?;
    let payment = NewPayment { order_id: attempt.order_id(), amount: total, method };
    let key = format!("{}/create", lease.provider_key());
    match attempt.payments.create_payment(&key, &payment).await? {
        Created::Made(id) => Ok(Some((attempt.ports.note(&lease, id.as_str()).await?, id))),
        Created::TooSmall => Ok(None),
    }
}

enum Seen {
    /// `None`: it is held.
    Ended(Option<Outcome>),
    NeedsCustomer,
    Unconfirmed,
}

async fn look_up<P: Ports, Q: Provider>(attempt: &Attempt<'_, P, Q>, id: &PaymentId) -> Result<Seen, Stop> {
    let seen = attempt.payments.look_up_payment(id).await.map_err(Stop::still_in_doubt)?;
    match seen.status {
        PaymentStatus::Held if Some(seen.amount) == attempt.order.total => Ok(Seen::Ended(None)),
        PaymentStatus::Held => Err(stuck("another amount is held than the order's total")),
        PaymentStatus::Declined { code } => Ok(Seen::Ended(Some(declined(&code)))),
        PaymentStatus::NeedsCustomer => Ok(Seen::NeedsCustomer),
        PaymentStatus::Cancelled => Ok(Seen::Ended(Some(declined("canceled")))),
        PaymentStatus::Processing => Err(Stop::InDoubt { why: "the provider is still working on it".to_owned() }),
        PaymentStatus::Captured => Err(stuck("the payment is captured before the order is authorized")),
        PaymentStatus::Unconfirmed => Ok(Seen::Unconfirmed),
    }
}

/// The customer is asked for, and nobody can ask any more: the payment holds nothing and is cancelled, so that it never
/// will.
async fn give_up<P: Ports, Q: Provider>(
    attempt: &Attempt<'_, P, Q>,
    lease: &Lease,
    id: &PaymentId,
) -> Result<Outcome, Stop> {
    if !time_for_call(attempt.ports, attempt.context) {
        // The look-up of the next attempt finds it so, and gives it up then.
        return Err(Stop::InDoubt {
            why: "too little time left to give up a payment that needs the customer".to_owned(),
        });
    }
    let key = format!("{}/give-up", lease.provider_key());
    // Declined all the same where this fails: only the customer could go on with it, and was never told how.
    if let Err(error) = attempt.payments.cancel_payment(&key, id).await {
        tracing::warn!(order_id = %attempt.order_id(), %error, "an unfinished payment was not cancelled");
    }
    Ok(needs_customer())
}

fn too_small(total: Money) -> Reason {
    Reason::new(ReasonCode::AmountTooSmall, format!("the payment provider takes no charge as small as {total}"))
}

fn declined(code: &str) -> Outcome {
    Outcome::Declined(Reason::new(ReasonCode::PaymentDeclined, format!("the payment was declined ({code})")))
}

fn needs_customer() -> Outcome {
    let why = "the bank asked for the customer's confirmation";
    Outcome::Declined(Reason::new(ReasonCode::AuthenticationRequired, why))
}
