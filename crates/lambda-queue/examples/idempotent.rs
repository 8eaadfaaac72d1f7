//! One effect, once: a message that comes twice charges once, and the second time its answer is the first one's.
//!
//! `cargo run -p lambda-queue --features memory --example idempotent`
//!
//! Queue, table and clock are in memory; in a function `aws::Aws` stands in their place, and nothing else changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use aws_lambda_events::event::sqs::SqsEvent;
use lambda_queue::batch::{Invocation, json};
use lambda_queue::idempotency::{Call, Capability, Fingerprint, Idempotency, IdempotencyError, Namespace, Settings};
use lambda_queue::memory::{KeyType, Memory, QueueConfig, Table};
use lambda_queue::{Answer, Batch, Clock as _, Done, Outgoing, Queue as _, Record};
use serde::{Deserialize, Serialize};

#[derive(Deserialize, Serialize)]
struct Order {
    order_id: String,
    total_minor: u64,
}

/// A provider that honours the key of a request.
#[derive(Default)]
struct Provider {
    charges: AtomicU32,
}

impl Provider {
    fn charge(&self, key: &str, order: &Order) -> String {
        let nth = self.charges.fetch_add(1, Ordering::Relaxed) + 1;
        println!("   the provider charges {} under key {key}", order.total_minor);
        format!("receipt {nth}")
    }
}

struct Charging<'a> {
    memory: &'a Memory,
    provider: Provider,
    effects: Settings,
    namespace: Namespace,
}

impl Charging<'_> {
    async fn charge(&self, order: Order, record: &Record) -> Answer {
        let key = self.namespace.key_of(&[&order.order_id]).map_err(IdempotencyError::from)?;
        let fingerprint = Fingerprint::of(&order).map_err(IdempotencyError::from)?;
        let call = Call { key: &key, fingerprint: &fingerprint, lease_until_ms: record.context.deadline_ms + 5_000 };
        let provider = &self.provider;
        let charge = |lease: lambda_queue::idempotency::Lease| {
            let order = &order;
            async move { Ok(provider.charge(&lease.provider_key(), order)) }
        };
        let effects = Idempotency::new(self.memory, self.memory, &self.effects);
        let charged = effects.run(call, Capability::REPEATABLE, charge).await?;
        println!("   receive {}: {:?}, {}", record.context.receive_count, charged.how, charged.value);
        Ok(Done::now(Vec::new()))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let memory = Memory::new(7);
    memory.queues.create(QueueConfig::new("orders").visibility_s(90));
    memory.store.create(Table::new("effects", "key", KeyType::S).expiring_by("expires_at"));
    let charging = Charging {
        memory: &memory,
        provider: Provider::default(),
        effects: Settings::new("effects", 18 * 86_400_000),
        namespace: Namespace::new("charge", "payment")?,
    };
    let body = r#"{"order_id":"o-1","total_minor":1200}"#.to_owned();
    let order = Outgoing { queue: "orders".to_owned(), body, group: None, dedup: None, attributes: Vec::new() };
    memory.send("orders", &[order]).await.into_iter().collect::<Result<Vec<()>, String>>()?;

    let batch = Batch::new("charge", &memory).quiet();
    let run = async |event: &SqsEvent| {
        let of = Invocation { request_id: "r".to_owned(), deadline_ms: memory.now_ms() + 15_000, cold_start: false };
        let charge = |order: Order, record: Arc<Record>| {
            let charging = &charging;
            async move { charging.charge(order, &record).await }
        };
        batch.run(event.clone(), of, json(charge)).await
    };

    println!("the first invocation does its work, and its process dies before it answers");
    run(&memory.queues.receive("orders", 10)).await?;
    memory.world.advance_ms(90_000);

    println!("so the message comes again");
    let event = memory.queues.receive("orders", 10);
    let answer = run(&event).await?;
    let deleted = memory.queues.settle(&event, &answer);
    let charges = charging.provider.charges.load(Ordering::Relaxed);
    println!("charged {charges} time(s), {deleted} message(s) deleted");
    if (charges, deleted) == (1, 1) { Ok(()) } else { Err("it was to be charged once".into()) }
}
