//! The domain: money, ids, lanes, the order row and the table of its transitions.
//!
//! Pure: no async, no clock, no randomness, no AWS. Everything that happens to an order is an [`Outcome`]; what it
//! makes of the row is [`transition`]; what the row then owes is [`Order::next_command`]. Nothing else decides.

mod command;
mod event;
mod ids;
mod lane;
mod money;
mod row;
mod transition;

pub use command::{Command, Step};
pub use event::{EventKind, TimelineEntry};
pub use ids::{
    CaseId, CustomerId, Email, Fingerprint, IdempotencyKey, InvalidId, OrderId, PaymentId, PaymentMethod, Sku, TenantId,
};
pub use lane::{Lane, UnknownLane};
pub use money::{Currency, MAX_AMOUNT_MINOR, Money, UnknownCurrency};
pub use row::{
    Address, Capture, Line, NewOrder, Order, Parked, Payment, Price, Reason, ReasonCode, Refund, RefundStatus,
    Shipment, State,
};
pub use transition::{
    Bug, CancelRefusal, DUE_AFTER_ACCEPTANCE_MS, DUE_AFTER_STEP_MS, MAX_REFUNDS, Next, Outcome, RefundRefusal,
    transition,
};

/// Most lines an order may have: `TransactWriteItems` takes 100 items and one of them is the order row; half of the
/// rest is head room for what a later version adds.
pub const MAX_LINES: usize = 50;

/// Most pieces of one SKU in one line.
pub const MAX_QUANTITY: u32 = 9_999;
