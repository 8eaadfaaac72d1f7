//! Tokens: a verifier that knows only the issuer's address can check them.

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use crate::support::{Answer, World, sandbox};

async fn ask(world: &World, body: &Value) -> Answer {
    let url = format!("{}/auth/token", world.call.base);
    Answer::of(world.call.client.post(url).json(body).send().await.unwrap()).await
}

async fn verify(world: &World, token: &str, audience: &str) -> Result<Value, jsonwebtoken::errors::Error> {
    let configuration = world.call.get("/auth/.well-known/openid-configuration").await.expect(200);
    let issuer = configuration.text("/issuer").to_owned();
    assert_eq!(issuer, world.running().issuer());
    let keys = world.call.client.get(configuration.text("/jwks_uri")).send().await.unwrap();
    let keys: JwkSet = keys.json().await.unwrap();
    let kid = jsonwebtoken::decode_header(token)?.kid.unwrap();
    let key = DecodingKey::from_jwk(keys.find(&kid).unwrap())?;
    let mut validation = Validation::new(Algorithm::RS256);
    validation.leeway = 0;
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[audience]);
    Ok(jsonwebtoken::decode::<Value>(token, &key, &validation)?.claims)
}

#[tokio::test]
async fn a_token_says_what_was_asked_and_verifies() {
    let world = sandbox().await;
    let asked = json!({ "customer": "c1", "tenant": "t1", "max_lane": "standard" });
    let answer = ask(&world, &asked).await.expect(200);
    assert_eq!((answer.text("/token_type"), &answer.body["expires_in"]), ("Bearer", &3600.into()));
    let claims = verify(&world, answer.text("/access_token"), "orderflow").await.unwrap();
    assert_eq!(
        (&claims["sub"], &claims["tenant"], &claims["max_lane"]),
        (&json!("c1"), &json!("t1"), &json!("standard"))
    );
}

#[tokio::test]
async fn a_form_works_as_well_and_the_audience_can_be_another() {
    let world = sandbox().await;
    let url = format!("{}/auth/token", world.call.base);
    let form = [("customer", "c 1"), ("tenant", "t1"), ("ttl_seconds", "60"), ("audience", "other")];
    let answer = Answer::of(world.call.client.post(url).form(&form).send().await.unwrap()).await.expect(200);
    let claims = verify(&world, answer.text("/access_token"), "other").await.unwrap();
    assert_eq!((&claims["sub"], &claims["max_lane"]), (&json!("c 1"), &json!("express")));
    assert!(verify(&world, answer.text("/access_token"), "orderflow").await.is_err());
}

#[tokio::test]
async fn a_negative_ttl_gives_an_expired_token() {
    let world = sandbox().await;
    let asked = json!({ "customer": "c1", "tenant": "t1", "ttl_seconds": -10 });
    let answer = ask(&world, &asked).await.expect(200);
    let error = verify(&world, answer.text("/access_token"), "orderflow").await.unwrap_err();
    assert_eq!(error.kind(), &jsonwebtoken::errors::ErrorKind::ExpiredSignature);
}

#[tokio::test]
async fn a_token_outlives_a_restart() {
    let world = sandbox().await;
    let answer = ask(&world, &json!({ "customer": "c1", "tenant": "t1" })).await.expect(200);
    let world = world.restart().await;
    verify(&world, answer.text("/access_token"), "orderflow").await.unwrap();
}

#[tokio::test]
async fn a_token_request_without_a_customer_is_refused() {
    let world = sandbox().await;
    let cases = [json!({ "tenant": "t1" }), json!({ "customer": "c", "tenant": "t", "max_lane": "first" }), json!([])];
    for asked in cases {
        assert_eq!(ask(&world, &asked).await.expect(400).text("/error"), "invalid_request");
    }
}
