use std::time::Duration;

use lambda_queue::Done;

use crate::support::*;

#[tokio::test]
async fn what_records_owe_to_one_queue_leaves_in_one_send() {
    let world = World::default();
    let records = [("1", "owe a", ""), ("2", "owe b", ""), ("3", "fine", ""), ("4", "owe c", "")];
    assert!(failed(&world, STANDARD, &records).await.is_empty());
    assert_eq!(world.sends(), [["owe a", "owe b", "owe c"]]);
}

#[tokio::test]
async fn a_message_that_was_not_sent_fails_its_record_and_only_that() {
    let world = World { refusing: Some("owe b"), ..World::default() };
    let records = [("1", "owe a", ""), ("2", "owe b", ""), ("3", "owe c", "")];
    assert_eq!(failed(&world, STANDARD, &records).await, ["2"]);
}

#[tokio::test]
async fn a_record_that_owes_several_messages_is_handled_when_the_last_is_sent() {
    let world = World { refusing: Some("bad"), ..World::default() };
    let records = [("1", "x", ""), ("2", "bad", ""), ("3", "y", "")];
    let answer = failed_of(&batch(&world), event(STANDARD, &records), |record| async move {
        Ok(Done::now(vec![owes("next", "good"), owes("other", &record.body), owes("next", "good")]))
    })
    .await;
    assert_eq!(answer, ["2"]);
    let mut sizes: Vec<usize> = world.sends().iter().map(Vec::len).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [3, 6], "one send a target queue");
}

#[tokio::test]
async fn a_send_has_at_most_ten_entries_and_one_mebibyte() {
    let world = World::default();
    let records: Vec<_> = (0..23).map(|id| record(STANDARD, &id.to_string(), "owe", None)).collect();
    assert!(failed_of(&batch(&world), event_of(&records), obey).await.is_empty());
    let mut sizes: Vec<usize> = world.sends().iter().map(Vec::len).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [3, 10, 10]);

    let world = World::default();
    let large = [400_000, 400_000, 400_000, 1_048_576, 10];
    let records: Vec<_> = large.iter().enumerate().map(|(at, _)| record(STANDARD, &at.to_string(), "", None)).collect();
    let answer = failed_of(&batch(&world), event_of(&records), |record| async move {
        let bytes = large[record.message_id.parse::<usize>().unwrap()];
        Ok(Done::now(vec![owes("next", &"x".repeat(bytes))]))
    })
    .await;
    assert!(answer.is_empty());
    let bytes: Vec<usize> = world.sends().iter().map(|bodies| bodies.iter().map(String::len).sum()).collect();
    assert_eq!(bytes, [800_000, 400_000, 1_048_576, 10]);
}

#[tokio::test(start_paused = true)]
async fn a_ready_message_waits_half_a_second_for_company_and_not_for_the_slowest() {
    let world = World::default();
    let records = [("1", "owe a", ""), ("2", "slow", ""), ("3", "owe b", "")];
    let answer = failed_of(&batch(&world), event(STANDARD, &records), |record| async move {
        if record.body == "slow" {
            tokio::time::sleep(Duration::from_secs(5)).await;
            return Ok(Done::now(vec![owes("next", "late")]));
        }
        obey(record).await
    })
    .await;
    assert!(answer.is_empty());
    let sent: Vec<(u64, usize)> =
        world.sent.lock().unwrap().iter().map(|(at, messages)| (*at, messages.len())).collect();
    assert_eq!(sent, [(500, 2), (5_000, 1)]);
}
