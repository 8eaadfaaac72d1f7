//! What operators do with cases: replay, close, abandon.

use std::time::Duration;

use lambda_queue::dead_letter::DeadLetter;
use lambda_queue::memory::{Counts, Fault, Operation};
use lambda_queue::ports::Store as _;
use lambda_queue::ports::store::{Write, text};
use lambda_queue::{Queue as _, Record, RecordContext};
use order::{OrderId, State, Step};
use ports::{CaseClass, CaseIndex, CasePage, CaseStatus, ReadCases as _, StoredCase, park};
use serde_json::json;
use triage_dead_letters::decide::{By, Closed, close};
use triage_dead_letters::replay::{Action, Fate, Outcome, Pace, Planned, Report, Stopped, plan, run};

use crate::an_order_after;
use crate::canaries::replayed_while_it_works;
use crate::dead_letters::{cases, put, triage};
use crate::shop::Shop;

pub fn by(reason: &str) -> By {
    By { who: "arn:aws:sts::1:assumed-role/operator/ada".to_owned(), reason: reason.to_owned() }
}

/// Nothing is watched: what became of it is looked at once.
pub const AT_ONCE: Pace = Pace { between: Duration::ZERO, watch: Duration::ZERO };

pub async fn planned(shop: &Shop, chosen: Vec<StoredCase>) -> Vec<Planned> {
    let open = cases(shop, CaseStatus::Open).await;
    plan(&*shop.platform, chosen, &open, &[], false).await.unwrap()
}

pub async fn replayed(shop: &Shop) -> Report {
    let open = cases(shop, CaseStatus::Open).await;
    let planned = planned(shop, open).await;
    run(&*shop.platform, planned, &by("mended"), AT_ONCE, |_| ()).await
}

/// An order whose payment command is a case: it was moved by SQS.
pub async fn a_dead_payment(shop: &Shop) -> (OrderId, StoredCase) {
    let id = an_order_after(shop, 1).await;
    let queues = &shop.platform.backend().queues;
    let event = queues.receive("payment-express", 1);
    let body = event.records[0].body.clone().unwrap();
    queues.purge("payment-express");
    put(shop, "payment-dlq", &body).await;
    assert_eq!(triage(shop, "payment-dlq").await, 1);
    (id, cases(shop, CaseStatus::Open).await.remove(0))
}

#[tokio::test(start_paused = true)]
async fn an_orders_command_is_made_of_its_row_and_the_order_goes_on() {
    let shop = Shop::open().await;
    let (id, case) = a_dead_payment(&shop).await;
    let planned = planned(&shop, vec![case.clone()]).await;
    assert_eq!(
        planned[0].action,
        Action::Command { order_id: id, command: "payment.authorize", version: 2 },
        "and nothing is done yet"
    );
    assert_eq!(shop.platform.backend().queues.counts("payment-express").visible, 0);

    let report = run(&*shop.platform, planned.clone(), &by("mended"), AT_ONCE, |_| ()).await;
    assert_eq!((report.sent, report.failed, report.unknown), (1, 0, 1), "nobody has taken it yet");
    assert_eq!(shop.invoke(Step::Payment).await, 1);
    assert_eq!(shop.row(id).await.state, State::Authorized);
    let audits = shop.platform.audits_of(case.case.case_id.as_str()).await.unwrap();
    assert_eq!(audits.len(), 1);
    assert_eq!((audits[0].action.as_str(), audits[0].reason.as_str()), ("replay", "mended"));
    assert!(audits[0].who.ends_with("/ada") && audits[0].detail.contains("payment.authorize"));

    // The same plan once more: the case is left alone, and nothing is sent.
    let again = run(&*shop.platform, planned, &by("by mistake"), AT_ONCE, |_| ()).await;
    assert_eq!(again.cases[0].1, Outcome::Changed);
    shop.invoke(Step::Stock).await;
    shop.invoke(Step::Payment).await;
    assert_eq!(*shop.till.asked.lock().unwrap(), ["create", "confirm", "capture"]);
    let stored = shop.platform.load_case(&case.case.case_id).await.unwrap().unwrap();
    assert_eq!((stored.status, stored.replays), (CaseStatus::Replayed, 1));
}

