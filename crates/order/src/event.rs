//! What happened to an order: one event for every version of its row.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid};

use sha2::{Digest, Sha256};

use crate::OrderId;

/// What made a version of the row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// Version 1: the order was placed.
    Accepted,
    /// Priced and found good.
    Validated,
    /// The total is held.
    Authorized,
    /// The stock is taken.
    Reserved,
    /// The hold is captured.
    Paid,
    /// The carrier has it.
    Shipped,
    /// The carrier had it already when the customer asked to cancel.
    CancelRefused,
    /// Undoing: the stock goes back.
    Releasing,
    /// Undoing: the hold is given up.
    Voiding,
    /// Undoing: the money goes back.
    Refunding,
    /// Ended: the business said no.
    Rejected,
    /// Ended: cancelled, and everything undone.
    Cancelled,
    /// The customer asked to cancel.
    CancelRequested,
    /// Somebody asked for money back on a shipped order.
    RefundRequested,
    /// Money of a shipped order went back.
    Refunded,
    /// The order waits for an operator.
    Parked,
    /// An operator let it go on.
    Resumed,
}

impl EventKind {
    /// Every event.
    pub const ALL: [Self; 17] = [
        Self::Accepted,
        Self::Validated,
        Self::Authorized,
        Self::Reserved,
        Self::Paid,
        Self::Shipped,
        Self::CancelRefused,
        Self::Releasing,
        Self::Voiding,
        Self::Refunding,
        Self::Rejected,
        Self::Cancelled,
        Self::CancelRequested,
        Self::RefundRequested,
        Self::Refunded,
        Self::Parked,
        Self::Resumed,
    ];

    /// Its name: in the event's type (`orderflow.order.<name>.v1`), the timeline and subscription filters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Validated => "validated",
            Self::Authorized => "authorized",
            Self::Reserved => "reserved",
            Self::Paid => "paid",
            Self::Shipped => "shipped",
            Self::CancelRefused => "cancel_refused",
            Self::Releasing => "releasing",
            Self::Voiding => "voiding",
            Self::Refunding => "refunding",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
            Self::CancelRequested => "cancel_requested",
            Self::RefundRequested => "refund_requested",
            Self::Refunded => "refunded",
            Self::Parked => "parked",
            Self::Resumed => "resumed",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One line of an order's story. There is exactly one for every version.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// The version that this event made.
    pub version: u64,
    /// What happened.
    pub event: EventKind,
    /// When it was committed, UTC milliseconds.
    pub at_ms: u64,
}

impl TimelineEntry {
    /// The event's id: a UUIDv7 of its commit time, its random part taken from SHA-256 over order and version, so that
    /// a re-published event keeps its id, as CloudEvents asks of a repeat.
    pub fn event_id(&self, order_id: OrderId) -> Uuid {
        let digest = Sha256::digest(format!("event/{order_id}/{}", self.version).as_bytes());
        let mut random = [0_u8; 10];
        random.iter_mut().zip(digest.iter()).for_each(|(to, from)| *to = *from);
        Builder::from_unix_timestamp_millis(self.at_ms, &random).into_uuid()
    }
}
