//! Which cases: by id, or by what they are.

use anyhow::{bail, ensure};
use clap::{Args, ValueEnum};
use lambda_queue::Clock as _;
use order::{CaseId, TenantId};
use platform::Aws;
use ports::{CaseClass, CaseIndex, CaseKind, CaseStatus, ReadCases as _, StoredCase};

/// Cases that one command looks through at most.
const MOST: usize = 50_000;
/// Of a page.
const PAGE: u32 = 100;

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(in crate::cli) enum Status {
    Open,
    Replayed,
    Closed,
    Abandoned,
    Superseded,
    All,
}

impl Status {
    fn all(self) -> Vec<CaseStatus> {
        match self {
            Self::Open => vec![CaseStatus::Open],
            Self::Replayed => vec![CaseStatus::Replayed],
            Self::Closed => vec![CaseStatus::Closed],
            Self::Abandoned => vec![CaseStatus::Abandoned],
            Self::Superseded => vec![CaseStatus::Superseded],
            Self::All => CaseStatus::ALL.to_vec(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Class {
    Transient,
    Poison,
    Skew,
    Bug,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Kind {
    Parked,
    Unreadable,
    DeadLetter,
    Difference,
}

/// What they are.
#[derive(Debug, Args)]
pub(in crate::cli) struct Filter {
    /// Of this step: validate, payment, stock, shipping, notify, archive, events, recover, reconcile
    #[arg(long)]
    step: Option<String>,
    /// Of this class
    #[arg(long, value_enum)]
    class: Option<Class>,
    /// Of this kind
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// Of this cause: as `case groups` shows it, or the beginning of it with a * behind
    #[arg(long)]
    fingerprint: Option<String>,
    /// Of this tenant
    #[arg(long)]
    tenant: Option<TenantId>,
    /// About this order
    #[arg(long)]
    order: Option<String>,
    /// Opened at least so long ago: 30m, 12h, 7d
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Option<u64>,
    /// Opened at most so long ago
    #[arg(long, value_name = "AGE", value_parser = age)]
    newer_than: Option<u64>,
}

/// `90s`, `30m`, `12h`, `7d`, as milliseconds.
pub(in crate::cli) fn age(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no age: give a number and s, m, h or d, as in 12h");
    let at = text.len().saturating_sub(1);
    let (number, unit) = if text.is_char_boundary(at) { text.split_at(at) } else { return Err(wrong()) };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit_ms = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit_ms).ok_or_else(wrong)
}

impl Filter {
    /// Takes every case.
    pub(in crate::cli) fn any() -> Self {
        Self {
            step: None,
            class: None,
            kind: None,
            fingerprint: None,
            tenant: None,
            order: None,
            older_than: None,
            newer_than: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        let Self { step, class, kind, fingerprint, tenant, order, older_than, newer_than } = self;
        step.is_none()
            && class.is_none()
            && kind.is_none()
            && fingerprint.is_none()
            && tenant.is_none()
            && order.is_none()
            && older_than.is_none()
            && newer_than.is_none()
    }

    fn takes(&self, case: &StoredCase, now_ms: u64) -> bool {
        let class = self.class.map(|class| match class {
            Class::Transient => CaseClass::Transient,
            Class::Poison => CaseClass::Poison,
            Class::Skew => CaseClass::Skew,
            Class::Bug => CaseClass::Bug,
        });
        let kind = self.kind.map(|kind| match kind {
            Kind::Parked => CaseKind::Parked,
            Kind::Unreadable => CaseKind::Unreadable,
            Kind::DeadLetter => CaseKind::DeadLetter,
            Kind::Difference => CaseKind::Difference,
        });
        let fingerprint = |print: &String| match print.strip_suffix('*') {
            Some(beginning) => case.case.fingerprint.starts_with(beginning),
            None => case.case.fingerprint == *print,
        };
        let age_ms = now_ms.saturating_sub(case.case.opened_at_ms);
        self.step.as_ref().is_none_or(|step| case.case.step == *step)
            && class.is_none_or(|class| case.case.class == class)
            && kind.is_none_or(|kind| case.case.kind == kind)
            && self.fingerprint.as_ref().is_none_or(fingerprint)
            && self.tenant.as_ref().is_none_or(|tenant| case.case.tenant.as_ref() == Some(tenant))
            && self.order.as_ref().is_none_or(|order| case.case.order_id == *order)
            && self.older_than.is_none_or(|least_ms| age_ms >= least_ms)
            && self.newer_than.is_none_or(|most_ms| age_ms <= most_ms)
    }

    /// The cases of a status that are so, the newest first, at most so many.
    pub(in crate::cli) async fn find(&self, aws: &Aws, status: Status, most: usize) -> anyhow::Result<Vec<StoredCase>> {
        let now_ms = aws.now_ms();
        let wanted = status.all();
        let exact = self.fingerprint.as_ref().filter(|print| !print.ends_with('*'));
        let indexes: Vec<CaseIndex> = match exact {
            Some(print) => vec![CaseIndex::Fingerprint(print.clone())],
            None => wanted.iter().map(|status| CaseIndex::Status(*status)).collect(),
        };
        let mut found = Vec::new();
        let mut looked = 0_usize;
        for index in &indexes {
            let mut after: Option<String> = None;
            loop {
                let page = aws.list_cases(index, PAGE, after.as_deref()).await?;
                looked += page.cases.len();
                ensure!(looked <= MOST, "more than {MOST} cases: narrow the filter");
                let fit = |case: &StoredCase| wanted.contains(&case.status) && self.takes(case, now_ms);
                found.extend(page.cases.into_iter().filter(fit));
                after = page.next;
                if after.is_none() || (indexes.len() == 1 && found.len() >= most) {
                    break;
                }
            }
        }
        found.sort_by_key(|case| std::cmp::Reverse(case.case.opened_at_ms));
        found.truncate(most);
        Ok(found)
    }
}

/// Cases by id, or by what they are: open ones.
#[derive(Debug, Args)]
pub(super) struct Chosen {
    /// Their ids
    #[arg(conflicts_with = "all")]
    case_ids: Vec<CaseId>,
    /// Every open case
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    filter: Filter,
}

impl Chosen {
    /// Reads them. That none is said is an error: a command that changes things takes nothing for everything.
    pub(super) async fn load(&self, aws: &Aws) -> anyhow::Result<Vec<StoredCase>> {
        if self.case_ids.is_empty() {
            ensure!(
                self.all || !self.filter.is_empty(),
                "which cases? Give ids, a filter such as --fingerprint, or --all"
            );
            // The oldest first: as they came.
            let mut found = self.filter.find(aws, Status::Open, MOST).await?;
            found.reverse();
            return Ok(found);
        }
        ensure!(self.filter.is_empty(), "give ids or a filter, not both");
        let mut cases = Vec::with_capacity(self.case_ids.len());
        for case_id in &self.case_ids {
            let Some(case) = aws.load_case(case_id).await? else {
                bail!("there is no case {case_id}: `orderflow case list` shows what there is");
            };
            cases.push(case);
        }
        Ok(cases)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_number_and_a_unit() {
        for (text, ms) in [("90s", 90_000), ("30m", 1_800_000), ("12h", 43_200_000), ("7d", 604_800_000)] {
            assert_eq!(age(text), Ok(ms));
        }
        for text in ["", "h", "12", "12 h", "-1h", "1w", "99999999999999999999d", "1ü"] {
            assert!(age(text).is_err_and(|why| why.contains("12h")), "{text}");
        }
    }
}
