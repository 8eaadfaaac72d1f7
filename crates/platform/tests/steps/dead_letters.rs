//! Dead letters become cases: one each, however they come, and none is gone before its case stands.

use lambda_queue::batch::Invocation;
use lambda_queue::memory::{Fault, MemoryQueue};
use lambda_queue::ports::store::{Item, Store as _, Write, Written, number, text};
use lambda_queue::{Batch, Clock as _, Outgoing, Queue as _};
use order::{Fingerprint, Step};
use ports::{CaseClass, CaseIndex, CaseKind, CaseStatus, ReadCases as _, StoredCase};
use serde_json::{Value, json};
use triage_dead_letters::{DeadLetters, REPLAY_OF};

use crate::an_order_after;
use crate::shop::Shop;

/// One invocation of triage-dead-letters with what a dead-letter queue holds; answers how many letters it took.
pub async fn triage(shop: &Shop, queue: &str) -> usize {
    let queues = &shop.platform.backend().queues;
    let event = queues.receive(queue, 10);
    let answer = triaged(shop, &serde_json::to_value(&event).unwrap()).await;
    queues.settle(&event, &answer)
}

async fn triaged(shop: &Shop, event: &Value) -> aws_lambda_events::event::sqs::SqsBatchResponse {
    let dead: DeadLetters = serde_json::from_value(event.clone()).unwrap();
    let batch = Batch::new("triage-dead-letters", &*shop.platform);
    let deadline_ms = shop.platform.now_ms() + 10_000;
    let of = Invocation { request_id: "r".to_owned(), deadline_ms, cold_start: false };
    triage_dead_letters::handle(&batch, dead, of).await.unwrap()
}

/// The cases of a status, the oldest first.
pub async fn cases(shop: &Shop, status: CaseStatus) -> Vec<StoredCase> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        // Small pages: that they join is part of what is tested.
        let page = shop.platform.list_cases(&CaseIndex::Status(status), 3, after.as_deref()).await.unwrap();
        all.extend(page.cases);
        after = page.next;
        if after.is_none() {
            all.reverse();
            return all;
        }
    }
}

fn queues(shop: &Shop) -> &MemoryQueue {
    &shop.platform.backend().queues
}

pub fn message(queue: &str, body: &str) -> Outgoing {
    Outgoing {
        queue: queue.to_owned(),
        body: body.to_owned(),
        group: Some("acme".to_owned()),
        dedup: queue.ends_with(".fifo").then(|| Fingerprint::of(body.as_bytes()).to_string()),
        attributes: Vec::new(),
    }
}

pub async fn put(shop: &Shop, queue: &str, body: &str) {
    assert_eq!(shop.platform.send(queue, &[message(queue, body)]).await, [Ok(())]);
}

const POISON: &str = "this is not JSON, but Ada's card 4242";

#[tokio::test(start_paused = true)]
async fn poison_becomes_a_case_that_tells_all_but_the_message() {
    let shop = Shop::open().await;
    put(&shop, "validate-express", POISON).await;
    assert_eq!(shop.invoke(Step::Validate).await, 1);
    assert_eq!(triage(&shop, "validate-dlq").await, 1);
    assert_eq!(queues(&shop).counts("validate-dlq"), lambda_queue::memory::Counts::default());
    let open = cases(&shop, CaseStatus::Open).await;
    assert_eq!(open.len(), 1);
    let case = &open[0].case;
    assert_eq!((case.kind, case.class, case.step.as_str()), (CaseKind::DeadLetter, CaseClass::Poison, "validate"));
    assert!(case.fingerprint.starts_with("validate/poison/"), "{}", case.fingerprint);
    let letter = case.letter.as_ref().unwrap();
    assert_eq!((letter.queue.as_str(), letter.attempts), ("validate-express", 1));
    assert_ne!(letter.message_id, letter.letter_id);
    let shown = format!("{:?}", shop.platform.backend().store.items("cases"));
    assert!(!shown.contains("Ada") && !shown.contains("4242"), "{shown}");

    let raw: Value = serde_json::from_slice(&shop.platform.load_raw(&letter.raw).await.unwrap().unwrap()).unwrap();
    assert_eq!(raw["message"]["body"], POISON);
    assert_eq!(raw["queue"], "validate-dlq");
    assert_eq!(raw["message"]["messageAttributes"]["dead_letter"]["dataType"], "String");
    assert_eq!(raw["message"].get("receiptHandle"), None);
}

