//! What a dead letter says about itself: one compact JSON attribute.

use serde::{Deserialize, Serialize};

/// The attribute's name.
pub const ATTRIBUTE: &str = "dead_letter";

/// Longest reason kept, characters.
const REASON: usize = 512;

/// Why a message was put into its dead-letter queue by its consumer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeadLetter {
    /// For people. Holds no customer data.
    pub reason: String,
    /// For programs: `poison` or `expired`.
    pub code: String,
    /// Receives so far.
    pub attempts: u32,
    /// The queue it was in.
    pub source_queue: String,
    /// The id it had there.
    pub message_id: String,
    /// When it was sent first, UTC milliseconds.
    pub first_seen_ms: u64,
}

impl DeadLetter {
    /// The attribute's value: JSON, under 2 KiB.
    pub fn to_attribute(&self) -> String {
        let mut short = self.clone();
        short.reason = short.reason.chars().filter(|c| !c.is_control()).take(REASON).collect();
        serde_json::json!(short).to_string()
    }
}
