//! What a run of two programs found.

use std::path::Path;

use anyhow::Context;
use orderflow::stack::StackInfo;
use serde::Serialize;

use super::Settings;
use crate::check::{Evidence, Verdict};
use crate::deployed::story;
use crate::run::drive::Journal;

/// One change of programs under orders.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct Phase {
    pub(super) name: &'static str,
    /// Placed meanwhile.
    pub(super) orders: usize,
    /// Commands of version 2 that were seen in the queues, where it was looked for them.
    pub(super) seen_in_version_2: usize,
    /// Receives that were put off: of messages that were too new for who received them, or behind a lease.
    pub(super) deferrals: usize,
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
        let mut table =
            crate::run::report::table(&["phase", "orders", "v2 seen", "deferrals", "changed after", "all ended after"]);
        for phase in &self.phases {
            table.add_row([
                phase.name.to_owned(),
                phase.orders.to_string(),
                phase.seen_in_version_2.to_string(),
                phase.deferrals.to_string(),
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

/// I16: every order has ended, nothing is left in a queue or became a case, and version 2 was sent and met the old program.
fn nothing_is_dropped(phases: &[Phase], evidence: &Evidence, cases: &[String]) -> Verdict {
    let mut wrong: Vec<String> = cases.iter().map(|case| format!("a case: {case}")).collect();
    let open = evidence.rows.iter().filter(|row| !row.order.state.is_terminal() || row.order.next_command().is_some());
    wrong.extend(open.map(|row| format!("order {}: {}", row.order.order_id, story(row))));
    if evidence.queues.holding(false).chain(evidence.queues.holding(true)).next().is_some() {
        wrong.push(evidence.queues.describe());
    }
    let seen = |phase: &&Phase| phase.seen_in_version_2 > 0;
    if phases.iter().filter(seen).count() < 2 {
        wrong.push("version 2 was not in the queues when it should have been".to_owned());
    }
    if phases.last().is_none_or(|phase| phase.deferrals == 0) {
        wrong.push("the old program put nothing off: it never met version 2".to_owned());
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
        let phase = |seen_in_version_2, deferrals| Phase {
            name: "a phase",
            orders: 3,
            seen_in_version_2,
            deferrals,
            changed_after_s: 1.0,
            ended_after_s: 2.0,
            stuck: Vec::new(),
        };
        vec![phase(0, 0), phase(4, 0), phase(2, 5)]
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
        let mut never_met = phases();
        never_met[2].deferrals = 0;
        assert!(!nothing_is_dropped(&never_met, &good, &[]).holds);
        let mut never_sent = phases();
        never_sent[1].seen_in_version_2 = 0;
        assert!(!nothing_is_dropped(&never_sent, &good, &[]).holds);
    }
}
