//! The rule of the first byte, on raw sockets: only what failed while connecting did surely not run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::time::Duration;

use ports::{Captured, Carrier as _, Payments as _, ProviderError};
use providers::{HttpCarrier, STRIPE_VERSION, Stripe};
use serde_json::{Value, json};
use support::stub::{Act, Stub};
use support::{KEY, order_id, payment, payment_id, secret, shipment_request, usd};

/// Long enough for any answer that comes at all.
const LONG: Duration = Duration::from_secs(5);
/// Short enough to sit out.
const SHORT: Duration = Duration::from_millis(300);
const CALLS: usize = 8;

/// The `index`th of all calls there are, made to one provider.
async fn call(url: &str, index: usize) -> Result<(), ProviderError> {
    call_within(url, index, LONG).await
}

async fn call_within(url: &str, index: usize, timeout: Duration) -> Result<(), ProviderError> {
    let stripe = Stripe::new(url, secret()).unwrap().with_timeout(timeout);
    let carrier = HttpCarrier::new(url, secret()).unwrap().with_timeout(timeout);
    let id = payment_id("pi_1");
    match index {
        0 => stripe.create_payment("k", &payment(usd(900), "pm_card_visa")).await.map(|_| ()),
        1 => stripe.confirm_payment("k", &id).await.map(|_| ()),
        2 => stripe.capture_payment("k", &id, usd(900)).await.map(|_| ()),
        3 => stripe.cancel_payment("k", &id).await.map(|_| ()),
        4 => stripe.refund_payment("k", &id, order_id(), 0, usd(900)).await.map(|_| ()),
        5 => stripe.look_up_payment(&id).await.map(|_| ()),
        6 => carrier.create_shipment(&shipment_request()).await.map(|_| ()),
        _ => carrier.look_up_shipment(order_id()).await.map(|_| ()),
    }
}

fn http(status: &str, length: usize, body: &str) -> Act {
    Act::say(&format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"))
}

#[tokio::test]
async fn from_the_first_byte_on_every_failure_is_unknown() {
    let huge = "x".repeat(3 * 1024 * 1024);
    let acts = [
        ("accepts and closes", Act::Close),
        ("reads and closes", Act::ReadAndClose),
        ("reads and resets", Act::ReadAndReset),
        ("reads and hangs", Act::ReadAndHang),
        ("answers garbage", Act::say("220 mail.example ESMTP\r\n\r\n")),
        ("answers half a head", Act::say("HTTP/1.1 200 OK\r\ncontent-le")),
        ("answers half a body", http("200 OK", 500, "{\"id\":\"pi_1\",")),
        ("answers half a refusal", http("400 Bad Request", 500, "{\"error\":{")),
        ("answers nothing in 200", http("200 OK", 0, "")),
        ("answers a page in 200", http("200 OK", 13, "<html></html>")),
        ("answers another object in 200", http("200 OK", 15, "{\"object\":\"no\"}")),
        (
            "answers negative money",
            http(
                "200 OK",
                70,
                "{\"id\":\"pi_1\",\"status\":\"succeeded\",\"amount\":-900,\"currency\":\"usd\",\"a\":0}",
            ),
        ),
        ("answers without an end", http("200 OK", huge.len(), &huge)),
        ("redirects", http("307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/", 0, "")),
        ("gives up waiting", http("408 Request Timeout", 0, "")),
        ("is broken", http("500 Internal Server Error", 0, "")),
        ("is a gateway without a provider", http("502 Bad Gateway", 0, "")),
        ("is overloaded, it says", http("503 Service Unavailable\r\nretry-after: 1", 0, "")),
        ("is a gateway that waited", http("504 Gateway Timeout", 0, "")),
        ("says 409 without a word", http("409 Conflict", 0, "")),
    ];
    for (what, act) in acts {
        for index in 0..CALLS {
            let stub = Stub::new(vec![act.clone()]).await;
            let timeout = if matches!(act, Act::ReadAndHang) { SHORT } else { LONG };
            let answer = call_within(&stub.url(), index, timeout).await;
            assert!(
                matches!(answer, Err(ProviderError::Unknown { .. })),
                "a provider that {what}, call {index}: {answer:?}"
            );
            let sent = stub.requests().len();
            assert!(sent <= 1, "a provider that {what}, call {index}: sent {sent} times");
        }
    }
}

#[tokio::test]
async fn a_call_that_got_no_connection_did_not_run() {
    for index in 0..CALLS {
        let answer = call(&format!("http://127.0.0.1:{}", support::closed_port()), index).await;
        assert!(matches!(answer, Err(ProviderError::NotRun { .. })), "call {index}: {answer:?}");
    }
}

#[tokio::test]
async fn a_failed_tls_handshake_did_not_run_as_nothing_of_the_request_was_sent() {
    for index in 0..CALLS {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut hello = vec![0; 4096];
            let read = stream.read(&mut hello).await.unwrap();
            hello.truncate(read);
            stream.write_all(b"HTTP/1.1 400 this is not TLS\r\n\r\n").await.unwrap();
            hello
        });
        let answer = call(&url, index).await;
        assert!(matches!(answer, Err(ProviderError::NotRun { .. })), "call {index}: {answer:?}");
        let sent = server.await.unwrap();
        assert_eq!(sent[0], 0x16, "a TLS handshake and nothing else");
        assert!(!String::from_utf8_lossy(&sent).contains(KEY));
    }
}

