//! Rows that cannot be recovered, or wait for a provider, hide nobody.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use lambda_queue::breaker::Row as BreakerRow;
use lambda_queue::{Clock, Entry, Outgoing, Queue};
use order::{CaseId, Fingerprint, Lane, Line, NewOrder, Order, OrderId};
use ports::{
    Case, Commit, CommitOrder, Dependency, DueRow, FindDue, LoadOrder, OpenCase, ReadBreakers, SendCommands, SetAside,
    StoreError,
};
use recover_orders::{Recovered, recover};

const NOW_MS: u64 = 1_795_426_200_000;
const DEADLINE_MS: u64 = NOW_MS + 60_000;

enum Row {
    Good(Box<Order>),
    Unreadable,
}

/// The index: rows by shard and time, and where each of them is.
#[derive(Default)]
struct Due {
    by_time: BTreeSet<(u16, u64, String)>,
    of: BTreeMap<String, (u16, u64)>,
}

impl Due {
    fn put(&mut self, shard: u16, due_at_ms: u64, key: String) {
        if let Some((shard, was_ms)) = self.of.insert(key.clone(), (shard, due_at_ms)) {
            self.by_time.remove(&(shard, was_ms, key.clone()));
        }
        self.by_time.insert((shard, due_at_ms, key));
    }
}

/// The index, the rows behind it, and what was done.
struct World {
    now_ms: AtomicU64,
    /// How long a read takes. Ten are made at once.
    read_ms: u64,
    reads: AtomicU64,
    due: Mutex<Due>,
    rows: BTreeMap<String, Row>,
    /// The payment provider's breaker.
    breaker: BreakerRow,
    sent: Mutex<Vec<String>>,
    cases: Mutex<Vec<Case>>,
}

impl Clock for World {
    fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }
}

impl FindDue for World {
    async fn find_due(
        &self,
        shard: u16,
        before_ms: u64,
        limit: u32,
        after: Option<&DueRow>,
    ) -> Result<Vec<DueRow>, StoreError> {
        let from = after.map_or((shard, 0, String::new()), |row| (shard, row.due_at_ms, row.key.clone()));
        let due = self.due.lock().unwrap();
        let rows = due.by_time.range((Bound::Excluded(from), Bound::Excluded((shard, before_ms, String::new()))));
        Ok(rows
            .take(limit as usize)
            .map(|(_, due_at_ms, key)| DueRow { key: key.clone(), due_at_ms: *due_at_ms })
            .collect())
    }
}

impl LoadOrder for World {
    async fn load_order(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        if self.reads.fetch_add(1, Ordering::Relaxed).is_multiple_of(10) {
            self.now_ms.fetch_add(self.read_ms, Ordering::Relaxed);
        }
        match self.rows.get(&id.to_string()) {
            Some(Row::Good(order)) => {
                // As it was moved since.
                let due_at = self.due.lock().unwrap().of.get(&id.to_string()).map(|(_, due_at_ms)| *due_at_ms);
                Ok(Some(Order { due_at, ..(**order).clone() }))
            }
            Some(Row::Unreadable) => Err(StoreError::Unreadable("a field is missing".to_owned())),
            None => Ok(None),
        }
    }
}

impl CommitOrder for World {
    async fn commit_order(&self, _: &Order, _: &Order) -> Result<Commit, StoreError> {
        panic!("nothing is committed here")
    }

    async fn postpone(&self, order: &Order, due_at_ms: u64, _: u32) -> Result<bool, StoreError> {
        let row = DueRow { key: order.order_id.to_string(), due_at_ms: order.due_at.unwrap() };
        self.set_aside(&row, due_at_ms).await
    }
}

impl ReadBreakers for World {
    async fn read_breaker(&self, dependency: Dependency) -> Result<Arc<BreakerRow>, StoreError> {
        let payment = dependency == Dependency::Payment;
        Ok(Arc::new(if payment { self.breaker.clone() } else { BreakerRow::absent(dependency.name()) }))
    }
}

impl SetAside for World {
    async fn set_aside(&self, row: &DueRow, due_at_ms: u64) -> Result<bool, StoreError> {
        let mut due = self.due.lock().unwrap();
        match due.of.get(&row.key).copied() {
            Some((shard, found_ms)) if found_ms == row.due_at_ms => {
                due.put(shard, due_at_ms, row.key.clone());
                Ok(true)
            }
            Some(_) | None => Ok(false),
        }
    }
}

