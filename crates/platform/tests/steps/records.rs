//! The records of the idempotency table: whose they are, and how long they are kept.

use lambda_queue::Clock as _;
use lambda_queue::idempotency::Ended;
use lambda_queue::memory::{Fault, Operation, World};
use lambda_queue::ports::store::{Item, Store as _, number_of, text, text_of};
use order::{State, Step};
use platform::memory::Memory;
use platform::{Names, Platform, Retention};
use ports::ClaimOnce as _;

use crate::an_order_after;
use crate::shop::Shop;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
const MAIL: &str = "mail#order#3";

async fn record(platform: &Platform<Memory>, key: &str) -> Item {
    let key = Item::from([("key".to_owned(), text(key))]);
    platform.backend().get("idempotency", key, true).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_late_copy_of_an_unclaim_frees_nobody_elses_claim_and_completes_none() {
    let platform = Platform::in_memory(World::new(1));
    let first = platform.claim_once(MAIL).await.unwrap().unwrap();
    assert_eq!(platform.claim_once(MAIL).await, Ok(None));
    assert_eq!(platform.unclaim(&first).await, Ok(Ended::Done));
    let second = platform.claim_once(MAIL).await.unwrap().unwrap();
    // The SDK saw no answer to the unclaim, and its copy comes only now. The second mail is on its way.
    assert_eq!(platform.unclaim(&first).await, Ok(Ended::LeaseLost));
    assert_eq!(platform.claim_done(&first, "mail-1").await, Ok(Ended::LeaseLost));
    assert_eq!(platform.claim_once(MAIL).await, Ok(None), "it would go out twice");
    assert_eq!(text_of(&record(&platform, MAIL).await, "status"), Some("CLAIMED"));
    for _ in 0..2 {
        assert_eq!(platform.claim_done(&second, "mail-2").await, Ok(Ended::Done));
    }
    assert_eq!(platform.unclaim(&second).await, Ok(Ended::LeaseLost), "what is done stays done");
    assert_eq!(text_of(&record(&platform, MAIL).await, "result"), Some("mail-2"));
}

#[tokio::test(start_paused = true)]
async fn a_settled_effect_is_kept_as_long_as_its_message_can_come_again() {
    let shop = Shop::open().await;
    let id = an_order_after(&shop, 5).await;
    for key in [format!("payment#{id}"), format!("shipment#{id}")] {
        let record = record(&shop.platform, &key).await;
        let left_ms = number_of(&record, "expires_at").unwrap() * 1_000 - shop.platform.now_ms();
        assert_eq!((text_of(&record, "status"), left_ms), (Some("COMPLETED"), 393 * DAY_MS), "{key}");
    }
}

#[tokio::test]
async fn a_longer_archive_keeps_records_longer() {
    let names = Names {
        idempotency_table: "idempotency".to_owned(),
        idempotency_retention: Retention::least(731),
        ..Names::default()
    };
    let platform = Platform::over(Memory::new(World::new(1)), names);
    let claim = platform.claim_once(MAIL).await.unwrap().unwrap();
    assert_eq!(number_of(&record(&platform, MAIL).await, "expires_at"), None, "it is not settled yet");
    assert_eq!(platform.claim_done(&claim, "mail-1").await, Ok(Ended::Done));
    let expires_ms = number_of(&record(&platform, MAIL).await, "expires_at").unwrap() * 1_000;
    assert_eq!(expires_ms - platform.now_ms(), 759 * DAY_MS);
}

#[tokio::test(start_paused = true)]
async fn a_captures_commit_whose_answer_is_lost_is_settled_in_the_same_receive() {
    // It landed; it never came there.
    for fault in [Fault::Lost, Fault::Vanished] {
        let shop = Shop::open().await;
        let id = an_order_after(&shop, 3).await;
        let mut faults = std::iter::once(fault.clone());
        shop.platform.backend().store.set_faults(move |call| match call.operation {
            Operation::Transact => faults.next().unwrap_or_default(),
            _ => Fault::None,
        });
        assert_eq!(shop.invoke(Step::Payment).await, 1, "{fault:?}: it does not wait for its lease's end");
        shop.platform.backend().store.clear_faults();
        let row = shop.row(id).await;
        assert_eq!((row.state, row.version), (State::Paid, 5), "{fault:?}");
        assert_eq!(*shop.till.asked.lock().unwrap(), ["create", "confirm", "capture"], "{fault:?}");
        let record = record(&shop.platform, &format!("payment#{id}")).await;
        assert_eq!(text_of(&record, "status"), Some("COMPLETED"), "{fault:?}");
        assert_eq!(shop.platform.backend().queues.counts("shipping-express").visible, 1, "{fault:?}");
    }
}
