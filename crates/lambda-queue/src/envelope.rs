//! CloudEvents 1.0, the JSON format, with the extensions that follow a message through the system.
//!
//! Source: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>

use serde::{Deserialize, Serialize};

/// A message or an event. Attribute names are CloudEvents' own; the last five are extensions.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// Always `1.0`.
    pub specversion: String,
    /// With `source`, what makes a repeat a repeat.
    pub id: String,
    /// Who says so.
    pub source: String,
    /// What it is, its version last: `orderflow.payment.authorize.v1`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// When it happened, RFC 3339.
    pub time: String,
    /// Where its schema is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataschema: Option<String>,
    /// Always JSON.
    #[serde(default = "json", skip_serializing_if = "String::is_empty")]
    pub datacontenttype: String,
    /// The payload.
    pub data: T,
    /// W3C trace context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The whole story this belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlationid: Option<String>,
    /// The message that brought this about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causationid: Option<String>,
    /// Priority lane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<String>,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

fn json() -> String {
    "application/json".to_owned()
}

/// `spec.name.v3` is `spec.name` in version 3. `None` where the last part is no version.
pub fn split_version(kind: &str) -> Option<(&str, u32)> {
    let (name, version) = kind.rsplit_once(".v")?;
    (!name.is_empty() && !version.starts_with('0')).then_some(())?;
    version.parse().ok().map(|version| (name, version))
}

/// UTC milliseconds as RFC 3339 with milliseconds: `2026-11-23T09:30:00.000Z`. A time that no calendar has is shown as
/// the epoch's start.
pub fn rfc3339(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.unwrap_or(jiff::Timestamp::UNIX_EPOCH).strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_last_part_of_the_type() {
        assert_eq!(split_version("orderflow.payment.authorize.v1"), Some(("orderflow.payment.authorize", 1)));
        assert_eq!(split_version("a.v12"), Some(("a", 12)));
        for none in ["a", "a.v", "a.v0", "a.v01", "a.vx", ".v1", ""] {
            assert_eq!(split_version(none), None, "{none}");
        }
    }

    #[test]
    fn times_are_rfc_3339_in_utc() {
        for (at_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_426_200_123, "2026-11-23T09:30:00.123Z"),
        ] {
            assert_eq!(rfc3339(at_ms), text);
        }
    }
}
