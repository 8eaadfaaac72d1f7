//! What is asked of the local AWS around the deployment, through the same SDK that the functions use.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_cloudformation::config::{Credentials, SharedCredentialsProvider};
use aws_sdk_s3::error::ProvideErrorMetadata;

use super::{ACCESS_KEY, MAIL_FROM, REGION};

/// Where `sam deploy` puts the packages.
pub(crate) const ARTIFACT_BUCKET: &str = "orderflow-artifacts";
/// A packaged function is about a megabyte and more; `sam deploy` uploads an empty folder without a word.
const SMALLEST_PACKAGE: i64 = 50_000;

/// SDK clients of one stack. Those of a local one never look for a profile or a real account.
#[derive(Clone, Debug)]
pub struct Clients {
    /// CloudFormation.
    pub cloudformation: aws_sdk_cloudformation::Client,
    /// DynamoDB.
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// S3.
    pub s3: aws_sdk_s3::Client,
    /// SES v2.
    pub ses: aws_sdk_sesv2::Client,
    /// SNS.
    pub sns: aws_sdk_sns::Client,
    /// SQS.
    pub sqs: aws_sdk_sqs::Client,
}

impl Clients {
    /// Clients of the local AWS at `endpoint`.
    #[must_use]
    pub fn new(endpoint: &str) -> Self {
        Self::with(&local_config(endpoint))
    }

    /// Clients of whatever the configuration says.
    #[must_use]
    pub fn with(config: &SdkConfig) -> Self {
        Self {
            cloudformation: aws_sdk_cloudformation::Client::new(config),
            dynamodb: aws_sdk_dynamodb::Client::new(config),
            s3: aws_sdk_s3::Client::new(config),
            ses: aws_sdk_sesv2::Client::new(config),
            sns: aws_sdk_sns::Client::new(config),
            sqs: aws_sdk_sqs::Client::new(config),
        }
    }
}

/// Configuration of any other SDK client for the local AWS at `endpoint`.
#[must_use]
pub fn local_config(endpoint: &str) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static(REGION))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
            ACCESS_KEY,
            "local",
            None,
            None,
            "local stack",
        )))
        .endpoint_url(endpoint)
        .build()
}

/// Makes what a deployment finds there on AWS: the bucket for packages, the verified sender.
pub(crate) async fn prepare(clients: &Clients) -> anyhow::Result<()> {
    clients.s3.create_bucket().bucket(ARTIFACT_BUCKET).send().await.context("cannot create the bucket for packages")?;
    let identity = clients.ses.create_email_identity().email_identity(MAIL_FROM).send().await;
    if let Err(error) = identity
        && error.code() != Some("AlreadyExistsException")
    {
        return Err(error).context("cannot verify the sender of the mail");
    }
    Ok(())
}

/// The deployed stack's outputs.
///
/// # Errors
/// When there is no such stack, or its last deployment did not succeed.
pub async fn outputs(clients: &Clients, stack_name: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let answer = clients
        .cloudformation
        .describe_stacks()
        .stack_name(stack_name)
        .send()
        .await
        .with_context(|| format!("the stack {stack_name} cannot be described"))?;
    let stack = answer.stacks().first().context("the deployed stack is not there")?;
    let status = stack.stack_status().map_or("unknown", |status| status.as_str());
    // A rolled-back update has left the stack as it was.
    let usable = matches!(status, "CREATE_COMPLETE" | "UPDATE_COMPLETE" | "UPDATE_ROLLBACK_COMPLETE");
    ensure!(usable, "the stack {stack_name} is in state {status}");
    Ok(stack
        .outputs()
        .iter()
        .filter_map(|output| Some((output.output_key()?.to_owned(), output.output_value()?.to_owned())))
        .collect())
}

/// One output.
///
/// # Errors
/// When the stack has none of that name.
pub fn output<'a>(outputs: &'a BTreeMap<String, String>, name: &str) -> anyhow::Result<&'a str> {
    outputs.get(name).map(String::as_str).with_context(|| format!("the stack has no output {name}"))
}

/// Makes sure that no empty folder was deployed.
pub(crate) async fn check_packages(clients: &Clients) -> anyhow::Result<()> {
    let listing =
        clients.s3.list_objects_v2().bucket(ARTIFACT_BUCKET).send().await.context("cannot list the packages")?;
    let packages: Vec<_> = listing
        .contents()
        .iter()
        .filter(|object| object.key().is_some_and(|key| !key.ends_with(".template")))
        .collect();
    ensure!(!packages.is_empty(), "sam deploy uploaded no package");
    for package in packages {
        let size = package.size().unwrap_or_default();
        ensure!(size >= SMALLEST_PACKAGE, "the package {} is only {size} bytes", package.key().unwrap_or_default());
    }
    Ok(())
}

/// Sets on the topic what ministack leaves out of the template in silence; without, order and deduplication are lost.
pub(crate) async fn finish_topic(
    clients: &Clients,
    outputs: &BTreeMap<String, String>,
    template: &str,
) -> anyhow::Result<()> {
    let topic = output(outputs, "EventsTopicArn")?;
    let by_content = template
        .split_once("AWS::SNS::Topic")
        .and_then(|(_, rest)| rest.split_once("ContentBasedDeduplication:"))
        .is_some_and(|(_, value)| value.trim_start().starts_with("true"));
    for (name, value) in
        [("FifoTopic", "true"), ("ContentBasedDeduplication", if by_content { "true" } else { "false" })]
    {
        clients
            .sns
            .set_topic_attributes()
            .topic_arn(topic)
            .attribute_name(name)
            .attribute_value(value)
            .send()
            .await
            .with_context(|| format!("cannot set {name} on the topic"))?;
    }
    Ok(())
}

/// The address under which curl and any other client reach the API: by path, since not every resolver knows
/// `<api>.execute-api.localhost`.
pub(crate) fn reachable_api_url(endpoint: &str, output: &str) -> anyhow::Result<String> {
    let host = output.split_once("://").map_or(output, |(_, rest)| rest);
    match host.split('.').next() {
        Some(id) if !id.is_empty() => Ok(format!("{endpoint}/_aws/execute-api/{id}")),
        Some(_) | None => bail!("the output ApiUrl is `{output}`, which names no API"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_is_addressed_by_path() {
        let url = reachable_api_url("http://127.0.0.1:4566", "https://a1b2c3d4.execute-api.us-east-1.amazonaws.com");
        assert_eq!(url.unwrap(), "http://127.0.0.1:4566/_aws/execute-api/a1b2c3d4");
    }
}
