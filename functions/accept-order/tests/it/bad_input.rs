//! Everything that CONTRACTS lists as bad input: its answer, and that nothing came of it.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::support::{Ask, Scene, order_body, post_order, token};

/// The usual order with one thing changed, by JSON pointer.
fn with(pointer: &str, value: Value) -> Vec<u8> {
    let mut body = order_body();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let fields = body.pointer_mut(parent).unwrap();
    match name.parse::<usize>() {
        Ok(index) => fields[index] = value,
        Err(_) => fields[name] = value,
    }
    body.to_string().into_bytes()
}

fn without(pointer: &str) -> Vec<u8> {
    let mut body = order_body();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).unwrap();
    body.to_string().into_bytes()
}

/// The usual order's text with one piece of it replaced.
fn text(from: &str, to: &str) -> Vec<u8> {
    let body = order_body().to_string();
    assert!(body.contains(from), "{from}");
    body.replacen(from, to, 1).into_bytes()
}

fn nested(depth: usize) -> Vec<u8> {
    // The outermost object is the first level.
    text("\"lane\"", &format!("\"x\":{}{},\"lane\"", "[".repeat(depth - 1), "]".repeat(depth - 1)))
}

fn lines(count: usize) -> Value {
    (0..count).map(|number| json!({ "sku": format!("S-{number}"), "quantity": 1 })).collect()
}

