//! The carrier: one shipment for each reference.

use sandbox::ledger::{Effect, Provider};
use serde_json::{Value, json};

use crate::support::{Answer, sandbox};

fn shipment(reference: &str) -> Value {
    json!({
        "reference": reference,
        "service": "standard",
        "ship_to": {
            "name": "Ada", "line1": "1 Main Street", "city": "Springfield", "postal_code": "12345", "country": "US"
        },
        "lines": [{ "sku": "TEE-S-BLK", "quantity": 2 }],
    })
}

#[tokio::test]
async fn a_reference_has_one_shipment_however_often_it_is_asked_for() {
    let world = sandbox().await;
    let first = world.call.ship_now(&shipment("o1")).await.expect(201);
    for field in ["id", "reference", "carrier", "tracking_number", "tracking_url", "created_at"] {
        assert!(first.body[field].is_string(), "{field}");
    }
    let again = world.call.ship_now(&shipment("o1")).await.expect(200);
    assert_eq!(again.body, first.body);
    let mut with_null = shipment("o1");
    with_null["ship_to"]["line2"] = Value::Null;
    world.call.ship_now(&with_null).await.expect(200);

    let mut other = shipment("o1");
    other["lines"][0]["quantity"] = 3.into();
    let refused = world.call.ship_now(&other).await.expect(409);
    assert_eq!(refused.text("/code"), "reference_conflict");

    let found = world.call.get("/carrier/v1/shipments?reference=o1").await.expect(200);
    assert_eq!(found.body["shipments"], json!([first.body]));
    let none = world.call.get("/carrier/v1/shipments?reference=o2").await.expect(200);
    assert_eq!(none.body, json!({ "shipments": [] }));
    assert_eq!(world.call.get(&format!("/carrier/v1/shipments/{}", first.id())).await.expect(200).body, first.body);
    world.call.get("/carrier/v1/shipments/shp_none").await.expect(404);

    let ledger = world.call.ledger().await;
    assert_eq!(ledger.len(), 1);
    assert_eq!((ledger[0].provider, ledger[0].effect), (Provider::Carrier, Effect::ShipmentCreated));
    assert_eq!((ledger[0].order_id.as_deref(), ledger[0].id.as_str()), (Some("o1"), first.id().as_str()));
    assert_eq!(ledger[0].metadata["line.TEE-S-BLK"], "2");
}

#[tokio::test]
async fn requests_at_once_for_one_reference_make_one_shipment() {
    let world = sandbox().await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let call = world.call.clone();
        tasks.spawn(async move { call.ship_now(&shipment("o1")).await.status });
    }
    let mut answers = tasks.join_all().await;
    answers.sort_unstable();
    assert_eq!(answers.split_last(), Some((&201, vec![200; 15].as_slice())));
    assert_eq!(world.call.effects().await, [Effect::ShipmentCreated]);
}

#[tokio::test]
async fn an_address_nobody_delivers_to_is_undeliverable() {
    let world = sandbox().await;
    let mut body = shipment("o1");
    body["ship_to"]["postal_code"] = "00000".into();
    let refused = world.call.ship_now(&body).await.expect(422);
    assert_eq!(refused.text("/code"), "undeliverable");
    assert_eq!(world.call.effects().await, [Effect::Undeliverable]);
    let none = world.call.get("/carrier/v1/shipments?reference=o1").await.expect(200);
    assert_eq!(none.body, json!({ "shipments": [] }));
}

#[tokio::test]
async fn the_tracking_link_of_a_shipment_opens() {
    let world = sandbox().await;
    let shipped = world.call.ship_now(&shipment("o1")).await.expect(201);
    let url = shipped.text("/tracking_url");
    let page = world.call.client.get(url).send().await.unwrap().text().await.unwrap();
    assert!(page.contains(shipped.text("/tracking_number")));
    let data = world.call.client.get(url).header("accept", "application/json").send().await.unwrap();
    assert_eq!(Answer::of(data).await.expect(200).id(), shipped.id());
    world.call.get("/carrier/track/NONE").await.expect(404);
}

#[tokio::test]
async fn a_shipment_is_checked_before_it_is_made() {
    let world = sandbox().await;
    let broken = |change: fn(&mut Value)| {
        let mut body = shipment("o1");
        change(&mut body);
        body
    };
    let cases = [
        broken(|body| body["reference"] = "".into()),
        broken(|body| body["lines"] = json!([])),
        broken(|body| body["lines"][0]["quantity"] = 0.into()),
        broken(|body| body["lines"][0]["quantity"] = (-1).into()),
        broken(|body| body["ship_to"]["city"] = Value::Null),
        broken(|body| body["surprise"] = 1.into()),
        json!([]),
    ];
    for body in cases {
        let refused = world.call.ship_now(&body).await.expect(400);
        assert_eq!(refused.text("/code"), "invalid_request", "{body}");
    }
    let url = format!("{}/carrier/v1/shipments", world.call.base);
    let anonymous = world.call.client.post(url).json(&shipment("o1")).send().await.unwrap();
    assert_eq!(Answer::of(anonymous).await.expect(401).text("/code"), "unauthorized");
    assert!(world.call.ledger().await.is_empty());
}

#[tokio::test]
async fn a_shipment_behind_a_500_is_found_by_its_reference() {
    let world = sandbox().await;
    world.call.fault(json!({ "operation": "shipment", "fault": "error_500_after_effect", "count": 1 })).await;
    let failed = world.call.ship_now(&shipment("o1")).await.expect(500);
    assert!(failed.body["code"].is_string());
    let found = world.call.get("/carrier/v1/shipments?reference=o1").await.expect(200);
    assert_eq!(found.body["shipments"].as_array().unwrap().len(), 1);
    world.call.ship_now(&shipment("o1")).await.expect(200);
    assert_eq!(world.call.effects().await, [Effect::ShipmentCreated]);
}
