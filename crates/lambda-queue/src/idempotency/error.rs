//! Why an idempotent call has no result.

use crate::Failure;
use crate::ports::store::StoreError;

use super::fingerprint::FingerprintError;
use super::guard::GuardError;
use super::key::KeyError;

/// Why an idempotent call has no result. None of the texts holds a key or a payload.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IdempotencyError {
    /// The key cannot be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The payload has no fingerprint.
    #[error(transparent)]
    Fingerprint(#[from] FingerprintError),
    /// The key was used for another payload.
    #[error("the idempotency key was used for another payload")]
    Conflict,
    /// Another worker holds the lease, or the effect is in doubt and not yet to be looked up.
    #[error("{}", if *.live { "another worker is at it" } else { "it is in doubt, and too early to look it up" })]
    InProgress {
        /// When the lease and the settle time are over, UTC milliseconds.
        until_ms: u64,
        /// Whether the lease is not over: its holder may be at work, and end soon.
        live: bool,
    },
    /// The effect may have happened: whoever comes next looks it up.
    #[error("the outcome is unknown: {why}")]
    InDoubt {
        /// A hash of the record's key.
        reference: String,
        /// From when on a look-up may be believed, UTC milliseconds.
        until_ms: u64,
        /// For the log.
        why: String,
    },
    /// The effect may have happened and nothing can tell: a person has to look. The record stays in doubt, its attempts
    /// are counted anew.
    #[error("parked, a person has to look: {why}")]
    Parked {
        /// For the operator.
        why: String,
    },
    /// The lease was taken over while its owner was at work: what the handler did is looked up by the new owner.
    #[error("the lease was taken over")]
    LeaseLost {
        /// A hash of the record's key.
        reference: String,
        /// When the lost lease and the settle time end, UTC milliseconds. As a rule they have.
        until_ms: u64,
    },
    /// The result was made but is too large to be kept ([`super::Oversize::Refuse`]), or was so the first time. The effect
    /// is not repeated.
    #[error("the result of {bytes} bytes is over the limit and is not kept")]
    TooLarge {
        /// Of the JSON.
        bytes: u64,
    },
    /// The result cannot be written as JSON, or a stored one not be read.
    #[error("the result is unreadable: {0}")]
    Unreadable(String),
    /// The record is there, of another way of use: a claim, a skipped effect, an effect that shares it.
    #[error("the idempotency record is used in another way")]
    OtherUse,
    /// The handler failed, or the record of its lease did.
    #[error(transparent)]
    Handler(Failure),
    /// The table failed, and no handler ran in this call. Of [`super::Idempotency::apply`], whose writes are the effect:
    /// `NotDone` says that nothing is written, `Unknown` that all of it may be, which the same call again tells.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<GuardError> for IdempotencyError {
    fn from(error: GuardError) -> Self {
        Self::Handler(error.into())
    }
}

impl From<IdempotencyError> for Failure {
    /// What cannot become right by itself is poison: the dead-letter queue is where a person looks.
    fn from(error: IdempotencyError) -> Self {
        match error {
            IdempotencyError::Key(_)
            | IdempotencyError::Fingerprint(_)
            | IdempotencyError::Conflict
            | IdempotencyError::Parked { .. } => Self::Poison { reason: error.to_string() },
            IdempotencyError::InProgress { until_ms, live: true } => Self::busy(until_ms, error),
            IdempotencyError::InProgress { until_ms, live: false } => Self::defer(until_ms, error),
            IdempotencyError::InDoubt { reference, until_ms, why } => Self::Unknown { key: reference, until_ms, why },
            IdempotencyError::LeaseLost { reference: key, until_ms } => {
                Self::Unknown { key, until_ms, why: "the lease was taken over".to_owned() }
            }
            IdempotencyError::TooLarge { .. } | IdempotencyError::Unreadable(_) | IdempotencyError::OtherUse => {
                Self::bug(error)
            }
            IdempotencyError::Handler(failure) => failure,
            IdempotencyError::Store(error) => error.into(),
        }
    }
}
