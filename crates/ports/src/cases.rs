//! Cases: what a person has to decide.

use std::future::Future;

use order::{CaseId, TenantId};

use crate::StoreError;

/// What kind of trouble.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CaseClass {
    /// It may well work later: a provider is away.
    Transient,
    /// It can never work as it is.
    Poison,
    /// Program and message do not fit.
    Skew,
    /// A broken invariant.
    Bug,
}

impl CaseClass {
    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Poison => "poison",
            Self::Skew => "skew",
            Self::Bug => "bug",
        }
    }
}

/// A case. Holds no customer data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Case {
    /// The same trouble makes the same id, whoever meets it and however often: an order's n-th parking, or a row that
    /// cannot be read.
    pub case_id: CaseId,
    /// Which attempt at parking wrote it last: only that one may withdraw it.
    pub attempt: String,
    /// The version of the row that was to be parked; 0 where the row cannot be read.
    pub row_version: u64,
    /// What groups cases of one cause.
    pub fingerprint: String,
    /// What kind.
    pub class: CaseClass,
    /// The step that met it.
    pub step: String,
    /// About which order: the key of its row, which may be no id.
    pub order_id: String,
    /// Whose, where the row tells.
    pub tenant: Option<TenantId>,
    /// One line for the operator.
    pub digest: String,
    /// UTC milliseconds.
    pub opened_at_ms: u64,
}

/// Opens cases, and closes those whose parking came to nothing. `cases`: UpdateItem.
///
/// The case is written first, the order parked after it; so a case may stand without a parked order. All that go for the
/// same parking write the same case. One that lost withdraws it, unless another has written it since; and whoever moves
/// such an order on closes what an attempt that died has left.
pub trait OpenCase {
    /// Writes the case, open. One that is there already gets the words of this attempt, whatever its status; when it was
    /// first opened stays. Repeating it changes nothing.
    fn open_case(&self, case: &Case) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Closes the case as superseded, if it is open and this attempt was the last to write it.
    fn withdraw_case(&self, case: &Case) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Closes the case as superseded, if it is open and was last written for an older version of the row than this.
    fn supersede_case(&self, case_id: &CaseId, version: u64) -> impl Future<Output = Result<(), StoreError>> + Send;
}
