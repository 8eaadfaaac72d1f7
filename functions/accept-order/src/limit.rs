//! How often one tenant may ask, over all execution environments. docs/adr/0016-one-rate-a-tenant.md has the reasons.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use http::header;
use lambda_queue::meter;
use order::TenantId;
use ports::{Clock, CountRequests, Random};
use tokio::time::timeout;

use crate::problem::{Code, Problem};

/// Above this many tenants an environment forgets those that it has not seen lately, then those that are far from their rate.
const MAX_TENANTS: usize = 1_024;
/// Requests are counted over all environments in windows as wide as this, milliseconds.
const WINDOW_MS: u64 = 10_000;
/// An environment tells of a tenant's requests once they are the 50th part of what a window takes: 10 of 500.
const PARTS: u64 = 50;
/// It tells so many times as often of a tenant that comes near its rate: of each one.
const FINER: u64 = 10;
/// Longest wait for the table, milliseconds: a request is not held up by what may turn it away.
const PATIENCE_MS: u64 = 300;
/// After the table failed an environment tells nothing for so long, milliseconds.
const SILENT_MS: u64 = 5_000;

/// A rate a tenant: in each execution environment with a burst of one second's worth, and over all of them by windows of
/// ten seconds. Where the table does not answer, the first alone holds.
#[derive(Debug)]
pub struct Limiter {
    limited: Option<Limited>,
}

#[derive(Debug)]
struct Limited {
    clock: PortClock,
    own: RateLimiter<TenantId, HashMapStateStore<TenantId>, PortClock, NoOpMiddleware<Nanos>>,
    /// Requests of a window, over all environments.
    most: u64,
    shared: Mutex<Shared>,
}

/// What an environment knows of all.
#[derive(Debug, Default)]
struct Shared {
    tenants: HashMap<TenantId, Told>,
    /// Nothing is told until then, UTC milliseconds.
    silent_until_ms: u64,
}

/// What an environment knows of a tenant.
#[derive(Debug)]
struct Told {
    /// Its requests here that are not told yet.
    untold: u64,
    /// The window that some were told in last, and how many there were in it then, over all environments.
    window: u64,
    total: u64,
    /// The last window for which it counts as near its rate: the one after that in which it was.
    near_until: u64,
    seen_ms: u64,
}

/// What becomes of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    Admitted,
    /// So many are to be told first.
    Tells(u64),
    Refused,
}

/// The time that the `Clock` port told last, for governor.
#[derive(Clone, Debug, Default)]
struct PortClock(Arc<AtomicU64>);

impl PortClock {
    fn set(&self, now_ms: u64) {
        self.0.fetch_max(now_ms.saturating_mul(1_000_000), Ordering::Relaxed);
    }
}

impl GovernorClock for PortClock {
    type Instant = Nanos;
    fn now(&self) -> Nanos {
        self.0.load(Ordering::Relaxed).into()
    }
}

impl Limiter {
    /// So many requests a second and tenant; 0 is no limit.
    pub fn new(per_second: u32) -> Self {
        let limited = NonZeroU32::new(per_second).map(|rate| {
            let clock = PortClock::default();
            let own = RateLimiter::new(Quota::per_second(rate), HashMapStateStore::default(), clock.clone());
            Limited { clock, own, most: u64::from(rate.get()) * WINDOW_MS / 1_000, shared: Mutex::default() }
        });
        Self { limited }
    }

