use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lambda_queue::{Done, Outgoing};
use proptest::prelude::*;

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

const ORDERED: &str = "next.fifo";

fn ordered(group: &str, body: impl ToString) -> Outgoing {
    let body = body.to_string();
    Outgoing { group: Some(group.to_owned()), dedup: Some(body.clone()), ..owes(ORDERED, &body) }
}

/// Of the calls to the FIFO queue: no two are under way together, and none has a group twice. Answers what each group was
/// sent, in order, what was refused among it.
fn of_groups(world: &World) -> BTreeMap<String, Vec<String>> {
    let sent = world.sent.lock().unwrap();
    let calls: Vec<_> = sent.iter().filter(|(_, messages)| messages[0].queue == ORDERED).collect();
    assert!(calls.windows(2).all(|two| two[1].0 >= two[0].0 + world.send_ms), "two calls at a time");
    let mut of_groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (_, messages) in calls {
        let groups: BTreeSet<_> = messages.iter().map(|message| message.group.clone().unwrap()).collect();
        assert_eq!(groups.len(), messages.len(), "a group twice in a call: {messages:?}");
        for message in messages {
            of_groups.entry(message.group.clone().unwrap()).or_default().push(message.body.clone());
        }
    }
    of_groups
}

fn bodies(of: std::ops::Range<usize>) -> Vec<String> {
    of.map(|body| body.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn to_a_fifo_queue_one_call_is_under_way_at_a_time_with_one_message_of_a_group() {
    let world = World { send_ms: 100, ..World::default() };
    let answer = failed_of(&batch(&world), event(STANDARD, &[("1", "x", "")]), |_| async {
        let long = (0..13).map(|body| ordered("long", body));
        Ok(Done::now(long.chain((0..12).map(|body| ordered("short", body))).collect()))
    })
    .await;
    assert!(answer.is_empty());
    assert_eq!(of_groups(&world), [("long".into(), bodies(0..13)), ("short".into(), bodies(0..12))].into());
    assert_eq!(world.sends().len(), 13, "groups go together");
}

#[tokio::test(start_paused = true)]
async fn groups_of_a_fifo_queue_leave_in_tens() {
    let world = World { send_ms: 100, ..World::default() };
    let records: Vec<_> = (0..23).map(|id| record(STANDARD, &id.to_string(), "", None)).collect();
    let answer = failed_of(&batch(&world), event_of(&records), |record| async move {
        Ok(Done::now(vec![ordered(&record.message_id, "x")]))
    })
    .await;
    assert!(answer.is_empty());
    assert_eq!(of_groups(&world).len(), 23);
    assert_eq!(world.sends().iter().map(Vec::len).collect::<Vec<_>>(), [10, 10, 3]);
}

#[tokio::test(start_paused = true)]
async fn behind_a_message_that_was_not_sent_nothing_of_its_group_is_sent_and_whoever_owes_it_fails() {
    let world = World { send_ms: 100, refusing: Some("bad"), ..World::default() };
    let bodies_of =
        |group: usize| (0..12).map(move |at| if (group, at) == (0, 5) { "bad".into() } else { at.to_string() });
    // Records of two groups by turns, one message each, and one record that comes when the group has been stopped.
    let mut records: Vec<_> = bodies_of(0).zip(bodies_of(1)).flat_map(|(a, b)| [("a", a), ("b", b)]).collect();
    records.push(("a", "late".to_owned()));
    let records: Vec<_> = (records.iter().enumerate())
        .map(|(at, (group, body))| record(STANDARD, &format!("{at} {group}"), body, Some(*group)))
        .collect();
    let answer = failed_of(&batch(&world).concurrency(100), event_of(&records), |record| async move {
        if record.body == "late" {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        Ok(Done::now(vec![ordered(record.context.group.as_deref().unwrap(), &record.body)]))
    })
    .await;
    let mut sent_a = bodies(0..5);
    sent_a.push("bad".to_owned());
    assert_eq!(of_groups(&world), [("a".into(), sent_a), ("b".into(), bodies(0..12))].into());
    let failed: Vec<String> = (10..24).step_by(2).chain([24]).map(|at| format!("{at} a")).collect();
    assert_eq!(answer, failed);
}

#[tokio::test(start_paused = true)]
async fn a_call_to_a_fifo_queue_that_does_not_end_fails_what_waits_behind_it() {
    let world = World { hanging: true, ..World::default() };
    let records = [("1", "x", "g"), ("2", "x", "g"), ("3", "fine", "g")];
    let answer = failed_of(&batch(&world), event(STANDARD, &records), |record| async move {
        let owes = if record.body == "x" { vec![ordered("g", &record.message_id)] } else { Vec::new() };
        Ok(Done::now(owes))
    })
    .await;
    assert_eq!(answer, ["1", "2"]);
    assert_eq!(world.sends(), [["1"]]);
}

proptest! {
    #[test]
    fn of_every_group_of_a_fifo_queue_exactly_what_is_before_its_first_refusal_arrives(
        records in proptest::collection::vec(
            proptest::collection::vec((0_usize..4, prop::bool::weighted(0.05)), 0..6), 0..20,
        ),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let group_of = |group: usize| ["a", "b", "c", "d"][group];
        let (answer, sent) = runtime.block_on(async {
            let world = World { send_ms: 10, refusing: Some("bad"), ..World::default() };
            let event: Vec<_> =
                (0..records.len()).map(|at| record(STANDARD, &at.to_string(), "x", None)).collect();
            let answer = failed_of(&batch(&world), event_of(&event), |record| {
                let at: usize = record.message_id.parse().unwrap();
                let message = |(nth, (group, bad)): (usize, &(usize, bool))| {
                    ordered(group_of(*group), format!("{at}/{nth}{}", if *bad { " bad" } else { "" }))
                };
                let owes = records[at].iter().enumerate().map(message).collect();
                async { Ok(Done::now(owes)) }
            })
            .await;
            (answer, of_groups(&world))
        });
        let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let (mut stopped, mut failed) = (BTreeSet::new(), BTreeSet::new());
        for (at, owes) in records.iter().enumerate() {
            for (nth, (group, bad)) in owes.iter().enumerate() {
                if stopped.contains(group) {
                    failed.insert(at);
                    continue;
                }
                let body = format!("{at}/{nth}{}", if *bad { " bad" } else { "" });
                expected.entry(group_of(*group).to_owned()).or_default().push(body);
                if *bad {
                    stopped.insert(*group);
                    failed.insert(at);
                }
            }
        }
        prop_assert_eq!(sent, expected);
        prop_assert_eq!(answer, failed.into_iter().map(|at| at.to_string()).collect::<Vec<_>>());
    }
}
