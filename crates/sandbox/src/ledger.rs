//! The ledger: one JSON line for each effect a provider had, on disk before the answer that tells of it.
//!
//! It is the ground truth of every check: what the ledger does not list did not happen, whatever a log says.
//! The same file carries the sandbox's own state (lines, or a `commit` field of lines, that mean nothing to a
//! reader of effects); [`read`] leaves those out. In a shell: `jq -c 'select(.effect) | del(.commit)' ledger.jsonl`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// Which of the sandbox's services had the effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// The payment provider (Stripe's PaymentIntents API).
    Payment,
    /// The carrier.
    Carrier,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// A PaymentIntent was created. It holds no money yet.
    PaymentCreated,
    /// The amount is held on the customer's card.
    Authorized,
    /// The card was declined. Nothing is held.
    Declined,
    /// `amount_minor` of the hold was taken; what remained of the hold, if anything, was released.
    Captured,
    /// The PaymentIntent was cancelled; `amount_minor` is the hold that was released (0 where there was none).
    Voided,
    /// The hold lapsed before it was captured; `amount_minor` is what was released.
    HoldExpired,
    /// `amount_minor` of a captured payment went back.
    Refunded,
    /// A shipment was created.
    ShipmentCreated,
    /// The carrier refused an address. Nothing was created; `id` is the reference.
    Undeliverable,
}

/// One effect. Amounts are integer minor units; times are UTC milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// Position in the ledger, from 1, without gaps.
    pub seq: u64,
    /// When it happened.
    pub at_ms: i64,
    /// Who did it.
    pub provider: Provider,
    /// What was done.
    pub effect: Effect,
    /// `metadata[order_id]` of the PaymentIntent, or the shipment's reference. None where the caller gave none.
    pub order_id: Option<String>,
    /// Id of the PaymentIntent (`pi_`), refund (`re_`) or shipment (`shp_`).
    pub id: String,
    /// Payment only: the PaymentIntent, which a refund's `id` does not tell.
    pub payment_intent: Option<String>,
    /// Payment only: the amount the effect moved, held or released.
    pub amount_minor: Option<i64>,
    /// Payment only: ISO 4217, lower case as Stripe writes it.
    pub currency: Option<String>,
    /// The `Idempotency-Key` of the request that did it.
    pub idempotency_key: Option<String>,
    /// Metadata of the PaymentIntent, of the refund for a refund; of a shipment `service`, `tracking_number`
    /// and each line as `line.<sku>` = quantity.
    pub metadata: BTreeMap<String, String>,
}

/// Reads the effects of a ledger file, oldest first. A half-written last line (the sandbox was killed while it
/// wrote; nobody was told of that effect) is left out, as the sandbox itself does at its next start.
///
/// # Errors
/// When the file cannot be read, or a line before its end is damaged.
pub fn read(path: &Path) -> anyhow::Result<Vec<LedgerEntry>> {
    let text = std::fs::read(path).with_context(|| format!("cannot read the ledger {}", path.display()))?;
    Ok(crate::journal::replay(&text)?.groups.into_iter().flat_map(|group| group.entries).collect())
}
