//! What operators decide about a case: let a parked order go, close, abandon. Every change is one transaction with its audit
//! record.

use lambda_queue::{Clock, Failure, Ids};
use order::{CaseId, Money, Next, Order, OrderId, Outcome, RefundStatus, State, transition};
use ports::{
    Audit, CaseKind, CaseStatus, Commit, DecideCases, Decided, LoadOrder, ReadBreakers, ReadCases, SendCommands,
    StoredCase, owed,
};
use serde::Serialize;

/// What operators' commands touch, with the operator's own role.
pub trait Operator: ReadCases + DecideCases + LoadOrder + SendCommands + ReadBreakers + Clock + Ids {}
impl<P: ReadCases + DecideCases + LoadOrder + SendCommands + ReadBreakers + Clock + Ids> Operator for P {}

/// How often a commit follows a row that moves under it.
const RACES: u32 = 6;

/// On whose account, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct By {
    /// The caller's ARN, or the name of a local user.
    pub who: String,
    /// In their words.
    pub reason: String,
}

impl By {
    /// The record of what was done to a case or an order.
    pub fn audit<P: Clock + Ids>(&self, ports: &P, action: &str, subject: &str, detail: impl Into<String>) -> Audit {
        Audit {
            audit_id: format!("audit-{}", ports.fresh()),
            at_ms: ports.now_ms(),
            who: self.who.clone(),
            action: action.to_owned(),
            subject: subject.to_owned(),
            reason: self.reason.clone(),
            detail: detail.into(),
        }
    }
}

/// What became of letting an order go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Resumed {
    /// The row is written, and what it owes is sent, or will be sent by recovery.
    Gone(Box<Order>),
    /// It is not parked, or with another case.
    NotParked,
    /// There is no such order.
    Unknown,
}

/// Lets a parked order go on: the row, its case and the audit record in one transaction; then what it owes. A send that
/// fails is made good by `recover-orders`. Repeating it finds the order not parked and changes nothing.
pub async fn resume(ports: &impl Operator, order_id: OrderId, by: &By, to: CaseStatus) -> Result<Resumed, Failure> {
    let mut found = ports.load_order(order_id).await?;
    for _ in 0..RACES {
        let Some(before) = found else { return Ok(Resumed::Unknown) };
        let Some(parked) = before.parked.clone() else { return Ok(Resumed::NotParked) };
        let Next::Changed(after) = transition(&before, &Outcome::Resumed, ports.now_ms()).map_err(ports::bug)? else {
            return Ok(Resumed::NotParked);
        };
        let owes = after.next_command().map_or("nothing", order::Command::name);
        let detail = format!("order {order_id} is let go at version {} and owes {owes}", after.version);
        let audit = by.audit(ports, "resume", parked.case_id.as_str(), detail);
        match ports.commit_decision(&before, &after, Some((&parked.case_id, to)), &audit).await? {
            Commit::Done => {
                send_owed(ports, &after).await;
                return Ok(Resumed::Gone(after));
            }
            Commit::Lost(row) => found = Some(*row),
        }
    }
    Err(Failure::again("the row changed under every try"))
}

/// Sends what a row owes that is committed: recovery makes good what does not leave.
async fn send_owed(ports: &impl Operator, order: &Order) {
    for message in owed(ports, order, None) {
        for result in ports.send(&message.queue, std::slice::from_ref(&message)).await {
            if let Err(why) = result {
                tracing::warn!(order_id = %order.order_id, why, "not sent: recovery sends it within two minutes");
            }
        }
    }
}

/// What closing a case came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Closed {
    /// It is closed.
    Closed,
    /// Its order was asked to be cancelled and let go: the steps undo what was done.
    Cancelling,
    /// It is closed, and its order stays parked for good.
    LeftParked,
    /// Its order is parked: closing it needs the word that the order is given up.
    NeedsAbandon,
    /// Its order may be parked with it at any moment, as the case is written first: left open. Once the order moves on, the
    /// case is closed by that.
    MayBeParked,
    /// Nobody needs to look at it any more: it is closed already, or replayed.
    Already,
    /// The case changed meanwhile, or its order owes other refunds than were seen: look again.
    Changed,
}

