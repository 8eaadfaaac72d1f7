//! The API over real HTTP: what it refuses, it refuses without effect and says so in a form that programs can read.

use order::{Lane, OrderId};
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use serde_json::{Value, json};
use tests::api::{Answer, Who};
use uuid::Uuid;

use crate::shop::Shop;

fn is_problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{}", answer.text);
    assert!(answer.header("content-type").starts_with("application/problem+json"), "{:?}", answer.headers);
    assert_eq!(answer.body["status"], status);
    assert!(answer.body["type"].as_str().unwrap().ends_with(code));
    assert!(!answer.body["title"].as_str().unwrap().is_empty());
}

async fn rows_of(shop: &Shop) -> anyhow::Result<usize> {
    let rows = shop.d.tables.orders().await?;
    Ok(rows.iter().filter(|row| row.order.tenant.as_str() == shop.who.tenant).count())
}

#[tokio::test]
async fn nobody_without_a_good_token_gets_in() -> anyhow::Result<()> {
    let shop = Shop::open("tokens").await?;
    let who = json!({ "tenant": shop.who.tenant, "customer": shop.who.customer });
    let with = |name: &str, value: Value| {
        let mut claims = who.clone();
        claims[name] = value;
        claims
    };
    let expired = shop.d.api.issue(&with("ttl_seconds", (-60).into())).await?;
    let for_others = shop.d.api.issue(&with("audience", "somebody-else".into())).await?;
    let mut forged = shop.d.api.token(&shop.who).await?;
    forged.truncate(forged.len() - 8);
    for token in [None, Some(expired), Some(for_others), Some(forged), Some("nonsense".to_owned())] {
        for (method, path) in [
            (Method::GET, "/orders".to_owned()),
            (Method::POST, "/orders".to_owned()),
            (Method::GET, format!("/orders/{}", Uuid::nil())),
            (Method::POST, format!("/orders/{}/cancel", Uuid::nil())),
        ] {
            let mut request = shop.d.api.request(method, &path).header("idempotency-key", "k");
            request = request.header("content-type", "application/json").body(shop.body(Lane::Express).to_string());
            if let Some(token) = &token {
                request = request.header(AUTHORIZATION, format!("Bearer {token}"));
            }
            let answer = shop.d.api.send(request).await?;
            assert_eq!(answer.status, 401, "{path}: {}", answer.text);
        }
    }
    assert_eq!(rows_of(&shop).await?, 0);
    let health = shop.d.api.send(shop.d.api.request(Method::GET, "/healthz")).await?;
    assert_eq!(health.status, 200, "health needs no token");
    shop.close().await
}

#[tokio::test]
async fn a_lane_above_the_tokens_is_refused() -> anyhow::Result<()> {
    let shop = Shop::open("lanes").await?;
    let who = Who { max_lane: Lane::Standard, ..shop.who.clone() };
    let answer = shop.d.api.place(&who, "key", &shop.body(Lane::Express)).await?;
    is_problem(&answer, 403, "lane_not_allowed");
    assert_eq!(rows_of(&shop).await?, 0);
    shop.close().await
}

#[tokio::test]
async fn somebody_elses_order_is_not_there() -> anyhow::Result<()> {
    let shop = Shop::open("not-yours").await?;
    let id = shop.order("key", &shop.body(Lane::Express)).await?;
    for stranger in [Who::new(shop.who.tenant.as_str(), "bob"), Who::new("another-shop", shop.who.customer.as_str())] {
        is_problem(&shop.d.api.read(&stranger, id).await?, 404, "order_not_found");
        is_problem(&shop.d.api.cancel(&stranger, id).await?, 404, "order_not_found");
        is_problem(&shop.d.api.refund(&stranger, id, "k", Some(1)).await?, 404, "order_not_found");
        let listed = shop.d.api.get(&stranger, "/orders").await?;
        assert!(!listed.text.contains(&id.to_string()), "{}", listed.text);
    }
    is_problem(&shop.d.api.read(&shop.who, OrderId::from(Uuid::nil())).await?, 404, "order_not_found");
    let order = shop.ended(id).await?.order;
    assert!(!order.cancel_requested && order.refunds.is_empty());
    shop.close().await
}

