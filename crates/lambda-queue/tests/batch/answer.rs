use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lambda_queue::batch::{AllFailed, BatchError, json};
use lambda_queue::{Done, Failure};
use proptest::prelude::*;
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn the_answer_names_exactly_the_unhandled_in_input_order() {
    let records = [("1", "retry", "g"), ("2", "fine", "g"), ("3", "defer", "g"), ("4", "fine", "g")];
    assert_eq!(failed(&World::default(), STANDARD, &records).await, ["1", "3"]);
}

proptest! {
    #[test]
    fn whatever_ends_first_the_answer_is_in_input_order(
        works in proptest::collection::vec((0_u64..50, any::<bool>()), 0..40),
        concurrency in 1_usize..12,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let answer = runtime.block_on(async {
            let world = World::default();
            let records: Vec<_> =
                works.iter().enumerate().map(|(at, (ms, ok))| record(STANDARD, &at.to_string(), &format!("{ms} {ok}"), None)).collect();
            failed_of(&batch(&world).concurrency(concurrency), event_of(&records), |record| async move {
                let (ms, ok) = record.body.split_once(' ').unwrap();
                tokio::time::sleep(Duration::from_millis(ms.parse().unwrap())).await;
                if ok == "true" { Ok(Done::already()) } else { Err(Failure::retry("no")) }
            })
            .await
        });
        let expected: Vec<String> =
            works.iter().enumerate().filter(|(_, (_, ok))| !ok).map(|(at, _)| at.to_string()).collect();
        prop_assert_eq!(answer, expected);
    }
}

#[tokio::test]
async fn one_record_of_ten_panics_and_the_other_nine_are_answered() {
    let ids: Vec<String> = (0..10).map(|id| id.to_string()).collect();
    let records: Vec<_> = ids.iter().map(|id| (id.as_str(), if id == "4" { "panic" } else { "fine" }, "g")).collect();
    assert_eq!(failed(&World::default(), STANDARD, &records).await, ["4"]);
}

struct PanicsInItsEnd(bool);

