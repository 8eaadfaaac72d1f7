//! Void: give up the hold. One that expired counts.

use lambda_queue::idempotency::Lease;
use order::Outcome;
use ports::{PaymentStatus, Stop, Voided};

use crate::{Attempt, Ports, Provider, is_wrong_state, stuck};

pub(crate) async fn run<P: Ports, Q: Provider>(
    attempt: &Attempt<'_, P, Q>,
    lease: Lease,
    in_doubt: bool,
) -> Result<Outcome, Stop> {
    let id = attempt.payment_id()?.clone();
    let mut lease = lease;
    if in_doubt {
        if is_voided(attempt).await? {
            return Ok(Outcome::Voided);
        }
        lease = attempt.next_generation(&lease).await?;
    }
    attempt.time_left()?;
    let answer = attempt.payments.cancel_payment(&lease.provider_key(), &id).await;
    if is_wrong_state(&answer) {
        return if is_voided(attempt).await? {
            Ok(Outcome::Voided)
        } else {
            Err(stuck("a hold that cannot be voided"))
        };
    }
    match answer? {
        Voided::Voided => Ok(Outcome::Voided),
        Voided::WasCaptured => Err(stuck("the hold to void was captured")),
    }
}

async fn is_voided<P: Ports, Q: Provider>(attempt: &Attempt<'_, P, Q>) -> Result<bool, Stop> {
    let seen = attempt.payments.look_up_payment(attempt.payment_id()?).await.map_err(Stop::still_in_doubt)?;
    match seen.status {
        PaymentStatus::Cancelled | PaymentStatus::Declined { .. } => Ok(true),
        PaymentStatus::Held | PaymentStatus::Unconfirmed | PaymentStatus::NeedsCustomer => Ok(false),
        PaymentStatus::Processing => Err(Stop::InDoubt { why: "the provider is still working on it".to_owned() }),
        PaymentStatus::Captured => Err(stuck("the hold to void was captured")),
    }
}
