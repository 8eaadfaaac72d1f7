//! The platform in memory: the order system's tables and queues, empty, in one process. For tests and simulations.
//!
//! It takes the same steps as the one over AWS, call by call: only what answers the calls is another.

use std::sync::{Mutex, MutexGuard, PoisonError};

use lambda_queue::memory::{
    Index, KeyType, MemoryObjects, MemoryQueue, MemoryStore, Projection, QueueConfig, Table, World,
};
use lambda_queue::ports::Objects;
use lambda_queue::ports::store::{Item, Page, Query, Store, Transacted, Write, Written};
use lambda_queue::{Clock, Entry, Ids, Outgoing, Queue, QueueDepth, Random};
use order::{Email, Lane, Step};
use ports::{ArchiveEvents, Mail, ProviderError, Publication, PublishEvents, SendMail, StoreError, queue_name};
use uuid::Uuid;

use crate::archive::gzip;
use crate::{Names, Platform};

/// Receives before a message is a dead letter: of steps behind a breaker, and of the others.
const RECEIVES_BEHIND_BREAKER: u32 = 50;
const RECEIVES: u32 = 10;
/// The queues of events: name, dead-letter queue, `maxReceiveCount`.
pub const EVENT_QUEUES: [(&str, &str, u32); 2] =
    [("notify.fifo", "notify-dlq.fifo", RECEIVES_BEHIND_BREAKER), ("archive", "archive-dlq", RECEIVES)];
/// Visibility of a command, seconds.
const VISIBILITY_S: u32 = 90;
/// Retention of dead letters, seconds.
const DEAD_S: u32 = 14 * 24 * 60 * 60;

/// A backend in memory, with what the topic, the bus and the mail service were given.
#[derive(Debug)]
pub struct Memory {
    /// The clock, the dice, the ids.
    pub world: World,
    /// The tables `orders`, `stock`, `idempotency`, `cases`, `breakers`.
    pub store: MemoryStore,
    /// The command queues by their names (`payment-express`), a dead-letter queue a step (`payment-dlq`), and `notify.fifo`
    /// and `archive` with theirs.
    pub queues: MemoryQueue,
    /// The bucket `archive`.
    pub objects: MemoryObjects,
    published: Mutex<Vec<Publication>>,
    mails: Mutex<Vec<(Email, Mail)>>,
}

impl Memory {
    /// Everything that the stack has, empty.
    pub fn new(world: World) -> Self {
        let store = MemoryStore::new(world.clone());
        for table in tables() {
            store.create(table);
        }
        let queues = MemoryQueue::new(world.clone());
        for step in [Step::Validate, Step::Payment, Step::Stock, Step::Shipping] {
            let dead_letters = dead_letters(step);
            for lane in Lane::ALL {
                let config = QueueConfig::new(queue_name(step, lane)).visibility_s(VISIBILITY_S);
                queues.create(config.redrive(dead_letters.clone(), receives(step)));
            }
            queues.create(QueueConfig::new(dead_letters).retention_s(DEAD_S));
        }
        for (queue, dead_letters, receives) in EVENT_QUEUES {
            queues.create(QueueConfig::new(queue).redrive(dead_letters, receives));
            queues.create(QueueConfig::new(dead_letters).retention_s(DEAD_S));
        }
        let objects = MemoryObjects::new();
        Self { world, store, queues, objects, published: Mutex::default(), mails: Mutex::default() }
    }

    /// What was published to topic and bus, in order.
    pub fn published(&self) -> Vec<Publication> {
        lock(&self.published).clone()
    }

