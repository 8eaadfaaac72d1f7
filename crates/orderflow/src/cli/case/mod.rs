//! `orderflow case list|groups|show|replay|close|export`: what a person has to decide, through the functions' own code.

mod filter;
mod replay;
pub(super) mod show;

use std::io::Write as _;

use anyhow::{bail, ensure};
use clap::{Args, Subcommand};
use lambda_queue::Clock as _;
use order::CaseId;
use platform::Aws;
use ports::{ReadCases as _, StoredCase};
use serde_json::{Value, json};
use triage_dead_letters::decide::{Closed, OwedRefund, close, given_up_with, owed_refunds};

use filter::{Chosen, Found};
pub(super) use filter::{Filter, Status, age};

use super::operator::{Asking, by};
use super::output::out;
use super::target::Target;

/// What a person has to decide.
#[derive(Debug, Subcommand)]
pub(super) enum CaseCommand {
    /// List cases, the newest first
    List(List),
    /// Show what cases have in common: one line a cause
    Groups(List),
    /// Show one case, and what was done about it
    Show(Show),
    /// Ask again for what cases kept from happening. Shows what it would do, and asks
    Replay(Replay),
    /// Close cases without doing anything about them
    Close(Close),
    /// Print cases as JSON lines
    Export(Export),
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    filter: Filter,
    /// How they stand
    #[arg(long, value_enum, default_value = "open")]
    status: Status,
    /// How many at most
    #[arg(long, default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The case's id
    case_id: CaseId,
    /// Print the raw message too, as its queue held it. It may hold whatever somebody sent
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub(super) struct Replay {
    #[command(flatten)]
    chosen: Chosen,
    /// Only show what it would do
    #[arg(long)]
    dry_run: bool,
    /// Cases a second
    #[arg(long, default_value_t = 5.0, value_parser = rate)]
    rate: f64,
    /// How long each stage (1, 10, then 100 at a time) is watched, seconds: it goes on once all are seen done, is watched
    /// twice more where too many are not known by then, and stops where too many failed again or are not known even then.
    /// Give more than what waits before them takes
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    watch: u64,
    /// Send also what needs a provider whose breaker is not closed: it waits until that closes
    #[arg(long)]
    despite_breaker: bool,
    /// Why: written down with each case
    #[arg(long, required_unless_present = "dry_run")]
    reason: Option<String>,
    #[command(flatten)]
    asking: Asking,
    #[command(flatten)]
    target: Target,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.01..=1_000.0).contains(&rate) => Ok(rate),
        Ok(_) | Err(_) => Err("a rate is between 0.01 and 1000 a second".to_owned()),
    }
}

