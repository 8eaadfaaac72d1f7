//! What was done to the stack: every fault that came true, when, to what, and to which orders.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use order::OrderId;

use crate::check::Kill;
use crate::clock::now_ms;

/// A fault that came true.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Injected {
    /// Its kind in the report.
    pub kind: &'static str,
    /// When, UTC milliseconds.
    pub at_ms: u64,
    /// What it befell: `dynamodb PutItem`, a function, a queue.
    pub what: String,
    /// The orders it is known to have touched.
    pub orders: BTreeSet<OrderId>,
}

#[derive(Debug, Default)]
struct Notes {
    injected: Vec<Injected>,
    kills: Vec<Kill>,
    passed: u64,
    /// Calls, by `service Operation`.
    calls: BTreeMap<String, u64>,
}

/// The one list that everybody who injects writes to.
#[derive(Clone, Debug, Default)]
pub struct Journal(Arc<Mutex<Notes>>);

impl Journal {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a fault.
    pub fn note(&self, kind: &'static str, what: impl Into<String>, orders: BTreeSet<OrderId>) {
        self.notes().injected.push(Injected { kind, at_ms: now_ms(), what: what.into(), orders });
    }

    /// Notes that a function's process was killed.
    pub fn killed(&self, function: &str) {
        self.notes().kills.push(Kill { function: function.to_owned(), at_ms: now_ms() });
    }

    /// Counts a call.
    pub fn called(&self, name: String, untouched: bool) {
        let mut notes = self.notes();
        *notes.calls.entry(name).or_default() += 1;
        notes.passed += u64::from(untouched);
    }

    /// Everything so far.
    pub fn injected(&self) -> Vec<Injected> {
        self.notes().injected.clone()
    }

    /// Every kill of a function so far.
    pub fn kills(&self) -> Vec<Kill> {
        self.notes().kills.clone()
    }

    /// Calls, by `service Operation`, and how many nothing happened to.
    pub fn calls(&self) -> (BTreeMap<String, u64>, u64) {
        let notes = self.notes();
        (notes.calls.clone(), notes.passed)
    }
}
