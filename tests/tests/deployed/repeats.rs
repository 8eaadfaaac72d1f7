//! The same request again, and the same message again.

use order::{Command, Lane, State};
use tests::clock::now_ms;
use tests::wait::eventually;

use crate::shop::{SOON, Shop};

#[tokio::test]
async fn a_repeated_request_is_the_same_order() -> anyhow::Result<()> {
    let shop = Shop::open("repeat").await?;
    let body = shop.body(Lane::Express);
    let first = shop.place("key", &body).await?;
    let id = first.order_id().unwrap();
    for _ in 0..3 {
        let again = shop.place("key", &body).await?;
        assert!(again.is_success(), "{}", again.text);
        assert_eq!(again.order_id(), Some(id));
    }
    shop.ended(id).await?;
    let last = shop.place("key", &body).await?;
    assert_eq!((last.order_id(), last.state()), (Some(id), "shipped"));
    shop.close().await
}

#[tokio::test]
async fn the_same_request_many_times_at_once_is_one_order() -> anyhow::Result<()> {
    let shop = Shop::open("at-once").await?;
    let body = shop.body(Lane::Express);
    let answers = futures::future::try_join_all((0..8).map(|_| shop.place("key", &body))).await?;
    assert!(answers.iter().all(|answer| answer.is_success() && answer.order_id() == Some(shop.id("key"))));
    let rows = shop.d.tables.orders().await?;
    assert_eq!(rows.iter().filter(|row| row.order.tenant.as_str() == shop.who.tenant).count(), 1);
    shop.close().await
}

#[tokio::test]
async fn another_body_under_the_same_key_is_refused_without_effect() -> anyhow::Result<()> {
    let shop = Shop::open("other-body").await?;
    let body = shop.body(Lane::Express);
    let id = shop.order("key", &body).await?;
    let mut other = body.clone();
    other["lines"][0]["quantity"] = 3.into();
    let refused = shop.place("key", &other).await?;
    assert_eq!((refused.status, refused.code()), (422, "idempotency_key_reused"));
    let order = shop.ended(id).await?.order;
    assert_eq!(order.lines[0].quantity, 2);
    // White space and the order of fields are no other body.
    let reordered = format!(" {} ", serde_json::to_string_pretty(&body)?);
    let headers = [("idempotency-key", "key"), ("content-type", "application/json")];
    let answer = shop.d.api.place_raw(&shop.who, &headers, reordered).await?;
    assert_eq!((answer.status, answer.order_id()), (202, Some(id)));
    shop.close().await
}

#[tokio::test]
async fn the_same_key_of_another_customer_is_another_order() -> anyhow::Result<()> {
    let shop = Shop::open("same-key").await?;
    let id = shop.order("key", &shop.body(Lane::Express)).await?;
    let other = tests::api::Who::new(shop.who.tenant.as_str(), "bob");
    assert_ne!(other.order_id("key")?, id);
    let stranger = tests::api::Who::new("another-shop", shop.who.customer.as_str());
    assert_ne!(stranger.order_id("key")?, id);
    shop.close().await
}

#[tokio::test]
async fn a_repeated_message_of_a_finished_order_is_a_plain_acknowledgement() -> anyhow::Result<()> {
    let shop = Shop::open("old-message").await?;
    let id = shop.order("key", &shop.body(Lane::Express)).await?;
    let before = shop.ended(id).await?.order;
    let effects = shop.effects(id)?;
    let since_ms = now_ms();
    // Every command the order ever owed, once more.
    let mut sent = 0;
    for (version, command) in [
        (1, Command::ValidateOrder),
        (2, Command::AuthorizePayment),
        (3, Command::ReserveStock),
        (4, Command::CapturePayment),
        (5, Command::CreateShipment),
    ] {
        let body = serde_json::json!({
            "specversion": "1.0",
            "id": command.message_id(id, version),
            "source": "orderflow",
            "type": format!("orderflow.{}.v1", command.name()),
            "subject": id,
            "time": "2026-11-23T09:30:00.000Z",
            "data": { "order_id": id, "version": version },
        });
        let queue = ports::queue_name(command.step(), Lane::Express);
        shop.d.queues.send(&queue, Some(&shop.who.tenant), &[body.to_string()]).await?;
        sent += 1;
    }
    let verdicts = eventually("all are acknowledged", SOON, || async {
        let lines = shop.d.logs.since(since_ms).await?;
        let own = lines.records.into_iter().filter(|line| line.order_id == Some(id.to_string()));
        let own: Vec<String> = own.filter(|line| line.queue.contains("-express")).map(|line| line.verdict).collect();
        Ok((own.len() >= sent).then_some(own))
    })
    .await?;
    assert_eq!(verdicts, vec!["already"; sent]);
    let after = shop.d.tables.order(id).await?.unwrap().order;
    assert_eq!(after, before);
    assert_eq!(after.state, State::Shipped);
    assert_eq!(shop.effects(id)?, effects);
    shop.close().await
}
