//! Refund: give money back. Each refund of an order is its own effect, told apart by its ordinal.

use lambda_queue::idempotency::Lease;
use order::{Money, Outcome};
use ports::{ProviderError, RefundView, Stop};

use crate::{Attempt, Ports, Provider, is_wrong_state, stuck};

pub(crate) async fn run<P: Ports, Q: Provider>(
    attempt: &Attempt<'_, P, Q>,
    lease: Lease,
    in_doubt: bool,
    due: Option<(usize, u64)>,
) -> Result<Outcome, Stop> {
    let (ordinal, amount_minor) = due.ok_or_else(|| stuck("the row owes no refund"))?;
    let id = attempt.payment_id()?.clone();
    let amount = Money::new(amount_minor, attempt.order.currency);
    let mut lease = lease;
    if in_doubt {
        if let Some(refund) = find(attempt, ordinal).await? {
            return adopt(refund, ordinal, amount_minor);
        }
        if lease.note.as_ref() == Some(&answered(&lease)) {
            lease = attempt.next_generation(&lease).await?;
        }
    }
    attempt.time_left()?;
    let key = lease.provider_key();
    let answer = attempt.payments.refund_payment(&key, &id, attempt.order_id(), ordinal, amount).await;
    let answers = in_doubt && matches!(answer, Err(ProviderError::Failed { .. })) || is_wrong_state(&answer);
    if answers {
        // Without the note the same key is asked once more, and answered the same.
        if let Err(failure) = attempt.ports.note(&lease, &answered(&lease)).await {
            tracing::warn!(order_id = %attempt.order_id(), %failure, "that the key was answered is not noted");
        }
    }
    if is_wrong_state(&answer) {
        let refund = find(attempt, ordinal).await?;
        let refund = refund.ok_or_else(|| stuck("the provider refuses the refund: is it refunded by hand?"))?;
        return adopt(refund, ordinal, amount_minor);
    }
    Ok(Outcome::Refunded { ordinal, refund_id: answer? })
}

/// The note that the provider has answered a generation's key, and that the answer is no refund: it refused it, or, asked
/// again after a look-up had found nothing, it failed.
///
/// Unlike a capture, a refund can happen twice: one that comes late would stand beside one under a new key. So in doubt the
/// same key goes again, by which the provider itself tells the two apart, for as long as it takes. Only when it has answered
/// that key, and a look-up after that still shows no refund (it stored a 500, or that there was no balance to refund from, and
/// would say so for a day), is there a new one. So this is written after the answer, never before the call: a call that was
/// throttled or lost answered nothing.
fn answered(lease: &Lease) -> String {
    format!("answered with generation {}", lease.generation)
}

/// The refund of this ordinal at the provider. One that failed gave nothing back.
async fn find<P: Ports, Q: Provider>(attempt: &Attempt<'_, P, Q>, ordinal: usize) -> Result<Option<RefundView>, Stop> {
    let seen = attempt.payments.look_up_payment(attempt.payment_id()?).await.map_err(Stop::still_in_doubt)?;
    Ok(seen.refunds.into_iter().find(|refund| refund.ordinal == Some(ordinal) && !refund.failed))
}

fn adopt(refund: RefundView, ordinal: usize, amount_minor: u64) -> Result<Outcome, Stop> {
    if refund.amount_minor == amount_minor {
        Ok(Outcome::Refunded { ordinal, refund_id: refund.refund_id })
    } else {
        Err(stuck(format!("refund {ordinal} gave back {} instead of {amount_minor}", refund.amount_minor)))
    }
}
