use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use lambda_queue::batch::delivery::{ClaimEffect, RunOnce, at_most_once, effectively_once};
use lambda_queue::ports::store::StoreError;
use lambda_queue::{Answer, Done, Failure, Record};

use crate::support::*;

#[derive(Default)]
struct Table {
    claimed: Mutex<HashMap<String, String>>,
    answers: Mutex<HashMap<String, Answer>>,
    unreleasable: bool,
    /// So many claims are taken, and their answers lost.
    losing: AtomicUsize,
    /// So many claims after those are said to be surely not taken.
    throttled: AtomicUsize,
    releases: AtomicUsize,
    completed: Mutex<Vec<String>>,
}

impl ClaimEffect for Table {
    async fn claim(&self, key: &str, owner: &str, _: u64) -> Result<bool, Failure> {
        let ours = self.claimed.lock().unwrap().entry(key.to_owned()).or_insert_with(|| owner.to_owned()) == owner;
        if self.losing.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            return Err(Failure::Unknown { key: "k".to_owned(), until_ms: 0, why: "the answer was lost".to_owned() });
        }
        if self.throttled.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            return Err(Failure::retry("throttled"));
        }
        Ok(ours)
    }

    async fn release(&self, key: &str, owner: &str) -> Result<(), Failure> {
        self.releases.fetch_add(1, Ordering::Relaxed);
        if self.unreleasable {
            return Err(Failure::retry("the table is away"));
        }
        let mut claimed = self.claimed.lock().unwrap();
        assert_eq!(claimed.remove(key).as_deref(), Some(owner));
        Ok(())
    }

    async fn done(&self, key: &str, owner: &str) -> Result<(), Failure> {
        assert_eq!(self.claimed.lock().unwrap().get(key).map(String::as_str), Some(owner));
        self.completed.lock().unwrap().push(key.to_owned());
        // It stands all the same: the effect happened.
        Err(Failure::retry("the table is away"))
    }
}

impl RunOnce for Table {
    async fn once<W: Future<Output = Answer> + Send>(&self, key: &str, _: &Record, work: W) -> Answer {
        if let Some(answer) = self.answers.lock().unwrap().get(key) {
            return answer.clone();
        }
        let answer = work.await;
        self.answers.lock().unwrap().insert(key.to_owned(), answer.clone());
        answer
    }
}

fn key(record: &Record) -> Result<String, Failure> {
    Ok(record.body.split(' ').next().unwrap_or_default().to_owned())
}

/// Runs one message after another, each as its own invocation; answers how often its effect ran and what failed.
async fn run(table: &Arc<Table>, bodies: &[&str]) -> (usize, Vec<String>) {
    let ran = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ran);
    let handler = at_most_once(Arc::clone(table), key, move |record: Arc<Record>| {
        let count = Arc::clone(&count);
        async move {
            count.fetch_add(1, Ordering::Relaxed);
            match record.body.split_once(' ').map_or("", |(_, what)| what) {
                "refused" => Err(Failure::retry("refused")),
                "poison" => Err(Failure::poison("never")),
                "unknown" => {
                    Err(Failure::Unknown { key: "k".to_owned(), until_ms: 0, why: "the answer was lost".to_owned() })
                }
                "panic" => panic!("on purpose"),
                _ => Ok(Done::now(Vec::new())),
            }
        }
    });
    let world = World::default();
    let mut failed = Vec::new();
    for (at, body) in bodies.iter().enumerate() {
        let event = event(STANDARD, &[(["0", "1", "2", "3"][at], body, "")]);
        failed.extend(failed_of(&batch(&world), event, &handler).await);
    }
    (ran.load(Ordering::Relaxed), failed)
}

#[test]
fn a_write_whose_answer_was_lost_is_a_doubt_unless_its_writer_says_that_it_may_be_repeated() {
    let lost = || StoreError::Unknown("reset".to_owned());
    assert!(matches!(Failure::from(lost()), Failure::Unknown { .. }), "claims and leases stay");
    assert!(matches!(lost().repeatable(), Failure::Retry { .. }));
    let refused = || StoreError::NotDone("throttled".to_owned());
    assert!(matches!(Failure::from(refused()), Failure::Retry { .. }));
    assert!(matches!(refused().repeatable(), Failure::Retry { .. }));
    let odd = || StoreError::Unreadable("a list".to_owned());
    assert!(matches!((Failure::from(odd()), odd().repeatable()), (Failure::Bug { .. }, Failure::Bug { .. })));
}

