//! Cases: what a person has to decide.

use std::future::Future;

use lambda_queue::metrics::Document;
use order::{CaseId, Order, TenantId};
use serde::Serialize;

use crate::{Commit, StoreError};

/// What kind of trouble.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
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
    /// Every class.
    pub const ALL: [Self; 4] = [Self::Transient, Self::Poison, Self::Skew, Self::Bug];

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

/// What a case is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CaseKind {
    /// An order that waits for a person.
    Parked,
    /// A row that this program cannot deal with.
    Unreadable,
    /// A message that was given up.
    DeadLetter,
    /// What the payment provider's ledger and an order's row do not agree on.
    Difference,
}

impl CaseKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Parked, Self::Unreadable, Self::DeadLetter, Self::Difference];

    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parked => "parked",
            Self::Unreadable => "unreadable",
            Self::DeadLetter => "dead_letter",
            Self::Difference => "difference",
        }
    }
}

/// Where a case stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CaseStatus {
    /// Nobody has decided.
    Open,
    /// Sent again, and not seen since.
    Replayed,
    /// A person closed it.
    Closed,
    /// A person closed it, and the parked order stays where it is.
    Abandoned,
    /// It came to nothing: the order moved on.
    Superseded,
}

impl CaseStatus {
    /// Every status.
    pub const ALL: [Self; 5] = [Self::Open, Self::Replayed, Self::Closed, Self::Abandoned, Self::Superseded];

    /// Its name in the table: the hash key of the index `status`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Replayed => "replayed",
            Self::Closed => "closed",
            Self::Abandoned => "abandoned",
            Self::Superseded => "superseded",
        }
    }
}

/// Where a dead letter came from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Letter {
    /// The queue that gave it up, by name, or the dead-letter queue where nobody says.
    pub queue: String,
    /// The id that it had there.
    pub message_id: String,
    /// The id of this letter in the dead-letter queue: each counts once.
    pub letter_id: String,
    /// Where its raw message is kept.
    pub raw: String,
    /// When it was sent first, UTC milliseconds.
    pub sent_at_ms: u64,
    /// Receives before it was given up.
    pub attempts: u32,
}

/// A case. Holds no customer data.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Case {
    /// The same trouble makes the same id, whoever meets it and however often: an order's n-th parking, a row that cannot be
    /// read, or a message by its first id.
    pub case_id: CaseId,
    /// What it is about.
    pub kind: CaseKind,
    /// Which attempt at parking wrote it last: only that one may withdraw it. Of a dead letter empty.
    pub attempt: String,
    /// The version of the row that was to be parked, or that the message was about; 0 where there is none.
    pub row_version: u64,
    /// What groups cases of one cause: [`crate::fingerprint`].
    pub fingerprint: String,
    /// What kind of trouble.
    pub class: CaseClass,
    /// The step that met it.
    pub step: String,
    /// About which order: the key of its row, which may be no id. Empty where nothing tells.
    pub order_id: String,
    /// Whose, where that is known.
    pub tenant: Option<TenantId>,
    /// One line for the operator.
    pub digest: String,
    /// UTC milliseconds.
    pub opened_at_ms: u64,
    /// Of a dead letter.
    pub letter: Option<Letter>,
}

/// A case as the table has it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct StoredCase {
    /// What was written of it last.
    #[serde(flatten)]
    pub case: Case,
    /// Where it stands.
    pub status: CaseStatus,
    /// UTC milliseconds.
    pub last_seen_ms: u64,
    /// Since when nobody needs to look at it, UTC milliseconds.
    pub closed_at_ms: Option<u64>,
    /// Dead letters that came to it; of a difference, how often it was new or had changed.
    pub seen: u64,
    /// How often it was sent again.
    pub replays: u64,
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

/// Tells the metrics that a case was opened, or opened again: `cases_opened` by step and by class, which the alarms watch, and
/// by both.
pub fn tell_opened(case: &Case, now_ms: u64) {
    let (step, class) = (case.step.as_str(), case.class.name());
    Document::new("case opened")
        .dimension("step", step)
        .dimension_set(&[("class", class)])
        .dimension_set(&[("step", step), ("class", class)])
        .metric("cases_opened", "Count", 1_u32)
        .property("case_id", case.case_id.as_str())
        .property("order_id", case.order_id.as_str())
        .property("fingerprint", case.fingerprint.as_str())
        .emit(now_ms);
}

/// What a dead letter did to its case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recorded {
    /// The case is new.
    Opened,
    /// Another letter of the same message: it is open (again).
    Again,
    /// This very letter had come before: nothing is changed.
    Known,
}

/// Keeps dead letters and their cases. `s3`: PutObject under `dead-letters/`; `cases`: UpdateItem.
pub trait KeepDeadLetters {
    /// Writes the raw message under its key. The same key again overwrites it.
    fn keep_raw(&self, key: &str, raw: Vec<u8>) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Writes the case of a dead letter, open, unless this letter is counted in it already: one conditional write.
    fn record_letter(&self, case: &Case) -> impl Future<Output = Result<Recorded, StoreError>> + Send;
}

