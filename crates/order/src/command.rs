//! What a row can owe: one command at a time.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::OrderId;

/// The worker a command goes to: one queue per lane, one function.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Step {
    /// validate-order.
    Validate,
    /// process-payment.
    Payment,
    /// reserve-stock.
    Stock,
    /// ship-order.
    Shipping,
}

impl Step {
    /// All steps in the order an order meets them.
    pub const ALL: [Self; 4] = [Self::Validate, Self::Payment, Self::Stock, Self::Shipping];

    /// The step's part of a queue's name: `<stack>-<step>-<lane>`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Validate => "validate",
            Self::Payment => "payment",
            Self::Stock => "stock",
            Self::Shipping => "shipping",
        }
    }
}

/// A command: what a row in some state owes. Which refund `RefundPayment` means is read from the row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Price and check the order against the catalogue.
    ValidateOrder,
    /// Hold the total on the customer's payment method.
    AuthorizePayment,
    /// Take the lines from the stock.
    ReserveStock,
    /// Turn the hold into money.
    CapturePayment,
    /// Hand the order to the carrier.
    CreateShipment,
    /// Put the lines back into the stock.
    ReleaseStock,
    /// Give up the hold.
    VoidPayment,
    /// Give money back: the first refund of the row that is not done.
    RefundPayment,
}

/// Not a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a command of an order")]
pub struct UnknownCommand;

impl Command {
    /// Every command.
    pub const ALL: [Self; 8] = [
        Self::ValidateOrder,
        Self::AuthorizePayment,
        Self::ReserveStock,
        Self::CapturePayment,
        Self::CreateShipment,
        Self::ReleaseStock,
        Self::VoidPayment,
        Self::RefundPayment,
    ];

    /// The step that takes it.
    pub fn step(self) -> Step {
        match self {
            Self::ValidateOrder => Step::Validate,
            Self::AuthorizePayment | Self::CapturePayment | Self::VoidPayment | Self::RefundPayment => Step::Payment,
            Self::ReserveStock | Self::ReleaseStock => Step::Stock,
            Self::CreateShipment => Step::Shipping,
        }
    }

    /// Its name inside a message type: `orderflow.<name>.v1`.
    pub fn name(self) -> &'static str {
        match self {
            Self::ValidateOrder => "order.validate",
            Self::AuthorizePayment => "payment.authorize",
            Self::ReserveStock => "stock.reserve",
            Self::CapturePayment => "payment.capture",
            Self::CreateShipment => "shipment.create",
            Self::ReleaseStock => "stock.release",
            Self::VoidPayment => "payment.void",
            Self::RefundPayment => "payment.refund",
        }
    }

    /// The id of the message that carries this command for one version of one order: UUIDv5, so that whoever sends
    /// it, and however often, it is the same message.
    pub fn message_id(self, order_id: OrderId, version: u64) -> Uuid {
        let name = format!("{order_id}/{version}/{}", self.name());
        Uuid::new_v5(&MESSAGES, name.as_bytes())
    }
}

/// The UUIDv5 namespace of command messages (itself UUIDv5 of the DNS namespace and `messages.orderflow.invalid`).
const MESSAGES: Uuid =
    Uuid::from_bytes([0x84, 0x28, 0x1c, 0xaa, 0xb5, 0xf0, 0x59, 0x2d, 0x87, 0x08, 0xa5, 0x23, 0xf7, 0xde, 0xbc, 0x57]);

impl FromStr for Command {
    type Err = UnknownCommand;
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|command| command.name() == name).ok_or(UnknownCommand)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
