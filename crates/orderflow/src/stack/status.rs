//! What runs, and what waits in the queues.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use aws_sdk_sqs::types::QueueAttributeName;
use futures::future::try_join_all;
use serde::{Deserialize, Serialize};

use super::{ACCESS_KEY, Clients, FUNCTIONS, REGION, StackInfo};

/// Queues that are read at once.
const QUEUES_AT_ONCE: usize = 8;

/// The state of a local stack.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Where everything is.
    #[serde(flatten)]
    pub info: StackInfo,
    /// Whether ministack is there.
    pub ministack_running: bool,
    /// Whether the sandbox is there.
    pub sandbox_running: bool,
    /// Every queue; empty when ministack is not there.
    pub queues: Vec<QueueDepth>,
}

/// How much a queue holds, approximately as ever.
#[derive(Debug, Serialize)]
pub struct QueueDepth {
    /// The queue's name.
    pub name: String,
    /// Messages that wait.
    pub visible: u64,
    /// Messages that were received and are neither deleted nor visible again.
    pub in_flight: u64,
    /// Messages that wait for their delay.
    pub delayed: u64,
}

/// Looks at the stack whose state is in `dir`; `None` when there is none.
///
/// # Errors
/// When ministack is there but does not answer.
pub async fn status(dir: &Path) -> anyhow::Result<Option<Status>> {
    let Some(info) = StackInfo::load(dir)? else { return Ok(None) };
    let ministack_running = info.ministack().is_running();
    let sandbox_running = info.sandbox().is_running();
    let queues = if ministack_running {
        queue_depths(&Clients::new(&info.endpoint), &info.stack_name).await?
    } else {
        Vec::new()
    };
    Ok(Some(Status { info, ministack_running, sandbox_running, queues }))
}

/// The depths of all queues of a stack, by name.
pub(crate) async fn queue_depths(clients: &Clients, stack_name: &str) -> anyhow::Result<Vec<QueueDepth>> {
    depths(clients, &queue_urls(clients, stack_name).await?).await
}

/// The queues that CloudFormation made for a stack. Not by name: `shop-` begins those of a stack `shop-dev` as well.
pub(crate) async fn queue_urls(clients: &Clients, stack_name: &str) -> anyhow::Result<Vec<String>> {
    let mut urls = Vec::new();
    let mut pages = clients.cloudformation.list_stack_resources().stack_name(stack_name).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.with_context(|| format!("the resources of the stack {stack_name} cannot be listed"))?;
        let queues =
            page.stack_resource_summaries().iter().filter(|one| one.resource_type() == Some("AWS::SQS::Queue"));
        urls.extend(queues.filter_map(|queue| queue.physical_resource_id()).map(str::to_owned));
    }
    Ok(urls)
}

/// How much each queue holds, by name.
pub(crate) async fn depths(clients: &Clients, urls: &[String]) -> anyhow::Result<Vec<QueueDepth>> {
    let mut depths = Vec::with_capacity(urls.len());
    for some in urls.chunks(QUEUES_AT_ONCE) {
        depths.extend(try_join_all(some.iter().map(|url| queue_depth(clients, url))).await?);
    }
    depths.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(depths)
}

async fn queue_depth(clients: &Clients, url: &str) -> anyhow::Result<QueueDepth> {
    let answer = clients
        .sqs
        .get_queue_attributes()
        .queue_url(url)
        .attribute_names(QueueAttributeName::All)
        .send()
        .await
        .with_context(|| format!("{url} cannot be read"))?;
    let count = |name: QueueAttributeName| {
        let text = answer.attributes().and_then(|all| all.get(&name));
        let text = text.with_context(|| format!("{url} does not say its {name}"))?;
        text.parse::<u64>().with_context(|| format!("{url} has {text} as its {name}"))
    };
    Ok(QueueDepth {
        name: url.rsplit('/').next().unwrap_or(url).to_owned(),
        visible: count(QueueAttributeName::ApproximateNumberOfMessages)?,
        in_flight: count(QueueAttributeName::ApproximateNumberOfMessagesNotVisible)?,
        delayed: count(QueueAttributeName::ApproximateNumberOfMessagesDelayed)?,
    })
}

/// The environment of a deployed function, and what it needs to reach the stack from outside ministack.
///
/// # Errors
/// When there is no such function, or ministack does not answer.
pub async fn function_environment(info: &StackInfo, function: &str) -> anyhow::Result<BTreeMap<String, String>> {
    deployed_function(info, function).await.map(|(environment, _)| environment)
}

/// That, and the function's timeout.
pub(crate) async fn deployed_function(
    info: &StackInfo,
    function: &str,
) -> anyhow::Result<(BTreeMap<String, String>, Duration)> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Configuration {
        environment: Environment,
        /// Seconds.
        timeout: u64,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Environment {
        variables: BTreeMap<String, String>,
    }
    ensure!(FUNCTIONS.contains(&function), "there is no function {function}; there are {}", FUNCTIONS.join(", "));
    // ministack checks no signature, so this one call needs no Lambda client.
    let url = format!("{}/2015-03-31/functions/{}-{function}/configuration", info.endpoint, info.stack_name);
    let answer = reqwest::get(&url).await.context("ministack gave no answer")?;
    let configuration: Configuration =
        answer.error_for_status()?.json().await.context("ministack's answer is no function configuration")?;
    let mut variables = configuration.environment.variables;
    for (name, value) in [
        ("AWS_ENDPOINT_URL", info.endpoint.as_str()),
        ("AWS_REGION", REGION),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", "local"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ] {
        variables.insert(name.to_owned(), value.to_owned());
    }
    Ok((variables, Duration::from_secs(configuration.timeout)))
}
