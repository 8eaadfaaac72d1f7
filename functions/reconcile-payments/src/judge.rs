//! From a list to a verdict: the list is a sieve, and what looks different is read again before anything is said.

use std::collections::BTreeMap;

use futures::future::join_all;
use lambda_queue::Failure;
use order::{Order, OrderId, PaymentId, RefundStatus};
use ports::{ListedPayment, ListedRefund, PaymentView, RefundView, payment_record};

use crate::difference::{Difference, Seen, differences};
use crate::walk::Counts;
use crate::{Ask, Provider, Reads};

/// Orders that are read at once.
const AT_ONCE: usize = 16;

/// What a page came to.
#[derive(Default)]
pub(crate) struct Judged {
    pub(crate) counts: Counts,
    pub(crate) found: Vec<Difference>,
}

/// What a look at one payment came to.
enum Verdict {
    Even,
    Different(Vec<Difference>),
    /// Something is at work, or was until a moment ago: the next run looks again.
    Unsettled,
}

/// Judges the payments of a page.
pub(crate) async fn payments(
    reads: &impl Reads,
    provider: &impl Provider,
    ask: &Ask,
    page: Vec<ListedPayment>,
) -> Judged {
    let mut judged = Judged::default();
    let mut ours = Vec::with_capacity(page.len());
    for payment in page {
        judged.counts.payments += 1;
        match payment.order_id {
            Some(order_id) if ask.takes(order_id) => ours.push((order_id, payment)),
            Some(_) => {}
            None => judged.counts.foreign += 1,
        }
    }
    for some in ours.chunks(AT_ONCE) {
        let looks = some.iter().map(|(order_id, payment)| payment_of(reads, provider, ask, *order_id, payment));
        judged.take(join_all(looks).await);
    }
    judged
}

/// Judges the refunds of a page. A refund by itself says little: its payment is looked at.
pub(crate) async fn refunds(
    reads: &impl Reads,
    provider: &impl Provider,
    ask: &Ask,
    page: Vec<ListedRefund>,
) -> Judged {
    let mut judged = Judged::default();
    let mut ours: BTreeMap<(OrderId, String), Vec<ListedRefund>> = BTreeMap::new();
    for refund in page {
        judged.counts.refunds += 1;
        match (refund.order_id, &refund.payment_id) {
            (Some(order_id), Some(payment_id)) if ask.takes(order_id) => {
                ours.entry((order_id, payment_id.as_str().to_owned())).or_default().push(refund);
            }
            (Some(_), Some(_)) => {}
            (None, _) | (_, None) => judged.counts.foreign += 1,
        }
    }
    let ours: Vec<(OrderId, Vec<ListedRefund>)> =
        ours.into_iter().map(|((order_id, _), refunds)| (order_id, refunds)).collect();
    for some in ours.chunks(AT_ONCE) {
        let looks = some.iter().map(|(order_id, refunds)| refunds_of(reads, provider, ask, *order_id, refunds));
        judged.take(join_all(looks).await);
    }
    judged
}

async fn payment_of(
    reads: &impl Reads,
    provider: &impl Provider,
    ask: &Ask,
    order_id: OrderId,
    payment: &ListedPayment,
) -> Look {
    let row = reads.load_order(order_id).await.map_err(|error| of(order_id, error))?;
    if differences(&sieved(order_id, payment, row.as_ref()), row.as_ref()).is_empty() {
        return Ok(Verdict::Even);
    }
    again(reads, provider, ask, order_id, &payment.payment_id).await.map_err(|failure| of(order_id, failure))
}

/// The refunds of one payment.
async fn refunds_of(
    reads: &impl Reads,
    provider: &impl Provider,
    ask: &Ask,
    order_id: OrderId,
    refunds: &[ListedRefund],
) -> Look {
    let row = reads.load_order(order_id).await.map_err(|error| of(order_id, error))?;
    let suspect = refunds.iter().find(|refund| !is_known(refund, row.as_ref()));
    match suspect.and_then(|refund| refund.payment_id.as_ref()) {
        None => Ok(Verdict::Even),
        Some(payment_id) => {
            again(reads, provider, ask, order_id, payment_id).await.map_err(|failure| of(order_id, failure))
        }
    }
}

