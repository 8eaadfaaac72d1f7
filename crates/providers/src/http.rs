//! One request to a provider, and what may be said of it when it fails. See the crate's page for the rules.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::time::Duration;

use ports::{PROVIDER_CALL_MS, ProviderError};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, RequestBuilder, Url};
use tokio::time::Instant;

use crate::Secret;

/// A connection that takes longer is given up, which is surely `NotRun`; without a limit of its own it would end in the
/// call's timeout, which is `Unknown`.
const CONNECT: Duration = Duration::from_secs(2);

/// A connection idle for longer is not used again. A Lambda process sleeps between invocations, and on waking it would
/// send on a connection that the other side has long closed: harmless, but `Unknown`, so the effect would wait for its
/// look-up. Providers close idle connections after a minute or more.
const IDLE: Duration = Duration::from_secs(20);

/// More than the largest answer: a page of 100 payments with their charges is some 800 KB.
const BODY_BYTES: usize = 2 * 1024 * 1024;

/// Longest `Retry-After` that is believed: the longest that a message waits anyway.
const RETRY_AFTER_S: u64 = 15 * 60;

/// Settings no adapter can be made of.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Not an absolute URL of scheme `https`; `http` only of this machine, or the key would cross a network in the clear.
    #[error("the provider's base URL has to be https (http only on loopback), without query or credentials")]
    BaseUrl,
    /// Empty, or with characters that no header takes.
    #[error("the API key is empty or has characters that an HTTP header cannot carry")]
    Key,
    /// The HTTP client could not be made, such as for want of root certificates.
    #[error("the HTTP client could not be made")]
    Client(#[source] reqwest::Error),
}

/// When a call has to be over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

/// A provider's HTTP API.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
    base: String,
    authorization: HeaderValue,
    timeout: Duration,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("base", &self.base).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) request_id: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Api {
    pub(crate) fn new(base_url: &str, key: &Secret) -> Result<Self, SetupError> {
        let base = base(base_url)?;
        let mut authorization = match key.expose() {
            "" => return Err(SetupError::Key),
            key => HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| SetupError::Key)?,
        };
        authorization.set_sensitive(true);
        let client = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .user_agent(concat!("orderflow/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .pool_idle_timeout(IDLE)
            .build()
            .map_err(SetupError::Client)?;
        Ok(Self { client, base, authorization, timeout: Duration::from_millis(PROVIDER_CALL_MS) })
    }

    /// A shorter time for every call; never a longer one than [`PROVIDER_CALL_MS`], which the steps count on.
    pub(crate) fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout: timeout.min(Duration::from_millis(PROVIDER_CALL_MS)), ..self }
    }

    /// The end of a call that begins now.
    pub(crate) fn deadline(&self) -> Deadline {
        Deadline(Instant::now() + self.timeout)
    }

    /// A request for a path such as `/v1/refunds`.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base)).header(AUTHORIZATION, self.authorization.clone())
    }

    /// Sends it and reads the whole answer, whatever its status.
    pub(crate) async fn send(&self, request: RequestBuilder, deadline: Deadline) -> Result<Answer, ProviderError> {
        let left = deadline.0.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ProviderError::NotRun {
                retry_after: None,
                why: "no time left for another request".to_owned(),
            });
        }
        let mut response = request.timeout(left).send().await.map_err(|error| lost(&error))?;
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers());
        let request_id = request_id(response.headers());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| lost(&error))? {
            if body.len() + chunk.len() > BODY_BYTES {
                return Err(ProviderError::Unknown {
                    why: format!("{status}, and more than {BODY_BYTES} bytes of it"),
                });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, retry_after, request_id, body })
    }
}

impl Answer {
    /// `status`, what the provider calls it, and its request id, for the log.
    pub(crate) fn why(&self, words: &[Option<&str>]) -> String {
        let mut why = self.status.to_string();
        for word in words.iter().flatten().filter_map(|word| self::word(word)) {
            why.push(' ');
            why.push_str(&word);
        }
        if let Some(id) = &self.request_id {
            why.push_str(&format!(" ({id})"));
        }
        why
    }