#[tokio::test(start_paused = true)]
async fn a_redelivered_dead_letter_makes_one_case_and_opens_nothing_that_was_closed() {
    let shop = Shop::open().await;
    put(&shop, "validate-express", POISON).await;
    shop.invoke(Step::Validate).await;
    let event = serde_json::to_value(queues(&shop).receive("validate-dlq", 10)).unwrap();
    assert!(triaged(&shop, &event).await.batch_item_failures.is_empty());
    let first = cases(&shop, CaseStatus::Open).await;
    // The answer was lost: the very letter again, now and after somebody has closed the case.
    assert!(triaged(&shop, &event).await.batch_item_failures.is_empty());
    assert_eq!(cases(&shop, CaseStatus::Open).await, first);
    let by = crate::replays::by("a stray test message");
    triage_dead_letters::decide::close(&*shop.platform, &first[0], &by, None).await.unwrap();
    assert!(triaged(&shop, &event).await.batch_item_failures.is_empty());
    assert_eq!(cases(&shop, CaseStatus::Open).await, []);
    assert_eq!(cases(&shop, CaseStatus::Closed).await.len(), 1);
    assert_eq!(shop.platform.backend().objects.keys("archive").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_its_consumer_gave_up_twice_is_one_case() {
    let shop = Shop::open().await;
    put(&shop, "validate-express", POISON).await;
    // The consumer gives it up, and dies before it acknowledges.
    let event = queues(&shop).receive("validate-express", 10);
    for _ in 0..2 {
        let batch = Batch::new("validate-order", &*shop.platform).dead_letters("validate-dlq");
        let deadline_ms = shop.platform.now_ms() + 15_000;
        let of = Invocation { request_id: "r".to_owned(), deadline_ms, cold_start: false };
        let answer =
            batch.run(event.clone(), of, |_| async { Err(lambda_queue::Failure::poison("no")) }).await.unwrap();
        assert!(answer.batch_item_failures.is_empty());
    }
    assert_eq!(triage(&shop, "validate-dlq").await, 2);
    let open = cases(&shop, CaseStatus::Open).await;
    assert_eq!((open.len(), open[0].seen), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_case_that_is_not_written_leaves_the_letter_where_it_is() {
    for fault in [Fault::Throttle, Fault::Vanished] {
        let shop = Shop::open().await;
        put(&shop, "validate-express", POISON).await;
        shop.invoke(Step::Validate).await;
        shop.platform.backend().store.set_faults(move |call| {
            if call.items.iter().any(|(table, _)| table == "cases") { fault.clone() } else { Fault::None }
        });
        assert_eq!(triage(&shop, "validate-dlq").await, 0);
        assert_eq!(queues(&shop).bodies("validate-dlq"), [POISON]);
        shop.platform.backend().store.clear_faults();
        assert_eq!(cases(&shop, CaseStatus::Open).await, []);
        tokio::time::advance(std::time::Duration::from_secs(120)).await;
        assert_eq!(triage(&shop, "validate-dlq").await, 1);
        assert_eq!(cases(&shop, CaseStatus::Open).await.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_case_whose_answer_was_lost_is_the_same_case() {
    let shop = Shop::open().await;
    put(&shop, "validate-express", POISON).await;
    shop.invoke(Step::Validate).await;
    let mut lost = false;
    shop.platform.backend().store.set_faults(move |call| {
        let first = !std::mem::replace(&mut lost, true) && call.items.iter().any(|(table, _)| table == "cases");
        if first { Fault::Lost } else { Fault::None }
    });
    assert_eq!(triage(&shop, "validate-dlq").await, 0);
    tokio::time::advance(std::time::Duration::from_secs(120)).await;
    assert_eq!(triage(&shop, "validate-dlq").await, 1);
    let open = cases(&shop, CaseStatus::Open).await;
    assert_eq!((open.len(), open[0].seen), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_sqs_gave_up_without_a_word_is_judged_by_its_row() {
    let shop = Shop::open().await;
    let id = an_order_after(&shop, 1).await;
    // Its function dies with it every time: nobody sets a visibility, nobody answers.
    for _ in 0..=50 {
        queues(&shop).receive("payment-express", 10);
        tokio::time::advance(std::time::Duration::from_secs(91)).await;
    }
    assert_eq!(triage(&shop, "payment-dlq").await, 1);
    let open = cases(&shop, CaseStatus::Open).await;
    let case = &open[0].case;
    assert_eq!((case.class, case.row_version, &case.order_id), (CaseClass::Bug, 2, &id.to_string()));
    assert_eq!(case.tenant.as_ref().map(|tenant| tenant.as_str()), Some("acme"));
    assert!(case.fingerprint.starts_with("payment/moved/received-too-often"), "{}", case.fingerprint);
}

#[tokio::test(start_paused = true)]
async fn a_message_of_a_newer_program_is_skew_and_its_order_is_told() {
    let shop = Shop::open().await;
    let id = "0b8e6c1e-5d7f-8a2b-9c3d-4e5f60718293";
    let newer = json!({
        "specversion": "1.0", "id": "1", "source": "orderflow", "type": "orderflow.order.shipped.v2", "subject": id,
        "data": { "order_id": id, "version": 6 },
    });
    put(&shop, "notify-dlq.fifo", &newer.to_string()).await;
    assert_eq!(triage(&shop, "notify-dlq.fifo").await, 1);
    let open = cases(&shop, CaseStatus::Open).await;
    assert_eq!((open[0].case.class, open[0].case.order_id.as_str()), (CaseClass::Skew, id));
}

#[tokio::test(start_paused = true)]
async fn cases_of_one_cause_are_found_by_their_fingerprint() {
    let shop = Shop::open().await;
    for at in 0..5 {
        put(&shop, "validate-express", &format!("not JSON, number {at}")).await;
    }
    put(&shop, "validate-express", "{}").await;
    assert_eq!(shop.invoke(Step::Validate).await, 6);
    assert_eq!(triage(&shop, "validate-dlq").await, 6);
    let open = cases(&shop, CaseStatus::Open).await;
    assert_eq!(open.len(), 6);
    let fingerprint = &open[0].case.fingerprint;
    let page = shop.platform.list_cases(&CaseIndex::Fingerprint(fingerprint.clone()), 100, None).await.unwrap();
    let others = open.iter().filter(|case| case.case.fingerprint == *fingerprint).count();
    assert_eq!((page.cases.len(), page.next, others), (5, None, 5));
    let refused = shop.platform.list_cases(&CaseIndex::Status(CaseStatus::Open), 3, Some("no cursor")).await;
    assert!(refused.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_replayed_message_that_dies_again_opens_its_own_case() {
    let shop = Shop::open().await;
    put(&shop, "archive-dlq", POISON).await;
    triage(&shop, "archive-dlq").await;
    let first = cases(&shop, CaseStatus::Open).await.remove(0);
    let mut again = message("archive-dlq", POISON);
    again.attributes.push((REPLAY_OF.to_owned(), first.case.case_id.to_string()));
    assert_eq!(shop.platform.send("archive-dlq", &[again]).await, [Ok(())]);
    triage(&shop, "archive-dlq").await;
    let open = cases(&shop, CaseStatus::Open).await;
    assert_eq!((open.len(), open[0].seen, open[0].case.opened_at_ms), (1, 2, first.case.opened_at_ms));
    assert_eq!(open[0].case.case_id, first.case.case_id);
}

#[tokio::test(start_paused = true)]
async fn a_case_of_the_program_before_is_read_as_what_it_was() {
    let shop = Shop::open().await;
    for (case_id, fingerprint) in [("old-1", "recover/unreadable/skew"), ("old-2", "payment/payment.void/transient")] {
        let words =
            [("case_id", case_id), ("fingerprint", fingerprint), ("status", "open"), ("class", "skew"), ("step", "x")];
        let mut item: Item = words.into_iter().map(|(name, value)| (name.to_owned(), text(value))).collect();
        item.insert("opened_at".to_owned(), number(shop.platform.now_ms()));
        assert!(matches!(shop.platform.write(Write::put("cases", item)).await, Ok(Written::Done(_))));
    }
    let kinds: Vec<(String, CaseKind, u64)> = cases(&shop, CaseStatus::Open)
        .await
        .into_iter()
        .map(|case| (case.case.case_id.to_string(), case.case.kind, case.seen))
        .collect();
    assert!(kinds.contains(&("old-1".to_owned(), CaseKind::Unreadable, 0)), "{kinds:?}");
    assert!(kinds.contains(&("old-2".to_owned(), CaseKind::Parked, 0)), "{kinds:?}");
    // And it can be decided.
    let old = shop.platform.load_case(&"old-1".parse().unwrap()).await.unwrap().unwrap();
    let by = crate::replays::by("deployed since");
    let closed = triage_dead_letters::decide::close(&*shop.platform, &old, &by, None).await.unwrap();
    assert_eq!(closed, triage_dead_letters::decide::Closed::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_case_of_a_newer_program_is_shown_as_that_and_hides_none_of_the_others() {
    let shop = Shop::open().await;
    for at in 0..3 {
        put(&shop, "archive-dlq", &format!("not JSON, number {at}")).await;
    }
    assert_eq!(triage(&shop, "archive-dlq").await, 3);
    let newer = [
        ("kind", "quarantined", "new-1", "its kind `quarantined` is none that this program knows"),
        ("class", "cosmic", "new-2", "its class `cosmic` is none that this program knows"),
    ];
    for (field, value, case_id, _) in newer {
        let words = [
            ("case_id", case_id),
            ("fingerprint", "archive/of-tomorrow"),
            ("status", "open"),
            ("kind", "dead_letter"),
            ("class", "bug"),
        ];
        let mut item: Item = words.into_iter().map(|(name, value)| (name.to_owned(), text(value))).collect();
        item.insert(field.to_owned(), text(value));
        item.insert("opened_at".to_owned(), number(shop.platform.now_ms()));
        assert!(matches!(shop.platform.write(Write::put("cases", item)).await, Ok(Written::Done(_))));
    }
    let page = shop.platform.list_cases(&CaseIndex::Status(CaseStatus::Open), 100, None).await.unwrap();
    assert_eq!((page.cases.len(), page.unreadable.len()), (3, 2));
    for (_, _, case_id, why) in newer {
        let shown = page.unreadable.iter().find(|one| one.case_id == case_id).unwrap();
        assert_eq!((shown.unreadable.as_str(), shown.opened_at_ms), (why, shop.platform.now_ms()));
        let alone = shop.platform.load_case(&case_id.parse().unwrap()).await;
        assert_eq!(alone, Err(ports::StoreError::Unreadable(format!("case {case_id}: {why}"))));
    }
    // Pages join over them, too.
    assert_eq!(cases(&shop, CaseStatus::Open).await.len(), 3);
}
