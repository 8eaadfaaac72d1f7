//! Capture: turn the hold into money.

use lambda_queue::idempotency::Lease;
use order::{Capture, Money, Outcome, Reason, ReasonCode};
use ports::{Captured, PaymentStatus, Stop};

use crate::{Attempt, Ports, Provider, is_wrong_state, stuck};

pub(crate) async fn run<P: Ports, Q: Provider>(
    attempt: &Attempt<'_, P, Q>,
    lease: Lease,
    in_doubt: bool,
) -> Result<Outcome, Stop> {
    let id = attempt.payment_id()?.clone();
    let total = attempt.order.total.ok_or_else(|| stuck("the row has no total"))?;
    let mut lease = lease;
    if in_doubt {
        match look_up(attempt, total).await? {
            Some(outcome) => return Ok(outcome),
            None => {
                attempt.still_wanted()?;
                lease = attempt.next_generation(&lease).await?;
            }
        }
    }
    attempt.time_left()?;
    let answer = attempt.payments.capture_payment(&lease.provider_key(), &id, total).await;
    if is_wrong_state(&answer) {
        let seen = look_up(attempt, total).await?;
        return seen.ok_or_else(|| stuck("a held payment that cannot be captured"));
    }
    match answer? {
        Captured::Captured { amount } => captured(amount, total),
        Captured::Gone { why } => Ok(gone(&why)),
    }
}

/// The outcome that the provider shows; `None` where the hold stands.
async fn look_up<P: Ports, Q: Provider>(attempt: &Attempt<'_, P, Q>, total: Money) -> Result<Option<Outcome>, Stop> {
    let seen = attempt.payments.look_up_payment(attempt.payment_id()?).await.map_err(Stop::still_in_doubt)?;
    match seen.status {
        PaymentStatus::Captured => captured(Money::new(seen.captured_minor, seen.amount.currency), total).map(Some),
        PaymentStatus::Cancelled => Ok(Some(gone("the hold is gone"))),
        PaymentStatus::Held => Ok(None),
        PaymentStatus::Processing => Err(Stop::InDoubt { why: "the provider is still working on it".to_owned() }),
        PaymentStatus::Unconfirmed | PaymentStatus::NeedsCustomer | PaymentStatus::Declined { .. } => {
            Err(stuck("the payment to capture was never held"))
        }
    }
}

fn captured(amount: Money, total: Money) -> Result<Outcome, Stop> {
    if amount == total {
        Ok(Outcome::Captured(Capture { amount }))
    } else {
        Err(stuck(format!("captured {amount} of {total}")))
    }
}

fn gone(why: &str) -> Outcome {
    Outcome::CaptureRefused(Reason::new(ReasonCode::CaptureRefused, format!("the hold could not be captured: {why}")))
}