    /// An answer that is not the JSON it should be: a page, where something in between has answered, JSON of another shape, where
    /// the provider has changed, or else unreadable.
    pub(crate) fn unreadable(&self, error: &serde_json::Error) -> ProviderError {
        let is_page = self.body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'<');
        let what = if is_page {
            "page"
        } else if error.is_data() {
            "another_shape"
        } else {
            "unreadable"
        };
        self.unknown(&[Some(what)])
    }

    pub(crate) fn unknown(&self, words: &[Option<&str>]) -> ProviderError {
        ProviderError::Unknown { why: self.why(words) }
    }

    pub(crate) fn failed(&self, words: &[Option<&str>]) -> ProviderError {
        ProviderError::Failed { why: self.why(words) }
    }

    pub(crate) fn refused(&self, words: &[Option<&str>]) -> ProviderError {
        ProviderError::Refused { why: self.why(words) }
    }

    pub(crate) fn throttled(&self, words: &[Option<&str>]) -> ProviderError {
        ProviderError::Throttled { retry_after: self.retry_after, why: self.why(words) }
    }
}

/// A text that is plainly a word of a provider's vocabulary, and so nothing of a customer's.
pub(crate) fn word(text: &str) -> Option<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'[' | b']');
    ((1..=64).contains(&text.len()) && text.bytes().all(fits)).then(|| text.to_owned())
}

/// Names the failure of a request that got no answer.
fn lost(error: &reqwest::Error) -> ProviderError {
    if error.is_builder() {
        return ProviderError::Refused { why: "the request could not be put together".to_owned() };
    }
    let detail = io_kind(error).map(|kind| format!(": {kind}")).unwrap_or_default();
    // True for DNS, TCP and TLS alike: no byte of the request can have left.
    if error.is_connect() {
        return ProviderError::NotRun { retry_after: None, why: format!("no connection{detail}") };
    }
    let what = if error.is_timeout() {
        "no answer in time"
    } else if error.is_body() || error.is_decode() {
        "the answer broke off"
    } else {
        "the connection was lost"
    };
    ProviderError::Unknown { why: format!("{what}{detail}") }
}

fn io_kind(error: &reqwest::Error) -> Option<io::ErrorKind> {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        source = error.source();
    }
    None
}

/// Whole seconds; a date is not looked at, as it would need the other side's clock to agree with ours.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(RETRY_AFTER_S)))
}

fn request_id(headers: &HeaderMap) -> Option<String> {
    word(headers.get("request-id")?.to_str().ok()?)
}

/// The base without its last slash, if a key may be sent there.
fn base(base_url: &str) -> Result<String, SetupError> {
    let url = Url::parse(base_url).map_err(|_| SetupError::BaseUrl)?;
    let loopback = match url.host_str() {
        Some("localhost" | "[::1]") => true,
        Some(host) => host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback()),
        None => return Err(SetupError::BaseUrl),
    };
    let plain =
        url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
    if plain && (url.scheme() == "https" || (url.scheme() == "http" && loopback)) {
        Ok(url.as_str().trim_end_matches('/').to_owned())
    } else {
        Err(SetupError::BaseUrl)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_not_sent_in_the_clear_over_a_network() {
        let key = Secret::new("sk_test_1".to_owned());
        for url in
            ["https://api.stripe.com", "https://api.stripe.com/", "http://127.0.0.1:9/carrier", "http://localhost:9"]
        {
            assert!(Api::new(url, &key).is_ok(), "{url}");
        }
        for url in
            ["http://api.stripe.com", "ftp://127.0.0.1", "api.stripe.com", "", "https://u:p@host/", "https://host/?a=b"]
        {
            assert!(matches!(Api::new(url, &key), Err(SetupError::BaseUrl)), "{url}");
        }
    }

    #[test]
    fn a_key_that_no_header_takes_is_refused_without_being_named() {
        for key in ["", " \n", "sk_test_1\nHost: elsewhere"] {
            let error = Api::new("https://api.stripe.com", &Secret::new(key.to_owned())).unwrap_err();
            assert!(matches!(error, SetupError::Key), "{key:?}");
            assert!(!format!("{error} {error:?}").contains("sk_test"), "{error}");
        }
    }

    #[test]
    fn retry_after_is_whole_seconds_and_bounded() {
        let after = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_str(text).unwrap());
            retry_after(&headers)
        };
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after("99999999"), Some(Duration::from_secs(RETRY_AFTER_S)));
        for text in ["", "-1", "1.5", "Wed, 21 Oct 2026 07:28:00 GMT"] {
            assert_eq!(after(text), None, "{text}");
        }
    }

    #[test]
    fn only_a_word_of_the_vocabulary_gets_into_a_log_line() {
        assert_eq!(word("payment_intent_unexpected_state").as_deref(), Some("payment_intent_unexpected_state"));
        for text in ["", "No such PaymentMethod: 'pm_1'", "a\nb", "name@example.com", &"x".repeat(65)] {
            assert_eq!(word(text), None, "{text}");
        }
    }
}