#[tokio::test]
async fn a_request_lost_on_a_connection_in_use_is_not_sent_again() {
    let held = json!({ "id": "pi_1", "status": "requires_capture", "amount": 900, "amount_capturable": 900, "currency": "usd" });
    for lost in [Act::ReadAndClose, Act::ReadAndReset] {
        let stub = Stub::new(vec![Act::answer(200, &held), lost]).await;
        let stripe = Stripe::new(&stub.url(), secret()).unwrap();
        stripe.confirm_payment("k/1", &payment_id("pi_1")).await.unwrap();
        let answer = stripe.capture_payment("k/2", &payment_id("pi_1"), usd(900)).await;
        assert!(matches!(answer, Err(ProviderError::Unknown { .. })), "{answer:?}");
        let sent: Vec<String> = stub.requests();
        assert_eq!(sent.len(), 2, "the connection was used twice and the request not repeated: {sent:?}");
    }
}

#[tokio::test]
async fn every_request_carries_key_version_and_idempotency_key_and_its_parameters() {
    let made = json!({ "id": "pi_1", "status": "requires_confirmation", "amount": 900, "currency": "usd", "capture_method": "manual" });
    let stub = Stub::new(vec![Act::answer(200, &made)]).await;
    let stripe = Stripe::new(&stub.url(), secret()).unwrap();
    stripe.create_payment("payment#o/authorize#0/1/create", &payment(usd(900), "pm_card_visa")).await.unwrap();
    let sent = stub.requests().remove(0);
    let (head, body) = sent.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /v1/payment_intents HTTP/1.1\r\n"), "{head}");
    for header in [
        format!("authorization: Bearer {KEY}"),
        format!("stripe-version: {STRIPE_VERSION}"),
        "idempotency-key: payment#o/authorize#0/1/create".to_owned(),
        "content-type: application/x-www-form-urlencoded".to_owned(),
    ] {
        assert!(head.lines().any(|line| line == header), "{header} in {head}");
    }
    assert_eq!(
        body,
        format!(
            "amount=900&currency=usd&capture_method=manual&payment_method_types%5B%5D=card&metadata%5Border_id%5D={}\
             &payment_method=pm_card_visa",
            support::ORDER
        )
    );
}

/// What a payment looks like in an answer.
fn intent(status: &str, change: Value) -> Value {
    let mut intent = json!({
        "id": "pi_1", "status": status, "amount": 900, "amount_capturable": 0, "amount_received": 0, "currency": "usd",
        "capture_method": "manual",
    });
    intent.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    intent
}

fn refusal(change: Value) -> Value {
    let mut error = json!({ "type": "invalid_request_error", "message": "names ada@example.com" });
    error.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    json!({ "error": error })
}

#[tokio::test]
async fn an_answer_of_another_amount_is_never_success() {
    for (index, status, answer, expected) in [
        (0, 200, intent("requires_confirmation", json!({ "amount": 901 })), "Refused"),
        (0, 200, intent("requires_confirmation", json!({ "currency": "eur" })), "Refused"),
        (0, 200, intent("requires_confirmation", json!({ "capture_method": "automatic_async" })), "Refused"),
        (0, 200, intent("requires_confirmation", json!({ "capture_method": null })), "Refused"),
        (0, 200, intent("succeeded", json!({})), "Refused"),
        (1, 200, intent("requires_capture", json!({ "amount_capturable": 800 })), "WrongState"),
        (1, 200, intent("requires_capture", json!({ "amount_capturable": null })), "WrongState"),
        (1, 200, intent("succeeded", json!({ "amount_received": 900 })), "WrongState"),
        (1, 200, intent("processing", json!({})), "WrongState"),
        (2, 200, intent("succeeded", json!({ "amount_received": 899 })), "WrongState"),
        (2, 200, intent("succeeded", json!({ "amount_received": 900, "currency": "eur" })), "WrongState"),
        (2, 200, intent("processing", json!({})), "WrongState"),
        (3, 200, intent("requires_capture", json!({})), "WrongState"),
        (4, 200, json!({ "id": "re_1", "amount": 899, "currency": "usd", "status": "succeeded" }), "WrongState"),
        (4, 200, json!({ "id": "re_1", "amount": 900, "currency": "eur", "status": "succeeded" }), "WrongState"),
        (4, 200, json!({ "id": "re_1", "amount": 900, "currency": "usd", "status": "failed" }), "WrongState"),
        (5, 200, intent("requires_confirmation", json!({ "id": "pi_2" })), "Unknown"),
        (5, 200, intent("requires_confirmation", json!({ "currency": "nosuch" })), "Unknown"),
        (5, 200, intent("quite_new", json!({})), "Unknown"),
    ] {
        expect(index, status, &answer, expected).await;
    }
}

