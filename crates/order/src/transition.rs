//! The table: what each outcome makes of an order in each state.

use crate::{
    Capture, EventKind, Fingerprint, Money, Order, Parked, Payment, Price, Reason, ReasonCode, Refund, RefundStatus,
    Shipment, Sku, State, TimelineEntry,
};

/// After acceptance a row waits this long for its first command before `recover-orders` looks, milliseconds.
pub const DUE_AFTER_ACCEPTANCE_MS: u64 = 30_000;
/// After each step a row waits this long for its next command before `recover-orders` looks, milliseconds.
pub const DUE_AFTER_STEP_MS: u64 = 60_000;
/// Most refunds of one order.
pub const MAX_REFUNDS: usize = 20;

/// Something that happened to an order: a fact, wherever the row has got to meanwhile.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The catalogue has every line; prices in the order of the lines.
    Valid {
        /// Name and price of each line, in line order.
        prices: Vec<Price>,
        /// Their sum.
        total: Money,
    },
    /// The catalogue, or the sum, says no.
    Invalid(Reason),
    /// The total is held.
    Authorized(Payment),
    /// The provider said no.
    Declined(Reason),
    /// Every line is taken from the stock, in the same transaction.
    Reserved,
    /// A line is not to be had; nothing was taken.
    OutOfStock(Sku),
    /// The hold is money.
    Captured(Capture),
    /// The hold is gone.
    CaptureRefused(Reason),
    /// The carrier has it.
    ShipmentCreated(Shipment),
    /// The carrier does not go there.
    Undeliverable(Reason),
    /// Every line is back in the stock, in the same transaction.
    Released,
    /// The hold is given up, or had expired.
    Voided,
    /// A refund is done.
    Refunded {
        /// Its place in the row's list.
        ordinal: usize,
        /// The provider's id.
        refund_id: String,
    },
    /// Cancel was asked for, and the state's effect never started and, fenced, never will.
    Skipped,
    /// The customer asks to cancel.
    CancelRequested,
    /// Somebody asks for money back.
    RefundRequested {
        /// Minor units.
        amount_minor: u64,
        /// Hash of the request's Idempotency-Key.
        key_hash: Fingerprint,
        /// Fingerprint of the request.
        fingerprint: Fingerprint,
        /// Why.
        reason: Option<String>,
    },
    /// The order waits for an operator; the case is written.
    Parked(Parked),
    /// An operator lets it go on.
    Resumed,
    /// An operator gives it up where the table has nothing left to undo it by: whatever it still owes is settled by hand.
    Abandoned,
}

/// What an outcome made of an order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next {
    /// The next version of the row.
    Changed(Box<Order>),
    /// Nothing: the row has it already, or the outcome no longer matters.
    Absorbed,
}

/// An outcome that cannot have happened to this order. Somebody has to look.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("order {order_id} is {state} at version {version}, so it cannot be that {outcome}")]
pub struct Bug {
    /// Which order.
    pub order_id: crate::OrderId,
    /// Where it stands.
    pub state: State,
    /// Its version.
    pub version: u64,
    /// What is said to have happened.
    pub outcome: &'static str,
}

