//! A world to test in, and a table that counts and loses answers.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use lambda_queue::breaker::{DistributedBreaker, DistributedSettings, Event, Observer, Outcome, Row};
use lambda_queue::memory::{KeyType, MemoryStore, Table, World};
use lambda_queue::ports::Store;
use lambda_queue::ports::store::{Item, Page, Query, StoreError, Transacted, Write, Written};

pub const TABLE: &str = "breakers";
pub const DEPENDENCY: &str = "payments";

pub fn memory(world: &World) -> MemoryStore {
    MemoryStore::new(world.clone()).with(Table::new(TABLE, "dependency", KeyType::S))
}

/// Everything a breaker told, in order.
#[derive(Clone, Default, Debug)]
pub struct Seen(Arc<Mutex<Vec<Event>>>);

impl Observer for Seen {
    fn observe(&self, _: &str, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Seen {
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    pub fn count(&self, is: impl Fn(&Event) -> bool) -> usize {
        self.0.lock().unwrap().iter().filter(|event| is(event)).count()
    }
}

/// What happens to a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It is done, and its answer comes.
    Fine,
    /// It is done, and its answer is lost.
    Lost,
    /// It is done, its answer is lost, and the SDK makes it again before it answers.
    Repeated,
    /// It never arrives, and nobody can tell.
    Vanished,
}

type Plan = Box<dyn FnMut(u64) -> Fate + Send>;

/// A table that counts its calls, and does to the n-th write what its plan says.
pub struct Watched<S> {
    pub store: S,
    pub reads: AtomicU64,
    pub writes: AtomicU64,
    pub unreadable: Mutex<bool>,
    plan: Mutex<Plan>,
}

impl<S> Watched<S> {
    pub fn new(store: S) -> Arc<Self> {
        let (reads, writes) = (AtomicU64::new(0), AtomicU64::new(0));
        let plan: Plan = Box::new(|_| Fate::Fine);
        Arc::new(Self { store, reads, writes, unreadable: Mutex::new(false), plan: Mutex::new(plan) })
    }

    pub fn plan(&self, plan: impl FnMut(u64) -> Fate + Send + 'static) {
        *self.plan.lock().unwrap() = Box::new(plan);
    }

    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }

    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }

    pub fn break_reads(&self, broken: bool) {
        *self.unreadable.lock().unwrap() = broken;
    }
}

impl<S: Store + Sync> Store for Watched<S> {
    async fn get(&self, table: &str, key: Item, consistent: bool) -> Result<Option<Item>, StoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        if *self.unreadable.lock().unwrap() {
            return Err(StoreError::NotDone("unreadable".to_owned()));
        }
        self.store.get(table, key, consistent).await
    }

    async fn get_all(&self, _: &str, _: Vec<Item>, _: bool) -> Result<Vec<Item>, StoreError> {
        panic!("a breaker reads one row")
    }

    async fn query(&self, _: Query) -> Result<Page, StoreError> {
        panic!("a breaker queries nothing")
    }

    async fn write(&self, write: Write) -> Result<Written, StoreError> {
        assert!(write.condition.is_some(), "every write is conditional: {write:?}");
        let nth = self.writes.fetch_add(1, Ordering::SeqCst);
        let fate = (*self.plan.lock().unwrap())(nth);
        let lost = Err(StoreError::Unknown("the answer was lost".to_owned()));
        match fate {
            Fate::Fine => self.store.write(write).await,
            Fate::Lost => {
                self.store.write(write).await?;
                lost
            }
            Fate::Repeated => {
                self.store.write(write.clone()).await?;
                self.store.write(write).await
            }
            Fate::Vanished => lost,
        }
    }

    async fn transact(&self, _: Vec<Write>) -> Result<Transacted, StoreError> {
        panic!("a breaker needs no transaction")
    }
}

pub type Breaker<S> = DistributedBreaker<Watched<S>, World>;

pub fn breaker<S: Store + Sync>(store: &Arc<Watched<S>>, world: &World) -> Breaker<S> {
    // A busy machine may let DynamoDB Local wait; what patience does is tested by itself.
    let settings = DistributedSettings { store_timeout_ms: 30_000, ..DistributedSettings::new(TABLE) };
    breaker_with(store, world, settings)
}

pub fn breaker_with<S: Store + Sync>(
    store: &Arc<Watched<S>>,
    world: &World,
    settings: DistributedSettings,
) -> Breaker<S> {
    DistributedBreaker::new(DEPENDENCY, settings, store.clone(), Arc::new(world.clone())).unwrap()
}

/// The row as it is in the table.
pub async fn row<S: Store>(store: &Watched<S>) -> Row {
    let item = store.store.get(TABLE, Row::key(DEPENDENCY), true).await.unwrap();
    item.map_or_else(|| Row::absent(DEPENDENCY), |item| Row::from_item(DEPENDENCY, &item).unwrap())
}

/// One call that ends at once: whether it was let through.
pub async fn once<S: Store + Sync>(breaker: &Breaker<S>, outcome: Outcome) -> bool {
    match breaker.permit().await {
        Ok(pass) => {
            pass.finish(outcome).await;
            true
        }
        Err(_) => false,
    }
}

/// Failures, one a second, until the breaker turns them away: as many seconds as that took.
pub async fn fail_until_open<S: Store + Sync>(breaker: &Breaker<S>, world: &World) -> u64 {
    for second in 0..60 {
        for _ in 0..5 {
            if !once(breaker, Outcome::Failure).await {
                return second;
            }
        }
        world.advance_ms(1_000);
    }
    panic!("it never opened");
}

/// All of these at the same time, on as many threads as there are; their answers in order.
pub async fn together<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    work: impl IntoIterator<Item = F>,
) -> Vec<T> {
    let tasks: Vec<_> = work.into_iter().map(tokio::spawn).collect();
    let mut answers = Vec::with_capacity(tasks.len());
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers
}
