//! Rows whose message was never sent.

use order::{Lane, State};
use ports::{Case, CaseClass, DueRow, FindDue as _, OpenCase as _, SetAside as _, unreadable};
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

#[tokio::test]
async fn the_index_is_read_page_by_page_and_a_row_is_put_off_without_being_read() -> anyhow::Result<()> {
    let shop = Shop::open("put-off").await?;
    let aws = crate::fences::adapters(&shop)?;
    // Two of one shard, due in an hour: nobody else looks at them before.
    let far_ms = now_ms() + 3_600_000;
    let shard = shop.id("key-0").shard(16);
    let keys: Vec<String> =
        (0..200).map(|at| format!("key-{at}")).filter(|key| shop.id(key).shard(16) == shard).take(2).collect();
    assert_eq!(keys.len(), 2);
    let mut mine = Vec::new();
    for (at, key) in keys.iter().enumerate() {
        let order = shop.accept_without_message(key, Lane::Standard, far_ms + at as u64 - 30_000).await?;
        mine.push(DueRow { key: order.order_id.to_string(), due_at_ms: far_ms + at as u64 });
    }

    // One row a page.
    let mut found: Vec<DueRow> = Vec::new();
    loop {
        let page = aws.find_due(shard, 0..far_ms + 60_000, 1, found.last()).await?;
        assert!(page.len() <= 1);
        let Some(row) = page.into_iter().next() else { break };
        assert!(found.last().is_none_or(|last| last.due_at_ms <= row.due_at_ms), "the longest overdue first");
        found.push(row);
    }
    found.retain(|row| mine.contains(row));
    assert_eq!(found, mine);

    // Only while it is due when it was found to be.
    let soon_ms = now_ms() - 1_000;
    let moved = DueRow { due_at_ms: far_ms - 1, ..mine[0].clone() };
    assert!(!aws.set_aside(&moved, soon_ms).await?);
    for row in &mine {
        assert!(aws.set_aside(row, soon_ms).await?);
        let order = shop.d.tables.order(row.key.parse()?).await?.unwrap().order;
        assert_eq!((order.version, order.due_at), (1, Some(soon_ms)));
    }
    shop.d.invoke("recover-orders", &json!({})).await?;
    shop.close().await
}

#[tokio::test]
async fn a_case_is_one_however_often_it_is_opened_and_only_its_last_writer_withdraws_it() -> anyhow::Result<()> {
    let shop = Shop::open("one-case").await?;
    let aws = crate::fences::adapters(&shop)?;
    let status = async |case: &Case| -> anyhow::Result<Vec<String>> {
        let cases = shop.d.tables.cases().await?;
        Ok(cases.into_iter().filter(|row| row.case_id == case.case_id.as_str()).map(|row| row.status).collect())
    };
    let mut first = unreadable("no-order-of-anybody", "recover", CaseClass::Skew, "a test", now_ms())?;
    (first.attempt, first.row_version) = ("1/first".to_owned(), 1);
    let second = Case { attempt: "2/second".to_owned(), row_version: 2, ..first.clone() };

    aws.open_case(&first).await?;
    aws.open_case(&second).await?;
    assert_eq!(status(&first).await?, ["open"]);
    aws.withdraw_case(&first).await?;
    aws.supersede_case(&first.case_id, 2).await?;
    assert_eq!(status(&first).await?, ["open"], "another has written it since");
    aws.withdraw_case(&second).await?;
    assert_eq!(status(&first).await?, ["superseded"]);
    aws.open_case(&second).await?;
    assert_eq!(status(&first).await?, ["open"]);
    aws.supersede_case(&first.case_id, 3).await?;
    assert_eq!(status(&first).await?, ["superseded"]);
    // One that is not there is not made by closing it.
    let none = unreadable("of-nobody-at-all", "recover", CaseClass::Skew, "a test", now_ms())?;
    aws.withdraw_case(&none).await?;
    aws.supersede_case(&none.case_id, 9).await?;
    assert_eq!(status(&none).await?, [""; 0]);
    shop.close().await
}