/// What a look came to, or whose trouble it met.
type Look = Result<Verdict, (OrderId, Failure)>;

fn of(order_id: OrderId, failure: impl Into<Failure>) -> (OrderId, Failure) {
    (order_id, failure.into())
}

impl Judged {
    fn take(&mut self, looks: Vec<Look>) {
        for verdict in looks {
            match verdict {
                Ok(Verdict::Even) => self.counts.reconciled += 1,
                Ok(Verdict::Different(found)) => {
                    self.counts.reconciled += 1;
                    self.found.extend(found);
                }
                Ok(Verdict::Unsettled) => self.counts.unsettled += 1,
                // One order's trouble is that order's.
                Err((order_id, failure)) => {
                    tracing::error!(%order_id, %failure, "not reconciled: the next run tries again");
                    self.counts.left += 1;
                }
            }
        }
    }
}

/// A listed payment as if it had been read. The list tells only the sum of the refunds: where it is that of the row's
/// receipts, they are taken for these; the list of refunds brings those that are not.
fn sieved(order_id: OrderId, payment: &ListedPayment, row: Option<&Order>) -> Seen {
    let done = row.into_iter().flat_map(|row| &row.refunds).filter(|refund| refund.status == RefundStatus::Done);
    let receipts: Vec<RefundView> = done
        .map(|refund| RefundView {
            refund_id: refund.refund_id.clone().unwrap_or_default(),
            ordinal: None,
            amount_minor: refund.amount_minor,
            failed: false,
        })
        .collect();
    let sum = receipts.iter().map(|refund| refund.amount_minor).fold(0, u64::saturating_add);
    let refunds = if sum == payment.refunded_minor {
        receipts
    } else {
        let amount_minor = payment.refunded_minor;
        vec![RefundView { refund_id: "listed".to_owned(), ordinal: None, amount_minor, failed: false }]
    };
    let view = PaymentView {
        status: payment.status.clone(),
        amount: payment.amount,
        captured_minor: payment.captured_minor,
        refunds,
    };
    Seen { order_id, payment_id: payment.payment_id.clone(), view }
}

/// Whether the row has the receipt of a listed refund, or needs none.
fn is_known(refund: &ListedRefund, row: Option<&Order>) -> bool {
    let receipt = row
        .into_iter()
        .flat_map(|row| &row.refunds)
        .find(|receipt| receipt.status == RefundStatus::Done && receipt.refund_id.as_ref() == Some(&refund.refund_id));
    match receipt {
        Some(receipt) => !refund.failed && receipt.amount_minor == refund.amount_minor,
        None => refund.failed,
    }
}

/// Reads payment, effect record and row, in this order, and judges.
///
/// A step writes in the other order: the record says that it is at work, the provider is called, then record and row
/// are written together. So an effect that the payment shows has either its receipt on the row that is read last, or a
/// record that is in progress; and what was written within the grace may be younger than what the payment shows.
async fn again(
    reads: &impl Reads,
    provider: &impl Provider,
    ask: &Ask,
    order_id: OrderId,
    payment_id: &PaymentId,
) -> Result<Verdict, Failure> {
    let now_ms = reads.now_ms();
    let view = provider.read_payment(payment_id).await.map_err(|error| Failure::retry(error.to_string()))?;
    let at_work = reads.effect_in_progress(&payment_record(order_id)).await?;
    let row = reads.load_order(order_id).await?;
    if let Some(row) = &row {
        let changed_ms = row.last_event().map_or(row.created_at, |event| event.at_ms);
        let is_young = changed_ms.saturating_add(ask.grace_ms) > now_ms;
        // Ended or parked: nobody is at work on it. What a parked order has in doubt is a person's to see.
        let owes = row.next_command().is_some();
        if is_young || (owes && at_work) {
            return Ok(Verdict::Unsettled);
        }
    }
    let seen = Seen { order_id, payment_id: payment_id.clone(), view };
    let found = differences(&seen, row.as_ref());
    Ok(if found.is_empty() { Verdict::Even } else { Verdict::Different(found) })
}
