//! The carrier over HTTP JSON.

use std::time::Duration;

use order::{OrderId, Shipment};
use ports::{Carrier, Lookup, Probe, ProviderError, ShipmentAnswer, ShipmentRequest, Terms};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::http::{Answer, Api, SetupError};
use crate::secret::Secret;

/// A reference is known for good, so there is no end to the window; a number that can be added to a time without care
/// for overflow stands for it: a hundred years.
const IDEMPOTENCY_WINDOW_MS: u64 = 100 * 365 * 24 * 60 * 60 * 1000;

/// How long after a lost answer the carrier may still be working. Too short does no harm: the reference is unique.
const SETTLE_MS: u64 = 10_000;

/// Longest text of the carrier's that is kept.
const TEXT_CHARS: usize = 200;
const URL_CHARS: usize = 2_000;

/// [`Carrier`] over HTTP JSON.
///
/// | request | body | answer |
/// | --- | --- | --- |
/// | `POST /v1/shipments` | `{reference, service, ship_to: {name, line1, line2?, city, postal_code, country}, lines: [{sku, quantity}]}` | 201, or 200 for a reference that has this very shipment: `{id, reference, carrier, tracking_number, tracking_url}` |
/// | `GET /v1/shipments?reference=` | | 200 `{shipments: [...]}` |
///
/// Errors are `{code, message}`: 422 `undeliverable` is an answer; 409 `reference_conflict` (the reference has another
/// shipment) and every other 4xx is `Refused`; 429 is `Throttled`; 408, 409 of another code, 3xx and 5xx are `Unknown`. The
/// reference is the order's id, and the key goes as `Authorization: Bearer`.
#[derive(Clone, Debug)]
pub struct HttpCarrier {
    api: Api,
    settle_ms: u64,
}

impl HttpCarrier {
    /// Over `base_url`, with the carrier's key. Plain `http` only on loopback.
    ///
    /// # Errors
    /// Where URL or key cannot be used, or no HTTP client can be made.
    pub fn new(base_url: &str, api_key: Secret) -> Result<Self, SetupError> {
        Ok(Self { api: Api::new(base_url, &api_key)?, settle_ms: SETTLE_MS })
    }

    /// With another time after which a lost answer may be looked up, milliseconds (default 10 s).
    #[must_use]
    pub fn with_settle_ms(self, settle_ms: u64) -> Self {
        Self { settle_ms, ..self }
    }

    /// With less time for a call than 5 s; more is not to be had.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { api: self.api.with_timeout(timeout), ..self }
    }
}

/// Borrowed from the order: it never has a `Debug`.
#[derive(Serialize)]
struct Asked<'a> {
    reference: String,
    service: &'a str,
    ship_to: ShipTo<'a>,
    lines: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct ShipTo<'a> {
    name: &'a str,
    line1: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line2: Option<&'a str>,
    city: &'a str,
    postal_code: &'a str,
    country: &'a str,
}

#[derive(Serialize)]
struct Line<'a> {
    sku: &'a str,
    quantity: u32,
}

impl<'a> From<&'a ShipmentRequest> for Asked<'a> {
    fn from(request: &'a ShipmentRequest) -> Self {
        let to = &request.ship_to;
        Self {
            reference: request.order_id.to_string(),
            service: request.service,
            ship_to: ShipTo {
                name: &to.name,
                line1: &to.line1,
                line2: to.line2.as_deref(),
                city: &to.city,
                postal_code: &to.postal_code,
                country: &to.country,
            },
            lines: request.lines.iter().map(|line| Line { sku: line.sku.as_str(), quantity: line.quantity }).collect(),
        }
    }
}

#[derive(Deserialize)]
struct Shown {
    id: String,
    reference: String,
    carrier: String,
    tracking_number: String,
    #[serde(default)]
    tracking_url: String,
}

#[derive(Deserialize)]
struct Listed {
    shipments: Vec<Shown>,
}

#[derive(Default, Deserialize)]
struct Problem {
    #[serde(default)]
    code: Option<String>,
}

