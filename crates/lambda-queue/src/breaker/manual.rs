//! What a person, or a program apart from the calls, does to a breaker.

use std::sync::Arc;

use super::State;
use super::distributed::{Answer, DistributedBreaker};
use super::events::Cause;
use super::row::Row;
use super::writes::Pen;
use crate::ports::Store;
use crate::ports::store::StoreError;
use crate::{Clock, Ids, Random};

/// Who acts on a breaker, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manual {
    /// Who: a person's or a program's name.
    pub who: String,
    /// Why. Holds no customer data.
    pub reason: String,
    /// Whether nothing automatic may leave the state that this makes.
    pub forced: bool,
}

impl Manual {
    /// An act after which the breaker goes on by itself.
    pub fn new(who: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { who: who.into(), reason: reason.into(), forced: false }
    }

    /// An act that stands until the next one.
    pub fn forced(who: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { forced: true, ..Self::new(who, reason) }
    }
}

/// What became of an act.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Moved {
    /// It is done; the row since.
    Moved(Arc<Row>),
    /// It did not apply to the row that stands there: another epoch than the expected one, closed already, forced.
    Unmoved(Arc<Row>),
}

/// Rounds of reading again, where others keep changing the row.
const ROUNDS: u32 = 5;

impl<S: Store, P: Clock + Random + Ids> DistributedBreaker<S, P> {
    /// Claims a probe apart of a breaker that is not closed, by what its row said in `epoch`: at most one in `every_ms`, over
    /// all who probe. `Moved` says that it is the caller's to make.
    ///
    /// # Errors
    /// The table's. A claim whose answer was lost knows itself again; one that is lost for good costs one probe.
    pub async fn claim_probe(&self, epoch: u64, every_ms: u64) -> Result<Moved, StoreError> {
        let row = self.row().await?;
        if row.epoch != epoch || row.state == State::Closed || row.forced {
            return Ok(Moved::Unmoved(row));
        }
        let token = self.token();
        let write = self.pen(&token).claim_probe(&row, every_ms);
        Ok(match self.write("claim a probe", write, None).await? {
            Answer::Refused(row) if row.prober.as_deref() == Some(&token) => Moved::Moved(row),
            answer @ (Answer::Done(_) | Answer::Refused(_)) => answer.into(),
        })
    }

    /// A probe apart succeeded that was made by what the row said in `epoch`: read it with [`Self::row`] before the probe.
    /// After enough successes in a row ([`super::Probes::Apart`]) the breaker closes. When to probe is the prober's choice: a
    /// success during the wait counts too.
    ///
    /// # Errors
    /// The table's. Repeating the call is safe: once it took effect the epoch is another.
    pub async fn probe_succeeded(&self, epoch: u64) -> Result<Moved, StoreError> {
        let row = self.row().await?;
        if row.epoch != epoch || row.state == State::Closed || row.forced {
            return Ok(Moved::Unmoved(row));
        }
        let (ok, needed) = (if row.state == State::HalfOpen { row.probes_ok } else { 0 }, self.settings.needed());
        let write = |pen: &Pen<'_>, cause: &Cause| {
            if ok + 1 >= u64::from(needed) { pen.close(&row, cause) } else { pen.probe_apart_ok(&row, needed) }
        };
        self.change("count a probe apart", Cause::ProbesSucceeded, write).await.map(Moved::from)
    }

    /// A probe apart failed that was made by what the row said in `epoch`. Half-open opens again; open waits anew, longer,
    /// once its wait is over.
    ///
    /// # Errors
    /// The table's. Repeating the call is safe.
    pub async fn probe_failed(&self, epoch: u64) -> Result<Moved, StoreError> {
        let row = self.row().await?;
        let waiting = row.state == State::Open && self.ports.now_ms() < row.probes_from_ms();
        if row.epoch != epoch || row.state == State::Closed || row.forced || waiting {
            return Ok(Moved::Unmoved(row));
        }
        let write = |pen: &Pen<'_>, cause: &Cause| pen.open(&row, &self.settings.wait, cause);
        self.change("open after a probe apart", Cause::ProbeFailed, write).await.map(Moved::from)
    }

    /// Opens it, for its first wait; forced, until somebody closes, probes or releases it. With an `expected` epoch only
    /// if that is still the row's: what the caller saw.
    ///
    /// # Errors
    /// The table's, or others kept changing the row.
    pub async fn open(&self, manual: &Manual, expected: Option<u64>) -> Result<Moved, StoreError> {
        self.act(manual, expected, |_| State::Open).await
    }

    /// Closes it, with empty buckets; forced, it stays closed whatever fails. `expected` as in [`Self::open`].
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn close(&self, manual: &Manual, expected: Option<u64>) -> Result<Moved, StoreError> {
        self.act(manual, expected, |_| State::Closed).await
    }

    /// Begins a round of probes at once. `forced` is not looked at. `expected` as in [`Self::open`].
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn probe(&self, manual: &Manual, expected: Option<u64>) -> Result<Moved, StoreError> {
        self.act(&Manual { forced: false, ..manual.clone() }, expected, |_| State::HalfOpen).await
    }

    /// Lifts the force: closed goes on with empty buckets, open with its first wait. `expected` as in [`Self::open`].
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn release(&self, manual: &Manual, expected: Option<u64>) -> Result<Moved, StoreError> {
        self.act(&Manual { forced: false, ..manual.clone() }, expected, |row| row.state).await
    }

    async fn act(
        &self,
        manual: &Manual,
        expected: Option<u64>,
        to: impl Fn(&Row) -> State,
    ) -> Result<Moved, StoreError> {
        let mut row = self.row().await?;
        for _ in 0..ROUNDS {
            if expected.is_some_and(|expected| expected != row.epoch) {
                return Ok(Moved::Unmoved(row));
            }
            let cause = Cause::Manual { who: manual.who.clone(), reason: manual.reason.clone() };
            let (state, wait, needed) = (to(&row), &self.settings.wait, self.settings.needed());
            let write = |pen: &Pen<'_>, _: &Cause| pen.manual(&row, state, manual, wait, needed);
            match self.change("act on the breaker", cause, write).await? {
                Answer::Done(row) => return Ok(Moved::Moved(row)),
                Answer::Refused(now) => row = now,
            }
        }
        Err(StoreError::NotDone(format!("the breaker of {} kept changing", self.name)))
    }
}

impl From<Answer> for Moved {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Done(row) => Self::Moved(row),
            Answer::Refused(row) => Self::Unmoved(row),
        }
    }
}
