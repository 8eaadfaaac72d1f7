//! What the API reads from headers.

use http::{HeaderMap, header};
use lambda_queue::Ids;
use lambda_queue::envelope::TraceParent;
use order::IdempotencyKey;

use crate::problem::{Code, Problem};

/// Longest body, bytes.
pub const MAX_BODY: usize = 64 * 1024;
/// Longest `X-Request-Id` that is given back, characters.
const MAX_REQUEST_ID: usize = 128;

/// The one Idempotency-Key.
pub fn idempotency_key(headers: &HeaderMap) -> Result<IdempotencyKey, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let missing = || Problem::new(Code::IdempotencyKeyMissing, "Send an Idempotency-Key header of your own making.");
    let value = values.next().ok_or_else(missing)?;
    let key = value.to_str().ok().and_then(|text| text.parse().ok()).filter(|_| values.next().is_none());
    key.ok_or_else(|| {
        Problem::new(
            Code::IdempotencyKeyInvalid,
            "One Idempotency-Key of 1 to 255 printable ASCII characters is needed.",
        )
    })
}

/// A JSON body: media type, then size.
pub fn json_body<'a>(headers: &HeaderMap, body: &'a [u8]) -> Result<&'a [u8], Problem> {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let one = types.next().and_then(|value| value.to_str().ok()).filter(|_| types.next().is_none());
    if !one.is_some_and(is_json) || headers.contains_key(header::CONTENT_ENCODING) {
        let detail = "Send Content-Type: application/json, in UTF-8 and without Content-Encoding.";
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    within_size(body)
}

/// A body of any type.
pub fn within_size(body: &[u8]) -> Result<&[u8], Problem> {
    if body.len() > MAX_BODY {
        return Err(Problem::new(Code::BodyTooLarge, format!("A body is at most {MAX_BODY} bytes.")));
    }
    Ok(body)
}

/// `application/json`, with no other parameter than `charset=utf-8`.
fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
        && parts.all(|parameter| {
            parameter.split_once('=').is_some_and(|(name, value)| {
                name.eq_ignore_ascii_case("charset") && value.trim_matches('"').eq_ignore_ascii_case("utf-8")
            })
        })
}

/// Seconds of `Prefer: wait=N`, the first if there are several. A preference that cannot be read is ignored, as RFC 7240
/// wants it.
pub fn prefer_wait(headers: &HeaderMap) -> Option<u64> {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).find_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        let seconds = value.trim().trim_matches('"');
        let digits = !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit());
        // More digits than a number holds is a long wait all the same.
        (name.trim().eq_ignore_ascii_case("wait") && digits).then(|| seconds.parse().unwrap_or(u64::MAX))
    })
}

/// The caller's trace context, or a new one where there is none that can be read. Of a later version than 00 it keeps
/// what version 00 knows.
///
/// Source: <https://www.w3.org/TR/trace-context/#traceparent-header>
pub fn traceparent(headers: &HeaderMap, ids: &impl Ids) -> String {
    let mut given = headers.get_all("traceparent").iter();
    // Two of them are none: nobody can tell which is the caller's.
    let one = given.next().and_then(|value| value.to_str().ok()).filter(|_| given.next().is_none());
    let parent: Option<TraceParent> = one.and_then(|text| text.parse().ok());
    parent.unwrap_or_else(|| TraceParent::begin(ids)).to_string()
}

/// The caller's `X-Request-Id`, if it can be given back as it is.
pub fn request_id(headers: &HeaderMap) -> Option<&str> {
    headers.get("x-request-id").and_then(|value| value.to_str().ok()).filter(|id| {
        (1..=MAX_REQUEST_ID).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'='))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, values: &[&str]) -> HeaderMap {
        let pairs = values.iter().map(|value| (http::HeaderName::from_static(name), value.parse().unwrap()));
        let mut headers = HeaderMap::new();
        pairs.for_each(|(name, value)| {
            headers.append(name, value);
        });
        headers
    }

    #[test]
    fn the_first_wait_that_can_be_read_is_taken() {
        for (values, seconds) in [
            (&["wait=10"][..], Some(10)),
            (&["respond-async, WAIT = \"7\"; x=1"], Some(7)),
            (&["respond-async", "wait=3", "wait=4"], Some(3)),
            (&["wait=99999999999999999999999"], Some(u64::MAX)),
            (&["wait=0"], Some(0)),
            (&["wait"], None),
            (&["wait="], None),
            (&["wait=-1"], None),
            (&["wait=1.5"], None),
            (&["waiting=5"], None),
        ] {
            assert_eq!(prefer_wait(&with("prefer", values)), seconds, "{values:?}");
        }
        assert_eq!(prefer_wait(&HeaderMap::new()), None);
    }

    #[test]
    fn json_in_utf_8_is_the_only_media_type() {
        for (content_type, taken) in [
            ("application/json", true),
            ("Application/JSON; charset=UTF-8", true),
            ("application/json;charset=\"utf-8\"", true),
            ("application/json; charset=utf-16", false),
            ("application/json; profile=x", false),
            ("application/problem+json", false),
            ("text/json", false),
            ("", false),
        ] {
            assert_eq!(json_body(&with("content-type", &[content_type]), b"{}").is_ok(), taken, "{content_type}");
        }
        assert!(json_body(&HeaderMap::new(), b"{}").is_err());
        let mut zipped = with("content-type", &["application/json"]);
        zipped.insert("content-encoding", "gzip".parse().unwrap());
        assert!(json_body(&zipped, b"{}").is_err());
    }

    #[test]
    fn one_readable_traceparent_is_taken_and_any_other_is_replaced() {
        struct Fixed;
        impl Ids for Fixed {
            fn fresh(&self) -> uuid::Uuid {
                uuid::Uuid::from_u128(0x0193_5a00_0000_7000_8000_0000_0000_0001)
            }
        }
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let later = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what.the.future.brings";
        let fresh = "00-01935a00000070008000000000000001-8000000000000001-01";
        for (given, taken) in [
            (&[good][..], good),
            (&[later], good),
            (&[], fresh),
            (&["00-00000000000000000000000000000000-00f067aa0ba902b7-01"], fresh),
            (&["ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"], fresh),
            (&["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x"], fresh),
            (&[good, good], fresh),
        ] {
            assert_eq!(traceparent(&with("traceparent", given), &Fixed), taken, "{given:?}");
        }
    }

    #[test]
    fn a_request_id_is_given_back_only_if_it_is_harmless() {
        assert_eq!(request_id(&with("x-request-id", &["a-1"])), Some("a-1"));
        for bad in ["", "a b", "<x>", "a".repeat(129).as_str()] {
            assert_eq!(request_id(&with("x-request-id", &[bad])), None, "{bad}");
        }
    }
}
