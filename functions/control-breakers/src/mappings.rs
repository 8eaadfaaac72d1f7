//! Which mappings there are, as the template says.

use ports::Dependency;

/// Settings that cannot be worked with.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadMappings {
    /// A pair that is none, or a name that is no queue's of ours.
    #[error("MAPPING_IDS: {0}")]
    Ids(String),
    /// A normal that is not there or no number.
    #[error("{0} is not set, or no number")]
    Normal(&'static str),
}

/// What each kind of mapping's MaximumConcurrency normally is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Normals {
    /// Of the express lane.
    pub express: u32,
    /// Of the standard lane.
    pub standard: u32,
    /// Of the bulk lane.
    pub bulk: u32,
    /// Of `notify`.
    pub notify: u32,
    /// Of `archive`.
    pub archive: u32,
    /// Of each dead-letter queue, which triage drains.
    pub dead_letters: u32,
}

impl Normals {
    /// By the function's settings.
    ///
    /// # Errors
    /// One that is not there, or no number.
    pub fn read(setting: impl Fn(&'static str) -> Option<String>) -> Result<Self, BadMappings> {
        let normal = |name| setting(name).and_then(|most| most.parse().ok()).ok_or(BadMappings::Normal(name));
        Ok(Self {
            express: normal("EXPRESS_MAXIMUM_CONCURRENCY")?,
            standard: normal("STANDARD_MAXIMUM_CONCURRENCY")?,
            bulk: normal("BULK_MAXIMUM_CONCURRENCY")?,
            notify: normal("NOTIFY_MAXIMUM_CONCURRENCY")?,
            archive: normal("ARCHIVE_MAXIMUM_CONCURRENCY")?,
            dead_letters: normal("DLQ_MAXIMUM_CONCURRENCY")?,
        })
    }
}

/// A mapping that is looked after.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Watched {
    /// Its queue, without the stack's part: `payment-express`; `events` is the orders' stream.
    pub name: String,
    /// Lambda's id of it.
    pub id: String,
    /// Whose breaker it obeys; `None`: nobody's, it is always on.
    pub dependency: Option<Dependency>,
    /// Its normal MaximumConcurrency; `None` where it has none.
    pub normal: Option<u32>,
}

/// Reads `name=id` pairs, separated by white space.
///
/// # Errors
/// A pair that is none, or a name that is no queue's of ours.
pub fn parse(text: &str, normals: &Normals) -> Result<Vec<Watched>, BadMappings> {
    let mut all = Vec::new();
    for pair in text.split_whitespace() {
        let (name, id) =
            pair.split_once('=').filter(|(_, id)| !id.is_empty()).ok_or_else(|| BadMappings::Ids(pair.to_owned()))?;
        let (step, lane) = name.split_once('-').unwrap_or((name, ""));
        let dependency = match step {
            // Whatever its step waits for: a dead letter needs no provider.
            _ if lane == "dlq" => None,
            "payment" => Some(Dependency::Payment),
            "shipping" => Some(Dependency::Carrier),
            "notify" => Some(Dependency::Mail),
            "validate" | "stock" | "archive" | "events" => None,
            _ => return Err(BadMappings::Ids(format!("{name} is no queue of ours"))),
        };
        let normal = match (step, lane) {
            ("validate" | "payment" | "stock" | "shipping", "express") => Some(normals.express),
            ("validate" | "payment" | "stock" | "shipping", "standard") => Some(normals.standard),
            ("validate" | "payment" | "stock" | "shipping", "bulk") => Some(normals.bulk),
            ("notify", "") => Some(normals.notify),
            ("archive", "") => Some(normals.archive),
            ("validate" | "payment" | "stock" | "shipping" | "notify" | "archive" | "events", "dlq") => {
                Some(normals.dead_letters)
            }
            ("events", "") => None,
            _ => return Err(BadMappings::Ids(format!("{name} is no queue of ours"))),
        };
        all.push(Watched { name: name.to_owned(), id: id.to_owned(), dependency, normal });
    }
    if all.is_empty() {
        return Err(BadMappings::Ids("names none".to_owned()));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NORMALS: Normals = Normals { express: 20, standard: 10, bulk: 5, notify: 7, archive: 2, dead_letters: 3 };

    #[test]
    fn each_mapping_has_its_breaker_and_its_lanes_normal() {
        let text = "payment-express=a shipping-standard=b\n  notify=c stock-bulk=d archive=e events=f payment-dlq=g";
        let all = parse(text, &NORMALS).unwrap();
        let seen: Vec<_> = all.iter().map(|one| (one.id.as_str(), one.dependency, one.normal)).collect();
        assert_eq!(
            seen,
            [
                ("a", Some(Dependency::Payment), Some(20)),
                ("b", Some(Dependency::Carrier), Some(10)),
                ("c", Some(Dependency::Mail), Some(7)),
                ("d", None, Some(5)),
                ("e", None, Some(2)),
                ("f", None, None),
                ("g", None, Some(3)),
            ]
        );
    }

    #[test]
    fn a_normal_that_is_missing_or_no_number_is_named() {
        let all = |name: &'static str| (name != "BULK_MAXIMUM_CONCURRENCY").then(|| "4".to_owned());
        assert_eq!(Normals::read(all), Err(BadMappings::Normal("BULK_MAXIMUM_CONCURRENCY")));
        assert_eq!(Normals::read(|_| Some("many".to_owned())), Err(BadMappings::Normal("EXPRESS_MAXIMUM_CONCURRENCY")));
        let numbers = |name: &'static str| Some(name.len().to_string());
        assert_eq!(Normals::read(numbers).unwrap().archive, 27);
    }

    #[test]
    fn what_is_no_mapping_of_ours_is_refused_at_start() {
        for text in [
            "",
            "payment-express",
            "payment-express=",
            "payment-slow=a",
            "returns-express=a",
            "notify-bulk=a",
            "returns-dlq=a",
        ] {
            assert!(parse(text, &NORMALS).is_err(), "{text}");
        }
    }
}
