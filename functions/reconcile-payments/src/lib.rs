//! Compares the payment provider's ledger with the orders. Runs on a schedule, emits nothing: a difference is a case.
//!
//! It can move no money and change no order. ADR 13 says how it tells a difference from an order that is on its way.

mod ask;
pub mod difference;
mod judge;
mod told;
mod walk;

use std::collections::{BTreeMap, BTreeSet};

use lambda_queue::{Clock, Failure};
use ports::{
    Case, CaseKind, CountCases, KeepPlace, ListPayments, LoadOrder, ReadEffects, RecordDifference, Stands, tell_opened,
};
use serde::Serialize;

pub use ask::{Ask, GRACE_MINUTES, MOST_HOURS, WINDOW_HOURS};
pub use difference::{Difference, Kind, Seen, differences};
pub use told::{Run, told};
pub use walk::{Counts, List, Page, Walk};

/// What a comparison reads.
pub trait Reads: LoadOrder + ReadEffects + Clock {}
impl<P: LoadOrder + ReadEffects + Clock> Reads for P {}

/// What this step may touch: its IAM role grants exactly this.
pub trait Ports: Reads + RecordDifference + CountCases + KeepPlace {}
impl<P: Reads + RecordDifference + CountCases + KeepPlace> Ports for P {}

/// Whose ledger it reads.
pub trait Provider: ListPayments {}
impl<P: ListPayments> Provider for P {}

/// The step that the cases are of.
pub const STEP: &str = "reconcile";

/// No page is begun with less than this left, milliseconds: what the slowest page takes, all of which is read twice.
const KEPT_MS: u64 = 60_000;

/// What a run came to.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Reconciled {
    /// What was looked at.
    #[serde(flatten)]
    pub counts: Counts,
    /// Differences whose case is open, by kind.
    pub differences: BTreeMap<&'static str, u64>,
    /// Of these, cases that this run opened.
    pub opened: u64,
    /// Differences that a person has decided about.
    pub decided: u64,
    /// Cases of differences that are open, whichever run opened them: at least so many, where they could not all be counted.
    /// `None` where they could not be counted and this run found none.
    pub open: Option<u64>,
    /// Walks that came to their end.
    pub walks: u64,
    /// Why the last one did not; the next run goes on there.
    pub unfinished: Option<String>,
}

/// One run: goes on where the last one stopped, then walks through the whole window, until the deadline (UTC
/// milliseconds) is near.
///
/// Idempotent: the same difference is the same case. The place is kept after each page, so a run that dies is gone on
/// with.
///
/// # Errors
/// When not even the place can be read. What stops a walk later is told in `unfinished`.
pub async fn reconcile(
    ports: &impl Ports,
    provider: &impl Provider,
    ask: &Ask,
    deadline_ms: u64,
) -> Result<Reconciled, Failure> {
    let name = ask.walk();
    let kept = match &name {
        Some(name) => ports.kept_place(name).await?.and_then(|place| read_place(&place)),
        None => None,
    };
    let mut done = Reconciled::default();
    let mut told: BTreeSet<String> = BTreeSet::new();
    let mut goes_on = kept.is_some();
    let mut walk = kept.unwrap_or_else(|| Walk::begin(ask, ports.now_ms()));
    loop {
        if ports.now_ms().saturating_add(KEPT_MS) > deadline_ms {
            done.unfinished = Some("out of time".to_owned());
            break;
        }
        let page = match walk.page(ports, provider, ask).await {
            Ok(page) => page,
            Err(failure) => {
                // A place that the provider does not know any more would be refused for ever. Begun anew, and not ended.
                if matches!(failure, Failure::Bug { .. }) {
                    keep(ports, name.as_deref(), Some(&Walk::begin(ask, ports.now_ms()))).await;
                }
                done.unfinished = Some(failure.to_string());
                break;
            }
        };
        done.counts.add(page.counts);
        for difference in &page.found {
            tell(ports, difference, &mut told, &mut done).await;
        }
        keep(ports, name.as_deref(), page.next.as_ref()).await;
        match page.next {
            Some(next) => walk = next,
            None => {
                done.walks += 1;
                if !goes_on {
                    break;
                }
                goes_on = false;
                walk = Walk::begin(ask, ports.now_ms());
            }
        }
    }
    done.open = open(ports, done.differences.values().sum()).await;
    if let Some(why) = &done.unfinished {
        tracing::warn!(why, list = ?walk.list, from_ms = walk.within.from_ms, to_ms = walk.within.to_ms, "not through: the next run goes on");
    }
    Ok(done)
}

/// How many cases of differences are open. The index lags, so it is at least those that this run has found open. Where they
/// cannot be counted it is those, if there are any: their alarm must not be silent for the trouble that they are of.
async fn open(ports: &impl Ports, found: u64) -> Option<u64> {
    match ports.open_cases(CaseKind::Difference).await {
        Ok(open) => Some(open.max(found)),
        Err(error) => {
            tracing::error!(%error, found, "open differences are not counted: only those of this run are told");
            (found > 0).then_some(found)
        }
    }
}

/// A place that this program cannot read is none: the walk begins anew.
fn read_place(place: &str) -> Option<Walk> {
    match serde_json::from_str(place) {
        Ok(walk) => Some(walk),
        Err(error) => {
            tracing::warn!(%error, "the place that was kept cannot be read: begun anew");
            None
        }
    }
}

/// A place that is not kept costs the next run some pages once more.
async fn keep(ports: &impl Ports, name: Option<&str>, walk: Option<&Walk>) {
    let Some(name) = name else { return };
    let place = match walk.map(serde_json::to_string).transpose() {
        Ok(place) => place,
        Err(error) => {
            tracing::warn!(%error, "the place cannot be written");
            return;
        }
    };
    if let Err(error) = ports.keep_place(name, place.as_deref()).await {
        tracing::warn!(%error, "the place is not kept: the next run begins at the one before");
    }
}

/// Opens the case of a difference, once a run: the lists of payments and of refunds may both lead to it.
async fn tell(ports: &impl Ports, difference: &Difference, told: &mut BTreeSet<String>, done: &mut Reconciled) {
    if !told.insert(format!("{}/{}/{}", difference.order_id, difference.kind.name(), difference.about())) {
        return;
    }
    match open_case(ports, difference).await {
        Ok((_, Stands::Decided)) => done.decided += 1,
        Ok((_, Stands::Open)) => *done.differences.entry(difference.kind.name()).or_default() += 1,
        Ok((case, Stands::Opened)) => {
            *done.differences.entry(difference.kind.name()).or_default() += 1;
            done.opened += 1;
            tracing::error!(
                case_id = %case.case_id, order_id = case.order_id, kind = difference.kind.name(),
                payment_id = %difference.payment_id, refund_id = difference.refund, words = difference.words,
                "the provider's ledger and the row differ"
            );
            tell_opened(&case, ports.now_ms());
        }
        Err(failure) => {
            tracing::error!(order_id = %difference.order_id, kind = difference.kind.name(), %failure, "a difference has no case yet");
            done.counts.left += 1;
        }
    }
}

/// Writes the case of a difference: new, known, or decided already. Tells no log and no metrics, so that a tool may call it.
///
/// # Errors
/// When the table does not take it.
pub async fn open_case<P>(ports: &P, difference: &Difference) -> Result<(Case, Stands), Failure>
where
    P: RecordDifference + Clock,
{
    let case = difference.case(ports.now_ms())?;
    let stands = ports.record_difference(&case).await?;
    Ok((case, stands))
}
