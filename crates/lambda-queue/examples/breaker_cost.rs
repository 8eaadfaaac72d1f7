//! What a breaker costs a call while all is well: `cargo run --release -p lambda-queue --features memory --example
//! breaker_cost`. Prints nanoseconds a call, the best of several rounds.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use lambda_queue::breaker::{
    DistributedBreaker, DistributedSettings, LocalBreaker, LocalSettings, Outcome, Rules, Window,
};
use lambda_queue::memory::{KeyType, MemoryStore, Table, World};
use lambda_queue::{Clock, Ids, Random};

const CALLS: u32 = 1_000_000;
const ROUNDS: u32 = 7;

/// The real clock: reading it is part of the cost.
struct Real;

impl Clock for Real {
    fn now_ms(&self) -> u64 {
        #[expect(clippy::disallowed_methods, reason = "this is the adapter behind the Clock port")]
        let now = SystemTime::now();
        now.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

impl Random for Real {
    fn below(&self, _: u64) -> u64 {
        0
    }
}

impl Ids for Real {
    fn fresh(&self) -> uuid::Uuid {
        uuid::Uuid::nil()
    }
}

fn print(what: &str, best_ns: u128) {
    println!("{what:<44} {:>6.1} ns a call", best_ns as f64 / f64::from(CALLS));
}

fn best(mut round: impl FnMut()) -> u128 {
    (0..ROUNDS)
        .map(|_| {
            let started = Instant::now();
            round();
            started.elapsed().as_nanos()
        })
        .min()
        .unwrap_or_default()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let two_clocks = best(|| {
        for _ in 0..CALLS {
            std::hint::black_box((Real.now_ms(), Real.now_ms()));
        }
    });
    print("two readings of the clock alone", two_clocks);
    for (what, window) in [("local, a window of time", Window::default()), ("local, 100 calls", Window::Calls(100))] {
        let breaker = LocalBreaker::new("d", LocalSettings { window, ..LocalSettings::default() }, Arc::new(Real))?;
        let local = best(|| {
            for _ in 0..CALLS {
                if let Ok(permit) = breaker.permit() {
                    permit.finish(Outcome::Success);
                }
            }
        });
        print(what, local);
    }
    let breaker = LocalBreaker::new("d", LocalSettings::default(), Arc::new(Real))?;
    let rules = Rules::<(), ()>::default();
    let called = best(|| {
        runtime.block_on(async {
            for _ in 0..CALLS {
                std::hint::black_box(breaker.call(&rules, async { Ok(()) }).await).ok();
            }
        });
    });
    print("local, around an async call", called);
    let store = MemoryStore::new(World::new(1)).with(Table::new("breakers", "dependency", KeyType::S));
    let shared = DistributedBreaker::new("d", DistributedSettings::new("breakers"), Arc::new(store), Arc::new(Real))?;
    let distributed = best(|| {
        runtime.block_on(async {
            for _ in 0..CALLS {
                std::hint::black_box(shared.call(&rules, async { Ok(()) }).await).ok();
            }
        });
    });
    print("distributed, its row in memory", distributed);
    Ok(())
}
