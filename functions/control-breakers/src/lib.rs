//! Makes the event source mappings obey the breakers, and probes the providers of those that are not closed. Runs on a
//! schedule and on the breakers' stream, emits nothing.
//!
//! A level-triggered reconciler: each run reads the rows and makes every mapping what it should be by them
//! ([`wanted`]), whatever happened before. So a run that dies, is late or comes twice does no harm.

mod event;
mod mappings;
mod wanted;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use lambda_queue::breaker::{Row, State};
use lambda_queue::{Clock, Failure};
use ports::{
    Dependency, MappingSet, ProbeBreakers, ProbeProviders, ProviderError, ReadBreakers, SetMappings, StartWatch,
    StoreError,
};
use serde::Serialize;

pub use event::Asked;
pub use mappings::{BadMappings, Normals, Watched, parse};
pub use wanted::{DOUBLES_EVERY_MS, FIRST, Wanted, wanted};

/// What it does to mappings and to itself: its IAM role grants exactly this, and what the next two name.
pub trait Ports: SetMappings + StartWatch + Clock {}
impl<P: SetMappings + StartWatch + Clock> Ports for P {}

/// The breakers.
pub trait Breakers: ReadBreakers + ProbeBreakers {}
impl<P: ReadBreakers + ProbeBreakers> Breakers for P {}

/// Whom it calls outside.
pub trait Providers: ProbeProviders {}
impl<P: ProbeProviders> Providers for P {}

/// Between two probes of one provider, over all runs, milliseconds.
pub const PROBE_EVERY_MS: u64 = 10_000;
/// After a breaker opened, before its first probe, milliseconds, at least. One that opens again within five minutes of having
/// closed waits as its row says, up to [`LONGEST_FIRST_MS`].
pub const FIRST_PROBE_MS: u64 = 5_000;
/// The same at most, milliseconds.
pub const LONGEST_FIRST_MS: u64 = 30_000;
/// A probe that takes longer is a bad one, milliseconds.
const SLOW_PROBE_MS: u64 = 4_000;
/// Between two looks while there is something to watch, milliseconds.
const LOOK_EVERY_MS: u64 = 2_000;
/// No turn is begun with less than this left, milliseconds: a probe takes 5 s.
const KEPT_MS: u64 = 7_000;
/// After a breaker closed, its mappings are off for a reason for so long, milliseconds: two runs of the schedule.
const JUST_CLOSED_MS: u64 = 120_000;
/// Whoever turned a mapping off by hand, or a deployment, has so long with it, milliseconds. A run that finds it younger stays
/// until then. The schedule's next run may come a minute after: then the change begins, which takes Lambda up to another.
const LEFT_ALONE_MS: u64 = 45_000;

/// What a run did.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Report {
    /// Most breakers that were not closed at one time.
    pub breakers_open: u64,
    /// Probes made.
    pub probes: u64,
    /// Of these, good ones.
    pub good_probes: u64,
    /// Changes of mappings that Lambda took.
    pub changed: u64,
    /// Mappings that were off though no breaker asked for it, and are turned on.
    pub turned_on: u64,
    /// In its last turn: breakers that could not be read or written, mappings that could not be read or set. The next run
    /// tries again.
    pub failed: u64,
}

/// The rows by dependency; `None`: it could not be read.
type Rows = BTreeMap<Dependency, Option<Arc<Row>>>;

/// One run, until all is well or the deadline (UTC milliseconds) is near.
///
/// Idempotent. Trouble with one breaker or mapping does not stop the others; it is counted in [`Report::failed`].
///
/// # Errors
/// Where nobody could be started to watch.
pub async fn run(
    ports: &impl Ports,
    breakers: &impl Breakers,
    providers: &impl Providers,
    mappings: &[Watched],
    asked: Asked,
    deadline_ms: u64,
) -> Result<Report, Failure> {
    let mut run = Run { ports, mappings, rows: Rows::new(), known: BTreeMap::new(), report: Report::default() };
    let start = match asked {
        Asked::Nothing => return Ok(run.report),
        Asked::Changed { start } => Some(start),
        Asked::Watch => None,
    };
    loop {
        run.report.failed = 0;
        let rows = run.read(breakers).await;
        let pending = run.reconcile(&rows).await;
        if let Some(start) = start {
            if start {
                ports.start_watch().await?;
            }
            return Ok(run.report);
        }
        if run.probe(breakers, providers, &rows).await {
            // A row has changed: it is obeyed at once.
            continue;
        }
        let now_ms = ports.now_ms();
        if !(pending || run.is_to_be_watched(&rows, now_ms))
            || now_ms.saturating_add(KEPT_MS + LOOK_EVERY_MS) > deadline_ms
        {
            return Ok(run.report);
        }
        tokio::time::sleep(Duration::from_millis(LOOK_EVERY_MS)).await;
    }
}

