//! How idempotent calls are kept.

use std::fmt;

use serde_json::Value;

use crate::Failure;

use super::cache::ResultCache;
use super::record::Stored;

/// The environment variable that switches idempotency off: `1`, `true`, `yes` or `on`.
pub const OFF_SWITCH: &str = "LAMBDA_QUEUE_IDEMPOTENCY_DISABLED";
/// The most bytes of a result unless it is said otherwise: an item holds 400 KB, its key, names and fingerprint among them.
pub const RESULT_BYTES: usize = 384 * 1_000;

/// What becomes of a result that is too large to be kept. Either way the record is completed, with the result's size in its
/// place: the effect happened, and is never repeated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Oversize {
    /// The call fails, the first time too.
    #[default]
    Refuse,
    /// The first call has its result; a replay fails.
    Mark,
}

/// May look at a stored result, change it, or refuse to give it out.
pub type ReplayHook = Box<dyn Fn(Value, &Stored) -> Result<Value, Failure> + Send + Sync>;

/// How idempotent calls are kept. One for the life of the process, as the cache is in it.
pub struct Settings {
    pub(super) table: String,
    pub(super) kept_ms: u64,
    pub(super) cache: Option<ResultCache>,
    pub(super) most_result_bytes: usize,
    pub(super) oversize: Oversize,
    pub(super) on_replay: Option<ReplayHook>,
    pub(super) disabled: bool,
}

impl Settings {
    /// Records in this table (key `key`, text; time to live `expires_at`), kept for `kept_ms` after their completion.
    pub fn new(table: impl Into<String>, kept_ms: u64) -> Self {
        Self {
            table: table.into(),
            kept_ms,
            cache: None,
            most_result_bytes: RESULT_BYTES,
            oversize: Oversize::Refuse,
            on_replay: None,
            disabled: false,
        }
    }

    /// With a cache of completed results in this process.
    #[must_use]
    pub fn cache(mut self, cache: ResultCache) -> Self {
        self.cache = Some(cache);
        self
    }

    /// The most bytes of a result, at most [`RESULT_BYTES`], and what becomes of a larger one.
    #[must_use]
    pub fn results(mut self, most_bytes: usize, oversize: Oversize) -> Self {
        (self.most_result_bytes, self.oversize) = (most_bytes.min(RESULT_BYTES), oversize);
        self
    }

    /// Every replayed result goes through this.
    #[must_use]
    pub fn on_replay(
        mut self,
        hook: impl Fn(Value, &Stored) -> Result<Value, Failure> + Send + Sync + 'static,
    ) -> Self {
        self.on_replay = Some(Box::new(hook));
        self
    }

    /// Off: handlers run every time, no call is made.
    #[must_use]
    pub fn disabled(mut self, disabled: bool) -> Self {
        self.disabled = disabled;
        self
    }

    /// Off where the environment says so ([`OFF_SWITCH`]); else as it is.
    #[must_use]
    pub fn switched_by_env(self) -> Self {
        let off = is_off(std::env::var(OFF_SWITCH).ok().as_deref());
        if off { self.disabled(true) } else { self }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Settings")
            .field("table", &self.table)
            .field("kept_ms", &self.kept_ms)
            .field("cache", &self.cache.as_ref().map(ResultCache::size))
            .field("most_result_bytes", &self.most_result_bytes)
            .field("oversize", &self.oversize)
            .field("on_replay", &self.on_replay.is_some())
            .field("disabled", &self.disabled)
            .finish()
    }
}

fn is_off(value: Option<&str>) -> bool {
    value.is_some_and(|value| matches!(value.trim().to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on"))
}

#[cfg(test)]
mod tests {
    use super::is_off;

    #[test]
    fn only_a_clear_yes_switches_it_off() {
        for (value, expected) in [
            (None, false),
            (Some(""), false),
            (Some("0"), false),
            (Some("false"), false),
            (Some("off"), false),
            (Some("1"), true),
            (Some("TRUE"), true),
            (Some(" yes "), true),
            (Some("on"), true),
        ] {
            assert_eq!(is_off(value), expected, "{value:?}");
        }
    }
}
