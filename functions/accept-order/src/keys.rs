//! The issuer's public keys: fetched, kept, fetched again when a token names one that is not there.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use tokio::sync::Mutex;

/// Longest fetch, milliseconds.
const FETCH_MS: u64 = 2_000;
/// Longest key set, bytes.
const MAX_SET: usize = 256 * 1024;
/// Keys this old are fetched again before they are used, milliseconds.
const FRESH_MS: u64 = 10 * 60 * 1_000;
/// Keys older than this are not believed even where no newer ones can be had, milliseconds. The gateway's authorizer
/// keeps keys for two hours.
///
/// Source: <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-jwt-authorizer.html>
const STALE_MS: u64 = 2 * 60 * 60 * 1_000;
/// After a fetch that went well the next is at least this much later, whatever key ids tokens name, milliseconds.
const PAUSE_MS: u64 = 10_000;
/// After one that did not, milliseconds.
const RETRY_MS: u64 = 1_000;
/// Fewest bits of an RSA modulus (NIST SP 800-131A, RFC 7518 section 3.3), as its length in base64url.
const MIN_MODULUS: usize = 2_048_usize.div_ceil(6);

/// Why no key set came. Holds no address.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the issuer's keys could not be fetched: {0}")]
pub struct KeysError(pub String);

/// Fetches the issuer's JSON Web Key Set (RFC 7517), as bytes.
pub trait FetchKeys {
    /// One try.
    fn fetch_keys(&self) -> impl Future<Output = Result<Vec<u8>, KeysError>> + Send;
}

/// Fetches keys over HTTP.
#[derive(Clone, Debug)]
pub struct HttpKeys {
    client: reqwest::Client,
    url: String,
}

impl HttpKeys {
    /// From this URL.
    pub fn new(url: String) -> Result<Self, KeysError> {
        let builder = reqwest::Client::builder()
            .timeout(Duration::from_millis(FETCH_MS))
            .redirect(reqwest::redirect::Policy::none());
        Ok(Self { client: builder.build().map_err(failed)?, url })
    }
}

impl FetchKeys for HttpKeys {
    async fn fetch_keys(&self) -> Result<Vec<u8>, KeysError> {
        let answer = self.client.get(&self.url).send().await.map_err(failed)?;
        if answer.status() != reqwest::StatusCode::OK {
            return Err(KeysError(format!("status {}", answer.status().as_u16())));
        }
        let mut answer = answer;
        let mut set = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            set.extend_from_slice(&chunk);
            if set.len() > MAX_SET {
                return Err(KeysError("the key set is too large".to_owned()));
            }
        }
        Ok(set)
    }
}

fn failed(error: reqwest::Error) -> KeysError {
    KeysError(error.without_url().to_string())
}

/// What the cache says of a key id.
#[derive(Clone)]
pub enum Found {
    /// The key.
    Key(Box<DecodingKey>),
    /// The issuer has no such key.
    Unknown,
    /// Nobody can say.
    Unavailable,
}

/// The keys by id, and when they were fetched.
#[derive(Default)]
struct Cache {
    keys: HashMap<String, DecodingKey>,
    fetched_ms: Option<u64>,
    next_try_ms: u64,
    last_failed: bool,
}

/// Keeps the issuer's keys.
pub struct Keys<K> {
    fetch: K,
    // Held over a fetch on purpose: whoever comes meanwhile waits for its answer instead of fetching too.
    cache: Mutex<Cache>,
}

impl<K: FetchKeys> Keys<K> {
    /// Nothing fetched yet.
    pub fn new(fetch: K) -> Self {
        Self { fetch, cache: Mutex::default() }
    }

    /// The key of this id. Fetches where the set is old or has none of this id, at most once in [`PAUSE_MS`]; where
    /// that fails, a key that was good in the last two hours still is.
    pub async fn find(&self, kid: &str, now_ms: u64) -> Found {
        let mut cache = self.cache.lock().await;
        let age_ms = cache.fetched_ms.map(|at| now_ms.saturating_sub(at));
        let fresh = age_ms.is_some_and(|age| age < FRESH_MS);
        if !(fresh && cache.keys.contains_key(kid)) && now_ms >= cache.next_try_ms {
            match self.fetch.fetch_keys().await.and_then(|set| read(&set)) {
                Ok(keys) => {
                    let next_try_ms = now_ms.saturating_add(PAUSE_MS);
                    *cache = Cache { keys, fetched_ms: Some(now_ms), next_try_ms, last_failed: false };
                }
                Err(error) => {
                    tracing::warn!(%error, "going on with the keys that are there");
                    cache.next_try_ms = now_ms.saturating_add(RETRY_MS);
                    cache.last_failed = true;
                }
            }
        }
        let usable = cache.fetched_ms.is_some_and(|at| now_ms.saturating_sub(at) < STALE_MS);
        match cache.keys.get(kid) {
            Some(key) if usable => Found::Key(Box::new(key.clone())),
            Some(_) => Found::Unavailable,
            // Whether the issuer has a new key, only a fetch that worked can say.
            None if cache.last_failed || cache.fetched_ms.is_none() => Found::Unavailable,
            None => Found::Unknown,
        }
    }
}

/// One key as its set tells it. Members that this program does not know are no hindrance (RFC 7517, section 4).
#[derive(Deserialize)]
struct RsaKey {
    kty: String,
    kid: String,
    n: String,
    e: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<String>,
}

/// The RSA signature keys of a set. Others are passed over: a set may hold keys for other uses.
fn read(set: &[u8]) -> Result<HashMap<String, DecodingKey>, KeysError> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    let set: Set = serde_json::from_slice(set).map_err(|_| KeysError("not a JSON Web Key Set".to_owned()))?;
    let keys = set.keys.into_iter().filter_map(|key| {
        let key: RsaKey = serde_json::from_value(key).ok()?;
        let signs = key.usage.as_deref().is_none_or(|usage| usage == "sig");
        let rsa = key.kty == "RSA" && key.alg.as_deref().is_none_or(|alg| matches!(alg, "RS256" | "RS384" | "RS512"));
        let strong = key.n.trim_end_matches('=').len() >= MIN_MODULUS;
        (signs && rsa && strong).then_some(())?;
        DecodingKey::from_rsa_components(&key.n, &key.e).ok().map(|decoding| (key.kid, decoding))
    });
    Ok(keys.collect())
}
