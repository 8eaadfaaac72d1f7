//! Orders that do not ship: each is undone to the last cent and piece.

use order::{Lane, ReasonCode, State};
use serde_json::{Value, json};
use tests::ledger::Effect;

use crate::shop::{PIECES, PRICE, Shop};

/// Places one order and demands its end, its reason, the providers' effects, and that no piece is missing.
async fn undone(
    name: &str,
    change: impl FnOnce(&mut Value),
    state: State,
    reason: ReasonCode,
    effects: &[Effect],
) -> anyhow::Result<()> {
    let shop = Shop::open(name).await?;
    let mut body = shop.body(Lane::Standard);
    change(&mut body);
    let id = shop.order("first", &body).await?;
    let order = shop.ended(id).await?.order;
    assert_eq!((order.state, order.reason.map(|reason| reason.code)), (state, Some(reason)));
    assert_eq!(shop.effects(id)?, effects);
    assert_eq!(shop.available().await?, PIECES as i64);
    shop.close().await
}

#[tokio::test]
async fn a_declined_order_is_rejected() -> anyhow::Result<()> {
    let change = |body: &mut Value| body["payment_method"] = "pm_card_visa_chargeDeclined".into();
    let effects = [Effect::PaymentCreated, Effect::Declined];
    undone("declined", change, State::Rejected, ReasonCode::PaymentDeclined, &effects).await
}

#[tokio::test]
async fn an_order_that_needs_3_d_secure_is_rejected() -> anyhow::Result<()> {
    let shop = Shop::open("three-d").await?;
    let id = shop.order("first", &shop.body_paid_by(Lane::Standard, "pm_card_authenticationRequired")).await?;
    let order = shop.ended(id).await?.order;
    let reason = order.reason.map(|reason| reason.code);
    assert_eq!((order.state, reason), (State::Rejected, Some(ReasonCode::AuthenticationRequired)));
    assert!(!shop.effects(id)?.contains(&Effect::Authorized));
    shop.close().await
}

#[tokio::test]
async fn an_order_out_of_stock_gives_its_hold_back() -> anyhow::Result<()> {
    let shop = Shop::open("sold-out").await?;
    shop.sell("sold-out-2", 0).await?;
    let mut body = shop.body(Lane::Standard);
    body["lines"] = json!([{ "sku": shop.sku, "quantity": 1 }, { "sku": "sold-out-2", "quantity": 1 }]);
    let id = shop.order("first", &body).await?;
    let order = shop.ended(id).await?.order;
    let reason = order.reason.map(|reason| reason.code);
    assert_eq!((order.state, reason), (State::Rejected, Some(ReasonCode::OutOfStock)));
    assert_eq!(shop.effects(id)?, [Effect::PaymentCreated, Effect::Authorized, Effect::Voided]);
    assert_eq!(shop.available().await?, PIECES as i64, "all lines or none");
    shop.close().await
}

#[tokio::test]
async fn the_last_pieces_go_to_as_many_as_there_are() -> anyhow::Result<()> {
    let shop = Shop::open("last-pieces").await?;
    shop.sell("last-pieces-2", 5).await?;
    let mut body = shop.body(Lane::Express);
    body["lines"] = json!([{ "sku": "last-pieces-2", "quantity": 2 }]);
    let mut ids = Vec::new();
    for at in 0..6 {
        ids.push(shop.order(&format!("order-{at}"), &body).await?);
    }
    let mut shipped = 0;
    for id in ids {
        shipped += usize::from(shop.ended(id).await?.order.state == State::Shipped);
    }
    assert_eq!(shipped, 2);
    shop.close().await
}

#[tokio::test]
async fn an_order_whose_hold_expired_is_rejected_and_its_stock_released() -> anyhow::Result<()> {
    let change = |body: &mut Value| body["payment_method"] = "pm_card_expiredHold".into();
    let effects = [Effect::PaymentCreated, Effect::Authorized, Effect::HoldExpired];
    undone("expired", change, State::Rejected, ReasonCode::CaptureRefused, &effects).await
}

#[tokio::test]
async fn an_undeliverable_order_is_cancelled_and_refunded() -> anyhow::Result<()> {
    let change = |body: &mut Value| body["ship_to"]["postal_code"] = "00000".into();
    let effects =
        [Effect::PaymentCreated, Effect::Authorized, Effect::Captured, Effect::Undeliverable, Effect::Refunded];
    undone("undeliverable", change, State::Cancelled, ReasonCode::Undeliverable, &effects).await
}

#[tokio::test]
async fn what_only_the_catalogue_can_tell_is_a_rejected_order() -> anyhow::Result<()> {
    let shop = Shop::open("catalogue").await?;
    let plain = shop.body(Lane::Express);
    let mut unknown = plain.clone();
    unknown["lines"] = json!([{ "sku": "never-made", "quantity": 1 }]);
    let mut differs = plain.clone();
    differs["expected_total"] = json!({ "amount_minor": 2 * PRICE + 1, "currency": "USD" });
    let mut currency = plain.clone();
    currency["currency"] = "EUR".into();
    let mut right = plain.clone();
    right["expected_total"] = json!({ "amount_minor": 2 * PRICE, "currency": "USD" });
    for (key, body, reason) in [
        ("unknown", unknown, Some(ReasonCode::UnknownSku)),
        ("differs", differs, Some(ReasonCode::TotalDiffers)),
        ("currency", currency, Some(ReasonCode::CurrencyDiffers)),
        ("right", right, None),
    ] {
        let id = shop.order(key, &body).await?;
        let order = shop.ended(id).await?.order;
        assert_eq!(order.reason.map(|reason| reason.code), reason, "{key}");
        assert_eq!(order.state, if reason.is_some() { State::Rejected } else { State::Shipped }, "{key}");
        if reason.is_some() {
            assert!(shop.effects(id)?.is_empty(), "{key}");
        }
    }
    shop.close().await
}
