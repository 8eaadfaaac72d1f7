//! The carrier's adapter against the sandbox, whose ledger tells what really happened.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::time::Duration;

use ports::{Carrier as _, Lookup, Probe as _, ProviderError, ShipmentAnswer};
use providers::HttpCarrier;
use sandbox::ledger::Effect;
use serde_json::{Value, json};
use support::stub::{Act, Stub};
use support::{World, closed_port, order_id, secret, shipment_request};

async fn created(world: &World) -> order::Shipment {
    match world.carrier.create_shipment(&shipment_request()).await.unwrap() {
        ShipmentAnswer::Created(shipment) => shipment,
        ShipmentAnswer::Undeliverable { why } => panic!("{why}"),
    }
}

#[tokio::test]
async fn a_shipment_is_made_once_for_its_reference_and_can_be_looked_up() {
    let world = World::new().await;
    assert_eq!(world.carrier.look_up_shipment(order_id()).await.unwrap(), None);
    let first = created(&world).await;
    assert!(first.tracking_url.ends_with(&first.tracking_number), "{first:?}");
    assert_eq!(created(&world).await, first);
    assert_eq!(world.carrier.look_up_shipment(order_id()).await.unwrap(), Some(first.clone()));
    let ledger = world.ledger();
    assert_eq!(ledger.len(), 1, "{ledger:?}");
    assert_eq!(ledger[0].order_id.as_deref(), Some(support::ORDER));
    assert_eq!(ledger[0].id, first.shipment_id);
    assert_eq!(
        (ledger[0].metadata["line.TEE-S-BLK"].as_str(), ledger[0].metadata["service"].as_str()),
        ("2", "standard")
    );
}

#[tokio::test]
async fn an_address_nobody_delivers_to_is_an_answer_that_does_not_repeat_it() {
    let world = World::new().await;
    let mut request = shipment_request();
    request.ship_to.postal_code = "00000".to_owned();
    let answer = world.carrier.create_shipment(&request).await.unwrap();
    let ShipmentAnswer::Undeliverable { why } = answer else { panic!("{answer:?}") };
    assert_eq!(why, "the carrier does not deliver to this address");
    assert_eq!(world.carrier.look_up_shipment(order_id()).await.unwrap(), None);
}

#[tokio::test]
async fn another_shipment_under_the_same_reference_is_refused() {
    let world = World::new().await;
    created(&world).await;
    let mut other = shipment_request();
    other.lines[0].quantity = 3;
    let answer = world.carrier.create_shipment(&other).await;
    assert_eq!(answer, Err(ProviderError::Refused { why: answer_why(&answer) }));
    assert!(answer_why(&answer).starts_with("409 reference_conflict"), "{answer:?}");
    assert_eq!(world.count(Effect::ShipmentCreated), 1);
}

fn answer_why(answer: &Result<ShipmentAnswer, ProviderError>) -> String {
    match answer {
        Err(
            ProviderError::Refused { why }
            | ProviderError::Unknown { why }
            | ProviderError::Failed { why }
            | ProviderError::WrongState { why }
            | ProviderError::Throttled { why, .. }
            | ProviderError::NotRun { why, .. },
        ) => why.clone(),
        Ok(answer) => panic!("{answer:?}"),
    }
}

#[tokio::test]
async fn a_lost_answer_is_unknown_and_asking_again_ships_no_second_parcel() {
    for (fault, happened) in [
        ("reset", false),
        ("hang", false),
        ("error_500", false),
        ("effect_then_reset", true),
        ("effect_then_hang", true),
        ("error_500_after_effect", true),
        ("late_effect", true),
    ] {
        let world = World::new().await;
        let carrier = world.carrier.clone().with_timeout(Duration::from_millis(400));
        world.fault(json!({ "operation": "shipment", "fault": fault, "count": 1, "delay_ms": 900 })).await;
        let answer = carrier.create_shipment(&shipment_request()).await;
        assert!(matches!(answer, Err(ProviderError::Unknown { .. })), "{fault}: {answer:?}");
        world.settled().await;
        let found = world.carrier.look_up_shipment(order_id()).await.unwrap();
        assert_eq!(found.is_some(), happened, "{fault}");
        let made = created(&world).await;
        assert!(found.is_none_or(|found| found == made), "{fault}");
        assert_eq!(world.count(Effect::ShipmentCreated), 1, "{fault}");
    }
}

