//! What is told of an order: to the customer, and to whoever listens.

use std::collections::BTreeMap;

use order::{Lane, State};
use serde_json::json;
use tests::archive;
use tests::wait::eventually;

use crate::shop::{SOON, Shop};

/// Waits for this many mails and answers their subjects without the order's number, in the order they were sent.
async fn mails(shop: &Shop, count: usize) -> anyhow::Result<Vec<String>> {
    let mails = eventually(&format!("{count} mails"), SOON, || async {
        let mails = shop.d.mail.to(&shop.email).await?;
        Ok((mails.len() >= count).then_some(mails))
    })
    .await?;
    let subject = |subject: &str| subject.rsplit_once(' ').map_or(subject, |(what, _)| what).to_owned();
    Ok(mails.iter().map(|mail| subject(&mail.subject)).collect())
}

#[tokio::test]
async fn a_customer_reads_the_story_in_order_and_each_mail_once() -> anyhow::Result<()> {
    let shop = Shop::open("story").await?;
    let id = shop.order("key", &shop.body(Lane::Express)).await?;
    shop.ended(id).await?;
    shop.refund(id, "some", Some(100)).await?;
    shop.ended(id).await?;
    let told = ["We have received your order", "On its way: your order", "Your refund for order"];
    assert_eq!(mails(&shop, told.len()).await?, told);

    // Every event of it once more, as a repeated delivery would bring them: no mail more.
    let row = shop.d.tables.order(id).await?.unwrap().order;
    let published = archive::events(&shop.d.clients, &shop.d.info).await?;
    assert!(published.iter().any(|event| event.order_id == id.to_string()));
    let url = shop.d.info.output("NotifyQueueUrl")?;
    for (at, name) in [(1_u64, "accepted"), (6, "shipped")] {
        let event = json!({
            "specversion": "1.0", "id": format!("again-{at}"), "source": "orderflow",
            "type": format!("orderflow.order.{name}.v1"), "subject": id, "time": "2026-11-23T09:30:00.000Z",
            "data": { "order_id": id, "version": at, "event": name, "refunds_minor": 0 },
        });
        let send = shop.d.clients.sqs.send_message().queue_url(url).message_body(event.to_string());
        let send = send.message_group_id(id.to_string()).message_deduplication_id(format!("{id}-again-{at}"));
        send.send().await?;
    }
    eventually("both are acknowledged", SOON, || async {
        let lines = shop.d.logs.since(row.created_at).await?;
        let own = lines.records.iter().filter(|line| {
            line.function == "notify-customer" && line.order_id == Some(id.to_string()) && line.verdict == "already"
        });
        Ok((own.count() >= 2).then_some(()))
    })
    .await?;
    assert_eq!(mails(&shop, told.len()).await?, told);
    shop.close().await
}

#[tokio::test]
async fn a_rejected_order_is_told_so() -> anyhow::Result<()> {
    let shop = Shop::open("told-no").await?;
    let id = shop.order("key", &shop.body_paid_by(Lane::Express, "pm_card_visa_chargeDeclined")).await?;
    assert_eq!(shop.ended(id).await?.order.state, State::Rejected);
    assert_eq!(mails(&shop, 2).await?, ["We have received your order", "We could not complete your order"]);
    shop.close().await
}

#[tokio::test]
async fn a_listener_hears_every_version_of_every_order_in_order() -> anyhow::Result<()> {
    let shop = Shop::open("listener").await?;
    let clients = &shop.d.clients;
    let queue = clients.sqs.create_queue().queue_name("listener.fifo");
    let queue = queue.attributes("FifoQueue".into(), "true").send().await?;
    let url = queue.queue_url().unwrap().to_owned();
    let attributes = clients.sqs.get_queue_attributes().queue_url(&url).attribute_names("QueueArn".into());
    let attributes = attributes.send().await?;
    let arn = attributes.attributes().and_then(|all| all.get(&"QueueArn".into())).unwrap();
    let subscribe = clients.sns.subscribe().topic_arn(shop.d.info.output("EventsTopicArn")?).protocol("sqs");
    let subscription = subscribe.endpoint(arn).attributes("RawMessageDelivery", "true").send().await?;

    let mut ids = Vec::new();
    for at in 0..6 {
        let lane = Lane::ALL[at % Lane::ALL.len()];
        let mut body = shop.body(lane);
        if at == 5 {
            body["ship_to"]["postal_code"] = "00000".into();
        }
        ids.push(shop.order(&format!("key-{at}"), &body).await?);
    }
    let mut wanted: BTreeMap<String, u64> = BTreeMap::new();
    for id in ids {
        let order = shop.ended(id).await?.order;
        wanted.insert(id.to_string(), order.version);
    }
    let heard = std::sync::Mutex::new(BTreeMap::<String, Vec<u64>>::new());
    eventually("every version is heard", SOON, || async {
        for message in shop.d.queues.receive(&url, 60).await? {
            let event = archive::parse(message.body.as_deref().unwrap_or_default())?;
            shop.d.queues.delete(&url, &message).await?;
            if wanted.contains_key(&event.order_id) {
                heard.lock().unwrap().entry(event.order_id).or_default().push(event.version);
            }
        }
        let heard = heard.lock().unwrap();
        let all = wanted.iter().all(|(id, last)| heard.get(id).is_some_and(|versions| versions.contains(last)));
        Ok(all.then_some(()))
    })
    .await?;
    for (id, versions) in heard.into_inner().unwrap() {
        let all: Vec<u64> = (1..=wanted[&id]).collect();
        assert_eq!(versions, all, "order {id}");
    }
    clients.sns.unsubscribe().subscription_arn(subscription.subscription_arn().unwrap()).send().await?;
    clients.sqs.delete_queue().queue_url(&url).send().await?;
    shop.close().await
}
