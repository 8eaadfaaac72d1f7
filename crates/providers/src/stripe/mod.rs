//! Payment over Stripe's PaymentIntents: <https://docs.stripe.com/api/payment_intents>.

mod amount;
mod list;
mod wire;

use std::time::Duration;

use order::{Money, OrderId, PaymentId};
use ports::{
    Captured, Confirmation, Created, Lookup, NewPayment, PaymentStatus, PaymentView, Payments, Probe, ProviderError,
    RefundView, Terms, Voided,
};
use reqwest::Method;

use crate::http::{Api, Deadline, SetupError, word};
use crate::secret::Secret;
pub use amount::StripeLimits;
use amount::to_stripe;
use wire::{Intent, No, Page, Refund, Status, read};

/// The version of the API that this adapter was written for, sent with every request so that the account's own setting
/// does not matter. <https://docs.stripe.com/api/versioning>
pub const STRIPE_VERSION: &str = "2025-12-15.clover";

/// Stripe keeps keys for at least 24 hours: <https://docs.stripe.com/api/idempotent_requests>.
const IDEMPOTENCY_WINDOW_MS: u64 = 24 * 60 * 60 * 1000;

/// How long after a lost answer Stripe may still be working. Counted from the end of the lease, which is at least 6 s
/// after our own 5 s are over: a request is 40 s old before it is looked up. Stripe promises no bound, and it tells most
/// of them in under a few seconds; the whole doubt stays under one minute, and recovery under two.
const SETTLE_MS: u64 = 30_000;

/// Refunds on one page of a look-up: the most that Stripe gives.
const PAGE: usize = 100;
/// An order has at most 21 refunds of ours. Whoever finds more than this many pages does not read on.
const PAGES: usize = 5;

/// Longest key: <https://docs.stripe.com/api/idempotent_requests>.
const KEY_BYTES: usize = 255;

/// [`Payments`] over Stripe.
///
/// A payment is made unconfirmed with `capture_method=manual`, so that it holds nothing until its id is kept; the hold,
/// its capture, its cancellation and refunds then go by that id, and so does the look-up, which reads the PaymentIntent
/// and its refunds and is authoritative. Search is never used.
///
/// **Amounts.** An answer that tells of another amount or currency than was asked is never taken for success: of an
/// unconfirmed payment it is `Refused` (nothing is held, and the program or the provider is wrong), later `WrongState`,
/// so that the step reads the payment and has a person look. The same for a payment that would be captured at once.
///
/// **Payment methods.** A token that Stripe does not know, or that cannot be used again, is the customer's affair and no
/// fault of the program: the payment is then made without a method, and its confirmation is a decline. It costs one more
/// request, within the same 5 s and under a key of its own (`<key>/bare`).
///
/// **Small amounts.** `amount_too_small` is no fault of the program either: the answer is [`Created::TooSmall`].
/// [`StripeLimits`] has what is known of it beforehand.
///
/// [`ports::ListPayments`] (`list.rs`) reads the lists; they find what to look at, and decide nothing.
///
/// Refunds carry the metadata `effect=refund`, `ordinal` and `order_id`; payments `order_id`.
#[derive(Clone, Debug)]
pub struct Stripe {
    api: Api,
    settle_ms: u64,
}

impl Stripe {
    /// Over `base_url`, such as `https://api.stripe.com`, with a secret or restricted key. Plain `http` only on loopback.
    ///
    /// # Errors
    /// Where URL or key cannot be used, or no HTTP client can be made.
    pub fn new(base_url: &str, api_key: Secret) -> Result<Self, SetupError> {
        Ok(Self { api: Api::new(base_url, &api_key)?, settle_ms: SETTLE_MS })
    }

    /// With another time after which a lost answer may be looked up, milliseconds (default 30 s).
    #[must_use]
    pub fn with_settle_ms(self, settle_ms: u64) -> Self {
        Self { settle_ms, ..self }
    }

