//! Effects outside, joined to the row: completing the effect and committing the order is one transaction.

use std::future::Future;

use lambda_queue::idempotency::{EffectKey, EffectRecords, Ended, Lease};
use order::{Order, OrderId};

use crate::StoreError;

/// How a lease ends together with a commit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EffectEnd {
    /// The effect happened, or surely and finally did not; the row has the receipt. Starts the record's time to live.
    Completed,
    /// A person has to look. The record stays in doubt, so that whoever resumes looks first; its attempts are counted anew.
    Parked,
    /// The same where the last attempt may still have its effect: who resumes looks no sooner than its lease's end and the
    /// provider's settle time allow.
    ParkedInDoubt,
}

/// What committing an effect found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EffectCommit {
    /// Record and row are written.
    Done,
    /// Nothing is written: the row has moved on; this is it now.
    Lost(Box<Order>),
    /// Nothing is written: the lease is somebody else's.
    LeaseLost,
}

/// What skipping an effect found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Skip {
    /// Tombstone and row are written: the effect never ran and never will.
    Done,
    /// Nothing is written: the row has moved on.
    Lost(Box<Order>),
    /// Nothing is written: the effect was started and has to be settled first.
    Started,
}

/// Effect records and what joins them to orders. `idempotency`, `orders`: UpdateItem.
pub trait Effects: EffectRecords {
    /// Ends the lease and leaves the effect in doubt: this attempt surely had no effect, but nobody knows of an earlier one.
    /// The attempt does not count; whoever comes next looks first, once the provider's settle time has passed.
    fn leave_in_doubt(&self, lease: &Lease) -> impl Future<Output = Result<Ended, StoreError>> + Send;

    /// Ends the lease and writes the row's next version: one transaction, conditional on owner and version.
    fn commit_effect(
        &self,
        lease: &Lease,
        end: EffectEnd,
        before: &Order,
        after: &Order,
    ) -> impl Future<Output = Result<EffectCommit, StoreError>> + Send;

    /// Writes the effect's tombstone and the row's next version, if the effect never started: one transaction.
    fn skip_effect(
        &self,
        key: &EffectKey,
        before: &Order,
        after: &Order,
    ) -> impl Future<Output = Result<Skip, StoreError>> + Send;
}

/// The record of all effects on an order's money: one an order, so that they never overlap.
pub fn payment_record(order_id: OrderId) -> String {
    format!("payment#{order_id}")
}

/// Reads effect records. `idempotency`: GetItem.
pub trait ReadEffects {
    /// Whether an effect of this record is at work or in doubt. Strongly consistent.
    fn effect_in_progress(&self, record: &str) -> impl Future<Output = Result<bool, StoreError>> + Send;
}
