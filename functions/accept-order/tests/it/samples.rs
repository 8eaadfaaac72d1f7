//! The sample event in `events/`, as API Gateway sends it.

use accept_order::ApiEvent;
use serde_json::Value;

use crate::support::{Ask, Scene, token};

fn sample() -> (Value, accept_order::Request) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../events/accept-order.json");
    let event: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let request = serde_json::from_value::<ApiEvent>(event.clone()).unwrap();
    (event, request.into())
}

#[tokio::test]
async fn the_sample_event_places_an_order_once_it_has_a_token() {
    let scene = Scene::new();
    let (_, request) = sample();
    let reply = scene.ask(Ask(request).bearer(&token(serde_json::json!({})))).await;
    assert_eq!(reply.status, 202, "{}", reply.text);
    assert_eq!(scene.world.only_row().lines.len(), 2);
}

#[tokio::test]
async fn the_sample_event_as_it_is_has_no_token_that_anybody_believes() {
    let scene = Scene::new();
    let (event, request) = sample();
    assert_eq!(event["version"], "2.0");
    scene.ask(Ask(request)).await.is_problem(401, "token_invalid");
}
