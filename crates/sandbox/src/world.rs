//! What the providers know, and the one way it changes: a [`Tx`] collects effects and new values, and
//! [`World::apply`] puts them in, at run time and at replay alike.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::carrier::Shipment;
use crate::ledger::{Effect, LedgerEntry, Provider};
use crate::payment::model::{Charge, Intent, Refund};

/// Stripe keeps answers at least this long.
pub(crate) const IDEMPOTENCY_WINDOW_MS: i64 = 24 * 60 * 60 * 1000;

/// The answer to the first request with a key, as it will be given again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredAnswer {
    pub(crate) key: String,
    pub(crate) path: String,
    /// The request's parameters, in order of their names.
    pub(crate) params: String,
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) request_id: String,
    pub(crate) at_ms: i64,
}

/// State a request left behind: new values of whole objects.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Commit {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) intents: Vec<Intent>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) charges: Vec<Charge>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) refunds: Vec<Refund>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) shipments: Vec<Shipment>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) answers: Vec<StoredAnswer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) clock_offset_ms: Option<i64>,
}

impl Commit {
    pub(crate) fn is_empty(&self) -> bool {
        self.intents.is_empty()
            && self.charges.is_empty()
            && self.refunds.is_empty()
            && self.shipments.is_empty()
            && self.answers.is_empty()
            && self.clock_offset_ms.is_none()
    }
}

/// Everything the providers know.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) ledger: Vec<LedgerEntry>,
    pub(crate) intents: HashMap<String, Intent>,
    pub(crate) charges: HashMap<String, Charge>,
    /// Oldest first.
    pub(crate) refunds: Vec<Refund>,
    /// By id.
    pub(crate) shipments: HashMap<String, Shipment>,
    /// Shipment id by reference.
    pub(crate) references: HashMap<String, String>,
    pub(crate) answers: HashMap<String, StoredAnswer>,
    /// Keys whose first request is still under way: (path, parameters). Not journaled; a crash ends them.
    pub(crate) in_flight: HashMap<String, (String, String)>,
    pub(crate) clock_offset_ms: i64,
}

impl World {
    pub(crate) fn apply(&mut self, entries: Vec<LedgerEntry>, commit: Commit) {
        self.ledger.extend(entries);
        for intent in commit.intents {
            self.intents.insert(intent.id.clone(), intent);
        }
        for charge in commit.charges {
            self.charges.insert(charge.id.clone(), charge);
        }
        self.refunds.extend(commit.refunds);
        for shipment in commit.shipments {
            self.references.insert(shipment.reference.clone(), shipment.id.clone());
            self.shipments.insert(shipment.id.clone(), shipment);
        }
        for answer in commit.answers {
            self.answers.insert(answer.key.clone(), answer);
        }
        if let Some(offset_ms) = commit.clock_offset_ms {
            self.clock_offset_ms = offset_ms;
        }
    }
}

/// One request's work: reads see its own writes, nothing shows outside until it is applied.
pub(crate) struct Tx<'w> {
    pub(crate) world: &'w World,
    pub(crate) now_ms: i64,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) entries: Vec<LedgerEntry>,
    pub(crate) commit: Commit,
}

/// The facts of an effect that [`Tx::record`] does not know by itself.
pub(crate) struct Happened {
    pub(crate) provider: Provider,
    pub(crate) effect: Effect,
    pub(crate) order_id: Option<String>,
    pub(crate) id: String,
    pub(crate) payment_intent: Option<String>,
    pub(crate) amount_minor: Option<i64>,
    pub(crate) currency: Option<String>,
    pub(crate) metadata: BTreeMap<String, String>,
}

impl<'w> Tx<'w> {
    pub(crate) fn new(world: &'w World, now_ms: i64, idempotency_key: Option<String>) -> Self {
        Self { world, now_ms, idempotency_key, entries: Vec::new(), commit: Commit::default() }
    }

    pub(crate) fn now_s(&self) -> i64 {
        self.now_ms / 1000
    }

    pub(crate) fn intent(&self, id: &str) -> Option<Intent> {
        let own = self.commit.intents.iter().rev().find(|intent| intent.id == id);
        own.or_else(|| self.world.intents.get(id)).cloned()
    }

    pub(crate) fn charge(&self, id: &str) -> Option<Charge> {
        let own = self.commit.charges.iter().rev().find(|charge| charge.id == id);
        own.or_else(|| self.world.charges.get(id)).cloned()
    }

    pub(crate) fn put_intent(&mut self, intent: &Intent) {
        self.commit.intents.retain(|other| other.id != intent.id);
        self.commit.intents.push(intent.clone());
    }

    pub(crate) fn put_charge(&mut self, charge: &Charge) {
        self.commit.charges.retain(|other| other.id != charge.id);
        self.commit.charges.push(charge.clone());
    }

    pub(crate) fn record(&mut self, happened: Happened) {
        let seq = (self.world.ledger.len() + self.entries.len() + 1) as u64;
        self.entries.push(LedgerEntry {
            seq,
            at_ms: self.now_ms,
            provider: happened.provider,
            effect: happened.effect,
            order_id: happened.order_id,
            id: happened.id,
            payment_intent: happened.payment_intent,
            amount_minor: happened.amount_minor,
            currency: happened.currency,
            idempotency_key: self.idempotency_key.clone(),
            metadata: happened.metadata,
        });
    }
}

/// A fresh id as the providers write them: a prefix and `length` letters and digits.
pub(crate) fn new_id(prefix: &str, length: usize) -> String {
    use rand::RngExt as _;
    let mut id = String::with_capacity(prefix.len() + length);
    id.push_str(prefix);
    id.extend(rand::rng().sample_iter(rand::distr::Alphanumeric).take(length).map(char::from));
    id
}