    /// With less time for a call than 5 s; more is not to be had.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { api: self.api.with_timeout(timeout), ..self }
    }

    async fn post<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        key: &str,
        form: &[(&str, String)],
        deadline: Deadline,
    ) -> Result<T, No> {
        if key.is_empty() || key.len() > KEY_BYTES {
            return Err(No::Error(refused(format!("an idempotency key of {} bytes", key.len()))));
        }
        let request = self.api.request(Method::POST, path).header("Stripe-Version", STRIPE_VERSION);
        let request = request.header("Idempotency-Key", key).form(form);
        read(&self.api.send(request, deadline).await.map_err(No::Error)?)
    }

    async fn get<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        deadline: Deadline,
    ) -> Result<T, ProviderError> {
        let request = self.api.request(Method::GET, path).header("Stripe-Version", STRIPE_VERSION).query(query);
        read(&self.api.send(request, deadline).await?).map_err(|no| match no {
            No::Rejected(rejection) => rejection.refused(),
            No::Error(error) => error,
        })
    }

    /// Every refund of a payment, newest first.
    async fn refunds(&self, id: &PaymentId, deadline: Deadline) -> Result<Vec<RefundView>, ProviderError> {
        let limit = PAGE.to_string();
        let mut refunds: Vec<RefundView> = Vec::new();
        for _ in 0..PAGES {
            let last = refunds.last().map(|refund| refund.refund_id.clone());
            let mut query = vec![("payment_intent", id.as_str()), ("limit", limit.as_str())];
            query.extend(last.as_deref().map(|last| ("starting_after", last)));
            let page: Page = self.get("/v1/refunds", &query, deadline).await?;
            let empty = page.data.is_empty();
            for refund in &page.data {
                let amount = refund.amount().ok_or_else(|| unknown("a refund of an amount that does not exist"))?;
                refunds.push(RefundView {
                    refund_id: refund.id.clone(),
                    ordinal: refund.ordinal(),
                    amount_minor: amount.amount_minor,
                    failed: refund.failed(),
                });
            }
            if !page.has_more {
                return Ok(refunds);
            }
            if empty {
                return Err(unknown("a page of refunds that is empty and not the last"));
            }
        }
        Err(unknown("more refunds than an order can have"))
    }
}

impl Probe for Stripe {
    /// `GET /v1/refunds?limit=1`: the cheapest list of what this key may read anyway.
    async fn probe(&self) -> Result<(), ProviderError> {
        let page: Page = self.get("/v1/refunds", &[("limit", "1")], self.api.deadline()).await?;
        drop(page);
        Ok(())
    }
}

/// Says that it was the payment's making that did not come to an answer: it is one of the two requests of an authorization.
fn in_making(error: ProviderError) -> ProviderError {
    let told = |why| format!("the payment was being made: {why}");
    match error {
        ProviderError::Unknown { why } => ProviderError::Unknown { why: told(why) },
        ProviderError::Failed { why } => ProviderError::Failed { why: told(why) },
        // Nothing of the payment: whoever asks hears it.
        ProviderError::NotRun { .. }
        | ProviderError::Throttled { .. }
        | ProviderError::Refused { .. }
        | ProviderError::WrongState { .. } => error,
    }
}

impl Payments for Stripe {
    fn payment_terms(&self) -> Terms {
        Terms { idempotency_window_ms: IDEMPOTENCY_WINDOW_MS, lookup: Lookup::Authoritative, settle_ms: self.settle_ms }
    }

    /// `POST /v1/payment_intents`
    async fn create_payment(&self, key: &str, payment: &NewPayment) -> Result<Created, ProviderError> {
        let deadline = self.api.deadline();
        let amount = to_stripe(payment.amount)
            .ok_or_else(|| refused(format!("Stripe takes no amount like {}", payment.amount)))?;
        let mut form = vec![
            ("amount", amount.to_string()),
            ("currency", payment.amount.currency.code().to_ascii_lowercase()),
            ("capture_method", "manual".to_owned()),
            ("payment_method_types[]", "card".to_owned()),
            ("metadata[order_id]", payment.order_id.to_string()),
            ("payment_method", payment.method.as_str().to_owned()),
        ];
        let mut made = self.post::<Intent>("/v1/payment_intents", key, &form, deadline).await;
        if matches!(&made, Err(No::Rejected(rejection)) if rejection.error.is_about("payment_method")) {
            form.pop();
            made = self.post("/v1/payment_intents", &format!("{key}/bare"), &form, deadline).await;
        }
        let intent = match made {
            Ok(intent) => intent,
            Err(No::Rejected(no)) if no.error.has_code(&["amount_too_small"]) => return Ok(Created::TooSmall),
            Err(No::Rejected(no)) => return Err(no.refused()),
            Err(No::Error(error)) => return Err(in_making(error)),
        };
        if intent.amount() != Some(payment.amount) {
            return Err(refused("a payment of another amount than was asked"));
        }
        if intent.capture_method.as_deref() != Some("manual") {
            return Err(refused("a payment that would be captured as soon as it is confirmed"));
        }
        match intent.status {
            Status::RequiresConfirmation | Status::RequiresPaymentMethod => {}
            Status::RequiresAction
            | Status::Processing
            | Status::RequiresCapture
            | Status::Succeeded
            | Status::Canceled => return Err(refused("a payment that is not unconfirmed")),
        }
        let id = word(&intent.id).and_then(|id| id.parse().ok());
        id.map(Created::Made).ok_or_else(|| unknown("a payment whose id cannot be kept"))
    }

