//! How often one tenant may ask.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use http::header;
use order::TenantId;

use crate::problem::{Code, Problem};

/// Above this many tenants the limiter forgets those that it holds nothing against.
const MAX_TENANTS: usize = 1_024;

/// A rate a tenant, with a burst of one second's worth. Each execution environment counts for itself: this stops a
/// loop that has gone wild, the gateway's own throttle guards the whole.
#[derive(Debug)]
pub struct Limiter {
    limited: Option<Limited>,
}

#[derive(Debug)]
struct Limited {
    clock: PortClock,
    rates: RateLimiter<TenantId, HashMapStateStore<TenantId>, PortClock, NoOpMiddleware<Nanos>>,
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
            let rates = RateLimiter::new(Quota::per_second(rate), HashMapStateStore::default(), clock.clone());
            Limited { clock, rates }
        });
        Self { limited }
    }

    /// Counts a request, or refuses it and says when to come back.
    pub fn admit(&self, tenant: &TenantId, now_ms: u64) -> Result<(), Problem> {
        let Some(Limited { clock, rates }) = &self.limited else { return Ok(()) };
        clock.set(now_ms);
        if rates.len() >= MAX_TENANTS {
            rates.retain_recent();
        }
        rates.check_key(tenant).map_err(|until| {
            let wait_s = until.wait_time_from(clock.now()).as_millis().div_ceil(1_000).max(1);
            Problem::new(Code::RateLimited, "Your tenant asks too often.").with(header::RETRY_AFTER, wait_s.to_string())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_795_426_200_000;

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    #[test]
    fn a_tenant_over_its_rate_waits_and_the_others_do_not() {
        let limiter = Limiter::new(2);
        for _ in 0..2 {
            assert_eq!(limiter.admit(&tenant("loud"), NOW_MS), Ok(()));
        }
        let refused = limiter.admit(&tenant("loud"), NOW_MS).unwrap_err();
        assert_eq!(refused.code, Code::RateLimited);
        assert_eq!(refused.headers, [(header::RETRY_AFTER, "1".to_owned())]);
        assert_eq!(limiter.admit(&tenant("quiet"), NOW_MS), Ok(()));
        assert_eq!(limiter.admit(&tenant("loud"), NOW_MS + 500), Ok(()));
    }

    #[test]
    fn tenants_that_have_gone_quiet_are_forgotten() {
        let limiter = Limiter::new(1);
        for number in 0..5_000_u64 {
            assert_eq!(limiter.admit(&tenant(&format!("t-{number}")), NOW_MS + number * 10), Ok(()));
        }
        assert!(limiter.limited.unwrap().rates.len() <= MAX_TENANTS);
    }

    #[test]
    fn a_rate_of_0_is_no_limit() {
        let limiter = Limiter::new(0);
        assert!((0..10_000).all(|_| limiter.admit(&tenant("t"), NOW_MS).is_ok()));
    }
}
