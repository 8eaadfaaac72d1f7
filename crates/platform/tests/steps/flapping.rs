//! A provider that answers probes and fails at work, and who watches its breaker.

use std::time::Duration;

use control_breakers::Asked;
use lambda_queue::breaker::{Outcome, State};
use ports::{Dependency, ReadBreakers as _};

use crate::control::Stage;

async fn state(stage: &Stage) -> State {
    stage.platform.read_breaker(Dependency::Payment).await.unwrap().state
}

/// Calls that fail, ten a second, until the breaker opens; answers when.
async fn fails_at_work(stage: &Stage) -> u64 {
    let breaker = stage.breaker();
    breaker.row().await.unwrap();
    while state(stage).await == State::Closed {
        for _ in 0..10 {
            breaker.begin().finish(Outcome::Failure).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    stage.platform.read_breaker(Dependency::Payment).await.unwrap().changed_at_ms
}

/// Waits until a probe has closed it; answers when the first probe was made.
async fn answers_a_probe(stage: &Stage) -> u64 {
    let before = stage.outside.probed.lock().unwrap().len();
    while state(stage).await != State::Closed {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    stage.outside.probed.lock().unwrap()[before].1
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_answers_reads_and_fails_writes_is_tried_less_and_less_often() {
    let stage = Stage::new();
    let watching = async {
        loop {
            stage.run(Asked::Watch).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let flapping = async {
        for least_ms in [5_000, 10_000, 20_000, 30_000, 30_000] {
            let opened_ms = fails_at_work(&stage).await;
            let probed_ms = answers_a_probe(&stage).await;
            // A look every two seconds, and a run's end and beginning.
            let after_ms = probed_ms - opened_ms;
            assert!((least_ms..=least_ms + 4_000).contains(&after_ms), "{after_ms} ms, expected {least_ms}");
        }
        // Writes work again, for long enough.
        tokio::time::sleep(Duration::from_secs(301)).await;
        let opened_ms = fails_at_work(&stage).await;
        let after_ms = answers_a_probe(&stage).await - opened_ms;
        assert!((5_000..=9_000).contains(&after_ms), "{after_ms} ms after a calm time");
    };
    tokio::select! {
        () = watching => unreachable!("it never ends"),
        () = flapping => {}
    }
}
