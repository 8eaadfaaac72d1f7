//! How many requests of each tenant there are: rows of the table `breakers`, one a tenant and window.
//!
//! | attribute | type | holds |
//! | --- | --- | --- |
//! | `dependency` | S | the key: `tenant#`, when the window began (UTC milliseconds), `#`, the tenant |
//! | `requests` | N | requests that environments told of |
//! | `expires_at` | N | an hour after the window began, UTC seconds: nobody asks for it by then |

use lambda_queue::breaker::Row;
use lambda_queue::ports::store::{Write, Written, number, number_of};
use order::TenantId;
use ports::{CountRequests, StoreError};

use crate::{Backend, Platform};

/// How long a count is kept, seconds: for whoever looks into the table.
const KEPT_S: u64 = 3_600;

impl<B: Backend> CountRequests for Platform<B> {
    async fn count_requests(&self, tenant: &TenantId, window_ms: u64, requests: u64) -> Result<u64, StoreError> {
        let key = Row::key(&format!("tenant#{window_ms}#{tenant}"));
        let add = "SET expires_at = :expires_at ADD requests :requests";
        let write = Write::update(&self.names.breakers_table, key, add)
            .value(":requests", number(requests))
            .value(":expires_at", number(window_ms / 1_000 + KEPT_S));
        let counted = match self.backend.write(write).await? {
            Written::Done(row) => number_of(&row, "requests"),
            Written::Refused(_) => None,
        };
        counted.ok_or_else(|| StoreError::Unreadable("a count of requests that is none".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use lambda_queue::memory::World;

    use super::*;

    #[tokio::test]
    async fn requests_add_up_by_tenant_and_window_and_are_forgotten() {
        let platform = Platform::in_memory(World::with_tokio(1));
        let (one, other): (TenantId, TenantId) = ("acme".parse().unwrap(), "acme#1".parse().unwrap());
        assert_eq!(platform.count_requests(&one, 10_000, 10).await, Ok(10));
        assert_eq!(platform.count_requests(&one, 10_000, 1).await, Ok(11));
        assert_eq!(platform.count_requests(&one, 20_000, 3).await, Ok(3));
        assert_eq!(platform.count_requests(&other, 10_000, 2).await, Ok(2));
        let store = &platform.backend.store;
        assert_eq!(store.items("breakers").len(), 3);
        assert!(store.items("breakers").iter().all(|row| number_of(row, "expires_at").is_some_and(|at| at >= 3_610)));
    }
}