struct Run<'a, P> {
    ports: &'a P,
    mappings: &'a [Watched],
    /// As last read.
    rows: Rows,
    /// Mappings that this run found to be, and to have settled, as they were wanted: not read again while that is wanted.
    known: BTreeMap<&'a str, Wanted>,
    report: Report,
}

impl<P: Ports> Run<'_, P> {
    async fn read(&mut self, breakers: &impl Breakers) -> Rows {
        let read =
            Dependency::ALL.map(|dependency| async move { (dependency, breakers.read_breaker(dependency).await) });
        let mut rows = Rows::new();
        for (dependency, row) in join_all(read).await {
            let row = row.inspect_err(|error| {
                self.report.failed += 1;
                tracing::error!(%dependency, %error, "breaker unreadable: it is as this run knew it, else its mappings are on");
            });
            let before = self.rows.get(&dependency).cloned().flatten();
            rows.insert(dependency, row.ok().or(before));
        }
        self.rows.clone_from(&rows);
        let open = rows.values().flatten().filter(|row| row.state != State::Closed).count();
        self.report.breakers_open = self.report.breakers_open.max(open as u64);
        rows
    }

    /// Makes every mapping what it should be. Answers whether something of it is left for this run: a change that has to
    /// settle first, or a mapping whose time alone is not over.
    async fn reconcile(&mut self, rows: &Rows) -> bool {
        let now_ms = self.ports.now_ms();
        let mut pending = false;
        for mapping in self.mappings {
            let row = mapping.dependency.and_then(|dependency| rows.get(&dependency)?.as_deref());
            let wanted = wanted(row, mapping.normal, now_ms);
            if self.known.get(mapping.id.as_str()) == Some(&wanted) {
                continue;
            }
            match self.obey(mapping, row, wanted, now_ms).await {
                Ok(Obeyed::Is) => {
                    self.known.insert(&mapping.id, wanted);
                }
                // The next run may be a minute away, and the change itself takes Lambda up to a minute.
                Ok(Obeyed::LeftAlone | Obeyed::Settling) => pending = true,
                Err(error) => {
                    self.report.failed += 1;
                    pending = true;
                    tracing::error!(mapping = mapping.name, %error, "mapping not set: the next turn tries again");
                }
            }
        }
        pending
    }

    async fn obey(
        &mut self,
        mapping: &Watched,
        row: Option<&Row>,
        wanted: Wanted,
        now_ms: u64,
    ) -> Result<Obeyed, StoreError> {
        let live = self.ports.mapping(&mapping.id).await?;
        if !live.settled {
            return Ok(Obeyed::Settling);
        }
        let wanted = wanted.not_below(&live, mapping.normal);
        if (live.enabled, live.maximum_concurrency) == (wanted.enabled, wanted.maximum_concurrency) {
            return Ok(Obeyed::Is);
        }
        let just_closed =
            row.is_some_and(|row| row.changed_at_ms > 0 && now_ms.saturating_sub(row.changed_at_ms) < JUST_CLOSED_MS);
        let unreadable = mapping.dependency.is_some() && row.is_none();
        let strange = wanted.enabled && !live.enabled && !just_closed && !unreadable;
        if strange && now_ms.saturating_sub(live.changed_at_ms) < LEFT_ALONE_MS {
            return Ok(Obeyed::LeftAlone);
        }
        // One change at a time: it is not queued, and not forced. The next turn looks again.
        if self.ports.set_mapping(&mapping.id, wanted.enabled, wanted.maximum_concurrency).await? == MappingSet::Busy {
            return Ok(Obeyed::Settling);
        }
        self.report.changed += 1;
        let (enabled, most) = (wanted.enabled, wanted.maximum_concurrency);
        if strange {
            self.report.turned_on += 1;
            tracing::error!(mapping = mapping.name, most, "a mapping was off and no breaker asked for it: turned on");
        } else {
            tracing::info!(mapping = mapping.name, enabled, most, was = live.enabled, "mapping set");
        }
        Ok(Obeyed::Settling)
    }

    /// Probes what is due. Answers whether a row has changed by that.
    async fn probe(&mut self, breakers: &impl Breakers, providers: &impl Providers, rows: &Rows) -> bool {
        let now_ms = self.ports.now_ms();
        let due = rows.iter().filter_map(|(dependency, row)| Some((*dependency, row.as_deref()?)));
        let due = due.filter(|(_, row)| is_due(row, now_ms));
        let ports = self.ports;
        let probes = join_all(due.map(|(dependency, row)| probe(ports, breakers, providers, dependency, row))).await;
        let mut changed = false;
        for probed in probes {
            match probed {
                Ok(Some(probed)) => {
                    self.report.probes += 1;
                    self.report.good_probes += u64::from(probed.good);
                    changed |= probed.changed;
                }
                Ok(None) => {}
                Err(error) => {
                    self.report.failed += 1;
                    tracing::error!(%error, "a probe's breaker is not written: the next turn tries again");
                }
            }
        }
        changed
    }

    /// Whether something will have to be done before the next run: a probe, or the next step up.
    fn is_to_be_watched(&self, rows: &Rows, now_ms: u64) -> bool {
        rows.iter().any(|(dependency, row)| {
            let Some(row) = row else { return false };
            let of = self.mappings.iter().filter(|mapping| mapping.dependency == Some(*dependency));
            let most = of.filter_map(|mapping| mapping.normal).max().unwrap_or(FIRST);
            (row.state != State::Closed && !row.forced) || wanted::is_ramping(row, most, now_ms)
        })
    }
}

