//! The retry budget under every interleaving that `shuttle` finds: it is the very file of the library, with `shuttle`'s
//! atomics in place of the standard library's.
#![allow(clippy::unwrap_used)]

mod sync {
    pub use shuttle::sync::atomic::{AtomicU64, Ordering};
}

#[path = "../src/retry/budget.rs"]
mod budget;

use budget::RetryBudget;
use shuttle::sync::Arc;
use shuttle::thread;

/// Takes from `threads` threads, `each` times at each of these moments; answers how many were had.
fn taken(budget: &Arc<RetryBudget>, threads: usize, each: usize, now_ms: u64) -> usize {
    let takers: Vec<_> = (0..threads)
        .map(|_| {
            let budget = Arc::clone(budget);
            thread::spawn(move || (0..each).filter(|_| budget.take(now_ms)).count())
        })
        .collect();
    takers.into_iter().map(|taker| taker.join().unwrap()).sum()
}

#[test]
fn no_token_is_taken_twice_and_none_is_lost_however_the_threads_run() {
    shuttle::check_random(
        || {
            let budget = Arc::new(RetryBudget::new(5, 2));
            assert_eq!(taken(&budget, 3, 3, 10_000), 5, "a full bucket");
            assert_eq!(taken(&budget, 3, 2, 11_000), 2, "two a second");
            assert_eq!(taken(&budget, 2, 4, 99_000), 5, "never more than a bucket");
        },
        2_000,
    );
}

#[test]
fn small_interleavings_are_all_tried() {
    shuttle::check_dfs(
        || {
            let budget = Arc::new(RetryBudget::new(1, 1));
            assert_eq!(taken(&budget, 2, 1, 5_000), 1);
        },
        None,
    );
}
