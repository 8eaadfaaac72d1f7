//! Overload: real consumers tell how late they are, and the real API goes by what was told.

use anyhow::Context;
use lambda_queue::lag::{LATE_MS, Row, SLOT_MS, Word};
use lambda_queue::ports::store::{Store as _, Write, number};
use order::{Lane, State, Step};
use platform::Aws;
use ports::ReadLanes as _;
use tests::api::Answer;
use tests::clock::now_ms;
use tests::wait::eventually;

use crate::cancels::BULK;
use crate::cases::told;
use crate::fences::adapters;
use crate::shop::{SOON, Shop};

/// Tells of the bulk lane's shipping what a consumer would that is late, with so many orders before it and one done a second.
async fn tell_late(aws: &Aws, orders: u64) -> anyhow::Result<()> {
    let (now_ms, step) = (now_ms(), Step::Shipping.name());
    let mut item = Row::key(Lane::Bulk.name());
    for (what, value) in [("lag", 600_000), ("at", now_ms), ("lateat", now_ms), ("depth", orders)] {
        item.insert(format!("{what}_{step}"), number(value));
    }
    for slot in now_ms / SLOT_MS - 10..=now_ms / SLOT_MS {
        for what in ["done", "late"] {
            item.insert(format!("{what}_{step}_{slot}"), number(5));
        }
    }
    aws.write(Write::put(&aws.names().breakers_table, item)).await?;
    Ok(())
}

async fn bulk(aws: &Aws) -> anyhow::Result<Row> {
    Ok(aws.read_lanes().await?.lanes.remove(&Lane::Bulk).unwrap_or_default())
}

#[tokio::test]
async fn a_lane_told_to_be_late_is_shed_express_is_not_and_it_opens_again_when_it_keeps_up() -> anyhow::Result<()> {
    // Nobody else's bulk order is turned away, and nobody else's consumer tells that all is well.
    let _bulk = BULK.lock().await;
    let shop = Shop::open("overload").await?;
    let aws = adapters(&shop)?;
    let early = shop.order("early", &shop.body(Lane::Bulk)).await?;
    shop.ended(early).await?;

    let mut tries = 0..;
    let shed: Answer = eventually("a bulk order is turned away", SOON, || {
        let key = format!("late-{}", tries.next().unwrap_or(0));
        let (shop, aws) = (&shop, &aws);
        async move {
            tell_late(aws, 5_000).await?;
            let answer = shop.place(&key, &shop.body(Lane::Bulk)).await?;
            Ok((answer.status == 503).then_some(answer))
        }
    })
    .await?;
    assert_eq!(shed.code(), "lane_overloaded");
    let retry_after: u64 = shed.header("retry-after").parse().context("Retry-After")?;
    assert!((300..=375).contains(&retry_after), "{retry_after}: 1,400 s over its hour");
    assert!(shed.text.contains("This request accepted nothing"), "{}", shed.text);

    for lane in [Lane::Express, Lane::Standard] {
        let id = shop.order(lane.name(), &shop.body(lane)).await?;
        assert_eq!(shop.ended(id).await?.order.state, State::Shipped);
    }
    let again = shop.place("early", &shop.body(Lane::Bulk)).await?;
    assert_eq!((again.status, again.order_id(), again.state()), (202, Some(early), "shipped"), "a repeat");

    // The tool shows what the API goes by. Orders that were let in before may tell that all is well: then once more.
    let status = eventually("the tool shows that it is shed", SOON, || async {
        tell_late(&aws, 5_000).await?;
        let status = told(&shop, &["--json", "lane", "status"]).await?;
        Ok((status[2]["accepted"] == false).then_some(status))
    })
    .await?;
    let lanes: Vec<_> = [0, 1, 2].map(|at| (status[at]["lane"].as_str(), status[at]["accepted"].as_bool())).into();
    assert_eq!(lanes, [(Some("express"), Some(true)), (Some("standard"), Some(true)), (Some("bulk"), Some(false))]);
    assert_eq!(status[2]["deadline_ms"], 3_600_000);
    assert_eq!(status[2]["steps"][3]["capacity_per_second"], 1.0, "{status}");

    tell_late(&aws, 5).await?;
    let after = eventually("a bulk order is taken again", SOON, || async {
        let answer = shop.place("after", &shop.body(Lane::Bulk)).await?;
        Ok(if answer.status == 202 { answer.order_id() } else { None })
    })
    .await?;
    assert_eq!(shop.ended(after).await?.order.state, State::Shipped);
    shop.close().await
}

#[tokio::test]
async fn every_step_tells_how_late_its_lane_is_and_what_it_did() -> anyhow::Result<()> {
    let _bulk = BULK.lock().await;
    let shop = Shop::open("lag").await?;
    let aws = adapters(&shop)?;
    let since_ms = now_ms();
    let mut nth = 0..;
    let row = eventually("all four steps have told of the bulk lane", SOON, || {
        let key = format!("order-{}", nth.next().unwrap_or(0));
        let (shop, aws) = (&shop, &aws);
        async move {
            // A process that told just now does not tell at once: the next order brings it.
            let id = shop.order(&key, &shop.body(Lane::Bulk)).await?;
            shop.ended(id).await?;
            let row = bulk(aws).await?;
            let told = |step: &Step| row.steps.get(step.name()).is_some_and(|word| word.at_ms >= since_ms);
            Ok(Step::ALL.iter().all(told).then_some(row))
        }
    })
    .await?;
    for step in Step::ALL {
        let word: &Word = &row.steps[step.name()];
        assert!(word.lag_ms < 60_000, "{step:?}: {word:?}");
        assert!(word.lag_ms < LATE_MS || word.depth.is_some(), "it counts where it is late: {word:?}");
        assert!(word.done.values().sum::<u64>() > 0, "{step:?}: {word:?}");
    }
    let metrics = shop.d.logs.messages("process-payment", "lane_lag_ms", since_ms).await?;
    let metric: serde_json::Value = serde_json::from_str(metrics.first().context("no metric")?)?;
    assert!(metric["lane"].is_string() && metric["step"] == "payment", "{metric}");
    shop.close().await
}
