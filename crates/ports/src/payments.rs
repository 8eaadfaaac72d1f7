//! The payment provider: a hold is created unconfirmed, its id kept, then confirmed, captured, cancelled, refunded by id.

use std::future::Future;

use order::{Currency, Money, OrderId, PaymentId, PaymentMethod};
use serde::{Deserialize, Serialize};

use crate::{ProviderError, Terms};

/// What a payment is made of.
#[derive(Clone, Debug)]
pub struct NewPayment {
    /// Metadata at the provider.
    pub order_id: OrderId,
    /// What to hold.
    pub amount: Money,
    /// What pays.
    pub method: PaymentMethod,
}

/// What creating a payment led to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Created {
    /// The payment; it holds nothing yet.
    Made(PaymentId),
    /// None is made: the provider takes no charge as small as this.
    TooSmall,
}

impl Created {
    /// The payment's id, where there is a payment.
    pub fn id(self) -> Option<PaymentId> {
        match self {
            Self::Made(id) => Some(id),
            Self::TooSmall => None,
        }
    }
}

/// What confirming a payment led to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Confirmation {
    /// The amount is held.
    Held,
    /// The issuer said no; the code is the provider's, such as `insufficient_funds`.
    Declined {
        /// The provider's code.
        code: String,
    },
    /// The provider wants the customer (3-D Secure).
    NeedsCustomer,
}

/// What capturing led to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Captured {
    /// The hold is money.
    Captured {
        /// How much.
        amount: Money,
    },
    /// The hold is gone: expired or cancelled.
    Gone {
        /// For the order's reason.
        why: String,
    },
}

/// What giving up a hold led to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Voided {
    /// Nothing is held: given up now, or expired before.
    Voided,
    /// It had been captured: this cannot be undone by voiding.
    WasCaptured,
}

/// Where a payment stands at the provider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PaymentStatus {
    /// Created, not confirmed: nothing is held.
    Unconfirmed,
    /// The confirmation was declined. The code is the provider's.
    Declined {
        /// The provider's code.
        code: String,
    },
    /// Waits for the customer (3-D Secure).
    NeedsCustomer,
    /// At work: look again later.
    Processing,
    /// Held.
    Held,
    /// Captured.
    Captured,
    /// Cancelled, or the hold expired.
    Cancelled,
}

/// A refund at the provider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefundView {
    /// The provider's id.
    pub refund_id: String,
    /// From its metadata: which of the order's refunds it is.
    pub ordinal: Option<usize>,
    /// Minor units.
    pub amount_minor: u64,
    /// Whether it failed or was cancelled: the money did not go back.
    pub failed: bool,
}

/// A payment at the provider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PaymentView {
    /// Where it stands.
    pub status: PaymentStatus,
    /// What it is for.
    pub amount: Money,
    /// What was captured.
    pub captured_minor: u64,
    /// What went back.
    pub refunds: Vec<RefundView>,
}

/// What the payment provider takes in one charge, as far as it is known without asking.
pub trait ChargeLimits {
    /// The least it takes in a currency, minor units; 0 where that is not known beforehand. What it refuses all the same
    /// is [`Created::TooSmall`].
    fn least_charge_minor(&self, currency: Currency) -> u64;
}

/// The payment provider. Every call carries an idempotency key and ends within 5 s.
pub trait Payments {
    /// What the provider promises.
    fn payment_terms(&self) -> Terms;

    /// Makes a payment, unconfirmed: it holds nothing yet.
    fn create_payment(
        &self,
        key: &str,
        payment: &NewPayment,
    ) -> impl Future<Output = Result<Created, ProviderError>> + Send;

    /// Confirms it: the effect is the hold.
    fn confirm_payment(
        &self,
        key: &str,
        id: &PaymentId,
    ) -> impl Future<Output = Result<Confirmation, ProviderError>> + Send;

    /// Captures the whole hold.
    fn capture_payment(
        &self,
        key: &str,
        id: &PaymentId,
        amount: Money,
    ) -> impl Future<Output = Result<Captured, ProviderError>> + Send;

    /// Gives the hold up.
    fn cancel_payment(&self, key: &str, id: &PaymentId) -> impl Future<Output = Result<Voided, ProviderError>> + Send;

    /// Gives money back. Answers the provider's id.
    fn refund_payment(
        &self,
        key: &str,
        id: &PaymentId,
        order_id: OrderId,
        ordinal: usize,
        amount: Money,
    ) -> impl Future<Output = Result<String, ProviderError>> + Send;

    /// Where the payment stands, with all its refunds. Never by search: it lags.
    fn look_up_payment(&self, id: &PaymentId) -> impl Future<Output = Result<PaymentView, ProviderError>> + Send;
}

/// A stretch of the provider's ledger: what was created from `from_ms` on and before `to_ms`, UTC milliseconds. Providers
/// that count in seconds take whole seconds: all that belongs to it, and perhaps a little more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stretch {
    /// The first instant that belongs to it.
    pub from_ms: u64,
    /// The first that does not.
    pub to_ms: u64,
}

/// A payment as a list shows it. Lists may lag: [`ListPayments::read_payment`] decides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedPayment {
    /// The provider's id.
    pub payment_id: PaymentId,
    /// The order that its metadata names; `None` for one that is not ours.
    pub order_id: Option<OrderId>,
    /// Where it stands.
    pub status: PaymentStatus,
    /// What it is for.
    pub amount: Money,
    /// What was captured, minor units.
    pub captured_minor: u64,
    /// What of that went back, minor units.
    pub refunded_minor: u64,
}

/// A refund as a list shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedRefund {
    /// The provider's id.
    pub refund_id: String,
    /// What it gives back; `None` where the provider does not say, such as of a charge without a payment.
    pub payment_id: Option<PaymentId>,
    /// The order that the payment's metadata names, whoever made the refund.
    pub order_id: Option<OrderId>,
    /// Minor units.
    pub amount_minor: u64,
    /// Whether the money did not go back.
    pub failed: bool,
}

/// A page of a list, the newest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// How many of the page could not be made sense of: another version of the API, an unknown currency. Somebody has to look.
    pub unreadable: u64,
    /// Where the next page begins; `None` at the end. Opaque.
    pub next: Option<String>,
}

/// Reads the provider's ledger, and moves nothing. Every call ends within 5 s.
pub trait ListPayments {
    /// A page of the payments that were created in a stretch, those of others among them.
    fn list_payments(
        &self,
        within: Stretch,
        after: Option<&str>,
    ) -> impl Future<Output = Result<Listed<ListedPayment>, ProviderError>> + Send;

    /// A page of the refunds that were created in a stretch.
    fn list_refunds(
        &self,
        within: Stretch,
        after: Option<&str>,
    ) -> impl Future<Output = Result<Listed<ListedRefund>, ProviderError>> + Send;

    /// One payment with all its refunds, as it is now: [`Payments::look_up_payment`], for whoever may not move money.
    fn read_payment(&self, id: &PaymentId) -> impl Future<Output = Result<PaymentView, ProviderError>> + Send;
}
