//! What an event asks for.

use serde_json::Value;

/// What a run is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// Look at everything, and stay while there is something to watch. The schedule's, or an operator's by hand.
    Watch,
    /// Breakers changed: make the mappings obey, and answer at once, as a shard of the stream waits behind this. `start`:
    /// somebody has to watch from now on.
    Changed {
        /// Whether nobody watches yet.
        start: bool,
    },
    /// Only counts were added to a row.
    Nothing,
}

impl Asked {
    /// By the event: records of the table's stream, or anything else.
    pub fn by(event: &Value) -> Self {
        let Some(records) = event.get("Records").and_then(Value::as_array) else { return Self::Watch };
        let mut asked = Self::Nothing;
        for record in records {
            let image = |name: &str| Image::of(record.pointer(&format!("/dynamodb/{name}")));
            let (old, new) = (image("OldImage"), image("NewImage"));
            if old == new {
                continue;
            }
            // Who watches stays until all is closed and has come up again. A forced breaker is watched by nobody.
            let watched_before = !old.is_closed() && !old.forced;
            let to_watch =
                if new.is_closed() { old.forced } else { !new.forced && (!watched_before || new.is_half_open()) };
            let start = to_watch || matches!(asked, Self::Changed { start: true });
            asked = Self::Changed { start };
        }
        asked
    }
}

/// What matters of a row.
#[derive(PartialEq, Eq, Default)]
struct Image {
    state: Option<String>,
    epoch: Option<String>,
    forced: bool,
}

impl Image {
    fn of(image: Option<&Value>) -> Self {
        let text = |pointer: &str| image?.pointer(pointer)?.as_str().map(str::to_owned);
        let forced = image.and_then(|image| image.pointer("/forced/BOOL")).and_then(Value::as_bool);
        Self { state: text("/state/S"), epoch: text("/epoch/N"), forced: forced.unwrap_or(false) }
    }

    fn is_closed(&self) -> bool {
        self.state.as_deref().is_none_or(|state| state == "closed")
    }

    fn is_half_open(&self) -> bool {
        self.state.as_deref() == Some("half_open")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn image(state: &str, epoch: u64, forced: bool) -> Value {
        json!({ "state": { "S": state }, "epoch": { "N": epoch.to_string() }, "forced": { "BOOL": forced } })
    }

    fn record(old: Option<Value>, new: Option<Value>) -> Value {
        json!({ "dynamodb": { "OldImage": old, "NewImage": new } })
    }

    #[test]
    fn a_change_is_obeyed_at_once_and_watched_by_one() {
        let of = |old, new| Asked::by(&json!({ "Records": [record(old, new)] }));
        let changed = |start| Asked::Changed { start };
        let counts = json!({ "bucket_0_1_calls": { "N": "3" } });
        // Where the mapping's filter is not honoured.
        let lag = |lag_ms: &str| Some(json!({ "dependency": { "S": "lane#bulk" }, "lag_payment": { "N": lag_ms } }));
        let tenant = Some(json!({ "dependency": { "S": "tenant#10000#acme" }, "requests": { "N": "10" } }));
        for (old, new, expected) in [
            (None, tenant.clone(), Asked::Nothing),
            (tenant, None, Asked::Nothing),
            (None, lag("7"), Asked::Nothing),
            (lag("7"), lag("9000"), Asked::Nothing),
            (None, Some(counts.clone()), Asked::Nothing),
            (Some(counts.clone()), Some(counts.clone()), Asked::Nothing),
            (Some(counts), Some(image("open", 1, false)), changed(true)),
            (None, Some(image("open", 1, true)), changed(false)),
            (Some(image("open", 1, false)), Some(image("open", 2, false)), changed(false)),
            (Some(image("open", 2, false)), Some(image("closed", 3, false)), changed(false)),
            (Some(image("open", 1, true)), Some(image("closed", 2, false)), changed(true)),
            (Some(image("open", 1, true)), Some(image("open", 2, false)), changed(true)),
            (Some(image("open", 1, false)), Some(image("half_open", 2, false)), changed(true)),
            (Some(image("closed", 1, false)), Some(image("half_open", 2, false)), changed(true)),
            (Some(image("open", 1, false)), None, changed(false)),
        ] {
            assert_eq!(of(old.clone(), new.clone()), expected, "{old:?} {new:?}");
        }
        let two = [
            record(None, Some(image("open", 1, false))),
            record(Some(image("open", 1, false)), Some(image("open", 2, false))),
        ];
        assert_eq!(Asked::by(&json!({ "Records": two })), changed(true), "of several, one is enough");
    }

    #[test]
    fn everything_else_is_the_schedules() {
        for event in [json!({}), json!({ "source": "aws.scheduler" }), Value::Null] {
            assert_eq!(Asked::by(&event), Asked::Watch);
        }
    }
}