/// How a mapping stands after a look.
enum Obeyed {
    Is,
    Settling,
    LeftAlone,
}

/// Whether a probe may be worth it by this row; whose it is to make says the claim.
fn is_due(row: &Row, now_ms: u64) -> bool {
    // The first probe of an outage. A provider that answers probes and fails at work would close the breaker at every one, so
    // the row's wait, which grows over that, counts here. Later ones go by the clock: they have all failed.
    let first = row.probed_at_ms < row.down_since_ms;
    let wait_ms = if first { row.wait_ms.clamp(FIRST_PROBE_MS, LONGEST_FIRST_MS) } else { FIRST_PROBE_MS };
    let opened_long_ago = now_ms >= row.opened_at_ms.saturating_add(wait_ms) || row.opened_at_ms > now_ms;
    let probed_long_ago = now_ms >= row.probed_at_ms.saturating_add(PROBE_EVERY_MS) || row.probed_at_ms > now_ms;
    let waits = row.state == State::HalfOpen || opened_long_ago;
    row.state != State::Closed && !row.forced && waits && probed_long_ago
}

struct Probed {
    good: bool,
    changed: bool,
}

/// One probe, if it is this run's to make.
async fn probe(
    ports: &impl Clock,
    breakers: &impl Breakers,
    providers: &impl Providers,
    dependency: Dependency,
    row: &Row,
) -> Result<Option<Probed>, StoreError> {
    if !breakers.claim_probe(dependency, row.epoch, PROBE_EVERY_MS).await? {
        return Ok(None);
    }
    let started_ms = ports.now_ms();
    let answer = providers.probe_provider(dependency).await;
    let took_ms = ports.now_ms().saturating_sub(started_ms);
    let good = match &answer {
        // Any answer says that it is there: as for the calls.
        Ok(()) | Err(ProviderError::Refused { .. } | ProviderError::WrongState { .. }) => took_ms <= SLOW_PROBE_MS,
        Err(
            ProviderError::NotRun { .. }
            | ProviderError::Throttled { .. }
            | ProviderError::Unknown { .. }
            | ProviderError::Failed { .. },
        ) => false,
    };
    let why = answer.err().map(|error| error.to_string());
    tracing::info!(%dependency, good, took_ms, why, epoch = row.epoch, "provider probed");
    let now = breakers.probed(dependency, row.epoch, good).await?;
    Ok(Some(Probed { good, changed: now.epoch != row.epoch }))
}
