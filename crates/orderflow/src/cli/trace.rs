//! `orderflow trace <order>`: all that is known of one order, in time order.

use std::io::Write as _;

use clap::Args;
use lambda_queue::envelope::rfc3339;
use order::OrderId;
use ports::LoadOrder as _;

use super::output::{out, table};
use super::target::Target;
use crate::trace::{Sources, collect};

#[derive(Debug, Args)]
pub(super) struct Trace {
    /// The order's id
    order_id: OrderId,
    /// Leave out the functions' log lines
    #[arg(long)]
    no_logs: bool,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn run(what: Trace, json: bool) -> anyhow::Result<()> {
    let aws = what.target.aws().await?;
    let Some(order) = aws.load_order(what.order_id).await? else {
        anyhow::bail!("there is no order {}: `orderflow order list` shows what there is", what.order_id);
    };
    let info = what.target.info()?;
    let sources = Sources {
        stack: what.target.name()?,
        config: what.target.config().await?,
        sandbox_url: info.map(|info| info.sandbox_url),
        logs: !what.no_logs,
    };
    let trace = collect(&aws, &order, &sources).await?;
    if json {
        writeln!(out(), "{}", serde_json::to_string_pretty(&trace)?)?;
        return Ok(());
    }
    let mut rows = table();
    rows.set_header(["at", "from", "what", "more"]);
    for entry in &trace.entries {
        rows.add_row([rfc3339(entry.at_ms), entry.source.to_owned(), entry.what.clone(), entry.more.clone()]);
    }
    writeln!(out(), "{rows}")?;
    if !trace.effects.is_empty() {
        let mut rows = table();
        rows.set_header(["effect's record", "operation", "status", "attempts", "note"]);
        for effect in &trace.effects {
            rows.add_row([&effect.record, &effect.operation, &effect.status, &effect.attempts, &effect.note]);
        }
        writeln!(out(), "{rows}")?;
    }
    for missing in &trace.missing {
        writeln!(out(), "not looked at: {missing}")?;
    }
    Ok(())
}
