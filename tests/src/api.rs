//! The HTTP API, as a customer's program uses it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use order::{CustomerId, IdempotencyKey, Lane, OrderId, TenantId};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

/// Longer than the gateway's own 30 s.
const TIMEOUT: Duration = Duration::from_secs(35);

/// Who asks: what a token says.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Who {
    /// Claim `tenant`.
    pub tenant: String,
    /// Claim `sub`.
    pub customer: String,
    /// Claim `max_lane`.
    pub max_lane: Lane,
}

impl Who {
    /// A customer who may use every lane.
    pub fn new(tenant: impl Into<String>, customer: impl Into<String>) -> Self {
        Self { tenant: tenant.into(), customer: customer.into(), max_lane: Lane::Express }
    }

    /// The id of the order that this customer means by this key.
    ///
    /// # Errors
    /// When tenant, customer or key are none.
    pub fn order_id(&self, key: &str) -> anyhow::Result<OrderId> {
        let tenant: TenantId = self.tenant.parse().context("tenant")?;
        let customer: CustomerId = self.customer.parse().context("customer")?;
        let key: IdempotencyKey = key.parse().context("key")?;
        Ok(OrderId::derive(&tenant, &customer, &key))
    }
}

/// What the API answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body as it came.
    pub text: String,
    /// Body as JSON; `Null` where it is none.
    pub body: Value,
}

impl Answer {
    /// `order_id` of the body.
    pub fn order_id(&self) -> Option<OrderId> {
        self.body.get("order_id")?.as_str()?.parse().ok()
    }

    /// `status` of the body: where the order stands.
    pub fn state(&self) -> &str {
        self.body.get("status").and_then(Value::as_str).unwrap_or_default()
    }

    /// `code` of a problem.
    pub fn code(&self) -> &str {
        self.body.get("code").and_then(Value::as_str).unwrap_or_default()
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Whether the request was taken.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// A client of one deployed API and of its token issuer. Tokens are fetched once for each [`Who`].
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    api_url: String,
    sandbox_url: String,
    tokens: Mutex<HashMap<Who, String>>,
}

impl Client {
    /// For the API at `api_url`, with tokens of the sandbox at `sandbox_url`.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(api_url: &str, sandbox_url: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build().context("no HTTP client")?;
        Ok(Self {
            http,
            api_url: api_url.trim_end_matches('/').to_owned(),
            sandbox_url: sandbox_url.to_owned(),
            tokens: Mutex::default(),
        })
    }

    /// A token of this customer.
    ///
    /// # Errors
    /// When the issuer gives none.
    pub async fn token(&self, who: &Who) -> anyhow::Result<String> {
        if let Some(token) = self.tokens.lock().unwrap_or_else(PoisonError::into_inner).get(who) {
            return Ok(token.clone());
        }
        let token = self
            .issue(&json!({ "tenant": who.tenant, "customer": who.customer, "max_lane": who.max_lane.name() }))
            .await?;
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).insert(who.clone(), token.clone());
        Ok(token)
    }

    /// A token that says exactly this; see the sandbox's `POST /auth/token`.
    ///
    /// # Errors
    /// When the issuer gives none.
    pub async fn issue(&self, claims: &Value) -> anyhow::Result<String> {
        let answer = self.http.post(format!("{}/auth/token", self.sandbox_url)).json(claims).send().await?;
        ensure!(answer.status().is_success(), "no token for {claims}: {}", answer.status());
        let body: Value = answer.json().await?;
        let token = body.get("access_token").and_then(Value::as_str).context("the issuer's answer has no token")?;
        Ok(token.to_owned())
    }

    /// A request as it is, without a token.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.api_url))
    }

    /// Sends a request.
    ///
    /// # Errors
    /// When no whole answer comes.
    pub async fn send(&self, request: RequestBuilder) -> anyhow::Result<Answer> {
        let answer = request.send().await.context("no answer from the API")?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.context("half an answer from the API")?;
        let body = serde_json::from_str(&text).unwrap_or_default();
        Ok(Answer { status, headers, text, body })
    }

    async fn authorized(&self, who: &Who, method: Method, path: &str) -> anyhow::Result<RequestBuilder> {
        let token = self.token(who).await?;
        Ok(self.request(method, path).header(AUTHORIZATION, format!("Bearer {token}")))
    }

    /// `POST /orders`.
    ///
    /// # Errors
    /// When no whole answer comes.
    pub async fn place(&self, who: &Who, key: &str, body: &Value) -> anyhow::Result<Answer> {
        self.place_raw(who, &[("idempotency-key", key), ("content-type", "application/json")], body.to_string()).await
    }

    /// `POST /orders` with `Prefer: wait=N`.
    ///
    /// # Errors
    /// When no whole answer comes.
    pub async fn place_and_wait(&self, who: &Who, key: &str, body: &Value, wait_s: u32) -> anyhow::Result<Answer> {
        let prefer = format!("wait={wait_s}");
        let headers = [("idempotency-key", key), ("content-type", "application/json"), ("prefer", prefer.as_str())];
        self.place_raw(who, &headers, body.to_string()).await
    }

    /// `POST /orders` with exactly these headers (beside the token) and bytes.
    ///
    /// # Errors
    /// When no whole answer comes.
    pub async fn place_raw(
        &self,
        who: &Who,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> anyhow::Result<Answer> {
        let mut request = self.authorized(who, Method::POST, "/orders").await?.body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request).await
    }

    /// `GET /orders/{id}`.
    ///
    /// # Errors
    /// When no whole answer comes.
    pub async fn read(&self, who: &Who, id: OrderId) -> anyhow::Result<Answer> {
        self.get(who, &format!("/orders/{id}")).await
    }

    /// `GET` of any path.
    ///
    /// # Errors
    /// When no whole answer comes.
    pub async fn get(&self, who: &Who, path: &str) -> anyhow::Result<Answer> {
        self.send(self.authorized(who, Method::GET, path).await?).await
    }

    /// `POST /orders/{id}/cancel`.
    ///
    /// # Errors
    /// When no whole answer comes.
    pub async fn cancel(&self, who: &Who, id: OrderId) -> anyhow::Result<Answer> {
        self.send(self.authorized(who, Method::POST, &format!("/orders/{id}/cancel")).await?).await
    }

    /// `POST /orders/{id}/refunds`; without an amount, of all that is left.
    ///
    /// # Errors
    /// When no whole answer comes.
    pub async fn refund(&self, who: &Who, id: OrderId, key: &str, amount_minor: Option<u64>) -> anyhow::Result<Answer> {
        let body = amount_minor.map_or_else(|| json!({}), |amount_minor| json!({ "amount_minor": amount_minor }));
        let request = self.authorized(who, Method::POST, &format!("/orders/{id}/refunds")).await?;
        let request = request.header("idempotency-key", key).header(CONTENT_TYPE, "application/json");
        self.send(request.body(body.to_string())).await
    }
}
