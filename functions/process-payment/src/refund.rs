//! Refund: give money back. Each refund of an order is its own effect, told apart by its ordinal.

use lambda_queue::idempotency::Lease;
use order::{EventKind, Money, Order, Outcome, TimelineEntry};
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
    let was_parked = parked_since_it_was_asked_for(&attempt.order, ordinal);
    if in_doubt || was_parked {
        let seen = look_up(attempt).await?;
        if let Some(refund) = of(&seen, ordinal) {
            return adopt(refund, ordinal, amount_minor);
        }
        if was_parked {
            // A person has looked meanwhile, and may have given the money back past us.
            match by_hand(attempt, &seen).as_slice() {
                [] => {}
                [refund] if refund.amount_minor == amount_minor => return adopt(refund, ordinal, amount_minor),
                others => {
                    let given: u64 = others.iter().map(|refund| refund.amount_minor).sum();
                    return Err(stuck(format!("{given} was given back by hand, and {amount_minor} was asked for")));
                }
            }
        }
        if in_doubt && [answered(&lease), refused(&lease)].iter().any(|note| lease.note.as_ref() == Some(note)) {
            lease = attempt.next_generation(&lease).await?;
        }
    }
    attempt.time_left()?;
    let key = lease.provider_key();
    let answer = attempt.payments.refund_payment(&key, &id, attempt.order_id(), ordinal, amount).await;
    let failed = matches!(answer, Err(ProviderError::Failed { .. }));
    let note =
        is_wrong_state(&answer).then(|| refused(&lease)).or_else(|| (failed && in_doubt).then(|| answered(&lease)));
    if let Some(note) = note {
        // Without the note the same key is asked once more, and answered the same.
        if let Err(failure) = attempt.ports.note(&lease, &note).await {
            tracing::warn!(order_id = %attempt.order_id(), %failure, "that the key was answered is not noted");
        }
    }
    if let Err(ProviderError::WrongState { why }) = &answer {
        let seen = look_up(attempt).await?;
        let refused = || stuck(format!("the provider refuses the refund: {why}; is it refunded by hand?"));
        let refund = of(&seen, ordinal).ok_or_else(refused)?;
        return adopt(refund, ordinal, amount_minor);
    }
    Ok(Outcome::Refunded { ordinal, refund_id: answer? })
}

/// The note that the provider has answered a generation's key, asked again after a look-up had found nothing, and that the
/// answer is a failure of its own.
///
/// Unlike a capture, a refund can happen twice: one that comes late would stand beside one under a new key. So in doubt the
/// same key goes again, by which the provider itself tells the two apart, for as long as it takes. Only when it has answered
/// that key, and a look-up after that still shows no refund (it stored a 500, or that there was no balance to refund from, and
/// would say so for a day), is there a new one. So a note is written after the answer, never before the call: a call that was
/// throttled or lost answered nothing.
fn answered(lease: &Lease) -> String {
    format!("answered with generation {}", lease.generation)
}

/// The note that the provider has refused a generation's key. The order is parked then; whoever lets it go on may have given
/// the money back by hand.
fn refused(lease: &Lease) -> String {
    format!("refused with generation {}", lease.generation)
}

/// Whether the order was parked after this refund was asked for, for whatever reason: then a person had to look at it.
fn parked_since_it_was_asked_for(order: &Order, ordinal: usize) -> bool {
    let asks = |entry: &&TimelineEntry| matches!(entry.event, EventKind::RefundRequested | EventKind::Refunding);
    let asked = order.timeline.iter().filter(asks).nth(ordinal);
    // A timeline that does not tell is no reason to be less careful.
    let asked_at = asked.map_or(0, |entry| entry.version);
    order.timeline.iter().any(|entry| entry.event == EventKind::Parked && entry.version > asked_at)
}

async fn look_up<P: Ports, Q: Provider>(attempt: &Attempt<'_, P, Q>) -> Result<Vec<RefundView>, Stop> {
    let seen = attempt.payments.look_up_payment(attempt.payment_id()?).await.map_err(Stop::still_in_doubt)?;
    Ok(seen.refunds)
}

/// The refund of this ordinal. One that failed gave nothing back.
fn of(seen: &[RefundView], ordinal: usize) -> Option<&RefundView> {
    seen.iter().find(|refund| refund.ordinal == Some(ordinal) && !refund.failed)
}

/// Refunds that nobody made through us (they name no ordinal), and that no receipt on the row has adopted.
fn by_hand<'s, P: Ports, Q: Provider>(attempt: &Attempt<'_, P, Q>, seen: &'s [RefundView]) -> Vec<&'s RefundView> {
    let known = |refund: &RefundView| {
        attempt.order.refunds.iter().any(|kept| kept.refund_id.as_ref() == Some(&refund.refund_id))
    };
    seen.iter().filter(|refund| refund.ordinal.is_none() && !refund.failed && !known(refund)).collect()
}

fn adopt(refund: &RefundView, ordinal: usize, amount_minor: u64) -> Result<Outcome, Stop> {
    if refund.amount_minor == amount_minor {
        Ok(Outcome::Refunded { ordinal, refund_id: refund.refund_id.clone() })
    } else {
        Err(stuck(format!("refund {ordinal} gave back {} instead of {amount_minor}", refund.amount_minor)))
    }
}