#[tokio::test]
async fn a_refusal_says_whether_to_look_again_or_to_mend_the_program() {
    for (index, status, answer, expected) in [
        (1, 429, refusal(json!({ "code": "rate_limit" })), "Throttled"),
        (1, 429, refusal(json!({ "code": "lock_timeout" })), "Unknown"),
        (1, 429, json!("too many"), "Throttled"),
        (4, 409, refusal(json!({ "type": "idempotency_error" })), "Unknown"),
        (4, 400, refusal(json!({ "type": "idempotency_error" })), "Unknown"),
        (1, 402, json!("no"), "Unknown"),
        (1, 400, json!("no"), "Refused"),
        // `amount_too_small` is an answer, see tests/stripe.rs; too large cannot come, as totals are bounded.
        (0, 400, refusal(json!({ "code": "amount_too_large", "param": "amount" })), "Refused"),
        (1, 400, refusal(json!({ "code": "payment_intent_unexpected_state" })), "WrongState"),
        (2, 400, refusal(json!({ "code": "payment_intent_unexpected_state" })), "WrongState"),
        (
            2,
            400,
            refusal(
                json!({ "code": "payment_intent_unexpected_state", "payment_intent": intent("processing", json!({})) }),
            ),
            "WrongState",
        ),
        (2, 402, refusal(json!({ "type": "card_error", "code": "card_declined" })), "WrongState"),
        (2, 400, refusal(json!({ "code": "parameter_unknown" })), "Refused"),
        (3, 400, refusal(json!({ "code": "payment_intent_unexpected_state" })), "WrongState"),
        (3, 400, refusal(json!({})), "Refused"),
        (4, 400, refusal(json!({ "code": "charge_disputed" })), "WrongState"),
        (4, 400, refusal(json!({ "code": "parameter_unknown" })), "Refused"),
        (5, 404, refusal(json!({ "code": "resource_missing" })), "Refused"),
        (1, 401, refusal(json!({})), "Refused"),
        (1, 403, refusal(json!({})), "Refused"),
        (4, 500, refusal(json!({ "type": "api_error" })), "Failed"),
        (4, 500, refusal(json!({ "type": null })), "Unknown"),
        (4, 500, json!("a gateway's page"), "Unknown"),
        (4, 503, refusal(json!({ "type": "api_error" })), "Unknown"),
        (6, 500, refusal(json!({ "type": "api_error" })), "Unknown"),
        (6, 422, json!({ "code": "invalid" }), "Refused"),
        (6, 409, json!({ "code": "reference_conflict" }), "Refused"),
        (6, 409, json!({ "code": "in_progress" }), "Unknown"),
        (6, 429, json!({ "code": "rate_limited" }), "Throttled"),
        (6, 401, json!({}), "Refused"),
    ] {
        expect(index, status, &answer, expected).await;
    }
}

async fn expect(index: usize, status: u16, answer: &Value, expected: &str) {
    let stub = Stub::new(vec![Act::answer(status, answer)]).await;
    let error = call(&stub.url(), index).await.expect_err(&format!("call {index} {answer}"));
    let name = match &error {
        ProviderError::NotRun { .. } => "NotRun",
        ProviderError::Throttled { retry_after, .. } => {
            assert_eq!(*retry_after, Some(Duration::from_secs(3)), "call {index} {answer}");
            "Throttled"
        }
        ProviderError::Unknown { .. } => "Unknown",
        ProviderError::Failed { .. } => "Failed",
        ProviderError::WrongState { .. } => "WrongState",
        ProviderError::Refused { .. } => "Refused",
    };
    assert_eq!(name, expected, "call {index}, {status} {answer}: {error}");
    assert!(!error.to_string().contains("ada@"), "{error}");
}

#[tokio::test]
async fn codes_of_an_expired_hold_are_gone_even_without_the_payment() {
    for code in ["charge_expired_for_capture", "capture_charge_authorization_expired"] {
        let stub = Stub::new(vec![Act::answer(400, &refusal(json!({ "code": code })))]).await;
        let stripe = Stripe::new(&stub.url(), secret()).unwrap();
        let answer = stripe.capture_payment("k", &payment_id("pi_1"), usd(900)).await;
        assert!(matches!(answer, Ok(Captured::Gone { .. })), "{code}: {answer:?}");
    }
}

#[tokio::test]
async fn a_look_up_that_does_not_end_is_given_up() {
    let paid = intent("succeeded", json!({ "amount_received": 900 }));
    let refund = json!({ "id": "re_1", "amount": 1, "currency": "usd", "status": "succeeded" });
    for page in [json!({ "data": [], "has_more": true }), json!({ "data": [refund], "has_more": true })] {
        let stub = Stub::new(vec![Act::answer(200, &paid), Act::answer(200, &page)]).await;
        let answer = call(&stub.url(), 5).await;
        assert!(matches!(answer, Err(ProviderError::Unknown { .. })), "{answer:?}");
        assert!(stub.requests().len() <= 7, "{}", stub.requests().len());
    }
}
