//! Refund: give money back. Each refund of an order is its own effect, told apart by its ordinal.

use lambda_queue::idempotency::Lease;
use order::{Money, Outcome};
use ports::{RefundView, Stop, time_for_call};

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
        lease = try_again(attempt, lease).await?;
        if !time_for_call(attempt.ports, attempt.context) {
            return Err(Stop::InDoubt { why: "too little time left to ask again".to_owned() });
        }
    } else {
        attempt.time_left()?;
    }
    let key = lease.provider_key();
    let answer = attempt.payments.refund_payment(&key, &id, attempt.order_id(), ordinal, amount).await;
    if is_wrong_state(&answer) {
        let refund = find(attempt, ordinal).await?;
        let refund = refund.ok_or_else(|| stuck("the provider refuses the refund: is it refunded by hand?"))?;
        return adopt(refund, ordinal, amount_minor);
    }
    Ok(Outcome::Refunded { ordinal, refund_id: answer? })
}

/// The lease to ask again with, after a look-up found nothing. Unlike a capture, a refund can happen twice: one that
/// comes late would stand beside one under a new key. So the same key goes first, by which the provider itself tells the
/// two apart; only when it has answered that key, without a refund to show for it (a stored 500, say), is there a new one.
async fn try_again<P: Ports, Q: Provider>(attempt: &Attempt<'_, P, Q>, lease: Lease) -> Result<Lease, Stop> {
    let asked_again = format!("asked again with generation {}", lease.generation);
    if lease.note.as_ref() == Some(&asked_again) {
        attempt.next_generation(&lease).await
    } else {
        Ok(attempt.ports.note(&lease, &asked_again).await?)
    }
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
