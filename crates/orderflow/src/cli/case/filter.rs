//! Which cases: by id, or by what they are.

use std::collections::{BTreeSet, VecDeque};

use anyhow::{bail, ensure};
use clap::{Args, ValueEnum};
use lambda_queue::Clock as _;
use order::{CaseId, TenantId};
use platform::Aws;
use ports::{CaseClass, CaseIndex, CaseKind, CaseStatus, ReadCases, StoreError, StoredCase, UnreadableCase};
use serde_json::{Value, json};
use triage_dead_letters::replay::group_of;

use crate::cli::target::Target;
use crate::strangers::strangers;

/// Cases that one command holds at most: those that fit, of however many it looks through.
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

    /// The cases of a status that are so, the newest first, at most so many; with those that cannot be read: whatever is asked
    /// for, they may be so.
    pub(super) async fn look(&self, aws: &Aws, status: Status, most: usize) -> anyhow::Result<Found> {
        let mut found = Found::default();
        for index in self.indexes(status) {
            let mut of_index = 0;
            let take = async |page: Found| {
                of_index += page.cases.len();
                found.extend(page);
                ensure!(
                    found.cases.len() <= MOST,
                    "more than {MOST} cases are so: narrow the filter, or `case export` them"
                );
                // The newest come first, of each index.
                Ok(of_index < most)
            };
            self.walk(aws, &index, status, take).await?;
        }
        found.cases.sort_by_key(|case| std::cmp::Reverse(case.case.opened_at_ms));
        found.cases.truncate(most);
        Ok(found)
    }

    /// Page by page, however many there are.
    pub(super) async fn pages(
        &self,
        aws: &Aws,
        status: Status,
        mut take: impl AsyncFnMut(Found) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        for index in self.indexes(status) {
            self.walk(aws, &index, status, async |page| take(page).await.map(|()| true)).await?;
        }
        Ok(())
    }

    /// The open ones that are so, the newest first, at most so many of those that can be read; and whether there may be more.
    pub(in crate::cli) async fn newest_open(&self, aws: &Aws, most: usize) -> anyhow::Result<(Vec<StoredCase>, bool)> {
        let (found, is_cut) = self.newest_open_as_of(aws, aws.now_ms(), most).await?;
        found.mention();
        Ok((found.cases, is_cut))
    }

    async fn newest_open_as_of(&self, aws: &impl ReadCases, now_ms: u64, most: usize) -> anyhow::Result<(Found, bool)> {
        let mut found = Found::default();
        for index in self.indexes(Status::Open) {
            let take = async |page: Found| {
                found.extend(page);
                Ok(found.cases.len() < most)
            };
            self.walk_as_of(aws, now_ms, &index, Status::Open, take).await?;
        }
        let is_cut = found.cases.len() >= most;
        found.cases.truncate(most);
        Ok((found, is_cut))
    }

    /// The open ones that are so, the oldest first, at most so many; and how many more there are.
    async fn oldest(&self, aws: &impl ReadCases, now_ms: u64, most: usize) -> anyhow::Result<(Found, usize)> {
        let mut kept: VecDeque<StoredCase> = VecDeque::new();
        let (mut unreadable, mut more) = (Vec::new(), 0);
        for index in self.indexes(Status::Open) {
            let take = async |page: Found| {
                unreadable.extend(page.unreadable);
                for case in page.cases {
                    kept.push_back(case);
                    if kept.len() > most {
                        kept.pop_front();
                        more += 1;
                    }
                }
                Ok(true)
            };
            self.walk_as_of(aws, now_ms, &index, Status::Open, take).await?;
        }
        Ok((Found { cases: kept.into_iter().rev().collect(), unreadable }, more))
    }

    /// Where every status is asked for: those in one that this program does not know. That of one cause leads to them anyway.
    pub(super) async fn strangers(&self, target: &Target, aws: &Aws, status: Status) -> anyhow::Result<Found> {
        if status != Status::All || self.cause().is_some() {
            return Ok(Found::default());
        }
        let unreadable = strangers(&target.config().await?, &aws.names().cases_table, None).await?;
        Ok(Found { cases: Vec::new(), unreadable })
    }

    /// The one cause that is asked for.
    fn cause(&self) -> Option<&String> {
        self.fingerprint.as_ref().filter(|print| !print.ends_with('*'))
    }

    fn indexes(&self, status: Status) -> Vec<CaseIndex> {
        match self.cause() {
            Some(print) => vec![CaseIndex::Fingerprint(print.clone())],
            None => status.all().into_iter().map(CaseIndex::Status).collect(),
        }
    }

    async fn walk(
        &self,
        aws: &Aws,
        index: &CaseIndex,
        status: Status,
        take: impl AsyncFnMut(Found) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        self.walk_as_of(aws, aws.now_ms(), index, status, take).await
    }

    /// Gives page after page of an index, of each what fits, until `take` has enough.
    async fn walk_as_of(
        &self,
        aws: &impl ReadCases,
        now_ms: u64,
        index: &CaseIndex,
        status: Status,
        mut take: impl AsyncFnMut(Found) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let wanted = status.all();
        let mut after: Option<String> = None;
        loop {
            let page = aws.list_cases(index, PAGE, after.as_deref()).await?;
            let fit = |case: &StoredCase| wanted.contains(&case.status) && self.takes(case, now_ms);
            let cases = page.cases.into_iter().filter(fit).collect();
            after = page.next;
            if !take(Found { cases, unreadable: page.unreadable }).await? || after.is_none() {
                return Ok(());
            }
        }
    }
}

