//! API Gateway's HTTP API payload, version 2.0, to and from `http` types.
//!
//! Read leniently and by hand: an event that the reader cannot take would be an answer of the gateway's instead of a
//! problem of ours, and the path comes percent-decoded, so it need not be a URI.
//!
//! Source: <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, Method, Uri};
use serde::{Deserialize, Serialize};

/// An event, as far as it is needed here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Event {
    raw_path: String,
    raw_query_string: String,
    headers: BTreeMap<String, String>,
    request_context: RequestContext,
    body: Option<String>,
    is_base64_encoded: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct RequestContext {
    http: HttpContext,
    stage: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct HttpContext {
    method: String,
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    status_code: u16,
    headers: BTreeMap<String, String>,
    body: String,
    is_base64_encoded: bool,
}

impl From<Event> for http::Request<Vec<u8>> {
    fn from(event: Event) -> Self {
        let body = match event.body {
            // What is not base64 after all is taken as it is: whoever parses it will say what is wrong.
            Some(text) if event.is_base64_encoded => STANDARD.decode(&text).unwrap_or_else(|_| text.into_bytes()),
            Some(text) => text.into_bytes(),
            None => Vec::new(),
        };
        let mut request = Self::new(body);
        let path = without_stage(&event.raw_path, &event.request_context.stage);
        *request.uri_mut() = uri(path, &event.raw_query_string);
        // A method or a header that HTTP does not have is left out: 405, or as if it had not been sent.
        *request.method_mut() =
            Method::from_bytes(event.request_context.http.method.as_bytes()).unwrap_or(Method::TRACE);
        for (name, value) in &event.headers {
            if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_bytes(value.as_bytes())) {
                request.headers_mut().append(name, value);
            }
        }
        request
    }
}

impl From<http::Response<String>> for Answer {
    fn from(response: http::Response<String>) -> Self {
        let headers = response
            .headers()
            .iter()
            .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
        Self {
            status_code: response.status().as_u16(),
            headers: headers.collect(),
            body: response.into_body(),
            is_base64_encoded: false,
        }
    }
}

/// The path below the stage. Only a named stage is part of a path.
fn without_stage<'a>(path: &'a str, stage: &str) -> &'a str {
    if stage.is_empty() || stage == "$default" {
        return path;
    }
    let below = path.strip_prefix('/').and_then(|path| path.strip_prefix(stage));
    below.filter(|below| below.starts_with('/')).unwrap_or(path)
}

/// Path and query as a URI; what a URI cannot hold is percent-encoded again.
fn uri(path: &str, query: &str) -> Uri {
    let mut text = encoded(path, b"/");
    if !query.is_empty() {
        text.push('?');
        text.push_str(&encoded(query, b"/?%"));
    }
    text.parse().unwrap_or_default()
}

/// Percent-encodes all but the characters of a path segment (RFC 3986, section 3.3) and `keep`.
fn encoded(text: &str, keep: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte) || keep.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(event: serde_json::Value) -> http::Request<Vec<u8>> {
        serde_json::from_value::<Event>(event).unwrap().into()
    }

    #[test]
    fn an_event_becomes_its_request() {
        let request = request(json!({
            "version": "2.0", "rawPath": "/orders", "rawQueryString": "limit=5",
            "headers": {"Idempotency-KEY": "k", "x-multi": "a,b", "bad name": "x", "bad-value": "a\u{0}b"},
            "requestContext": {"stage": "$default", "http": {"method": "POST", "path": "/orders"}},
            "body": "e30=", "isBase64Encoded": true,
        }));
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.uri(), "/orders?limit=5");
        assert_eq!(request.headers()["idempotency-key"], "k");
        assert_eq!(request.headers().len(), 2);
        assert_eq!(request.body(), b"{}");
    }

    #[test]
    fn a_body_that_is_not_encoded_stays_as_it_is() {
        assert_eq!(request(json!({"body": "e30="})).body(), b"e30=");
        assert!(request(json!({})).body().is_empty());
    }

    #[test]
    fn a_named_stage_is_not_part_of_the_path() {
        for (stage, path, below) in [
            ("$default", "/orders", "/orders"),
            ("dev", "/dev/orders/1", "/orders/1"),
            ("dev", "/developers", "/developers"),
            ("orders", "/orders", "/orders"),
        ] {
            let event = json!({"rawPath": path, "requestContext": {"stage": stage}});
            assert_eq!(request(event).uri().path(), below, "{stage} {path}");
        }
    }

    #[test]
    fn any_path_and_method_make_a_request() {
        for path in ["", " ", "/orders/ä b", "/%", "//x", "/\u{0}", "?", "http://x/"] {
            let request = request(json!({"rawPath": path, "requestContext": {"http": {"method": "NO SUCH"}}}));
            assert_eq!(request.method(), Method::TRACE, "{path}");
        }
        assert_eq!(request(json!({"rawPath": "/orders/ä b"})).uri().path(), "/orders/%C3%A4%20b");
    }

    #[test]
    fn an_answer_keeps_status_headers_and_body() {
        let response = http::Response::builder().status(202).header("location", "/orders/1").body("{}".to_owned());
        let answer = serde_json::to_value(Answer::from(response.unwrap())).unwrap();
        let expected = json!({
            "statusCode": 202, "headers": {"location": "/orders/1"}, "body": "{}", "isBase64Encoded": false
        });
        assert_eq!(answer, expected);
    }
}