#[tokio::test]
async fn bad_requests_are_answered_as_documented_and_leave_nothing_behind() -> anyhow::Result<()> {
    let shop = Shop::open("bad-requests").await?;
    let good = shop.body(Lane::Express);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut body = good.clone();
        change(&mut body);
        body.to_string().into_bytes()
    };
    let line = |quantity: Value| with(&|body| body["lines"] = json!([{ "sku": "a", "quantity": quantity }]));
    let lines = |count: usize| {
        let lines: Vec<Value> = (0..count).map(|at| json!({ "sku": format!("sku-{at}"), "quantity": 1 })).collect();
        with(&|body| body["lines"] = lines.clone().into())
    };
    let text = good.to_string();
    let key_then = |rest: &str| text.replacen('{', &format!("{{{rest},"), 1).into_bytes();
    let bodies: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("nothing", Vec::new(), 400, "malformed_json"),
        ("truncated", text.as_bytes()[..text.len() - 2].to_vec(), 400, "malformed_json"),
        ("trailing bytes", format!("{text}x").into_bytes(), 400, "malformed_json"),
        ("a byte order mark", format!("\u{feff}{text}").into_bytes(), 400, "malformed_json"),
        ("a lone surrogate", text.replace("Ann", "\\ud800").into_bytes(), 400, "malformed_json"),
        ("no UTF-8", [text.as_bytes(), b"\xff"].concat(), 400, "malformed_json"),
        ("a duplicate key", key_then(r#""email":"a@b.test""#), 400, "duplicate_key"),
        ("too deep", key_then(&format!(r#""x":{}{}"#, "[".repeat(40), "]".repeat(40))), 400, "too_deep"),
        ("an array", format!("[{text}]").into_bytes(), 400, "wrong_type"),
        ("an unknown field", key_then(r#""price":1"#), 400, "unknown_field"),
        ("quantity 0", line(0.into()), 400, "invalid_quantity"),
        ("quantity 10,000", line(10_000.into()), 400, "invalid_quantity"),
        ("no lines", lines(0), 400, "invalid_line_count"),
        ("51 lines", lines(51), 400, "invalid_line_count"),
        (
            "one SKU twice",
            with(&|body| body["lines"] = json!([{ "sku": "a", "quantity": 1 }, { "sku": "a", "quantity": 1 }])),
            400,
            "duplicate_sku",
        ),
        ("an unknown currency", with(&|body| body["currency"] = "ZZZ".into()), 400, "unknown_currency"),
        ("an unknown lane", with(&|body| body["lane"] = "teleport".into()), 400, "unknown_lane"),
        ("a bidi control in a name", with(&|body| body["ship_to"]["name"] = "A\u{202e}B".into()), 400, "invalid_text"),
        ("no e-mail", with(&|body| drop(body.as_object_mut().unwrap().remove("email"))), 400, "missing_field"),
        ("over 64 KiB", format!("{text}{}", " ".repeat(65 * 1024)).into_bytes(), 413, "body_too_large"),
    ];
    for (at, (what, body, status, code)) in bodies.into_iter().enumerate() {
        let key = format!("key-{at}");
        let headers = [("idempotency-key", key.as_str()), ("content-type", "application/json")];
        let answer = shop.d.api.place_raw(&shop.who, &headers, body).await?;
        assert_eq!((answer.status, answer.code()), (status, code), "{what}: {}", answer.text);
        is_problem(&answer, status, code);
    }
    let half = line(json!(1.5));
    let headers = [("idempotency-key", "half"), ("content-type", "application/json")];
    assert_eq!(shop.d.api.place_raw(&shop.who, &headers, half).await?.status, 400, "half a piece");

    let long = "k".repeat(256);
    for (what, headers, status, code) in [
        ("no key", vec![("content-type", "application/json")], 400, "idempotency_key_missing"),
        (
            "too long a key",
            vec![("content-type", "application/json"), ("idempotency-key", long.as_str())],
            400,
            "idempotency_key_invalid",
        ),
        ("no type", vec![("idempotency-key", "k")], 415, "unsupported_media_type"),
        ("another type", vec![("idempotency-key", "k"), ("content-type", "text/plain")], 415, "unsupported_media_type"),
    ] {
        let answer = shop.d.api.place_raw(&shop.who, &headers, text.clone()).await?;
        assert_eq!((answer.status, answer.code()), (status, code), "{what}: {}", answer.text);
    }
    assert_eq!(rows_of(&shop).await?, 0);
    shop.close().await
}

#[tokio::test]
async fn a_customer_pages_through_their_orders_newest_first() -> anyhow::Result<()> {
    let shop = Shop::open("paging").await?;
    let mut placed = Vec::new();
    for at in 0..5 {
        placed.push(shop.order(&format!("key-{at}"), &shop.body(Lane::Express)).await?.to_string());
    }
    let mut listed = Vec::new();
    let mut path = "/orders?limit=2".to_owned();
    for pages in 1.. {
        let page = shop.d.api.get(&shop.who, &path).await?;
        assert_eq!(page.status, 200, "{}", page.text);
        let orders = page.body["orders"].as_array().unwrap();
        assert!(orders.len() <= 2);
        listed.extend(orders.iter().map(|order| order["order_id"].as_str().unwrap().to_owned()));
        let Some(next) = page.body["next"].as_str() else { break };
        assert!(pages < 5, "it does not end");
        path = format!("/orders?limit=2&cursor={next}");
    }
    placed.reverse();
    assert_eq!(listed, placed);
    is_problem(&shop.d.api.get(&shop.who, "/orders?limit=0").await?, 400, "invalid_query");
    is_problem(&shop.d.api.get(&shop.who, "/orders?cursor=nonsense").await?, 400, "invalid_cursor");
    shop.close().await
}

#[tokio::test]
async fn answers_hold_no_customer_data_and_are_not_cached() -> anyhow::Result<()> {
    let shop = Shop::open("privacy").await?;
    let id = shop.order("key", &shop.body(Lane::Express)).await?;
    shop.ended(id).await?;
    let answer = shop.d.api.read(&shop.who, id).await?;
    let headers: &HeaderMap = &answer.headers;
    assert_eq!(headers["cache-control"], "no-store");
    for private in [shop.email.as_str(), "Long Road", "pm_card_visa"] {
        assert!(!answer.text.contains(private), "{private}");
    }
    // Nor do the logs.
    for function in orderflow::stack::FUNCTIONS {
        for line in shop.d.logs.messages(function, "", 0).await? {
            for private in [shop.email.as_str(), "Long Road", "pm_card_", "sk_test_local", "carrier_local"] {
                assert!(!line.contains(private), "{function} logged {private}: {line}");
            }
        }
    }
    shop.close().await
}