/// A refund that an order owes: whoever gives the order up has settled it by hand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct OwedRefund {
    /// Its place in the row's list.
    pub ordinal: usize,
    /// Minor units.
    pub amount_minor: u64,
}

/// The refunds that a row owes, parked or not.
pub fn owed_refunds(order: &Order) -> Vec<OwedRefund> {
    let owed = order.refunds.iter().enumerate().filter(|(_, refund)| refund.status == RefundStatus::Requested);
    owed.map(|(ordinal, refund)| OwedRefund { ordinal, amount_minor: refund.amount_minor }).collect()
}

/// Refunds of an order in words; `None` where there are none.
pub fn told(order: &Order, refunds: &[OwedRefund]) -> Option<String> {
    let amount = |refund: &OwedRefund| Money::new(refund.amount_minor, order.currency).to_string();
    (!refunds.is_empty()).then(|| refunds.iter().map(amount).collect::<Vec<_>>().join(", "))
}

/// The order that would be given up with a case: the one that is parked with it. To be shown before anybody says so.
pub async fn given_up_with(ports: &impl LoadOrder, case: &StoredCase) -> Result<Option<Box<Order>>, Failure> {
    Ok(match waits(ports, case).await? {
        Waits::Parked(order) => Some(order),
        Waits::MayYet | Waits::Not => None,
    })
}

/// Closes a case. One whose order waits for it is closed only by who abandons the order, and says which refunds they saw it
/// owe (`abandon`; none where it was not parked when they looked):
///
/// - before the order's end (accepted to paid) its cancel is asked for, and it is let go: by the table the steps settle what
///   was begun and undo it;
/// - where it is being undone already, or a refund is owed, there is nothing left to give up: somebody has settled it by
///   hand. The row stays parked and says that it is given up, and the case is abandoned. Where the order owes other refunds
///   than were seen, nobody has settled those: it is [`Closed::Changed`].
///
/// A case that is abandoned while its row does not say so is of a program of before: `abandon` makes the row say so.
/// Repeating it changes nothing.
pub async fn close(
    ports: &impl Operator,
    case: &StoredCase,
    by: &By,
    abandon: Option<&[OwedRefund]>,
) -> Result<Closed, Failure> {
    match (case.status, abandon) {
        (CaseStatus::Open, _) => {}
        (CaseStatus::Abandoned, Some(seen)) => return mark_given_up(ports, case, by, seen).await,
        (CaseStatus::Abandoned, None) | (CaseStatus::Replayed | CaseStatus::Closed | CaseStatus::Superseded, _) => {
            return Ok(Closed::Already);
        }
    }
    let order = match waits(ports, case).await? {
        Waits::Parked(order) => order,
        Waits::MayYet => return Ok(Closed::MayBeParked),
        Waits::Not => {
            let audit = by.audit(ports, "close", case.case.case_id.as_str(), "");
            return decided(ports, case, CaseStatus::Closed, &audit, Closed::Closed).await;
        }
    };
    let Some(seen) = abandon else { return Ok(Closed::NeedsAbandon) };
    match order.state {
        State::Accepted | State::Validated | State::Authorized | State::Reserved | State::Paid => {
            ask_to_cancel(ports, &order, by).await?;
            match resume(ports, order.order_id, by, CaseStatus::Closed).await? {
                Resumed::Gone(_) => Ok(Closed::Cancelling),
                Resumed::NotParked | Resumed::Unknown => Ok(Closed::Changed),
            }
        }
        State::Shipped | State::Releasing | State::Voiding | State::Refunding => {
            give_up(ports, *order, &case.case.case_id, by, seen).await
        }
        // The end of an order takes it out of the car park.
        State::Rejected | State::Cancelled => Ok(Closed::Changed),
    }
}