/// The open events of these groups, and every open case that cannot be read: it may be of one.
pub(super) async fn in_groups(aws: &impl ReadCases, groups: &BTreeSet<String>) -> anyhow::Result<Found> {
    let mut found = Found::default();
    // Commands have no group, and most cases are commands': nothing is read for them.
    if groups.is_empty() {
        return Ok(found);
    }
    let take = async |mut page: Found| {
        page.cases.retain(|case| group_of(case).is_some_and(|group| groups.contains(&group)));
        found.extend(page);
        Ok(true)
    };
    // None is left out for its age, so the time does not matter.
    Filter::any().walk_as_of(aws, 0, &CaseIndex::Status(CaseStatus::Open), Status::Open, take).await?;
    Ok(found)
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Found {
    pub(super) cases: Vec<StoredCase>,
    /// A newer program's.
    pub(super) unreadable: Vec<UnreadableCase>,
}

impl Found {
    pub(super) fn extend(&mut self, page: Self) {
        self.cases.extend(page.cases);
        self.unreadable.extend(page.unreadable);
    }

    /// Says on the side that there are some that cannot be read.
    pub(super) fn mention(&self) {
        if let Some(one) = self.unreadable.first() {
            let count = self.unreadable.len();
            eprintln!(
                "{count} cases cannot be read by this program, {} for one: `orderflow case list --status all` shows them",
                one.case_id
            );
        }
    }

    /// One array: those that cannot be read have `unreadable` instead of what they are.
    pub(super) fn to_json(&self) -> Vec<Value> {
        let cases = self.cases.iter().map(|case| json!(case));
        cases.chain(self.unreadable.iter().map(|one| json!(one))).collect()
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
    /// How many at most, the oldest first
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

impl Chosen {
    /// Reads them. That none is said is an error: a command that changes things takes nothing for everything.
    pub(super) async fn load(&self, aws: &Aws) -> anyhow::Result<Found> {
        self.load_as_of(aws, aws.now_ms()).await
    }

    async fn load_as_of(&self, aws: &impl ReadCases, now_ms: u64) -> anyhow::Result<Found> {
        if self.case_ids.is_empty() {
            ensure!(
                self.all || !self.filter.is_empty(),
                "which cases? Give ids, a filter such as --fingerprint, or --all"
            );
            let most = usize::try_from(self.limit)?;
            let (mut found, more) = self.filter.oldest(aws, now_ms, most).await?;
            if more > 0 {
                eprintln!(
                    "these are the oldest {most}; {more} more are so: run it again for them, or give a larger --limit"
                );
            }
            if !self.all {
                // Nobody can tell whether they are so.
                found.mention();
                found.unreadable.clear();
            }
            return Ok(found);
        }
        ensure!(self.filter.is_empty(), "give ids or a filter, not both");
        let mut found = Found::default();
        for case_id in &self.case_ids {
            match aws.load_case(case_id).await {
                Ok(Some(case)) => found.cases.push(case),
                Ok(None) => bail!("there is no case {case_id}: `orderflow case list` shows what there is"),
                Err(StoreError::Unreadable(unreadable)) => {
                    let case_id = case_id.to_string();
                    let (step, order_id) = (String::new(), String::new());
                    found.unreadable.push(UnreadableCase { case_id, unreadable, opened_at_ms: 0, step, order_id });
                }
                Err(error @ (StoreError::NotDone(_) | StoreError::Unknown(_))) => return Err(error.into()),
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
