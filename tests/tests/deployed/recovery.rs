//! Rows whose message was never sent.

use std::time::Duration;

use order::{Lane, State};
use serde_json::json;
use tests::clock::now_ms;

use crate::shop::Shop;

#[tokio::test]
async fn a_row_without_its_first_message_is_found_and_goes_all_the_way() -> anyhow::Result<()> {
    let shop = Shop::open("no-message").await?;
    // Due a minute ago, and one that is not due yet.
    let due = shop.accept_without_message("due", Lane::Standard, now_ms() - 90_000).await?;
    let young = shop.accept_without_message("young", Lane::Standard, now_ms()).await?;
    shop.d.invoke("recover-orders", &json!({})).await?;
    let order = shop.ended(due.order_id).await?.order;
    assert_eq!(order.state, State::Shipped);
    let untouched = shop.d.tables.order(young.order_id).await?.unwrap().order;
    assert_eq!(untouched, young, "half a minute is the first command's own");
    // A repeat of the request sends what is owed without waiting for recovery. Its fingerprint is another one here, so
    // a cancel stands for it: whoever commits a version owes its command.
    let answer = shop.d.api.cancel(&shop.who, young.order_id).await?;
    assert_eq!(answer.status, 202);
    assert_eq!(shop.ended(young.order_id).await?.order.state, State::Cancelled);
    shop.close().await
}

#[tokio::test]
async fn the_schedule_finds_it_too() -> anyhow::Result<()> {
    let shop = Shop::open("schedule").await?;
    let due = shop.accept_without_message("due", Lane::Express, now_ms() - 90_000).await?;
    // Every minute.
    let order = shop.d.ended(due.order_id, Duration::from_secs(100)).await?.order;
    assert_eq!(order.state, State::Shipped);
    shop.close().await
}

#[tokio::test]
async fn a_repeated_request_sends_the_first_message_again() -> anyhow::Result<()> {
    let shop = Shop::open("lost-message").await?;
    let id = {
        let _bulk = crate::cancels::BULK.lock().await;
        let held = shop.d.mappings.hold("validate-bulk").await?;
        let id = shop.order("key", &shop.body(Lane::Bulk)).await?;
        // The message is lost.
        let url = shop.d.queues.url("validate-bulk");
        tests::wait::eventually("the message", crate::shop::SOON, || async {
            for message in shop.d.queues.receive(&url, 1).await? {
                if message.body.as_deref().unwrap_or_default().contains(&id.to_string()) {
                    shop.d.queues.delete(&url, &message).await?;
                    return Ok(Some(()));
                }
            }
            Ok(None)
        })
        .await?;
        held.release().await?;
        id
    };
    assert_eq!(shop.d.tables.order(id).await?.unwrap().order.state, State::Accepted);
    let again = shop.place("key", &shop.body(Lane::Bulk)).await?;
    assert_eq!((again.status, again.order_id()), (202, Some(id)));
    assert_eq!(shop.ended(id).await?.order.state, State::Shipped);
    shop.close().await
}
