use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lambda_queue::batch::Invocation;
use lambda_queue::{Done, Record};
use tokio::time::Instant;

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn what_has_not_finished_in_time_goes_back_before_the_function_is_stopped() {
    let started = Instant::now();
    let world = World::default();
    assert_eq!(failed(&world, STANDARD, &[("1", "hang", "g"), ("2", "owe a", "g")]).await, ["1"]);
    assert_eq!(started.elapsed().as_secs(), 13, "two of fifteen seconds are kept");
    assert_eq!(world.waits(), [("receipt-1".to_owned(), 2)], "nobody knows how far it came: with backoff");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_started_once_the_time_is_up_and_what_runs_is_dropped_before_it_marks_its_effect_done() {
    let (started, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let world = World::default();
    let records: Vec<_> = (0..9).map(|id| (["0", "1", "2", "3", "4", "5", "6", "7", "8"][id], "fine", "g")).collect();
    let answer = failed_of(&batch(&world).concurrency(1), event(STANDARD, &records), |_| async {
        started.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(5)).await;
        done.fetch_add(1, Ordering::Relaxed);
        Ok(Done::already())
    })
    .await;
    assert_eq!(answer, ["2", "3", "4", "5", "6", "7", "8"]);
    assert_eq!((started.load(Ordering::Relaxed), done.load(Ordering::Relaxed)), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn an_invocation_that_begins_too_late_starts_nothing() {
    let world = World::default();
    tokio::time::advance(Duration::from_secs(15)).await;
    let answer = failed_of(&batch(&world), event(STANDARD, &[("1", "fine", ""), ("2", "fine", "")]), |_| async {
        panic!("started")
    })
    .await;
    assert_eq!(answer, ["1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn of_a_short_invocation_a_quarter_is_kept_so_that_it_works_too() {
    for (left_ms, handlers_ms) in [(3_000, 2_250), (2_000, 1_500), (1_000, 750), (100, 75)] {
        let world = World::default();
        let of = Invocation { deadline_ms: START_MS + left_ms, ..invocation() };
        let began = Instant::now();
        let records = [("1", "fine", "g"), ("2", "hang", "g")];
        let handler = |record: Arc<Record>| async move {
            assert_eq!(record.context.handler_deadline_ms, START_MS + handlers_ms);
            obey(record).await
        };
        let answer = batch(&world).run(event(STANDARD, &records), of, handler).await;
        assert_eq!(ids(answer), ["2"], "{left_ms} ms");
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap();
        assert!((handlers_ms..handlers_ms + 5).contains(&took_ms), "{took_ms} of {left_ms} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_short_invocation_a_send_that_does_not_end_is_given_up_in_time_too() {
    let world = World { hanging: true, ..World::default() };
    let of = Invocation { deadline_ms: START_MS + 1_000, ..invocation() };
    let began = Instant::now();
    let answer = batch(&world).run(event(STANDARD, &[("1", "owe a", ""), ("2", "fine", "")]), of, obey).await;
    assert_eq!(ids(answer), ["1"]);
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_send_that_does_not_end_fails_its_records_in_time_for_the_answer() {
    let started = Instant::now();
    let world = World { hanging: true, ..World::default() };
    let records = [("1", "owe a", ""), ("2", "fine", ""), ("3", "poison", "")];
    assert_eq!(failed(&world, STANDARD, &records).await, ["1", "3"]);
    assert!(started.elapsed() < Duration::from_secs(15));
}
