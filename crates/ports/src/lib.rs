//! The order system's ports, one trait per capability, and the skeleton that every command step shares.
//!
//! A function's bounds are its IAM policy: `pub trait Ports: LoadOrder + CommitOrder + ...` in each function's `lib.rs`
//! is compared with its role in `template.yaml` by a test. Adapters: `platform` (AWS), `providers` (payment, carrier).

mod breakers;
mod carrier;
mod cases;
mod effects;
mod events;
mod flow;
mod mail;
mod message;
mod orders;
mod payments;
mod provider;
mod put_off;

pub use breakers::{
    Dependency, Gate, Mapping, MappingSet, Probe, ProbeBreakers, ProbeProviders, ReadBreakers, SetMappings, StartWatch,
};
pub use carrier::{Carrier, ShipmentAnswer, ShipmentRequest};
pub use cases::{Case, CaseClass, OpenCase};
pub use effects::{EffectCommit, EffectEnd, Effects, Skip};
pub use events::{ArchiveEvents, Event, EventData, Publication, PublishEvents};
pub use flow::{
    Due, EffectRun, MAX_NUDGES, PROVIDER_CALL_MS, Stop, bug, close_left_over, due, owed, park, run_effect, settle,
    skip, time_for_call, tried_to_park, unreadable,
};
pub use mail::{ClaimOnce, Mail, SendMail};
pub use message::{CommandData, CommandMessage, SOURCE, command_message, parse_command, queue_name};
pub use orders::{
    AcceptOrder, Accepted, Commit, CommitOrder, CommitStock, DueRow, FindDue, ListOrders, LoadOrder, OrderPage,
    Product, ReadCatalogue, SetAside, StockCommit, StockMove, StoreError,
};
pub use payments::{
    Captured, ChargeLimits, Confirmation, Created, NewPayment, PaymentStatus, PaymentView, Payments, RefundView, Voided,
};
pub use provider::{Lookup, ProviderError, Terms};
pub use put_off::put_off;

pub use lambda_queue::{Clock, Ids, Queue, Random};
/// Sends order commands to the command queues: what a row owes leaves through this.
pub trait SendCommands: Queue {}
