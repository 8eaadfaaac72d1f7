//! The handler's answers, held to `docs/openapi.yaml`: every operation, every status, every code.

use std::collections::BTreeSet;

use accept_order::Code;
use order::{Order, Outcome, Reason, ReasonCode};
use ports::StoreError;
use serde_json::{Value, json};

use crate::support::{Ask, Faults, Reply, Scene, after, order_body, parked, post_order, to_paid, token};

/// The document, and what of it has been seen.
struct Contract {
    document: Value,
    seen: BTreeSet<String>,
}

impl Contract {
    fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.yaml");
        let document: Value = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        Self { document, seen: BTreeSet::new() }
    }

    fn operations(&self) -> Vec<(String, &Value)> {
        let mut operations = Vec::new();
        for (path, item) in self.document["paths"].as_object().unwrap() {
            for method in ["get", "post"] {
                if let Some(operation) = item.get(method) {
                    operations.push((format!("{} {path}", method.to_uppercase()), operation));
                }
            }
        }
        operations
    }

    /// Everything that the document says may be answered: `POST /orders 400 too_deep`.
    fn promised(&self) -> BTreeSet<String> {
        let mut promised = BTreeSet::new();
        for (name, operation) in self.operations() {
            for (status, response) in operation["responses"].as_object().unwrap() {
                match response["x-codes"].as_array() {
                    Some(codes) => {
                        promised.extend(codes.iter().map(|code| format!("{name} {status} {}", code.as_str().unwrap())));
                    }
                    None => drop(promised.insert(format!("{name} {status}"))),
                }
            }
        }
        promised
    }

    fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        value["$ref"].as_str().map_or(value, |path| self.document.pointer(path.trim_start_matches('#')).unwrap())
    }

    /// Fails unless the schema, which may name others of the document, takes the instance.
    fn validate(&self, schema: &Value, instance: &Value) -> Result<(), String> {
        let mut whole = schema.as_object().unwrap().clone();
        whole.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        whole.insert("components".to_owned(), self.document["components"].clone());
        let schema = Value::Object(whole);
        let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
        validator.validate(instance).map_err(|error| format!("{error} at {} of {instance}", error.instance_path()))
    }

    /// Holds one answer to what is written of its operation.
    fn hold(&mut self, operation: &str, reply: &Reply) {
        let operations = self.operations();
        let (_, written) = operations.iter().find(|(name, _)| name == operation).unwrap();
        let status = reply.status.as_str();
        let response = &written["responses"][status];
        assert!(response.is_object(), "{operation} does not write of {status}: {}", reply.text);

        let content = &response["content"][reply.header("content-type")];
        assert!(content.is_object(), "{operation} {status} is not written to be {}", reply.header("content-type"));
        let valid = self.validate(&content["schema"], &reply.json);
        assert!(valid.is_ok(), "{operation} {status}: {valid:?}");

        for (name, header) in response["headers"].as_object().unwrap() {
            let header = self.resolved(header);
            match reply.headers.get(name) {
                Some(value) => {
                    let valid = self.validate(&header["schema"], &json!(value.to_str().unwrap()));
                    assert!(valid.is_ok(), "{operation} {status} {name}: {valid:?}");
                }
                None => assert_ne!(header["required"], true, "{operation} {status} comes without {name}"),
            }
        }

        let code = if reply.status.is_success() { String::new() } else { format!(" {}", reply.code()) };
        self.seen.insert(format!("{operation} {status}{code}"));
    }
}

const PLACE: &str = "POST /orders";
const LIST: &str = "GET /orders";
const READ: &str = "GET /orders/{id}";
const CANCEL: &str = "POST /orders/{id}/cancel";
const REFUND: &str = "POST /orders/{id}/refunds";

