//! Environments over one table.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use lambda_queue::memory::World;
use ports::StoreError;

use super::*;

/// The table, the clock and the dice.
struct Table {
    world: World,
    counts: Mutex<BTreeMap<(TenantId, u64), u64>>,
    calls: AtomicU64,
    /// What becomes of a call.
    fault: Mutex<Fault>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Throttled,
    Silent,
}

impl Table {
    fn new(world: World) -> Self {
        Self { world, counts: Mutex::default(), calls: AtomicU64::new(0), fault: Mutex::new(Fault::None) }
    }

    fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
}

impl Clock for Table {
    fn now_ms(&self) -> u64 {
        self.world.now_ms()
    }
}

impl Random for Table {
    fn below(&self, bound: u64) -> u64 {
        self.world.below(bound)
    }
}

impl CountRequests for Table {
    async fn count_requests(&self, tenant: &TenantId, window_ms: u64, requests: u64) -> Result<u64, StoreError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let fault = *self.fault.lock().unwrap();
        match fault {
            Fault::None => {}
            Fault::Throttled => return Err(StoreError::NotDone("throttled".to_owned())),
            Fault::Silent => std::future::pending().await,
        }
        let mut counts = self.counts.lock().unwrap();
        let count = counts.entry((tenant.clone(), window_ms)).or_default();
        *count += requests;
        Ok(*count)
    }
}

fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

/// Requests of one tenant, so many a second for so long, each to some environment of so many that are held to 50 a second.
/// Answers how many were admitted in each window.
async fn admitted(table: &Table, environments: u64, per_second: u64, seconds: u64) -> Vec<u64> {
    let all: Vec<Limiter> = (0..environments).map(|_| Limiter::new(50)).collect();
    let loud = tenant("loud");
    let mut admitted = BTreeMap::new();
    for _ in 0..per_second * seconds {
        let environment = usize::try_from(table.below(environments)).unwrap();
        let is_admitted = all[environment].admit(table, &loud).await.is_ok();
        *admitted.entry(table.now_ms() / WINDOW_MS).or_default() += u64::from(is_admitted);
        table.world.advance_ms(1_000 / per_second);
    }
    admitted.into_values().collect()
}

#[tokio::test]
async fn a_tenant_is_held_to_its_rate_however_many_environments_it_meets() {
    for environments in [4, 10, 40] {
        let table = Table::new(World::new(environments));
        let windows = admitted(&table, environments, 500, 100).await;
        // Until they have heard of it, each may admit the ten that it has not told, and finds out with the next.
        assert!(windows[0] <= 500 + 10 * environments, "{environments} environments: {windows:?}");
        let after: RangeInclusive<u64> = 450..=500 + environments;
        assert!(windows[1..].iter().all(|admitted| after.contains(admitted)), "{environments}: {windows:?}");
    }
}

#[tokio::test]
async fn a_tenant_below_its_rate_is_not_refused_however_it_is_spread() {
    // What many environments tell of few requests each is less exact.
    for (environments, most) in [(1, 45), (3, 40), (30, 40), (300, 25)] {
        for per_second in [1, 10, most] {
            let table = Table::new(World::new(environments + per_second));
            let windows = admitted(&table, environments, per_second, 100).await;
            let sum: u64 = windows.iter().sum();
            assert_eq!(sum, per_second * 100, "{environments} environments, {per_second} a second");
        }
    }
}

#[tokio::test]
async fn a_quiet_tenant_costs_a_call_for_ten_requests_also_where_no_environment_sees_two_of_them() {
    for environments in [1, 10, 1_000] {
        let table = Table::new(World::new(environments));
        admitted(&table, environments, 20, 100).await;
        assert!((150..=250).contains(&table.calls()), "{environments}: {} calls for 2,000 requests", table.calls());
    }
    // And none of them tells of another's.
    let table = Table::new(World::new(1));
    let limiter = Limiter::new(50);
    for number in 0..1_000_u64 {
        assert_eq!(limiter.admit(&table, &tenant(&format!("t-{}", number % 100))).await, Ok(()));
        table.world.advance_ms(20);
    }
    assert!((70..=130).contains(&table.calls()), "{} calls", table.calls());
    assert!(table.counts.lock().unwrap().values().all(|count| count % 10 == 0));
}

#[tokio::test]
async fn who_is_refused_comes_back_with_the_next_window_and_others_do_not_wait() {
    let table = Table::new(World::new(1));
    let all: Vec<Limiter> = (0..20).map(|_| Limiter::new(50)).collect();
    let loud = tenant("loud");
    let mut refused = None;
    'asking: for _ in 0..50 {
        for limiter in &all {
            refused = limiter.admit(&table, &loud).await.err();
            if refused.is_some() {
                break 'asking;
            }
        }
        table.world.advance_ms(20);
    }
    let refused = refused.unwrap();
    assert_eq!(refused.code, Code::RateLimited);
    let window_left_ms = WINDOW_MS - table.now_ms() % WINDOW_MS;
    let window_left_s = window_left_ms.div_ceil(1_000);
    let longest_s = window_left_s + window_left_s / 4;
    assert!(
        (window_left_s..=longest_s).any(|wait_s| refused.headers == [(header::RETRY_AFTER, wait_s.to_string())]),
        "{:?}, {window_left_s} s are left",
        refused.headers
    );
    for limiter in &all {
        assert_eq!(limiter.admit(&table, &tenant("quiet")).await, Ok(()));
    }
    table.world.advance_ms(window_left_ms);
    for limiter in &all {
        assert_eq!(limiter.admit(&table, &loud).await, Ok(()));
    }
}

