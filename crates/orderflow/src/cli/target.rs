//! Which stack a command works on: the local one, or one on AWS by its name and the operator's own credentials.

use std::collections::BTreeMap;

use anyhow::bail;
use aws_config::meta::region::ProvideRegion as _;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use clap::Args;
use platform::{Aws, Names, command_version};

use super::stack::Place;
use crate::stack::{Clients, StackInfo, local_config};

/// Which stack.
#[derive(Debug, Args)]
pub(super) struct Target {
    /// A stack on AWS, by its name, with the credentials and region of the environment [default: the local stack]
    #[arg(long, value_name = "NAME", env = "ORDERFLOW_STACK", conflicts_with = "dir")]
    stack: Option<String>,
    /// Use a profile of the AWS configuration files, as `aws --profile` does: keys in the environment do not count then
    /// [default: AWS_PROFILE, behind keys in the environment]
    #[arg(long, value_name = "PROFILE", requires = "stack")]
    profile: Option<String>,
    /// The stack's region, as `aws --region` does [default: that of --profile, else AWS_REGION, else that of AWS_PROFILE]
    #[arg(long, value_name = "REGION", requires = "stack")]
    region: Option<String>,
    /// Another address of AWS, as `aws --endpoint-url` does [default: AWS_ENDPOINT_URL]
    #[arg(long, value_name = "URL", requires = "stack")]
    endpoint_url: Option<String>,
    #[command(flatten)]
    local: Place,
}

/// A stack's outputs: the only place where names come from.
pub(super) struct Outputs(BTreeMap<String, String>);

impl Outputs {
    pub(super) fn output(&self, name: &str) -> anyhow::Result<&str> {
        crate::stack::output(&self.0, name)
    }
}

impl Target {
    /// The functions' own adapters over this stack: an operator acts through the same code.
    pub(super) async fn aws(&self) -> anyhow::Result<Aws> {
        let (_, outputs) = self.resolve().await?;
        let config = self.config().await?;
        let name = |output: &str| outputs.output(output).map(str::to_owned);
        let names = Names {
            orders_table: name("OrdersTable")?,
            stock_table: name("StockTable")?,
            idempotency_table: name("IdempotencyTable")?,
            cases_table: name("CasesTable")?,
            breakers_table: name("BreakersTable")?,
            queue_url_prefix: name("QueueUrlPrefix")?,
            // A stack of the program before has no such output, and sends what is sent without a word.
            command_version: command_version(outputs.output("CommandVersion").ok())?,
            events_topic_arn: name("EventsTopicArn")?,
            event_bus_name: name("EventBusName")?,
            archive_bucket: name("ArchiveBucket")?,
            mail_from: name("MailFrom")?,
            ..Names::default()
        };
        Ok(Aws::with(config, names))
    }

    /// The SDK's configuration for it.
    pub(super) async fn config(&self) -> anyhow::Result<SdkConfig> {
        Ok(match self.info()? {
            Some(info) => local_config(&info.endpoint),
            None => self.aws_config().await,
        })
    }

    /// Of AWS: the environment and the configuration files, with what was said here on top.
    async fn aws_config(&self) -> SdkConfig {
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        let mut region = self.region.clone().map(Region::new);
        if let Some(profile) = &self.profile {
            if region.is_none() {
                region = ProfileFileRegionProvider::builder().profile_name(profile).build().region().await;
            }
            // Its name alone would stand behind keys in the environment, and those may be another account's.
            let asks = ProviderConfig::with_default_region().await;
            let asks = if region.is_some() { asks.with_region(region.clone()) } else { asks };
            let keys = ProfileFileCredentialsProvider::builder().configure(&asks).profile_name(profile).build();
            loader = loader.profile_name(profile).credentials_provider(keys);
        }
        if let Some(region) = region {
            loader = loader.region(region);
        }
        if let Some(url) = &self.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        loader.load().await
    }

    /// The local stack, where it is that.
    pub(super) fn info(&self) -> anyhow::Result<Option<StackInfo>> {
        if self.stack.is_some() { Ok(None) } else { StackInfo::load(&self.local.dir()?) }
    }

    /// Its name.
    pub(super) fn name(&self) -> anyhow::Result<String> {
        match (&self.stack, self.info()?) {
            (Some(name), _) => Ok(name.clone()),
            (None, Some(info)) => Ok(info.stack_name),
            (None, None) => {
                bail!("no local stack is running: start one with `make up`, or name one on AWS with --stack")
            }
        }
    }

    pub(super) async fn resolve(&self) -> anyhow::Result<(Clients, Outputs)> {
        if let Some(name) = &self.stack {
            let clients = Clients::with(&self.aws_config().await);
            let outputs = crate::stack::outputs(&clients, name).await?;
            return Ok((clients, Outputs(outputs)));
        }
        match StackInfo::load(&self.local.dir()?)?.filter(StackInfo::is_running) {
            Some(info) => Ok((Clients::new(&info.endpoint), Outputs(info.outputs))),
            None => bail!("no local stack is running: start one with `make up`, or name one on AWS with --stack"),
        }
    }
}
