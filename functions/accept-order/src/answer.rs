//! A "yes", on its way to a response.

use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use order::{Order, OrderId};
use serde::Serialize;

use crate::problem::Problem;
use crate::view::OrderView;

/// An answer that is no problem.
#[derive(Debug)]
pub struct Answer {
    /// 200, 202 or 204.
    pub status: StatusCode,
    /// JSON, or nothing.
    pub body: String,
    /// Headers of its own.
    pub headers: Vec<(HeaderName, String)>,
    /// About which order, for the log.
    pub order_id: Option<OrderId>,
}

impl Answer {
    /// JSON.
    pub fn json(status: StatusCode, body: &impl Serialize) -> Result<Self, Problem> {
        let body = serde_json::to_string(body).map_err(|error| {
            tracing::error!(%error, "an answer cannot be written");
            Problem::internal()
        })?;
        Ok(Self { status, body, headers: Vec::new(), order_id: None })
    }

    /// The representation of an order.
    pub fn order(status: StatusCode, order: &Order) -> Result<Self, Problem> {
        let answer = Self::json(status, &OrderView::from(order)).map_err(|problem| problem.of(order.order_id))?;
        Ok(Self { order_id: Some(order.order_id), ..answer })
    }

    /// With one header more.
    pub fn with(mut self, name: HeaderName, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// The response to either.
pub fn response(result: Result<Answer, Problem>, request_id: &str) -> Response<String> {
    let (status, content_type, body, headers) = match result {
        Ok(answer) => (answer.status, "application/json", answer.body, answer.headers),
        Err(problem) => {
            let body = problem.body(request_id).to_string();
            (problem.code.status(), "application/problem+json", body, problem.headers)
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    if !response.body().is_empty() {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
