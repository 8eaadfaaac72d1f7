//! One record of ten panics in the optimised binary, and the other nine are answered.

use anyhow::{Context, ensure};
use serde_json::json;

use crate::contestant::Places;
use crate::event;
use crate::function::{Function, Launch};

/// Which record of the batch panics.
const PANICS: usize = 6;

/// Runs the check, twice in one process: a panic must not harm the next invocation either.
///
/// # Errors
/// Where the answer names anything but the one record, or the process does not live on.
pub async fn check(places: &Places) -> anyhow::Result<()> {
    let binary = places.binaries.join("one-panics");
    let launch = Launch {
        name: "one-panics".to_owned(),
        command: vec![binary.to_string_lossy().into_owned()],
        env: vec![("LOG_LEVEL".to_owned(), "info".to_owned())],
    };
    let mut function = Function::start(&launch, &places.out).await?;
    function.first_poll().await?;
    let wanted = json!({ "batchItemFailures": [{ "itemIdentifier": event::message_id(PANICS) }] });
    for _ in 0..2 {
        let bodies = (0..10).map(|at| json!({ "panic": at == PANICS }));
        let (answer, _) = function.invoke(&event::sqs(bodies)).await.context("one of ten records panics")?;
        ensure!(answer == wanted, "one of ten records panicked; the answer should be {wanted}, but is {answer}");
    }
    let (answer, _) = function.invoke(&event::sqs((0..10).map(|_| json!({ "panic": false })))).await?;
    ensure!(answer == json!({ "batchItemFailures": [] }), "after a panic, ten good records answered {answer}");
    function.stop().await
}
