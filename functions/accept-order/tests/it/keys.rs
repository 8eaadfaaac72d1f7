//! The issuer's keys: kept, rotated, missing.

use std::time::Duration;

use accept_order::{FetchKeys as _, HttpKeys};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Ask, OTHER_SIGNER, SIGNER, Scene, Signer, claims};

fn list(signer: &Signer) -> Ask {
    // Valid for a day: these tests let hours pass.
    let exp = claims(json!({}))["exp"].as_u64().unwrap() + 86_400;
    Ask::open("GET", "/orders").bearer(&signer.sign(&claims(json!({"exp": exp}))))
}

async fn pass(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_once_and_again_when_they_are_old() {
    let scene = Scene::new();
    for _ in 0..5 {
        assert_eq!(scene.ask(list(&SIGNER)).await.status, 200);
    }
    assert_eq!(scene.keys.fetches(), 1);
    pass(599).await;
    assert_eq!(scene.ask(list(&SIGNER)).await.status, 200);
    assert_eq!(scene.keys.fetches(), 1);
    pass(1).await;
    assert_eq!(scene.ask(list(&SIGNER)).await.status, 200);
    assert_eq!(scene.keys.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_fetched_when_a_token_names_it_and_an_old_one_is_forgotten() {
    let scene = Scene::new();
    assert_eq!(scene.ask(list(&SIGNER)).await.status, 200);
    scene.keys.publish(&[&OTHER_SIGNER.jwk]);
    pass(10).await;
    assert_eq!(scene.ask(list(&OTHER_SIGNER)).await.status, 200);
    assert_eq!(scene.keys.fetches(), 2);
    scene.ask(list(&SIGNER)).await.is_problem(401, "token_invalid");
}

#[tokio::test(start_paused = true)]
async fn tokens_that_name_no_key_do_not_make_it_fetch_all_the_time() {
    let scene = Scene::new();
    for _ in 0..100 {
        scene.ask(list(&OTHER_SIGNER)).await.is_problem(401, "token_invalid");
    }
    assert_eq!(scene.keys.fetches(), 1);
    pass(10).await;
    scene.ask(list(&OTHER_SIGNER)).await.is_problem(401, "token_invalid");
    assert_eq!(scene.keys.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_was_never_reached_is_503_and_asked_again_a_second_later() {
    let scene = Scene::new();
    scene.keys.go_away();
    for _ in 0..3 {
        let reply = scene.ask(list(&SIGNER)).await;
        reply.is_problem(503, "keys_unavailable");
        assert_eq!(reply.header("retry-after"), "2");
    }
    assert_eq!(scene.keys.fetches(), 1);
    scene.keys.publish(&[&SIGNER.jwk]);
    pass(1).await;
    assert_eq!(scene.ask(list(&SIGNER)).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn keys_stay_good_for_two_hours_without_their_issuer() {
    let scene = Scene::new();
    assert_eq!(scene.ask(list(&SIGNER)).await.status, 200);
    scene.keys.go_away();
    pass(7_199).await;
    assert_eq!(scene.ask(list(&SIGNER)).await.status, 200);
    assert_eq!(scene.keys.fetches(), 2);
    // Whether there is a new key by now, nobody can say.
    scene.ask(list(&OTHER_SIGNER)).await.is_problem(503, "keys_unavailable");
    pass(1).await;
    scene.ask(list(&SIGNER)).await.is_problem(503, "keys_unavailable");
}

#[tokio::test(start_paused = true)]
async fn a_set_is_read_over_keys_that_are_for_something_else() {
    let scene = Scene::new();
    let changed = |name: &str, value: Value| {
        let mut jwk = SIGNER.jwk.clone();
        jwk[name] = value;
        jwk
    };
    for useless in [
        changed("use", json!("enc")),
        changed("alg", json!("RS1")),
        changed("alg", json!("HS256")),
        changed("kty", json!("EC")),
        changed("n", json!("AQAB")),
        changed("n", json!("not base64!".repeat(40))),
        json!({"kty": "oct", "kid": SIGNER.kid, "k": "AAAA"}),
        json!({"kty": "RSA"}),
        json!("key"),
    ] {
        scene.keys.publish(&[&useless, &OTHER_SIGNER.jwk]);
        pass(600).await;
        scene.ask(list(&SIGNER)).await.is_problem(401, "token_invalid");
        assert_eq!(scene.ask(list(&OTHER_SIGNER)).await.status, 200, "{useless}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_no_key_set_is_as_good_as_none() {
    for answer in ["", "<html>", "[]", "{}", r#"{"keys":{}}"#] {
        let scene = Scene::new();
        scene.keys.answer_with(answer.as_bytes());
        scene.ask(list(&SIGNER)).await.is_problem(503, "keys_unavailable");
    }
}

/// Answers every connection with these bytes, on a free port of this machine; the URL and the task.
async fn serve(answer: Vec<u8>) -> (String, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/.well-known/jwks.json", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1_024];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            stream.write_all(&answer).await.unwrap();
        }
    });
    (url, task)
}

fn http_answer(status: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[tokio::test]
async fn keys_come_over_http_and_only_as_a_plain_answer_of_some_size() {
    let set = json!({"keys": [SIGNER.jwk]}).to_string().into_bytes();
    for (status, body, taken) in [
        ("200 OK", set.clone(), true),
        ("404 Not Found", set.clone(), false),
        ("302 Found\r\nlocation: /elsewhere", set.clone(), false),
        ("200 OK", vec![b' '; 300_000], false),
    ] {
        let (url, server) = serve(http_answer(status, &body)).await;
        let fetched = HttpKeys::new(url).unwrap().fetch_keys().await;
        assert_eq!(fetched.as_ref().is_ok_and(|bytes| *bytes == set), taken, "{status}: {fetched:?}");
        server.abort();
    }
}

#[tokio::test]
async fn an_issuer_that_nobody_serves_is_an_error_that_does_not_tell_where_it_is() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = HttpKeys::new(format!("http://{address}/keys")).unwrap().fetch_keys().await.unwrap_err();
    assert!(!error.to_string().contains("/keys"), "{error}");
}
