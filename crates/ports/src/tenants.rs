//! Tenants: how many requests of each there are.

use std::future::Future;

use order::TenantId;

use crate::StoreError;

/// Counts a tenant's requests over all execution environments. `breakers`: UpdateItem, of keys `tenant#*`.
pub trait CountRequests {
    /// Adds so many requests of a tenant to those of the window that begins then, UTC milliseconds; answers how many it has now.
    /// Not idempotent: what is added once more, as an answer was lost, counts twice. The count is gone some time after an hour.
    fn count_requests(
        &self,
        tenant: &TenantId,
        window_ms: u64,
        requests: u64,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;
}
