//! The queues in memory: SQS's rules, each by its name.

#![cfg(feature = "memory")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent};
use lambda_queue::memory::{Counts, Disorder, MemoryObjects, MemoryQueue, QueueCall, QueueConfig, QueueFault, World};
use lambda_queue::ports::Objects as _;
use lambda_queue::{Clock as _, Entry, Outgoing, Queue as _};

fn world() -> (World, MemoryQueue) {
    let world = World::new(1);
    let queues = MemoryQueue::new(world.clone())
        .with(QueueConfig::new("work").visibility_s(30).redrive("work-dlq", 3))
        .with(QueueConfig::new("work-dlq").retention_s(14 * 86_400))
        .with(QueueConfig::new("story.fifo").visibility_s(30).redrive("story-dlq.fifo", 2))
        .with(QueueConfig::new("story-dlq.fifo"))
        .with(QueueConfig::new("late").delay_s(60))
        .with(QueueConfig::new("telling.fifo").content_dedup());
    (world, queues)
}

fn message(body: &str) -> Outgoing {
    Outgoing { queue: String::new(), body: body.to_owned(), group: None, dedup: None, attributes: Vec::new() }
}

fn story(body: &str, group: &str) -> Outgoing {
    Outgoing { group: Some(group.to_owned()), dedup: Some(format!("{group}/{body}")), ..message(body) }
}

async fn send(queues: &MemoryQueue, queue: &str, messages: &[Outgoing]) {
    assert_eq!(queues.send(queue, messages).await, vec![Ok(()); messages.len()]);
}

fn bodies(event: &SqsEvent) -> Vec<&str> {
    event.records.iter().map(|record| record.body.as_deref().unwrap()).collect()
}

fn handle(event: &SqsEvent, at: usize) -> String {
    event.records[at].receipt_handle.clone().unwrap()
}

fn attribute<'a>(event: &'a SqsEvent, name: &str) -> Option<&'a str> {
    event.records[0].attributes.get(name).map(String::as_str)
}

fn failed(ids: &[&str]) -> SqsBatchResponse {
    let mut response = SqsBatchResponse::default();
    for id in ids {
        let mut failure = BatchItemFailure::default();
        failure.item_identifier = (*id).to_owned();
        response.batch_item_failures.push(failure);
    }
    response
}

#[tokio::test]
async fn a_received_message_is_invisible_until_its_visibility_ends_and_counts_its_receives() {
    let (world, queues) = world();
    send(&queues, "http://127.0.0.1/000000000000/work", &[message("a")]).await;
    let first = queues.receive("work", 10);
    assert_eq!((bodies(&first), attribute(&first, "ApproximateReceiveCount")), (vec!["a"], Some("1")));
    assert_eq!(first.records[0].event_source_arn.as_deref(), Some("arn:aws:sqs:us-east-1:000000000000:work"));
    world.advance_ms(29_999);
    assert!(queues.receive("work", 10).records.is_empty());
    world.advance_ms(1);
    let second = queues.receive("work", 10);
    assert_eq!(attribute(&second, "ApproximateReceiveCount"), Some("2"));
    assert_eq!(second.records[0].message_id, first.records[0].message_id);
    assert_eq!(attribute(&second, "SentTimestamp"), attribute(&first, "SentTimestamp"));
}

#[tokio::test]
async fn a_stale_receipt_handle_is_refused_and_a_delete_may_be_repeated() {
    let (world, queues) = world();
    send(&queues, "work", &[message("a")]).await;
    let stale = handle(&queues.receive("work", 10), 0);
    world.advance_ms(30_000);
    let own = handle(&queues.receive("work", 10), 0);
    let entry = |handle: &str| Entry { receipt_handle: handle.to_owned(), visible_in_s: 5 };
    let answers = queues.change_visibility("arn:aws:sqs:us-east-1:1:work", &[entry(&stale), entry(&own)]).await;
    assert!(answers[0].is_err() && answers[1].is_ok(), "{answers:?}");
    assert!(queues.delete("work", &stale).is_err());
    assert_eq!(queues.delete("work", &own), Ok(()));
    assert_eq!(queues.delete("work", &own), Ok(()));
    assert!(queues.change_visibility("work", &[entry(&own)]).await[0].is_err());
    assert!(queues.delete("work", "what").is_err());
}

