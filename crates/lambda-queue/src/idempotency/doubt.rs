//! What to do about an effect whose outcome is unknown: a pure decision over what the provider promises.

/// How far the provider's look-up can be believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lookup {
    /// What it does not find after the settle time did not happen: a read by id of what was made before.
    Authoritative,
    /// It lags: what it finds happened, what it does not find may have happened. A search, as a rule.
    Eventual,
    /// There is none.
    None,
}

/// What a provider promises, declared by its adapter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capability {
    /// For how long the provider honours an idempotency key after it first saw it, milliseconds. `None`: it does not.
    pub idempotency_window_ms: Option<u64>,
    /// Its look-up.
    pub lookup: Lookup,
    /// How long after the last byte left the provider may still be working on the call, milliseconds.
    pub settle_ms: u64,
}

impl Capability {
    /// Of a handler that may be run again whatever became of the last run: all that it does is idempotent by itself.
    pub const REPEATABLE: Self = Self { idempotency_window_ms: Some(u64::MAX), lookup: Lookup::None, settle_ms: 0 };

    /// Of a handler of which nothing is known: an unknown outcome is a person's to settle.
    pub const UNKNOWN: Self = Self { idempotency_window_ms: None, lookup: Lookup::None, settle_ms: 0 };
}

/// What a look-up found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen<R> {
    /// The effect happened; its receipt.
    Found(R),
    /// There is no such effect.
    NotFound,
    /// The provider has no look-up, so nobody looked.
    NotLooked,
}

/// What to do now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision<R> {
    /// It happened: take the receipt for one's own.
    Adopt(R),
    /// Call again under the same key: the provider tells a late call from a new one.
    SameKey,
    /// It surely did not happen: raise the generation, then call under the new key.
    NewKey,
    /// Nobody can tell: a person has to look.
    Park {
        /// For the operator.
        why: &'static str,
    },
}

/// The decision table of an unknown outcome.
///
/// | look-up | keys honoured, inside their window | else |
/// | --- | --- | --- |
/// | found | adopt | adopt |
/// | not found, authoritative | same key | new key |
/// | not found, eventual | same key | park |
/// | none | same key | park |
///
/// `key_since_ms`: when the key may first have been used. `calls_until_ms`: when the next call under it may arrive at the
/// latest, the lease's end and the settle time: a key that is forgotten on the way would be a new one.
pub fn decide<R>(capability: Capability, seen: Seen<R>, key_since_ms: Option<u64>, calls_until_ms: u64) -> Decision<R> {
    if let Seen::Found(receipt) = seen {
        return Decision::Adopt(receipt);
    }
    let window_ends = |window_ms: u64| key_since_ms.map(|since_ms| since_ms.saturating_add(window_ms));
    let open = capability.idempotency_window_ms.and_then(window_ends).is_some_and(|end_ms| calls_until_ms <= end_ms);
    if open {
        return Decision::SameKey;
    }
    match (capability.lookup, seen) {
        (Lookup::Authoritative, Seen::NotFound) => Decision::NewKey,
        (Lookup::Authoritative, Seen::NotLooked | Seen::Found(_)) => {
            Decision::Park { why: "the outcome is unknown and nobody looked it up" }
        }
        (Lookup::Eventual, _) => {
            Decision::Park { why: "the outcome is unknown, the provider's look-up lags, and its keys are forgotten" }
        }
        (Lookup::None, _) => {
            Decision::Park { why: "the outcome is unknown, the provider has no look-up, and its keys are forgotten" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(window_ms: Option<u64>, lookup: Lookup, seen: Seen<u8>, since_ms: Option<u64>) -> &'static str {
        let capability = Capability { idempotency_window_ms: window_ms, lookup, settle_ms: 10 };
        match decide(capability, seen, since_ms, 1_000) {
            Decision::Adopt(_) => "adopt",
            Decision::SameKey => "same",
            Decision::NewKey => "new",
            Decision::Park { .. } => "park",
        }
    }

    #[test]
    fn the_decision_table_is_the_designs() {
        let (open, shut) = ((Some(1_000), Some(0)), (Some(999), Some(0)));
        let (none, unknown) = ((None, Some(0)), (Some(1_000), None));
        for ((window_ms, since_ms), is_open) in [(open, true), (shut, false), (none, false), (unknown, false)] {
            for lookup in [Lookup::Authoritative, Lookup::Eventual, Lookup::None] {
                assert_eq!(decided(window_ms, lookup, Seen::Found(7), since_ms), "adopt");
                for seen in [Seen::NotFound, Seen::NotLooked] {
                    let expected = match (is_open, lookup, &seen) {
                        (true, _, _) => "same",
                        (false, Lookup::Authoritative, Seen::NotFound) => "new",
                        (false, _, _) => "park",
                    };
                    assert_eq!(decided(window_ms, lookup, seen, since_ms), expected, "{lookup:?} {window_ms:?}");
                }
            }
        }
    }

    #[test]
    fn a_repeatable_handler_is_always_repeated_and_an_unknown_one_never() {
        assert_eq!(decide::<u8>(Capability::REPEATABLE, Seen::NotLooked, Some(5), u64::MAX), Decision::SameKey);
        assert!(matches!(decide::<u8>(Capability::UNKNOWN, Seen::NotLooked, Some(5), 6), Decision::Park { .. }));
    }
}
