//! Which tokens are believed.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde_json::{Value, json};

use crate::support::{Ask, ISSUER, OTHER_SIGNER, SIGNER, START_MS, Scene, claims, token};

const NOW_S: u64 = START_MS / 1_000;

/// A token of these claims under this header.
fn signed(header: Header, claims: &Value, key: &EncodingKey) -> String {
    let header = Header { kid: header.kid.or(Some(SIGNER.kid.to_owned())), ..header };
    jsonwebtoken::encode(&header, claims, key).unwrap()
}

/// A token with this header text, the usual claims and this signature.
fn raw(header: &Value, signature: &str) -> String {
    let part = |value: &Value| base64url(value.to_string().as_bytes());
    format!("{}.{}.{signature}", part(header), part(&claims(json!({}))))
}

fn base64url(bytes: &[u8]) -> String {
    // jsonwebtoken's own encoder, by way of a JWK.
    let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&EncodingKey::from_secret(bytes), Algorithm::HS256).unwrap();
    serde_json::to_value(jwk).unwrap()["k"].as_str().unwrap().to_owned()
}

fn swapped_payload() -> String {
    let (mine, other) = (token(json!({})), token(json!({"sub": "somebody-else"})));
    let (mine, other): (Vec<&str>, Vec<&str>) = (mine.split('.').collect(), other.split('.').collect());
    format!("{}.{}.{}", mine[0], other[1], mine[2])
}

#[tokio::test(start_paused = true)]
async fn no_other_token_than_a_good_one_is_believed() {
    let scene = Scene::new();
    // The classic confusion: the issuer's public key as the secret of an HMAC, in each form that it is known in.
    let modulus = SIGNER.jwk["n"].as_str().unwrap();
    let public = DecodingKey::from_rsa_components(modulus, SIGNER.jwk["e"].as_str().unwrap()).unwrap();
    assert_eq!(public.family(), jsonwebtoken::AlgorithmFamily::Rsa);
    let hmac =
        |secret: &[u8]| signed(Header::new(Algorithm::HS256), &claims(json!({})), &EncodingKey::from_secret(secret));
    let rs512 = signed(Header::new(Algorithm::RS512), &claims(json!({})), &SIGNER.key);
    let with = |over: Value| token(over);
    let table = [
        ("no token at all", String::new(), "token_missing"),
        ("nonsense", "nonsense".to_owned(), "token_invalid"),
        ("two parts", "a.b".to_owned(), "token_invalid"),
        ("a very long token", "a".repeat(9_000), "token_invalid"),
        ("alg none", raw(&json!({"alg": "none", "typ": "JWT", "kid": SIGNER.kid}), ""), "token_invalid"),
        ("alg None", raw(&json!({"alg": "None", "kid": SIGNER.kid}), ""), "token_invalid"),
        ("no alg", raw(&json!({"kid": SIGNER.kid}), "AAAA"), "token_invalid"),
        ("RS256 unsigned", raw(&json!({"alg": "RS256", "kid": SIGNER.kid}), ""), "token_invalid"),
        ("HS256 with the public key", hmac(modulus.as_bytes()), "token_invalid"),
        ("HS256 with the public JWK", hmac(SIGNER.jwk.to_string().as_bytes()), "token_invalid"),
        (
            "an unknown critical header",
            signed(
                Header { crit: Some(vec!["b64".to_owned()]), ..Header::new(Algorithm::RS256) },
                &claims(json!({})),
                &SIGNER.key,
            ),
            "token_invalid",
        ),
        ("PS256", signed(Header::new(Algorithm::PS256), &claims(json!({})), &SIGNER.key), "token_invalid"),
        (
            "no kid",
            jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims(json!({})), &SIGNER.key).unwrap(),
            "token_invalid",
        ),
        ("an unknown kid", OTHER_SIGNER.sign(&claims(json!({}))), "token_invalid"),
        (
            "another key under a known kid",
            signed(Header::new(Algorithm::RS256), &claims(json!({})), &OTHER_SIGNER.key),
            "token_invalid",
        ),
        (
            "a key of its own in the header",
            signed(
                Header { jwk: serde_json::from_value(OTHER_SIGNER.jwk.clone()).ok(), ..Header::new(Algorithm::RS256) },
                &claims(json!({})),
                &OTHER_SIGNER.key,
            ),
            "token_invalid",
        ),
        ("another payload", swapped_payload(), "token_invalid"),
        ("expired", with(json!({"exp": NOW_S - 1})), "token_expired"),
        ("expiring now", with(json!({"exp": NOW_S})), "token_expired"),
        ("expiring never", with(json!({"exp": null})), "token_invalid"),
        ("exp as text", with(json!({"exp": "never"})), "token_invalid"),
        ("not valid yet", with(json!({"nbf": NOW_S + 60})), "token_invalid"),
        ("another issuer", with(json!({"iss": "https://evil.example"})), "token_invalid"),
        ("an issuer that begins alike", with(json!({"iss": format!("{ISSUER}.evil.example")})), "token_invalid"),
        ("no issuer", with(json!({"iss": null})), "token_invalid"),
        ("another audience", with(json!({"aud": "elsewhere"})), "token_invalid"),
        ("other audiences", with(json!({"aud": ["elsewhere", "there"]})), "token_invalid"),
        ("no audience", with(json!({"aud": null})), "token_invalid"),
        ("an empty audience", with(json!({"aud": []})), "token_invalid"),
        ("no sub", with(json!({"sub": null})), "token_invalid"),
        ("an empty sub", with(json!({"sub": ""})), "token_invalid"),
        ("a sub with bidi", with(json!({"sub": "a\u{202e}b"})), "token_invalid"),
        ("a sub that is a number", with(json!({"sub": 1})), "token_invalid"),
        ("no tenant", with(json!({"tenant": null})), "token_invalid"),
        ("a tenant with a space", with(json!({"tenant": "a b"})), "token_invalid"),
        ("a long tenant", with(json!({"tenant": "t".repeat(129)})), "token_invalid"),
        ("no max_lane", with(json!({"max_lane": null})), "token_invalid"),
        ("an unknown max_lane", with(json!({"max_lane": "turbo"})), "token_invalid"),
    ];
    for (what, token, code) in table {
        let reply = scene.ask(Ask::open("GET", "/orders").bearer(&token)).await;
        assert_eq!((reply.status.as_u16(), reply.code()), (401, code), "{what}: {}", reply.text);
        assert!(reply.header("www-authenticate").starts_with("Bearer"), "{what}");
        assert_eq!(scene.world.touches.load(std::sync::atomic::Ordering::Relaxed), 0, "{what}");
    }
    for (what, token) in [
        ("the usual", with(json!({}))),
        ("audiences", with(json!({"aud": ["elsewhere", "orderflow"]}))),
        ("expiring in a second", with(json!({"exp": NOW_S + 1}))),
        ("expiring in half a second", with(json!({"exp": NOW_S as f64 + 0.5}))),
        ("valid from now on", with(json!({"nbf": NOW_S}))),
        ("from an issuer whose clock is ahead", with(json!({"nbf": NOW_S + 5}))),
        ("claims that are not ours", with(json!({"scope": "openid", "email": "ada@example.com"}))),
        ("RS512", rs512),
    ] {
        let reply = scene.ask(Ask::open("GET", "/orders").bearer(&token)).await;
        assert_eq!(reply.status, 200, "{what}: {}", reply.text);
    }
    let lower = Ask::open("GET", "/orders").header("authorization", &format!("bearer  {} ", token(json!({}))));
    assert_eq!(scene.ask(lower).await.status, 200);
}
