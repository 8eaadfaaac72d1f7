//! What every provider outside has in common.

use std::time::Duration;

/// What a provider's look-up is worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lookup {
    /// It shows every effect that ended, at once.
    Authoritative,
    /// It shows it some time later: "not found" proves nothing.
    Eventual,
    /// There is none.
    None,
}

/// What a provider promises.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// How long it knows an idempotency key, milliseconds. 0: not at all.
    pub idempotency_window_ms: u64,
    /// What its look-up is worth.
    pub lookup: Lookup,
    /// How long after a lost answer it may still be working, milliseconds.
    pub settle_ms: u64,
}

/// A call to a provider that gave no answer about the business.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProviderError {
    /// It surely did not run: connection refused.
    #[error("not run: {why}")]
    NotRun {
        /// What the provider asked to wait.
        retry_after: Option<Duration>,
        /// For the log.
        why: String,
    },
    /// It surely did not run: the provider is asked too often. It is well, and its breaker does not count this.
    #[error("throttled: {why}")]
    Throttled {
        /// What the provider asked to wait.
        retry_after: Option<Duration>,
        /// For the log.
        why: String,
    },
    /// It may have run, or still be running: a timeout, a reset, a gateway's 5xx.
    #[error("outcome unknown: {why}")]
    Unknown {
        /// For the log.
        why: String,
    },
    /// It failed inside and said so (a 500): it may have run, but the provider is done with the call, and gives this answer
    /// again for as long as it knows the key.
    #[error("failed at the provider: {why}")]
    Failed {
        /// For the log.
        why: String,
    },
    /// The object is not in a state for it: look it up.
    #[error("not in a state for it: {why}")]
    WrongState {
        /// For the log.
        why: String,
    },
    /// The request itself is refused, and always will be: a wrong key, a malformed request. It did not run.
    #[error("refused: {why}")]
    Refused {
        /// For the log.
        why: String,
    },
}
