//! Orders that do not ship: each is undone to the last cent and piece.

use order::{Lane, Money, Next, Outcome, Price, ReasonCode, State, transition};
use serde_json::{Value, json};
use tests::clock::now_ms;
use tests::ledger::Effect;

use crate::shop::{PIECES, PRICE, Shop, events};

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
async fn a_total_under_the_providers_minimum_is_rejected_before_anybody_is_asked() -> anyhow::Result<()> {
    let shop = Shop::open("penny").await?;
    // Stripe takes 50 US cents and more.
    for (key, price_minor, state, reason) in [
        ("thirty", 15, State::Rejected, Some(ReasonCode::AmountTooSmall)),
        ("forty-eight", 24, State::Rejected, Some(ReasonCode::AmountTooSmall)),
        ("fifty", 25, State::Shipped, None),
    ] {
        let sku = format!("penny-{key}");
        shop.sell_at(&sku, price_minor, PIECES).await?;
        let mut body = shop.body(Lane::Standard);
        body["lines"] = json!([{ "sku": sku, "quantity": 2 }]);
        let id = shop.order(key, &body).await?;
        let order = shop.ended(id).await?.order;
        assert_eq!((order.state, order.reason.map(|reason| reason.code)), (state, reason), "{key}");
        let asked = !shop.effects(id)?.is_empty();
        assert_eq!(asked, reason.is_none(), "{key}");
    }
    shop.close().await
}

#[tokio::test]
async fn what_only_the_provider_finds_too_small_is_rejected_and_not_parked() -> anyhow::Result<()> {
    let shop = Shop::open("penny-late").await?;
    // Validated by a program that did not know the minimum: 30 US cents.
    let at_ms = now_ms();
    let accepted = shop.accept_without_message("key", Lane::Standard, at_ms).await?;
    let valid = Outcome::Valid {
        prices: vec![Price { name: "A pin".to_owned(), unit_price_minor: 15 }],
        total: Money::new(30, accepted.currency),
    };
    let Next::Changed(mut validated) = transition(&accepted, &valid, at_ms)? else { anyhow::bail!("not validated") };
    validated.due_at = Some(at_ms - 1_000);
    shop.d.tables.replace_order(&validated).await?;
    shop.d.invoke("recover-orders", &json!({})).await?;
    let order = shop.ended(accepted.order_id).await?.order;
    let reason = order.reason.as_ref().map(|reason| reason.code);
    assert_eq!((order.state, reason), (State::Rejected, Some(ReasonCode::AmountTooSmall)));
    assert_eq!(events(&order), ["accepted", "validated", "rejected"]);
    assert_eq!(shop.effects(accepted.order_id)?, []);
    shop.close().await
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
