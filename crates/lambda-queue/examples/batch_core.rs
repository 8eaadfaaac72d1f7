//! What the batch core costs a record: reading the event, calling a handler that does nothing, answering. Observers are
//! off. Prints nanoseconds a record for batches of 10 and 10,000, the best and the median of many runs, and what of it the
//! reading takes, beside `aws_lambda_events` reading the same.
//!
//! `cargo run --release -p lambda-queue --example batch_core [seconds each]`

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

/// Nanoseconds a record: the best run and the median one.
fn judge(what: &str, records: usize, mut runs: Vec<Duration>) {
    runs.sort_unstable();
    let each = |run: Option<&Duration>| run.map_or(0, |run| run.as_nanos() / u128::try_from(records).unwrap_or(1));
    let (best, median) = (each(runs.first()), each(runs.get(runs.len() / 2)));
    println!("{what:<32} batch {records:>6}: best {best:>6} ns, median {median:>6} ns a record ({} runs)", runs.len());
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds = std::env::args().nth(1).map_or(Ok(2), |text| text.parse())?;
    let (ports, long) = (ports::InMemory::default(), Duration::from_secs(seconds));
    let batch = Batch::new("core", &ports).quiet();
    for records in [10, 10_000] {
        let text = text(records, ports.now_ms());
        println!("batch of {records}: {} bytes a record", text.len() / records);
        let (mut whole, mut read, mut theirs, mut run) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let began = Instant::now();
        while began.elapsed() < long {
            let start = Instant::now();
            let event = Event::from_json(&text)?;
            let answer = batch.run(event, ports.invocation(), |_| async { Ok(Done::now(Vec::new())) }).await?;
            let answer = serde_json::to_vec(&answer)?;
            whole.push(start.elapsed());
            if answer != br#"{"batchItemFailures":[]}"# {
                return Err("a record failed".into());
            }
            let start = Instant::now();
            let event = Event::from_json(&text)?;
            read.push(start.elapsed());
            let start = Instant::now();
            batch.run(event, ports.invocation(), |_| async { Ok(Done::now(Vec::new())) }).await?;
            run.push(start.elapsed());
            let start = Instant::now();
            let event: SqsEvent = serde_json::from_str(&text)?;
            theirs.push(start.elapsed());
            drop(event);
        }
        judge("parse + dispatch + answer", records, whole);
        judge("  of it reading", records, read);
        judge("  of it dispatch + answer", records, run);
        judge("aws_lambda_events reading", records, theirs);
    }
    Ok(())
}
