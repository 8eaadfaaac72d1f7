//! The index of open orders, the rows behind it, and what a run does with them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, Range};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use lambda_queue::breaker::Row as BreakerRow;
use lambda_queue::lag::{Row as LaneRow, Word};
use lambda_queue::{Clock, Entry, Outgoing, Queue};
use order::{CaseId, Lane, Order, OrderId, Step};
use ports::{
    Case, CommandVersion, Commit, CommitOrder, Dependency, DueRow, FindDue, LaneRows, LoadOrder, OpenCase,
    ReadBreakers, ReadLanes, SendCommands, SetAside, StoreError,
};
use recover_orders::{Recovered, recover};

use crate::sample;
pub use crate::sample::id;

pub const NOW_MS: u64 = 1_795_426_200_000;
pub const DEADLINE_MS: u64 = NOW_MS + 60_000;

pub enum Row {
    Good(Box<Order>),
    Unreadable,
}

/// The index: rows by shard and time, and where each of them is.
#[derive(Default)]
pub struct Due {
    by_time: BTreeSet<(u16, u64, String)>,
    of: BTreeMap<String, (u16, u64)>,
}

impl Due {
    pub fn put(&mut self, shard: u16, due_at_ms: u64, key: String) {
        if let Some((shard, was_ms)) = self.of.insert(key.clone(), (shard, due_at_ms)) {
            self.by_time.remove(&(shard, was_ms, key.clone()));
        }
        self.by_time.insert((shard, due_at_ms, key));
    }
}

/// The index, the rows behind it, and what was done.
pub struct World {
    pub now_ms: AtomicU64,
    /// How long a read takes. Ten are made at once.
    pub read_ms: u64,
    pub reads: AtomicU64,
    pub due: Mutex<Due>,
    pub rows: BTreeMap<String, Row>,
    /// As they were moved since.
    pub nudges: Mutex<BTreeMap<String, u32>>,
    /// The payment provider's breaker.
    pub breaker: BreakerRow,
    /// What the lanes' consumers told; `None`: nobody can read it.
    pub lanes: Option<LaneRows>,
    /// When, and what.
    pub sent: Mutex<Vec<(u64, String)>>,
    pub cases: Mutex<Vec<Case>>,
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
        times: Range<u64>,
        limit: u32,
        after: Option<&DueRow>,
    ) -> Result<Vec<DueRow>, StoreError> {
        let first = Bound::Included((shard, times.start, String::new()));
        let from = after.map_or(first, |row| Bound::Excluded((shard, row.due_at_ms, row.key.clone())));
        let due = self.due.lock().unwrap();
        let rows = due.by_time.range((from, Bound::Excluded((shard, times.end, String::new()))));
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
                let nudges = self.nudges.lock().unwrap().get(&id.to_string()).copied().unwrap_or(order.nudges);
                Ok(Some(Order { due_at, nudges, ..(**order).clone() }))
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

    async fn postpone(&self, order: &Order, due_at_ms: u64, nudges: u32) -> Result<bool, StoreError> {
        let row = DueRow { key: order.order_id.to_string(), due_at_ms: order.due_at.unwrap() };
        self.nudges.lock().unwrap().insert(row.key.clone(), nudges);
        self.set_aside(&row, due_at_ms).await
    }
}

impl ReadBreakers for World {
    async fn read_breaker(&self, dependency: Dependency) -> Result<Arc<BreakerRow>, StoreError> {
        let payment = dependency == Dependency::Payment;
        Ok(Arc::new(if payment { self.breaker.clone() } else { BreakerRow::absent(dependency.name()) }))
    }
}

impl ReadLanes for World {
    async fn read_lanes(&self) -> Result<LaneRows, StoreError> {
        self.lanes.clone().ok_or_else(|| StoreError::NotDone("throttled".to_owned()))
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
        let now_ms = self.now_ms();
        self.sent.lock().unwrap().extend(messages.iter().map(|message| (now_ms, message.body.clone())));
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

pub fn order(at: u64) -> Order {
    let mut order = sample::order(at, NOW_MS - 1_000_000);
    // Those that cannot be read are the longest overdue.
    order.due_at = Some(NOW_MS - 100_000 + at);
    order
}

/// So many rows that cannot be read, and behind them so many that can, in one shard.
pub fn world(unreadable: u64, good: u64) -> World {
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
        nudges: Mutex::default(),
        breaker: BreakerRow::absent("payment"),
        lanes: Some(LaneRows::default()),
        sent: Mutex::default(),
        cases: Mutex::default(),
    }
}

/// What a step told, and nothing of any other.
pub fn told(lane: Lane, step: Step, word: Word) -> LaneRows {
    let row = LaneRow { steps: BTreeMap::from([(step.name().to_owned(), word)]) };
    LaneRows { lanes: BTreeMap::from([(lane, row)]), ..LaneRows::default() }
}

/// A step that is late by so much.
pub fn late(lane: Lane, step: Step, lag_ms: u64, now_ms: u64) -> LaneRows {
    told(lane, step, Word { lag_ms, at_ms: now_ms, late_at_ms: now_ms, ..Word::default() })
}

/// When an order's command was sent.
pub fn sent_ms(world: &World, at: u64) -> Vec<u64> {
    let id = id(at).to_string();
    let sent = world.sent.lock().unwrap();
    sent.iter().filter(|(_, body)| body.contains(&id)).map(|(sent_ms, _)| *sent_ms).collect()
}

pub fn was_sent(world: &World, at: u64) -> bool {
    !sent_ms(world, at).is_empty()
}

impl World {
    /// Puts an order in a shard's index.
    pub fn put(&mut self, shard: u16, order: Order) {
        let key = order.order_id.to_string();
        self.due.get_mut().unwrap().put(shard, order.due_at.unwrap(), key.clone());
        self.rows.insert(key, Row::Good(Box::new(order)));
    }

    /// Takes an order out of the index: it has moved on.
    pub fn take(&mut self, at: u64) {
        let key = id(at).to_string();
        let due = self.due.get_mut().unwrap();
        if let Some((shard, due_at_ms)) = due.of.remove(&key) {
            due.by_time.remove(&(shard, due_at_ms, key));
        }
    }

    /// A run of the schedule.
    pub async fn run_at(&self, now_ms: u64) -> Recovered {
        self.now_ms.store(now_ms, Ordering::Relaxed);
        recover(self, now_ms + 50_000).await.unwrap()
    }

    pub fn due_ms(&self, at: u64) -> u64 {
        self.due.lock().unwrap().of[&id(at).to_string()].1
    }
}
