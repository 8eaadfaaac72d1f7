//! Mail, at most once: the sender has no idempotency token, so a claim goes before it and is never taken back after
//! the first byte left.

use std::future::Future;

use lambda_queue::idempotency::{Claim, Ended};
use order::Email;

use crate::{ProviderError, StoreError};

/// A rendered mail. Its `Debug` shows only the subject.
#[derive(Clone, PartialEq, Eq)]
pub struct Mail {
    /// One line, without control characters.
    pub subject: String,
    /// Plain text.
    pub text: String,
    /// HTML.
    pub html: String,
}

impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mail").field("subject", &self.subject).finish_non_exhaustive()
    }
}

/// Sends mail. `ses`: SendEmail.
pub trait SendMail {
    /// Answers the service's message id. `NotRun` only where the service surely did not take it.
    fn send_mail(&self, to: &Email, mail: &Mail) -> impl Future<Output = Result<String, ProviderError>> + Send;
}

/// Claims of effects that run at most once. `idempotency`: UpdateItem.
///
/// A claim carries its owner's token, and only its owner ends it: a late copy of a write, as an SDK that saw no answer sends
/// it again, frees nobody else's claim.
pub trait ClaimOnce {
    /// Claims a key for good; `None` where somebody had it: the effect ran, or may have. A claim that fails is given back, as
    /// its effect was not begun; where that fails too, it counts as taken by whoever asks next.
    fn claim_once(&self, key: &str) -> impl Future<Output = Result<Option<Claim>, StoreError>> + Send;

    /// Gives a claim back: the effect surely did not run. `LeaseLost`: it is not this owner's any more; nothing is written.
    fn unclaim(&self, claim: &Claim) -> impl Future<Output = Result<Ended, StoreError>> + Send;

    /// Keeps what the effect answered, and starts the record's time to live. `LeaseLost` as for [`ClaimOnce::unclaim`].
    fn claim_done(&self, claim: &Claim, result: &str) -> impl Future<Output = Result<Ended, StoreError>> + Send;
}
