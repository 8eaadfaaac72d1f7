//! How late consumers are, as their batches tell it.

#![cfg(feature = "memory")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use lambda_queue::batch::{Afterwards, Invocation, Worked};
use lambda_queue::lag::{Place, Row, SLOT_MS, Teller, Word};
use lambda_queue::memory::{Fault, KeyType, Memory, QueueConfig, Table, World};
use lambda_queue::meter::Meter;
use lambda_queue::{Batch, Clock as _, Done, Failure, Outgoing, Queue as _, Record};

const TABLE: &str = "breakers";
const QUEUE: &str = "work-bulk";

type Local = Memory;

fn local() -> Arc<Local> {
    let local = Memory::of(World::with_tokio(3));
    local.world.set_ms(1_000_000 * SLOT_MS);
    local.store.create(Table::new(TABLE, "dependency", KeyType::S));
    local.queues.create(QueueConfig::new(QUEUE).visibility_s(60));
    Arc::new(local)
}

/// What is done with the queue, and asked of the table.
trait Ask {
    async fn put(&self, bodies: &[&str]);
    fn word(&self) -> Option<Word>;
    fn slot(&self) -> u64;
}

impl Ask for Local {
    async fn put(&self, bodies: &[&str]) {
        for body in bodies {
            let (queue, body) = (QUEUE.to_owned(), (*body).to_owned());
            let message = Outgoing { queue, body, group: None, dedup: None, attributes: Vec::new() };
            self.send(QUEUE, &[message]).await.pop().unwrap().unwrap();
        }
    }

    fn word(&self) -> Option<Word> {
        let items = self.store.items(TABLE);
        assert!(items.len() <= 1);
        let item = items.first()?;
        assert_eq!(Row::lane_of(item), Some("bulk"));
        Row::from_item(item).unwrap().steps.remove("work")
    }

    fn slot(&self) -> u64 {
        self.now_ms() / SLOT_MS
    }
}

/// A process.
struct Process<'a> {
    local: &'a Local,
    batch: Batch<'a, Local>,
    left_ms: u64,
}

impl<'a> Process<'a> {
    fn new(local: &'a Arc<Local>) -> Self {
        let place = |queue: &str| {
            let (step, lane) = queue.split_once('-')?;
            Some(Place { lane: lane.to_owned(), step: step.to_owned() })
        };
        Self::with(local, Arc::new(Teller::new(Arc::clone(local), TABLE, place)))
    }

    fn with(local: &'a Local, afterwards: Arc<dyn Afterwards>) -> Self {
        Self { local, batch: Batch::new("worker", local).quiet().afterwards(afterwards), left_ms: 15_000 }
    }

    /// Receives what is there, at most ten, and works on it: a record whose body says so comes again. Answers how many were
    /// acknowledged.
    async fn works(&self) -> usize {
        let succeeds = |record: &Record| record.body != "again" || record.context.receive_count > 1;
        self.works_if(succeeds, Duration::from_secs(1)).await
    }

    /// The same, but nothing succeeds, and it stays away for long.
    async fn works_in_vain(&self) -> usize {
        self.works_if(|_| false, Duration::from_secs(600)).await
    }

    async fn works_if(&self, succeeds: impl Fn(&Record) -> bool, after: Duration) -> usize {
        let succeeds = &succeeds;
        let event = self.local.queues.receive(QUEUE, 10);
        let deadline_ms = self.local.now_ms() + self.left_ms;
        let of = Invocation { request_id: "r".to_owned(), deadline_ms, cold_start: false };
        let handle = |record: Arc<Record>| async move {
            if !succeeds(&record) {
                return Err(Failure::Retry { after: Some(after), why: "not now".to_owned() });
            }
            Ok(Done::now(Vec::new()))
        };
        let answer = self.batch.run(event.clone(), of, handle).await.unwrap();
        self.local.queues.settle(&event, &answer)
    }
}