#[tokio::test]
async fn a_changed_visibility_counts_from_now_and_a_message_that_is_back_has_none() {
    let (world, queues) = world();
    send(&queues, "work", &[message("a")]).await;
    let own = handle(&queues.receive("work", 10), 0);
    let to = |visible_in_s| [Entry { receipt_handle: own.clone(), visible_in_s }];
    assert!(queues.change_visibility("work", &to(43_201)).await[0].is_err());
    assert_eq!(queues.change_visibility("work", &to(100)).await, [Ok(())]);
    world.advance_ms(99_000);
    assert!(queues.receive("work", 10).records.is_empty());
    assert_eq!(queues.change_visibility("work", &to(0)).await, [Ok(())]);
    assert!(queues.change_visibility("work", &to(5)).await[0].is_err(), "it is visible");
    assert_eq!(queues.receive("work", 10).records.len(), 1);
}

#[tokio::test]
async fn the_visibility_of_a_receive_is_twelve_hours_in_all_however_often_it_is_changed() {
    let (world, queues) = world();
    send(&queues, "work", &[message("a")]).await;
    let own = handle(&queues.receive("work", 10), 0);
    let to = |visible_in_s| [Entry { receipt_handle: own.clone(), visible_in_s }];
    assert_eq!(queues.change_visibility("work", &to(43_200)).await, [Ok(())]);
    world.advance_ms(900_000);
    for refused_s in [43_200, 42_301] {
        let answer = queues.change_visibility("work", &to(refused_s)).await;
        assert!(matches!(&answer[0], Err(why) if why.contains("beyond the limit")), "{answer:?}");
    }
    assert_eq!(queues.change_visibility("work", &to(42_300)).await, [Ok(())]);
    world.advance_ms(42_300_000);
    // Another receive has twelve hours of its own.
    let own = handle(&queues.receive("work", 10), 0);
    assert_eq!(
        queues.change_visibility("work", &[Entry { receipt_handle: own, visible_in_s: 43_200 }]).await,
        [Ok(())]
    );
}

#[tokio::test]
async fn a_message_received_too_often_goes_to_the_dead_letters_with_its_first_enqueue_time() {
    let (world, queues) = world();
    send(&queues, "work", &[message("a")]).await;
    let sent_ms = world.now_ms().to_string();
    for _ in 0..3 {
        assert_eq!(queues.receive("work", 10).records.len(), 1);
        world.advance_ms(30_000);
    }
    assert!(queues.receive("work", 10).records.is_empty());
    let dead = queues.receive("work-dlq", 10);
    assert_eq!(bodies(&dead), ["a"]);
    assert_eq!(attribute(&dead, "SentTimestamp"), Some(sent_ms.as_str()));
    assert_eq!(attribute(&dead, "DeadLetterQueueSourceArn"), Some("arn:aws:sqs:us-east-1:000000000000:work"));
}

#[tokio::test]
async fn a_dead_letter_of_a_fifo_queue_has_a_new_enqueue_time() {
    let (world, queues) = world();
    send(&queues, "story.fifo", &[story("1", "g")]).await;
    for _ in 0..2 {
        assert_eq!(queues.receive("story.fifo", 10).records.len(), 1);
        world.advance_ms(30_000);
    }
    assert!(queues.receive("story.fifo", 10).records.is_empty());
    let dead = queues.receive("story-dlq.fifo", 10);
    assert_eq!(attribute(&dead, "SentTimestamp"), Some(world.now_ms().to_string().as_str()));
}

