//! What a replay goes by before it sends more: what became of what it has sent, and whether the provider is there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lambda_queue::breaker::Manual;
use lambda_queue::memory::Fault;
use lambda_queue::{Clock as _, Queue as _};
use order::{Next, State, Step, transition};
use platform::Guarded;
use ports::{CaseClass, CaseStatus, Commit, CommitOrder as _, Dependency, park};
use triage_dead_letters::replay::{Action, Fate, Outcome, Pace, Report, Stopped, plan, run};

use crate::dead_letters::{cases, put, triage};
use crate::refunds::a_refund_of;
use crate::replays::{AT_ONCE, a_dead_payment, a_parked_order, by, dead_notice, order, planned, replayed};
use crate::shop::{Shop, cancel};

/// As patient as the tool is by itself.
const PATIENT: Pace = Pace { between: Duration::from_millis(100), watch: Duration::from_secs(20) };

/// Replays every open case while a step takes what comes to it.
pub async fn replayed_while_it_works(shop: &Shop, step: Step) -> Report {
    let open = cases(shop, CaseStatus::Open).await;
    let planned = planned(shop, open).await;
    let operator = by("mended");
    let consumer = async {
        loop {
            shop.invoke(step).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    tokio::select! {
        report = run(&*shop.platform, planned, &operator, PATIENT, |_| ()) => report,
        () = consumer => unreachable!("it never ends"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_dies_again_stops_the_replay_and_opens_its_case() {
    let shop = Shop::open().await;
    for at in 1..=12 {
        dead_notice(&shop, order(at), 6).await;
    }
    let open = cases(&shop, CaseStatus::Open).await;
    let planned = planned(&shop, open).await;
    let pace = Pace { between: Duration::from_millis(100), watch: Duration::from_secs(20) };
    let operator = by("mended, or so it seemed");
    // The consumer gives up whatever comes.
    let queues = &shop.platform.backend().queues;
    let consumer = async {
        loop {
            let received = queues.receive("notify.fifo", 10);
            for record in &received.records {
                let attributes = &record.message_attributes;
                let replay_of = attributes["replay_of"].string_value.clone().unwrap();
                let mut again = crate::dead_letters::message("notify-dlq.fifo", record.body.as_deref().unwrap());
                again.dedup = Some(format!("again-{}", record.message_id.as_deref().unwrap()));
                again.attributes.push(("replay_of".to_owned(), replay_of));
                assert_eq!(shop.platform.send("notify-dlq.fifo", &[again]).await, [Ok(())]);
            }
            queues.settle(&received, &aws_lambda_events::event::sqs::SqsBatchResponse::default());
            triage(&shop, "notify-dlq.fifo").await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    let report = tokio::select! {
        report = run(&*shop.platform, planned, &operator, pace, |_| ()) => report,
        () = consumer => unreachable!("it never ends"),
    };
    assert_eq!((report.sent, report.failed, report.stopped), (1, 1, Some(Stopped::Failed)));
    assert_eq!(report.cases.len(), 12);
    assert_eq!(report.cases[0].1, Outcome::Sent(Fate::FailedAgain));
    assert!(report.cases[1..].iter().all(|(_, outcome)| *outcome == Outcome::Held));
    assert_eq!(cases(&shop, CaseStatus::Open).await.len(), 12, "the first one is open again");
}

#[tokio::test(start_paused = true)]
async fn a_replay_that_goes_well_is_one_then_ten_then_the_rest() {
    let shop = Shop::open().await;
    for at in 1..=30 {
        dead_notice(&shop, order(at), 6).await;
    }
    let open = cases(&shop, CaseStatus::Open).await;
    let planned = planned(&shop, open).await;
    let mut stages = Vec::new();
    let report = run(&*shop.platform, planned, &by("mended"), AT_ONCE, |so_far| stages.push(so_far.sent)).await;
    assert_eq!((stages, report.sent, report.stopped), (vec![1, 11, 30], 30, None));
}

/// So many orders whose payment commands are cases.
async fn dead_payments(shop: &Shop, count: usize) {
    for nth in 0..count {
        shop.place_as(&format!("key-{nth}")).await;
        assert_eq!(shop.invoke(Step::Validate).await, 1);
    }
    let queues = &shop.platform.backend().queues;
    let bodies = queues.bodies("payment-express");
    queues.purge("payment-express");
    for body in &bodies {
        put(shop, "payment-dlq", body).await;
    }
    assert_eq!(triage(shop, "payment-dlq").await, count);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_nobody_takes_is_not_known_yet_and_the_replay_stops_there_until_it_is_run_again() {
    let shop = Shop::open().await;
    dead_payments(&shop, 3).await;
    let open = cases(&shop, CaseStatus::Open).await;
    let planned = planned(&shop, open).await;
    let report = run(&*shop.platform, planned, &by("mended, or so it seemed"), PATIENT, |_| ()).await;
    assert_eq!((report.sent, report.failed, report.unknown), (1, 0, 1));
    assert_eq!(report.stopped, Some(Stopped::NotKnownYet));
    let became: Vec<&Outcome> = report.cases.iter().map(|(_, became)| became).collect();
    assert_eq!(became, [&Outcome::Sent(Fate::NotKnownYet), &Outcome::Held, &Outcome::Held]);
    assert_eq!(cases(&shop, CaseStatus::Open).await.len(), 2);

    let report = replayed_while_it_works(&shop, Step::Payment).await;
    assert_eq!((report.sent, report.failed, report.unknown, report.stopped), (2, 0, 0, None));
    assert_eq!(shop.till.asked.lock().unwrap().iter().filter(|asked| **asked == "confirm").count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_waits_behind_others_for_longer_than_it_is_watched_once_is_looked_at_again() {
    let shop = Shop::open().await;
    dead_payments(&shop, 3).await;
    let open = cases(&shop, CaseStatus::Open).await;
    let planned = planned(&shop, open).await;
    let operator = by("mended");
    let consumer = async {
        // What stands before it takes half a minute.
        tokio::time::sleep(Duration::from_secs(30)).await;
        loop {
            shop.invoke(Step::Payment).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    let report = tokio::select! {
        report = run(&*shop.platform, planned, &operator, PATIENT, |_| ()) => report,
        () = consumer => unreachable!("it never ends"),
    };
    assert_eq!((report.sent, report.failed, report.unknown, report.stopped), (3, 0, 0, None), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_known_of_one_stage_is_looked_at_again_with_the_next() {
    let shop = Shop::open().await;
    let (_, slow) = a_dead_payment(&shop).await;
    for at in 1..=120 {
        dead_notice(&shop, order(at), 6).await;
    }
    let mut open = cases(&shop, CaseStatus::Open).await;
    // Of the third stage, which bears one that is not known.
    open.retain(|case| *case != slow);
    open.insert(50, slow.clone());
    let planned = planned(&shop, open).await;
    let (operator, third_is_over) = (by("mended"), AtomicBool::new(false));
    let mut stages = Vec::new();
    let consumer = async {
        loop {
            if third_is_over.load(Ordering::SeqCst) {
                shop.invoke(Step::Payment).await;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    let tell = |so_far: &Report| {
        stages.push((so_far.sent, so_far.unknown));
        third_is_over.store(so_far.sent == 111, Ordering::SeqCst);
    };
    let report = tokio::select! {
        report = run(&*shop.platform, planned, &operator, PATIENT, tell) => report,
        () = consumer => unreachable!("it never ends"),
    };
    assert_eq!(stages, [(1, 0), (11, 0), (111, 1), (121, 0)]);
    let of_slow = report.cases.iter().find(|(case_id, _)| case_id == slow.case.case_id.as_str()).unwrap();
    assert_eq!((&of_slow.1, report.unknown, report.stopped), (&Outcome::Sent(Fate::Done), 0, None));
}

#[tokio::test(start_paused = true)]
async fn a_parked_order_that_owes_nothing_any_more_is_let_go_and_counts_as_done() {
    let shop = Shop::open().await;
    let id = a_refund_of(&shop, &[]).await;
    let row = shop.row(id).await;
    assert!(park(&*shop.platform, &row, "payment", CaseClass::Transient, "12 attempts").await.unwrap());
    // Whoever had the refund in hand comes back with its receipt.
    let parked = shop.row(id).await;
    let receipt = order::Outcome::Refunded { ordinal: 0, refund_id: "re_late".to_owned() };
    let Next::Changed(after) = transition(&parked, &receipt, shop.platform.now_ms()).unwrap() else {
        panic!("absorbed")
    };
    assert_eq!(shop.platform.commit_order(&parked, &after).await, Ok(Commit::Done));
    assert!(shop.row(id).await.parked.is_some(), "it waits for a person all the same");
    shop.platform.backend().queues.purge("payment-express");
    dead_payments(&shop, 1).await;

    let mut open = cases(&shop, CaseStatus::Open).await;
    open.sort_by_key(|case| case.case.order_id != id.to_string());
    let plans = planned(&shop, open).await;
    assert_eq!(plans[0].action, Action::Resume { order_id: id, command: "nothing" });
    let report = run(&*shop.platform, plans, &by("it is paid"), AT_ONCE, |_| ()).await;
    assert_eq!(report.cases[0].1, Outcome::Sent(Fate::Done));
    assert_eq!((report.sent, shop.row(id).await.parked), (2, None), "and what is behind it is begun");
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_still_away_stops_the_replay_though_nothing_comes_back_as_a_case() {
    let shop = Shop::open().await;
    dead_payments(&shop, 3).await;
    // It is looked up, or tried again, for hours: no letter tells of it while anybody watches.
    shop.till.down.store(true, Ordering::SeqCst);
    let report = replayed_while_it_works(&shop, Step::Payment).await;
    assert_eq!((report.sent, report.failed, report.stopped), (1, 0, Some(Stopped::NotKnownYet)), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_parked_order_that_is_let_go_counts_as_done_when_it_has_moved_and_as_failed_when_it_is_parked_again() {
    let shop = Shop::open().await;
    let (id, _) = a_parked_order(&shop, 3).await;
    let report = replayed(&shop).await;
    assert_eq!(report.cases[0].1, Outcome::Sent(Fate::NotKnownYet));
    assert_eq!(report.stopped, Some(Stopped::NotKnownYet));

    let row = shop.row(id).await;
    assert!(park(&*shop.platform, &row, "payment", CaseClass::Transient, "12 attempts").await.unwrap());
    let open = cases(&shop, CaseStatus::Open).await;
    let plans = planned(&shop, open).await;
    let operator = by("mended, or so it seemed");
    let (report, ()) = tokio::join!(run(&*shop.platform, plans, &operator, PATIENT, |_| ()), async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let row = shop.row(id).await;
        assert!(park(&*shop.platform, &row, "payment", CaseClass::Transient, "12 more").await.unwrap());
    });
    assert_eq!((report.cases[0].1.clone(), report.stopped), (Outcome::Sent(Fate::FailedAgain), Some(Stopped::Failed)));

    let report = replayed_while_it_works(&shop, Step::Payment).await;
    assert_eq!((report.cases[0].1.clone(), report.stopped), (Outcome::Sent(Fate::Done), None));
}

#[tokio::test(start_paused = true)]
async fn a_customers_wish_is_no_sign_that_the_command_was_taken() {
    let shop = Shop::open().await;
    let (id, case) = a_dead_payment(&shop).await;
    let planned = planned(&shop, vec![case]).await;
    let operator = by("mended");
    let (report, ()) = tokio::join!(run(&*shop.platform, planned, &operator, PATIENT, |_| ()), async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        cancel(&shop.platform, id).await;
    });
    assert!(shop.row(id).await.cancel_requested);
    assert_eq!((report.unknown, report.stopped), (1, Some(Stopped::NotKnownYet)));
}

fn refusal(action: &Action) -> &str {
    let Action::Refused { why } = action else { panic!("{action:?}") };
    why
}

#[tokio::test(start_paused = true)]
async fn behind_a_breaker_that_is_not_closed_nothing_is_replayed_unless_it_is_forced() {
    let shop = Shop::open().await;
    let (_, parked) = a_parked_order(&shop, 1).await;
    put(&shop, "archive-dlq", "an event").await;
    triage(&shop, "archive-dlq").await;
    dead_notice(&shop, order(1), 6).await;
    let other = shop.place_as("other").await;
    let message = ports::command_message(&shop.row(other).await, None, 0).unwrap();
    put(&shop, "validate-dlq", &message.body).await;
    triage(&shop, "validate-dlq").await;
    let mail = Guarded::new(shop.platform.clone(), &shop.platform, Dependency::Mail).unwrap();
    let act = Manual::new("a test", "an outage");
    shop.payments.breaker().open(&act, None).await.unwrap();
    mail.breaker().open(&act, None).await.unwrap();

    let open = cases(&shop, CaseStatus::Open).await;
    assert_eq!(open.len(), 4);
    let plans = planned(&shop, open.clone()).await;
    for one in &plans {
        let step = one.case.case.step.as_str();
        let provider = match step {
            "payment" => Some("payment"),
            "notify" => Some("mail"),
            _ => None,
        };
        match provider {
            Some(provider) => {
                let why = refusal(&one.action);
                assert!(why.contains(&format!("the breaker of {provider} is open")), "{why}");
                assert!(why.contains("orderflow breaker list") && why.contains("--despite-breaker"), "{why}");
            }
            None => assert!(!matches!(one.action, Action::Refused { .. }), "{step}: {:?}", one.action),
        }
    }
    let forced = plan(&*shop.platform, open.clone(), &open, &[], true).await.unwrap();
    assert!(forced.iter().all(|one| !matches!(one.action, Action::Refused { .. })), "{forced:?}");
    let of_parked: Vec<_> = forced.into_iter().filter(|one| one.case == parked).collect();
    let report = run(&*shop.platform, of_parked, &by("it may wait"), AT_ONCE, |_| ()).await;
    assert_eq!((report.sent, report.stopped), (1, Some(Stopped::NotKnownYet)));
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_opens_after_the_plan_was_made_is_asked_before_each_case() {
    let shop = Shop::open().await;
    let (id, case) = a_dead_payment(&shop).await;
    let planned = planned(&shop, vec![case]).await;
    assert!(matches!(planned[0].action, Action::Command { .. }));
    shop.payments.breaker().open(&Manual::new("a test", "an outage"), None).await.unwrap();
    let report = run(&*shop.platform, planned, &by("mended"), AT_ONCE, |_| ()).await;
    let Outcome::Refused(why) = &report.cases[0].1 else { panic!("{report:?}") };
    assert!(why.contains("the breaker of payment is open"), "{why}");
    assert_eq!(report.sent, 0);
    assert_eq!(shop.platform.backend().queues.counts("payment-express").visible, 0);
    assert_eq!((cases(&shop, CaseStatus::Open).await.len(), shop.row(id).await.state), (1, State::Validated));
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_cannot_be_read_counts_as_one_that_is_not_closed() {
    let shop = Shop::open().await;
    let (_, case) = a_dead_payment(&shop).await;
    shop.platform.backend().store.set_faults(|call| {
        let of_breakers = call.items.iter().any(|(table, _)| table == "breakers");
        if of_breakers { Fault::Throttle } else { Fault::None }
    });
    let planned = planned(&shop, vec![case]).await;
    let why = refusal(&planned[0].action);
    assert!(why.contains("the breaker of payment cannot be read"), "{why}");
}
