//! Names of what the stack made, from the function's environment or the stack's outputs.

use crate::StartError;

/// Names of tables, queues and the rest. Empty where a program does not need it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Names {
    /// Table of order rows.
    pub orders_table: String,
    /// Table of stock and catalogue.
    pub stock_table: String,
    /// Table of effect records and claims.
    pub idempotency_table: String,
    /// Table of cases.
    pub cases_table: String,
    /// What every command queue's URL begins with.
    pub queue_url_prefix: String,
    /// The dead-letter queue of the function's own queues.
    pub dlq_url: String,
    /// The topic of order events.
    pub events_topic_arn: String,
    /// The bus of order events.
    pub event_bus_name: String,
    /// The bucket of archived events.
    pub archive_bucket: String,
    /// Who mail is from.
    pub mail_from: String,
}

impl Names {
    /// From the environment; what is not set stays empty, [`Aws::load`](crate::Aws::load) checks what is needed.
    pub fn from_env() -> Self {
        let var = |name: &str| std::env::var(name).unwrap_or_default();
        Self {
            orders_table: var("ORDERS_TABLE"),
            stock_table: var("STOCK_TABLE"),
            idempotency_table: var("IDEMPOTENCY_TABLE"),
            cases_table: var("CASES_TABLE"),
            queue_url_prefix: var("QUEUE_URL_PREFIX"),
            dlq_url: var("DLQ_URL"),
            events_topic_arn: var("EVENTS_TOPIC_ARN"),
            event_bus_name: var("EVENT_BUS_NAME"),
            archive_bucket: var("ARCHIVE_BUCKET"),
            mail_from: var("MAIL_FROM"),
        }
    }
}

/// A variable of the environment that has to be there.
pub fn setting(name: &'static str) -> Result<String, StartError> {
    std::env::var(name).ok().filter(|value| !value.is_empty()).ok_or(StartError::Missing(name))
}