    /// The mails that were sent, and to whom.
    pub fn mails(&self) -> Vec<(Email, Mail)> {
        lock(&self.mails).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The `maxReceiveCount` of a step's queues.
pub fn receives(step: Step) -> u32 {
    match step {
        Step::Payment | Step::Shipping => RECEIVES_BEHIND_BREAKER,
        Step::Validate | Step::Stock => RECEIVES,
    }
}

/// The dead-letter queue of a step.
pub fn dead_letters(step: Step) -> String {
    format!("{}-dlq", step.name())
}

/// As `template.yaml` has them.
fn tables() -> [Table; 5] {
    let due = Index::new("open_shard-due_at", "open_shard", KeyType::N).sorted("due_at", KeyType::N);
    let customer = Index::new("customer", "owner", KeyType::S).sorted("created_at", KeyType::N);
    [
        Table::new("orders", "order_id", KeyType::S)
            .index(due.projecting(Projection::KeysOnly))
            .index(customer.projecting(Projection::KeysOnly)),
        Table::new("stock", "sku", KeyType::S),
        Table::new("idempotency", "key", KeyType::S).expiring_by("expires_at"),
        Table::new("cases", "case_id", KeyType::S)
            .index(Index::new("fingerprint", "fingerprint", KeyType::S).sorted("opened_at", KeyType::N))
            .index(Index::new("status", "status", KeyType::S).sorted("opened_at", KeyType::N)),
        Table::new("breakers", "dependency", KeyType::S).expiring_by("expires_at"),
    ]
}

impl Platform<Memory> {
    /// The platform in this world.
    pub fn in_memory(world: World) -> Self {
        let names = Names {
            orders_table: "orders".to_owned(),
            stock_table: "stock".to_owned(),
            idempotency_table: "idempotency".to_owned(),
            cases_table: "cases".to_owned(),
            breakers_table: "breakers".to_owned(),
            events_topic_arn: "order-events.fifo".to_owned(),
            event_bus_name: "orders".to_owned(),
            archive_bucket: "archive".to_owned(),
            mail_from: "orders@example.test".to_owned(),
            ..Names::default()
        };
        Self::over(Memory::new(world), names)
    }
}

impl Clock for Memory {
    fn now_ms(&self) -> u64 {
        self.world.now_ms()
    }
}

impl Random for Memory {
    fn below(&self, bound: u64) -> u64 {
        self.world.below(bound)
    }
}

impl Ids for Memory {
    fn fresh(&self) -> Uuid {
        self.world.fresh()
    }
}

impl Queue for Memory {
    async fn send(&self, queue: &str, messages: &[Outgoing]) -> Vec<Result<(), String>> {
        self.queues.send(queue, messages).await
    }

    async fn change_visibility(&self, queue_arn: &str, entries: &[Entry]) -> Vec<Result<(), String>> {
        self.queues.change_visibility(queue_arn, entries).await
    }
}

impl QueueDepth for Memory {
    async fn queue_depth(&self, queue_arn: &str) -> Result<u64, StoreError> {
        self.queues.queue_depth(queue_arn).await
    }
}

impl Store for Memory {
    async fn get(&self, table: &str, key: Item, consistent: bool) -> Result<Option<Item>, StoreError> {
        self.store.get(table, key, consistent).await.map_err(|error| error.of(table))
    }

    async fn get_all(&self, table: &str, keys: Vec<Item>, consistent: bool) -> Result<Vec<Item>, StoreError> {
        self.store.get_all(table, keys, consistent).await.map_err(|error| error.of(table))
    }

    async fn query(&self, query: Query) -> Result<Page, StoreError> {
        let table = query.table.clone();
        self.store.query(query).await.map_err(|error| error.of(&table))
    }

    async fn write(&self, write: Write) -> Result<Written, StoreError> {
        let table = write.table.clone();
        self.store.write(write).await.map_err(|error| error.of(&table))
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<Transacted, StoreError> {
        self.store.transact(writes).await
    }
}

impl Objects for Memory {
    async fn put_object(&self, bucket: &str, key: &str, body: Vec<u8>, content_type: &str) -> Result<(), StoreError> {
        self.objects.put_object(bucket, key, body, content_type).await
    }

    async fn get_object(&self, bucket: &str, key: &str, most_bytes: usize) -> Result<Option<Vec<u8>>, StoreError> {
        self.objects.get_object(bucket, key, most_bytes).await
    }
}

impl PublishEvents for Platform<Memory> {
    async fn publish_events(&self, events: &[Publication]) -> Vec<Result<(), String>> {
        lock(&self.backend.published).extend_from_slice(events);
        vec![Ok(()); events.len()]
    }
}

impl ArchiveEvents for Platform<Memory> {
    async fn archive_events(&self, key: &str, lines: &[String]) -> Result<(), StoreError> {
        let body = gzip(lines).map_err(|error| StoreError::NotDone(error.to_string()))?;
        self.backend.objects.put_object(&self.names.archive_bucket, key, body, "application/x-ndjson").await
    }
}

impl SendMail for Platform<Memory> {
    async fn send_mail(&self, to: &Email, mail: &Mail) -> Result<String, ProviderError> {
        lock(&self.backend.mails).push((to.clone(), mail.clone()));
        Ok(self.backend.fresh().to_string())
    }
}
