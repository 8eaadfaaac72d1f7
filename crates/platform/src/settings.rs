//! Names of what the stack made, from the function's environment or the stack's outputs.

use lambda_queue::logging;
use ports::CommandVersion;

use crate::StartError;

/// Retention of a queue and of its dead-letter queue, days: the longest SQS has.
const QUEUES_DAYS: u64 = 14 + 14;

/// Of how many days the archive of events is, unless it is said otherwise.
const ARCHIVE_DAYS: u64 = 365;

/// How long a completed record of the idempotency table is kept: as long as anything can ask for its effect again, out of a
/// queue, a dead-letter queue or the archive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Retention {
    days: u64,
}

impl Retention {
    /// The least that is safe with an archive of so many days.
    pub fn least(archive_days: u64) -> Self {
        Self { days: archive_days.saturating_add(QUEUES_DAYS) }
    }

    /// From `IDEMPOTENCY_RETENTION_DAYS` and `ARCHIVE_RETENTION_DAYS`, whole days; the defaults are 393 and 365. Fewer than
    /// 28 more than the archive's are refused: an archived message would find its record gone, and its effect would happen
    /// again.
    pub fn parse(days: Option<&str>, archive_days: Option<&str>) -> Result<Self, StartError> {
        let read = |name, value: Option<&str>, otherwise| match value.filter(|value| !value.is_empty()) {
            None => Ok(otherwise),
            Some(value) => value
                .parse::<u64>()
                .map_err(|_| StartError::Invalid { name, why: "not a whole number of days".to_owned() }),
        };
        let kept = Self { days: read(RETENTION, days, Self::default().days)? };
        let least = Self::least(read(ARCHIVE_RETENTION, archive_days, ARCHIVE_DAYS)?);
        if kept < least {
            return Err(StartError::Invalid {
                name: RETENTION,
                why: format!(
                    "{} days; queue, dead-letter queue and archive keep messages for {}",
                    kept.days, least.days
                ),
            });
        }
        Ok(kept)
    }

    /// From the environment: [`Retention::parse`].
    pub fn from_env() -> Result<Self, StartError> {
        let var = |name: &str| std::env::var(name).ok();
        Self::parse(var(RETENTION).as_deref(), var(ARCHIVE_RETENTION).as_deref())
    }

    /// Milliseconds.
    pub fn ms(self) -> u64 {
        self.days.saturating_mul(24 * 60 * 60 * 1_000)
    }
}

impl Default for Retention {
    /// With an archive of 365 days: 393.
    fn default() -> Self {
        Self::least(ARCHIVE_DAYS)
    }
}

const RETENTION: &str = "IDEMPOTENCY_RETENTION_DAYS";
const ARCHIVE_RETENTION: &str = "ARCHIVE_RETENTION_DAYS";
const COMMAND_VERSION: &str = "EMITTED_COMMAND_VERSION";

/// From `EMITTED_COMMAND_VERSION`; where it is not set, what commands are sent in anyway. A version that this program does not
/// know is refused: what it sent instead would not be what the stack was told to send.
pub fn command_version(value: Option<&str>) -> Result<CommandVersion, StartError> {
    match value.filter(|value| !value.is_empty()) {
        None => Ok(CommandVersion::default()),
        Some(value) => CommandVersion::parse(value)
            .map_err(|error| StartError::Invalid { name: COMMAND_VERSION, why: error.to_string() }),
    }
}

/// Sets a function's logger up, once, at its start ([`lambda_queue::logging`]). What messages are about are orders, so lines
/// call it `order_id`: log queries and runbooks go by that.
pub fn init_logging() {
    logging::Settings { subject_name: "order_id".to_owned(), ..logging::Settings::from_env() }.init();
}

/// Names of tables, queues and the rest. Empty where a program does not need it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Names {
    /// Table of order rows.
    pub orders_table: String,
    /// Table of stock and catalogue.
    pub stock_table: String,
    /// Table of effect records and claims.
    pub idempotency_table: String,
    /// How long completed records are kept there.
    pub idempotency_retention: Retention,
    /// Table of cases.
    pub cases_table: String,
    /// Table of breakers.
    pub breakers_table: String,
    /// What every command queue's URL begins with.
    pub queue_url_prefix: String,
    /// The version that commands are sent in.
    pub command_version: CommandVersion,
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
    /// The verified identity of that sender.
    pub mail_identity: String,
    /// The function's own name.
    pub own_function: String,
}

impl Names {
    /// From the environment; what is not set stays empty, [`Aws::load`](crate::Aws::load) checks what is needed. Refused
    /// where records would be kept for too short a time ([`Retention::parse`]), or commands sent in a version that this
    /// program does not know ([`command_version`]).
    pub fn from_env() -> Result<Self, StartError> {
        let var = |name: &str| std::env::var(name).unwrap_or_default();
        Ok(Self {
            orders_table: var("ORDERS_TABLE"),
            stock_table: var("STOCK_TABLE"),
            idempotency_table: var("IDEMPOTENCY_TABLE"),
            idempotency_retention: Retention::from_env()?,
            cases_table: var("CASES_TABLE"),
            breakers_table: var("BREAKERS_TABLE"),
            queue_url_prefix: var("QUEUE_URL_PREFIX"),
            command_version: command_version(std::env::var(COMMAND_VERSION).ok().as_deref())?,
            dlq_url: var("DLQ_URL"),
            events_topic_arn: var("EVENTS_TOPIC_ARN"),
            event_bus_name: var("EVENT_BUS_NAME"),
            archive_bucket: var("ARCHIVE_BUCKET"),
            mail_from: var("MAIL_FROM"),
            mail_identity: var("MAIL_IDENTITY"),
            own_function: var("AWS_LAMBDA_FUNCTION_NAME"),
        })
    }
}

/// A variable of the environment that has to be there.
pub fn setting(name: &'static str) -> Result<String, StartError> {
    std::env::var(name).ok().filter(|value| !value.is_empty()).ok_or(StartError::Missing(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_kept_as_long_as_anything_can_ask_again_or_the_function_does_not_start() {
        let days = |kept, archive| Retention::parse(kept, archive).map(|kept| kept.ms() / 86_400_000).ok();
        for (kept, archive, expected) in [
            (None, None, Some(393)),
            (Some(""), Some(""), Some(393)),
            (Some("393"), Some("365"), Some(393)),
            (Some("392"), Some("365"), None),
            (Some("392"), None, None),
            (Some("29"), Some("1"), Some(29)),
            (Some("28"), Some("1"), None),
            (None, Some("366"), None),
            (Some("800"), Some("731"), Some(800)),
            (Some("a year"), Some("1"), None),
            (Some("393"), Some("-1"), None),
            (Some("18446744073709551615"), Some("18446744073709551615"), Some(u64::MAX / 86_400_000)),
        ] {
            assert_eq!(days(kept, archive), expected, "{kept:?} {archive:?}");
        }
        assert_eq!(Names::default().idempotency_retention.ms(), 393 * 86_400_000, "what tools work with");
    }

    #[test]
    fn a_function_that_is_told_to_send_a_version_that_it_does_not_know_does_not_start() {
        let first = CommandVersion::default();
        for value in [None, Some(""), Some("1")] {
            assert_eq!(command_version(value).ok(), Some(first), "{value:?}");
        }
        for value in ["0", "9", "v1", "latest"] {
            let refused = command_version(Some(value)).unwrap_err().to_string();
            assert!(refused.contains("EMITTED_COMMAND_VERSION") && refused.contains("it can send"), "{refused}");
        }
    }
}
