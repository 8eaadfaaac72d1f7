//! Which stack a command works on: the local one, or one on AWS by its name and the operator's own credentials.

use std::collections::BTreeMap;

use anyhow::bail;
use aws_config::{BehaviorVersion, SdkConfig};
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
            None => aws_config::load_defaults(BehaviorVersion::latest()).await,
        })
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
            let clients = Clients::with(&aws_config::load_defaults(BehaviorVersion::latest()).await);
            let outputs = crate::stack::outputs(&clients, name).await?;
            return Ok((clients, Outputs(outputs)));
        }
        match StackInfo::load(&self.local.dir()?)?.filter(StackInfo::is_running) {
            Some(info) => Ok((Clients::new(&info.endpoint), Outputs(info.outputs))),
            None => bail!("no local stack is running: start one with `make up`, or name one on AWS with --stack"),
        }
    }
}
