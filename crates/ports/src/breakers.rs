//! Breakers: whether a provider may be called just now, and what it takes to find out that it is back.

use std::future::Future;
use std::sync::Arc;

use lambda_queue::Failure;
use lambda_queue::breaker::Row;
use order::Step;

use crate::{ProviderError, StoreError};

/// What is called outside, each behind a breaker of its own: a row of the table `breakers`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Dependency {
    /// The payment provider.
    Payment,
    /// The carrier.
    Carrier,
    /// The mail service.
    Mail,
}

impl Dependency {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Payment, Self::Carrier, Self::Mail];

    /// Its name: the key of its row.
    pub fn name(self) -> &'static str {
        match self {
            Self::Payment => "payment",
            Self::Carrier => "carrier",
            Self::Mail => "mail",
        }
    }

    /// The dependency of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dependency| dependency.name() == name)
    }

    /// Whom a command step calls.
    pub fn of(step: Step) -> Option<Self> {
        match step {
            Step::Payment => Some(Self::Payment),
            Step::Shipping => Some(Self::Carrier),
            Step::Validate | Step::Stock => None,
        }
    }
}

impl std::fmt::Display for Dependency {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str(self.name())
    }
}

/// A provider's breaker, as those who call the provider see it. `breakers`: GetItem, UpdateItem.
pub trait Gate {
    /// Whether an effect may begin. Asked once, before anything is claimed for it; the effect's calls then go through
    /// whatever the breaker says by the time. At most one read in five seconds a process.
    ///
    /// # Errors
    /// [`Failure::Defer`] while the breaker is not closed, until it is worth another look.
    fn gate(&self) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// A provider that can be asked whether it is there.
pub trait Probe {
    /// One call without a side effect, of at most 5 s. [`ProviderError::Refused`] and `WrongState` are answers, too.
    fn probe(&self) -> impl Future<Output = Result<(), ProviderError>> + Send;
}

/// Probes each of the providers: [`Probe`]. `ses`: GetEmailIdentity; the others over HTTP.
pub trait ProbeProviders {
    /// Of this one.
    fn probe_provider(&self, dependency: Dependency) -> impl Future<Output = Result<(), ProviderError>> + Send;
}

/// Reads breakers. `breakers`: GetItem.
pub trait ReadBreakers {
    /// The row as it is now; of a dependency that has none, a closed one in epoch 0.
    fn read_breaker(&self, dependency: Dependency) -> impl Future<Output = Result<Arc<Row>, StoreError>> + Send;
}

/// Tells breakers what probes found. `breakers`: GetItem, UpdateItem. Each write is conditional on the epoch given: what
/// comes late changes nothing.
pub trait ProbeBreakers {
    /// Whether the next probe is the caller's to make: at most one in `every_ms`, over all who ask.
    fn claim_probe(
        &self,
        dependency: Dependency,
        epoch: u64,
        every_ms: u64,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// What it found. A good one closes the breaker, a bad one opens it again for longer. Answers the row since.
    fn probed(
        &self,
        dependency: Dependency,
        epoch: u64,
        good: bool,
    ) -> impl Future<Output = Result<Arc<Row>, StoreError>> + Send;
}

/// An event source mapping as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// Whether it feeds, or will when it has settled.
    pub enabled: bool,
    /// Whether no change of it is under way: only then it takes another one.
    pub settled: bool,
    /// Its MaximumConcurrency, where it has one.
    pub maximum_concurrency: Option<u32>,
    /// When it was last changed, UTC milliseconds.
    pub changed_at_ms: u64,
}

/// What became of a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MappingSet {
    /// It is taken, and will be done in a while.
    Taken,
    /// Another change is under way: later.
    Busy,
}

/// Reads and changes event source mappings. `lambda`: GetEventSourceMapping, UpdateEventSourceMapping.
pub trait SetMappings {
    /// One by its id.
    fn mapping(&self, id: &str) -> impl Future<Output = Result<Mapping, StoreError>> + Send;

    /// Turns it on or off, with this MaximumConcurrency where it has one. Idempotent.
    fn set_mapping(
        &self,
        id: &str,
        enabled: bool,
        maximum_concurrency: Option<u32>,
    ) -> impl Future<Output = Result<MappingSet, StoreError>> + Send;
}

/// Starts another run of the function that asks. `lambda`: InvokeFunction, of itself.
pub trait StartWatch {
    /// One that watches breakers until they are closed; does not wait for it.
    fn start_watch(&self) -> impl Future<Output = Result<(), StoreError>> + Send;
}
