//! Faults: what may go wrong between a caller and a provider, chosen at run time, repeatable by seed.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde::{Deserialize, Serialize};

use crate::ledger::Provider;

/// What a request asks a provider to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Create a PaymentIntent.
    Create,
    /// Confirm it: authorize.
    Confirm,
    /// Capture it.
    Capture,
    /// Cancel it.
    Cancel,
    /// Create a refund.
    Refund,
    /// Any read: a PaymentIntent, refunds, shipments.
    Lookup,
    /// Create a shipment.
    Shipment,
    /// In a rule: all of them.
    Any,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Answers 500 without effect. Under an idempotency key the 500 is stored and given again, as Stripe does.
    #[serde(rename = "error_500")]
    Error500,
    /// The effect happens, the answer is a (stored) 500.
    #[serde(rename = "error_500_after_effect")]
    Error500AfterEffect,
    /// Answers 429 with `Retry-After` (`delay_ms`, in seconds rounded up). No effect; nothing stored.
    #[serde(rename = "throttle_429")]
    Throttle429,
    /// Closes the connection (RST) without an answer. No effect.
    Reset,
    /// Never answers. No effect.
    Hang,
    /// The effect happens (and its answer is stored), then the connection is closed without an answer.
    EffectThenReset,
    /// The effect happens (and its answer is stored), but the caller never hears.
    EffectThenHang,
    /// Never answers; the effect happens `delay_ms` later, whether the caller still waits or not. Until then the
    /// key is in flight.
    LateEffect,
    /// Answers `delay_ms` later than usual. Adds to whatever else happens.
    Latency,
}

/// A rule: when `fault` happens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Whose requests; both providers' when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Provider>,
    /// Which requests; `any` when left out.
    #[serde(default = "any")]
    pub operation: Operation,
    /// What goes wrong.
    pub fault: FaultKind,
    /// How often, 0 to 1; always when left out.
    #[serde(default = "always")]
    pub probability: f64,
    /// At most so many times; without limit when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The delay of `latency` and `late_effect`, how long a hang lasts before the connection is closed
    /// (default 60 s), the `Retry-After` of `throttle_429`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// Only requests of this order (`metadata[order_id]` of the PaymentIntent, the shipment's reference).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<String>,
}

fn any() -> Operation {
    Operation::Any
}

fn always() -> f64 {
    1.0
}

/// A request, as far as rules look at it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Call {
    pub(crate) provider: Provider,
    pub(crate) operation: Operation,
    pub(crate) order_id: Option<String>,
}

/// What is to go wrong with one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) latency_ms: u64,
    pub(crate) fault: Option<(FaultKind, Option<u64>)>,
}

/// A rule with its place in the list, how often it fired, and the port that the last request came from on which it did: of a
/// process on this machine, so that whoever wants may find it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Rule {
    pub(crate) id: u64,
    pub(crate) fired: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_port: Option<u16>,
    #[serde(flatten)]
    pub(crate) fault: Fault,
}

/// A line of the hit count.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Hit {
    provider: Provider,
    operation: Operation,
    fault: FaultKind,
    count: u64,
}

/// Usual latency of every provider call.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Latency {
    /// Every call takes at least this.
    #[serde(default)]
    pub(crate) base_ms: u64,
    /// And up to this more.
    #[serde(default)]
    pub(crate) jitter_ms: u64,
}

/// The rules in force. Which calls they hit depends on the seed, the rule, the operation, the order and how many
/// such calls there were, never on how calls of different orders happen to interleave.
#[derive(Debug)]
pub(crate) struct Faults {
    pub(crate) seed: u64,
    pub(crate) latency: Latency,
    rules: Vec<Rule>,
    next_id: u64,
    seen: HashMap<(u64, Call), u64>,
    hits: BTreeMap<(Provider, Operation, FaultKind), u64>,
}

impl Faults {
    pub(crate) fn new(seed: u64, latency: Latency) -> Self {
        Self { seed, latency, rules: Vec::new(), next_id: 1, seen: HashMap::new(), hits: BTreeMap::new() }
    }

    /// Adds rules, or none of them when one is not sensible.
    pub(crate) fn add(&mut self, faults: Vec<Fault>) -> Result<(), String> {
        for fault in &faults {
            if !(0.0..=1.0).contains(&fault.probability) {
                return Err(format!("probability {} is not between 0 and 1", fault.probability));
            }
            if fault.fault == FaultKind::Latency && fault.delay_ms.is_none() {
                return Err("latency needs delay_ms".to_owned());
            }
        }
        for fault in faults {
            self.rules.push(Rule { id: self.next_id, fired: 0, last_port: None, fault });
            self.next_id += 1;
        }
        Ok(())
    }

    /// Takes back all rules (the hit count stays), and starts numbering anew so that a scenario repeats.
    pub(crate) fn clear(&mut self) {
        self.rules.clear();
        self.seen.clear();
        self.next_id = 1;
    }

    pub(crate) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    pub(crate) fn hits(&self) -> Vec<Hit> {
        let line = |(&(provider, operation, fault), &count): (&(Provider, Operation, FaultKind), &u64)| Hit {
            provider,
            operation,
            fault,
            count,
        };
        self.hits.iter().map(line).collect()
    }

    /// Decides over one request. A `replay` only gives a stored answer again, so nothing can fail inside it; the
    /// way to it and back still can. The first rule that fires wins; latency adds up. `from` is the request's port.
    pub(crate) fn plan(&mut self, call: &Call, replay: bool, from: Option<u16>) -> Plan {
        let mut plan = Plan { latency_ms: self.latency.base_ms, fault: None };
        if self.latency.jitter_ms > 0 {
            let roll = self.roll(0, call);
            plan.latency_ms += (roll * (self.latency.jitter_ms as f64 + 1.0)) as u64;
        }
        for index in 0..self.rules.len() {
            let Some(rule) = self.rules.get(index) else { break };
            let (id, fault) = (rule.id, &rule.fault);
            let (kind, probability, delay_ms) = (fault.fault, fault.probability, fault.delay_ms);
            let applies = fault.provider.is_none_or(|provider| provider == call.provider)
                && (fault.operation == Operation::Any || fault.operation == call.operation)
                && fault.order_id.as_ref().is_none_or(|order_id| call.order_id.as_ref() == Some(order_id))
                && fault.count.is_none_or(|count| rule.fired < count)
                && (plan.fault.is_none() || kind == FaultKind::Latency)
                && !(replay && matches!(kind, FaultKind::Error500 | FaultKind::Error500AfterEffect));
            if !applies || self.roll(id, call) >= probability {
                continue;
            }
            if kind == FaultKind::Latency {
                plan.latency_ms += delay_ms.unwrap_or(0);
            } else {
                plan.fault = Some((kind, delay_ms));
            }
            if let Some(rule) = self.rules.get_mut(index) {
                rule.fired += 1;
                rule.last_port = from;
            }
            *self.hits.entry((call.provider, call.operation, kind)).or_default() += 1;
        }
        plan
    }

    /// A number in 0..1 for the n-th such call under a rule.
    fn roll(&mut self, rule: u64, call: &Call) -> f64 {
        let nth = self.seen.entry((rule, call.clone())).or_default();
        *nth += 1;
        // Fixed keys: the same in every process of one build, which is all that repeating a run asks for.
        let mut hasher = DefaultHasher::new();
        (self.seed, rule, call, *nth).hash(&mut hasher);
        (hasher.finish() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
