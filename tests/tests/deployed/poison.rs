//! What can never succeed, beside what can.

use std::collections::BTreeSet;

use anyhow::Context as _;
use order::{Lane, State};
use ports::{CaseClass, ReadCases as _};
use serde_json::{Value, json};
use tests::clock::now_ms;
use tests::wait::eventually;
use uuid::Uuid;

use crate::cancels::BULK;
use crate::cases::open_cases;
use crate::shop::{SOON, Shop};

fn command(kind: &str, order_id: &str, version: u64) -> Value {
    json!({
        "specversion": "1.0",
        "id": Uuid::nil(),
        "source": "orderflow",
        "type": kind,
        "subject": order_id,
        "time": "2026-11-23T09:30:00.000Z",
        "data": { "order_id": order_id, "version": version },
    })
}

#[tokio::test]
async fn poison_becomes_cases_and_harms_nothing_beside_it() -> anyhow::Result<()> {
    let _bulk = BULK.lock().await;
    let shop = Shop::open("poison").await?;
    let good: Vec<_> = [
        shop.accept_without_message("good-1", Lane::Bulk, now_ms()).await?,
        shop.accept_without_message("good-2", Lane::Bulk, now_ms()).await?,
    ]
    .into();
    let messages: Vec<String> =
        good.iter().map(|order| ports::command_message(order, None, now_ms()).unwrap().body).collect();
    let nobody = Uuid::from_u128(42).to_string();
    let poison = [
        "this is not JSON {".to_owned(),
        "null".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        command("orderflow.order.explode.v1", &nobody, 1).to_string(),
        // Another step's.
        command("orderflow.payment.authorize.v1", &nobody, 1).to_string(),
        command("orderflow.order.validate.v1", &nobody, 1).to_string(),
        command("orderflow.order.validate.v1", "not-an-order", 1).to_string(),
    ];
    // Good, poison, good: in one batch, since nothing is received until all are there.
    let mut bodies = vec![messages[0].clone()];
    bodies.extend(poison.clone());
    bodies.push(messages[1].clone());
    let since_ms = now_ms();
    let held = shop.d.mappings.hold("validate-bulk").await?;
    shop.d.queues.send("validate-bulk", Some(&shop.who.tenant), &bodies).await?;
    held.release().await?;

    for order in &good {
        assert_eq!(shop.ended(order.order_id).await?.order.state, State::Shipped);
    }
    // Each is a case of its own, and its message is kept as it was.
    let aws = crate::fences::adapters(&shop)?;
    let buried = eventually("every poison is a case", SOON, || async {
        let mut found = Vec::new();
        for case in open_cases(&aws).await?.into_iter().filter(|case| case.case.step == "validate") {
            let letter = case.case.letter.clone().context("a dead letter's case says which")?;
            let raw = aws.load_raw(&letter.raw).await?.context("its raw message is kept")?;
            let raw: Value = serde_json::from_slice(&raw)?;
            let body = raw["message"]["body"].as_str().unwrap_or_default().to_owned();
            if poison.contains(&body) {
                found.push((body, letter, case));
            }
        }
        Ok((found.len() >= poison.len()).then_some(found))
    })
    .await?;
    let bodies: BTreeSet<&str> = buried.iter().map(|(body, ..)| body.as_str()).collect();
    assert_eq!(bodies, poison.iter().map(String::as_str).collect(), "each as it was, and nothing else");
    assert_eq!(buried.len(), poison.len(), "one case each");
    for (body, letter, case) in &buried {
        assert_eq!(case.case.class, CaseClass::Poison, "{body}");
        assert!(letter.queue.ends_with("-validate-bulk"), "{}", letter.queue);
        assert_eq!((letter.attempts, case.seen), (1, 1), "{body}");
        assert!(case.case.fingerprint.starts_with("validate/poison/"), "{}", case.case.fingerprint);
        assert!(!case.case.digest.contains("this is not JSON"), "{}", case.case.digest);
    }
    eventually("nothing is left in the dead-letter queue", SOON, || async {
        let depths = shop.d.queues.depths().await?;
        Ok(depths.0.get("validate-dlq").is_some_and(|depth| depth.total() == 0).then_some(()))
    })
    .await?;

    // They were in one batch indeed, and the answer named none of them.
    let lines = shop.d.logs.since(since_ms).await?;
    let ids: BTreeSet<&str> = buried.iter().map(|(_, letter, _)| letter.message_id.as_str()).collect();
    let batch = lines.invocations.iter().find(|line| {
        line.received_ids.len() > ids.len() && ids.iter().all(|id| line.received_ids.iter().any(|own| own == id))
    });
    let batch = batch.expect("one invocation received all of them");
    assert!(batch.failed_ids.is_empty(), "{:?}", batch.failed_ids);
    shop.close().await
}

#[tokio::test]
async fn an_invocation_with_a_record_without_message_id_fails_as_a_whole() -> anyhow::Result<()> {
    let shop = Shop::open("no-id").await?;
    let event =
        json!({ "Records": [{ "body": "{}", "eventSourceARN": "arn:aws:sqs:us-east-1:0:q", "attributes": {} }] });
    let failed = shop.d.invoke("validate-order", &event).await;
    assert!(failed.is_err(), "an answer would name nothing, and the batch would be deleted: {failed:?}");
    let empty = shop.d.invoke("validate-order", &json!({ "Records": [] })).await?;
    assert_eq!(serde_json::from_str::<Value>(&empty)?, json!({ "batchItemFailures": [] }));
    shop.close().await
}
