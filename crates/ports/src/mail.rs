//! Mail, at most once: the sender has no idempotency token, so a claim goes before it and is never taken back after
//! the first byte left.

use std::future::Future;

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

/// What a claim found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Once {
    /// It is ours.
    Ours,
    /// Somebody had it: the effect ran, or may have.
    Taken,
}

/// Claims of effects that run at most once. `idempotency`: UpdateItem.
pub trait ClaimOnce {
    /// Claims a key for good. A claim whose answer was lost counts as taken by whoever asks next.
    fn claim_once(&self, key: &str) -> impl Future<Output = Result<Once, StoreError>> + Send;

    /// Gives a claim back: the effect surely did not run.
    fn unclaim(&self, key: &str) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Keeps what the effect answered, and starts the record's time to live.
    fn claim_done(&self, key: &str, result: &str) -> impl Future<Output = Result<(), StoreError>> + Send;
}