async fn pass(ms: u64) {
    tokio::time::advance(Duration::from_millis(ms)).await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_tells_how_long_its_records_had_waited_and_how_many_were_done() {
    let local = local();
    let process = Process::new(&local);
    local.put(&["1", "2"]).await;
    pass(1_000).await;
    local.put(&["3", "4"]).await;
    pass(500).await;
    assert_eq!(process.works().await, 4);
    let word = local.word().unwrap();
    assert_eq!((word.lag_ms, word.at_ms, word.depth), (1_000, local.now_ms(), None), "it keeps up: nobody counts");
    assert_eq!((word.done, word.late), (BTreeMap::from([(local.slot(), 4)]), BTreeMap::new()));

    // Twelve wait for eight seconds: it is late, and two stay behind.
    local.put(&["x"; 12]).await;
    pass(8_000).await;
    assert_eq!(process.works().await, 10);
    let word = local.word().unwrap();
    assert_eq!((word.lag_ms, word.depth), (8_000, Some(2)));
    assert_eq!(word.late, BTreeMap::from([(local.slot(), 10)]));
    assert!(word.is_late(local.now_ms()) && word.is_fresh(local.now_ms()));
    assert_eq!(word.late_at_ms, local.now_ms());

    // And when it keeps up again, how many waited counts no more.
    process.works().await;
    local.put(&["x"]).await;
    pass(5_000).await;
    process.works().await;
    local.put(&["x"]).await;
    pass(100).await;
    local.put(&["x"]).await;
    pass(5_000 - 100).await;
    local.put(&["x"; 8]).await;
    process.works().await;
    let word = local.word().unwrap();
    assert_eq!(word.lag_ms, 990, "the mean of ten");
    assert_eq!(word.late_at_ms, local.now_ms() - 5_000);
    assert!(word.is_late(local.now_ms() + 5_000) && !word.is_late(local.now_ms() + 5_001), "{word:?}");
}

#[tokio::test(start_paused = true)]
async fn a_word_on_time_does_not_clear_a_late_one_of_ten_seconds_ago() {
    let local = local();
    let (late, on_time) = (Process::new(&local), Process::new(&local));
    local.put(&["x"; 12]).await;
    pass(8_000).await;
    late.works().await;
    let told_ms = local.now_ms();
    assert_eq!(late.works().await, 2, "and says so with its next word");
    pass(6_000).await;
    local.put(&["x"]).await;
    on_time.works().await;
    let word = local.word().unwrap();
    assert_eq!((word.lag_ms, word.at_ms, word.late_at_ms), (0, told_ms + 6_000, told_ms));
    assert!(word.is_late(local.now_ms()) && word.depth == Some(2), "{word:?}");
    pass(4_001).await;
    assert!(!word.is_late(local.now_ms()));
}

#[tokio::test(start_paused = true)]
async fn late_batches_of_which_nothing_was_done_are_told_as_a_standstill() {
    let local = local();
    let process = Process::new(&local);
    local.put(&["again"; 200]).await;
    pass(60_000).await;
    for _ in 0..10 {
        assert_eq!(process.works_in_vain().await, 0);
        pass(5_000).await;
    }
    let word = local.word().unwrap();
    assert_eq!(word.done, BTreeMap::new());
    assert_eq!(word.capacity().unwrap().done, 0, "{word:?}");
    assert!(word.depth.unwrap() > 0 && word.is_late(local.now_ms()));
}

#[tokio::test(start_paused = true)]
async fn a_record_that_comes_again_says_nothing_of_the_lag_but_its_end_is_counted() {
    let local = local();
    let process = Process::new(&local);
    local.put(&["again"]).await;
    assert_eq!(process.works().await, 0);
    assert_eq!(local.word().unwrap().done, BTreeMap::new(), "what goes back is not done");
    pass(30_000).await;
    local.put(&["x"]).await;
    assert_eq!(process.works().await, 2);
    let word = local.word().unwrap();
    assert_eq!((word.lag_ms, word.done[&local.slot()]), (0, 2));
    // A batch of such records alone leaves the lag as it was.
    local.put(&["again"]).await;
    pass(9_000).await;
    process.works().await;
    pass(6_000).await;
    assert_eq!(process.works().await, 1);
    assert_eq!(local.word().unwrap().lag_ms, 9_000);
}

#[tokio::test(start_paused = true)]
async fn it_tells_at_most_every_five_seconds_and_nothing_where_nothing_was_brought() {
    let local = local();
    let process = Process::new(&local);
    process.works().await;
    assert_eq!(local.word(), None);
    let writes = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&writes);
    local.store.set_faults(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        Fault::None
    });
    for _ in 0..100 {
        local.put(&["x"]).await;
        process.works().await;
        pass(100).await;
    }
    assert_eq!(writes.load(Ordering::Relaxed), 2, "ten seconds");
    process.works().await;
    pass(60_000).await;
    process.works().await;
    assert_eq!(writes.load(Ordering::Relaxed), 2, "nothing to do");
    local.put(&["x"]).await;
    process.works().await;
    let word = local.word().unwrap();
    assert_eq!(writes.load(Ordering::Relaxed), 3);
    assert!(!word.done.contains_key(&(local.slot() - 12)), "what was done long ago is not told any more: {word:?}");
}

