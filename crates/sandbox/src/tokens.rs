//! The token issuer: an OpenID provider with one RS256 key, enough for a gateway or a service to verify against.

use std::path::Path;

use anyhow::Context as _;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use axum::http::StatusCode;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Audience of a token that asks for none.
pub const DEFAULT_AUDIENCE: &str = "orderflow";
const DEFAULT_TTL_S: i64 = 3600;

/// Signs tokens.
pub(crate) struct Issuer {
    url: String,
    key: EncodingKey,
    jwk: Jwk,
    kid: String,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer").field("url", &self.url).field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// What a token is asked to say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    customer: String,
    tenant: String,
    max_lane: Option<Lane>,
    ttl_seconds: Option<i64>,
    audience: Option<String>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Lane {
    Express,
    Standard,
    Bulk,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    tenant: &'a str,
    max_lane: Lane,
    iat: i64,
    exp: i64,
    jti: String,
}

impl Issuer {
    /// Reads the key at `key_path`, or makes one and keeps it there, so that tokens outlive a restart.
    pub(crate) fn open(url: String, key_path: &Path) -> anyhow::Result<Self> {
        let text = match std::fs::read_to_string(key_path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let pair = KeyPair::generate(KeySize::Rsa2048).context("cannot make an RSA key")?;
                let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).context("cannot encode the RSA key")?;
                let text = pem::encode(&pem::Pem::new("PRIVATE KEY", der.as_ref()));
                write_private(key_path, &text).with_context(|| format!("cannot write {}", key_path.display()))?;
                text
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", key_path.display())),
        };
        let key = EncodingKey::from_rsa_pem(text.as_bytes())
            .with_context(|| format!("{} does not hold an RSA key", key_path.display()))?;
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::RS256)?;
        let kid = jwk.thumbprint(ThumbprintHash::SHA256)?;
        jwk.common.key_id = Some(kid.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        Ok(Self { url, key, jwk, kid })
    }

    pub(crate) fn configuration(&self) -> Value {
        json!({
            "issuer": self.url,
            "jwks_uri": format!("{}/.well-known/jwks.json", self.url),
            "token_endpoint": format!("{}/token", self.url),
            "grant_types_supported": ["client_credentials"],
            "response_types_supported": ["token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        })
    }

    pub(crate) fn jwks(&self) -> Value {
        json!({ "keys": [self.jwk] })
    }

    pub(crate) fn issue(&self, asked: &Asked, now_s: i64) -> (StatusCode, Value) {
        let ttl_s = asked.ttl_seconds.unwrap_or(DEFAULT_TTL_S);
        let claims = Claims {
            iss: &self.url,
            aud: asked.audience.as_deref().unwrap_or(DEFAULT_AUDIENCE),
            sub: &asked.customer,
            tenant: &asked.tenant,
            max_lane: asked.max_lane.unwrap_or(Lane::Express),
            // An expired token was issued before it expired.
            iat: now_s.saturating_add(ttl_s.min(0)).saturating_sub(i64::from(ttl_s < 0)),
            exp: now_s.saturating_add(ttl_s),
            jti: crate::world::new_id("", 16),
        };
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(Algorithm::RS256) };
        match jsonwebtoken::encode(&header, &claims, &self.key) {
            Ok(token) => {
                (StatusCode::OK, json!({ "access_token": token, "token_type": "Bearer", "expires_in": ttl_s }))
            }
            Err(error) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                json!({ "error": "server_error", "error_description": error.to_string() }),
            ),
        }
    }
}

/// Reads a form's fields into what a JSON body would have said.
pub(crate) fn asked_by_form(body: &[u8]) -> Result<Asked, String> {
    let mut fields = serde_json::Map::new();
    for (name, value) in form_urlencoded::parse(body) {
        let value = if name == "ttl_seconds" {
            Value::from(value.parse::<i64>().map_err(|_| "ttl_seconds is not an integer".to_owned())?)
        } else if name == "grant_type" {
            continue;
        } else {
            Value::from(value.into_owned())
        };
        fields.insert(name.into_owned(), value);
    }
    serde_json::from_value(Value::Object(fields)).map_err(|error| error.to_string())
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