#[tokio::test]
async fn a_group_is_served_only_to_its_first_invisible_message() {
    let (world, queues) = world();
    send(&queues, "story.fifo", &[story("1", "g"), story("2", "g"), story("1", "h"), story("3", "g")]).await;
    let first = queues.receive("story.fifo", 2);
    assert_eq!(bodies(&first), ["1", "2"]);
    assert_eq!(bodies(&queues.receive("story.fifo", 10)), ["1"], "of the other group");
    // The head comes back, what follows it is still away: only the head.
    let entry = Entry { receipt_handle: handle(&first, 0), visible_in_s: 0 };
    assert_eq!(queues.change_visibility("story.fifo", &[entry]).await, [Ok(())]);
    let head = queues.receive("story.fifo", 10);
    assert_eq!(bodies(&head), ["1"]);
    assert_eq!(queues.delete("story.fifo", &handle(&head, 0)), Ok(()));
    assert!(queues.receive("story.fifo", 10).records.is_empty());
    assert_eq!(queues.delete("story.fifo", &handle(&first, 1)), Ok(()));
    let rest = queues.receive("story.fifo", 10);
    assert_eq!(bodies(&rest), ["3"]);
    assert!(attribute(&rest, "SequenceNumber").is_some());
    world.advance_ms(30_000);
}

#[tokio::test]
async fn a_deduplication_id_is_remembered_for_five_minutes_even_after_the_message_was_deleted() {
    let (world, queues) = world();
    send(&queues, "story.fifo", &[story("1", "g")]).await;
    let event = queues.receive("story.fifo", 10);
    assert_eq!(queues.settle(&event, &failed(&[])), 1);
    world.advance_ms(299_999);
    send(&queues, "story.fifo", &[story("1", "g")]).await;
    assert_eq!(queues.counts("story.fifo"), Counts::default());
    world.advance_ms(1);
    send(&queues, "story.fifo", &[story("1", "g")]).await;
    assert_eq!(queues.counts("story.fifo").visible, 1);
    let told = Outgoing { dedup: None, ..story("same", "g") };
    send(&queues, "telling.fifo", &[told.clone(), told]).await;
    assert_eq!(queues.counts("telling.fifo").visible, 1);
}

#[tokio::test]
async fn a_delayed_message_comes_when_its_delay_is_over_and_an_old_one_is_forgotten() {
    let (world, queues) = world();
    send(&queues, "late", &[message("a")]).await;
    assert_eq!(queues.counts("late"), Counts { delayed: 1, ..Counts::default() });
    assert!(queues.receive("late", 10).records.is_empty());
    world.advance_ms(60_000);
    assert_eq!(queues.receive("late", 10).records.len(), 1);
    assert_eq!(queues.counts("late"), Counts { in_flight: 1, ..Counts::default() });
    world.advance_ms(4 * 86_400_000);
    assert_eq!(queues.counts("late"), Counts::default());
}

#[tokio::test]
async fn every_entry_of_a_send_is_answered_on_its_own() {
    let (_, queues) = world();
    let attributes = |count: usize| (0..count).map(|at| (format!("a{at}"), "x".to_owned())).collect();
    let cases = [
        ("work", message("fine"), ""),
        ("work", message(""), "MissingParameter"),
        ("work", message("bell \u{7}"), "InvalidMessageContents"),
        ("work", message("not a character \u{FFFF}"), "InvalidMessageContents"),
        ("work", Outgoing { attributes: attributes(11), ..message("a") }, "InvalidParameterValue"),
        ("work", Outgoing { dedup: Some("d".to_owned()), ..message("a") }, "InvalidParameterValue"),
        ("work", Outgoing { group: Some("tenant".to_owned()), attributes: attributes(10), ..message("a") }, ""),
        ("story.fifo", message("a"), "MissingParameter"),
        ("story.fifo", Outgoing { dedup: None, ..story("a", "g") }, "InvalidParameterValue"),
        ("nowhere", message("a"), "NonExistentQueue"),
    ];
    for (queue, outgoing, code) in cases {
        let answers = queues.send(queue, std::slice::from_ref(&outgoing)).await;
        match &answers[0] {
            Ok(()) => assert_eq!(code, "", "{queue}: {outgoing:?}"),
            Err(why) => assert!(!code.is_empty() && why.contains(code), "{queue}: {outgoing:?}: {why}"),
        }
    }
    let answers = queues.send("work", &[message("a"), message(""), message("b")]).await;
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
}