/// A good request of an operation about this order.
fn good(operation: &str, order: &Order) -> Ask {
    let id = order.order_id;
    match operation {
        PLACE => post_order(&order_body()),
        LIST => Ask::new("GET", "/orders?limit=1"),
        READ => Ask::new("GET", &format!("/orders/{id}")),
        CANCEL => Ask::new("POST", &format!("/orders/{id}/cancel")),
        REFUND => Ask::new("POST", &format!("/orders/{id}/refunds")).key("r-1").body(r#"{"amount_minor":1}"#),
        other => panic!("no request of {other}"),
    }
}

/// What any operation with a token may answer.
async fn whoever_asks(contract: &mut Contract, operation: &str) {
    let faults = |error: StoreError| Faults {
        accept: Some(error.clone()),
        load: Some(error.clone()),
        list: Some(error),
        ..Faults::default()
    };
    let scene = Scene::new();
    let order = scene.shipped().await;
    contract.hold(operation, &scene.ask(good(operation, &order).without("authorization")).await);
    contract.hold(operation, &scene.ask(good(operation, &order).bearer("a.b.c")).await);
    contract.hold(operation, &scene.ask(good(operation, &order).bearer(&token(json!({"exp": 1})))).await);
    if operation.contains("{id}") {
        contract.hold(operation, &scene.ask(good(operation, &order).bearer(&token(json!({"sub": "other"})))).await);
    }
    scene.world.fail(faults(StoreError::Unknown("timeout".into())));
    contract.hold(operation, &scene.ask(good(operation, &order)).await);
    scene.world.fail(faults(StoreError::Unreadable("no state".into())));
    contract.hold(operation, &scene.ask(good(operation, &order)).await);

    let limited = Scene::with_rate(1);
    limited.ask(Ask::new("GET", "/orders")).await;
    contract.hold(operation, &limited.ask(good(operation, &order)).await);
    let cut_off = Scene::new();
    cut_off.keys.go_away();
    contract.hold(operation, &cut_off.ask(good(operation, &order)).await);
}

/// What any operation with a body may answer to one that is no JSON of its kind.
async fn whatever_comes(contract: &mut Contract, operation: &str) {
    let scene = Scene::new();
    let order = scene.shipped().await;
    let deep = "[".repeat(33) + &"]".repeat(33);
    for body in ["{", r#"{"a":1,"a":1}"#, &deep, "[]", r#"{"x":1}"#, &" ".repeat(65_537)] {
        contract.hold(operation, &scene.ask(good(operation, &order).body(body)).await);
    }
    let typed = good(operation, &order).body("{}").header("content-type", "text/plain");
    contract.hold(operation, &scene.ask(typed).await);
}

async fn place(contract: &mut Contract) {
    let scene = Scene::new();
    let order = scene.placed().await;
    contract.hold(PLACE, &scene.ask(post_order(&order_body()).header("prefer", "wait=0")).await);
    scene.world.put(after(&order, &to_paid()));
    contract.hold(PLACE, &scene.ask(post_order(&order_body()).key("placed").header("prefer", "wait=20")).await);
    contract.hold(PLACE, &scene.ask(post_order(&order_body()).without("idempotency-key")).await);
    contract.hold(PLACE, &scene.ask(post_order(&order_body()).key("")).await);
    contract.hold(PLACE, &scene.ask(post_order(&order_body()).bearer(&token(json!({"max_lane": "bulk"})))).await);
    let mut other = order_body();
    other["email"] = json!("other@example.com");
    contract.hold(PLACE, &scene.ask(post_order(&other).key("placed")).await);
    let twice = json!([{"sku": "A", "quantity": 1}, {"sku": "A", "quantity": 1}]);
    for (field, value) in [
        ("/lane", json!("turbo")),
        ("/lines", json!([])),
        ("/lines", twice),
        ("/lines", json!([{"sku": "A"}])),
        ("/lines", json!([{"sku": "A B", "quantity": 1}])),
        ("/lines", json!([{"sku": "A", "quantity": 0}])),
        ("/currency", json!("usd")),
        ("/email", json!("nobody")),
        ("/payment_method", json!("")),
        ("/expected_total", json!({"amount_minor": -1, "currency": "USD"})),
    ] {
        let mut body = order_body();
        body[field.trim_start_matches('/')] = value;
        contract.hold(PLACE, &scene.ask(post_order(&body)).await);
    }
    for (field, value) in [("name", " "), ("country", "Britain")] {
        let mut body = order_body();
        body["ship_to"][field] = json!(value);
        contract.hold(PLACE, &scene.ask(post_order(&body)).await);
    }
}

async fn look(contract: &mut Contract) {
    let scene = Scene::new();
    let order = scene.shipped().await;
    scene.ask(post_order(&order_body())).await;
    for path in ["/orders", "/orders?limit=1", "/orders?limit=0", "/orders?cursor=x"] {
        contract.hold(LIST, &scene.ask(Ask::new("GET", path)).await);
    }
    contract.hold(READ, &scene.ask(good(READ, &order)).await);
    contract.hold("GET /healthz", &scene.ask(Ask::open("GET", "/healthz")).await);
    scene.world.put(crate::support::parked(&scene.placed_again().await));
    contract.hold(LIST, &scene.ask(Ask::new("GET", "/orders")).await);
}

async fn cancel(contract: &mut Contract) {
    let scene = Scene::new();
    let order = scene.placed().await;
    contract.hold(CANCEL, &scene.ask(good(CANCEL, &order)).await);
    let rejected = after(&order, &[Outcome::Invalid(Reason::new(ReasonCode::UnknownSku, "?"))]);
    scene.world.put(rejected);
    contract.hold(CANCEL, &scene.ask(good(CANCEL, &order)).await);
    scene.world.put(after(&order, &crate::support::to_shipped()));
    contract.hold(CANCEL, &scene.ask(good(CANCEL, &order)).await);
    scene.world.put(order.clone());
    scene.world.fail(Faults { commit: Some(StoreError::Unknown("timeout".into())), ..Faults::default() });
    contract.hold(CANCEL, &scene.ask(good(CANCEL, &order)).await);
}

async fn refund(contract: &mut Contract) {
    let scene = Scene::new();
    let order = scene.shipped().await;
    for ask in [
        good(REFUND, &order),
        good(REFUND, &order).body(r#"{"amount_minor":2}"#),
        good(REFUND, &order).key("r-2").body(r#"{"amount_minor":1000}"#),
        good(REFUND, &order).without("idempotency-key"),
        good(REFUND, &order).key(""),
        good(REFUND, &order).body(r#"{"reason":" "}"#),
        good(REFUND, &order).body(r#"{"amount_minor":0}"#),
    ] {
        contract.hold(REFUND, &scene.ask(ask).await);
    }
    for number in 0..20 {
        contract.hold(REFUND, &scene.ask(good(REFUND, &order).key(&format!("n-{number}"))).await);
    }
    let unshipped = scene.placed_again().await;
    contract.hold(REFUND, &scene.ask(good(REFUND, &unshipped)).await);
    scene.world.put(after(&parked(&scene.world.row(order.order_id)), &[Outcome::Abandoned]));
    contract.hold(REFUND, &scene.ask(good(REFUND, &order).key("given up")).await);
    contract.hold(READ, &scene.ask(good(READ, &order)).await);
    scene.world.put(order.clone());
    scene.world.fail(Faults { commit: Some(StoreError::NotDone("throttled".into())), ..Faults::default() });
    contract.hold(REFUND, &scene.ask(good(REFUND, &order)).await);
}

#[tokio::test(start_paused = true)]
async fn every_answer_is_as_written_and_everything_written_is_answered() {
    let mut contract = Contract::read();
    for operation in [PLACE, LIST, READ, CANCEL, REFUND] {
        whoever_asks(&mut contract, operation).await;
    }
    for operation in [PLACE, CANCEL, REFUND] {
        whatever_comes(&mut contract, operation).await;
    }
    place(&mut contract).await;
    look(&mut contract).await;
    cancel(&mut contract).await;
    refund(&mut contract).await;

    let promised = contract.promised();
    let unseen: Vec<&String> = promised.difference(&contract.seen).collect();
    assert!(unseen.is_empty(), "written, but never answered here: {unseen:#?}");
    let unwritten: Vec<&String> = contract.seen.difference(&promised).collect();
    assert!(unwritten.is_empty(), "answered, but not written: {unwritten:#?}");
}

#[test]
fn the_document_and_the_program_have_the_same_codes() {
    let contract = Contract::read();
    let written = &contract.document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"];
    let written: Vec<&str> = written.as_array().unwrap().iter().map(|code| code.as_str().unwrap()).collect();
    let ours: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
    assert_eq!(written, ours);

    // Each is answered by some operation, with its own status, or belongs to none.
    let promised = contract.promised();
    for code in Code::ALL {
        let ending = format!(" {} {}", code.status().as_u16(), code.name());
        let anywhere = matches!(code, Code::RouteNotFound | Code::MethodNotAllowed);
        assert_eq!(promised.iter().any(|line| line.ends_with(&ending)), !anywhere, "{ending}");
    }
}

#[test]
fn the_written_requests_are_the_ones_that_are_taken() {
    let contract = Contract::read();
    let schema = json!({"$ref": "#/components/schemas/PlaceOrder"});
    assert_eq!(contract.validate(&schema, &order_body()), Ok(()));
    for (pointer, value) in [
        ("/lines", json!([])),
        ("/lines/0/quantity", json!(0)),
        ("/lines/0/quantity", json!(10_000)),
        ("/lines/0/sku", json!("A B")),
        ("/ship_to/country", json!("gb")),
        ("/lane", json!("turbo")),
        ("/email", json!(1)),
    ] {
        let mut body = order_body();
        *body.pointer_mut(pointer).unwrap() = value;
        assert!(contract.validate(&schema, &body).is_err(), "{pointer}");
    }
    let mut body = order_body();
    body["price"] = json!(1);
    assert!(contract.validate(&schema, &body).is_err());

    for (_, operation) in contract.operations() {
        let content = &operation["requestBody"]["content"]["application/json"];
        for (name, example) in content["examples"].as_object().into_iter().flatten() {
            assert_eq!(contract.validate(&content["schema"], &example["value"]), Ok(()), "{name}");
        }
    }
}
