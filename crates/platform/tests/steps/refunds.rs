//! Refunds whose answers are lost: the one effect of the order's money that can happen twice beside itself.

use std::time::Duration;

use lambda_queue::{Clock as _, Queue as _};
use order::{Fingerprint, Next, Order, OrderId, Outcome, RefundRefusal, RefundStatus, Step, transition};
use ports::{
    CaseClass, CaseStatus, Commit, CommitOrder as _, DecideCases as _, Decided, ReadCases as _, RefundView, StoredCase,
    command_message, park,
};
use triage_dead_letters::decide::{Closed, OwedRefund, close, given_up_with, owed_refunds};

use crate::an_order_after;
use crate::dead_letters::cases;
use crate::replays::by;
use crate::shop::{Giving, Shop};

const AMOUNT: u64 = 700;

/// An order that shipped, and whose first refund is asked for, with what is to become of the calls for it.
pub async fn a_refund_of(shop: &Shop, giving: &[Giving]) -> OrderId {
    let id = an_order_after(shop, 5).await;
    shop.till.giving.lock().unwrap().extend(giving);
    let before = shop.row(id).await;
    let asked = Outcome::RefundRequested {
        amount_minor: AMOUNT,
        key_hash: Fingerprint::of(b"key"),
        fingerprint: Fingerprint::of(b"request"),
        reason: None,
    };
    let Next::Changed(after) = transition(&before, &asked, shop.platform.now_ms()).unwrap() else { panic!("absorbed") };
    assert_eq!(shop.platform.commit_order(&before, &after).await, Ok(Commit::Done));
    let owed = command_message(&after, None, shop.platform.now_ms()).unwrap();
    let queue = owed.queue.clone();
    assert_eq!(shop.platform.send(&queue, &[owed]).await, [Ok(())]);
    id
}

