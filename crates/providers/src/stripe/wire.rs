//! What Stripe answers, as far as we look at it. Fields that we do not know are left alone: within a major release the
//! API only adds.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::amount::from_stripe;
use crate::http::Answer;
use order::Money;
use ports::ProviderError;

/// <https://docs.stripe.com/payments/paymentintents/lifecycle>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    RequiresPaymentMethod,
    RequiresConfirmation,
    RequiresAction,
    Processing,
    RequiresCapture,
    Succeeded,
    Canceled,
}

/// <https://docs.stripe.com/api/payment_intents/object>
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Intent {
    pub(super) id: String,
    pub(super) status: Status,
    amount: u64,
    #[serde(default)]
    amount_capturable: Option<u64>,
    #[serde(default)]
    amount_received: Option<u64>,
    currency: String,
    #[serde(default)]
    pub(super) capture_method: Option<String>,
    #[serde(default)]
    pub(super) last_payment_error: Option<ApiError>,
}

impl Intent {
    /// What it is for.
    pub(super) fn amount(&self) -> Option<Money> {
        from_stripe(self.amount, &self.currency)
    }

    /// So much of its currency.
    pub(super) fn money(&self, amount: u64) -> Option<Money> {
        from_stripe(amount, &self.currency)
    }

    /// What is held and not yet captured.
    pub(super) fn held(&self) -> Option<Money> {
        from_stripe(self.amount_capturable?, &self.currency)
    }

    /// What was captured.
    pub(super) fn captured(&self) -> Option<Money> {
        from_stripe(self.amount_received?, &self.currency)
    }
}

/// <https://docs.stripe.com/api/refunds/object>
#[derive(Debug, Deserialize)]
pub(super) struct Refund {
    pub(super) id: String,
    amount: u64,
    currency: String,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Debug, Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    effect: Option<String>,
    #[serde(default)]
    ordinal: Option<String>,
}

impl Refund {
    pub(super) fn amount(&self) -> Option<Money> {
        from_stripe(self.amount, &self.currency)
    }

    /// Which of the order's refunds it is; `None` for one that somebody made by hand.
    pub(super) fn ordinal(&self) -> Option<usize> {
        let ours = self.metadata.effect.as_deref() == Some("refund");
        self.metadata.ordinal.as_deref().filter(|_| ours)?.parse().ok()
    }

    /// Whether the money did not go back.
    pub(super) fn failed(&self) -> bool {
        matches!(self.status.as_deref(), Some("failed" | "canceled"))
    }
}

/// <https://docs.stripe.com/api/pagination>
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    pub(super) data: Vec<Refund>,
    pub(super) has_more: bool,
}

#[derive(Debug, Deserialize)]
struct ErrorBody {
    error: ApiError,
}

/// <https://docs.stripe.com/api/errors>. Its message is not read: it quotes what was sent.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct ApiError {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    pub(super) code: Option<String>,
    #[serde(default)]
    decline_code: Option<String>,
    #[serde(default)]
    pub(super) param: Option<String>,
    #[serde(default)]
    payment_intent: Option<serde_json::Value>,
}

impl ApiError {
    /// The payment as it stood when the request was refused.
    pub(super) fn intent(&self) -> Option<Intent> {
        serde_json::from_value(self.payment_intent.clone()?).ok()
    }

    pub(super) fn has_code(&self, codes: &[&str]) -> bool {
        self.code.as_deref().is_some_and(|code| codes.contains(&code))
    }

    pub(super) fn is_about(&self, param: &str) -> bool {
        self.param.as_deref().is_some_and(|about| about == param || about.starts_with(&format!("{param}[")))
    }

    /// Whether the card wanted the customer, whom nobody can ask.
    pub(super) fn wants_customer(&self) -> bool {
        let wants = ["authentication_required", "payment_intent_authentication_failure"];
        self.has_code(&wants) || self.decline_code.as_deref().is_some_and(|code| wants.contains(&code))
    }

