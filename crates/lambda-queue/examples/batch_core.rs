//! What the batch core costs a record: reading the event, calling a handler that does nothing, answering. Observers are
//! off. Prints nanoseconds of CPU a record for batches of 10 and 10,000, and what of it the parsing takes, beside
//! `aws_lambda_events` parsing the same.
//!
//! `cargo run --release -p lambda-queue --example batch_core [seconds each]`

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use aws_lambda_events::event::sqs::SqsEvent;
use lambda_queue::batch::Event;
use lambda_queue::{Batch, Clock, Done};

mod ports;

/// An event as SQS sends it: a receipt handle of 340 characters, a CloudEvent of some 300 bytes.
fn text(records: usize, sent_ms: u64) -> String {
    let records: Vec<_> = (0..records)
        .map(|at| {
            let id = format!("{at:08x}-6a52-4c0e-8a41-3a7f1f6f4f11");
            let body = serde_json::json!({
                "specversion": "1.0", "id": id, "source": "orders", "type": "orders.payment.authorize.v1",
                "subject": "0d1f9a5e-6a52-4c0e-8a41-3a7f1f6f4f11", "time": "2026-11-24T09:30:00.000Z",
                "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "data": { "version": 3 },
            });
            serde_json::json!({
                "messageId": id, "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a".repeat(10),
                "body": body.to_string(),
                "attributes": {
                    "ApproximateReceiveCount": "1", "SentTimestamp": sent_ms.to_string(),
                    "SenderId": "AIDAIENQZJOLO23YVJ4VO", "ApproximateFirstReceiveTimestamp": sent_ms.to_string(),
                    "MessageGroupId": "tenant-7",
                },
                "messageAttributes": {}, "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3", "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:work", "awsRegion": "us-east-1",
            })
        })
        .collect();
    serde_json::json!({ "Records": records }).to_string()
}

/// Time of the CPU spent by this thread, from Linux's scheduler: a busy machine does not change it.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or_default())
}

/// Does the work again and again for about so long; prints nanoseconds of CPU a record.
async fn measure<W: Future<Output = Result<(), Box<dyn Error>>>>(
    what: &str,
    records: usize,
    long: Duration,
    work: impl Fn() -> W,
) -> Result<(), Box<dyn Error>> {
    work().await?;
    let (began, at) = (Instant::now(), cpu());
    let mut rounds = 0;
    while began.elapsed() < long {
        // Many rounds between two looks at the clock.
        for _ in 0..(20_000 / records).max(1) {
            work().await?;
            rounds += records;
        }
    }
    let spent = (cpu() - at).as_nanos() / u128::try_from(rounds)?;
    println!("{what:<28} batch {records:>6}: {spent:>6} ns a record, over {rounds} records");
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let seconds = std::env::args().nth(1).map_or(Ok(2), |text| text.parse())?;
    let (ports, long) = (ports::InMemory::default(), Duration::from_secs(seconds));
    let (ports, batch) = (&ports, &Batch::new("core", &ports).quiet());
    for records in [10, 10_000] {
        let text = &text(records, ports.now_ms());
        println!("batch of {records}: {} bytes a record", text.len() / records);
        measure("parse + dispatch + answer", records, long, || async move {
            let event = Event::from_json(text)?;
            let answer = batch.run(event, ports.invocation(), |_| async { Ok(Done::now(Vec::new())) }).await?;
            let answer = serde_json::to_vec(&answer)?;
            if answer == br#"{"batchItemFailures":[]}"# { Ok(()) } else { Err("a record failed".into()) }
        })
        .await?;
        measure("  of it parse", records, long, || async move {
            black_box(Event::from_json(text)?);
            Ok(())
        })
        .await?;
        measure("aws_lambda_events' parse", records, long, || async move {
            black_box(serde_json::from_str::<SqsEvent>(text)?);
            Ok(())
        })
        .await?;
    }
    Ok(())
}
