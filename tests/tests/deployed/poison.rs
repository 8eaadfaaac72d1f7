//! What can never succeed, beside what can.

use std::collections::BTreeSet;
use std::sync::Mutex;

use lambda_queue::dead_letter::{ATTRIBUTE, DeadLetter};
use order::{Lane, State};
use serde_json::{Value, json};
use tests::clock::now_ms;
use tests::wait::eventually;
use uuid::Uuid;

use crate::cancels::BULK;
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
async fn poison_ends_in_the_dead_letter_queue_and_harms_nothing_beside_it() -> anyhow::Result<()> {
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
    let dlq = shop.d.info.output("ValidateDlqUrl")?.to_owned();
    let found: Mutex<Vec<(String, DeadLetter)>> = Mutex::default();
    eventually("all poison is in the dead-letter queue", SOON, || async {
        for message in shop.d.queues.receive(&dlq, 30).await? {
            let attribute = message.message_attributes.as_ref().and_then(|all| all.get(ATTRIBUTE));
            let letter = attribute.and_then(|value| value.string_value()).expect("a dead letter says why");
            let letter = serde_json::from_str(letter)?;
            shop.d.queues.delete(&dlq, &message).await?;
            found.lock().unwrap().push((message.body.unwrap_or_default(), letter));
        }
        Ok((found.lock().unwrap().len() >= poison.len()).then_some(()))
    })
    .await?;
    let buried = found.into_inner().unwrap();
    let bodies: BTreeSet<&str> = buried.iter().map(|(body, _)| body.as_str()).collect();
    assert_eq!(bodies, poison.iter().map(String::as_str).collect(), "each as it was, and nothing else");
    for (body, letter) in &buried {
        assert_eq!(letter.code, "poison", "{body}");
        assert!(letter.source_queue.ends_with("-validate-bulk"), "{}", letter.source_queue);
        assert_eq!(letter.attempts, 1, "{body}");
        assert!(!letter.reason.is_empty() && !letter.message_id.is_empty());
    }

    // They were in one batch indeed, and the answer named none of them.
    let lines = shop.d.logs.since(since_ms).await?;
    let ids: BTreeSet<&str> = buried.iter().map(|(_, letter)| letter.message_id.as_str()).collect();
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