#[tokio::test(start_paused = true)]
async fn two_letters_of_one_order_send_its_command_once() {
    let shop = Shop::open().await;
    let (id, _) = a_dead_payment(&shop).await;
    let message = ports::command_message(&shop.row(id).await, None, 0).unwrap();
    put(&shop, "payment-dlq", &message.body).await;
    triage(&shop, "payment-dlq").await;
    let report = replayed_while_it_works(&shop, Step::Payment).await;
    assert_eq!((report.sent, report.cases.len()), (2, 2));
    assert!(report.cases.iter().all(|(_, became)| *became == Outcome::Sent(Fate::Done)), "{report:?}");
    assert_eq!(*shop.till.asked.lock().unwrap(), ["create", "confirm"]);
    assert_eq!(shop.platform.backend().queues.counts("payment-express"), Counts::default());
    assert_eq!(cases(&shop, CaseStatus::Replayed).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_case_whose_order_has_moved_on_is_closed_and_nothing_is_sent() {
    let shop = Shop::open().await;
    let (id, _) = a_dead_payment(&shop).await;
    crate::shop::cancel(&shop.platform, id).await;
    let message = ports::command_message(&shop.row(id).await, None, 0).unwrap();
    put(&shop, "payment-express", &message.body).await;
    shop.invoke(Step::Payment).await;
    assert_eq!(shop.row(id).await.state, State::Cancelled);
    let report = replayed(&shop).await;
    assert_eq!(report.cases[0].1, Outcome::NothingOwed);
    assert_eq!(shop.platform.backend().queues.counts("payment-express").visible, 0);
    assert_eq!(cases(&shop, CaseStatus::Closed).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_names_no_order_is_refused_with_what_to_do_and_stays_open() {
    let shop = Shop::open().await;
    put(&shop, "validate-dlq", "not JSON").await;
    triage(&shop, "validate-dlq").await;
    let report = replayed(&shop).await;
    let Outcome::Refused(why) = &report.cases[0].1 else { panic!("{report:?}") };
    assert!(why.contains("close it"), "{why}");
    assert_eq!(cases(&shop, CaseStatus::Open).await.len(), 1);
}

pub fn order(at: u128) -> OrderId {
    let id = uuid_of(at);
    id.parse().unwrap()
}

fn uuid_of(at: u128) -> String {
    format!("0b8e6c1e-5d7f-8a2b-9c3d-{at:012x}")
}

fn event(of: OrderId, version: u64) -> String {
    json!({
        "specversion": "1.0", "id": format!("{of}/{version}"), "source": "orderflow",
        "type": "orderflow.order.shipped.v1", "subject": of, "data": { "order_id": of, "version": version },
    })
    .to_string()
}

/// A notice that notify-customer has given up.
pub async fn dead_notice(shop: &Shop, of: OrderId, version: u64) {
    let context = RecordContext {
        receive_count: 1,
        sent_ms: 1_000 * version,
        group: Some(of.to_string()),
        handler_deadline_ms: 0,
        deadline_ms: 0,
    };
    let mut record = Record::new(format!("{of}-{version}"), event(of, version), context);
    record.attributes.push(lambda_queue::batch::Attribute {
        name: "event".to_owned(),
        data_type: "String".to_owned(),
        value: "shipped".to_owned(),
    });
    let letter = DeadLetter {
        reason: "the mail was refused: MessageRejected".to_owned(),
        code: "poison".to_owned(),
        attempts: 1,
        source_queue: "notify.fifo".to_owned(),
        message_id: record.message_id.clone(),
        first_seen_ms: record.context.sent_ms,
        ..DeadLetter::default()
    };
    let message = letter.to_message(&record, "notify-dlq.fifo");
    assert_eq!(shop.platform.send("notify-dlq.fifo", &[message]).await, [Ok(())]);
    assert_eq!(triage(shop, "notify-dlq.fifo").await, 1);
}

#[tokio::test(start_paused = true)]
async fn events_go_again_as_they_were_in_the_order_of_their_group() {
    let shop = Shop::open().await;
    for version in [6, 1, 4] {
        dead_notice(&shop, order(1), version).await;
        dead_notice(&shop, order(2), version).await;
    }
    let report = replayed(&shop).await;
    assert_eq!((report.sent, report.failed), (6, 0));
    let bodies = shop.platform.backend().queues.bodies("notify.fifo");
    for of in [order(1), order(2)] {
        let own: Vec<&String> = bodies.iter().filter(|body| body.contains(&of.to_string())).collect();
        assert_eq!(own, [&event(of, 1), &event(of, 4), &event(of, 6)]);
    }
    let received = shop.platform.backend().queues.receive("notify.fifo", 10);
    let first = &received.records[0];
    assert_eq!(first.message_attributes["event"].string_value.as_deref(), Some("shipped"));
    assert!(first.message_attributes.contains_key("replay_of"));
    assert!(!first.message_attributes.contains_key("dead_letter"), "it is no letter any more");
}

#[tokio::test(start_paused = true)]
async fn an_event_waits_for_an_older_open_one_of_its_order_that_is_not_replayed_with_it() {
    let shop = Shop::open().await;
    for version in [1, 6] {
        dead_notice(&shop, order(1), version).await;
    }
    let open = cases(&shop, CaseStatus::Open).await;
    let younger: Vec<StoredCase> = open.iter().filter(|case| case.case.row_version == 6).cloned().collect();
    let planned = planned(&shop, younger).await;
    let Action::Refused { why } = &planned[0].action else { panic!("{planned:?}") };
    let older = open.iter().find(|case| case.case.row_version == 1).unwrap();
    assert!(why.contains(older.case.case_id.as_str()), "{why}");
}

#[tokio::test(start_paused = true)]
async fn an_event_waits_for_one_of_its_order_that_a_newer_program_wrote() {
    let shop = Shop::open().await;
    dead_notice(&shop, order(1), 1).await;
    // Of a kind of tomorrow.
    let mut newer = shop.platform.backend().store.items("cases").remove(0);
    newer.insert("kind".to_owned(), text("torn"));
    dead_notice(&shop, order(1), 6).await;
    dead_notice(&shop, order(2), 6).await;
    shop.platform.backend().store.write(Write::put("cases", newer)).await.unwrap();
    let page = shop.platform.list_cases(&CaseIndex::Status(CaseStatus::Open), 100, None).await.unwrap();
    let of = |page: &CasePage| (page.unreadable[0].step.clone(), page.unreadable[0].order_id.clone());
    assert_eq!((page.cases.len(), of(&page)), (2, ("notify".to_owned(), order(1).to_string())));

    let open = page.cases.clone();
    let planned = plan(&*shop.platform, open.clone(), &open, &page.unreadable, false).await.unwrap();
    for one in planned {
        match &one.action {
            Action::Refused { why } => {
                assert_eq!(one.case.case.order_id, order(1).to_string());
                assert!(why.contains(&page.unreadable[0].case_id), "{why}");
            }
            _ => assert_eq!(one.case.case.order_id, order(2).to_string()),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_send_that_fails_leaves_the_case_open_and_holds_its_group() {
    let shop = Shop::open().await;
    dead_notice(&shop, order(1), 1).await;
    dead_notice(&shop, order(1), 6).await;
    shop.platform.backend().queues.set_faults(|_| lambda_queue::memory::QueueFault::Throttle);
    let report = replayed(&shop).await;
    assert!(matches!(report.cases[0].1, Outcome::NotSent(_)), "{report:?}");
    assert_eq!(report.cases[1].1, Outcome::Held);
    assert_eq!(report.stopped, Some(Stopped::Failed));
    assert_eq!(cases(&shop, CaseStatus::Open).await.len(), 2);
    shop.platform.backend().queues.clear_faults();
    assert_eq!(replayed(&shop).await.sent, 2);
}

pub async fn a_parked_order(shop: &Shop, steps: usize) -> (OrderId, StoredCase) {
    let id = an_order_after(shop, steps).await;
    parked(shop, id).await
}

async fn parked(shop: &Shop, id: OrderId) -> (OrderId, StoredCase) {
    let queues = &shop.platform.backend().queues;
    for queue in queues.names() {
        queues.purge(&queue);
    }
    let row = shop.row(id).await;
    assert!(park(&*shop.platform, &row, "payment", CaseClass::Transient, "12 attempts came to nothing").await.unwrap());
    (id, cases(shop, CaseStatus::Open).await.remove(0))
}

#[tokio::test(start_paused = true)]
async fn a_parked_order_is_let_go_with_its_case_and_ends() {
    let shop = Shop::open().await;
    let (id, case) = a_parked_order(&shop, 3).await;
    let version = shop.row(id).await.version;
    let planned = planned(&shop, vec![case.clone()]).await;
    assert_eq!(planned[0].action, Action::Resume { order_id: id, command: "payment.capture" });
    let report = run(&*shop.platform, planned.clone(), &by("mended"), AT_ONCE, |_| ()).await;
    assert_eq!((report.sent, report.failed), (1, 0));
    let row = shop.row(id).await;
    assert_eq!((row.version, row.parked), (version + 1, None));
    let stored = shop.platform.load_case(&case.case.case_id).await.unwrap().unwrap();
    assert_eq!(stored.status, CaseStatus::Replayed);
    assert_eq!(shop.invoke(Step::Payment).await, 1);
    assert_eq!(shop.invoke(Step::Shipping).await, 1);
    assert_eq!(shop.row(id).await.state, State::Shipped);
    // Again: nothing.
    let again = run(&*shop.platform, planned, &by("again"), AT_ONCE, |_| ()).await;
    assert_eq!(again.cases[0].1, Outcome::Changed);
    assert_eq!(*shop.till.asked.lock().unwrap(), ["create", "confirm", "capture"]);
}

#[tokio::test(start_paused = true)]
async fn row_case_and_audit_record_change_together_or_not_at_all() {
    let shop = Shop::open().await;
    let (id, case) = a_parked_order(&shop, 1).await;
    let before = shop.row(id).await;
    shop.platform
        .backend()
        .store
        .set_faults(|call| if call.operation == Operation::Transact { Fault::Throttle } else { Fault::None });
    let report = replayed(&shop).await;
    assert!(matches!(report.cases[0].1, Outcome::NotSent(_)), "{report:?}");
    shop.platform.backend().store.clear_faults();
    assert_eq!(shop.row(id).await, before);
    assert_eq!(cases(&shop, CaseStatus::Open).await, std::slice::from_ref(&case));
    assert_eq!(shop.platform.audits_of(case.case.case_id.as_str()).await.unwrap(), []);
    // Done, and its answer lost: recovery sends what the row owes, and the second try finds it let go.
    shop.platform
        .backend()
        .store
        .set_faults(|call| if call.operation == Operation::Transact { Fault::Lost } else { Fault::None });
    replayed(&shop).await;
    shop.platform.backend().store.clear_faults();
    assert_eq!(shop.row(id).await.parked, None);
    assert_eq!(shop.platform.audits_of(case.case.case_id.as_str()).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_parked_orders_case_is_closed_only_by_who_gives_the_order_up() {
    let shop = Shop::open().await;
    let (id, case) = a_parked_order(&shop, 2).await;
    assert_eq!(close(&*shop.platform, &case, &by("tired of it"), None).await.unwrap(), Closed::NeedsAbandon);
    assert!(shop.row(id).await.parked.is_some());
    // Authorized: the hold is given up by the table.
    assert_eq!(close(&*shop.platform, &case, &by("customer called"), Some(&[])).await.unwrap(), Closed::Cancelling);
    let row = shop.row(id).await;
    assert!(row.cancel_requested && row.parked.is_none());
    assert_eq!(shop.invoke(Step::Stock).await, 1);
    assert_eq!(shop.invoke(Step::Payment).await, 1);
    assert_eq!(shop.row(id).await.state, State::Cancelled);
    let stored = shop.platform.load_case(&case.case.case_id).await.unwrap().unwrap();
    assert_eq!(stored.status, CaseStatus::Closed);
    assert_eq!(close(&*shop.platform, &stored, &by("again"), Some(&[])).await.unwrap(), Closed::Already);
    let of_order = shop.platform.audits_of(&id.to_string()).await.unwrap();
    assert_eq!(of_order.iter().map(|audit| audit.action.as_str()).collect::<Vec<_>>(), ["abandon"]);
}

#[tokio::test(start_paused = true)]
async fn a_case_whose_order_is_about_to_be_parked_is_not_closed_under_it() {
    let shop = Shop::open().await;
    let id = an_order_after(&shop, 1).await;
    let row = shop.row(id).await;
    // The case is written first; the commit that parks the order has not come yet.
    shop.platform.backend().store.set_faults(|call| {
        let orders = call.items.iter().any(|(table, _)| table == "orders");
        if orders && call.operation == Operation::Update { Fault::Throttle } else { Fault::None }
    });
    park(&*shop.platform, &row, "payment", CaseClass::Transient, "12 attempts").await.unwrap_err();
    shop.platform.backend().store.clear_faults();
    let case = cases(&shop, CaseStatus::Open).await.remove(0);
    assert_eq!(close(&*shop.platform, &case, &by("too soon"), Some(&[])).await.unwrap(), Closed::MayBeParked);
    let planned = planned(&shop, vec![case.clone()]).await;
    assert!(matches!(planned[0].action, Action::Refused { .. }), "{planned:?}");
    // It is: the case stands. It moves on instead: the case is closed by that.
    assert!(park(&*shop.platform, &row, "payment", CaseClass::Transient, "12 attempts").await.unwrap());
    assert_eq!(cases(&shop, CaseStatus::Open).await.len(), 1);
    assert_eq!(close(&*shop.platform, &case, &by("given up"), Some(&[])).await.unwrap(), Closed::Cancelling);
}

#[tokio::test(start_paused = true)]
async fn an_order_that_is_being_undone_stays_parked_when_it_is_abandoned() {
    let shop = Shop::open().await;
    let id = an_order_after(&shop, 2).await;
    crate::shop::cancel(&shop.platform, id).await;
    let message = ports::command_message(&shop.row(id).await, None, 0).unwrap();
    put(&shop, "stock-express", &message.body).await;
    shop.invoke(Step::Stock).await;
    assert_eq!(shop.row(id).await.state, State::Voiding);
    let (id, case) = parked(&shop, id).await;
    assert_eq!(close(&*shop.platform, &case, &by("voided by hand"), Some(&[])).await.unwrap(), Closed::LeftParked);
    let row = shop.row(id).await;
    assert_eq!((row.state, row.next_command(), row.due_at), (State::Voiding, None, None));
    assert!(row.parked.is_some_and(|parked| parked.abandoned && parked.case_id == case.case.case_id));
    assert_eq!(cases(&shop, CaseStatus::Abandoned).await.len(), 1);
    let audits = shop.platform.audits_of(case.case.case_id.as_str()).await.unwrap();
    assert_eq!((audits.len(), audits[0].action.as_str()), (1, "abandon"));
    let now = cases(&shop, CaseStatus::Abandoned).await.remove(0);
    assert_eq!(close(&*shop.platform, &now, &by("again"), Some(&[])).await.unwrap(), Closed::Already);
    // Reopened, it is given up no longer.
    assert_eq!(recover_orders::nudge(&*shop.platform, id).await.unwrap(), recover_orders::Nudged::Sent);
    assert_eq!(shop.row(id).await.parked, None);
    assert_eq!(shop.invoke(Step::Payment).await, 1);
    assert_eq!(shop.row(id).await.state, State::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_case_that_came_again_while_it_was_decided_is_left_open() {
    let shop = Shop::open().await;
    dead_notice(&shop, order(1), 1).await;
    let read = cases(&shop, CaseStatus::Open).await.remove(0);
    let mut again = crate::dead_letters::message("notify-dlq.fifo", &event(order(1), 1));
    again.attributes.push(("replay_of".to_owned(), read.case.case_id.to_string()));
    assert_eq!(shop.platform.send("notify-dlq.fifo", &[again]).await, [Ok(())]);
    triage(&shop, "notify-dlq.fifo").await;
    assert_eq!(close(&*shop.platform, &read, &by("old news"), None).await.unwrap(), Closed::Changed);
    assert_eq!(cases(&shop, CaseStatus::Open).await.len(), 1);
}
