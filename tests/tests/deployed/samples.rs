//! The sample events of `events/`: what `cargo lambda invoke <function> --data-file events/<function>.json` sends. Each is
//! given to its function's own binary, as Lambda would, against the tables and queues of the running stack.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use order::{Order, State};
use orderflow::stack::{FUNCTIONS, binaries, function_environment, project_root};
use runtime_api::{Function, Outcome};
use serde_json::{Value, json};
use tests::ledger::Effect;
use tests::wait::eventually;

use crate::shop::Shop;

fn sample(function: &str) -> anyhow::Result<Value> {
    let path = project_root()?.join(format!("events/{function}.json"));
    Ok(serde_json::from_str(&std::fs::read_to_string(path)?)?)
}

/// Of the build that is deployed.
fn binary(function: &str) -> anyhow::Result<PathBuf> {
    Ok(binaries(&project_root()?).join(function))
}

/// The answer, and what the records' lines say became of them.
async fn invoke(shop: &Shop, function: &str) -> anyhow::Result<(Value, Vec<String>)> {
    let environment = function_environment(&shop.d.info, function).await?;
    let mut running = Function::start(&binary(function)?, &environment, Duration::from_secs(25)).await?;
    match running.invoke(sample(function)?).await?.outcome {
        Outcome::Answered(answer) => {
            let verdicts = eventually("the end of the invocation in the log", Duration::from_secs(5), || async {
                let lines: Vec<Value> =
                    running.lines().iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
                let ended = lines.iter().any(|line| line["message"] == "invocation finished");
                let verdict = |line: &Value| line["verdict"].as_str().map(str::to_owned);
                Ok((ended || !has_records(function)).then(|| lines.iter().filter_map(verdict).collect::<Vec<_>>()))
            });
            Ok((answer, verdicts.await?))
        }
        Outcome::Failed(error) => panic!("{function} failed on its sample: {error}"),
    }
}

/// Whether its lines tell of records.
fn has_records(function: &str) -> bool {
    !matches!(function, "accept-order" | "recover-orders" | "control-breakers" | "reconcile-payments")
}

#[tokio::test]
async fn every_sample_event_is_handled_by_its_function() -> anyhow::Result<()> {
    let shop = Shop::open("samples").await?;
    // The order that the samples are about, as it was accepted: from the sample of its own change.
    let changed = sample("publish-events")?;
    let mut order: Order = serde_dynamo::from_item(serde_json::from_value::<serde_dynamo::Item>(
        changed["Records"][0]["dynamodb"]["NewImage"].clone(),
    )?)?;
    assert_eq!((order.state, order.version), (State::Accepted, 1));
    // The sample shows no customer: as of an order that was erased.
    assert!(order.ship_to.is_none() && order.email.is_none() && order.payment_method.is_none());
    order.ship_to = Some(serde_json::from_value(json!({
        "name": "Ada L", "line1": "1 Main St", "city": "Springfield", "postal_code": "12345", "country": "US"
    }))?);
    order.email = Some("ada@example.test".parse()?);
    order.payment_method = Some("pm_card_visa".parse()?);
    shop.d.tables.put_order(&order).await?;

    let all_done = json!({ "batchItemFailures": [] });
    // Its step commits and sends; the deployed functions take it from there.
    assert_eq!(invoke(&shop, "validate-order").await?, (all_done.clone(), vec!["done".to_owned()]));
    let shipped = shop.ended(order.order_id).await?.order;
    assert_eq!(shipped.state, State::Shipped);

    // All that is left of the samples is late by now: acknowledged, and nothing happens twice.
    for function in FUNCTIONS {
        let (answer, verdicts) = invoke(&shop, function).await?;
        match function {
            // Its token is signed by nobody.
            "accept-order" => assert_eq!(answer["statusCode"], 401, "{answer}"),
            "recover-orders" => assert!(answer["due"].is_u64(), "{answer}"),
            "control-breakers" => assert!(answer["report"].is_object(), "{answer}"),
            "reconcile-payments" => assert!(answer["payments"].is_u64(), "{answer}"),
            _ => {
                assert_eq!(answer, all_done, "{function}");
                // Never poison, which is acknowledged too. What publishes and archives does it again.
                let expected = match function {
                    "archive-events" => ["done", "done"].as_slice(),
                    "publish-events" | "triage-dead-letters" => &["done"],
                    _ => &["already"],
                };
                assert_eq!(verdicts, expected, "{function}");
            }
        }
    }
    assert_eq!(shop.d.tables.order(order.order_id).await?.unwrap().order, shipped);
    let effects = [Effect::PaymentCreated, Effect::Authorized, Effect::Captured, Effect::ShipmentCreated];
    assert_eq!(shop.effects(order.order_id)?, effects);
    shop.close().await
}

#[tokio::test]
async fn the_sample_of_a_request_is_an_order_once_it_has_a_token_of_the_sandbox() -> anyhow::Result<()> {
    let shop = Shop::open("sample-token").await?;
    let mut request = sample("accept-order")?;
    request["headers"]["authorization"] = json!(format!("Bearer {}", shop.d.api.token(&shop.who).await?));
    let environment = function_environment(&shop.d.info, "accept-order").await?;
    let mut running = Function::start(&binary("accept-order")?, &environment, Duration::from_secs(25)).await?;
    let Outcome::Answered(answer) = running.invoke(request).await?.outcome else { panic!("not answered") };
    assert_eq!(answer["statusCode"], 202, "{answer}");
    let order: Value = serde_json::from_str(answer["body"].as_str().context("no body")?)?;
    // Its products are the catalogue's, so how it ends is not this test's.
    shop.ended(order["order_id"].as_str().context("no order id")?.parse()?).await?;
    shop.close().await
}

#[tokio::test]
async fn an_event_that_is_none_of_its_function_fails_the_invocation() -> anyhow::Result<()> {
    let shop = Shop::open("no-sample").await?;
    let environment = function_environment(&shop.d.info, "ship-order").await?;
    let mut running = Function::start(&binary("ship-order")?, &environment, Duration::from_secs(15)).await?;
    for event in [json!({ "Records": "none" }), json!([]), json!({ "Records": [{ "body": "{}" }] })] {
        let outcome = running.invoke(event.clone()).await?.outcome;
        assert!(matches!(outcome, Outcome::Failed(_)), "{event}: {outcome:?}");
    }
    // And the next one is served by the same process.
    let answer = running.invoke(json!({ "Records": [] })).await?.outcome;
    assert_eq!(answer, Outcome::Answered(json!({ "batchItemFailures": [] })));
    shop.close().await
}