    /// The most telling code of a decline: `insufficient_funds` rather than `card_declined`.
    pub(super) fn decline(&self) -> String {
        let codes = [&self.decline_code, &self.code];
        codes.into_iter().flatten().find_map(|code| crate::http::word(code)).unwrap_or_else(|| "declined".to_owned())
    }

    fn words(&self) -> [Option<&str>; 4] {
        [self.kind.as_deref(), self.code.as_deref(), self.decline_code.as_deref(), self.param.as_deref()]
    }
}

/// Why Stripe did not do it.
#[derive(Debug)]
pub(super) enum No {
    /// 400 or 402: the payment's state or card, or the request. What it means depends on the request.
    Rejected(Box<Rejection>),
    /// Everything else means the same whatever was asked.
    Error(ProviderError),
}

/// A 400 or 402 with Stripe's words for it.
#[derive(Debug)]
pub(super) struct Rejection {
    pub(super) card: bool,
    pub(super) error: ApiError,
    why: String,
}

impl Rejection {
    pub(super) fn refused(self) -> ProviderError {
        ProviderError::Refused { why: self.why }
    }

    pub(super) fn wrong_state(self) -> ProviderError {
        ProviderError::WrongState { why: self.why }
    }
}

/// Reads an answer by Stripe's table of statuses, <https://docs.stripe.com/api/errors>.
///
/// | answer | | why |
/// | --- | --- | --- |
/// | 2xx that can be read | the object | |
/// | 2xx that cannot | `Unknown` | it was done, but what? |
/// | 429 | `Throttled` | the limiter stands before the endpoint |
/// | 429 `lock_timeout` | `Unknown` | something else works on this payment just now: it may be our own earlier attempt, and `Throttled` would forget that one |
/// | 409 | `Unknown` | the same, for a request with the same key |
/// | 400 `idempotency_error` | `Unknown` | an earlier request with this key, with other parameters, did something |
/// | 400, 402 | by request | |
/// | 500 with Stripe's own error | `Failed` | the call is over; the answer is stored for the key |
/// | 3xx, 408, other 5xx, 1xx | `Unknown` | a gateway's 5xx says nothing of the call behind it |
/// | 401, 403, 404, other 4xx | `Refused` | key, permission, id or program are wrong |
pub(super) fn read<T: DeserializeOwned>(answer: &Answer) -> Result<T, No> {
    let error = || serde_json::from_slice::<ErrorBody>(&answer.body).ok().map(|body| body.error);
    let unknown = |what| No::Error(answer.unknown(&[Some(what)]));
    match answer.status {
        200..=299 => serde_json::from_slice(&answer.body).map_err(|error| No::Error(answer.unreadable(&error))),
        400 | 402 => {
            let card = answer.status == 402;
            match error() {
                // A gateway's page: a 400 did not come as far as Stripe, of a 402 nobody knows.
                None if card => Err(unknown("unreadable")),
                None => Err(No::Error(answer.refused(&[Some("unreadable")]))),
                Some(error) if error.kind.as_deref() == Some("idempotency_error") => {
                    Err(No::Error(answer.unknown(&error.words())))
                }
                Some(error) => {
                    let why = answer.why(&error.words());
                    Err(No::Rejected(Box::new(Rejection { card, error, why })))
                }
            }
        }
        409 => Err(No::Error(answer.unknown(&error().unwrap_or_default().words()))),
        429 => {
            let error = error().unwrap_or_default();
            let words = error.words();
            let locked = error.has_code(&["lock_timeout"]);
            Err(No::Error(if locked { answer.unknown(&words) } else { answer.throttled(&words) }))
        }
        500 => Err(No::Error(match error() {
            Some(error) if error.kind.is_some() => answer.failed(&error.words()),
            Some(_) | None => answer.unknown(&[]),
        })),
        401 | 403..=407 | 410..=428 | 430..=499 => Err(No::Error(answer.refused(&error().unwrap_or_default().words()))),
        _ => Err(No::Error(answer.unknown(&error().unwrap_or_default().words()))),
    }
}