fn bodies() -> Vec<(&'static str, Vec<u8>, &'static str, &'static str)> {
    let whole = order_body().to_string();
    let half = whole.as_bytes()[..whole.len() / 2].to_vec();
    let bom = ["\u{feff}".as_bytes(), whole.as_bytes()].concat();
    let mut not_utf8 = whole.clone().into_bytes();
    not_utf8[3] = 0xff;
    let long = "x".repeat(101);
    vec![
        ("an empty body", vec![], "malformed_json", ""),
        ("a truncated body", half, "malformed_json", ""),
        ("a cut number", b"{\"lines\":1".to_vec(), "malformed_json", ""),
        ("trailing bytes", format!("{whole}x").into_bytes(), "malformed_json", ""),
        ("a second value", format!("{whole}{{}}").into_bytes(), "malformed_json", ""),
        ("a byte order mark", bom, "malformed_json", ""),
        ("bytes that are not UTF-8", not_utf8, "malformed_json", ""),
        ("UTF-16", whole.encode_utf16().flat_map(u16::to_le_bytes).collect(), "malformed_json", ""),
        ("a lone leading surrogate", text("Ada", "\\ud83d"), "malformed_json", ""),
        ("a lone trailing surrogate", text("Ada", "\\ude00 x"), "malformed_json", ""),
        ("a lone surrogate in a key", text("\"lane\"", "\"\\ud800\""), "malformed_json", ""),
        ("a raw control character", text("Ada", "A\u{1}da"), "malformed_json", ""),
        ("a comment", text("{", "{/**/"), "malformed_json", ""),
        ("NaN", text("\"quantity\":2", "\"quantity\":NaN"), "malformed_json", ""),
        ("a number without end", text("\"quantity\":2", "\"quantity\":1e999"), "malformed_json", ""),
        ("a key twice", text("{", "{\"email\":\"a@b.cd\","), "duplicate_key", "/email"),
        ("a key twice, once escaped", text("{", "{\"emai\\u006c\":\"a@b.cd\","), "duplicate_key", "/email"),
        (
            "a key twice in a line",
            text("\"quantity\":2", "\"quantity\":2,\"quantity\":2"),
            "duplicate_key",
            "/lines/0/quantity",
        ),
        ("33 deep", nested(33), "too_deep", &DEEP),
        ("2,000 deep", nested(2_000), "too_deep", &DEEP),
        ("32 deep", nested(32), "unknown_field", "/x"),
        ("an array for the order", b"[]".to_vec(), "wrong_type", ""),
        ("null", b"null".to_vec(), "wrong_type", ""),
        ("a string", b"\"order\"".to_vec(), "wrong_type", ""),
        (
            "an array for the address",
            with("/ship_to", json!(["Ada", "1", "London", "1", "GB"])),
            "wrong_type",
            "/ship_to",
        ),
        ("an array for a line", with("/lines/0", json!(["TEE-S-BLK", 1])), "wrong_type", "/lines/0"),
        ("an object for the lines", with("/lines", json!({"0": {}})), "wrong_type", "/lines"),
        ("null for a field", with("/lane", Value::Null), "wrong_type", "/lane"),
        ("a number for a text", with("/email", json!(1)), "wrong_type", "/email"),
        ("an unknown field", with("/price", json!(1)), "unknown_field", "/price"),
        (
            "an unknown field of a line",
            with("/lines/0/unit_price_minor", json!(1)),
            "unknown_field",
            "/lines/0/unit_price_minor",
        ),
        ("no lines field", without("/lines"), "missing_field", "/lines"),
        ("no address", without("/ship_to"), "missing_field", "/ship_to"),
        ("no town", without("/ship_to/city"), "missing_field", "/ship_to/city"),
        ("no e-mail", without("/email"), "missing_field", "/email"),
        ("no payment method", without("/payment_method"), "missing_field", "/payment_method"),
        ("no sku", without("/lines/0/sku"), "missing_field", "/lines/0/sku"),
        ("no quantity", without("/lines/0/quantity"), "missing_field", "/lines/0/quantity"),
        ("an empty object", b"{}".to_vec(), "missing_field", "/lines"),
        ("no lines", with("/lines", json!([])), "invalid_line_count", "/lines"),
        ("51 lines", with("/lines", lines(51)), "invalid_line_count", "/lines"),
        (
            "one sku twice",
            with("/lines", json!([{"sku": "A", "quantity": 1}, {"sku": "A", "quantity": 2}])),
            "duplicate_sku",
            "/lines/1/sku",
        ),
        ("an empty sku", with("/lines/0/sku", json!("")), "invalid_sku", "/lines/0/sku"),
        ("a sku with a control", with("/lines/0/sku", json!("A\u{0}")), "invalid_sku", "/lines/0/sku"),
        ("a sku with a line break", with("/lines/0/sku", json!("A\n")), "invalid_sku", "/lines/0/sku"),
        ("a sku with bidi", with("/lines/0/sku", json!("A\u{202e}B")), "invalid_sku", "/lines/0/sku"),
        ("a sku of another script", with("/lines/0/sku", json!("Ａ")), "invalid_sku", "/lines/0/sku"),
        ("a long sku", with("/lines/0/sku", json!("A".repeat(65))), "invalid_sku", "/lines/0/sku"),
        ("quantity 0", with("/lines/0/quantity", json!(0)), "invalid_quantity", "/lines/0/quantity"),
        ("quantity 10,000", with("/lines/0/quantity", json!(10_000)), "invalid_quantity", "/lines/0/quantity"),
        ("quantity -1", with("/lines/0/quantity", json!(-1)), "invalid_quantity", "/lines/0/quantity"),
        ("quantity 1.0", text("\"quantity\":2", "\"quantity\":1.0"), "invalid_quantity", "/lines/0/quantity"),
        ("quantity 1e0", text("\"quantity\":2", "\"quantity\":1e0"), "invalid_quantity", "/lines/0/quantity"),
        ("quantity 1.5", with("/lines/0/quantity", json!(1.5)), "invalid_quantity", "/lines/0/quantity"),
        ("quantity \"1\"", with("/lines/0/quantity", json!("1")), "invalid_quantity", "/lines/0/quantity"),
        ("quantity true", with("/lines/0/quantity", json!(true)), "invalid_quantity", "/lines/0/quantity"),
        (
            "quantity 2^64+1",
            text("\"quantity\":2", "\"quantity\":18446744073709551617"),
            "invalid_quantity",
            "/lines/0/quantity",
        ),
        ("quantity 2^32+1", text("\"quantity\":2", "\"quantity\":4294967297"), "invalid_quantity", "/lines/0/quantity"),
        ("an unknown currency", with("/currency", json!("ZZZ")), "unknown_currency", "/currency"),
        ("a currency in small letters", with("/currency", json!("usd")), "unknown_currency", "/currency"),
        (
            "an unknown currency of the total",
            with("/expected_total", json!({"amount_minor": 1, "currency": "XYZ"})),
            "unknown_currency",
            "/expected_total/currency",
        ),
        (
            "a total as a float",
            with("/expected_total", json!({"amount_minor": 10.0, "currency": "USD"})),
            "invalid_amount",
            "/expected_total/amount_minor",
        ),
        (
            "a negative total",
            with("/expected_total", json!({"amount_minor": -1, "currency": "USD"})),
            "invalid_amount",
            "/expected_total/amount_minor",
        ),
        (
            "a total that JSON cannot hold",
            with("/expected_total", json!({"amount_minor": 1_u64 << 53, "currency": "USD"})),
            "invalid_amount",
            "/expected_total/amount_minor",
        ),
        (
            "a total without currency",
            with("/expected_total", json!({"amount_minor": 1})),
            "missing_field",
            "/expected_total/currency",
        ),
        ("an unknown lane", with("/lane", json!("turbo")), "unknown_lane", "/lane"),
        ("a lane in capitals", with("/lane", json!("Express")), "unknown_lane", "/lane"),
        ("a blank name", with("/ship_to/name", json!(" \u{a0}")), "invalid_text", "/ship_to/name"),
        ("a long name", with("/ship_to/name", json!(long)), "invalid_text", "/ship_to/name"),
        ("a name with a control", with("/ship_to/name", json!("A\u{7}")), "invalid_text", "/ship_to/name"),
        ("a name with a C1 control", with("/ship_to/name", json!("A\u{85}")), "invalid_text", "/ship_to/name"),
        ("a name with bidi override", with("/ship_to/name", json!("A\u{202e}")), "invalid_text", "/ship_to/name"),
        ("a street with bidi isolate", with("/ship_to/line1", json!("A\u{2066}")), "invalid_text", "/ship_to/line1"),
        ("a second line with a mark", with("/ship_to/line2", json!("A\u{200f}")), "invalid_text", "/ship_to/line2"),
        ("a town with a line separator", with("/ship_to/city", json!("A\u{2028}")), "invalid_text", "/ship_to/city"),
        (
            "a long postal code",
            with("/ship_to/postal_code", json!("1".repeat(21))),
            "invalid_text",
            "/ship_to/postal_code",
        ),
        ("a country by name", with("/ship_to/country", json!("Britain")), "invalid_country", "/ship_to/country"),
        ("a country in small letters", with("/ship_to/country", json!("gb")), "invalid_country", "/ship_to/country"),
        ("an e-mail without @", with("/email", json!("ada")), "invalid_email", "/email"),
        ("an e-mail with a line break", with("/email", json!("a@b.cd\nBcc: x@y.z")), "invalid_email", "/email"),
        ("an e-mail with bidi", with("/email", json!("a\u{202e}@b.cd")), "invalid_email", "/email"),
        ("an empty payment method", with("/payment_method", json!("")), "invalid_payment_method", "/payment_method"),
        (
            "a card number in clear",
            with("/payment_method", json!("4242 4242 4242 4242")),
            "invalid_payment_method",
            "/payment_method",
        ),
    ]
}

