//! The order row: the truth about an order.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    CaseId, Command, Currency, CustomerId, DUE_AFTER_ACCEPTANCE_MS, Email, EventKind, Fingerprint, Lane, Money,
    OrderId, PaymentId, PaymentMethod, Sku, TenantId, TimelineEntry,
};

/// Where an order stands. The table of what leads where is [`crate::transition`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The row is written; nothing is checked.
    Accepted,
    /// Priced; nothing is held.
    Validated,
    /// The total is held.
    Authorized,
    /// Held, and the stock is taken.
    Reserved,
    /// Captured.
    Paid,
    /// The carrier has it. Ended, but for refunds.
    Shipped,
    /// Undoing: the stock is going back.
    Releasing,
    /// Undoing: the hold is being given up.
    Voiding,
    /// Undoing: the money is going back.
    Refunding,
    /// Ended: the business said no.
    Rejected,
    /// Ended: cancelled and undone.
    Cancelled,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 11] = [
        Self::Accepted,
        Self::Validated,
        Self::Authorized,
        Self::Reserved,
        Self::Paid,
        Self::Shipped,
        Self::Releasing,
        Self::Voiding,
        Self::Refunding,
        Self::Rejected,
        Self::Cancelled,
    ];

    /// Its name in the API and the logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Validated => "validated",
            Self::Authorized => "authorized",
            Self::Reserved => "reserved",
            Self::Paid => "paid",
            Self::Shipped => "shipped",
            Self::Releasing => "releasing",
            Self::Voiding => "voiding",
            Self::Refunding => "refunding",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether the order's way has ended: shipped, rejected or cancelled.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Shipped | Self::Rejected | Self::Cancelled)
    }

    /// Whether the customer's question "did I get it?" has its answer: the order is paid or on its way out.
    /// What `Prefer: wait` waits for.
    pub fn is_decided(self) -> bool {
        !matches!(self, Self::Accepted | Self::Validated | Self::Authorized | Self::Reserved)
    }

    /// Whether the lines of an order in this state are out of the stock.
    pub fn holds_stock(self) -> bool {
        matches!(self, Self::Reserved | Self::Paid | Self::Shipped | Self::Releasing)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why an order did not end shipped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonCode {
    /// A line names what the catalogue does not have.
    UnknownSku,
    /// The catalogue's total is not the one that the customer expected.
    TotalDiffers,
    /// The catalogue sells it in another currency.
    CurrencyDiffers,
    /// The total is more than an order may cost.
    AmountOverflow,
    /// There is nothing to pay.
    AmountZero,
    /// The total is less than the payment provider takes in one charge.
    AmountTooSmall,
    /// The payment provider declined.
    PaymentDeclined,
    /// The payment provider asked for the customer (3-D Secure), whom nobody can ask any more.
    AuthenticationRequired,
    /// A line is not in stock.
    OutOfStock,
    /// The hold could not be captured: it expired, or was given up.
    CaptureRefused,
    /// The carrier does not go there.
    Undeliverable,
    /// The customer asked for it.
    CustomerCancelled,
}

impl ReasonCode {
    /// The state an order ends in that was undone for this reason before its money was captured.
    pub fn ends_as(self) -> State {
        match self {
            Self::CustomerCancelled | Self::Undeliverable => State::Cancelled,
            Self::UnknownSku
            | Self::TotalDiffers
            | Self::CurrencyDiffers
            | Self::AmountOverflow
            | Self::AmountZero
            | Self::AmountTooSmall
            | Self::PaymentDeclined
            | Self::AuthenticationRequired
            | Self::OutOfStock
            | Self::CaptureRefused => State::Rejected,
        }
    }
}

/// Why an order did not end shipped, for programs and for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reason {
    /// For programs.
    pub code: ReasonCode,
    /// For people. Holds no customer data.
    pub message: String,
}

