use std::num::NonZeroUsize;

use lambda_queue::idempotency::{Cached, ResultCache};
use proptest::prelude::*;

fn cached(result: &str, expires_ms: u64) -> Cached {
    Cached { fingerprint: "f".into(), result: result.into(), expires_ms }
}

#[test]
fn an_expired_result_counts_for_nothing_and_leaves() {
    let cache = ResultCache::new(NonZeroUsize::new(4).unwrap(), 10_000);
    cache.put("a", cached("1", 100));
    assert_eq!(cache.get("a", 99), Some(cached("1", 100)));
    assert_eq!(cache.get("a", 100), None);
    assert_eq!(cache.size(), (0, 0));
}

#[test]
fn the_result_used_longest_ago_makes_room() {
    let cache = ResultCache::new(NonZeroUsize::new(2).unwrap(), 10_000);
    cache.put("a", cached("1", 9));
    cache.put("b", cached("2", 9));
    assert!(cache.get("a", 0).is_some());
    cache.put("c", cached("3", 9));
    assert_eq!((cache.get("a", 0).is_some(), cache.get("b", 0), cache.get("c", 0).is_some()), (true, None, true));
}

#[test]
fn a_result_larger_than_all_the_room_is_not_kept() {
    let cache = ResultCache::new(NonZeroUsize::new(2).unwrap(), 1_000);
    cache.put("a", cached("1", 9));
    cache.put("b", cached(&"x".repeat(1_000), 9));
    assert_eq!((cache.get("a", 0).is_some(), cache.get("b", 0)), (true, None));
}

proptest! {
    #[test]
    fn count_and_bytes_stay_bounded_and_what_is_found_is_what_was_put_last(
        program in prop::collection::vec((0_u8..8, 0_usize..600, any::<bool>(), 0_u64..20), 0..200),
    ) {
        let cache = ResultCache::new(NonZeroUsize::new(5).unwrap(), 1_500);
        let mut last = std::collections::HashMap::new();
        for (now_ms, (key, length, put, lives_ms)) in (0_u64..).zip(program) {
            let key = key.to_string();
            if put {
                let value = cached(&"x".repeat(length), now_ms + lives_ms);
                cache.put(&key, value.clone());
                last.insert(key, value);
            } else if let Some(found) = cache.get(&key, now_ms) {
                prop_assert!(found.expires_ms > now_ms);
                prop_assert_eq!(Some(&found), last.get(&key));
            }
            let (count, bytes) = cache.size();
            prop_assert!(count <= 5 && bytes <= 1_500);
            prop_assert_eq!(count == 0, bytes == 0);
        }
    }
}
