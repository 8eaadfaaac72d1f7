//! Refunds whose answers are lost: the one effect of the order's money that can happen twice beside itself.

use std::time::Duration;

use lambda_queue::{Clock as _, Queue as _};
use order::{Fingerprint, Next, OrderId, Outcome, RefundStatus, Step, transition};
use ports::{Commit, CommitOrder as _, command_message};

use crate::an_order_after;
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
