//! `orderflow breaker list|open|close|probe|release`: whether a provider is called. Acts go through the breaker's own code; who,
//! when and why stand on the row, in the same write as the change. The row keeps the last ten; the audit records of the table of
//! cases keep all, written before the act.

use std::io::Write as _;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use lambda_queue::breaker::{Manual, Moved, Row};
use platform::{Aws, breaker};
use ports::{DecideCases as _, Dependency, ReadBreakers as _};
use serde_json::{Value, json};

use super::operator::{Asking, by};
use super::output::{self, out};
use super::target::Target;

/// Longest reason, characters: ten of them stand on a row.
const REASON_CHARS: usize = 200;

/// Breakers.
#[derive(Debug, Subcommand)]
pub(super) enum BreakerCommand {
    /// Show every breaker: its state, since when, why, and who last acted on it
    List(Target),
    /// Stop calling a provider: its step's messages wait; stays open until closed, probed or released
    Open(Open),
    /// Call it again, beginning with little
    Close(Close),
    /// Have it probed now: it closes when the probe goes well
    Probe(Act),
    /// Lift what --forced or `open` fixed: it goes on by itself from the state that it is in
    Release(Act),
}

/// Which breaker, and on whose account.
#[derive(Debug, Args)]
pub(super) struct Act {
    /// payment, carrier or mail
    #[arg(value_parser = PossibleValuesParser::new(Dependency::ALL.map(Dependency::name)))]
    dependency: String,
    /// Why: stands on the row. No customer data
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    asking: Asking,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub(super) struct Open {
    #[command(flatten)]
    act: Act,
    /// Let the next good probe close it, instead of staying open until somebody says so
    #[arg(long)]
    until_probed: bool,
}

#[derive(Debug, Args)]
pub(super) struct Close {
    #[command(flatten)]
    act: Act,
    /// Keep it closed whatever fails
    #[arg(long)]
    forced: bool,
}

/// Which change.
#[derive(Clone, Copy)]
enum Change {
    Open,
    Close,
    Probe,
    Release,
}

pub(super) async fn run(command: BreakerCommand, json: bool) -> anyhow::Result<()> {
    let (change, act, forced) = match &command {
        BreakerCommand::List(target) => return list(&Arc::new(target.aws().await?), json).await,
        BreakerCommand::Open(open) => (Change::Open, &open.act, !open.until_probed),
        BreakerCommand::Close(close) => (Change::Close, &close.act, close.forced),
        BreakerCommand::Probe(act) => (Change::Probe, act, false),
        BreakerCommand::Release(act) => (Change::Release, act, false),
    };
    act.carry_out(change, forced, json).await
}

impl Act {
    async fn carry_out(&self, change: Change, forced: bool, json: bool) -> anyhow::Result<()> {
        let fits = self.reason.trim().chars().count() <= REASON_CHARS;
        ensure!(fits, "the reason is longer than {REASON_CHARS} characters");
        let dependency = Dependency::from_name(&self.dependency).context("there is no such breaker")?;
        let aws = Arc::new(self.target.aws().await?);
        let breaker = breaker(&aws, dependency)?;
        let seen = breaker.row().await.context("the breaker cannot be read")?;
        let what = match (change, forced) {
            (Change::Open, true) => "open it until somebody closes it: its step stands still",
            (Change::Open, false) => "open it until a probe goes well",
            (Change::Close, true) => "close it and keep it closed whatever fails",
            (Change::Close, false) => "close it: its step begins again, with little",
            (Change::Probe, _) => "have it probed now",
            (Change::Release, _) => "let it go on by itself",
        };
        self.asking.confirm(&format!(
            "The breaker of {dependency} is {}{}. {}?",
            seen.state.name(),
            fixed(&seen),
            sentence(what)
        ))?;
        let by = by(&self.target, &self.reason).await?;
        let manual = if forced { Manual::forced(&by.who, &by.reason) } else { Manual::new(&by.who, &by.reason) };
        let detail = format!("{what}, from {} in epoch {}", seen.state.name(), seen.epoch);
        aws.write_audit(&by.audit(&*aws, "breaker", dependency.name(), detail)).await?;
        // Only on what was shown: whoever was quicker may have had a reason.
        let expected = Some(seen.epoch);
        let moved = match change {
            Change::Open => breaker.open(&manual, expected).await,
            Change::Close => breaker.close(&manual, expected).await,
            Change::Probe => breaker.probe(&manual, expected).await,
            Change::Release => breaker.release(&manual, expected).await,
        };
        match moved.context("the breaker may not be changed: look with `orderflow breaker list`")? {
            Moved::Moved(row) if json => writeln!(out(), "{}", serde_json::to_string_pretty(&shown(&row))?)?,
            Moved::Moved(row) => {
                writeln!(
                    out(),
                    "the breaker of {dependency} is {}{} in epoch {}",
                    row.state.name(),
                    fixed(&row),
                    row.epoch
                )?;
            }
            Moved::Unmoved(row) => {
                bail!("it changed meanwhile and is {} now: nothing is done, look again and repeat", row.state.name())
            }
        }
        Ok(())
    }
}

fn fixed(row: &Row) -> &'static str {
    if row.forced { ", forced" } else { "" }
}

