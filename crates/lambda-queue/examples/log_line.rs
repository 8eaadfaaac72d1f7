//! What a log line costs: prints nanoseconds a line, for a line inside a record, one that is held back, and one that is
//! off. Run with `--release`; the lines themselves go nowhere.

use std::sync::Arc;
use std::time::Instant;

use lambda_queue::logging::{InvocationIds, RecordIds, Settings, Sink, invocation_span, record_span};
use tracing::{debug, info, trace};

const LINES: u32 = 1_000_000;

/// Takes lines and does nothing: what stdout costs is the system's, not ours.
struct Nowhere;

impl Sink for Nowhere {
    fn line(&self, line: &[u8]) {
        std::hint::black_box(line);
    }
}

fn measure(what: &str, line: impl Fn(u32)) {
    (0..LINES / 10).for_each(&line);
    let started = Instant::now();
    (0..LINES).for_each(&line);
    println!("{what}: {} ns", started.elapsed().as_nanos() / u128::from(LINES));
}

fn main() {
    let settings = Settings { service: "shop".into(), function: "shop-pay".into(), ..Settings::default() };
    tracing::dispatcher::with_default(&settings.dispatch(Arc::new(Nowhere)), || {
        let request_id = "79104eb9-15f4-4c17-8ea0-0c4b4f6a5a3e";
        let invocation = invocation_span(&InvocationIds { request_id, ..InvocationIds::default() });
        invocation.in_scope(|| {
            let ids = RecordIds {
                message_id: "059f36b4-87a3-44ab-83d2-661975830a7d",
                receive_count: 1,
                queue: "shop-pay-express",
                subject: Some("6274a7cd-17b9-8f6c-80c0-45bc88dbba23"),
                traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
                ..RecordIds::default()
            };
            record_span(&ids).in_scope(|| {
                measure("printed, in a record", |number| info!(number, outcome = "authorized", "effect finished"));
                measure("held back, in a record", |number| debug!(number, outcome = "authorized", "effect finished"));
                measure("off", |number| trace!(number, outcome = "authorized", "effect finished"));
            });
            measure("record span, made and dropped", |_| drop(record_span(&ids)));
        });
    });
}
