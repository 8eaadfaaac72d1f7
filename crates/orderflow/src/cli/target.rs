//! Which stack a command works on: the local one, or one on AWS by its name and the operator's own credentials.

use std::collections::BTreeMap;

use anyhow::bail;
use aws_config::BehaviorVersion;
use clap::Args;

use super::stack::Place;
use crate::stack::{Clients, StackInfo};

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
