//! Effect records and at-most-once claims: the idempotency table, as [`lambda_queue::idempotency`] keeps it, joined to the
//! rows.

use lambda_queue::Failure;
use lambda_queue::idempotency::{Claim, Claimed, Claims, EffectKey, EffectRecords, Ended, Lease, Leases, Receipt};
use lambda_queue::ports::store::{Reason, Transacted};
use order::Order;
use ports::{ClaimOnce, Commit, EffectCommit, EffectEnd, Effects, ReadEffects, Skip, StoreError};

use crate::item;
use crate::orders::lost;
use crate::{Backend, Platform};

impl<B: Backend> Platform<B> {
    fn leases(&self) -> Leases<'_, B, B> {
        let kept_ms = self.names.idempotency_retention.ms();
        Leases::new(&self.backend, &self.backend, &self.names.idempotency_table, kept_ms)
    }

    fn claims(&self) -> Claims<'_, B, B> {
        Claims(self.leases())
    }
}

impl<B: Backend> EffectRecords for Platform<B> {
    async fn claim(&self, key: &EffectKey, lease_until_ms: u64, settle_ms: u64) -> Result<Claimed, Failure> {
        self.leases().claim(key, lease_until_ms, settle_ms).await
    }

    async fn note(&self, lease: &Lease, note: &str) -> Result<Lease, Failure> {
        self.leases().note(lease, note).await
    }

    async fn raise_generation(&self, lease: &Lease) -> Result<Lease, Failure> {
        self.leases().raise_generation(lease).await
    }

    async fn free(&self, lease: &Lease, counts: bool) -> Result<(), Failure> {
        self.leases().free(lease, counts).await
    }
}

impl<B: Backend> Effects for Platform<B> {
    async fn leave_in_doubt(&self, lease: &Lease) -> Result<Ended, StoreError> {
        self.leases().leave_in_doubt(lease).await
    }

    async fn commit_effect(
        &self,
        lease: &Lease,
        end: EffectEnd,
        before: &Order,
        after: &Order,
    ) -> Result<EffectCommit, StoreError> {
        let leases = self.leases();
        if before.version == after.version {
            let ended = match end {
                EffectEnd::Completed => leases.complete(lease, None, Receipt::Stands).await?,
                EffectEnd::Parked => leases.park(lease).await?,
                EffectEnd::ParkedInDoubt => leases.park_in_doubt(lease).await?,
            };
            return Ok(committed(&ended));
        }
        let record = match end {
            EffectEnd::Completed => leases.completion(lease, None, Receipt::Stands),
            EffectEnd::Parked => leases.parking(lease),
            EffectEnd::ParkedInDoubt => leases.parking_in_doubt(lease),
        };
        let commit_id = self.backend.fresh().to_string();
        let row = item::update(&self.names.orders_table, before, after, &commit_id)?;
        let Transacted::Refused(reasons) = self.backend.transact(vec![record, row]).await? else {
            return Ok(EffectCommit::Done);
        };
        let mut reasons = reasons.into_iter();
        let (record, row) = (reasons.next(), reasons.next());
        let ended = record.and_then(|reason| Leases::<B, B>::ended_by(lease, &reason));
        if let Some(Reason::ConditionFailed(row)) = row {
            return Ok(match (lost(row, &commit_id, after.order_id)?, ended) {
                (Commit::Done, _) => EffectCommit::Done,
                // An earlier call of this lease has ended it, and its answer was lost: the row has the outcome.
                (Commit::Lost(row), Some(Ended::Done)) => EffectCommit::Lost(row),
                (Commit::Lost(row), Some(Ended::LeaseLost)) => {
                    tracing::debug!(version = row.version, "row and lease are both somebody else's");
                    EffectCommit::LeaseLost
                }
                (Commit::Lost(row), None) => EffectCommit::Lost(row),
            });
        }
        // Of the two only the record can have been refused: a row of this version has no receipt of the effect.
        ended.map(|_| EffectCommit::LeaseLost).ok_or_else(met_another)
    }

    async fn skip_effect(&self, key: &EffectKey, before: &Order, after: &Order) -> Result<Skip, StoreError> {
        let commit_id = self.backend.fresh().to_string();
        let record = self.leases().skipping(key, &commit_id);
        let row = item::update(&self.names.orders_table, before, after, &commit_id)?;
        let Transacted::Refused(reasons) = self.backend.transact(vec![record, row]).await? else {
            return Ok(Skip::Done);
        };
        let mut reasons = reasons.into_iter();
        let (record, row) = (reasons.next(), reasons.next());
        if let Some(Reason::ConditionFailed(row)) = row {
            return Ok(match lost(row, &commit_id, after.order_id)? {
                Commit::Done => Skip::Done,
                Commit::Lost(row) => Skip::Lost(row),
            });
        }
        match record {
            Some(Reason::ConditionFailed(_)) => Ok(Skip::Started),
            Some(Reason::None | Reason::Conflict | Reason::Other(_)) | None => Err(met_another()),
        }
    }
}

impl<B: Backend> ReadEffects for Platform<B> {
    async fn effect_in_progress(&self, record: &str) -> Result<bool, StoreError> {
        self.leases().in_progress(record).await
    }
}

fn committed(ended: &Ended) -> EffectCommit {
    match ended {
        Ended::Done => EffectCommit::Done,
        Ended::LeaseLost => EffectCommit::LeaseLost,
    }
}

fn met_another() -> StoreError {
    StoreError::NotDone("the transaction met another one".to_owned())
}

impl<B: Backend> ClaimOnce for Platform<B> {
    async fn claim_once(&self, key: &str) -> Result<Option<Claim>, StoreError> {
        self.claims().claim(key).await
    }

    async fn unclaim(&self, claim: &Claim) -> Result<Ended, StoreError> {
        self.claims().release(claim).await
    }

    async fn claim_done(&self, claim: &Claim, result: &str) -> Result<Ended, StoreError> {
        self.claims().done(claim, result).await
    }
}
