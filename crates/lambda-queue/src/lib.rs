//! What any SQS-fed Lambda in Rust needs: a batch loop that answers per record, failures with one meaning each,
//! leases around effects outside, CloudEvents, backoff by visibility, dead letters, structured logs and metrics.
//!
//! | module | what |
//! | --- | --- |
//! | [`batch`] | the loop over queues and streams, delivery modes, observers |
//! | [`retry`], [`dead_letter`] | when a failed record comes back, and where it goes if it never may |
//! | [`idempotency`] | one effect once: keys, leases, look-ups |
//! | [`breaker`] | circuit breakers, of a process or of a table |
//! | [`lag`] | how late consumers are, told by lane in a table |
//! | [`envelope`] | CloudEvents: causes, traces, versions, sizes, claim check |
//! | [`metrics`], [`meter`] | CloudWatch's embedded metrics; calls of services counted |
//! | `logging`, `otlp` (features) | JSON lines with ids; spans |
//! | `serve` (feature `runtime`) | the loop under the Lambda runtime |
//! | [`ports`] | queue, store, objects, clock, randomness, ids: traits, and [`Ports`] for several of them in one |
//! | `aws`, `memory` (features) | their adapters, and all that a function needs in one value: `aws::Aws`, `memory::Memory` |
//!
//! It knows nothing of orders. The crate's `README.md` has a first consumer.

#[cfg(feature = "aws")]
pub mod aws;
pub mod batch;
pub mod breaker;
pub mod dead_letter;
pub mod envelope;
mod failure;
pub mod idempotency;
pub mod lag;
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
mod stdout;

pub use batch::{Batch, Record, RecordContext};
pub use failure::{Answer, Done, Failure, Verdict};
pub use ports::{Clock, Entry, Ids, Outgoing, Ports, Queue, QueueDepth, Random};
pub use redacted::{REDACTED, Redacted};

#[cfg(all(doctest, feature = "aws", feature = "logging", feature = "runtime"))]
#[doc = include_str!("../README.md")]
mod readme {}