#[tokio::test]
async fn a_batch_has_ten_entries_and_one_mebibyte() {
    let (_, queues) = world();
    let many = vec![message("a"); 11];
    assert!(
        queues.send("work", &many).await.iter().all(|answer| matches!(answer, Err(why) if why.contains("TooMany")))
    );
    let half = message(&"x".repeat(512 * 1024));
    send(&queues, "work", &[half.clone(), half.clone()]).await;
    let answers = queues.send("work", &[half.clone(), half, message("x")]).await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(why) if why.contains("BatchRequestTooLong"))));
    assert_eq!(queues.counts("work").visible, 2);
}

#[tokio::test]
async fn a_fault_is_what_it_says() {
    for (fault, ok, kept) in [
        (QueueFault::None, [true, true], vec!["a", "b"]),
        (QueueFault::Throttle, [false, false], vec![]),
        (QueueFault::Vanished, [false, false], vec![]),
        (QueueFault::Lost, [false, false], vec!["a", "b"]),
        (QueueFault::Partial(vec![0]), [false, true], vec!["b"]),
    ] {
        let (_, queues) = world();
        let chosen = fault.clone();
        queues.set_faults(move |call| {
            assert_eq!(*call, QueueCall::Send { queue: "work".to_owned(), entries: 2 });
            chosen.clone()
        });
        let answers = queues.send("work", &[message("a"), message("b")]).await;
        assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), ok, "{fault:?}");
        queues.clear_faults();
        assert_eq!(queues.bodies("work"), kept, "{fault:?}");
    }
}

#[tokio::test]
async fn a_standard_queue_may_deliver_twice_and_in_any_order_by_the_seed() {
    let run = |seed| async move {
        let queues = MemoryQueue::new(World::new(seed)).with(QueueConfig::new("q")).with(QueueConfig::new("q.fifo"));
        queues.set_disorder(Disorder { duplicates: 0.5, shuffled: true });
        let sent: Vec<Outgoing> = (0..8).map(|at| message(&at.to_string())).collect();
        send(&queues, "q", &sent).await;
        let told: Vec<Outgoing> = (0..8).map(|at| story(&at.to_string(), "g")).collect();
        send(&queues, "q.fifo", &told).await;
        assert_eq!(bodies(&queues.receive("q.fifo", 20)), ["0", "1", "2", "3", "4", "5", "6", "7"]);
        let event = queues.receive("q", 100);
        bodies(&event).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let seen = run(3).await;
    assert_eq!(seen, run(3).await);
    assert_ne!(seen, run(4).await);
    let mut each = seen.clone();
    each.sort();
    each.dedup();
    assert_eq!(each.len(), 8, "nothing is lost");
    assert!(seen.len() > 8, "something came twice: {seen:?}");
}

#[tokio::test]
async fn a_batch_is_settled_as_lambda_does() {
    let (world, queues) = world();
    send(&queues, "work", &[message("a"), message("b")]).await;
    let event = queues.receive("work", 10);
    let id = event.records[1].message_id.clone().unwrap();
    assert_eq!(queues.settle(&event, &failed(&["nobody"])), 0, "an answer that names a stranger is none");
    assert_eq!(queues.settle(&event, &failed(&[&id])), 1);
    assert_eq!(queues.bodies("work"), ["b"]);
    world.advance_ms(30_000);
    assert_eq!(queues.receive("work", 10).records.len(), 1);
    queues.purge("work");
    assert_eq!(queues.counts("work"), Counts::default());
}

#[tokio::test]
async fn an_object_is_what_was_written_last_and_no_larger_than_asked_for() {
    let objects = MemoryObjects::new();
    assert_eq!(objects.get_object("b", "k", 10).await, Ok(None));
    for body in ["first", "second"] {
        objects.put_object("b", "k", body.as_bytes().to_vec(), "text/plain").await.unwrap();
    }
    assert_eq!(objects.get_object("b", "k", 6).await, Ok(Some(b"second".to_vec())));
    assert!(objects.get_object("b", "k", 5).await.is_err());
    assert_eq!(objects.keys("b"), ["k"]);
    assert_eq!(objects.object("b", "k").unwrap().1, "text/plain");
}
