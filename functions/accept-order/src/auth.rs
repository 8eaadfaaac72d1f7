//! Who asks: the bearer token, verified here in every stage, whatever a gateway in front has checked already.
//!
//! Source: RFC 8725 (JWT best practices), <https://www.rfc-editor.org/rfc/rfc8725>

use http::{HeaderMap, header};
use jsonwebtoken::{Algorithm, Validation};
use order::{CustomerId, Lane, TenantId};
use serde::Deserialize;

use crate::keys::{FetchKeys, Found, Keys};
use crate::problem::{Code, Problem};

/// Longest token, bytes.
const MAX_TOKEN: usize = 8 * 1024;
/// How far ahead an issuer's clock may be, for `nbf`, seconds. `exp` has no leeway.
const SKEW_S: u64 = 5;
/// One family only, RSA: there is no way to have a public key taken for a shared secret.
const ALGORITHMS: [Algorithm; 3] = [Algorithm::RS256, Algorithm::RS384, Algorithm::RS512];

/// Who asks, and how urgently they may.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// Claim `tenant`.
    pub tenant: TenantId,
    /// Claim `sub`.
    pub customer: CustomerId,
    /// Claim `max_lane`.
    pub max_lane: Lane,
}

/// Times are seconds, and may have a fraction (RFC 7519, section 2).
#[derive(Deserialize)]
struct Claims {
    sub: String,
    tenant: String,
    max_lane: String,
    exp: f64,
    #[serde(default)]
    nbf: Option<f64>,
}

/// Verifies tokens of one issuer for one audience.
pub struct Verifier<K> {
    keys: Keys<K>,
    validation: Validation,
}

impl<K: FetchKeys> Verifier<K> {
    /// A token's `iss` has to be `issuer`; its `aud`, a text or a list, has to hold `audience`.
    pub fn new(issuer: &str, audience: &str, fetch: K) -> Self {
        let mut validation = Validation::new(Algorithm::RS256);
        validation.algorithms = ALGORITHMS.to_vec();
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
        // Times are compared below, with the clock that everything else goes by.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Self { keys: Keys::new(fetch), validation }
    }

    /// The caller, or 401; 503 where the issuer's keys cannot be had.
    pub async fn caller(&self, headers: &HeaderMap, now_ms: u64) -> Result<Caller, Problem> {
        let token = bearer(headers)?;
        let invalid = |detail: &'static str| Problem::new(Code::TokenInvalid, detail);
        if token.len() > MAX_TOKEN {
            return Err(invalid("The token is too long."));
        }
        let head = jsonwebtoken::decode_header(token).map_err(|_| invalid("This is no JSON Web Token."))?;
        if !ALGORITHMS.contains(&head.alg) || head.crit.is_some() {
            return Err(invalid("The token is not signed with RS256."));
        }
        let kid = head.kid.ok_or_else(|| invalid("The token does not say which key signed it."))?;
        let key = match self.keys.find(&kid, now_ms).await {
            Found::Key(key) => key,
            Found::Unknown => return Err(invalid("The token's key is not one of the issuer's.")),
            Found::Unavailable => {
                return Err(Problem::new(
                    Code::KeysUnavailable,
                    "The issuer does not answer. Nothing was done: try again.",
                ));
            }
        };
        let claims = jsonwebtoken::decode::<Claims>(token, &key, &self.validation)
            .map_err(|_| invalid("Signature, issuer, audience or a claim of the token is not as it has to be."))?
            .claims;
        in_time(&claims, now_ms)?;
        let claim = |_| invalid("A claim of the token is malformed: sub, tenant.");
        Ok(Caller {
            tenant: claims.tenant.parse().map_err(claim)?,
            customer: claims.sub.parse().map_err(claim)?,
            max_lane: claims.max_lane.parse().map_err(|_| invalid("The token's max_lane is no lane."))?,
        })
    }
}

#[allow(clippy::cast_precision_loss, reason = "a present in milliseconds is exact in an f64 for 280,000 years")]
fn in_time(claims: &Claims, now_ms: u64) -> Result<(), Problem> {
    let now_s = now_ms as f64 / 1_000.0;
    if claims.exp <= now_s {
        return Err(Problem::new(Code::TokenExpired, "The token has expired: get a new one."));
    }
    if claims.nbf.is_some_and(|nbf| nbf > now_s + SKEW_S as f64) {
        return Err(Problem::new(Code::TokenInvalid, "The token is not valid yet."));
    }
    Ok(())
}

/// The one bearer token.
fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let missing = || Problem::new(Code::TokenMissing, "Send Authorization: Bearer and a token.");
    let value = values.next().filter(|_| values.next().is_none()).and_then(|value| value.to_str().ok());
    let (scheme, token) = value.and_then(|value| value.trim().split_once(' ')).ok_or_else(missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") || token.trim().is_empty() {
        return Err(missing());
    }
    Ok(token.trim())
}