    /// `POST /v1/payment_intents/{id}/confirm`
    async fn confirm_payment(&self, key: &str, id: &PaymentId) -> Result<Confirmation, ProviderError> {
        let path = format!("{}/confirm", path(id)?);
        match self.post::<Intent>(&path, key, &[], self.api.deadline()).await {
            Ok(intent) => match intent.status {
                Status::RequiresCapture if intent.held().is_some() && intent.held() == intent.amount() => {
                    Ok(Confirmation::Held)
                }
                Status::RequiresCapture => Err(wrong_state("a hold of another amount than the payment's")),
                Status::RequiresPaymentMethod => Ok(declined(&intent)),
                Status::RequiresAction => Ok(Confirmation::NeedsCustomer),
                Status::RequiresConfirmation | Status::Processing | Status::Succeeded | Status::Canceled => {
                    Err(wrong_state(format!("confirmed, and it is {:?}", intent.status)))
                }
            },
            Err(No::Rejected(no)) => {
                let error = &no.error;
                if error.wants_customer() {
                    return Ok(Confirmation::NeedsCustomer);
                }
                // The payment method is at fault, be it that the payment has none any more after a decline.
                if no.card || error.is_about("payment_method") {
                    return Ok(Confirmation::Declined { code: error.decline() });
                }
                match error.intent() {
                    Some(intent) if intent.status == Status::RequiresPaymentMethod => Ok(declined(&intent)),
                    Some(_) => Err(no.wrong_state()),
                    None if error.has_code(&[UNEXPECTED_STATE]) => Err(no.wrong_state()),
                    None => Err(no.refused()),
                }
            }
            Err(No::Error(error)) => Err(error),
        }
    }

    /// `POST /v1/payment_intents/{id}/capture`, of the whole amount, which is named so that it can never be more.
    async fn capture_payment(&self, key: &str, id: &PaymentId, amount: Money) -> Result<Captured, ProviderError> {
        let path = format!("{}/capture", path(id)?);
        let asked = to_stripe(amount).ok_or_else(|| refused(format!("Stripe takes no amount like {amount}")))?;
        let form = [("amount_to_capture", asked.to_string())];
        let whole = |intent: &Intent| intent.status == Status::Succeeded && intent.captured() == Some(amount);
        match self.post::<Intent>(&path, key, &form, self.api.deadline()).await {
            Ok(intent) if whole(&intent) => Ok(Captured::Captured { amount }),
            Ok(intent) => Err(wrong_state(format!("captured, and it is {:?} of another amount", intent.status))),
            Err(No::Rejected(no)) => {
                let gone = || Ok(Captured::Gone { why: "it has expired or was cancelled".to_owned() });
                if no.error.has_code(&["charge_expired_for_capture", "capture_charge_authorization_expired"]) {
                    return gone();
                }
                match no.error.intent() {
                    Some(intent) if intent.status == Status::Canceled => gone(),
                    // By an earlier attempt, under another key.
                    Some(intent) if whole(&intent) => Ok(Captured::Captured { amount }),
                    Some(_) => Err(no.wrong_state()),
                    None if no.card || no.error.has_code(&[UNEXPECTED_STATE, "amount_too_large"]) => {
                        Err(no.wrong_state())
                    }
                    None => Err(no.refused()),
                }
            }
            Err(No::Error(error)) => Err(error),
        }
    }

    /// `POST /v1/payment_intents/{id}/cancel`
    async fn cancel_payment(&self, key: &str, id: &PaymentId) -> Result<Voided, ProviderError> {
        let path = format!("{}/cancel", path(id)?);
        match self.post::<Intent>(&path, key, &[], self.api.deadline()).await {
            Ok(intent) if intent.status == Status::Canceled => Ok(Voided::Voided),
            Ok(intent) => Err(wrong_state(format!("cancelled, and it is {:?}", intent.status))),
            Err(No::Rejected(no)) => match no.error.intent().map(|intent| intent.status) {
                Some(Status::Canceled) => Ok(Voided::Voided),
                Some(Status::Succeeded) => Ok(Voided::WasCaptured),
                Some(_) => Err(no.wrong_state()),
                None if no.card || no.error.has_code(&[UNEXPECTED_STATE]) => Err(no.wrong_state()),
                None => Err(no.refused()),
            },
            Err(No::Error(error)) => Err(error),
        }
    }

