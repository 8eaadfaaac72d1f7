//! What every command of an operator has: on whose account and why it is done, and that it asks before it changes anything.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context, bail, ensure};
use clap::Args;
use triage_dead_letters::decide::By;

use super::target::Target;

/// Whether to ask.
#[derive(Debug, Args)]
pub(super) struct Asking {
    /// Do it without asking: for scripts
    #[arg(long, short = 'y')]
    yes: bool,
}

impl Asking {
    /// Asks on the terminal, unless it was said beforehand. Where nobody can answer, nothing is done.
    pub(super) fn confirm(&self, question: &str) -> anyhow::Result<()> {
        if self.yes {
            return Ok(());
        }
        ensure!(io::stdin().is_terminal(), "{question} Nobody is there to ask: give --yes");
        let mut to = io::stderr();
        write!(to, "{question} [y/N] ").and_then(|()| to.flush()).context("cannot ask")?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).context("cannot read the answer")?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            bail!("nothing is changed");
        }
        Ok(())
    }

    /// Whether somebody is asked, who then says yes to what was shown and to nothing else.
    pub(super) fn asks(&self) -> bool {
        !self.yes
    }
}

/// On whose account: the caller that STS names, or on the local stack the user of this machine.
pub(super) async fn by(target: &Target, reason: &str) -> anyhow::Result<By> {
    ensure!(!reason.trim().is_empty(), "a reason of no words is none: say why with --reason");
    Ok(By { who: who(target).await?, reason: reason.trim().to_owned() })
}

async fn who(target: &Target) -> anyhow::Result<String> {
    if target.info()?.is_some() {
        let user = std::env::var("USER").ok().filter(|user| !user.is_empty());
        return Ok(format!("local user {}", user.as_deref().unwrap_or("unknown")));
    }
    let caller = aws_sdk_sts::Client::new(&target.config().await?).get_caller_identity().send().await;
    let caller =
        caller.context("STS does not say who you are, and no change goes without that: check the credentials")?;
    caller.arn.context("STS names no caller")
}
