use std::sync::{Arc, Mutex};

use lambda_queue::batch::{Deferral, Failed, Finished, Observer};
use lambda_queue::retry::RetryBudget;
use lambda_queue::{Failure, Record};
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn each_failure_comes_back_after_its_own_wait() {
    let world = World::default();
    let mut records: Vec<_> = ["retry", "after", "defer", "busy", "panic", "busy", "retry"]
        .into_iter()
        .enumerate()
        .map(|(at, body)| record(STANDARD, &at.to_string(), body, None))
        .collect();
    records[5]["attributes"]["ApproximateReceiveCount"] = json!("4");
    records[6]["attributes"]["ApproximateReceiveCount"] = json!("9");
    assert_eq!(failed_of(&batch(&world), event_of(&records), obey).await.len(), 7);
    let waits: Vec<u32> = world.waits().into_iter().map(|(_, seconds)| seconds).collect();
    assert_eq!(waits, [2, 7, 30, 1, 2, 90, 60]);
}

#[tokio::test]
async fn changes_of_visibility_leave_in_tens_and_one_that_fails_is_harmless() {
    let world = World { stuck: true, ..World::default() };
    let records: Vec<_> = (0..23).map(|id| record(STANDARD, &id.to_string(), "retry", None)).collect();
    assert_eq!(failed_of(&batch(&world), event_of(&records), obey).await.len(), 23);
    let sizes: Vec<usize> = world.delayed.lock().unwrap().iter().map(Vec::len).collect();
    assert_eq!(sizes, [10, 10, 3]);
}

