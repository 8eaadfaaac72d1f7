//! A client of the HTTP API: what the `order` commands, the local run and the deployed tests talk through.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

/// Longer than the API's longest wait (20 s) and the gateway's limit (30 s).
const TIMEOUT: Duration = Duration::from_secs(35);

/// Speaks to one API as one customer.
#[derive(Clone, Debug)]
pub struct Api {
    http: reqwest::Client,
    base: String,
    token: String,
}

/// What the API answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// The body; null when it was not JSON.
    pub body: Value,
}

/// A "no" of the API (RFC 9457), or of the gateway in front of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// What it is, for programs.
    pub code: Option<String>,
    /// What it is, for people.
    pub title: Option<String>,
    /// What happened this time.
    pub detail: Option<String>,
    /// The gateway's own word for it.
    pub message: Option<String>,
}

impl Api {
    /// A client of the API at `base` with a bearer token.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(base: &str, token: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(TIMEOUT).build().context("no HTTP client")?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned(), token: token.to_owned() })
    }

    /// The same connection as somebody else.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// `POST /orders`. `wait_s` asks for the decision within that time.
    ///
    /// # Errors
    /// When there was no answer; whether the order was accepted is then unknown, and the same key asks again.
    pub async fn place(&self, key: &str, order: &Value, wait_s: Option<u32>) -> anyhow::Result<Answer> {
        let mut request = self.request(Method::POST, "/orders").header("idempotency-key", key).json(order);
        if let Some(wait_s) = wait_s {
            request = request.header("prefer", format!("wait={wait_s}"));
        }
        send(request).await
    }

    /// `GET /orders/{id}`.
    ///
    /// # Errors
    /// When there was no answer.
    pub async fn show(&self, order_id: &str) -> anyhow::Result<Answer> {
        send(self.request(Method::GET, &format!("/orders/{order_id}"))).await
    }

    /// `GET /orders`: a page of one's own orders, the newest first.
    ///
    /// # Errors
    /// When there was no answer.
    pub async fn list(&self, limit: Option<u32>, cursor: Option<&str>) -> anyhow::Result<Answer> {
        let mut request = self.request(Method::GET, "/orders");
        if let Some(limit) = limit {
            request = request.query(&[("limit", limit)]);
        }
        if let Some(cursor) = cursor {
            request = request.query(&[("cursor", cursor)]);
        }
        send(request).await
    }

    /// `POST /orders/{id}/cancel`.
    ///
    /// # Errors
    /// When there was no answer; asking again is harmless.
    pub async fn cancel(&self, order_id: &str) -> anyhow::Result<Answer> {
        send(self.request(Method::POST, &format!("/orders/{order_id}/cancel"))).await
    }

    /// `POST /orders/{id}/refunds`: `amount_minor`, or the rest.
    ///
    /// # Errors
    /// When there was no answer; the same key asks again.
    pub async fn refund(
        &self,
        order_id: &str,
        key: &str,
        amount_minor: Option<u64>,
        reason: Option<&str>,
    ) -> anyhow::Result<Answer> {
        let mut body = serde_json::Map::new();
        if let Some(amount_minor) = amount_minor {
            body.insert("amount_minor".to_owned(), json!(amount_minor));
        }
        if let Some(reason) = reason {
            body.insert("reason".to_owned(), json!(reason));
        }
        let request = self.request(Method::POST, &format!("/orders/{order_id}/refunds"));
        send(request.header("idempotency-key", key).json(&body)).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token)
    }
}

impl Answer {
    /// The body of a success.
    ///
    /// # Errors
    /// The problem, in words.
    pub fn success(self) -> anyhow::Result<Value> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        let problem: Problem = serde_json::from_value(self.body).unwrap_or_default();
        bail!(problem.in_words(self.status))
    }
}

impl Problem {
    fn in_words(&self, status: StatusCode) -> String {
        let what = self.title.as_deref().or(self.message.as_deref()).unwrap_or("the API refused without a reason");
        let mut words = what.to_owned();
        if let Some(detail) = &self.detail {
            write!(words, ": {detail}").ok();
        }
        match &self.code {
            Some(code) => write!(words, " ({code}, {})", status.as_u16()).ok(),
            None => write!(words, " ({})", status.as_u16()).ok(),
        };
        let advice = match status {
            StatusCode::UNAUTHORIZED => "give a valid token with --token or ORDERFLOW_TOKEN",
            StatusCode::TOO_MANY_REQUESTS => "wait a little and try again",
            StatusCode::SERVICE_UNAVAILABLE => {
                "it may have been accepted all the same: try again with the same --key, nothing happens twice"
            }
            _ => return words,
        };
        write!(words, "; {advice}").ok();
        words
    }
}

async fn send(request: RequestBuilder) -> anyhow::Result<Answer> {
    let response = request.send().await.context("the API gave no answer")?;
    let status = response.status();
    let bytes = response.bytes().await.context("the API's answer broke off")?;
    Ok(Answer { status, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) })
}

/// Asks the sandbox's issuer for a token.
///
/// # Errors
/// When it gives none.
pub async fn sandbox_token(sandbox_url: &str, tenant: &str, customer: &str, max_lane: &str) -> anyhow::Result<String> {
    #[derive(Deserialize)]
    struct Token {
        access_token: String,
    }
    let request = reqwest::Client::new()
        .post(format!("{sandbox_url}/auth/token"))
        .json(&json!({ "tenant": tenant, "customer": customer, "max_lane": max_lane }));
    let answer = request.send().await.context("the sandbox's token issuer gave no answer; is the stack up?")?;
    let status = answer.status();
    let text = answer.text().await.context("the token issuer's answer broke off")?;
    let token: Token = serde_json::from_str(&text).with_context(|| format!("no token ({status}): {text}"))?;
    Ok(token.access_token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_what_to_do() {
        let body = json!({ "code": "token_expired", "title": "The token has expired", "detail": "at 12:00" });
        let error = Answer { status: StatusCode::UNAUTHORIZED, body }.success().unwrap_err().to_string();
        assert_eq!(
            error,
            "The token has expired: at 12:00 (token_expired, 401); give a valid token with --token or ORDERFLOW_TOKEN"
        );
    }

    #[test]
    fn the_gateways_own_answer_is_told_as_well() {
        let answer = Answer { status: StatusCode::NOT_FOUND, body: json!({ "message": "Not Found" }) };
        assert_eq!(answer.success().unwrap_err().to_string(), "Not Found (404)");
    }
}
