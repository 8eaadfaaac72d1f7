//! What any SQS-fed Lambda in Rust needs: a batch loop that answers per record, failures with one meaning each,
//! leases around effects outside, CloudEvents, backoff by visibility, dead letters, structured logs and metrics.
//!
//! It knows nothing of orders. Queue, clock and randomness are ports ([`ports`]); an adapter for AWS stands elsewhere.

#[cfg(feature = "aws")]
pub mod aws;
pub mod batch;
pub mod dead_letter;
pub mod envelope;
mod failure;
pub mod idempotency;
#[cfg(feature = "logging")]
pub mod logging;
#[cfg(feature = "memory")]
pub mod memory;
pub mod meter;
pub mod metrics;
#[cfg(feature = "otlp")]
pub mod otlp;
pub mod ports;
mod redacted;
pub mod retry;
#[cfg(feature = "runtime")]
pub mod serve;

pub use batch::{Batch, Record, RecordContext};
pub use failure::{Answer, Done, Failure, Verdict};
pub use ports::{Clock, Entry, Ids, Outgoing, Queue, Random};
pub use redacted::{REDACTED, Redacted};
