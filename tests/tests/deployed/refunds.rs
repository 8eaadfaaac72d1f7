//! Money back for what shipped.

use order::{Lane, RefundStatus, State};
use tests::ledger::Effect;

use crate::shop::{PRICE, Shop};

#[tokio::test]
async fn refunds_may_be_partial_repeated_and_several_and_never_over_the_capture() -> anyhow::Result<()> {
    let shop = Shop::open("refunds").await?;
    let id = shop.order("key", &shop.body(Lane::Express)).await?;
    let early = shop.refund(id, "early", Some(1)).await?;
    // On a quick machine it has shipped by now: then it is one more refund.
    if !early.is_success() {
        assert_eq!((early.status, early.code()), (409, "order_not_shipped"));
    }
    shop.ended(id).await?;

    for (key, amount_minor, status) in [
        ("one", Some(300), 202),
        ("two", Some(200), 202),
        // A repeat is the same refund.
        ("one", Some(300), 202),
        // Another amount under a used key.
        ("one", Some(301), 422),
        // More than is left.
        ("three", Some(2 * PRICE), 422),
    ] {
        let answer = shop.refund(id, key, amount_minor).await?;
        assert_eq!(answer.status, status, "{key} {amount_minor:?}: {}", answer.text);
    }
    // All that is left.
    let rest = shop.refund(id, "rest", None).await?;
    assert_eq!(rest.status, 202, "{}", rest.text);
    let nothing_left = shop.refund(id, "more", None).await?;
    assert_eq!((nothing_left.status, nothing_left.code()), (422, "refund_over_capture"));

    let order = shop.ended(id).await?.order;
    assert_eq!(order.state, State::Shipped, "a refund does not change where an order stands");
    assert_eq!(order.refunds_minor(), 2 * PRICE);
    assert!(order.refunds.iter().all(|refund| refund.status == RefundStatus::Done && refund.refund_id.is_some()));
    let refunded: i64 = shop
        .entries(id)?
        .into_iter()
        .filter(|entry| entry.effect == Effect::Refunded)
        .filter_map(|entry| entry.amount_minor)
        .sum();
    assert_eq!(refunded, 2 * PRICE as i64);
    shop.close().await
}

#[tokio::test]
async fn refunds_asked_for_at_once_each_happen_once() -> anyhow::Result<()> {
    let shop = Shop::open("refunds-at-once").await?;
    let id = shop.order("key", &shop.body(Lane::Express)).await?;
    shop.ended(id).await?;
    let keys: Vec<String> = (0..5).map(|at| format!("refund-{at}")).collect();
    // Each twice, all at once.
    let asked = keys.iter().chain(&keys).map(|key| shop.refund(id, key, Some(100)));
    let answers = futures::future::try_join_all(asked).await?;
    for answer in &answers {
        assert_eq!(answer.status, 202, "{}", answer.text);
    }
    let order = shop.ended(id).await?.order;
    assert_eq!(order.refunds.len(), 5);
    assert_eq!(shop.effects(id)?.iter().filter(|effect| **effect == Effect::Refunded).count(), 5);
    shop.close().await
}

#[tokio::test]
async fn an_order_takes_twenty_refunds() -> anyhow::Result<()> {
    let shop = Shop::open("twenty").await?;
    let id = shop.order("key", &shop.body(Lane::Express)).await?;
    shop.ended(id).await?;
    for at in 0..order::MAX_REFUNDS {
        let answer = shop.refund(id, &format!("refund-{at}"), Some(50)).await?;
        assert_eq!(answer.status, 202, "{at}: {}", answer.text);
    }
    let one_more = shop.refund(id, "one-more", Some(50)).await?;
    assert_eq!((one_more.status, one_more.code()), (409, "refund_limit_reached"));
    shop.close().await
}
