//! Events given to a function's own binary, as Lambda would, against the tables and queues of the running stack.

use std::path::PathBuf;
use std::time::Duration;

use orderflow::stack::{binaries, function_environment, project_root};
use serde_json::json;
use tests::runtime_api::{Function, Outcome};

use crate::shop::Shop;

/// Of the build that is deployed.
fn binary(function: &str) -> anyhow::Result<PathBuf> {
    Ok(binaries(&project_root()?).join(function))
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