/// Applies an outcome to a row. Total: every pair of state and outcome has an answer, and only what cannot have
/// happened is a [`Bug`].
///
/// The answer is the whole next row: state, receipts, reason, version +1, one timeline entry at `at_ms` (UTC
/// milliseconds), `due_at` and `nudges`.
pub fn transition(order: &Order, outcome: &Outcome, at_ms: u64) -> Result<Next, Bug> {
    use State::{
        Accepted, Authorized, Cancelled, Paid, Refunding, Rejected, Releasing, Reserved, Shipped, Validated, Voiding,
    };
    let change = Change { order, at_ms };
    let cancel = order.cancel_requested;
    match (outcome, order.state) {
        // Decided by the commit itself: late, they are another copy's loss.
        (Outcome::Valid { .. }, Accepted) if cancel => change.cancelled(),
        (Outcome::Valid { prices, total }, Accepted)
            if prices.len() != order.lines.len() || total.currency != order.currency =>
        {
            change.bug("it was priced otherwise than line by line in its currency")
        }
        (Outcome::Valid { prices, total }, Accepted) => change.to(Validated, |row| {
            row.lines.iter_mut().zip(prices).for_each(|(line, price)| line.price = Some(price.clone()));
            row.total = Some(*total);
        }),
        (Outcome::Invalid(reason), Accepted) => change.ends(Rejected, reason),
        (Outcome::Reserved, Authorized) => change.to(Reserved, |_| ()),
        (Outcome::OutOfStock(sku), Authorized) => {
            let reason = Reason::new(ReasonCode::OutOfStock, format!("{sku} is out of stock"));
            change.undo(Voiding, &reason)
        }
        (Outcome::Released, Releasing) if order.capture.is_some() => change.to(Refunding, |row| {
            let amount_minor = row.refundable_minor();
            row.refunds.push(Refund {
                amount_minor,
                status: RefundStatus::Requested,
                key_hash: None,
                fingerprint: None,
                reason: row.reason.as_ref().map(|reason| reason.message.clone()),
                refund_id: None,
            });
        }),
        (Outcome::Released, Releasing) => change.to(Voiding, |_| ()),
        (Outcome::Valid { .. } | Outcome::Invalid(_), _)
        | (Outcome::Reserved | Outcome::OutOfStock(_) | Outcome::Released, _) => Ok(Next::Absorbed),

        // Effects of the outside world: each leads on, is known already, or cannot be.
        (Outcome::Authorized(payment), Validated) if cancel => {
            change.undo_with(Voiding, &customer_cancelled(), |row| row.payment = Some(payment.clone()))
        }
        // What is given back may be any amount; what leads on is the total, or it is not this order's.
        (Outcome::Authorized(payment), Validated) if Some(payment.amount) != order.total => {
            change.bug("another amount than its total was authorized")
        }
        (Outcome::Authorized(payment), Validated) => change.to(Authorized, |row| row.payment = Some(payment.clone())),
        (Outcome::Authorized(payment), _) => known(order, order.payment.as_ref() == Some(payment), "it was authorized"),

        (Outcome::Declined(reason), Validated) => change.ends(Rejected, reason),
        (Outcome::Declined(_), _) => {
            known(order, order.payment.is_none() && order.state.is_terminal(), "its payment was declined")
        }

        (Outcome::Captured(capture), Reserved) if cancel => {
            change.undo_with(Releasing, &customer_cancelled(), |row| row.capture = Some(capture.clone()))
        }
        (Outcome::Captured(capture), Reserved) if Some(capture.amount) != order.total => {
            change.bug("another amount than its total was captured")
        }
        (Outcome::Captured(capture), Reserved) => change.to(Paid, |row| row.capture = Some(capture.clone())),
        (Outcome::Captured(capture), _) => known(order, order.capture.as_ref() == Some(capture), "it was captured"),

        (Outcome::CaptureRefused(reason), Reserved) => change.undo(Releasing, reason),
        (Outcome::CaptureRefused(_), Releasing | Voiding | Rejected | Cancelled) => {
            known(order, order.capture.is_none() && order.payment.is_some(), "its capture was refused")
        }
        (Outcome::CaptureRefused(_), Accepted | Validated | Authorized | Paid | Shipped | Refunding) => {
            change.bug("its capture was refused")
        }

        (Outcome::ShipmentCreated(shipment), Paid) if cancel => {
            change.event(Shipped, EventKind::CancelRefused, |row| {
                row.shipment = Some(shipment.clone());
                row.cancel_requested = false;
            })
        }
        (Outcome::ShipmentCreated(shipment), Paid) => change.to(Shipped, |row| row.shipment = Some(shipment.clone())),
        (Outcome::ShipmentCreated(shipment), _) => {
            known(order, order.shipment.as_ref() == Some(shipment), "a shipment was created")
        }

        (Outcome::Undeliverable(reason), Paid) => change.undo(Releasing, reason),
        (Outcome::Undeliverable(_), Releasing | Refunding | Cancelled) => {
            known(order, order.capture.is_some() && order.shipment.is_none(), "it was undeliverable")
        }
        (Outcome::Undeliverable(_), Accepted | Validated | Authorized | Reserved | Shipped | Voiding | Rejected) => {
            change.bug("it was undeliverable")
        }

        (Outcome::Voided, Voiding) => {
            let end = order.reason.as_ref().map_or(Cancelled, |reason| reason.code.ends_as());
            change.to(end, |_| ())
        }
        (Outcome::Voided, Rejected | Cancelled) => {
            known(order, order.capture.is_none() && order.payment.is_some(), "its hold was voided")
        }
        (Outcome::Voided, Accepted | Validated | Authorized | Reserved | Paid | Shipped | Releasing | Refunding) => {
            change.bug("its hold was voided")
        }

        (Outcome::Refunded { ordinal, refund_id }, state) => {
            let Some(refund) = order.refunds.get(*ordinal) else { return change.bug("a refund was done") };
            match (refund.status, state) {
                (RefundStatus::Done, _) => {
                    known(order, refund.refund_id.as_deref() == Some(refund_id), "a refund was done twice")
                }
                (RefundStatus::Requested, Refunding) => change.to(Cancelled, |row| refunded(row, *ordinal, refund_id)),
                (RefundStatus::Requested, Shipped) => {
                    change.event(Shipped, EventKind::Refunded, |row| refunded(row, *ordinal, refund_id))
                }
                (
                    RefundStatus::Requested,
                    Accepted | Validated | Authorized | Reserved | Paid | Releasing | Voiding | Rejected | Cancelled,
                ) => change.bug("a refund was done"),
            }
        }

        // Cancel: the step that holds the state's effect found that it never started.
        (Outcome::Skipped, Shipped) if order.timeline.iter().any(|entry| entry.event == EventKind::CancelRefused) => {
            // A shipment that won the race against the skip has cleared the flag.
            Ok(Next::Absorbed)
        }
        (Outcome::Skipped, _) if !cancel => change.bug("a cancelled step was skipped"),
        (Outcome::Skipped, Accepted | Validated) => change.cancelled(),
        (Outcome::Skipped, Authorized) => change.undo(Voiding, &customer_cancelled()),
        (Outcome::Skipped, Reserved | Paid) => change.undo(Releasing, &customer_cancelled()),
        (Outcome::Skipped, Shipped | Releasing | Voiding | Refunding | Rejected | Cancelled) => Ok(Next::Absorbed),

        // Wishes: they change what is wanted, never the state.
        (Outcome::CancelRequested, Accepted | Validated | Authorized | Reserved | Paid) if !cancel => {
            change.event(order.state, EventKind::CancelRequested, |row| row.cancel_requested = true)
        }
        (Outcome::CancelRequested, _) => Ok(Next::Absorbed),
        (Outcome::RefundRequested { amount_minor, key_hash, fingerprint, reason }, Shipped)
            if order.refund_allowed(*amount_minor).is_ok() && !order.has_refund(key_hash) =>
        {
            change.event(Shipped, EventKind::RefundRequested, |row| {
                row.refunds.push(Refund {
                    amount_minor: *amount_minor,
                    status: RefundStatus::Requested,
                    key_hash: Some(key_hash.clone()),
                    fingerprint: Some(fingerprint.clone()),
                    reason: reason.clone(),
                    refund_id: None,
                });
            })
        }
        (Outcome::RefundRequested { .. }, _) => Ok(Next::Absorbed),

        // The operator's.
        (Outcome::Parked(parked), state) if order.next_command().is_some() => {
            change.event(state, EventKind::Parked, |row| row.parked = Some(parked.clone()))
        }
        (Outcome::Resumed, state) if order.parked.is_some() => {
            change.event(state, EventKind::Resumed, |row| row.parked = None)
        }
        // A version of its own, so that a refund that is asked for at the same moment cannot slip in behind it. It is told as
        // the parking that it is: programs of before know that event.
        (Outcome::Abandoned, Shipped | Releasing | Voiding | Refunding)
            if order.parked.as_ref().is_some_and(|parked| !parked.abandoned) =>
        {
            change.event(order.state, EventKind::Parked, |row| {
                row.parked.iter_mut().for_each(|parked| parked.abandoned = true);
            })
        }
        (Outcome::Parked(_) | Outcome::Resumed | Outcome::Abandoned, _) => Ok(Next::Absorbed),
    }
}