/// How the case of a difference stands after it was found (again).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stands {
    /// The case is new, or open again because the difference has changed.
    Opened,
    /// It was open, and is.
    Open,
    /// A person has decided about this very difference: it stays as it is.
    Decided,
}

/// Keeps differences and their cases. `cases`: UpdateItem.
pub trait RecordDifference {
    /// Writes the case, open, unless it is there with the same digest: then only that it was seen. Repeating it changes
    /// nothing more than that.
    fn record_difference(&self, case: &Case) -> impl Future<Output = Result<Stands, StoreError>> + Send;
}

/// Counts cases. `cases`: Query of its index `status`.
pub trait CountCases {
    /// How many open cases are of a kind: at least so many, where they are too many to be counted to the end. The index lags:
    /// a case of this moment may be missing, one just closed be counted.
    fn open_cases(&self, kind: CaseKind) -> impl Future<Output = Result<u64, StoreError>> + Send;
}

/// Keeps how far a walk has come, under the walk's name: an item of `cases` that is no case. `cases`: GetItem, UpdateItem.
pub trait KeepPlace {
    /// What was kept; `None` where nothing is.
    fn kept_place(&self, walk: &str) -> impl Future<Output = Result<Option<String>, StoreError>> + Send;

    /// Keeps it, or with `None` that the walk has come to its end: nothing is to go on with. The last one counts.
    fn keep_place(&self, walk: &str, place: Option<&str>) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// What a person, or a tool for them, did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Audit {
    /// Nobody else's.
    pub audit_id: String,
    /// UTC milliseconds.
    pub at_ms: u64,
    /// Who: the caller's ARN, or the name of a local user.
    pub who: String,
    /// What: `close`, `abandon`, `replay`, `resume`, `nudge`, ...
    pub action: String,
    /// To which case or order.
    pub subject: String,
    /// Why, in their words.
    pub reason: String,
    /// What came of it, in ours.
    pub detail: String,
}

/// Which cases.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CaseIndex {
    /// Those that stand so, the newest first.
    Status(CaseStatus),
    /// Those of one cause, the newest first.
    Fingerprint(String),
}

/// A case that this program cannot read: a newer one wrote it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct UnreadableCase {
    /// Its key.
    pub case_id: String,
    /// What of it cannot be read.
    pub unreadable: String,
    /// UTC milliseconds; 0 where that cannot be read either.
    pub opened_at_ms: u64,
    /// Of which step; empty where that cannot be read either.
    pub step: String,
    /// About which order; empty where it names none, or that cannot be read either.
    pub order_id: String,
}

/// One page of cases.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CasePage {
    /// The newest first.
    pub cases: Vec<StoredCase>,
    /// Those among them that cannot be read, the newest first: one hides none of the others.
    pub unreadable: Vec<UnreadableCase>,
    /// Where the next page begins; `None` at the end. Opaque.
    pub next: Option<String>,
}

/// Reads cases, their messages and what was done about them. `cases`: GetItem, Query; `s3`: GetObject.
pub trait ReadCases {
    /// `None` where there is no such case. Strongly consistent. One that cannot be read is [`StoreError::Unreadable`].
    fn load_case(&self, case_id: &CaseId) -> impl Future<Output = Result<Option<StoredCase>, StoreError>> + Send;

    /// At most `limit` (1-100) cases from behind the cursor on. The index lags.
    fn list_cases(
        &self,
        index: &CaseIndex,
        limit: u32,
        after: Option<&str>,
    ) -> impl Future<Output = Result<CasePage, StoreError>> + Send;

    /// What was done to a case or an order, the oldest first. The index lags.
    fn audits_of(&self, subject: &str) -> impl Future<Output = Result<Vec<Audit>, StoreError>> + Send;

    /// The raw message under a key; `None` where it has expired.
    fn load_raw(&self, key: &str) -> impl Future<Output = Result<Option<Vec<u8>>, StoreError>> + Send;
}

/// What deciding found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decided {
    /// Case and audit record are written.
    Done,
    /// Nothing is written: the case is not as it was read. Another decided, or the trouble came again.
    Changed,
}

/// Decides cases. Every change is one transaction with its audit record. `cases`: UpdateItem, PutItem; `orders`: UpdateItem.
pub trait DecideCases {
    /// Moves a case that is still as it was read to another status. To [`CaseStatus::Replayed`] counts a replay.
    fn decide_case(
        &self,
        read: &StoredCase,
        to: CaseStatus,
        audit: &Audit,
    ) -> impl Future<Output = Result<Decided, StoreError>> + Send;

    /// Writes the next version of a row, and moves the case that it waits for, if any, to another status.
    fn commit_decision(
        &self,
        before: &Order,
        after: &Order,
        case: Option<(&CaseId, CaseStatus)>,
        audit: &Audit,
    ) -> impl Future<Output = Result<Commit, StoreError>> + Send;

    /// Writes down what changes neither case nor row.
    fn write_audit(&self, audit: &Audit) -> impl Future<Output = Result<(), StoreError>> + Send;
}