/// The pointer to the first array too deep: `/x`, and 31 times its first item.
static DEEP: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| format!("/x{}", "/0".repeat(31)));

async fn nothing_came_of_it(scene: &Scene, what: &str) {
    assert_eq!(scene.world.touches.load(Ordering::Relaxed), 0, "{what} touched something");
    assert!(scene.world.rows.lock().unwrap().is_empty(), "{what} wrote a row");
    assert!(scene.world.sent.lock().unwrap().is_empty(), "{what} sent a message");
}

#[tokio::test]
async fn every_bad_body_is_refused_with_its_code_and_place_and_without_effect() {
    let scene = Scene::new();
    for (what, body, code, pointer) in bodies() {
        let reply = scene.ask(Ask::new("POST", "/orders").key("key-1").body(body)).await;
        assert_eq!((reply.status.as_u16(), reply.code()), (400, code), "{what}: {}", reply.text);
        reply.is_problem(400, code);
        assert_eq!(reply.json["pointer"], pointer, "{what}");
        nothing_came_of_it(&scene, what).await;
    }
}

#[tokio::test]
async fn a_pointer_escapes_and_cuts_the_keys_of_the_client() {
    let scene = Scene::new();
    for (key, pointer) in [("a~b/c", "/a~0b~1c".to_owned()), (&"k".repeat(1_000), format!("/{}", "k".repeat(64)))] {
        let mut body = order_body();
        body[key] = json!(1);
        let reply = scene.ask(post_order(&body)).await;
        reply.is_problem(400, "unknown_field");
        assert_eq!(reply.json["pointer"], pointer);
    }
}

