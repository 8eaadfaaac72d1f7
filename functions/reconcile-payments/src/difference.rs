//! What a payment at the provider and its order's row do not agree on. Pure: a payment and a row in, differences out.
//!
//! Each payment is judged by itself against the row, so it does not matter which page of the ledger shows it.

use lambda_queue::Failure;
use order::{Money, Order, OrderId, PaymentId, RefundStatus, State, TenantId};
use ports::{Case, CaseClass, CaseKind, PaymentStatus, PaymentView, RefundView, difference_case, fingerprint};
use serde::Serialize;

use crate::STEP;

/// What kind of difference.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Captured, though the row has the capture of another payment.
    CapturedTwice,
    /// Captured, and there is no such order.
    CapturedForNoOrder,
    /// Captured, and the row has no capture.
    CaptureNotOnRow,
    /// Captured on both sides, of different amounts.
    CaptureAmount,
    /// The row has the capture, the provider has not.
    CaptureNotAtProvider,
    /// Money went back, and the row has no receipt of it.
    RefundNotOnRow,
    /// Refunded on both sides, of different amounts.
    RefundAmount,
    /// The row has the refund as done, and the provider says that it failed.
    RefundFailed,
    /// The row has the refund as done, and the provider has no such refund.
    RefundNotAtProvider,
    /// Held for an order that has ended or that is not there, or by a payment that is not the row's.
    OrphanedHold,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::CapturedTwice,
        Self::CapturedForNoOrder,
        Self::CaptureNotOnRow,
        Self::CaptureAmount,
        Self::CaptureNotAtProvider,
        Self::RefundNotOnRow,
        Self::RefundAmount,
        Self::RefundFailed,
        Self::RefundNotAtProvider,
        Self::OrphanedHold,
    ];

    /// Its name: in the case's fingerprint, in the metrics, in docs/runbooks/reconciliation.md.
    pub fn name(self) -> &'static str {
        match self {
            Self::CapturedTwice => "captured-twice",
            Self::CapturedForNoOrder => "captured-for-no-order",
            Self::CaptureNotOnRow => "capture-not-on-row",
            Self::CaptureAmount => "capture-amount",
            Self::CaptureNotAtProvider => "capture-not-at-provider",
            Self::RefundNotOnRow => "refund-not-on-row",
            Self::RefundAmount => "refund-amount",
            Self::RefundFailed => "refund-failed",
            Self::RefundNotAtProvider => "refund-not-at-provider",
            Self::OrphanedHold => "orphaned-hold",
        }
    }

    /// What to do about it, in a line. The runbook has the whole of it.
    pub fn advice(self) -> &'static str {
        match self {
            Self::CapturedTwice => "refund this payment in full at the provider",
            Self::CapturedForNoOrder => "find whose it is; refund it at the provider if nobody's",
            Self::CaptureNotOnRow => "parked: replay its case, which adopts the capture; ended: refund at the provider",
            Self::CaptureAmount => "refund what is too much, or collect what is too little",
            Self::CaptureNotAtProvider => "nobody has paid: stop the parcel if it has not left, or collect the money",
            Self::RefundNotOnRow => "made by hand? close the case with who and why; else find out who holds the key",
            Self::RefundAmount => "compare with what was asked for; give back the rest, or write it off",
            Self::RefundFailed => "the money is back in our balance: pay the customer another way",
            Self::RefundNotAtProvider => "nothing went back: refund it at the provider",
            Self::OrphanedHold => "cancel the payment at the provider: it frees the customer's money",
        }
    }
}

/// A difference, and about what.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Difference {
    /// What kind.
    pub kind: Kind,
    /// The order that the payment's metadata names.
    pub order_id: OrderId,
    /// The payment.
    pub payment_id: PaymentId,
    /// The refund that it is about: its id, or where there is none its place in the row's list.
    pub refund: Option<String>,
    /// One line for the operator. No customer data, and the same as long as the difference is the same.
    pub words: String,
    /// The version of the row that was compared; 0 where there is none.
    pub row_version: u64,
    /// Whose the order is.
    pub tenant: Option<TenantId>,
}

impl Difference {
    /// What it is about: the refund, or else the payment.
    pub fn about(&self) -> &str {
        self.refund.as_deref().unwrap_or(self.payment_id.as_str())
    }

