//! Orders that ship.

use order::{Lane, State};
use tests::ledger::Effect;

use crate::shop::{PIECES, PRICE, Shop, events};

const STORY: [&str; 6] = ["accepted", "validated", "authorized", "reserved", "paid", "shipped"];
const EFFECTS: [Effect; 4] = [Effect::PaymentCreated, Effect::Authorized, Effect::Captured, Effect::ShipmentCreated];

async fn ships(lane: Lane) -> anyhow::Result<()> {
    let shop = Shop::open(&format!("happy-{lane}")).await?;
    let id = shop.order("first", &shop.body(lane)).await?;
    let order = shop.ended(id).await?.order;
    assert_eq!(order.state, State::Shipped);
    assert_eq!(order.lane, lane);
    assert_eq!(events(&order), STORY);
    assert_eq!(shop.effects(id)?, EFFECTS);
    assert_eq!(order.total.map(|total| total.amount_minor), Some(2 * PRICE));
    assert_eq!(shop.available().await?, PIECES as i64 - 2);

    let answer = shop.d.api.read(&shop.who, id).await?;
    assert_eq!((answer.status, answer.state()), (200, "shipped"));
    let tracking = answer.body["shipment"]["tracking_url"].as_str().unwrap();
    assert!(tracking.starts_with("http"), "{tracking}");
    assert!(!answer.body["shipment"]["tracking_number"].as_str().unwrap().is_empty());
    assert_eq!(answer.body["timeline"].as_array().unwrap().len(), STORY.len());
    shop.close().await
}

#[tokio::test]
async fn an_express_order_ships() -> anyhow::Result<()> {
    ships(Lane::Express).await
}

#[tokio::test]
async fn a_standard_order_ships() -> anyhow::Result<()> {
    ships(Lane::Standard).await
}

#[tokio::test]
async fn a_bulk_order_ships() -> anyhow::Result<()> {
    let _bulk = crate::cancels::BULK.lock().await;
    ships(Lane::Bulk).await
}

#[tokio::test]
async fn who_prefers_to_wait_hears_the_decision() -> anyhow::Result<()> {
    let shop = Shop::open("wait").await?;
    let body = shop.body(Lane::Express);
    let answer = shop.d.api.place_and_wait(&shop.who, "yes", &body, 20).await?;
    shop.remember("yes", &body, tests::clock::now_ms(), &answer);
    assert_eq!(answer.status, 200);
    assert!(matches!(answer.state(), "paid" | "shipped"), "{}", answer.state());
    assert_eq!(answer.header("preference-applied"), "wait=20");

    let body = shop.body_paid_by(Lane::Express, "pm_card_visa_chargeDeclined");
    let answer = shop.d.api.place_and_wait(&shop.who, "no", &body, 20).await?;
    shop.remember("no", &body, tests::clock::now_ms(), &answer);
    assert_eq!((answer.status, answer.state()), (200, "rejected"));
    assert_eq!(answer.body["reason"]["code"], "payment_declined");
    shop.close().await
}

#[tokio::test]
async fn fifty_lines_are_one_order() -> anyhow::Result<()> {
    let shop = Shop::open("fifty").await?;
    let mut lines = Vec::new();
    for at in 0..order::MAX_LINES {
        let sku = format!("fifty-line-{at}");
        shop.sell(&sku, 3).await?;
        lines.push(serde_json::json!({ "sku": sku, "quantity": 3 }));
    }
    let mut body = shop.body(Lane::Standard);
    body["lines"] = lines.into();
    let id = shop.order("first", &body).await?;
    let order = shop.ended(id).await?.order;
    assert_eq!(order.state, State::Shipped);
    assert_eq!(order.total.map(|total| total.amount_minor), Some(150 * PRICE));
    shop.close().await
}
