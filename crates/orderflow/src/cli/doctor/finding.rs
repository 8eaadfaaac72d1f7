//! What a check says.

use serde::Serialize;

/// How something stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Health {
    /// As it should be.
    Ok,
    /// Nobody asked for it to be looked at.
    Skipped,
    /// It could not be looked at.
    Unknown,
    /// Not as it should be, and no hurry; or it will pass.
    Warn,
    /// Something does not work, or is about to.
    Bad,
}

impl Health {
    /// Its name in output.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Unknown => "unknown",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

/// One line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Finding {
    /// What was looked at.
    pub(super) check: &'static str,
    /// How it stands.
    pub(super) health: Health,
    /// What was seen.
    pub(super) seen: String,
    /// What to do about it: a command or a page. Empty where nothing is to be done.
    #[serde(rename = "do", skip_serializing_if = "String::is_empty")]
    pub(super) advice: String,
}

impl Finding {
    pub(super) fn new(check: &'static str, health: Health, seen: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, health, seen: seen.into(), advice: advice.into() }
    }

    pub(super) fn ok(check: &'static str, seen: impl Into<String>) -> Self {
        Self::new(check, Health::Ok, seen, "")
    }

    pub(super) fn unknown(check: &'static str, error: &anyhow::Error) -> Self {
        Self::new(check, Health::Unknown, format!("could not be looked at: {error:#}"), "may you read it? Is it there?")
    }
}

/// What all of it comes to: bad if anything is, else unknown if anything could not be looked at. What was skipped does not
/// count here: the verdict names it.
pub(super) fn overall(findings: &[Finding]) -> Health {
    let any = |health| findings.iter().any(|finding| finding.health == health);
    [Health::Bad, Health::Unknown, Health::Warn].into_iter().find(|health| any(*health)).unwrap_or(Health::Ok)
}

/// A count of things in words: `1 order`, `3 orders`.
pub(super) fn many(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_decides_and_what_could_not_be_looked_at_is_not_healthy() {
        let of = |all: &[Health]| {
            let findings: Vec<Finding> = all.iter().map(|health| Finding::new("a", *health, "", "")).collect();
            overall(&findings)
        };
        use Health::{Bad, Ok, Skipped, Unknown, Warn};
        assert_eq!(of(&[Ok, Skipped]), Ok);
        assert_eq!(of(&[]), Ok);
        assert_eq!(of(&[Ok, Warn, Ok]), Warn);
        assert_eq!(of(&[Warn, Unknown]), Unknown);
        assert_eq!(of(&[Unknown, Bad, Ok]), Bad);
    }

    #[test]
    fn one_is_one() {
        assert_eq!(
            (many(1, "queue"), many(0, "queue"), many(2, "queue")),
            ("1 queue".into(), "0 queues".into(), "2 queues".into())
        );
    }
}
