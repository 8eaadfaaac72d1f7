//! What a run of two programs found.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use lambda_queue::envelope::{NEWER_RECEIVES, newer_version};
use orderflow::stack::StackInfo;
use serde::Serialize;
use serde_json::Value;

use super::Settings;
use crate::check::{Evidence, Verdict};
use crate::deployed::story;
use crate::run::drive::Journal;

/// What a phase has to have met, or it has shown nothing.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub(super) struct Wants {
    /// Commands of version 2 in the queues.
    pub(super) version_2: bool,
    /// Records that each program finished while functions of both were deployed.
    pub(super) both_programs: bool,
    /// Commands of version 2 that the old program put off.
    pub(super) deferrals: bool,
}

/// How often one of these messages was put off because it was newer than who received it.
pub(super) fn put_off_as_newer(troubles: &[String], messages: &BTreeSet<String>) -> usize {
    let as_newer = newer_version(1, 0, NEWER_RECEIVES).to_string();
    let is_it = |line: &&String| {
        let Ok(line) = serde_json::from_str::<Value>(line) else { return false };
        let field = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default();
        field("message") == "record deferred" && field("failure") == as_newer && messages.contains(field("message_id"))
    };
    troubles.iter().filter(is_it).count()
}

/// One change of programs under orders.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct Phase {
    pub(super) name: &'static str,
    /// Placed meanwhile.
    pub(super) orders: usize,
    /// What it had to meet.
    pub(super) wants: Wants,
    /// Commands of version 2 that were seen in the queues, where it was looked for them.
    pub(super) seen_in_version_2: usize,
    /// How often one of those was put off because it was too new for who received it.
    pub(super) deferrals: usize,
    /// Records that functions of the old program finished while others had the new one already, or still.
    pub(super) by_the_old: usize,
    /// The same the other way round.
    pub(super) by_the_new: usize,
    /// When the change was done, seconds from the first order.
    pub(super) changed_after_s: f64,
    /// When the last order had ended and the queues were empty.
    pub(super) ended_after_s: f64,
    /// What had not; empty is good.
    pub(super) stuck: Vec<String>,
}

/// The report.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    /// Whether all of it is as it should be.
    pub(super) holds: bool,
    orders: usize,
    phases: Vec<Phase>,
    invariants: Vec<Verdict>,
    /// Open cases, in words; a parked order has one.
    cases: Vec<String>,
    /// What went wrong on the customers' side.
    troubles: Vec<String>,
    seed: u64,
    launcher: String,
}

impl Report {
    pub(super) fn new(
        settings: &Settings,
        info: &StackInfo,
        phases: Vec<Phase>,
        journal: &Journal,
        evidence: &Evidence,
        mut invariants: Vec<Verdict>,
    ) -> Self {
        let cases: Vec<String> = evidence
            .cases
            .iter()
            .filter(|case| case.status == "open")
            .map(|case| format!("{}: {}", case.fingerprint, case.digest))
            .collect();
        invariants.push(nothing_is_dropped(&phases, evidence, &cases));
        let holds = invariants.iter().all(|one| one.holds) && journal.troubles.is_empty() && journal.stuck.is_empty();
        Self {
            holds,
            orders: journal.orders.len(),
            phases,
            invariants,
            cases,
            troubles: journal.troubles.clone(),
            seed: settings.seed,
            launcher: info.launcher.to_string(),
        }
    }

    pub(super) fn print(&self) {
        let mut table = crate::run::report::table(&[
            "phase",
            "orders",
            "v2 seen",
            "put off",
            "old, mixed",
            "new, mixed",
            "changed after",
            "all ended after",
        ]);
        for phase in &self.phases {
            table.add_row([
                phase.name.to_owned(),
                phase.orders.to_string(),
                phase.seen_in_version_2.to_string(),
                phase.deferrals.to_string(),
                phase.by_the_old.to_string(),
                phase.by_the_new.to_string(),
                format!("{:.0} s", phase.changed_after_s),
                format!("{:.0} s", phase.ended_after_s),
            ]);
        }
        println!("\n{table}");
        for verdict in &self.invariants {
            println!("{} {}: {}", verdict.id, if verdict.holds { "holds" } else { "DOES NOT HOLD" }, verdict.detail);
        }
        for case in &self.cases {
            println!("case: {case}");
        }
        let stuck = self.phases.iter().flat_map(|phase| &phase.stuck);
        for trouble in self.troubles.iter().chain(stuck).take(20) {
            println!("trouble: {trouble}");
        }
    }

