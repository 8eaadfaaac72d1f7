//! Messages of a program that is ahead of this one.

use std::time::Duration;

use anyhow::Context as _;
use order::{Lane, State};
use ports::{COMMAND_VERSION, command_message};
use tests::clock::now_ms;
use tests::wait::eventually;

use crate::cancels::BULK;
use crate::shop::{SOON, Shop};

/// It waits 60 s, and comes back.
const BACK: Duration = Duration::from_secs(200);

#[tokio::test]
async fn a_command_of_a_newer_program_waits_in_its_queue_while_its_order_goes_its_way() -> anyhow::Result<()> {
    let _bulk = BULK.lock().await;
    let shop = Shop::open("newer").await?;
    let order = shop.accept_without_message("newer", Lane::Bulk, now_ms()).await?;
    let message = command_message(&order, None, now_ms()).context("a new order owes a command")?.body;
    let newer = message.replace("order.validate.v1", &format!("order.validate.v{}", COMMAND_VERSION + 1));
    assert_ne!(newer, message);
    let (since_ms, id) = (now_ms(), order.order_id.to_string());
    shop.d.queues.send("validate-bulk", Some(&shop.who.tenant), std::slice::from_ref(&newer)).await?;
    let put_off = eventually("the newer one is put off", SOON, || async {
        let lines = shop.d.logs.since(since_ms).await?;
        Ok(lines.records.into_iter().find(|line| line.order_id.as_ref() == Some(&id) && line.verdict == "defer"))
    })
    .await?;
    assert_eq!(put_off.function, "validate-order");

    // Its order owes the same in the version of today, from whoever sends it: recovery would.
    shop.d.queues.send("validate-bulk", Some(&shop.who.tenant), &[message]).await?;
    assert_eq!(shop.ended(order.order_id).await?.order.state, State::Shipped);

    // The newer one is still there: not dropped, and nobody's case.
    let held = shop.d.mappings.hold("validate-bulk").await?;
    let queue = "validate-bulk";
    let url = shop.d.queues.url("validate-bulk");
    let kept = eventually("the newer one comes back", BACK, || async {
        // `control-breakers` turns on after 45 s what no breaker holds; then it is put off by the function once more.
        if shop.d.mappings.is(queue).await?.0 {
            shop.d.mappings.turn_off(queue).await?;
        }
        let there = shop.d.queues.receive(&url, 30).await?;
        Ok(there.into_iter().find(|message| message.body() == Some(newer.as_str())))
    })
    .await?;
    assert_eq!(kept.message_id(), Some(put_off.message_id.as_str()));
    shop.d.queues.delete(&url, &kept).await?;
    // The shop's books are not closed: the newer message was taken out by hand, which they would miss.
    held.release().await
}
