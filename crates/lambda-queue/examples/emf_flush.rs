//! What a flush of three metrics costs: `cargo run --release --example emf_flush >/dev/null` (figures on stderr).

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use lambda_queue::metrics::{Document, Settings, Sink, Unit};

// Short rounds, so that the best one was not interrupted.
const FLUSHES: u32 = 1_000;
const ROUNDS: u32 = 500;

fn document(settings: &Arc<Settings>, at: u32) -> Document {
    Document::with(Arc::clone(settings), "invocation finished")
        .dimension("function", "validate-order")
        .metric("records", Unit::Count, at)
        .metric("failed", Unit::Count, 0_u32)
        .metric("duration_ms", Unit::Milliseconds, f64::from(at) / 8.0)
}

fn measure(name: &str, flush: impl Fn(u32)) {
    let mut best_ns = u128::MAX;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        (0..FLUSHES).for_each(&flush);
        best_ns = best_ns.min(begun.elapsed().as_nanos() / u128::from(FLUSHES));
    }
    eprintln!("{name}: {best_ns} ns a flush of three metrics (best of {ROUNDS} rounds of {FLUSHES})");
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let settings = Arc::new(Settings::new("Orderflow")?);
    let nowhere = Sink::to(std::io::sink());
    measure("built, rendered, written to nowhere", |at| {
        black_box(document(&settings, at)).emit_to(&nowhere, 1_795_426_200_123);
    });
    let stdout = Sink::stdout();
    measure("built, rendered, written to stdout", |at| {
        black_box(document(&settings, at)).emit_to(&stdout, 1_795_426_200_123);
    });
    Ok(())
}
