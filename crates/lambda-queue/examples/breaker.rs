//! A provider is down for half a minute: its breaker opens, messages wait in their queue, and all of them are handled in the
//! end. One row of a table is the breaker, so every process that has the table goes by it.
//!
//! `cargo run -p lambda-queue --features memory --example breaker`
//!
//! Queue, table and clock are in memory, and the clock is moved by hand: half an hour takes a moment.

use std::cell::Cell;
use std::sync::Arc;

use lambda_queue::batch::Invocation;
use lambda_queue::breaker::{DistributedBreaker, DistributedSettings, FailureRules};
use lambda_queue::memory::{KeyType, Memory, QueueConfig, Table};
use lambda_queue::{Batch, Clock as _, Done, Failure, Outgoing, Queue as _, Record};

const MESSAGES: usize = 30;
/// The provider is back after so many seconds.
const BACK_AFTER_S: u64 = 30;
/// Nobody waits longer than this, seconds.
const MOST_S: u64 = 30 * 60;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let memory = Memory::new(7);
    memory.queues.create(QueueConfig::new("work").visibility_s(90));
    memory.store.create(Table::new("breakers", "dependency", KeyType::S));
    let (store, world) = (Arc::new(memory.store.clone()), Arc::new(memory.world.clone()));
    let breaker = DistributedBreaker::new("payments", DistributedSettings::new("breakers"), store, world)?;
    for body in 0..MESSAGES {
        let (queue, body) = ("work".to_owned(), body.to_string());
        let message = Outgoing { queue, body, group: None, dedup: None, attributes: Vec::new() };
        memory.send("work", &[message]).await.into_iter().collect::<Result<Vec<()>, String>>()?;
    }

    let began_ms = memory.now_ms();
    let seconds = || (memory.now_ms() - began_ms) / 1_000;
    let (calls, mut handled) = (Cell::new(0), 0);
    let call_provider = |_: Arc<Record>| {
        let work = async {
            calls.set(calls.get() + 1);
            if seconds() < BACK_AFTER_S { Err(Failure::retry("no connection")) } else { Ok(Done::now(Vec::new())) }
        };
        // An open breaker does not poll the work: it answers `Failure::Defer`, and the loop puts the record off.
        let breaker = &breaker;
        async move { breaker.guard(&FailureRules::default(), work).await }
    };
    let batch = Batch::new("pay", &memory).quiet();
    while handled < MESSAGES && seconds() < MOST_S {
        let event = memory.queues.receive("work", 10);
        if !event.records.is_empty() {
            calls.set(0);
            let deadline_ms = memory.now_ms() + 15_000;
            let of = Invocation { request_id: "r".to_owned(), deadline_ms, cold_start: false };
            let answer = batch.run(event.clone(), of, &call_provider).await?;
            let done = memory.queues.settle(&event, &answer);
            handled += done;
            let state = breaker.row().await?.state.name();
            println!(
                "{:>4} s: {:>2} received, {:>2} called, {done:>2} done; the breaker is {state}",
                seconds(),
                event.records.len(),
                calls.get()
            );
        }
        memory.world.advance_ms(1_000);
    }
    println!("{handled} of {MESSAGES} handled");
    if handled == MESSAGES { Ok(()) } else { Err("some are left".into()) }
}