    /// Counts a request, or refuses it and says when to come back. A write every ten requests of a tenant, by default.
    pub async fn admit(&self, ports: &(impl CountRequests + Clock + Random), tenant: &TenantId) -> Result<(), Problem> {
        let Some(limited) = &self.limited else { return Ok(()) };
        let now_ms = ports.now_ms();
        limited.within_own_rate(tenant, now_ms)?;
        let requests = match limited.next(ports, tenant, now_ms) {
            Next::Admitted => return Ok(()),
            Next::Refused => return Err(until_the_next_window(ports, now_ms)),
            Next::Tells(requests) => requests,
        };
        let window = now_ms / WINDOW_MS;
        let tell = ports.count_requests(tenant, window * WINDOW_MS, requests);
        let why = match meter::apart("tenants", timeout(Duration::from_millis(PATIENCE_MS), tell)).await {
            Ok(Ok(total)) if limited.hears(tenant, window, total) => return Ok(()),
            Ok(Ok(_)) => return Err(until_the_next_window(ports, now_ms)),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::warn!(why, "requests of tenants cannot be counted: each environment goes by its own for a while");
        limited.shared().silent_until_ms = now_ms.saturating_add(SILENT_MS);
        Ok(())
    }
}

impl Limited {
    fn within_own_rate(&self, tenant: &TenantId, now_ms: u64) -> Result<(), Problem> {
        self.clock.set(now_ms);
        if self.own.len() >= MAX_TENANTS {
            self.own.retain_recent();
        }
        self.own
            .check_key(tenant)
            .map_err(|until| refusal(until.wait_time_from(self.clock.now()).as_millis().div_ceil(1_000).max(1)))
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self, dice: &impl Random, tenant: &TenantId, now_ms: u64) -> Next {
        let window = now_ms / WINDOW_MS;
        let coarse = (self.most / PARTS).max(1);
        let mut shared = self.shared();
        let Shared { tenants, silent_until_ms } = &mut *shared;
        if tenants.len() >= MAX_TENANTS && !tenants.contains_key(tenant) {
            tenants.retain(|_, told| now_ms.saturating_sub(told.seen_ms) < 2 * WINDOW_MS);
            if tenants.len() >= MAX_TENANTS {
                // Never those that are near their rate: who is refused would begin anew.
                tenants.retain(|_, told| window <= told.near_until);
            }
            if tenants.len() >= MAX_TENANTS {
                // No place for this one. It is counted all the same: one request of so many tells of as many.
                let tells = now_ms >= *silent_until_ms && dice.below(coarse) == 0;
                return if tells { Next::Tells(coarse) } else { Next::Admitted };
            }
        }
        // Not all begin at 0: of a hundred environments with one request each, ten tell.
        let new = || Told { untold: dice.below(coarse), window: 0, total: 0, near_until: 0, seen_ms: now_ms };
        let told = tenants.entry(tenant.clone()).or_insert_with(new);
        told.seen_ms = now_ms;
        if told.window == window && told.total > self.most {
            return Next::Refused;
        }
        if now_ms < *silent_until_ms {
            return Next::Admitted;
        }
        let at = if window <= told.near_until { (coarse / FINER).max(1) } else { coarse };
        if told.near_until > 0 && window > told.near_until {
            // It is seldom told of again: as at first, not all begin at 0.
            (told.near_until, told.untold) = (0, dice.below(coarse));
        }
        told.untold += 1;
        if told.untold < at {
            return Next::Admitted;
        }
        Next::Tells(std::mem::take(&mut told.untold))
    }

    /// Whether there is room for the request that told.
    fn hears(&self, tenant: &TenantId, window: u64, total: u64) -> bool {
        if let Some(told) = self.shared().tenants.get_mut(tenant) {
            // Of two that come in another order than they were counted in, the later count is the larger.
            let known = if told.window == window { told.total } else { 0 };
            (told.window, told.total) = (window, total.max(known));
            if told.total * 4 > self.most * 3 {
                told.near_until = window + 1;
            }
        }
        total <= self.most
    }
}

/// With a quarter more at most, so that not all come back at once.
fn until_the_next_window(dice: &impl Random, now_ms: u64) -> Problem {
    let wait_s = (WINDOW_MS - now_ms % WINDOW_MS).div_ceil(1_000);
    refusal(u128::from(wait_s + dice.below(wait_s / 4 + 1)))
}

fn refusal(wait_s: u128) -> Problem {
    Problem::new(Code::RateLimited, "Your tenant asks too often.").with(header::RETRY_AFTER, wait_s.to_string())
}

#[cfg(test)]
mod tests;