impl Carrier for HttpCarrier {
    fn carrier_terms(&self) -> Terms {
        Terms { idempotency_window_ms: IDEMPOTENCY_WINDOW_MS, lookup: Lookup::Authoritative, settle_ms: self.settle_ms }
    }

    async fn create_shipment(&self, request: &ShipmentRequest) -> Result<ShipmentAnswer, ProviderError> {
        let post = self.api.request(Method::POST, "/v1/shipments").json(&Asked::from(request));
        let answer = self.api.send(post, self.api.deadline()).await?;
        match answer.status {
            200..=299 => {
                let shown: Shown = serde_json::from_slice(&answer.body).map_err(|error| answer.unreadable(&error))?;
                shipment(shown, request.order_id).map(ShipmentAnswer::Created)
            }
            422 if problem(&answer).code.as_deref() == Some("undeliverable") => {
                // The carrier's own message may quote the address.
                Ok(ShipmentAnswer::Undeliverable { why: "the carrier does not deliver to this address".to_owned() })
            }
            _ => Err(error(&answer)),
        }
    }

    async fn look_up_shipment(&self, order_id: OrderId) -> Result<Option<Shipment>, ProviderError> {
        let get = self.api.request(Method::GET, "/v1/shipments").query(&[("reference", order_id.to_string())]);
        let answer = self.api.send(get, self.api.deadline()).await?;
        if !(200..=299).contains(&answer.status) {
            return Err(error(&answer));
        }
        let listed: Listed = serde_json::from_slice(&answer.body).map_err(|error| answer.unreadable(&error))?;
        let mut shipments = listed.shipments.into_iter();
        match (shipments.next(), shipments.next()) {
            (None, _) => Ok(None),
            (Some(only), None) => shipment(only, order_id).map(Some),
            (Some(_), Some(_)) => Err(unknown("several shipments of one reference")),
        }
    }
}

impl Probe for HttpCarrier {
    /// Looks up the shipment of an order that nobody has.
    async fn probe(&self) -> Result<(), ProviderError> {
        let nobody = [("reference", "00000000-0000-0000-0000-000000000000")];
        let get = self.api.request(Method::GET, "/v1/shipments").query(&nobody);
        let answer = self.api.send(get, self.api.deadline()).await?;
        if (200..=299).contains(&answer.status) { Ok(()) } else { Err(error(&answer)) }
    }
}

fn problem(answer: &Answer) -> Problem {
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

fn error(answer: &Answer) -> ProviderError {
    let problem = problem(answer);
    let code = problem.code.as_deref();
    match answer.status {
        429 => answer.throttled(&[code]),
        409 if code == Some("reference_conflict") => answer.refused(&[code]),
        // 409 for anything else: such as this very reference, being made just now.
        408 | 409 => answer.unknown(&[code]),
        400..=499 => answer.refused(&[code]),
        _ => answer.unknown(&[code]),
    }
}

/// The shipment, if it is the order's and its texts can be shown to a customer.
fn shipment(shown: Shown, order_id: OrderId) -> Result<Shipment, ProviderError> {
    if shown.reference != order_id.to_string() {
        return Err(unknown("a shipment of another reference"));
    }
    let plain = |text: &str, most| !text.chars().any(char::is_control) && text.chars().count() <= most;
    for text in [&shown.id, &shown.carrier, &shown.tracking_number] {
        if text.trim().is_empty() || !plain(text, TEXT_CHARS) {
            return Err(unknown("a shipment whose id, carrier or tracking number cannot be kept"));
        }
    }
    // A link that is none is left out: it goes into mails and pages.
    let tracking_url = match shown.tracking_url {
        url if is_link(&url) && plain(&url, URL_CHARS) => url,
        _ => String::new(),
    };
    Ok(Shipment { shipment_id: shown.id, carrier: shown.carrier, tracking_number: shown.tracking_number, tracking_url })
}

/// Whether a text is a web address.
pub(crate) fn is_link(text: &str) -> bool {
    reqwest::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "https" | "http") && url.has_host())
}

fn unknown(why: &str) -> ProviderError {
    ProviderError::Unknown { why: why.to_owned() }
}
