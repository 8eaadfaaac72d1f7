//! Cases: what a person has to decide.

use std::future::Future;

use order::{CaseId, OrderId, TenantId};

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
    /// The same trouble of the same version makes the same id: writing it twice is one case.
    pub case_id: CaseId,
    /// What groups cases of one cause.
    pub fingerprint: String,
    /// What kind.
    pub class: CaseClass,
    /// The step that met it.
    pub step: String,
    /// About which order.
    pub order_id: OrderId,
    /// Whose.
    pub tenant: TenantId,
    /// One line for the operator.
    pub digest: String,
    /// UTC milliseconds.
    pub opened_at_ms: u64,
}

/// Opens cases. `cases`: PutItem.
pub trait OpenCase {
    /// One conditional put; a case that is there already stays as it is.
    fn open_case(&self, case: &Case) -> impl Future<Output = Result<(), StoreError>> + Send;
}