impl OpenCase for World {
    async fn open_case(&self, case: &Case) -> Result<(), StoreError> {
        self.cases.lock().unwrap().push(case.clone());
        Ok(())
    }

    async fn withdraw_case(&self, _: &Case) -> Result<(), StoreError> {
        Ok(())
    }

    async fn supersede_case(&self, _: &CaseId, _: u64) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Queue for World {
    async fn send(&self, _: &str, messages: &[Outgoing]) -> Vec<Result<(), String>> {
        assert!(messages.len() <= 10);
        self.sent.lock().unwrap().extend(messages.iter().map(|message| message.body.clone()));
        vec![Ok(()); messages.len()]
    }

    async fn change_visibility(&self, _: &str, entries: &[Entry]) -> Vec<Result<(), String>> {
        vec![Ok(()); entries.len()]
    }
}

impl SendCommands for World {}

fn id(at: u64) -> OrderId {
    format!("0b8e6c1e-5d7f-8a2b-9c3d-{at:012}").parse().unwrap()
}

fn order(at: u64) -> Order {
    let new = NewOrder {
        order_id: id(at),
        tenant: "acme".parse().unwrap(),
        customer: "ada".parse().unwrap(),
        lane: Lane::Standard,
        fingerprint: Fingerprint::of(b"request"),
        lines: vec![Line { sku: "TEE".parse().unwrap(), quantity: 1, price: None }],
        currency: order::Currency::USD,
        expected_total: None,
        ship_to: order::Address {
            name: "Ada".to_owned(),
            line1: "1 Road".to_owned(),
            line2: None,
            city: "London".to_owned(),
            postal_code: "1".to_owned(),
            country: "GB".to_owned(),
        },
        email: "ada@example.com".parse().unwrap(),
        payment_method: "pm_card_visa".parse().unwrap(),
        traceparent: None,
    };
    let mut order = Order::accept(new, NOW_MS - 1_000_000);
    // Those that cannot be read are the longest overdue.
    order.due_at = Some(NOW_MS - 100_000 + at);
    order
}

/// So many rows that cannot be read, and behind them so many that can, in one shard.
fn world(unreadable: u64, good: u64) -> World {
    let mut rows = BTreeMap::new();
    let mut due = Due::default();
    for at in 0..unreadable + good {
        let order = order(at);
        due.put(3, order.due_at.unwrap(), order.order_id.to_string());
        let row = if at < unreadable { Row::Unreadable } else { Row::Good(Box::new(order.clone())) };
        rows.insert(order.order_id.to_string(), row);
    }
    World {
        now_ms: AtomicU64::new(NOW_MS),
        read_ms: 1,
        reads: AtomicU64::new(0),
        due: Mutex::new(due),
        rows,
        breaker: BreakerRow::absent("payment"),
        sent: Mutex::default(),
        cases: Mutex::default(),
    }
}

#[tokio::test]
async fn rows_that_cannot_be_read_are_set_aside_with_a_case_each_and_hide_nobody() {
    let world = world(120, 3);
    let done = recover(&world, DEADLINE_MS).await.unwrap();
    assert_eq!(done, Recovered { due: 123, sent: 3, set_aside: 120, ..Recovered::default() });
    assert_eq!(world.sent.lock().unwrap().len(), 3);
    let cases = world.cases.lock().unwrap().clone();
    let ids: BTreeSet<CaseId> = cases.iter().map(|case| case.case_id.clone()).collect();
    assert_eq!(ids.len(), 120);
    assert!(cases.iter().any(|case| case.order_id == id(0).to_string() && case.tenant.is_none()));
    // A minute later nobody looks at them again; after a quarter of an hour it is the same case.
    assert_eq!(recover(&world, DEADLINE_MS).await.unwrap().due, 0);
    world.now_ms.fetch_add(16 * 60_000, Ordering::Relaxed);
    assert_eq!(recover(&world, DEADLINE_MS + 20 * 60_000).await.unwrap().set_aside, 120);
    assert!(world.cases.lock().unwrap().iter().all(|case| ids.contains(&case.case_id)));
}

#[tokio::test]
async fn a_key_that_is_no_order_id_does_not_stop_a_shard() {
    let world = world(0, 1);
    world.due.lock().unwrap().put(3, 1, "not-an-order".to_owned());
    let done = recover(&world, DEADLINE_MS).await.unwrap();
    assert_eq!((done.sent, done.set_aside), (1, 1));
    assert_eq!(world.cases.lock().unwrap()[0].order_id, "not-an-order");
}

#[tokio::test]
async fn a_run_sends_at_most_fifty_commands_of_a_shard() {
    let world = world(10, 200);
    let done = recover(&world, DEADLINE_MS).await.unwrap();
    assert_eq!((done.sent, done.set_aside), (50, 10));
    assert_eq!(recover(&world, DEADLINE_MS).await.unwrap().sent, 50);
}

#[tokio::test]
async fn a_run_stops_paging_when_its_time_is_up() {
    let mut world = world(400, 1);
    world.read_ms = 2_900;
    let done = recover(&world, DEADLINE_MS).await.unwrap();
    assert!((150..250).contains(&done.set_aside), "{done:?}");
    assert!(world.now_ms() < DEADLINE_MS);
}

/// The number of a shard's orders that need no provider.
fn other(shard: u16, at: u64) -> u64 {
    1_000_000 + u64::from(shard) * 10 + at
}

fn was_sent(world: &World, at: u64) -> bool {
    let id = id(at).to_string();
    world.sent.lock().unwrap().iter().any(|body| body.contains(&id))
}

/// So many orders of shard 3 that wait for the payment provider, which has been away for so long, the longest overdue; and
/// in each shard three that need no provider.
fn outage(waiting: u64, away_ms: u64) -> World {
    let mut world = world(0, 0);
    let mut put = |shard: u16, at: u64, order: Order| {
        world.due.get_mut().unwrap().put(shard, NOW_MS - 100_000 + at, order.order_id.to_string());
        world.rows.insert(order.order_id.to_string(), Row::Good(Box::new(order)));
    };
    for at in 0..waiting {
        put(3, at, Order { state: order::State::Validated, ..order(at) });
    }
    for shard in 0..16 {
        for at in 0..3 {
            put(shard, 99_000 + at, order(other(shard, at)));
        }
    }
    world.breaker.state = lambda_queue::breaker::State::Open;
    (world.breaker.epoch, world.breaker.opened_at_ms) = (9, NOW_MS - 1_000);
    world.breaker.down_since_ms = NOW_MS - away_ms;
    world
}

#[tokio::test]
async fn thousands_behind_a_breaker_hold_up_none_that_needs_no_provider() {
    let mut world = outage(20_000, 3_600_000);
    // More than a run gets through: ten are read in 100 ms.
    world.read_ms = 100;
    let done = recover(&world, DEADLINE_MS).await.unwrap();
    assert!(done.behind_breaker > 5_000 && done.parked == 0, "{done:?}");
    for shard in (0..16).filter(|shard| *shard != 3) {
        assert!((0..3).all(|at| was_sent(&world, other(shard, at))), "shard {shard} waits for the one that is full");
    }
    // What was put off is out of the way, so the next runs come to the others of that shard too.
    let mut minute = 0;
    while !(0..3).all(|at| was_sent(&world, other(3, at))) {
        minute += 1;
        assert!(minute < 5, "they wait for more than five minutes");
        world.now_ms.store(NOW_MS + minute * 60_000, Ordering::Relaxed);
        recover(&world, DEADLINE_MS + minute * 60_000).await.unwrap();
    }
}

#[tokio::test]
async fn what_waits_behind_a_breaker_is_looked_at_ever_more_seldom_and_within_five_minutes_of_its_closing() {
    let mut world = outage(100, 0);
    let mut looks = Vec::new();
    for minute in 0..31 {
        let now_ms = NOW_MS + minute * 60_000;
        world.now_ms.store(now_ms, Ordering::Relaxed);
        if recover(&world, now_ms + 60_000).await.unwrap().behind_breaker > 0 {
            looks.push(minute);
        }
    }
    assert!(looks.len() <= 10, "{looks:?}");
    let apart: Vec<u64> = looks.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(apart.is_sorted() && apart.last().is_some_and(|longest| (5..=6).contains(longest)), "{looks:?}");
    // It closes: within five minutes and a run all of them are sent again.
    world.breaker = BreakerRow::absent("payment");
    for minute in 31..=37 {
        let now_ms = NOW_MS + minute * 60_000;
        world.now_ms.store(now_ms, Ordering::Relaxed);
        recover(&world, now_ms + 60_000).await.unwrap();
    }
    assert!((0..100).all(|at| was_sent(&world, at)));
}
