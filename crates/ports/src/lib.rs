//! The order system's ports, one trait per capability, and the skeleton that every command step shares.
//!
//! A function's bounds are its IAM policy: `pub trait Ports: LoadOrder + CommitOrder + ...` in each function's `lib.rs`
//! is compared with its role in `template.yaml` by a test. Adapters: `platform` (AWS), `providers` (payment, carrier).

mod breakers;
mod carrier;
mod cases;
mod effects;
mod events;
mod fingerprint;
mod flow;
mod lanes;
mod mail;
mod message;
mod orders;
mod payments;
mod provider;
mod put_off;
#[cfg(any(test, feature = "rehearse-next"))]
mod rehearsal;
mod tenants;
mod version;

pub use breakers::{
    Dependency, Gate, Mapping, MappingSet, Probe, ProbeBreakers, ProbeProviders, ReadBreakers, SetMappings, StartWatch,
};
pub use carrier::{Carrier, ShipmentAnswer, ShipmentRequest};
pub use cases::{
    Audit, Case, CaseClass, CaseIndex, CaseKind, CasePage, CaseStatus, CountCases, DecideCases, Decided,
    KeepDeadLetters, KeepPlace, Letter, OpenCase, ReadCases, RecordDifference, Recorded, Stands, StoredCase,
    UnreadableCase, tell_opened,
};
pub use effects::{EffectCommit, EffectEnd, Effects, ReadEffects, Skip, payment_record};
pub use events::{ArchiveEvents, EVENT_VERSION, Event, EventData, Publication, PublishEvents};
pub use fingerprint::{LONGEST as LONGEST_FINGERPRINT, fingerprint, normalised};
pub use flow::{
    Due, EffectRun, MAX_NUDGES, PROVIDER_CALL_MS, Stop, bug, close_left_over, dead_letter_case, difference_case, due,
    owed, park, run_effect, settle, skip, time_for_call, tried_to_park, unreadable,
};
pub use lanes::{Deadlines, Estimate, LaneRows, RECOVERS_MS, ReadLanes, Shed, StepWait, TellLanes};
pub use mail::{ClaimOnce, Mail, SendMail};
pub use message::{
    CommandData, CommandMessage, SOURCE, command_data, command_message, command_message_in, parse_command, queue_name,
};
pub use orders::{
    AcceptOrder, Accepted, Commit, CommitOrder, CommitStock, DueRow, FindDue, ListOrders, LoadOrder, OrderPage,
    Product, ReadCatalogue, SetAside, StockCommit, StockMove, StoreError,
};
pub use payments::{
    Captured, ChargeLimits, Confirmation, Created, ListPayments, Listed, ListedPayment, ListedRefund, NewPayment,
    PaymentStatus, PaymentView, Payments, RefundView, Stretch, Voided,
};
pub use provider::{Lookup, ProviderError, Terms};
pub use put_off::put_off;
pub use tenants::CountRequests;
pub use version::{COMMAND_VERSION, CommandVersion, UnknownVersion};

pub use lambda_queue::{Clock, Ids, Queue, Random};
/// Sends order commands to the command queues: what a row owes leaves through this.
pub trait SendCommands: Queue {
    /// The version that they are sent in: the stack's parameter `CommandVersion`.
    fn command_version(&self) -> CommandVersion;
}