impl Drop for PanicsInItsEnd {
    fn drop(&mut self) {
        assert!(!self.0, "in the end");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_before_the_future_or_in_its_end_is_its_records_own_too() {
    let world = World::default();
    let event = event(
        STANDARD,
        &[("1", "before", ""), ("2", "fine", ""), ("3", "in a hang's end", ""), ("4", "in its end", "")],
    );
    let answer = failed_of(&batch(&world), event, |record| {
        assert_ne!(record.body, "before", "before the future");
        async move {
            let _end = PanicsInItsEnd(record.body.ends_with("end"));
            if record.body.contains("hang") {
                std::future::pending::<()>().await;
            }
            Ok(Done::already())
        }
    })
    .await;
    assert_eq!(answer, ["1", "3", "4"]);
}

#[tokio::test]
async fn a_message_that_is_twice_in_a_batch_is_handled_and_answered_once() {
    for others in [0, 40] {
        let world = World::default();
        let mut records = vec![record(STANDARD, "twice", "owe a", None), record(STANDARD, "bad", "retry", None)];
        records.extend((0..others).map(|id| record(STANDARD, &id.to_string(), "fine", None)));
        records.extend([record(STANDARD, "twice", "owe a", None), record(STANDARD, "bad", "retry", None)]);
        assert_eq!(failed_of(&batch(&world), event_of(&records), obey).await, ["bad"]);
        assert_eq!(world.sends(), [["owe a"]]);
    }
}

#[tokio::test]
async fn a_record_without_an_id_fails_the_invocation_before_anything_is_handled() {
    let world = World::default();
    for id in [json!(null), json!(""), json!(5)] {
        let mut records = vec![record(STANDARD, "1", "fine", None), record(STANDARD, "2", "fine", None)];
        records[1]["messageId"] = id;
        let answer = batch(&world).run(event_of(&records), invocation(), |_| async { panic!("handled") }).await;
        assert_eq!(answer, Err(BatchError::NoMessageId { position: 1 }));
    }
}

#[tokio::test]
async fn no_records_are_an_empty_answer() {
    let world = World::default();
    let batch = batch(&world).all_failed(AllFailed::Fail);
    assert!(failed_of(&batch, event_of(&[]), obey).await.is_empty());
}

#[tokio::test]
async fn a_batch_that_failed_whole_is_answered_or_fails_the_invocation_by_policy_with_its_ids_either_way() {
    let world = World::default();
    let all = [("1", "retry", ""), ("2", "panic", "")];
    assert_eq!(failed(&world, STANDARD, &all).await, ["1", "2"]);
    let strict = batch(&world).all_failed(AllFailed::Fail);
    let error = strict.run(event(STANDARD, &all), invocation(), obey).await.unwrap_err();
    assert_eq!(error, BatchError::AllFailed { failed_ids: vec!["1".to_owned(), "2".to_owned()] });
    assert_eq!(error.to_string(), "all 2 records failed: 1, 2");
    assert_eq!(world.waits().len(), 4, "they are delayed under either policy");
    assert_eq!(failed_of(&strict, event(STANDARD, &[("1", "retry", ""), ("2", "fine", "")]), obey).await, ["1"]);
}

#[derive(serde::Deserialize)]
struct Greeting {
    name: String,
}

#[tokio::test]
async fn a_body_that_is_not_the_handlers_type_is_poison_that_quotes_nothing_of_it() {
    let world = World::default();
    let bodies = [r#"{"name":"ann"}"#, r#"{"name":["Jane Doe"]}"#, "Jane Doe", r#"{"name":"Jane Doe"#, ""];
    let records: Vec<_> =
        bodies.iter().enumerate().map(|(at, body)| record(STANDARD, &at.to_string(), body, None)).collect();
    let handler = json(|greeting: Greeting, record: Arc<lambda_queue::Record>| async move {
        assert_eq!((greeting.name.as_str(), record.message_id.as_str()), ("ann", "0"));
        Ok(Done::now(Vec::new()))
    });
    assert!(failed_of(&batch(&world), event_of(&records), handler).await.is_empty());
    let sent = world.sent.lock().unwrap();
    let letters: Vec<&str> = sent[0].1.iter().map(|letter| letter.attributes[0].1.as_str()).collect();
    assert_eq!(letters.len(), 4);
    assert!(letters.iter().all(|letter| letter.contains("the body is") && !letter.contains("Jane")), "{letters:?}");
}

/// Counts itself while it lives.
struct Alive<'a>(&'a AtomicUsize);

impl<'a> Alive<'a> {
    fn new(now: &'a AtomicUsize, most: &AtomicUsize) -> Self {
        most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        Self(now)
    }
}

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_records_have_at_most_as_many_futures_as_the_cap_allows() {
    let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let world = World::default();
    let records: Vec<_> = (0..10_000)
        .map(|id| record(STANDARD, &id.to_string(), if id % 1_000 == 7 { "retry" } else { "fine" }, None))
        .collect();
    let answer = failed_of(&batch(&world).concurrency(25), event_of(&records), |record| {
        let alive = Alive::new(&now, &most);
        async move {
            let _alive = alive;
            tokio::time::sleep(Duration::from_millis(1 + record.context.sent_ms % 3)).await;
            obey(record).await
        }
    })
    .await;
    assert_eq!(answer, ["7", "1007", "2007", "3007", "4007", "5007", "6007", "7007", "8007", "9007"]);
    assert_eq!(most.load(Ordering::Relaxed), 25);
    assert_eq!(now.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn invocations_that_run_side_by_side_in_one_process_keep_nothing_of_each_other() {
    let world: &World = Box::leak(Box::new(World::default()));
    let batch: Arc<lambda_queue::Batch<'_, World>> = Arc::new(batch(world).concurrency(3));
    let runs: Vec<_> = (0..40)
        .map(|run| {
            let batch = Arc::clone(&batch);
            let records: Vec<_> = (0..30)
                // The same ids in every invocation, other ones failing in each.
                .map(|id| record(STANDARD, &id.to_string(), if id % 40 == run { "retry" } else { "owe x" }, None))
                .collect();
            tokio::spawn(async move {
                failed_of(&batch, event_of(&records), |record| async move {
                    tokio::task::yield_now().await;
                    obey(record).await
                })
                .await
            })
        })
        .collect();
    for (run, answer) in runs.into_iter().enumerate() {
        let expected: Vec<String> = (0..30).filter(|id| id % 40 == run).map(|id| id.to_string()).collect();
        assert_eq!(answer.await.unwrap(), expected, "invocation {run}");
    }
    let sent: usize = world.sends().iter().map(Vec::len).sum();
    assert_eq!(sent, 40 * 30 - 30, "what each owes is sent once");
}