    /// `POST /v1/refunds`. A refund that Stripe takes up and that then fails is seen by the look-up.
    async fn refund_payment(
        &self,
        key: &str,
        id: &PaymentId,
        order_id: OrderId,
        ordinal: usize,
        amount: Money,
    ) -> Result<String, ProviderError> {
        path(id)?;
        let asked = to_stripe(amount).ok_or_else(|| refused(format!("Stripe takes no amount like {amount}")))?;
        let form = [
            ("payment_intent", id.as_str().to_owned()),
            ("amount", asked.to_string()),
            ("metadata[effect]", "refund".to_owned()),
            ("metadata[ordinal]", ordinal.to_string()),
            ("metadata[order_id]", order_id.to_string()),
        ];
        match self.post::<Refund>("/v1/refunds", key, &form, self.api.deadline()).await {
            Ok(refund) if refund.failed() => Err(wrong_state("the refund failed at once")),
            Ok(refund) if refund.amount() != Some(amount) => Err(wrong_state("a refund of another amount")),
            Ok(refund) => word(&refund.id).ok_or_else(|| unknown("a refund whose id cannot be kept")),
            // Names that Stripe does not know are our fault. All else is about the money: nothing left to give back, a
            // dispute, an account without balance. The look-up tells, and if it does not, a person has to.
            Err(No::Rejected(no)) => {
                let ours = no.error.code.as_deref().is_some_and(|code| code.starts_with("parameter_"));
                Err(if ours || no.error.has_code(&["resource_missing"]) { no.refused() } else { no.wrong_state() })
            }
            Err(No::Error(error)) => Err(error),
        }
    }

    /// `GET /v1/payment_intents/{id}`, then `GET /v1/refunds?payment_intent=` where anything was captured.
    async fn look_up_payment(&self, id: &PaymentId) -> Result<PaymentView, ProviderError> {
        let deadline = self.api.deadline();
        let intent: Intent = self.get(&path(id)?, &[], deadline).await?;
        if intent.id != id.as_str() {
            return Err(unknown("another payment than was asked for"));
        }
        let of_no_currency = || unknown("a payment of an amount that does not exist");
        let amount = match intent.status {
            // What counts is what is held, should that ever be another amount.
            Status::RequiresCapture => intent.held(),
            Status::RequiresPaymentMethod
            | Status::RequiresConfirmation
            | Status::RequiresAction
            | Status::Processing
            | Status::Succeeded
            | Status::Canceled => intent.amount(),
        }
        .ok_or_else(of_no_currency)?;
        let captured_minor = match intent.status {
            Status::Succeeded => intent.captured().ok_or_else(of_no_currency)?.amount_minor,
            Status::RequiresPaymentMethod
            | Status::RequiresConfirmation
            | Status::RequiresAction
            | Status::Processing
            | Status::RequiresCapture
            | Status::Canceled => 0,
        };
        // Before a capture there is nothing to give back.
        let refunds = if captured_minor > 0 { self.refunds(id, deadline).await? } else { Vec::new() };
        Ok(PaymentView { status: status(&intent), amount, captured_minor, refunds })
    }
}

/// "The payment is not in a state for this": <https://docs.stripe.com/error-codes#payment-intent-unexpected-state>.
const UNEXPECTED_STATE: &str = "payment_intent_unexpected_state";

fn status(intent: &Intent) -> PaymentStatus {
    match intent.status {
        Status::RequiresPaymentMethod => match &intent.last_payment_error {
            None => PaymentStatus::Unconfirmed,
            Some(error) if error.wants_customer() => PaymentStatus::NeedsCustomer,
            Some(error) => PaymentStatus::Declined { code: error.decline() },
        },
        Status::RequiresConfirmation => PaymentStatus::Unconfirmed,
        Status::RequiresAction => PaymentStatus::NeedsCustomer,
        Status::Processing => PaymentStatus::Processing,
        Status::RequiresCapture => PaymentStatus::Held,
        Status::Succeeded => PaymentStatus::Captured,
        Status::Canceled => PaymentStatus::Cancelled,
    }
}

/// What became of a confirmation that left the payment without a method.
fn declined(intent: &Intent) -> Confirmation {
    match &intent.last_payment_error {
        Some(error) if error.wants_customer() => Confirmation::NeedsCustomer,
        Some(error) => Confirmation::Declined { code: error.decline() },
        None => Confirmation::Declined { code: "invalid_payment_method".to_owned() },
    }
}

/// The path of a payment. An id goes into it only if it is one word, so that it cannot lead elsewhere.
fn path(id: &PaymentId) -> Result<String, ProviderError> {
    let plain = id.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if plain {
        Ok(format!("/v1/payment_intents/{}", id.as_str()))
    } else {
        Err(refused("not a payment id of Stripe's"))
    }
}

fn refused(why: impl Into<String>) -> ProviderError {
    ProviderError::Refused { why: why.into() }
}

fn unknown(why: impl Into<String>) -> ProviderError {
    ProviderError::Unknown { why: why.into() }
}

fn wrong_state(why: impl Into<String>) -> ProviderError {
    ProviderError::WrongState { why: why.into() }
}
