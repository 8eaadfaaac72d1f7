//! What operators decide: cases, and the rows that wait for them, each change in one transaction with its audit record.

use std::collections::HashMap;

use lambda_queue::ports::store::{Item, Reason, Transacted, Write, Written, number, text};
use order::{CaseId, Order};
use ports::{Audit, CaseKind, CaseStatus, Commit, DecideCases, Decided, StoreError, StoredCase};

use crate::cases::{audits_of, key_of};
use crate::orders::lost;
use crate::{Backend, Platform, item};

impl<B: Backend> Platform<B> {
    /// The put of an audit record. Its id is its own, so one whose answer was lost finds itself.
    pub(crate) fn audit(&self, audit: &Audit) -> Write {
        let mut record: Item = HashMap::from([
            ("case_id".to_owned(), text(audit.audit_id.clone())),
            ("fingerprint".to_owned(), text(audits_of(&audit.subject))),
            ("opened_at".to_owned(), number(audit.at_ms)),
        ]);
        let words =
            [("who", &audit.who), ("action", &audit.action), ("reason", &audit.reason), ("detail", &audit.detail)];
        for (name, value) in words.into_iter().filter(|(_, value)| !value.is_empty()) {
            record.insert(name.to_owned(), text(value.clone()));
        }
        Write::put(&self.names.cases_table, record)
    }

    /// The move of a case to another status. What is closed has a time since when it is.
    fn case_moved(&self, case_id: &CaseId, to: CaseStatus, at_ms: u64) -> Write {
        let then = match to {
            CaseStatus::Open => "SET #status = :to REMOVE closed_at",
            CaseStatus::Replayed => "SET #status = :to, closed_at = :at ADD replays :one",
            CaseStatus::Closed | CaseStatus::Abandoned | CaseStatus::Superseded => "SET #status = :to, closed_at = :at",
        };
        let write = Write::update(&self.names.cases_table, key_of(case_id), then);
        let write = write.name("#status", "status").value(":to", text(to.name()));
        match to {
            CaseStatus::Open => write,
            CaseStatus::Replayed => write.value(":at", number(at_ms)).value(":one", number(1)),
            CaseStatus::Closed | CaseStatus::Abandoned | CaseStatus::Superseded => write.value(":at", number(at_ms)),
        }
    }
}

impl<B: Backend> DecideCases for Platform<B> {
    async fn decide_case(&self, read: &StoredCase, to: CaseStatus, audit: &Audit) -> Result<Decided, StoreError> {
        let case = self.case_moved(&read.case.case_id, to, audit.at_ms).value(":was", text(read.status.name()));
        let case = match read.case.kind {
            // The n-th parking of an order is one case: another attempt at it is another trouble.
            CaseKind::Parked => case
                .when("#status = :was AND row_version = :row_version AND attempt = :attempt")
                .value(":row_version", number(read.case.row_version))
                .value(":attempt", text(read.case.attempt.clone())),
            CaseKind::Unreadable | CaseKind::DeadLetter | CaseKind::Difference => case
                .when("#status = :was AND (attribute_not_exists(seen) OR seen = :seen)")
                .value(":seen", number(read.seen)),
        };
        match self.backend.transact(vec![case, self.audit(audit)]).await? {
            Transacted::Done => Ok(Decided::Done),
            Transacted::Refused(reasons) => match reasons.first() {
                Some(Reason::ConditionFailed(_)) => Ok(Decided::Changed),
                Some(Reason::None | Reason::Conflict | Reason::Other(_)) | None => {
                    Err(StoreError::NotDone("the transaction met another one".to_owned()))
                }
            },
        }
    }

    async fn commit_decision(
        &self,
        before: &Order,
        after: &Order,
        case: Option<(&CaseId, CaseStatus)>,
        audit: &Audit,
    ) -> Result<Commit, StoreError> {
        let commit_id = self.backend.fresh().to_string();
        let mut writes = vec![item::update(&self.names.orders_table, before, after, &commit_id)?, self.audit(audit)];
        if let Some((case_id, to)) = case {
            // Whatever it says by now: the row is what decides, and it is still the one that was read.
            writes.push(self.case_moved(case_id, to, audit.at_ms).when("attribute_exists(case_id)"));
        }
        let Transacted::Refused(reasons) = self.backend.transact(writes).await? else { return Ok(Commit::Done) };
        let mut reasons = reasons.into_iter();
        match reasons.next() {
            Some(Reason::ConditionFailed(row)) => lost(row, &commit_id, after.order_id),
            Some(Reason::None | Reason::Conflict | Reason::Other(_)) | None => {
                let no_case = reasons.any(|reason| matches!(reason, Reason::ConditionFailed(_)));
                let why = if no_case { "the order's case is not there" } else { "the transaction met another one" };
                Err(StoreError::NotDone(why.to_owned()))
            }
        }
    }

    async fn write_audit(&self, audit: &Audit) -> Result<(), StoreError> {
        match self.backend.write(self.audit(audit)).await? {
            Written::Done(_) => Ok(()),
            Written::Refused(_) => Err(StoreError::NotDone("the audit record was refused".to_owned())),
        }
    }
}