#[tokio::test]
async fn at_most_once_an_effect_that_may_have_happened_is_never_repeated() {
    for first in ["k", "k unknown", "k panic"] {
        let (ran, failed) = run(&Arc::new(Table::default()), &[first, "k", "k"]).await;
        assert_eq!(ran, 1, "{first}");
        assert_eq!(failed.len(), usize::from(first != "k"), "the copies are acknowledged");
    }
}

#[tokio::test]
async fn at_most_once_an_effect_that_was_surely_refused_releases_its_claim() {
    assert_eq!(run(&Arc::new(Table::default()), &["k refused", "k", "k"]).await, (2, vec!["0".to_owned()]));
    assert_eq!(run(&Arc::new(Table::default()), &["k poison", "k"]).await.0, 2);
}

#[tokio::test]
async fn at_most_once_a_claim_that_cannot_be_released_is_not_run_again() {
    let table = Arc::new(Table { unreleasable: true, ..Table::default() });
    assert_eq!(run(&table, &["k refused", "k"]).await, (1, vec!["0".to_owned()]));
}

#[tokio::test]
async fn at_most_once_a_claim_whose_answer_was_lost_is_given_back_as_its_effect_never_began() {
    let table = Arc::new(Table { losing: 1.into(), ..Table::default() });
    assert_eq!(run(&table, &["k", "k", "k"]).await, (1, vec!["0".to_owned()]), "the next receive sends it");
    assert_eq!(*table.completed.lock().unwrap(), ["k"]);
    // Where it cannot be given back it stays, and nobody sends it: a line of level error says so.
    let stuck = Arc::new(Table { losing: 1.into(), unreleasable: true, ..Table::default() });
    assert_eq!(run(&stuck, &["k", "k"]).await, (0, vec!["0".to_owned()]));
}

#[tokio::test]
async fn at_most_once_a_claim_that_surely_was_not_taken_and_a_key_that_is_none_are_not_given_back() {
    let table = Arc::new(Table { throttled: 1.into(), ..Table::default() });
    assert_eq!(run(&table, &["k"]).await, (0, vec!["0".to_owned()]));
    assert_eq!(run(&table, &[" x"]).await.0, 0);
    assert_eq!(table.releases.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn at_most_once_two_deliveries_of_one_receive_are_two_owners() {
    let (table, ran) = (Arc::new(Table::default()), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&ran);
    let handler = at_most_once(Arc::clone(&table), key, move |_: Arc<Record>| {
        count.fetch_add(1, Ordering::Relaxed);
        async { Ok(Done::now(Vec::new())) }
    });
    let world = World::default();
    // The same id, receive count and deadline, as where SQS delivers a message twice at the same time.
    for _ in 0..2 {
        assert!(failed_of(&batch(&world), event(STANDARD, &[("1", "k", "")]), &handler).await.is_empty());
    }
    assert_eq!(ran.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_empty_key_is_poison_and_nothing_is_claimed() {
    let table = Arc::new(Table::default());
    assert_eq!(run(&table, &[" x", " y"]).await, (0, Vec::new()));
    assert!(table.claimed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn effectively_once_a_copy_gets_the_first_answer() {
    let (table, ran) = (Arc::new(Table::default()), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&ran);
    let handler = effectively_once(Arc::clone(&table), key, move |_| {
        let count = Arc::clone(&count);
        async move {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(Done::now(vec![owes("next", "m")]))
        }
    });
    let world = World::default();
    for id in ["1", "2"] {
        assert!(failed_of(&batch(&world), event(STANDARD, &[(id, "k", "")]), &handler).await.is_empty());
    }
    assert_eq!(ran.load(Ordering::Relaxed), 1);
    assert_eq!(world.sends(), [["m"], ["m"]], "what it owes is sent for each copy");
}