#[tokio::test(start_paused = true)]
async fn the_rate_is_that_of_all_processes_each_counted_when_it_was_done() {
    let local = local();
    let (one, two) = (Process::new(&local), Process::new(&local));
    // Each does ten a second for half a minute, and comes late.
    local.put(&["x"; 700]).await;
    pass(60_000).await;
    for _ in 0..35 {
        one.works().await;
        two.works().await;
        pass(1_000).await;
    }
    let word = local.word().unwrap();
    let capacity = word.capacity().unwrap();
    assert_eq!(capacity.per_second(), 20.0, "{word:?}");
    assert!(word.depth.unwrap() < 200, "{word:?}");
}

#[tokio::test(start_paused = true)]
async fn a_word_that_is_not_taken_harms_no_batch_and_is_made_good() {
    let local = local();
    let process = Process::new(&local);
    local.store.set_faults(|_| Fault::Throttle);
    local.put(&["1", "2"]).await;
    assert_eq!(process.works().await, 2);
    assert_eq!(local.word(), None);
    local.store.clear_faults();
    local.put(&["3"]).await;
    assert_eq!(process.works().await, 1);
    assert_eq!(local.word(), None, "not at once: the table has enough to do");
    pass(5_000).await;
    local.put(&["4"]).await;
    process.works().await;
    let word = local.word().unwrap();
    assert_eq!(word.done.values().sum::<u64>(), 4, "{word:?}");

    // Of one whose answer was lost nobody knows: it is not told twice.
    local.store.set_faults(|_| Fault::Lost);
    pass(5_000).await;
    local.put(&["5"]).await;
    assert_eq!(process.works().await, 1);
    local.store.clear_faults();
    pass(5_000).await;
    local.put(&["6"]).await;
    process.works().await;
    assert_eq!(local.word().unwrap().done.values().sum::<u64>(), 6);
}

#[tokio::test(start_paused = true)]
async fn it_holds_the_answer_up_for_half_a_second_at_most_and_not_at_all_where_time_is_short() {
    let local = local();
    let mut process = Process::new(&local);
    local.store.set_faults(|_| Fault::Slow(Duration::from_secs(20)));
    let began_ms = local.now_ms();
    local.put(&["1"]).await;
    assert_eq!(process.works().await, 1);
    assert_eq!(local.now_ms() - began_ms, 500);

    // With less than a second left it is not even tried.
    pass(5_000).await;
    process.left_ms = 999;
    let began_ms = local.now_ms();
    local.put(&["2"]).await;
    assert_eq!(process.works().await, 1);
    assert_eq!(local.now_ms(), began_ms);
}

#[tokio::test(start_paused = true)]
async fn slots_that_nobody_counts_go_away() {
    let local = local();
    let process = Process::new(&local);
    local.put(&["x"; 300]).await;
    pass(3_000).await;
    for _ in 0..30 {
        process.works().await;
        pass(5_000).await;
        let word = local.word().unwrap();
        assert!(word.done.len() <= 15 && word.late.len() <= 15, "{word:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn slots_of_processes_that_tell_once_go_away_too() {
    let local = local();
    for nth in 0..100 {
        local.put(&["x"; 10]).await;
        pass(5_000).await;
        Process::new(&local).works().await;
        let word = local.word().unwrap();
        assert!(word.done.len() + word.late.len() <= 40, "process {nth}: {word:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn its_calls_are_the_processs_own_and_no_batchs() {
    let local = local();
    let process = Process::new(&local);
    local.put(&["x"; 11]).await;
    pass(60_000).await;
    let meter = Meter::default();
    meter.around(process.works()).await;
    assert_eq!(meter.calls(), BTreeMap::from([("lanes", 2)]), "how many wait, and the word");
}

/// Remembers what it was told, and then does as it is told.
struct Odd {
    seen: Mutex<Vec<(u64, u64)>>,
    panics: bool,
}

impl Afterwards for Odd {
    fn worked<'a>(&'a self, of: Worked<'a>) -> BoxFuture<'a, ()> {
        self.seen.lock().unwrap().push((of.first_receives, of.done));
        assert!(!self.panics, "on purpose");
        Box::pin(std::future::pending())
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_done_after_a_batch_has_no_say_in_its_answer() {
    for (panics, took_ms) in [(true, 0), (false, 14_900)] {
        let local = local();
        let odd = Arc::new(Odd { seen: Mutex::default(), panics });
        let process = Process::with(&local, Arc::clone(&odd) as Arc<dyn Afterwards>);
        local.put(&["1", "again"]).await;
        let began_ms = local.now_ms();
        assert_eq!(process.works().await, 1);
        assert_eq!(local.now_ms() - began_ms, took_ms);
        assert_eq!(*odd.seen.lock().unwrap(), [(2, 1)]);
    }
}
