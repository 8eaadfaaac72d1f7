//! That the books are really read: what was tampered with has to be noticed when a shop closes.

use order::{Lane, State};
use serde_json::json;

use crate::shop::{PIECES, PRICE, Shop};

async fn noticed(shop: Shop, invariant: &str) {
    let error = shop.close().await.expect_err("nobody noticed").to_string();
    assert!(error.contains(invariant), "{invariant} should be broken: {error}");
}

#[tokio::test]
async fn pieces_out_of_nowhere_are_noticed() -> anyhow::Result<()> {
    let shop = Shop::open("tampered-stock").await?;
    let id = shop.order("key", &shop.body(Lane::Express)).await?;
    shop.ended(id).await?;
    shop.d.tables.put_product(&shop.sku, PRICE, PIECES).await?;
    noticed(shop, "I7").await;
    Ok(())
}

#[tokio::test]
async fn a_parcel_for_a_rejected_order_is_noticed() -> anyhow::Result<()> {
    let shop = Shop::open("tampered-parcel").await?;
    let body = shop.body_paid_by(Lane::Express, "pm_card_visa_chargeDeclined");
    let id = shop.order("key", &body).await?;
    assert_eq!(shop.ended(id).await?.order.state, State::Rejected);
    let parcel = json!({
        "reference": id, "service": "standard", "ship_to": body["ship_to"], "lines": body["lines"],
    });
    let http = reqwest::Client::builder().no_proxy().build()?;
    let url = format!("{}/carrier/v1/shipments", shop.d.info.sandbox_url);
    let answer = http.post(url).bearer_auth("anybody").json(&parcel).send().await?;
    assert_eq!(answer.status(), 201, "{}", answer.text().await?);
    noticed(shop, "I4").await;
    Ok(())
}

#[tokio::test]
async fn a_row_that_nobody_asked_for_is_noticed() -> anyhow::Result<()> {
    let shop = Shop::open("tampered-row").await?;
    let order = shop.order("key", &shop.body(Lane::Express)).await?;
    shop.ended(order).await?;
    shop.forget("key");
    noticed(shop, "I2").await;
    Ok(())
}