#[tokio::test]
async fn every_bad_header_is_refused_without_effect() {
    let scene = Scene::new();
    let good = || post_order(&order_body());
    for (what, ask, status, code) in [
        ("no key", good().without("idempotency-key"), 400, "idempotency_key_missing"),
        ("an empty key", good().key(""), 400, "idempotency_key_invalid"),
        ("a blank key", good().key("   "), 400, "idempotency_key_invalid"),
        ("a key of 256", good().key(&"k".repeat(256)), 400, "idempotency_key_invalid"),
        ("a key that is not ASCII", good().key("clé"), 400, "idempotency_key_invalid"),
        ("a key with a tab", good().key("a\tb"), 400, "idempotency_key_invalid"),
        ("no content type", good().without("content-type"), 415, "unsupported_media_type"),
        ("another content type", good().header("content-type", "text/plain"), 415, "unsupported_media_type"),
        (
            "another charset",
            good().header("content-type", "application/json; charset=latin1"),
            415,
            "unsupported_media_type",
        ),
        ("a zipped body", good().header("content-encoding", "gzip"), 415, "unsupported_media_type"),
        ("no token", good().without("authorization"), 401, "token_missing"),
        ("another scheme", good().header("authorization", "Basic YTpi"), 401, "token_missing"),
        ("a lane above the token's", good().bearer(&token(json!({"max_lane": "standard"}))), 403, "lane_not_allowed"),
    ] {
        let reply = scene.ask(ask).await;
        assert_eq!((reply.status.as_u16(), reply.code()), (status, code), "{what}: {}", reply.text);
        reply.is_problem(status, code);
        nothing_came_of_it(&scene, what).await;
    }
    let mut twice = good();
    twice.0.headers_mut().append("idempotency-key", "key-2".parse().unwrap());
    scene.ask(twice).await.is_problem(400, "idempotency_key_invalid");
    nothing_came_of_it(&scene, "two keys").await;
}

#[tokio::test]
async fn a_body_of_64_kib_is_read_and_one_byte_more_is_not() {
    let scene = Scene::new();
    let padded = |length: usize| {
        let body = order_body().to_string();
        format!("{body}{}", " ".repeat(length - body.len()))
    };
    scene.ask(post_order(&json!({})).body(padded(65_537))).await.is_problem(413, "body_too_large");
    nothing_came_of_it(&scene, "65,537 bytes").await;
    assert_eq!(scene.ask(post_order(&json!({})).body(padded(65_536))).await.status, 202);
}

#[tokio::test]
async fn the_edges_of_what_is_taken_are_taken() {
    for (what, body) in [
        ("50 lines", with("/lines", lines(50))),
        ("quantity 9,999", with("/lines/0/quantity", json!(9_999))),
        ("a name of 100 characters", with("/ship_to/name", json!("é".repeat(100)))),
        ("a name in other scripts", with("/ship_to/name", json!("李小龍 · محمد · 👩‍👩‍👧"))),
        ("a total of 0", with("/expected_total", json!({"amount_minor": 0, "currency": "EUR"}))),
        ("yen", with("/currency", json!("JPY"))),
        ("a surrogate pair", text("Ada", "\\ud83d\\ude00")),
    ] {
        let scene = Scene::new();
        let reply = scene.ask(Ask::new("POST", "/orders").key(&"k".repeat(255)).body(body)).await;
        assert_eq!(reply.status, 202, "{what}: {}", reply.text);
    }
}

#[tokio::test]
async fn paths_and_methods_that_are_not_there_are_problems_too() {
    let scene = Scene::new();
    let id = "6f2a8a0e-7c7e-8d1b-9c55-0d4f1f0a1b2c";
    for (method, path, status, allow) in [
        ("GET", "/", 404, ""),
        ("GET", "/order", 404, ""),
        ("GET", "/orders/", 404, ""),
        ("DELETE", "/orders", 405, "GET, HEAD, POST, OPTIONS"),
        ("PUT", &format!("/orders/{id}"), 405, "GET, HEAD, OPTIONS"),
        ("GET", &format!("/orders/{id}/cancel"), 405, "POST, OPTIONS"),
        ("HEAD", &format!("/orders/{id}/refunds"), 405, "POST, OPTIONS"),
        ("POST", "/healthz", 405, "GET, HEAD, OPTIONS"),
        ("OPTIONS", "/orders", 204, "GET, HEAD, POST, OPTIONS"),
        ("GET", "/healthz", 200, ""),
        ("HEAD", "/healthz", 200, ""),
    ] {
        let reply = scene.ask(Ask::open(method, path)).await;
        assert_eq!(reply.status.as_u16(), status, "{method} {path}");
        assert_eq!(reply.header("allow"), allow, "{method} {path}");
        assert_eq!(reply.text.is_empty(), status == 204 || method == "HEAD", "{method} {path}");
        nothing_came_of_it(&scene, path).await;
    }
    assert_eq!(scene.keys.fetches(), 0);
}

#[tokio::test]
async fn a_tenant_over_its_rate_is_told_when_to_come_back() {
    let scene = Scene::with_rate(1);
    assert_eq!(scene.ask(Ask::new("GET", "/orders")).await.status, 200);
    let touches = scene.world.touches.load(Ordering::Relaxed);
    let refused = scene.ask(post_order(&order_body())).await;
    refused.is_problem(429, "rate_limited");
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(scene.world.touches.load(Ordering::Relaxed), touches);
    let other = Ask::new("GET", "/orders").bearer(&token(json!({"tenant": "globex"})));
    assert_eq!(scene.ask(other).await.status, 200);
}
