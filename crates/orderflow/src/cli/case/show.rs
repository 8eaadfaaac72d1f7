//! Cases on a terminal.

use std::collections::BTreeMap;
use std::io::{self, Write as _};

use lambda_queue::envelope::rfc3339;
use order::Order;
use ports::{Audit, StoredCase, UnreadableCase};
use serde::Serialize;
use triage_dead_letters::decide::{OwedRefund, told};
use triage_dead_letters::replay::{Action, Fate, Outcome, Planned, Report};

use super::filter::Found;
use crate::cli::output::{out, table};

/// How long ago, in the largest unit that tells something.
pub(in crate::cli) fn ago(now_ms: u64, at_ms: u64) -> String {
    let seconds = now_ms.saturating_sub(at_ms) / 1_000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// What to say of a case that a newer program wrote.
pub(super) fn why_unreadable(one: &UnreadableCase) -> String {
    format!("this program cannot read it ({}): use the version that wrote it", one.unreadable)
}

pub(super) fn cases(found: &Found, now_ms: u64) -> io::Result<()> {
    let mut rows = table();
    rows.set_header(["case", "status", "class", "step", "order", "tenant", "opened", "what"]);
    for stored in &found.cases {
        let case = &stored.case;
        rows.add_row([
            case.case_id.to_string(),
            stored.status.name().to_owned(),
            case.class.name().to_owned(),
            case.step.clone(),
            case.order_id.clone(),
            case.tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
            format!("{} ago", ago(now_ms, case.opened_at_ms)),
            case.digest.clone(),
        ]);
    }
    for one in &found.unreadable {
        let opened =
            if one.opened_at_ms > 0 { format!("{} ago", ago(now_ms, one.opened_at_ms)) } else { String::new() };
        let why = why_unreadable(one);
        rows.add_row([&one.case_id, "unreadable", "", &one.step, &one.order_id, "", &opened, &why]);
    }
    writeln!(out(), "{rows}")
}

/// Cases of one cause.
#[derive(Serialize)]
pub(super) struct Group {
    fingerprint: String,
    step: String,
    class: &'static str,
    cases: usize,
    orders: usize,
    first_opened_ms: u64,
    last_seen_ms: u64,
    /// Of the one seen last.
    digest: String,
}

/// The groups of some cases, the largest first.
pub(super) fn groups_of(cases: &[StoredCase]) -> Vec<Group> {
    let mut by_print: BTreeMap<&str, Vec<&StoredCase>> = BTreeMap::new();
    for case in cases {
        by_print.entry(case.case.fingerprint.as_str()).or_default().push(case);
    }
    let mut groups: Vec<Group> = by_print
        .into_iter()
        .filter_map(|(fingerprint, cases)| {
            let last = cases.iter().max_by_key(|case| case.last_seen_ms)?;
            let orders: std::collections::BTreeSet<&str> =
                cases.iter().map(|case| case.case.order_id.as_str()).filter(|id| !id.is_empty()).collect();
            Some(Group {
                fingerprint: fingerprint.to_owned(),
                step: last.case.step.clone(),
                class: last.case.class.name(),
                cases: cases.len(),
                orders: orders.len(),
                first_opened_ms: cases.iter().map(|case| case.case.opened_at_ms).min()?,
                last_seen_ms: last.last_seen_ms,
                digest: last.case.digest.clone(),
            })
        })
        .collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.cases));
    groups
}

pub(super) fn groups(groups: &[Group], now_ms: u64) -> io::Result<()> {
    let mut rows = table();
    rows.set_header(["fingerprint", "class", "cases", "orders", "first", "last seen", "the last one"]);
    for group in groups {
        rows.add_row([
            group.fingerprint.clone(),
            group.class.to_owned(),
            group.cases.to_string(),
            group.orders.to_string(),
            format!("{} ago", ago(now_ms, group.first_opened_ms)),
            format!("{} ago", ago(now_ms, group.last_seen_ms)),
            group.digest.clone(),
        ]);
    }
    writeln!(out(), "{rows}")
}