    pub(super) fn write(&self, path: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(path.parent().context("the report needs a folder")?)?;
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// I16: every order has ended, nothing is left in a queue or became a case, and each phase met what it was there for.
fn nothing_is_dropped(phases: &[Phase], evidence: &Evidence, cases: &[String]) -> Verdict {
    let mut wrong: Vec<String> = cases.iter().map(|case| format!("a case: {case}")).collect();
    let open = evidence.rows.iter().filter(|row| !row.order.state.is_terminal() || row.order.next_command().is_some());
    wrong.extend(open.map(|row| format!("order {}: {}", row.order.order_id, story(row))));
    if evidence.queues.holding(false).chain(evidence.queues.holding(true)).next().is_some() {
        wrong.push(evidence.queues.describe());
    }
    for phase in phases {
        let Wants { version_2, both_programs, deferrals } = phase.wants;
        let mut missing = |is_missing: bool, what: &str| {
            if is_missing {
                wrong.push(format!("{}: {what}", phase.name));
            }
        };
        missing(version_2 && phase.seen_in_version_2 == 0, "version 2 was not in the queues");
        missing(deferrals && phase.deferrals == 0, "the old program never met version 2: it put none of it off");
        missing(both_programs && phase.by_the_old == 0, "the old program finished nothing beside the new one");
        missing(both_programs && phase.by_the_new == 0, "the new program finished nothing beside the old one");
    }
    let detail = if wrong.is_empty() {
        format!("mixed versions and rollbacks drop nothing: {} changes, {} orders", phases.len(), evidence.rows.len())
    } else {
        wrong.join("; ")
    };
    Verdict { id: "I16", holds: wrong.is_empty(), detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phases() -> Vec<Phase> {
        let phase = |wants, seen_in_version_2, deferrals, by_the_old, by_the_new| Phase {
            name: "a phase",
            orders: 3,
            wants,
            seen_in_version_2,
            deferrals,
            by_the_old,
            by_the_new,
            changed_after_s: 1.0,
            ended_after_s: 2.0,
            stuck: Vec::new(),
        };
        let wants = Wants::default();
        vec![
            phase(Wants { both_programs: true, ..wants }, 0, 0, 3, 4),
            phase(Wants { version_2: true, ..wants }, 4, 0, 0, 0),
            phase(wants, 0, 0, 0, 0),
            phase(Wants { version_2: true, deferrals: true, ..wants }, 2, 5, 0, 0),
        ]
    }

    #[test]
    fn nothing_is_dropped_where_all_has_ended_and_the_versions_did_meet() {
        let verdict = nothing_is_dropped(&phases(), &crate::check::evidence_for_tests(), &[]);
        assert!(verdict.holds, "{}", verdict.detail);
    }

    #[test]
    fn a_case_and_a_rehearsal_in_which_the_versions_never_met_are_noticed() {
        let good = crate::check::evidence_for_tests();
        assert!(!nothing_is_dropped(&phases(), &good, &["payment/poison".to_owned()]).holds);
        let spoilt: [fn(&mut Vec<Phase>); 5] = [
            |phases| phases[0].by_the_old = 0,
            |phases| phases[0].by_the_new = 0,
            |phases| phases[1].seen_in_version_2 = 0,
            |phases| phases[3].seen_in_version_2 = 0,
            |phases| phases[3].deferrals = 0,
        ];
        for (at, spoil) in spoilt.iter().enumerate() {
            let mut phases = phases();
            spoil(&mut phases);
            assert!(!nothing_is_dropped(&phases, &good, &[]).holds, "spoilt {at}");
        }
    }

    #[test]
    fn only_what_was_put_off_as_newer_and_was_seen_in_version_2_shows_that_the_versions_met() {
        let line = |message: &str, failure: &str, id: &str| {
            serde_json::json!({ "level": "WARN", "message": message, "failure": failure, "message_id": id }).to_string()
        };
        let newer = "deferred: the message's version is newer than this program";
        let lines = [
            line("record deferred", newer, "m-1"),
            line("record deferred", newer, "m-1"),
            line("record deferred", newer, "m-9"),
            line("record deferred", "busy: another worker is at it", "m-1"),
            line("record deferred", "deferred: too little time left to call out", "m-2"),
            line("record failed", newer, "m-2"),
            "no JSON".to_owned(),
        ];
        let seen = BTreeSet::from(["m-1".to_owned(), "m-2".to_owned()]);
        assert_eq!(put_off_as_newer(&lines, &seen), 2);
        assert_eq!(put_off_as_newer(&lines, &BTreeSet::new()), 0);
    }
}