impl Reason {
    /// A reason.
    pub fn new(code: ReasonCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Name and price of one piece, as the catalogue had them when the order was validated.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Price {
    /// What the customer reads.
    pub name: String,
    /// Minor units for one piece, in the order's currency.
    pub unit_price_minor: u64,
}

/// One line of an order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Line {
    /// What.
    pub sku: Sku,
    /// How many pieces.
    pub quantity: u32,
    /// Snapshot of the catalogue, from validation on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
}

/// Where the order goes. Its `Debug` shows nothing.
///
/// Like all of a row it reads over fields that it does not know: a row may have been written by a later version, and a
/// rollback has to go on with it. The API, which refuses unknown fields, parses requests into types of its own.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// Who receives it.
    pub name: String,
    /// Street and number.
    pub line1: String,
    /// Whatever else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line2: Option<String>,
    /// Town.
    pub city: String,
    /// Postal code.
    pub postal_code: String,
    /// ISO 3166-1 alpha-2.
    pub country: String,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address(redacted)")
    }
}

/// The receipt of an authorization: the hold.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Payment {
    /// The provider's id, by which it is captured, voided and refunded.
    pub payment_id: PaymentId,
    /// What is held.
    pub amount: Money,
}

/// The receipt of a capture.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Capture {
    /// What was captured.
    pub amount: Money,
}

/// The receipt of a shipment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Shipment {
    /// The carrier's id.
    pub shipment_id: String,
    /// Who carries it.
    pub carrier: String,
    /// For the customer.
    pub tracking_number: String,
    /// For the customer.
    pub tracking_url: String,
}

/// Where a refund stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundStatus {
    /// Owed.
    Requested,
    /// The money went back.
    Done,
}

/// One refund; its ordinal is its place in the row's list. Its `Debug` leaves out the words of whoever asked.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// Minor units, in the order's currency.
    pub amount_minor: u64,
    /// Where it stands.
    pub status: RefundStatus,
    /// Hash of the Idempotency-Key it was asked for with; none for the refund of a cancelled order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_hash: Option<Fingerprint>,
    /// Fingerprint of the request it was asked for with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// Why, in the words of whoever asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The provider's id, once done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund_id: Option<String>,
}

impl fmt::Debug for Refund {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { amount_minor, status, key_hash, fingerprint, reason, refund_id } = self;
        f.debug_struct("Refund")
            .field("amount_minor", amount_minor)
            .field("status", status)
            .field("key_hash", key_hash)
            .field("fingerprint", fingerprint)
            .field("reason", &reason.as_ref().map(|_| "(redacted)"))
            .field("refund_id", refund_id)
            .finish()
    }
}

/// An order that waits for an operator. While this stands nothing is owed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Parked {
    /// The case that was opened first.
    pub case_id: CaseId,
    /// What went wrong.
    pub reason: String,
    /// When, UTC milliseconds.
    pub at_ms: u64,
    /// An operator has given the order up: it stays parked for good, unless somebody reopens it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub abandoned: bool,
}

/// What acceptance knows of an order.
#[derive(Clone, Debug)]
pub struct NewOrder {
    /// Derived from tenant, customer and key.
    pub order_id: OrderId,
    /// The shop.
    pub tenant: TenantId,
    /// Who ordered.
    pub customer: CustomerId,
    /// For life.
    pub lane: Lane,
    /// Of the parsed request.
    pub fingerprint: Fingerprint,
    /// What, without prices.
    pub lines: Vec<Line>,
    /// What it is to be paid in.
    pub currency: Currency,
    /// What the customer believes it costs.
    pub expected_total: Option<Money>,
    /// Where it goes.
    pub ship_to: Address,
    /// Where mail goes.
    pub email: Email,
    /// What pays.
    pub payment_method: PaymentMethod,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
}

