use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use lambda_queue::batch::AfterPoison;
use lambda_queue::{Done, Failure};
use proptest::prelude::*;
use tokio::time::Instant;

use crate::support::*;

#[tokio::test]
async fn a_failure_fails_the_rest_of_its_group_in_order_and_only_that() {
    let world = World::default();
    let records = [("1", "fine", "a"), ("2", "defer", "a"), ("3", "fine", "b"), ("4", "fine", "a"), ("5", "fine", "a")];
    assert_eq!(failed(&world, FIFO, &records).await, ["2", "4", "5"]);
    assert_eq!(
        world.waits(),
        [("receipt-2".to_owned(), 30), ("receipt-4".to_owned(), 30), ("receipt-5".to_owned(), 30)],
        "followers come back with their head"
    );
}

#[tokio::test]
async fn a_standard_queue_with_groups_is_not_fifo() {
    assert_eq!(failed(&World::default(), STANDARD, &[("1", "retry", "a"), ("2", "fine", "a")]).await, ["1"]);
}

#[tokio::test(start_paused = true)]
async fn inside_a_group_one_after_the_other_and_groups_side_by_side() {
    let world = World::default();
    let records = [("1", "", "a"), ("2", "", "b"), ("3", "", "a"), ("4", "", "b"), ("5", "", "c"), ("6", "", "a")];
    let (began, seen) = (Instant::now(), Mutex::new(Vec::new()));
    let answer = failed_of(&batch(&world), event(FIFO, &records), |record| {
        let seen = &seen;
        async move {
            seen.lock().unwrap().push((began.elapsed().as_secs(), record.message_id.clone()));
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(Done::already())
        }
    })
    .await;
    assert!(answer.is_empty());
    let expected = [(0, "1"), (0, "2"), (0, "5"), (1, "3"), (1, "4"), (2, "6")];
    assert_eq!(*seen.lock().unwrap(), expected.map(|(second, id)| (second, id.to_owned())));
}

#[tokio::test(start_paused = true)]
async fn what_a_record_owes_is_sent_before_the_next_of_its_group_begins() {
    let world = World { refusing: Some("owe b"), ..World::default() };
    let records = [("1", "owe a", "g"), ("2", "owe b", "g"), ("3", "owe c", "g")];
    assert_eq!(failed(&world, FIFO, &records).await, ["2", "3"]);
    assert_eq!(world.sends(), [["owe a"], ["owe b"]]);
}

#[tokio::test]
async fn a_record_without_a_group_makes_the_batch_stop_at_its_first_failure() {
    let world = World::default();
    let records = [
        record(FIFO, "1", "fine", Some("a")),
        record(FIFO, "2", "retry", Some("b")),
        record(FIFO, "3", "fine", None),
        record(FIFO, "4", "fine", Some("a")),
    ];
    assert_eq!(failed_of(&batch(&world), event_of(&records), obey).await, ["2", "3", "4"]);
    let waits: Vec<u32> = world.waits().into_iter().map(|(_, seconds)| seconds).collect();
    assert_eq!(waits, [2, 2, 2]);
}

#[tokio::test]
async fn past_a_dead_lettered_head_the_group_goes_on_or_stops_by_policy() {
    let records = [("1", "poison", "a"), ("2", "fine", "a"), ("3", "fine", "b"), ("4", "fine", "a")];
    for (policy, expected) in [(AfterPoison::Skip, &[][..]), (AfterPoison::Stop, &["2", "4"][..])] {
        let world = World::default();
        let answer = failed_of(&batch(&world).after_poison(policy), event(FIFO, &records), obey).await;
        assert_eq!(answer, expected);
        assert_eq!(world.sends(), [["poison"]], "dead-lettered once");
        assert!(world.waits().iter().all(|(_, seconds)| *seconds == 1), "what follows may come back at once");
    }
}

#[tokio::test]
async fn poison_that_cannot_be_moved_holds_its_group_back_before_the_next_is_started() {
    let world = World { refusing: Some("poison"), ..World::default() };
    let records = [("1", "poison", "a"), ("2", "panic", "a"), ("3", "fine", "b")];
    assert_eq!(failed(&world, FIFO, &records).await, ["1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn a_group_whose_head_hangs_comes_back_whole_with_one_wait() {
    let world = World::default();
    assert_eq!(failed(&world, FIFO, &[("1", "hang", "a"), ("2", "fine", "a"), ("3", "fine", "b")]).await, ["1", "2"]);
    assert_eq!(world.waits(), [("receipt-1".to_owned(), 2), ("receipt-2".to_owned(), 2)]);
}

proptest! {
    #[test]
    fn of_every_group_exactly_what_is_before_its_first_failure_is_acknowledged(
        records in proptest::collection::vec((0_usize..4, 0_u64..20, prop::bool::weighted(0.7)), 0..10),
        concurrency in 1_usize..5,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let (answer, begun) = runtime.block_on(async {
            let (world, begun) = (World::default(), Mutex::new(Vec::new()));
            let event: Vec<_> = records
                .iter()
                .enumerate()
                .map(|(at, (group, ms, ok))| record(FIFO, &at.to_string(), &format!("{ms} {ok}"), Some(["a", "b", "c", "d"][*group])))
                .collect();
            let answer = failed_of(&batch(&world).concurrency(concurrency), event_of(&event), |record| {
                let begun = &begun;
                async move {
                    begun.lock().unwrap().push(record.message_id.parse::<usize>().unwrap());
                    let (ms, ok) = record.body.split_once(' ').unwrap();
                    tokio::time::sleep(Duration::from_millis(ms.parse().unwrap())).await;
                    if ok == "true" { Ok(Done::already()) } else { Err(Failure::retry("no")) }
                }
            })
            .await;
            (answer, begun.into_inner().unwrap())
        });
        let mut stopped = HashMap::new();
        let mut expected = Vec::new();
        for (at, (group, _, ok)) in records.iter().enumerate() {
            if *stopped.entry(group).or_insert(false) {
                prop_assert!(!begun.contains(&at), "{at} stands behind a failure");
                expected.push(at.to_string());
            } else if !ok {
                stopped.insert(group, true);
                expected.push(at.to_string());
            }
        }
        prop_assert_eq!(answer, expected);
        for group in 0..4 {
            let of_group: Vec<usize> = begun.iter().copied().filter(|at| records[*at].0 == group).collect();
            prop_assert!(of_group.is_sorted(), "{:?}", of_group);
        }
    }
}
