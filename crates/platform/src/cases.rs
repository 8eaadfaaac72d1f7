//! The table of cases.

use std::collections::HashMap;

use lambda_queue::ports::store::{Value, Write, number, text};
use order::CaseId;
use ports::{Case, OpenCase, StoreError};

use crate::{Backend, Platform};

impl<B: Backend> Platform<B> {
    fn case_update(&self, case_id: &CaseId, expression: &str) -> Write {
        let key = HashMap::from([("case_id".to_owned(), text(case_id.as_str()))]);
        Write::update(&self.names.cases_table, key, expression.to_owned())
            .name("#status", "status")
            .value(":open", text("open"))
    }

    /// Closes a case that is open and fits. One that is closed, is not there or does not fit is left alone.
    async fn close_case(&self, case_id: &CaseId, fits: &str, value: Value) -> Result<(), StoreError> {
        let write = self
            .case_update(case_id, "SET #status = :superseded, closed_at = :now")
            .when(format!("#status = :open AND {fits}"))
            .value(":superseded", text("superseded"))
            .value(":now", number(self.backend.now_ms()))
            .value(":value", value);
        self.backend.write(write).await.map(drop)
    }
}

impl<B: Backend> OpenCase for Platform<B> {
    async fn open_case(&self, case: &Case) -> Result<(), StoreError> {
        let mut set = "SET #status = :open, fingerprint = :fingerprint, #class = :class, #step = :step, \
                       order_id = :order_id, digest = :digest, opened_at = if_not_exists(opened_at, :now), \
                       last_seen = :now, attempt = :attempt, row_version = :row_version"
            .to_owned();
        if case.tenant.is_some() {
            set.push_str(", tenant = :tenant");
        }
        let mut write = self
            .case_update(&case.case_id, &format!("{set} REMOVE closed_at"))
            .name("#class", "class")
            .name("#step", "step")
            .value(":fingerprint", text(case.fingerprint.clone()))
            .value(":class", text(case.class.name()))
            .value(":step", text(case.step.clone()))
            .value(":order_id", text(case.order_id.clone()))
            .value(":digest", text(case.digest.clone()))
            .value(":now", number(case.opened_at_ms))
            .value(":attempt", text(case.attempt.clone()))
            .value(":row_version", number(case.row_version));
        if let Some(tenant) = &case.tenant {
            write = write.value(":tenant", text(tenant.as_str()));
        }
        self.backend.write(write).await.map(drop)
    }

    async fn withdraw_case(&self, case: &Case) -> Result<(), StoreError> {
        self.close_case(&case.case_id, "attempt = :value", text(case.attempt.clone())).await
    }

    async fn supersede_case(&self, case_id: &CaseId, version: u64) -> Result<(), StoreError> {
        self.close_case(case_id, "row_version < :value", number(version)).await
    }
}