    /// Its case: the same one for the same difference, whoever finds it and however often.
    pub fn case(&self, now_ms: u64) -> Result<Case, Failure> {
        Ok(Case {
            case_id: difference_case(self.order_id, self.kind.name(), self.about())?,
            kind: CaseKind::Difference,
            attempt: String::new(),
            row_version: self.row_version,
            fingerprint: fingerprint(STEP, self.kind.name(), &self.words),
            class: CaseClass::Bug,
            step: STEP.to_owned(),
            order_id: self.order_id.to_string(),
            tenant: self.tenant.clone(),
            digest: self.words.clone(),
            opened_at_ms: now_ms,
            letter: None,
        })
    }
}

/// A payment of an order as it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// The order that its metadata names.
    pub order_id: OrderId,
    /// The provider's id.
    pub payment_id: PaymentId,
    /// As it stands, with every refund.
    pub view: PaymentView,
}

/// Every difference between a payment and the row of its order, or that there is none.
///
/// The row has to be at rest (see the crate's `judge`): of one whose effect is at work the receipts are still to come.
pub fn differences(seen: &Seen, row: Option<&Order>) -> Vec<Difference> {
    let mut told = Told { seen, row, all: Vec::new() };
    let Some(row) = row else {
        match seen.view.status {
            PaymentStatus::Held => {
                told.payment(Kind::OrphanedHold, format!("holds {}, and there is no such order", seen.view.amount));
            }
            PaymentStatus::Captured if kept_minor(&seen.view) > 0 => {
                told.payment(
                    Kind::CapturedForNoOrder,
                    format!("{} is captured, and there is no such order", kept(&seen.view)),
                );
            }
            PaymentStatus::Captured
            | PaymentStatus::Unconfirmed
            | PaymentStatus::Declined { .. }
            | PaymentStatus::NeedsCustomer
            | PaymentStatus::Processing
            | PaymentStatus::Cancelled => {}
        }
        return told.all;
    };
    if row.payment.as_ref().is_some_and(|payment| payment.payment_id == seen.payment_id) {
        rows_own(&mut told, row);
    } else {
        anothers(&mut told, row);
    }
    told.all
}

/// The row's own payment.
fn rows_own(told: &mut Told<'_>, row: &Order) {
    let view = &told.seen.view;
    let captured =
        (view.status == PaymentStatus::Captured).then(|| Money::new(view.captured_minor, view.amount.currency));
    match (captured, &row.capture) {
        (Some(captured), Some(receipt)) if captured == receipt.amount => refunds(told, row),
        (Some(captured), Some(receipt)) => {
            told.payment(Kind::CaptureAmount, format!("{captured} is captured, the row says {}", receipt.amount));
            refunds(told, row);
        }
        // Captured for nothing, and given back: even. Of an order that goes on it is not, which would ship unpaid.
        (Some(_), None) if is_over(row) && kept_minor(view) == 0 => {}
        (Some(captured), None) => {
            told.payment(Kind::CaptureNotOnRow, format!("{captured} is captured, and the row has no capture"));
        }
        (None, Some(receipt)) => {
            let words =
                format!("the row says that {} is captured, the provider {}", receipt.amount, standing(&view.status));
            told.payment(Kind::CaptureNotAtProvider, words);
        }
        (None, None) if view.status == PaymentStatus::Held && is_over(row) => {
            told.payment(Kind::OrphanedHold, format!("holds {}, and its order is over", view.amount));
        }
        (None, None) => {}
    }
}

/// A payment that the row has no receipt of.
fn anothers(told: &mut Told<'_>, row: &Order) {
    let view = &told.seen.view;
    match view.status {
        // The provider knows of the hold, the row does not yet: whoever settles the parked order adopts it.
        PaymentStatus::Held if row.payment.is_none() && row.state == State::Validated && row.parked.is_some() => {}
        PaymentStatus::Held => {
            told.payment(Kind::OrphanedHold, format!("holds {}, and is not its order's payment", view.amount));
        }
        // What was given back in full is even.
        PaymentStatus::Captured if kept_minor(view) == 0 => {}
        PaymentStatus::Captured if row.capture.is_some() => {
            let words = format!("{} is captured, and so is the order's own payment", kept(view));
            told.payment(Kind::CapturedTwice, words);
        }
        PaymentStatus::Captured => {
            let words = format!("{} is captured, and the row has neither payment nor capture of it", kept(view));
            told.payment(Kind::CaptureNotOnRow, words);
        }
        PaymentStatus::Unconfirmed
        | PaymentStatus::Declined { .. }
        | PaymentStatus::NeedsCustomer
        | PaymentStatus::Processing
        | PaymentStatus::Cancelled => {}
    }
}