/// Lets the payment step work until the till was asked this often.
async fn asked(shop: &Shop, times: usize) {
    for _ in 0..2_000 {
        if shop.till.refund_keys.lock().unwrap().len() >= times {
            return;
        }
        shop.invoke(Step::Payment).await;
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    panic!("asked {} times", shop.till.refund_keys.lock().unwrap().len());
}

/// Lets the payment step work until the row has the refund's receipt; answers the receipt.
async fn receipt(shop: &Shop, id: OrderId) -> String {
    for _ in 0..2_000 {
        shop.invoke(Step::Payment).await;
        let row = shop.row(id).await;
        assert_eq!(row.parked, None);
        if row.refunds[0].status == RefundStatus::Done {
            return row.refunds[0].refund_id.clone().unwrap();
        }
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    panic!("no receipt: {:?}", shop.till.asked.lock().unwrap());
}

/// The generations of the keys that the till was asked with.
fn generations(shop: &Shop) -> Vec<String> {
    let keys = shop.till.refund_keys.lock().unwrap();
    keys.iter().map(|key| key.rsplit('/').next().unwrap().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_doubt_outlasts_whatever_surely_did_not_run_and_the_money_goes_back_once() {
    for second in [Giving::Throttled, Giving::Refused] {
        let shop = Shop::open().await;
        let id = a_refund_of(&shop, &[Giving::Late, second]).await;
        asked(&shop, 2).await;
        // A day later: the provider knows no key any more, so only who looks does not give the money back again.
        shop.till.forget_keys();
        assert_eq!(receipt(&shop, id).await, "re_1", "{second:?}");
        assert_eq!(shop.till.refunds.lock().unwrap().len(), 1, "{second:?}");
        assert_eq!(shop.till.refund_keys.lock().unwrap().len(), 2, "found, not asked for again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_without_room_is_no_attempt_and_no_answer_also_in_doubt() {
    let shop = Shop::open().await;
    let mut giving = vec![Giving::Throttled; 15];
    giving[0] = Giving::Lost;
    let id = a_refund_of(&shop, &giving).await;
    receipt(&shop, id).await;
    assert_eq!(generations(&shop), ["0"; 16], "the old key was never answered");
    assert_eq!(shop.till.refunds.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_never_was_answered_is_asked_with_again_however_often() {
    let shop = Shop::open().await;
    let id = a_refund_of(&shop, &[Giving::Lost, Giving::Lost, Giving::Lost, Giving::Late]).await;
    assert_eq!(receipt(&shop, id).await, "re_4");
    assert_eq!(generations(&shop), ["0"; 5], "the last of them is how the late one is told from a new one");
    assert_eq!(shop.till.refunds.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_answered_with_a_failure_again_makes_room_for_a_new_one() {
    let shop = Shop::open().await;
    let id = a_refund_of(&shop, &[Giving::Stored500, Giving::Throttled]).await;
    receipt(&shop, id).await;
    // Asked, throttled, answered the same, and after a look-up under a key of its own.
    assert_eq!(generations(&shop), ["0", "0", "0", "1"]);
    assert_eq!(shop.till.refunds.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refund_that_was_refused_for_want_of_balance_goes_under_a_new_key_once_the_order_is_let_go_on() {
    let shop = Shop::open().await;
    let id = a_refund_of(&shop, &[Giving::NoBalance]).await;
    asked(&shop, 1).await;
    assert!(shop.row(id).await.parked.is_some(), "a person has to look");
    // The balance is filled up; within the day the old key would be answered as before.
    assert_eq!(recover_orders::nudge(&*shop.platform, id).await.unwrap(), recover_orders::Nudged::Sent);
    assert_eq!(receipt(&shop, id).await, "re_2");
    assert_eq!(generations(&shop), ["0", "1"]);
    assert_eq!(shop.till.refunds.lock().unwrap().len(), 1);
}

/// Another refund, of one minor unit.
fn another() -> Outcome {
    Outcome::RefundRequested {
        amount_minor: 1,
        key_hash: Fingerprint::of(b"another key"),
        fingerprint: Fingerprint::of(b"another request"),
        reason: None,
    }
}

/// Asks for another refund of a row as it was read.
async fn ask_for_another(shop: &Shop, read: &Order) -> Commit {
    let Next::Changed(after) = transition(read, &another(), shop.platform.now_ms()).unwrap() else {
        panic!("absorbed")
    };
    shop.platform.commit_order(read, &after).await.unwrap()
}

/// An order that is parked over its first refund, and its case.
async fn parked_over_a_refund(shop: &Shop) -> (OrderId, StoredCase) {
    let id = a_refund_of(shop, &[Giving::NoBalance]).await;
    asked(shop, 1).await;
    (id, cases(shop, CaseStatus::Open).await.remove(0))
}

#[tokio::test(start_paused = true)]
async fn an_order_that_is_given_up_while_it_owes_a_refund_takes_no_other_one_and_pays_none() {
    let shop = Shop::open().await;
    let (id, case) = parked_over_a_refund(&shop).await;
    // Another refund is asked for while the operator decides: the one that comes first counts.
    let read = shop.row(id).await;
    let by = by("paid back by bank transfer");
    assert_eq!(close(&*shop.platform, &case, &by, Some(&owed_refunds(&read))).await.unwrap(), Closed::LeftParked);
    let Commit::Lost(row) = ask_for_another(&shop, &read).await else { panic!("it slipped in") };
    assert_eq!(row.refund_allowed(1), Err(RefundRefusal::Abandoned));
    assert_eq!(transition(&row, &another(), 0), Ok(Next::Absorbed));
    assert_eq!(row.next_command(), None);
    assert_eq!(shop.till.refunds.lock().unwrap().len(), 0);
    let audits = shop.platform.audits_of(case.case.case_id.as_str()).await.unwrap();
    assert!(audits[0].detail.ends_with("while shipped, owing refunds of 7.00 USD"), "{audits:?}");
}

#[tokio::test(start_paused = true)]
async fn an_order_is_not_given_up_over_a_refund_that_nobody_has_seen() {
    let shop = Shop::open().await;
    let (id, case) = parked_over_a_refund(&shop).await;
    let read = shop.row(id).await;
    let seen = owed_refunds(&read);
    assert_eq!(seen, [OwedRefund { ordinal: 0, amount_minor: AMOUNT }]);
    // The other refund is taken first.
    assert_eq!(ask_for_another(&shop, &read).await, Commit::Done);
    let by = by("the first one is paid by bank transfer");
    assert_eq!(close(&*shop.platform, &case, &by, Some(&seen)).await.unwrap(), Closed::Changed);
    let row = shop.row(id).await;
    assert!(row.parked.as_ref().is_some_and(|parked| !parked.abandoned));
    assert_eq!(cases(&shop, CaseStatus::Open).await, std::slice::from_ref(&case));
    assert_eq!(shop.platform.audits_of(case.case.case_id.as_str()).await.unwrap(), []);
    // Who has seen both gives it up.
    assert_eq!(close(&*shop.platform, &case, &by, Some(&owed_refunds(&row))).await.unwrap(), Closed::LeftParked);
}

#[tokio::test(start_paused = true)]
async fn an_order_that_a_program_of_before_gave_up_can_be_made_to_take_no_refund() {
    let shop = Shop::open().await;
    let (id, case) = parked_over_a_refund(&shop).await;
    let by = by("paid back by bank transfer");
    // That program left the row as it was.
    let audit = by.audit(&*shop.platform, "abandon", case.case.case_id.as_str(), "");
    assert_eq!(shop.platform.decide_case(&case, CaseStatus::Abandoned, &audit).await, Ok(Decided::Done));
    let case = cases(&shop, CaseStatus::Abandoned).await.remove(0);
    let row = given_up_with(&*shop.platform, &case).await.unwrap().unwrap();
    assert_eq!(row.refund_allowed(1), Ok(()), "it takes refunds that nobody pays");
    assert_eq!(close(&*shop.platform, &case, &by, Some(&[])).await.unwrap(), Closed::Changed);
    let seen = owed_refunds(&row);
    assert_eq!(close(&*shop.platform, &case, &by, None).await.unwrap(), Closed::Already);
    assert_eq!(close(&*shop.platform, &case, &by, Some(&seen)).await.unwrap(), Closed::LeftParked);
    assert_eq!(shop.row(id).await.refund_allowed(1), Err(RefundRefusal::Abandoned));
    let case = cases(&shop, CaseStatus::Abandoned).await.remove(0);
    assert_eq!(close(&*shop.platform, &case, &by, Some(&seen)).await.unwrap(), Closed::Already);
}

/// As the provider's own site makes it: it knows nothing of our ordinals.
fn by_hand(amount_minor: u64) -> RefundView {
    RefundView { refund_id: format!("re_hand_{amount_minor}"), ordinal: None, amount_minor, failed: false }
}

#[tokio::test(start_paused = true)]
async fn a_refund_that_somebody_gave_by_hand_while_it_was_refused_is_not_given_again() {
    let shop = Shop::open().await;
    let id = a_refund_of(&shop, &[Giving::NoBalance]).await;
    asked(&shop, 1).await;
    shop.till.refunds.lock().unwrap().push(by_hand(AMOUNT));
    assert_eq!(recover_orders::nudge(&*shop.platform, id).await.unwrap(), recover_orders::Nudged::Sent);
    assert_eq!(receipt(&shop, id).await, format!("re_hand_{AMOUNT}"));
    assert_eq!(generations(&shop), ["0"], "nothing more is asked for");
}

#[tokio::test(start_paused = true)]
async fn another_amount_given_by_hand_is_for_a_person_to_settle_and_nothing_is_given() {
    for given in [vec![AMOUNT - 1], vec![AMOUNT, AMOUNT]] {
        let shop = Shop::open().await;
        let id = a_refund_of(&shop, &[Giving::NoBalance]).await;
        asked(&shop, 1).await;
        shop.till.refunds.lock().unwrap().extend(given.iter().copied().map(by_hand));
        assert_eq!(recover_orders::nudge(&*shop.platform, id).await.unwrap(), recover_orders::Nudged::Sent);
        for _ in 0..120 {
            shop.invoke(Step::Payment).await;
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!(shop.row(id).await.parked.is_some(), "{given:?}");
        assert_eq!(generations(&shop), ["0"], "{given:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refund_given_by_hand_before_is_none_of_those_that_are_asked_for() {
    let shop = Shop::open().await;
    shop.till.refunds.lock().unwrap().push(by_hand(AMOUNT));
    let id = a_refund_of(&shop, &[Giving::Lost]).await;
    assert_eq!(receipt(&shop, id).await, "re_2");
}

#[tokio::test(start_paused = true)]
async fn money_given_by_hand_counts_however_the_order_came_to_be_parked() {
    for giving in [vec![], vec![Giving::Lost; 12]] {
        let shop = Shop::open().await;
        let id = a_refund_of(&shop, &giving).await;
        if giving.is_empty() {
            // By recovery: no effect was begun, nothing is in doubt.
            let row = shop.row(id).await;
            park(&*shop.platform, &row, "recover", CaseClass::Transient, "10 nudges moved nothing").await.unwrap();
        } else {
            for _ in 0..20_000 {
                if shop.row(id).await.parked.is_some() {
                    break;
                }
                shop.invoke(Step::Payment).await;
                tokio::time::advance(Duration::from_secs(1)).await;
            }
        }
        assert!(shop.row(id).await.parked.is_some());
        let asked = shop.till.refund_keys.lock().unwrap().len();
        shop.till.refunds.lock().unwrap().push(by_hand(AMOUNT));
        assert_eq!(recover_orders::nudge(&*shop.platform, id).await.unwrap(), recover_orders::Nudged::Sent);
        assert_eq!(receipt(&shop, id).await, format!("re_hand_{AMOUNT}"));
        assert_eq!(shop.till.refund_keys.lock().unwrap().len(), asked, "nothing more is asked for");
    }
}