#[derive(Debug, Args)]
pub(super) struct Close {
    #[command(flatten)]
    chosen: Chosen,
    /// Why: written down with each case
    #[arg(long)]
    reason: String,
    /// Give up the orders that are parked with them: what can be undone is undone, else they stay parked for good, and the
    /// refunds that they owe, which are shown before, are not paid
    #[arg(long)]
    abandon: bool,
    #[command(flatten)]
    asking: Asking,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub(super) struct Export {
    #[command(flatten)]
    filter: Filter,
    /// How they stand
    #[arg(long, value_enum, default_value = "open")]
    status: Status,
    /// With what was done about each
    #[arg(long)]
    audits: bool,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn run(command: CaseCommand, json: bool) -> anyhow::Result<()> {
    match command {
        CaseCommand::List(what) => {
            let aws = what.target.aws().await?;
            let mut found = what.filter.look(&aws, what.status, what.limit).await?;
            found.extend(what.filter.strangers(&what.target, &aws, what.status).await?);
            if json { print(&found.to_json()) } else { Ok(show::cases(&found, aws.now_ms())?) }
        }
        CaseCommand::Groups(what) => {
            let aws = what.target.aws().await?;
            let mut found = what.filter.look(&aws, what.status, usize::MAX).await?;
            found.extend(what.filter.strangers(&what.target, &aws, what.status).await?);
            found.mention();
            let mut groups = show::groups_of(&found.cases);
            groups.truncate(what.limit);
            if json {
                print(&groups)?
            } else {
                show::groups(&groups, aws.now_ms())?
            }
            Ok(())
        }
        CaseCommand::Show(what) => show_one(&what, json).await,
        CaseCommand::Replay(what) => replay::replay(&what, json).await,
        CaseCommand::Close(what) => close_all(&what, json).await,
        CaseCommand::Export(what) => {
            let aws = what.target.aws().await?;
            what.filter.pages(&aws, what.status, async |page| export(&aws, page, what.audits).await).await?;
            export(&aws, what.filter.strangers(&what.target, &aws, what.status).await?, what.audits).await
        }
    }
}

/// A page of cases as lines.
async fn export(aws: &Aws, page: Found, audits: bool) -> anyhow::Result<()> {
    for case in page.cases {
        let mut line = json!(case);
        if audits && let Value::Object(line) = &mut line {
            line.insert("audits".to_owned(), json!(aws.audits_of(case.case.case_id.as_str()).await?));
        }
        writeln!(out(), "{line}")?;
    }
    for unreadable in page.unreadable {
        writeln!(out(), "{}", json!(unreadable))?;
    }
    Ok(())
}

fn print(what: &impl serde::Serialize) -> anyhow::Result<()> {
    writeln!(out(), "{}", serde_json::to_string_pretty(what)?)?;
    Ok(())
}

async fn show_one(what: &Show, json: bool) -> anyhow::Result<()> {
    let aws = what.target.aws().await?;
    let Some(case) = aws.load_case(&what.case_id).await? else {
        bail!("there is no case {}: `orderflow case list --status all` shows what there is", what.case_id);
    };
    let audits = aws.audits_of(what.case_id.as_str()).await?;
    let raw = match (&case.case.letter, what.raw) {
        (Some(letter), true) => raw_of(&aws, &letter.raw).await?,
        (Some(_) | None, _) => Value::Null,
    };
    if json {
        let mut all = json!(case);
        if let Value::Object(all) = &mut all {
            all.insert("audits".to_owned(), json!(audits));
            if what.raw {
                all.insert("raw_message".to_owned(), raw);
            }
        }
        return print(&all);
    }
    show::case(&case, &audits)?;
    if what.raw {
        print(&raw)?;
    }
    Ok(())
}

async fn raw_of(aws: &Aws, key: &str) -> anyhow::Result<Value> {
    match aws.load_raw(key).await? {
        Some(raw) => Ok(serde_json::from_slice(&raw)?),
        None => bail!("the raw message {key} has expired"),
    }
}

/// Of the chosen ones, as they stand now.
async fn chosen(chosen: &Chosen, aws: &Aws) -> anyhow::Result<Found> {
    let found = chosen.load(aws).await?;
    let none = found.cases.is_empty() && found.unreadable.is_empty();
    ensure!(!none, "no open case is so: `orderflow case list` shows what there is");
    Ok(found)
}

/// Of each case, the refunds that its order owes; says so before anybody gives the orders up, as nobody pays them after that.
async fn given_up(aws: &Aws, cases: &[StoredCase]) -> anyhow::Result<Vec<Vec<OwedRefund>>> {
    let mut all = Vec::with_capacity(cases.len());
    for case in cases {
        let order = given_up_with(aws, case).await?;
        let owed = order.as_deref().map(owed_refunds).unwrap_or_default();
        if let Some(line) = order.as_deref().and_then(|order| show::owed_refunds(order, &owed)) {
            eprintln!("{line}");
        }
        all.push(owed);
    }
    Ok(all)
}

async fn close_all(what: &Close, json: bool) -> anyhow::Result<()> {
    let aws = what.target.aws().await?;
    let found = chosen(&what.chosen, &aws).await?;
    if !json {
        show::cases(&found, aws.now_ms())?;
    }
    let Found { cases, unreadable } = found;
    let all = cases.len() + unreadable.len();
    let abandon = if what.abandon { ", and give up the orders that are parked with them" } else { "" };
    let given_up = if what.abandon { Some(given_up(&aws, &cases).await?) } else { None };
    what.asking.confirm(&format!("Close {} cases{abandon}?", cases.len()))?;
    let by = by(&what.target, &what.reason).await?;
    let mut left = 0_usize;
    let mut closed = Vec::with_capacity(cases.len());
    for (at, case) in cases.iter().enumerate() {
        let seen = given_up.as_ref().map(|seen| seen.get(at).map_or(&[][..], Vec::as_slice));
        let became = close(&aws, case, &by, seen).await?;
        let words = match became {
            Closed::Closed => "closed",
            Closed::Cancelling => "closed: its order is being cancelled and undone",
            Closed::LeftParked => "abandoned: its order stays parked",
            Closed::Already => "closed or replayed already",
            Closed::NeedsAbandon => {
                "left open: its order is parked with it. Replay it, or give the order up with --abandon"
            }
            Closed::MayBeParked => {
                "left open: its order may be parked with it in a moment. It is closed once the order moves on"
            }
            Closed::Changed => "left alone: it changed meanwhile, or its order owes another refund by now. Look again",
        };
        left += usize::from(matches!(became, Closed::NeedsAbandon | Closed::MayBeParked | Closed::Changed));
        if json {
            closed.push(json!({ "case_id": case.case.case_id, "became": became }));
        } else {
            writeln!(out(), "{} {words}", case.case.case_id)?;
        }
    }
    // Nobody can tell what would be closed with it.
    left += unreadable.len();
    for one in unreadable {
        if json {
            closed.push(json!({ "case_id": one.case_id, "became": { "unreadable": one.unreadable } }));
        } else {
            writeln!(out(), "{} left open: {}", one.case_id, show::why_unreadable(&one))?;
        }
    }
    if json {
        print(&closed)?;
    }
    ensure!(left == 0, "{left} of {all} cases are not closed");
    Ok(())
}