/// The refunds of a payment that both sides have as captured.
fn refunds(told: &mut Told<'_>, row: &Order) {
    let currency = told.seen.view.amount.currency;
    let money = |minor: u64| Money::new(minor, currency);
    let seen = told.seen;
    for refund in seen.view.refunds.iter().filter(|refund| !refund.failed) {
        let receipt = row.refunds.iter().find(|receipt| receipt.refund_id.as_ref() == Some(&refund.refund_id));
        match receipt {
            None => {
                let words = format!("{} went back, and the row has no receipt of it", money(refund.amount_minor));
                told.refund(Kind::RefundNotOnRow, &refund.refund_id, words);
            }
            Some(receipt) if receipt.amount_minor != refund.amount_minor => {
                let words =
                    format!("{} went back, the row says {}", money(refund.amount_minor), money(receipt.amount_minor));
                told.refund(Kind::RefundAmount, &refund.refund_id, words);
            }
            Some(_) => {}
        }
    }
    let done = row.refunds.iter().enumerate().filter(|(_, receipt)| receipt.status == RefundStatus::Done);
    for (ordinal, receipt) in done {
        let of = |refund: &&RefundView| receipt.refund_id.as_ref() == Some(&refund.refund_id);
        let about = receipt.refund_id.clone().unwrap_or_else(|| format!("refund-{ordinal}"));
        match seen.view.refunds.iter().find(of) {
            Some(refund) if refund.failed => {
                let words = format!("the row says that {} went back, and it failed", money(receipt.amount_minor));
                told.refund(Kind::RefundFailed, &about, words);
            }
            Some(_) => {}
            None => {
                let words =
                    format!("the row says that {} went back, and there is no such refund", money(receipt.amount_minor));
                told.refund(Kind::RefundNotAtProvider, &about, words);
            }
        }
    }
}

/// Whether nothing will be held or captured for it any more.
fn is_over(row: &Order) -> bool {
    matches!(row.state, State::Rejected | State::Cancelled)
}

/// What is left of the capture, minor units.
fn kept_minor(view: &PaymentView) -> u64 {
    let back = view.refunds.iter().filter(|refund| !refund.failed).map(|refund| refund.amount_minor);
    view.captured_minor.saturating_sub(back.fold(0, u64::saturating_add))
}

fn kept(view: &PaymentView) -> Money {
    Money::new(kept_minor(view), view.amount.currency)
}

fn standing(status: &PaymentStatus) -> &'static str {
    match status {
        PaymentStatus::Unconfirmed => "has it unconfirmed",
        PaymentStatus::Declined { .. } => "has it declined",
        PaymentStatus::NeedsCustomer => "waits for the customer",
        PaymentStatus::Processing => "is at work on it",
        PaymentStatus::Held => "only holds it",
        PaymentStatus::Captured => "has it captured",
        PaymentStatus::Cancelled => "has it cancelled",
    }
}

/// What is found.
struct Told<'a> {
    seen: &'a Seen,
    row: Option<&'a Order>,
    all: Vec<Difference>,
}

impl Told<'_> {
    fn payment(&mut self, kind: Kind, words: String) {
        self.tell(kind, None, words);
    }

    fn refund(&mut self, kind: Kind, refund: &str, words: String) {
        self.tell(kind, Some(refund.to_owned()), words);
    }

    fn tell(&mut self, kind: Kind, refund: Option<String>, words: String) {
        self.all.push(Difference {
            kind,
            order_id: self.seen.order_id,
            payment_id: self.seen.payment_id.clone(),
            words,
            refund,
            row_version: self.row.map_or(0, |row| row.version),
            tenant: self.row.map(|row| row.tenant.clone()),
        });
    }
}
