//! The wall clock of the one who looks.

use std::time::{SystemTime, UNIX_EPOCH};

/// UTC milliseconds.
#[allow(clippy::disallowed_methods, reason = "a tool's own clock: nothing here is simulated")]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