#[tokio::test]
async fn a_retry_past_twelve_hours_is_dead_lettered_and_a_deferral_is_not() {
    let world = World::default();
    let mut records: Vec<_> = ["retry", "defer", "busy", "panic"]
        .into_iter()
        .enumerate()
        .map(|(at, body)| record(STANDARD, &at.to_string(), body, None))
        .collect();
    for record in &mut records {
        record["attributes"]["SentTimestamp"] = json!("0");
    }
    let late = World::default();
    let mut of = invocation();
    of.deadline_ms += 43_200_000;
    assert_eq!(ids(batch(&world).run(event_of(&records), invocation(), obey).await), ["0", "1", "2", "3"]);
    let shifted = Later(late);
    let batch = lambda_queue::Batch::new("test", &shifted).dead_letters("dead").quiet();
    assert_eq!(ids(batch.run(event_of(&records), of, obey).await), ["1", "2", "3"]);
    let sent = shifted.0.sent.lock().unwrap();
    assert!(sent[0].1[0].attributes[0].1.contains(r#""code":"expired""#));
}

/// Twelve hours later.
struct Later(World);

impl lambda_queue::Clock for Later {
    fn now_ms(&self) -> u64 {
        self.0.now_ms() + 43_200_000
    }
}

impl lambda_queue::Random for Later {
    fn below(&self, bound: u64) -> u64 {
        self.0.below(bound)
    }
}

impl lambda_queue::Queue for Later {
    async fn send(&self, queue: &str, messages: &[lambda_queue::Outgoing]) -> Vec<Result<(), String>> {
        self.0.send(queue, messages).await
    }

    async fn change_visibility(&self, arn: &str, entries: &[lambda_queue::Entry]) -> Vec<Result<(), String>> {
        self.0.change_visibility(arn, entries).await
    }
}

#[tokio::test]
async fn a_process_whose_budget_is_spent_waits_longer_with_what_has_no_wish_of_its_own() {
    let world = World::default();
    let budget = Arc::new(RetryBudget::new(2, 1));
    let records: Vec<_> = ["retry", "after", "panic", "retry", "defer"]
        .into_iter()
        .enumerate()
        .map(|(at, body)| record(STANDARD, &at.to_string(), body, None))
        .collect();
    failed_of(&batch(&world).retry_budget(Arc::clone(&budget)), event_of(&records), obey).await;
    let waits: Vec<u32> = world.waits().into_iter().map(|(_, seconds)| seconds).collect();
    assert_eq!(waits, [2, 7, 2, 31, 30]);
}

#[tokio::test]
async fn a_deferral_near_the_last_receive_is_offered_to_the_hook_which_may_take_it_over() {
    let world = World::default();
    let offered = Arc::new(Mutex::new(Vec::new()));
    let bodies = [("busy", 44), ("busy", 45), ("defer", 50), ("retry", 49), ("busy", 46), ("defer", 47)];
    let records: Vec<_> = bodies
        .into_iter()
        .enumerate()
        .map(|(at, (body, count))| {
            let mut record = record(STANDARD, &at.to_string(), body, None);
            record["attributes"]["ApproximateReceiveCount"] = json!(count.to_string());
            record
        })
        .collect();
    let seen = Arc::clone(&offered);
    let hook = move |record: Arc<Record>, failure: Failure| {
        seen.lock().unwrap().push((record.message_id.clone(), failure.name()));
        assert_ne!(record.message_id, "4", "a hook that panics");
        let left = record.message_id == "5";
        async move { if left { Deferral::Left } else { Deferral::TakenOver } }
    };
    let answer = failed_of(&batch(&world).on_deferral(50, hook), event_of(&records), obey).await;
    assert_eq!(answer, ["0", "3", "4", "5"]);
    let mut offered = offered.lock().unwrap().clone();
    offered.sort();
    let expected = [("1", "busy"), ("2", "defer"), ("4", "busy"), ("5", "defer")];
    assert_eq!(offered, expected.map(|(id, name)| (id.to_owned(), name)));
}

#[tokio::test]
async fn what_fails_at_its_queues_last_receive_is_dead_lettered_with_the_reason_that_sqs_would_not_give() {
    let world = World::default();
    let bodies = [("retry", 49), ("retry", 50), ("panic", 49), ("panic", 50), ("defer", 50), ("busy", 51)];
    let records: Vec<_> = bodies
        .into_iter()
        .enumerate()
        .map(|(at, (body, count))| {
            let mut record = record(STANDARD, &at.to_string(), body, None);
            record["attributes"]["ApproximateReceiveCount"] = json!(count.to_string());
            record
        })
        .collect();
    let answer = failed_of(&batch(&world).max_receive_count(50), event_of(&records), obey).await;
    assert_eq!(answer, ["0", "2", "4", "5"], "a deferral is no failure");
    let sent = world.sent.lock().unwrap();
    let letters: Vec<&str> = sent.iter().flat_map(|(_, all)| all).map(|one| one.attributes[0].1.as_str()).collect();
    assert_eq!(letters.len(), 2);
    assert!(letters[0].contains(r#""code":"exhausted""#) && letters[0].contains(r#""attempts":50"#), "{letters:?}");
    assert!(letters[1].contains(r#""code":"bug""#) && letters[1].contains("panic"), "{letters:?}");
}

#[tokio::test]
async fn whoever_takes_deferrals_over_has_said_how_often_a_message_may_be_received() {
    let world = World::default();
    let mut last = record(STANDARD, "1", "retry", None);
    last["attributes"]["ApproximateReceiveCount"] = json!("50");
    let hook = |_, _| async { panic!("a retry is no deferral") };
    assert!(failed_of(&batch(&world).on_deferral(50, hook), event_of(&[last]), obey).await.is_empty());
    assert!(world.sent.lock().unwrap()[0].1[0].attributes[0].1.contains(r#""code":"exhausted""#));
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_does_not_end_leaves_the_deferral_and_the_answer_is_in_time() {
    let world = World::default();
    let began = tokio::time::Instant::now();
    let hook = |_, _| std::future::pending::<Deferral>();
    let answer = failed_of(&batch(&world).on_deferral(1, hook), event(STANDARD, &[("1", "busy", "")]), obey).await;
    assert_eq!(answer, ["1"]);
    assert!(began.elapsed().as_millis() < 15_000);
}

#[tokio::test]
async fn on_fifo_nobody_takes_a_head_over_while_its_followers_come_back() {
    let world = World::default();
    let hook = |_, _| async { Deferral::TakenOver };
    let records = [("1", "busy", "g"), ("2", "fine", "g"), ("3", "fine", "h")];
    assert_eq!(failed_of(&batch(&world).on_deferral(1, hook), event(FIFO, &records), obey).await, ["1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_cut_off_may_have_had_its_effect_and_is_no_deferral() {
    let world = World::default();
    let offered = Mutex::new(Vec::new());
    let hook = |record: Arc<Record>, _| {
        offered.lock().unwrap().push(record.message_id.clone());
        async { Deferral::TakenOver }
    };
    let watcher = Arc::new(Watcher::default());
    let batch = batch(&world).concurrency(1).on_deferral(2, hook).observe(watcher.clone());
    let answer = failed_of(&batch, event(STANDARD, &[("1", "hang", ""), ("2", "fine", "")]), obey).await;
    assert_eq!(answer, ["1"]);
    assert_eq!(*offered.lock().unwrap(), ["2"], "which was not started");
    assert_eq!(*watcher.0.lock().unwrap(), ["1 unknown"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_cut_off_at_its_queues_last_receive_is_dead_lettered_in_the_time_that_is_kept() {
    let world = World::default();
    let batch = batch(&world).concurrency(1).max_receive_count(1);
    let answer = failed_of(&batch, event(STANDARD, &[("1", "hang", ""), ("2", "fine", "")]), obey).await;
    assert_eq!(answer, ["2"], "which was not started");
    let sent = world.sent.lock().unwrap();
    let letters: Vec<&str> = sent.iter().flat_map(|(_, all)| all).map(|one| one.attributes[0].1.as_str()).collect();
    let [letter] = letters[..] else { panic!("{letters:?}") };
    assert!(letter.contains(r#""code":"cut_off""#) && letter.contains("time ran out while"), "{letter}");
}

#[tokio::test(start_paused = true)]
async fn what_was_cut_off_and_cannot_be_dead_lettered_stays_failed() {
    let refusing = World { refusing: Some("hang"), ..World::default() };
    let hanging = World { hanging: true, ..World::default() };
    for world in [refusing, hanging] {
        let watcher = Arc::new(Watcher::default());
        let batch = batch(&world).max_receive_count(1).observe(watcher.clone());
        assert_eq!(failed_of(&batch, event(STANDARD, &[("1", "hang", "")]), obey).await, ["1"]);
        assert_eq!(*watcher.0.lock().unwrap(), ["1 unknown"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_was_cut_off_at_its_last_receive_is_dead_lettered_and_its_followers_come_back() {
    let world = World::default();
    let batch = batch(&world).max_receive_count(1);
    let records = [("1", "hang", "g"), ("2", "fine", "g"), ("3", "fine", "h")];
    assert_eq!(failed_of(&batch, event(FIFO, &records), obey).await, ["2"]);
    assert_eq!(world.sent.lock().unwrap().len(), 1);
}

#[derive(Default)]
struct Watcher(Mutex<Vec<String>>);

impl Observer for Watcher {
    fn failed(&self, of: &Finished<'_>, failed: Failed<'_>) {
        let Failed::Itself(failure) = failed else { panic!("no followers here") };
        self.0.lock().unwrap().push(format!("{} {}", of.record.message_id, failure.name()));
    }
}
