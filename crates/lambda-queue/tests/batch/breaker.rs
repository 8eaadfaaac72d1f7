//! A breaker under the loop: what it turns away is put off, and nothing of it is called.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lambda_queue::batch::{Deferral, Invocation, NEAR};
use lambda_queue::breaker::{DistributedBreaker, DistributedSettings, FailureRules, State, Wait};
use lambda_queue::memory::{KeyType, Memory, MemoryStore, QueueConfig, Table, World};
use lambda_queue::{Batch, Clock as _, Done, Failure, Outgoing, Queue as _, Record};

use crate::support::ids;

const QUEUE: &str = "work";
const VISIBILITY_S: u64 = 90;
const MAX_RECEIVES: u32 = 50;
/// Of so long calls the first and the twentieth are told to the table, which a process does once a second.
const CALL: Duration = Duration::from_millis(53);

fn memory() -> Memory {
    let memory = Memory::of(World::with_tokio(5));
    let visibility_s = u32::try_from(VISIBILITY_S).unwrap();
    memory.queues.create(QueueConfig::new(QUEUE).visibility_s(visibility_s).redrive("work-dlq", MAX_RECEIVES));
    memory.queues.create(QueueConfig::new("work-dlq"));
    memory.store.create(Table::new("breakers", "dependency", KeyType::S));
    memory
}

fn breaker(memory: &Memory) -> DistributedBreaker<MemoryStore, World> {
    let (store, world) = (Arc::new(memory.store.clone()), Arc::new(memory.world.clone()));
    DistributedBreaker::new("payments", DistributedSettings::new("breakers"), store, world).unwrap()
}

async fn put(memory: &Memory, bodies: std::ops::Range<u32>) {
    for body in bodies {
        let (queue, body) = (QUEUE.to_owned(), body.to_string());
        let message = Outgoing { queue, body, group: None, dedup: None, attributes: Vec::new() };
        assert_eq!(memory.send(QUEUE, &[message]).await, [Ok(())]);
    }
}

fn bodies(of: std::ops::Range<u32>) -> Vec<String> {
    of.map(|body| body.to_string()).collect()
}

fn invocation(memory: &Memory) -> Invocation {
    Invocation { request_id: "r".to_owned(), deadline_ms: memory.now_ms() + 15_000, cold_start: false }
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_defers_the_rest_which_is_not_polled_and_comes_back_when_the_wait_is_over() {
    let memory = memory();
    let breaker = breaker(&memory);
    // Most have met trouble before, and have so many receives left that a deferral is offered to the hook.
    put(&memory, 0..23).await;
    for _ in 1..MAX_RECEIVES - NEAR {
        assert_eq!(memory.queues.receive(QUEUE, 23).records.len(), 23);
        tokio::time::advance(Duration::from_secs(VISIBILITY_S)).await;
    }
    put(&memory, 23..25).await;
    let event = memory.queues.receive(QUEUE, 25);
    let received: Vec<&str> = event.records.iter().filter_map(|record| record.body.as_deref()).collect();
    assert_eq!(received, bodies(0..25));

    let (called, offered) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let hook = |record: Arc<Record>, failure: Failure| {
        offered.lock().unwrap().push((record.body.clone(), failure.name()));
        async { Deferral::TakenOver }
    };
    let batch = Batch::new("pay", &memory).concurrency(1).quiet().on_deferral(MAX_RECEIVES, hook);
    let down = |record: Arc<Record>| {
        let (breaker, called) = (&breaker, &called);
        async move {
            let work = async {
                called.lock().unwrap().push(record.body.clone());
                tokio::time::sleep(CALL).await;
                Err(Failure::retry("the provider is down"))
            };
            breaker.guard(&FailureRules::default(), work).await
        }
    };
    let answer = batch.run(event.clone(), invocation(&memory), down).await.unwrap();

    assert_eq!(breaker.row().await.unwrap().state, State::Open);
    assert_eq!(std::mem::take(&mut *called.lock().unwrap()), bodies(0..20), "the rest is not polled");
    assert_eq!(*offered.lock().unwrap(), bodies(20..23).into_iter().map(|body| (body, "defer")).collect::<Vec<_>>());
    assert_eq!(answer.batch_item_failures.len(), 22, "what the hook took over is acknowledged");
    assert_eq!(memory.queues.settle(&event, &answer), 3);

    // The two that were left come back when the breaker lets a probe through: not before, and not a visibility later.
    let wait = Duration::from_millis(Wait::default().first_ms);
    tokio::time::advance(wait - Duration::from_millis(1)).await;
    let early = memory.queues.receive(QUEUE, 25);
    let came = |event: &aws_lambda_events::event::sqs::SqsEvent, body: &str| {
        event.records.iter().any(|record| record.body.as_deref() == Some(body))
    };
    assert!(!came(&early, "23") && !came(&early, "24"));
    tokio::time::advance(Duration::from_millis(1)).await;
    let event = memory.queues.receive(QUEUE, 25);
    assert!(came(&event, "23") && came(&event, "24"));

    // And the provider is back.
    let up = |record: Arc<Record>| {
        let (breaker, called) = (&breaker, &called);
        async move {
            let work = async {
                called.lock().unwrap().push(record.body.clone());
                Ok(Done::now(Vec::new()))
            };
            breaker.guard(&FailureRules::default(), work).await
        }
    };
    let answer = batch.run(event.clone(), invocation(&memory), up).await;
    assert!(ids(answer).is_empty());
    assert_eq!(called.lock().unwrap().len(), event.records.len());
}