#[tokio::test]
async fn a_throttled_or_unreachable_carrier_did_surely_not_run() {
    let world = World::new().await;
    world.fault(json!({ "operation": "shipment", "fault": "throttle_429", "delay_ms": 1_500, "count": 1 })).await;
    let answer = world.carrier.create_shipment(&shipment_request()).await;
    let Err(ProviderError::Throttled { retry_after, .. }) = answer else { panic!("{answer:?}") };
    assert_eq!(retry_after, Some(Duration::from_secs(2)));
    assert_eq!(world.ledger(), []);

    let nobody = HttpCarrier::new(&format!("http://127.0.0.1:{}/carrier", closed_port()), secret()).unwrap();
    let answer = nobody.create_shipment(&shipment_request()).await;
    assert!(matches!(answer, Err(ProviderError::NotRun { .. })), "{answer:?}");
}

fn shown(change: &Value) -> Value {
    let mut shown = json!({
        "id": "shp_1", "reference": support::ORDER, "carrier": "Parcel", "tracking_number": "T1",
        "tracking_url": "https://parcel.example/T1",
    });
    shown.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    shown
}

#[tokio::test]
async fn a_shipment_that_cannot_be_the_orders_is_unknown() {
    for change in [
        json!({ "reference": "another" }),
        json!({ "id": "" }),
        json!({ "tracking_number": "T1\r\nX" }),
        json!({ "carrier": "x".repeat(201) }),
    ] {
        let stub = Stub::new(vec![Act::answer(201, &shown(&change))]).await;
        let answer = HttpCarrier::new(&stub.url(), secret()).unwrap().create_shipment(&shipment_request()).await;
        assert!(matches!(answer, Err(ProviderError::Unknown { .. })), "{change}: {answer:?}");
    }
    let two = json!({ "shipments": [shown(&json!({})), shown(&json!({ "id": "shp_2" }))] });
    let stub = Stub::new(vec![Act::answer(200, &two)]).await;
    let answer = HttpCarrier::new(&stub.url(), secret()).unwrap().look_up_shipment(order_id()).await;
    assert!(matches!(answer, Err(ProviderError::Unknown { .. })), "{answer:?}");
}

#[tokio::test]
async fn a_tracking_link_that_is_none_is_left_out() {
    for url in ["javascript:alert(1)", "not a link", "https://a.example/\u{7}", "data:text/html,x", ""] {
        let stub = Stub::new(vec![Act::answer(201, &shown(&json!({ "tracking_url": url })))]).await;
        let answer = HttpCarrier::new(&stub.url(), secret()).unwrap().create_shipment(&shipment_request()).await;
        let Ok(ShipmentAnswer::Created(shipment)) = answer else { panic!("{url}: {answer:?}") };
        assert_eq!(shipment.tracking_url, "", "{url}");
    }
}

#[tokio::test]
async fn the_address_is_sent_as_it_is_and_never_shown() {
    let stub = Stub::new(vec![Act::answer(503, &json!({ "code": "down", "message": "Ada Lovelace" }))]).await;
    let carrier = HttpCarrier::new(&stub.url(), secret()).unwrap();
    let answer = carrier.create_shipment(&shipment_request()).await.unwrap_err();
    let sent = stub.requests().remove(0);
    let body: Value = serde_json::from_str(sent.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(
        body,
        json!({
            "reference": support::ORDER, "service": "standard",
            "ship_to": {
                "name": "Ada Lovelace", "line1": "12 St James's Square", "city": "London", "postal_code": "SW1Y 4JH",
                "country": "GB",
            },
            "lines": [{ "sku": "TEE-S-BLK", "quantity": 2 }],
        })
    );
    let said = format!("{answer} {answer:?} {carrier:?}");
    assert!(!said.contains("Ada") && !said.contains(support::KEY), "{said}");
}

#[test]
fn a_reference_is_known_for_good() {
    let terms = HttpCarrier::new("https://carrier.example", secret()).unwrap().carrier_terms();
    assert_eq!(terms.lookup, Lookup::Authoritative);
    assert!(terms.idempotency_window_ms > 10 * 365 * 86_400_000);
    assert!(terms.settle_ms >= 5_000);
}

#[tokio::test]
async fn a_probe_makes_nothing_and_meets_an_outage_as_any_call_does() {
    let world = World::new().await;
    assert_eq!(world.carrier.probe().await, Ok(()));
    world.fault(json!({ "provider": "carrier", "fault": "reset", "count": 1 })).await;
    assert!(matches!(world.carrier.probe().await, Err(ProviderError::Unknown { .. })));
    assert_eq!(world.carrier.probe().await, Ok(()));
    assert_eq!(world.ledger(), []);
}