/// Why a cancel is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CancelRefusal {
    /// It is with the carrier: a refund is the way.
    #[error("the order is shipped: ask for a refund instead")]
    Shipped,
    /// It ended already.
    #[error("the order was rejected: there is nothing to cancel")]
    Rejected,
}

/// Why a refund is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RefundRefusal {
    /// Only what shipped is refunded on request; before that, cancel.
    #[error("the order is not shipped: cancel it instead")]
    NotShipped,
    /// More than is left of the capture.
    #[error("at most {refundable_minor} minor units are left to refund")]
    OverCapture {
        /// Minor units left.
        refundable_minor: u64,
    },
    /// Zero.
    #[error("a refund is of at least one minor unit")]
    Zero,
    /// It was given up: nothing that it owes is paid any more by itself.
    #[error("the order was given up, and its money is settled by hand")]
    Abandoned,
    /// The list is full.
    #[error("an order takes at most {MAX_REFUNDS} refunds")]
    TooMany,
}

impl Order {
    /// Whether a cancel may be asked for. A cancelled order, or one that is on its way there, says yes: a repeat.
    pub fn cancel_allowed(&self) -> Result<(), CancelRefusal> {
        match self.state {
            State::Shipped => Err(CancelRefusal::Shipped),
            State::Rejected => Err(CancelRefusal::Rejected),
            State::Accepted
            | State::Validated
            | State::Authorized
            | State::Reserved
            | State::Paid
            | State::Releasing
            | State::Voiding
            | State::Refunding
            | State::Cancelled => Ok(()),
        }
    }

