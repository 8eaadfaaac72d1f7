//! `orderflow case replay`.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use triage_dead_letters::replay::{Action, Outcome, Pace, Report, Stopped, group_of, plan, run};

use super::filter::{Found, in_groups};
use super::{Replay, chosen, print, show};
use crate::Ended;
use crate::cli::operator::by;

/// The exit code where what was sent is not known yet to have come to anything: neither success nor failure.
const NOT_KNOWN_YET: u8 = 3;

pub(super) async fn replay(what: &Replay, json: bool) -> anyhow::Result<()> {
    let aws = what.target.aws().await?;
    let Found { cases, unreadable } = chosen(&what.chosen, &aws).await?;
    // Events keep their order: of each one's group the others that are open count, too.
    let groups: BTreeSet<String> = cases.iter().filter_map(group_of).collect();
    let open = in_groups(&aws, &groups).await?;
    let planned = plan(&aws, cases, &open.cases, &open.unreadable, what.despite_breaker).await?;
    if what.dry_run && json {
        let refused = unreadable.iter().map(|one| {
            let why = show::why_unreadable(one);
            json!({ "case": { "case_id": one.case_id }, "action": { "refused": { "why": why } }, "group": null })
        });
        return print(&planned.iter().map(|one| json!(one)).chain(refused).collect::<Vec<Value>>());
    }
    if !json {
        show::plan(&planned, &unreadable)?;
    }
    if what.dry_run {
        return Ok(());
    }
    let doing = planned.iter().filter(|one| !matches!(one.action, Action::Refused { .. })).count();
    let refused = planned.len() - doing + unreadable.len();
    ensure!(doing > 0, "none of these can be replayed: see what they say with --dry-run");
    what.asking.confirm(&format!("Replay {doing} cases, at most {} a second?", what.rate))?;
    let reason = what.reason.as_deref().context("why? Say it with --reason")?;
    let by = by(&what.target, reason).await?;
    let pace = Pace { between: Duration::from_secs_f64(1.0 / what.rate), watch: Duration::from_secs(what.watch) };
    let total = planned.len();
    let mut report = run(&aws, planned, &by, pace, |so_far| {
        eprintln!(
            "{} of {total} taken, {} sent, {} failed, {} not known yet",
            so_far.cases.len(),
            so_far.sent,
            so_far.failed,
            so_far.unknown
        );
    })
    .await;
    let refusal = |one: &ports::UnreadableCase| (one.case_id.clone(), Outcome::Refused(show::why_unreadable(one)));
    report.cases.extend(unreadable.iter().map(refusal));
    if json {
        print(&report)?
    } else {
        show::report(&report)?
    }
    how_it_ended(&report, refused)
}

/// An error where it did not come to its end; `refused` are those that nothing was to be done for.
fn how_it_ended(report: &Report, refused: usize) -> anyhow::Result<()> {
    if report.stopped == Some(Stopped::Failed) {
        bail!("stopped: {} of {} failed. See what they say: `orderflow case list`", report.failed, report.sent);
    }
    if report.unknown > 0 {
        let held = report.cases.iter().filter(|(_, became)| *became == Outcome::Held).count();
        let why = format!(
            "{} not known yet, {held} not begun: what was sent is neither done nor has it failed. `orderflow breaker list`, \
             `orderflow queue list` and `orderflow trace <order>` show what it waits for. Run it again later for the rest; \
             behind a long queue with a --watch that is longer than what waits there takes",
            report.unknown
        );
        return Err(Ended::new(NOT_KNOWN_YET, why).into());
    }
    let left = report.cases.iter().filter(|(_, became)| matches!(became, Outcome::Refused(_))).count();
    ensure!(left <= refused, "{} were left, which is not as planned: see what they say above", left - refused);
    Ok(())
}

#[cfg(test)]
mod tests {
    use triage_dead_letters::replay::Fate;

    use super::*;

    #[test]
    fn a_replay_of_which_too_little_is_known_ends_neither_well_nor_in_failure() {
        let code = |report: &Report| how_it_ended(report, 0).map_or_else(|error| Ended::code_of(&error), |()| 0);
        let of = |became: &[Outcome]| became.iter().map(|became| ("case".to_owned(), became.clone())).collect();
        let done = Report { sent: 1, cases: of(&[Outcome::Sent(Fate::Done)]), ..Report::default() };
        assert_eq!(code(&done), 0);
        let unknown = Report {
            sent: 1,
            unknown: 1,
            stopped: Some(Stopped::NotKnownYet),
            cases: of(&[Outcome::Sent(Fate::NotKnownYet), Outcome::Held]),
            ..Report::default()
        };
        assert_eq!(code(&unknown), NOT_KNOWN_YET);
        let why = how_it_ended(&unknown, 0).unwrap_err().to_string();
        assert!(why.starts_with("1 not known yet, 1 not begun") && why.contains("Run it again later"), "{why}");
        assert!(why.contains("--watch"), "{why}");
        let failed = Report { failed: 1, stopped: Some(Stopped::Failed), ..unknown };
        assert_eq!(code(&failed), 1);
        let meanwhile = Report { cases: of(&[Outcome::Refused("a breaker opened".to_owned())]), ..Report::default() };
        assert_eq!(code(&meanwhile), 1);
        assert!(how_it_ended(&meanwhile, 1).is_ok(), "it was refused by the plan");
    }
}