pub(super) fn case(stored: &StoredCase, audits: &[Audit]) -> io::Result<()> {
    let case = &stored.case;
    let mut head = table();
    head.add_row(["case", case.case_id.as_str()]);
    head.add_row(["about", case.kind.name()]);
    head.add_row(["status", stored.status.name()]);
    head.add_row(["class", case.class.name()]);
    head.add_row(["step", &case.step]);
    head.add_row(["what", &case.digest]);
    head.add_row(["fingerprint", &case.fingerprint]);
    for (name, value) in [
        ("order", case.order_id.clone()),
        ("version", if case.row_version > 0 { case.row_version.to_string() } else { String::new() }),
        ("tenant", case.tenant.as_ref().map(ToString::to_string).unwrap_or_default()),
        ("opened", rfc3339(case.opened_at_ms)),
        ("last seen", rfc3339(stored.last_seen_ms)),
        ("closed", stored.closed_at_ms.map(rfc3339).unwrap_or_default()),
        ("replayed", if stored.replays > 0 { format!("{} times", stored.replays) } else { String::new() }),
    ] {
        if !value.is_empty() {
            head.add_row([name, &value]);
        }
    }
    if let Some(letter) = &case.letter {
        head.add_row(["queue", &letter.queue]);
        head.add_row(["message", &letter.message_id]);
        head.add_row(["sent", &rfc3339(letter.sent_at_ms)]);
        head.add_row(["receives", &letter.attempts.to_string()]);
        head.add_row(["letters", &stored.seen.to_string()]);
        head.add_row(["raw message", &letter.raw]);
    }
    writeln!(out(), "{head}")?;
    if !audits.is_empty() {
        writeln!(out(), "{}", audit_table(audits))?;
    }
    Ok(())
}

pub(in crate::cli) fn audit_table(audits: &[Audit]) -> comfy_table::Table {
    let mut rows = table();
    rows.set_header(["when", "who", "did", "why", "what came of it"]);
    for audit in audits {
        rows.add_row([
            rfc3339(audit.at_ms),
            audit.who.clone(),
            audit.action.clone(),
            audit.reason.clone(),
            audit.detail.clone(),
        ]);
    }
    rows
}

/// What nobody pays any more once an order is given up; `None` where it owes no refund.
pub(super) fn owed_refunds(order: &Order, owed: &[OwedRefund]) -> Option<String> {
    let told = told(order, owed)?;
    Some(format!(
        "order {} owes refunds of {told}: once it is given up nobody pays them, so settle each by hand before",
        order.order_id
    ))
}

fn action(action: &Action) -> String {
    match action {
        Action::Resume { command, .. } => format!("let the order go, send {command}"),
        Action::Command { command, version, .. } => format!("send {command} of version {version}"),
        Action::Event { queues, behind: 0 } => format!("send it again to {}", queues.join(" and ")),
        Action::Event { queues, behind } => {
            format!("send it again to {}, behind {behind} of its order", queues.join(" and "))
        }
        Action::Nothing { why } => format!("close it: {why}"),
        Action::Refused { why } => format!("nothing: {why}"),
    }
}

pub(super) fn plan(planned: &[Planned], unreadable: &[UnreadableCase]) -> io::Result<()> {
    let mut rows = table();
    rows.set_header(["case", "step", "order", "would"]);
    for one in planned {
        let case = &one.case.case;
        rows.add_row([case.case_id.to_string(), case.step.clone(), case.order_id.clone(), action(&one.action)]);
    }
    for one in unreadable {
        let would = format!("nothing: {}", why_unreadable(one));
        rows.add_row([one.case_id.clone(), one.step.clone(), one.order_id.clone(), would]);
    }
    writeln!(out(), "{rows}")
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Sent(Fate::Done) => "sent, and its order moved on, or owes nothing".to_owned(),
        Outcome::Sent(Fate::NotSeenAgain) => "sent, and not seen again so far".to_owned(),
        Outcome::Sent(Fate::NotKnownYet) => "sent, and not known yet: its order has not moved".to_owned(),
        Outcome::Sent(Fate::FailedAgain) => "sent, and failed again".to_owned(),
        Outcome::NothingOwed => "closed: nothing was owed".to_owned(),
        Outcome::Changed => "left alone: it changed meanwhile".to_owned(),
        Outcome::NotSent(why) => format!("not sent: {why}"),
        Outcome::Refused(why) => format!("left: {why}"),
        Outcome::Held => "not begun".to_owned(),
    }
}

pub(super) fn report(report: &Report) -> io::Result<()> {
    let mut rows = table();
    rows.set_header(["case", "became"]);
    for (case_id, became) in &report.cases {
        rows.add_row([case_id.clone(), outcome(became)]);
    }
    writeln!(out(), "{rows}")?;
    writeln!(out(), "{} sent, {} failed, {} not known yet", report.sent, report.failed, report.unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_in_the_largest_unit_that_tells_something() {
        let of = |seconds: u64| ago(seconds * 1_000, 0);
        assert_eq!([0, 59, 60, 3_599, 3_600, 172_799, 172_800].map(of), ["0s", "59s", "1m", "59m", "1h", "47h", "2d"]);
        assert_eq!(ago(0, 5_000), "0s", "a clock that is ahead");
    }
}
