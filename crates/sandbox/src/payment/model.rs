//! PaymentIntents, charges and refunds: what is kept of them, and how Stripe shows them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// <https://docs.stripe.com/payments/paymentintents/lifecycle>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    RequiresPaymentMethod,
    RequiresConfirmation,
    RequiresAction,
    RequiresCapture,
    Succeeded,
    Canceled,
}

impl Status {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::RequiresPaymentMethod => "requires_payment_method",
            Self::RequiresConfirmation => "requires_confirmation",
            Self::RequiresAction => "requires_action",
            Self::RequiresCapture => "requires_capture",
            Self::Succeeded => "succeeded",
            Self::Canceled => "canceled",
        }
    }
}

/// A test token turned into a PaymentMethod of its own, as Stripe does with `pm_card_visa`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PaymentMethod {
    pub(crate) id: String,
    pub(crate) token: String,
}

impl PaymentMethod {
    pub(crate) fn render(&self) -> Value {
        let brand = brand(&self.token);
        json!({
            "id": self.id, "object": "payment_method", "type": "card", "livemode": false,
            "card": { "brand": brand, "last4": "4242", "exp_month": 12, "exp_year": 2035, "funding": "credit" },
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Intent {
    pub(crate) id: String,
    pub(crate) amount: i64,
    pub(crate) amount_capturable: i64,
    pub(crate) amount_received: i64,
    pub(crate) currency: String,
    pub(crate) capture_method: String,
    pub(crate) status: Status,
    pub(crate) payment_method: Option<PaymentMethod>,
    pub(crate) latest_charge: Option<String>,
    pub(crate) last_payment_error: Option<Value>,
    pub(crate) description: Option<String>,
    pub(crate) created_s: i64,
    pub(crate) canceled_at_s: Option<i64>,
    pub(crate) cancellation_reason: Option<String>,
    /// When an uncaptured hold lapses.
    pub(crate) capture_before_ms: Option<i64>,
    pub(crate) metadata: BTreeMap<String, String>,
}

impl Intent {
    pub(crate) fn order_id(&self) -> Option<String> {
        self.metadata.get("order_id").cloned()
    }

    /// The PaymentIntent as the API shows it, its latest charge in full where one is given.
    pub(crate) fn render(&self, latest_charge: Option<&Charge>) -> Value {
        let next_action = (self.status == Status::RequiresAction).then(|| {
            json!({
                "type": "use_stripe_sdk",
                "use_stripe_sdk": { "type": "three_d_secure_redirect", "directory_server_name": "visa" },
            })
        });
        let latest_charge = match latest_charge {
            Some(charge) => charge.render(self),
            None => json!(self.latest_charge),
        };
        json!({
            "id": self.id, "object": "payment_intent", "livemode": false,
            "amount": self.amount, "amount_capturable": self.amount_capturable,
            "amount_received": self.amount_received, "currency": self.currency,
            "capture_method": self.capture_method, "confirmation_method": "automatic",
            "client_secret": format!("{}_secret_sandbox", self.id),
            "status": self.status, "next_action": next_action,
            "payment_method": self.payment_method.as_ref().map(|method| &method.id),
            "payment_method_types": ["card"],
            "latest_charge": latest_charge, "last_payment_error": self.last_payment_error,
            "created": self.created_s, "canceled_at": self.canceled_at_s,
            "cancellation_reason": self.cancellation_reason, "description": self.description,
            "metadata": self.metadata,
            "application": null, "automatic_payment_methods": null, "customer": null, "receipt_email": null,
            "setup_future_usage": null, "shipping": null, "statement_descriptor": null, "transfer_group": null,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Charge {
    pub(crate) id: String,
    pub(crate) payment_intent: String,
    pub(crate) amount: i64,
    pub(crate) amount_captured: i64,
    pub(crate) amount_refunded: i64,
    /// False for the record of a decline.
    pub(crate) paid: bool,
    pub(crate) captured: bool,
    pub(crate) refunded: bool,
    pub(crate) failure_code: Option<String>,
    pub(crate) created_s: i64,
}

impl Charge {
    pub(crate) fn render(&self, intent: &Intent) -> Value {
        json!({
            "id": self.id, "object": "charge", "livemode": false,
            "amount": self.amount, "amount_captured": self.amount_captured, "amount_refunded": self.amount_refunded,
            "captured": self.captured, "paid": self.paid, "refunded": self.refunded,
            "status": if self.paid { "succeeded" } else { "failed" }, "failure_code": self.failure_code,
            "payment_intent": self.payment_intent, "currency": intent.currency, "metadata": intent.metadata,
            "created": self.created_s,
            "payment_method": intent.payment_method.as_ref().map(|method| &method.id),
            "payment_method_details": {
                "type": "card",
                "card": { "capture_before": intent.capture_before_ms.map(|at_ms| at_ms / 1000), "last4": "4242" },
            },
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refund {
    pub(crate) id: String,
    pub(crate) payment_intent: String,
    pub(crate) charge: String,
    pub(crate) amount: i64,
    pub(crate) currency: String,
    pub(crate) reason: Option<String>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) created_s: i64,
}

impl Refund {
    pub(crate) fn render(&self) -> Value {
        json!({
            "id": self.id, "object": "refund", "amount": self.amount, "currency": self.currency,
            "payment_intent": self.payment_intent, "charge": self.charge, "reason": self.reason,
            "metadata": self.metadata, "status": "succeeded", "created": self.created_s,
            "balance_transaction": null, "receipt_number": null,
        })
    }
}

/// Why a card says no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decline {
    pub(crate) code: &'static str,
    pub(crate) decline_code: &'static str,
    pub(crate) message: &'static str,
}

/// What a test token does when it is confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Approves,
    /// Approves, and the hold is gone by the time it is captured.
    ApprovesAndExpires,
    Asks3dSecure,
    Declines(Decline),
}

/// The decline of a card that wants 3-D Secure where the customer is not there to answer.
pub(crate) const AUTHENTICATION_REQUIRED: Decline = Decline {
    code: "authentication_required",
    decline_code: "authentication_required",
    message: "Your card was declined. This transaction requires authentication.",
};

const BRANDS: [&str; 8] = ["visa", "mastercard", "amex", "discover", "diners", "jcb", "unionpay", "us"];

fn brand(token: &str) -> &str {
    let name = token.strip_prefix("pm_card_").unwrap_or_default();
    BRANDS.iter().find(|brand| name.starts_with(**brand)).copied().unwrap_or("visa")
}

/// Stripe's test tokens, <https://docs.stripe.com/testing?testing-method=payment-methods>, and one of ours. None
/// for a PaymentMethod that does not exist.
pub(crate) fn behaviour(token: &str) -> Option<Behaviour> {
    const DECLINED: &str = "Your card was declined.";
    let name = token.strip_prefix("pm_card_")?;
    let declines = |code, decline_code, message| Some(Behaviour::Declines(Decline { code, decline_code, message }));
    // `visa_chargeDeclined...` is the present spelling, `chargeDeclined...` the older one; both work.
    match name.strip_prefix("visa_").filter(|rest| rest.starts_with("charge")).unwrap_or(name) {
        "expiredHold" => Some(Behaviour::ApprovesAndExpires),
        "authenticationRequired"
        | "authenticationRequiredOnSetup"
        | "threeDSecure2Required"
        | "threeDSecureRequired" => Some(Behaviour::Asks3dSecure),
        "chargeDeclined" | "chargeCustomerFail" => declines("card_declined", "generic_decline", DECLINED),
        "chargeDeclinedInsufficientFunds" => {
            declines("card_declined", "insufficient_funds", "Your card has insufficient funds.")
        }
        "chargeDeclinedLostCard" => declines("card_declined", "lost_card", DECLINED),
        "chargeDeclinedStolenCard" => declines("card_declined", "stolen_card", DECLINED),
        "chargeDeclinedFraudulent" | "radarBlock" => declines("card_declined", "fraudulent", DECLINED),
        "chargeDeclinedVelocityLimitExceeded" => {
            declines("card_declined", "card_velocity_exceeded", "Your card was declined for making repeated attempts.")
        }
        "chargeDeclinedExpiredCard" => declines("expired_card", "expired_card", "Your card has expired."),
        "chargeDeclinedIncorrectCvc" => {
            declines("incorrect_cvc", "incorrect_cvc", "Your card's security code is incorrect.")
        }
        "chargeDeclinedProcessingError" => declines(
            "processing_error",
            "processing_error",
            "An error occurred while processing your card. Try again in a little bit.",
        ),
        name => BRANDS
            .iter()
            .any(|brand| name.strip_prefix(brand).is_some_and(|rest| matches!(rest, "" | "_debit" | "_prepaid")))
            .then_some(Behaviour::Approves),
    }
}

/// Smallest amount Stripe charges in a currency, in minor units; None for a currency it does not take.
/// <https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts>
pub(crate) fn minimum_minor(currency: &str) -> Option<i64> {
    Some(match currency {
        "usd" | "eur" | "chf" | "cad" | "aud" | "nzd" | "sgd" | "brl" | "inr" | "jpy" => 50,
        "gbp" => 30,
        "dkk" => 250,
        "sek" | "nok" => 300,
        "pln" | "aed" | "ron" | "myr" => 200,
        "bgn" => 100,
        "czk" => 1500,
        "hkd" => 400,
        "mxn" | "thb" => 1000,
        "huf" => 17_500,
        // Not in that table: there the account's settlement currency decides.
        "zar" | "try" | "ils" | "krw" | "php" | "twd" | "isk" | "kwd" | "bhd" | "jod" => 50,
        _ => return None,
    })
}

/// Stripe's amounts have at most eight digits.
pub(crate) const MAXIMUM_MINOR: i64 = 99_999_999;
