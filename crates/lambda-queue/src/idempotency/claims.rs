//! At most once: claim first, then act, never again.

use crate::ports::store::{Store, StoreError, Value, Values, Written, number, number_of, text, text_of};
use crate::{Clock, Ids};

use super::lease::Ended;
use super::leases::Leases;
use super::record::{CLAIMED, COMPLETED, FREE, is_owner, update};

/// The right to act once: for what has neither an idempotency key nor a look-up, such as mail.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// The record's key.
    pub record: String,
    /// Fencing token: of this claim only.
    pub owner: String,
}

/// Whose a claim is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Taken {
    /// This owner's.
    Ours,
    /// Somebody else's, who may be at work until then, UTC milliseconds: 0 where the effect is done, or nobody said so.
    Theirs { until_ms: u64 },
}

/// Claims in the same table as [`Leases`]. Whoever claims acts, at most once: a process that dies in between has acted, as
/// nobody can tell. Each method is one conditional write.
///
/// ```
/// # #[cfg(feature = "memory")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), lambda_queue::Failure> {
/// # use lambda_queue::idempotency::{Claims, Leases};
/// # use lambda_queue::memory::{KeyType, MemoryStore, Table, World};
/// # let world = World::new(1);
/// # let table = Table::new("idempotency", "key", KeyType::S).expiring_by("expires_at");
/// # let store = MemoryStore::new(world.clone()).with(table);
/// let claims = Claims(Leases::new(&store, &world, "idempotency", 393 * 86_400_000));
/// let Some(claim) = claims.claim("mail#order-1#shipped").await? else { return Ok(()) };
/// // The mail is sent here. Had the service surely refused it: claims.release(&claim).await?;
/// claims.done(&claim, "ses-message-id").await?;
/// assert_eq!(claims.claim("mail#order-1#shipped").await?, None);
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "memory"))]
/// # fn main() {}
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Claims<'a, S, W>(pub Leases<'a, S, W>);

impl<S: Store + Sync, W: Clock + Ids + Sync> Claims<'_, S, W> {
    /// Claims, if nobody has. A claim whose answer was lost knows itself again. One of which nobody knows whether it stands
    /// is given back before the error is: its effect was not begun. Where it cannot be given back it may stay, and the effect
    /// will not happen: a line of level error says so. One that surely was not taken (`NotDone`) costs no second write.
    pub async fn claim(&self, record: &str) -> Result<Option<Claim>, StoreError> {
        let claim = Claim { record: record.to_owned(), owner: self.0.fresh_id() };
        match self.take(&claim, 0).await {
            Ok(Taken::Ours) => Ok(Some(claim)),
            Ok(Taken::Theirs { .. }) => Ok(None),
            Err(error @ StoreError::NotDone(_)) => Err(error),
            Err(error @ (StoreError::Unknown(_) | StoreError::Unreadable(_))) => {
                if let Err(failed) = self.release(&claim).await {
                    tracing::error!(
                        record, %failed, "a claim that may stand is not given back: its effect may never happen"
                    );
                }
                Err(error)
            }
        }
    }

    /// Claims for this owner, whose token is its own alone, and who is at work until `until_ms` at the latest; whose it is
    /// now. Of an `Unknown` one nobody knows: [`Claims::release`] it.
    pub(crate) async fn take(&self, claim: &Claim, until_ms: u64) -> Result<Taken, StoreError> {
        // Not over what this very owner has freed: a late copy of this write would claim for nobody.
        let condition = "attribute_not_exists(#key) OR (#status = :free AND #owner <> :owner)";
        let write = || {
            let owner = text(claim.owner.as_str());
            let until = number(until_ms);
            let values = [(":claimed", text(CLAIMED)), (":free", text(FREE)), (":owner", owner), (":until", until)];
            // A freed record has an end, a claim has none.
            let set = "SET #status = :claimed, #owner = :owner, lease_until = :until REMOVE expires_at";
            update(self.0.table(), &claim.record, set, condition, values).without_item()
        };
        Ok(match self.0.send(write).await? {
            Written::Done(_) => Taken::Ours,
            Written::Refused(Some(old)) if text_of(&old, "status") == Some(CLAIMED) => {
                if is_owner(&old, &claim.owner) {
                    Taken::Ours
                } else {
                    Taken::Theirs { until_ms: number_of(&old, "lease_until").unwrap_or(0) }
                }
            }
            Written::Refused(_) => Taken::Theirs { until_ms: 0 },
        })
    }

    /// Gives a claim back: the effect was refused or never begun, so it surely did not happen. Not over another owner's claim
    /// or receipt: a late copy of this write must not free the claim of whoever came next.
    ///
    /// What it leaves is free for any other owner, and for this one no more, also where no claim was found: it may still be
    /// on its way, and would claim for nobody when it lands. The free record has the table's time to live.
    pub async fn release(&self, claim: &Claim) -> Result<Ended, StoreError> {
        // Of two free owners the later one is kept: the earlier one's claim is older than a whole receive.
        let condition = "attribute_not_exists(#key) OR #status = :new OR (#owner = :owner AND #status = :claimed)";
        let more = [(":expires_at", number(self.0.expires_s()))];
        let set = "SET #status = :new, #owner = :owner, expires_at = :expires_at";
        self.end(claim, (set, condition), FREE, more).await
    }

    /// Keeps the receipt and begins the record's time to live.
    pub async fn done(&self, claim: &Claim, result: &str) -> Result<Ended, StoreError> {
        let more = [(":result", text(result)), (":expires_at", number(self.0.expires_s()))];
        let set = "SET #status = :new, #result = :result, expires_at = :expires_at";
        self.end(claim, (set, "#owner = :owner AND #status = :claimed"), COMPLETED, more).await
    }

    async fn end<const N: usize>(
        &self,
        claim: &Claim,
        (set, condition): (&'static str, &'static str),
        status: &str,
        more: [(&'static str, Value); N],
    ) -> Result<Ended, StoreError> {
        let write = || {
            let own = [(":owner", text(claim.owner.as_str())), (":claimed", text(CLAIMED)), (":new", text(status))];
            let values: Values = own.into_iter().chain(more.iter().cloned()).collect();
            update(self.0.table(), &claim.record, set, condition, values).without_item()
        };
        Ok(match self.0.send(write).await? {
            Written::Done(_) => Ended::Done,
            Written::Refused(Some(old)) if is_owner(&old, &claim.owner) && text_of(&old, "status") == Some(status) => {
                Ended::Done
            }
            Written::Refused(_) => Ended::LeaseLost,
        })
    }
}
