//! The cache's own source with shuttle's lock in place of the standard library's.

#[path = "../../src/idempotency/cache.rs"]
mod cache;

mod sync {
    pub(super) use shuttle::sync::Mutex;
    pub(super) use std::sync::PoisonError;
}

use std::num::NonZeroUsize;
use std::sync::Arc;

use cache::{Cached, ResultCache};

#[test]
fn threads_that_put_and_get_at_once_see_whole_results_inside_the_bounds() {
    shuttle::check_random(
        || {
            let cache = Arc::new(ResultCache::new(NonZeroUsize::new(2).unwrap(), 700));
            let threads: Vec<_> = (0..3_u64)
                .map(|thread| {
                    let cache = Arc::clone(&cache);
                    shuttle::thread::spawn(move || {
                        for turn in 0..3_u64 {
                            let key = ((thread + turn) % 3).to_string();
                            let text = format!("{thread}{turn}");
                            cache.put(&key, Cached { fingerprint: text.clone(), result: text, expires_ms: 5 + turn });
                            if let Some(found) = cache.get(&key, 6) {
                                assert_eq!(found.fingerprint, found.result);
                                assert!(found.expires_ms > 6);
                            }
                            let (count, bytes) = cache.size();
                            assert!(count <= 2 && bytes <= 700 && (count == 0) == (bytes == 0));
                        }
                    })
                })
                .collect();
            for thread in threads {
                thread.join().unwrap();
            }
        },
        2_000,
    );
}