#[tokio::test]
async fn a_limit_of_one_a_second_is_one_a_second_over_all() {
    let table = Table::new(World::new(1));
    let all = [Limiter::new(1), Limiter::new(1), Limiter::new(1)];
    let slow = tenant("slow");
    let mut admitted = 0;
    for second in 0..100 {
        admitted += u64::from(all[second % 3].admit(&table, &slow).await.is_ok());
        admitted += u64::from(all[(second + 1) % 3].admit(&table, &slow).await.is_ok());
        table.world.advance_ms(1_000);
    }
    assert_eq!(admitted, 100);
}

#[tokio::test]
async fn a_table_that_fails_refuses_nobody_and_is_left_alone_for_a_while() {
    let table = Table::new(World::new(1));
    *table.fault.lock().unwrap() = Fault::Throttled;
    assert_eq!(admitted(&table, 10, 200, 20).await.iter().sum::<u64>(), 4_000);
    assert!(table.calls() <= 10 * 4, "{} calls", table.calls());
    // What is left is each environment's own rate.
    let limiter = Limiter::new(50);
    let mut answers = Vec::new();
    for _ in 0..51 {
        answers.push(limiter.admit(&table, &tenant("loud")).await);
    }
    assert!(answers[..50].iter().all(Result::is_ok));
    assert_eq!(answers[50].as_ref().unwrap_err().headers, [(header::RETRY_AFTER, "1".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_table_that_does_not_answer_holds_a_request_up_for_a_moment_and_the_next_ones_not_at_all() {
    let table = Table::new(World::with_tokio(1));
    *table.fault.lock().unwrap() = Fault::Silent;
    let limiter = Limiter::new(50);
    let began_ms = table.now_ms();
    for _ in 0..40 {
        assert_eq!(limiter.admit(&table, &tenant("t")).await, Ok(()));
    }
    assert_eq!((table.calls(), table.now_ms() - began_ms), (1, PATIENCE_MS));
}

#[tokio::test]
async fn tenants_that_have_gone_quiet_are_forgotten() {
    let table = Table::new(World::new(1));
    let limiter = Limiter::new(1);
    for number in 0..5_000 {
        assert_eq!(limiter.admit(&table, &tenant(&format!("t-{number}"))).await, Ok(()));
        table.world.advance_ms(10);
    }
    let limited = limiter.limited.unwrap();
    assert!(limited.own.len() <= MAX_TENANTS);
    assert!(limited.shared().tenants.len() <= MAX_TENANTS);
}

#[test]
fn who_is_refused_comes_back_up_to_a_quarter_later_than_the_next_window_begins() {
    let table = Table::new(World::new(1));
    for (left_s, longest_s) in [(10, 12), (8, 10), (3, 3)] {
        let waits: BTreeSet<String> = (0..100)
            .map(|_| until_the_next_window(&table, 7 * WINDOW_MS - left_s * 1_000))
            .flat_map(|refused| refused.headers.into_iter().map(|(_, wait_s)| wait_s))
            .collect();
        let expected: BTreeSet<String> = (left_s..=longest_s).map(|wait_s: u64| wait_s.to_string()).collect();
        assert_eq!(waits, expected);
    }
}

#[tokio::test]
async fn a_tenant_that_is_refused_stays_so_however_many_others_come() {
    let table = Table::new(World::new(1));
    let limiter = Limiter::new(50);
    let loud = tenant("loud");
    let window = table.now_ms() / WINDOW_MS;
    // Other environments have admitted what it may ask in these ten seconds.
    table.counts.lock().unwrap().insert((loud.clone(), window * WINDOW_MS), 1_000);
    for _ in 0..10 {
        if limiter.admit(&table, &loud).await.is_err() {
            break;
        }
    }
    assert!(limiter.admit(&table, &loud).await.is_err(), "it has told of ten by now");
    let calls = table.calls();
    for number in 0..MAX_TENANTS * 3 {
        assert_eq!(limiter.admit(&table, &tenant(&format!("t-{number}"))).await, Ok(()));
    }
    let before = table.calls();
    assert!(before > calls, "the others are counted");
    assert_eq!(table.now_ms() / WINDOW_MS, window);
    assert!(limiter.admit(&table, &loud).await.is_err(), "it was forgotten");
    assert_eq!(table.calls(), before, "and asked for again");
}

#[test]
fn who_finds_no_place_is_counted_all_the_same() {
    let table = Table::new(World::new(1));
    let limiter = Limiter::new(50);
    let window = table.now_ms() / WINDOW_MS;
    let near = || Told { untold: 0, window, total: 400, near_until: window + 1, seen_ms: table.now_ms() };
    let limited = limiter.limited.as_ref().unwrap();
    limited.shared().tenants.extend((0..MAX_TENANTS).map(|number| (tenant(&format!("near-{number}")), near())));
    let mut told = 0;
    for _ in 0..1_000 {
        match limited.next(&table, &tenant("new"), table.now_ms()) {
            Next::Tells(requests) => told += requests,
            Next::Admitted => {}
            Next::Refused => panic!("it has hardly begun"),
        }
    }
    assert!((600..=1_400).contains(&told), "{told} of 1,000");
    let shared = limited.shared();
    assert!(shared.tenants.len() == MAX_TENANTS && !shared.tenants.contains_key(&tenant("new")));
}

#[tokio::test]
async fn a_rate_of_0_is_no_limit_and_counts_nothing() {
    let table = Table::new(World::new(1));
    let limiter = Limiter::new(0);
    for _ in 0..10_000 {
        assert_eq!(limiter.admit(&table, &tenant("t")).await, Ok(()));
    }
    assert_eq!(table.calls(), 0);
}