fn sentence(what: &str) -> String {
    let mut chars = what.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

async fn list(aws: &Arc<Aws>, json: bool) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for dependency in Dependency::ALL {
        let row = aws.read_breaker(dependency).await;
        rows.push(row.with_context(|| format!("the breaker of {dependency} cannot be read"))?);
    }
    if json {
        let rows: Vec<Value> = rows.iter().map(|row| shown(row)).collect();
        writeln!(out(), "{}", serde_json::to_string_pretty(&rows)?)?;
        return Ok(());
    }
    let mut table = output::table();
    table.set_header(["provider", "state", "since", "why", "last probe", "last act by hand"]);
    for row in &rows {
        table.add_row([
            row.dependency.clone(),
            format!("{}{}", row.state.name(), fixed(row)),
            time(row.changed_at_ms),
            row.cause.clone().unwrap_or_default(),
            time(row.probed_at_ms),
            last_act(row),
        ]);
    }
    writeln!(out(), "{table}")?;
    Ok(())
}

/// A row as `--json` prints it. Acts are oldest first.
fn shown(row: &Row) -> Value {
    let acts: Vec<Value> = row
        .acts
        .iter()
        .map(|(epoch, act)| {
            let mut act: Value = serde_json::from_str(act).unwrap_or_else(|_| json!({ "text": act }));
            if let Some(fields) = act.as_object_mut() {
                fields.insert("epoch".to_owned(), json!(epoch));
            }
            act
        })
        .collect();
    json!({
        "dependency": row.dependency, "state": row.state.name(), "forced": row.forced, "epoch": row.epoch,
        "changed_at_ms": row.changed_at_ms, "opened_at_ms": row.opened_at_ms, "down_since_ms": row.down_since_ms,
        "wait_ms": row.wait_ms,
        "probed_at_ms": row.probed_at_ms, "cause": row.cause, "acts": acts,
    })
}

fn last_act(row: &Row) -> String {
    let Some((_, act)) = row.acts.last_key_value() else { return String::new() };
    let Ok(act) = serde_json::from_str::<Value>(act) else { return act.clone() };
    let text = |name: &str| act.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let at = time(act.get("at_ms").and_then(Value::as_u64).unwrap_or(0));
    format!("{at} {}: {} ({})", text("who"), text("state"), text("reason"))
}

/// UTC; empty for never.
fn time(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok().filter(|at_ms| *at_ms > 0);
    let at = at.and_then(|at_ms| jiff::Timestamp::from_millisecond(at_ms).ok());
    at.map_or_else(String::new, |at| at.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_shown_with_its_acts_oldest_first() {
        let mut row = Row::absent("payment");
        row.acts.insert(9, r#"{"at_ms":2000,"who":"ada","reason":"back","state":"closed","forced":false}"#.to_owned());
        row.acts.insert(8, r#"{"at_ms":1000,"who":"ada","reason":"out","state":"open","forced":true}"#.to_owned());
        let shown = shown(&row);
        assert_eq!((shown["state"].as_str(), shown["acts"][0]["epoch"].as_u64()), (Some("closed"), Some(8)));
        assert_eq!(last_act(&row), "1970-01-01 00:00:02 ada: closed (back)");
        assert_eq!(time(0), "");
    }
}
