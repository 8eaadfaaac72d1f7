//! Rows that cannot be recovered hide nobody.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use lambda_queue::breaker::Row as BreakerRow;
use lambda_queue::{Clock, Entry, Outgoing, Queue};
use order::{CaseId, Fingerprint, Lane, Line, NewOrder, Order, OrderId};
use ports::{
    Case, CommandVersion, Commit, CommitOrder, Dependency, DueRow, FindDue, LoadOrder, OpenCase, ReadBreakers,
    SendCommands, SetAside, StoreError,
};
use recover_orders::{Recovered, recover};

const NOW_MS: u64 = 1_795_426_200_000;
const DEADLINE_MS: u64 = NOW_MS + 60_000;

enum Row {
    Good(Box<Order>),
    Unreadable,
}

/// One shard of the index, the rows behind it, and what was done.
struct World {
    now_ms: AtomicU64,
    /// How long every read takes.
    read_ms: u64,
    due: Mutex<BTreeMap<(u64, String), ()>>,
    rows: BTreeMap<String, Row>,
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
        let from = after.map(|row| (row.due_at_ms, row.key.clone()));
        let due = self.due.lock().unwrap();
        let rows =
            due.keys().filter(|key| shard == 3 && key.0 < before_ms && from.as_ref().is_none_or(|from| *key > from));
        Ok(rows
            .take(limit as usize)
            .map(|(due_at_ms, key)| DueRow { key: key.clone(), due_at_ms: *due_at_ms })
            .collect())
    }
}

impl LoadOrder for World {
    async fn load_order(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        self.now_ms.fetch_add(self.read_ms, Ordering::Relaxed);
        match self.rows.get(&id.to_string()) {
            Some(Row::Good(order)) => Ok(Some((**order).clone())),
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

/// Every provider is there.
impl ReadBreakers for World {
    async fn read_breaker(&self, dependency: Dependency) -> Result<Arc<BreakerRow>, StoreError> {
        Ok(Arc::new(BreakerRow::absent(dependency.name())))
    }
}

impl SetAside for World {
    async fn set_aside(&self, row: &DueRow, due_at_ms: u64) -> Result<bool, StoreError> {
        let mut due = self.due.lock().unwrap();
        let was = due.remove(&(row.due_at_ms, row.key.clone())).is_some();
        if was {
            due.insert((due_at_ms, row.key.clone()), ());
        }
        Ok(was)
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

impl SendCommands for World {
    fn command_version(&self) -> CommandVersion {
        CommandVersion::default()
    }
}

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

/// So many rows that cannot be read, and behind them so many that can.
fn world(unreadable: u64, good: u64) -> World {
    let mut rows = BTreeMap::new();
    let mut due = BTreeMap::new();
    for at in 0..unreadable + good {
        let order = order(at);
        due.insert((order.due_at.unwrap(), order.order_id.to_string()), ());
        let row = if at < unreadable { Row::Unreadable } else { Row::Good(Box::new(order.clone())) };
        rows.insert(order.order_id.to_string(), row);
    }
    World {
        now_ms: AtomicU64::new(NOW_MS),
        read_ms: 1,
        due: Mutex::new(due),
        rows,
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
    let ids: std::collections::BTreeSet<CaseId> = cases.iter().map(|case| case.case_id.clone()).collect();
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
    world.due.lock().unwrap().insert((1, "not-an-order".to_owned()), ());
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
    let mut world = world(200, 1);
    world.read_ms = 1_000;
    let done = recover(&world, DEADLINE_MS).await.unwrap();
    assert!((50..100).contains(&done.set_aside), "{done:?}");
    assert!(world.now_ms() < DEADLINE_MS);
}
