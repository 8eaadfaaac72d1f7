//! What an idempotent call costs in CPU time outside the network: `cargo run --release --example idempotent_cost
//! --features memory`. The table answers at once, so what is measured is fingerprint, key, the items' making and reading,
//! and the cache.

use std::future::Future;
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::time::Instant;

use lambda_queue::idempotency::{
    Call, Capability, Fingerprint, Idempotency, IdempotencyError, Namespace, ResultCache, Settings,
};
use lambda_queue::memory::World;
use lambda_queue::ports::store::{Item, Page, Query, Store, StoreError, Transacted, Write, Written, number, text};
use lambda_queue::{Clock as _, Failure};
use serde_json::json;

const ROUNDS: u32 = 200_000;

/// A table that has answered before it was asked: what it costs is not counted.
struct Answers {
    replay: Option<Item>,
}

impl Store for Answers {
    async fn get(&self, _: &str, _: Item, _: bool) -> Result<Option<Item>, StoreError> {
        Ok(None)
    }

    async fn get_all(&self, _: &str, _: Vec<Item>, _: bool) -> Result<Vec<Item>, StoreError> {
        Ok(Vec::new())
    }

    async fn query(&self, _: Query) -> Result<Page, StoreError> {
        Ok(Page::default())
    }

    async fn write(&self, write: Write) -> Result<Written, StoreError> {
        if let Some(record) = &self.replay {
            return Ok(Written::Refused(Some(record.clone())));
        }
        black_box(write);
        Ok(Written::Done(Item::new()))
    }

    async fn transact(&self, _: Vec<Write>) -> Result<Transacted, StoreError> {
        Ok(Transacted::Done)
    }
}

fn payload(order: u32) -> serde_json::Value {
    json!({
        "order_id": format!("018f7d1c-5b6e-8a55-b9b3-{order:012}"),
        "tenant": "tenant-7", "lane": "express", "currency": "EUR", "total_minor": 129_900,
        "lines": [{"sku": "chair-oak", "quantity": 2, "price_minor": 49_950}, {"sku": "lamp", "quantity": 1, "price_minor": 30_000}],
    })
}

/// Nanoseconds a round.
fn timed<F: Future<Output = Result<(), IdempotencyError>>>(
    runtime: &tokio::runtime::Runtime,
    what: &str,
    round: impl Fn(u32) -> F,
) -> Result<(), IdempotencyError> {
    let started = Instant::now();
    runtime.block_on(async {
        for at in 0..ROUNDS {
            round(at).await?;
        }
        Ok::<_, IdempotencyError>(())
    })?;
    println!("{what:<50} {:>8.2} us", started.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS));
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let world = World::new(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let namespace = Namespace::new("process-payment", "authorize")?;
    let payloads: Vec<_> = (0..64).map(payload).collect();
    let payload = |at: u32| payloads.get(at as usize % payloads.len()).unwrap_or(&serde_json::Value::Null);
    println!("payload of {} bytes, {ROUNDS} rounds, one thread", payload(0).to_string().len());

    timed(&runtime, "fingerprint", |at| async move {
        black_box(Fingerprint::of(payload(at))?);
        Ok(())
    })?;
    timed(&runtime, "key", |at| {
        let key = namespace.key_at(payload(at), &["/tenant", "/order_id"]);
        async move { key.map(|key| drop(black_box(key))).map_err(Into::into) }
    })?;

    let fingerprint = Fingerprint::of(payload(0))?;
    let record = [
        ("status", text("COMPLETED")),
        ("operation", text("call")),
        ("owner", text("018f7d1c-5b6e-7a55-b9b3-000000000001")),
        ("fingerprint", text(fingerprint.as_str())),
        ("result", text(r#"{"authorization":"pi_3Oa"}"#)),
        ("expires_at", number(4_000_000_000_u64)),
    ];
    let record: Item = record.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let most = NonZeroUsize::new(1_000).ok_or("a cache of none")?;
    for (what, replay, cache) in [
        ("first run: fingerprint, key, claim, completion", None, false),
        ("replay from the record", Some(record.clone()), false),
        ("replay from the cache", Some(record), true),
    ] {
        let store = Answers { replay };
        let settings = Settings::new("idempotency", 86_400_000);
        let settings = if cache { settings.cache(ResultCache::new(most, 1 << 20)) } else { settings };
        let idempotency = Idempotency::new(&store, &world, &settings);
        let (idempotency, namespace, world) = (&idempotency, &namespace, &world);
        timed(&runtime, what, move |at| async move {
            // Replays are all of one payload, as the record is.
            let payload = payload(if store_is_first(what) { at } else { 0 });
            let key = namespace.key_at(payload, &["/tenant", "/order_id"])?;
            let fingerprint = Fingerprint::of(payload)?;
            let lease_until_ms = world.now_ms() + 20_000;
            let call = Call { key: &key, fingerprint: &fingerprint, lease_until_ms };
            let handler = |_| async { Ok::<_, Failure>(json!({"authorization": "pi_3Oa"})) };
            black_box(idempotency.run(call, Capability::UNKNOWN, handler).await?);
            Ok(())
        })?;
    }
    Ok(())
}

fn store_is_first(what: &str) -> bool {
    what.starts_with("first")
}