/// Of an abandoned case: its row, if it is parked with it still and does not say that it is given up.
async fn mark_given_up(
    ports: &impl Operator,
    case: &StoredCase,
    by: &By,
    seen: &[OwedRefund],
) -> Result<Closed, Failure> {
    match given_up_with(ports, case).await? {
        Some(order) if order.parked.as_ref().is_some_and(|parked| !parked.abandoned) => {
            give_up(ports, *order, &case.case.case_id, by, seen).await
        }
        Some(_) | None => Ok(Closed::Already),
    }
}

/// Leaves an order parked for good: its row, which takes no refund from then on, its case and the audit record in one
/// transaction. A refund that is asked for before that, and which the operator has not seen, is nobody's: it is looked at
/// first.
async fn give_up(
    ports: &impl Operator,
    order: Order,
    case_id: &CaseId,
    by: &By,
    seen: &[OwedRefund],
) -> Result<Closed, Failure> {
    let mut before = order;
    for _ in 0..RACES {
        if before.parked.as_ref().is_none_or(|parked| parked.case_id != *case_id) || owed_refunds(&before) != seen {
            return Ok(Closed::Changed);
        }
        let Next::Changed(after) = transition(&before, &Outcome::Abandoned, ports.now_ms()).map_err(ports::bug)? else {
            return Ok(Closed::Changed);
        };
        let owes = told(&before, seen).map(|told| format!(", owing refunds of {told}")).unwrap_or_default();
        let detail = format!("order {} stays parked while {}{owes}", before.order_id, before.state);
        let audit = by.audit(ports, "abandon", case_id.as_str(), detail);
        match ports.commit_decision(&before, &after, Some((case_id, CaseStatus::Abandoned)), &audit).await? {
            Commit::Done => return Ok(Closed::LeftParked),
            Commit::Lost(row) => before = *row,
        }
    }
    Err(Failure::again("the row changed under every try"))
}

async fn decided(
    ports: &impl Operator,
    case: &StoredCase,
    to: CaseStatus,
    audit: &Audit,
    then: Closed,
) -> Result<Closed, Failure> {
    Ok(match ports.decide_case(case, to, audit).await? {
        Decided::Done => then,
        Decided::Changed => Closed::Changed,
    })
}

/// Whether an order waits for a case.
pub(crate) enum Waits {
    /// It is parked with this very case.
    Parked(Box<Order>),
    /// Its row is still the one that was to be parked: somebody may be about to.
    MayYet,
    /// None does, and none will: it has moved on, or the case is about something else.
    Not,
}

/// The case is written before its order is parked, on the version that it names: what has got past that version is not parked
/// with it any more.
pub(crate) async fn waits(ports: &impl LoadOrder, case: &StoredCase) -> Result<Waits, Failure> {
    if case.case.kind != CaseKind::Parked {
        return Ok(Waits::Not);
    }
    let Ok(order_id) = case.case.order_id.parse::<OrderId>() else { return Ok(Waits::Not) };
    let Some(order) = ports.load_order(order_id).await? else { return Ok(Waits::Not) };
    Ok(match &order.parked {
        Some(parked) if parked.case_id == case.case.case_id => Waits::Parked(Box::new(order)),
        Some(_) => Waits::Not,
        None if order.version <= case.case.row_version => Waits::MayYet,
        None => Waits::Not,
    })
}

/// Puts the wish to cancel on a parked row. One that has it stays as it is.
async fn ask_to_cancel(ports: &impl Operator, order: &Order, by: &By) -> Result<(), Failure> {
    let mut before = order.clone();
    for _ in 0..RACES {
        let Next::Changed(after) =
            transition(&before, &Outcome::CancelRequested, ports.now_ms()).map_err(ports::bug)?
        else {
            return Ok(());
        };
        let detail = format!("a cancel is asked for at version {}", after.version);
        let audit = by.audit(ports, "abandon", &order.order_id.to_string(), detail);
        match ports.commit_decision(&before, &after, None, &audit).await? {
            Commit::Done => return Ok(()),
            Commit::Lost(row) => before = *row,
        }
    }
    Err(Failure::again("the row changed under every try"))
}