/// The order row. Only [`crate::transition`] changes it, one version at a time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Order {
    /// Key.
    pub order_id: OrderId,
    /// The shop.
    pub tenant: TenantId,
    /// Who ordered.
    pub customer: CustomerId,
    /// For life.
    pub lane: Lane,
    /// Where it stands.
    pub state: State,
    /// +1 with every change.
    pub version: u64,
    /// Of the parsed request: a repeat with another one is a conflict.
    pub fingerprint: Fingerprint,
    /// UTC milliseconds.
    pub created_at: u64,
    /// 1 to 50.
    pub lines: Vec<Line>,
    /// Of everything in it.
    pub currency: Currency,
    /// What the customer believes it costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_total: Option<Money>,
    /// From validation on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Money>,
    /// Blanked by erasure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ship_to: Option<Address>,
    /// Blanked by erasure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Email>,
    /// Blanked by erasure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_method: Option<PaymentMethod>,
    /// The customer asked to cancel; the step that holds the state's effect acts on it.
    #[serde(default)]
    pub cancel_requested: bool,
    /// Receipt of the hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment: Option<Payment>,
    /// Receipt of the capture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<Capture>,
    /// Receipt of the carrier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipment: Option<Shipment>,
    /// In the order they were asked for.
    #[serde(default)]
    pub refunds: Vec<Refund>,
    /// Why it did not, or will not, end shipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Waits for an operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked: Option<Parked>,
    /// When `recover-orders` should look, UTC milliseconds: present exactly while a command is owed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<u64>,
    /// How often `recover-orders` sent the present version's command again.
    #[serde(default)]
    pub nudges: u32,
    /// One entry a version.
    pub timeline: Vec<TimelineEntry>,
    /// W3C trace context of the request that placed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

impl Order {
    /// The row of a new order: version 1, due in [`DUE_AFTER_ACCEPTANCE_MS`].
    pub fn accept(new: NewOrder, at_ms: u64) -> Self {
        Self {
            order_id: new.order_id,
            tenant: new.tenant,
            customer: new.customer,
            lane: new.lane,
            state: State::Accepted,
            version: 1,
            fingerprint: new.fingerprint,
            created_at: at_ms,
            lines: new.lines,
            currency: new.currency,
            expected_total: new.expected_total,
            total: None,
            ship_to: Some(new.ship_to),
            email: Some(new.email),
            payment_method: Some(new.payment_method),
            cancel_requested: false,
            payment: None,
            capture: None,
            shipment: None,
            refunds: Vec::new(),
            reason: None,
            parked: None,
            due_at: Some(at_ms.saturating_add(DUE_AFTER_ACCEPTANCE_MS)),
            nudges: 0,
            timeline: vec![TimelineEntry { version: 1, event: EventKind::Accepted, at_ms }],
            traceparent: new.traceparent,
        }
    }

    /// What the row owes, or `None` where nothing is: the order has ended or is parked.
    pub fn next_command(&self) -> Option<Command> {
        if self.parked.is_some() {
            return None;
        }
        match self.state {
            State::Accepted => Some(Command::ValidateOrder),
            State::Validated => Some(Command::AuthorizePayment),
            State::Authorized => Some(Command::ReserveStock),
            State::Reserved => Some(Command::CapturePayment),
            State::Paid => Some(Command::CreateShipment),
            State::Releasing => Some(Command::ReleaseStock),
            State::Voiding => Some(Command::VoidPayment),
            State::Shipped | State::Refunding => self.pending_refund().map(|_| Command::RefundPayment),
            State::Rejected | State::Cancelled => None,
        }
    }

    /// The first refund that is owed, with its ordinal.
    pub fn pending_refund(&self) -> Option<(usize, &Refund)> {
        self.refunds.iter().enumerate().find(|(_, refund)| refund.status == RefundStatus::Requested)
    }

    /// Minor units that are refunded or owed.
    pub fn refunds_minor(&self) -> u64 {
        self.refunds.iter().map(|refund| refund.amount_minor).fold(0, u64::saturating_add)
    }

    /// Minor units that may still be asked back.
    pub fn refundable_minor(&self) -> u64 {
        self.capture.as_ref().map_or(0, |capture| capture.amount.amount_minor).saturating_sub(self.refunds_minor())
    }

    /// What made the present version.
    pub fn last_event(&self) -> Option<&TimelineEntry> {
        self.timeline.last()
    }
}
