//! What is to become of a generated order.

use order::{Order, ReasonCode, State};

/// What a generated order is made to meet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// Ships.
    Happy,
    /// The card is declined.
    Declined,
    /// 3-D Secure is asked for.
    NeedsCustomer,
    /// A line is sold out.
    OutOfStock,
    /// The carrier does not go there.
    Undeliverable,
    /// The hold is gone when it is to be captured.
    ExpiredHold,
    /// Cancelled at a random moment: it may still have shipped.
    Cancelled,
    /// Names what the catalogue does not have.
    UnknownSku,
}

impl Kind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Happy => "happy",
            Self::Declined => "declined",
            Self::NeedsCustomer => "3-D Secure",
            Self::OutOfStock => "out of stock",
            Self::Undeliverable => "undeliverable",
            Self::ExpiredHold => "expired hold",
            Self::Cancelled => "cancelled",
            Self::UnknownSku => "unknown sku",
        }
    }

    /// The payment method that makes it so.
    pub fn payment_method(self) -> &'static str {
        match self {
            Self::Declined => "pm_card_visa_chargeDeclined",
            Self::NeedsCustomer => "pm_card_authenticationRequired",
            Self::ExpiredHold => "pm_card_expiredHold",
            Self::Happy | Self::OutOfStock | Self::Undeliverable | Self::Cancelled | Self::UnknownSku => "pm_card_visa",
        }
    }

    /// Whether an order may end so.
    pub fn allows(self, order: &Order) -> bool {
        let reason = order.reason.as_ref().map(|reason| reason.code);
        let ends = |state, code| order.state == state && reason == Some(code);
        match self {
            Self::Happy => order.state == State::Shipped,
            Self::Declined => ends(State::Rejected, ReasonCode::PaymentDeclined),
            Self::NeedsCustomer => ends(State::Rejected, ReasonCode::AuthenticationRequired),
            Self::OutOfStock => ends(State::Rejected, ReasonCode::OutOfStock),
            Self::Undeliverable => ends(State::Cancelled, ReasonCode::Undeliverable),
            Self::ExpiredHold => ends(State::Rejected, ReasonCode::CaptureRefused),
            Self::Cancelled => order.state == State::Shipped || ends(State::Cancelled, ReasonCode::CustomerCancelled),
            Self::UnknownSku => ends(State::Rejected, ReasonCode::UnknownSku),
        }
    }
}