    /// Whether a refund was asked for with this key already. Two requests with one key may race each other to the row:
    /// the one that loses finds the other's refund there.
    pub fn has_refund(&self, key_hash: &Fingerprint) -> bool {
        self.refunds.iter().any(|refund| refund.key_hash.as_ref() == Some(key_hash))
    }

    /// Whether so many minor units may be asked back.
    pub fn refund_allowed(&self, amount_minor: u64) -> Result<(), RefundRefusal> {
        let refundable_minor = self.refundable_minor();
        if self.state != State::Shipped {
            Err(RefundRefusal::NotShipped)
        } else if self.parked.as_ref().is_some_and(|parked| parked.abandoned) {
            Err(RefundRefusal::Abandoned)
        } else if self.refunds.len() >= MAX_REFUNDS {
            Err(RefundRefusal::TooMany)
        } else if amount_minor > refundable_minor || refundable_minor == 0 {
            Err(RefundRefusal::OverCapture { refundable_minor })
        } else if amount_minor == 0 {
            Err(RefundRefusal::Zero)
        } else {
            Ok(())
        }
    }
}

fn customer_cancelled() -> Reason {
    Reason::new(ReasonCode::CustomerCancelled, "cancelled at the customer's request")
}

fn refunded(row: &mut Order, ordinal: usize, refund_id: &str) {
    if let Some(refund) = row.refunds.get_mut(ordinal) {
        refund.status = RefundStatus::Done;
        refund.refund_id = Some(refund_id.to_owned());
    }
}

/// An effect on a row that has moved on: absorbed if the row knows it, else a bug.
fn known(order: &Order, knows: bool, outcome: &'static str) -> Result<Next, Bug> {
    if knows { Ok(Next::Absorbed) } else { Change { order, at_ms: 0 }.bug(outcome) }
}

/// The making of the next version.
struct Change<'a> {
    order: &'a Order,
    at_ms: u64,
}

impl Change<'_> {
    fn event(&self, state: State, event: EventKind, edit: impl FnOnce(&mut Order)) -> Result<Next, Bug> {
        let mut row = self.order.clone();
        edit(&mut row);
        row.state = state;
        row.version = row.version.saturating_add(1);
        row.timeline.push(TimelineEntry { version: row.version, event, at_ms: self.at_ms });
        if matches!(state, State::Rejected | State::Cancelled) {
            row.parked = None;
        }
        row.nudges = 0;
        row.due_at = row.next_command().map(|_| self.at_ms.saturating_add(DUE_AFTER_STEP_MS));
        Ok(Next::Changed(Box::new(row)))
    }

    fn to(&self, state: State, edit: impl FnOnce(&mut Order)) -> Result<Next, Bug> {
        let event = match state {
            State::Accepted => EventKind::Accepted,
            State::Validated => EventKind::Validated,
            State::Authorized => EventKind::Authorized,
            State::Reserved => EventKind::Reserved,
            State::Paid => EventKind::Paid,
            State::Shipped => EventKind::Shipped,
            State::Releasing => EventKind::Releasing,
            State::Voiding => EventKind::Voiding,
            State::Refunding => EventKind::Refunding,
            State::Rejected => EventKind::Rejected,
            State::Cancelled => EventKind::Cancelled,
        };
        self.event(state, event, edit)
    }

    fn ends(&self, state: State, reason: &Reason) -> Result<Next, Bug> {
        self.to(state, |row| row.reason = Some(reason.clone()))
    }

    fn cancelled(&self) -> Result<Next, Bug> {
        self.ends(State::Cancelled, &customer_cancelled())
    }

    fn undo(&self, state: State, reason: &Reason) -> Result<Next, Bug> {
        self.undo_with(state, reason, |_| ())
    }

    fn undo_with(&self, state: State, reason: &Reason, edit: impl FnOnce(&mut Order)) -> Result<Next, Bug> {
        self.to(state, |row| {
            row.reason = Some(reason.clone());
            edit(row);
        })
    }

    fn bug(&self, outcome: &'static str) -> Result<Next, Bug> {
        Err(Bug { order_id: self.order.order_id, state: self.order.state, version: self.order.version, outcome })
    }
}
