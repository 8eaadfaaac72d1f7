//! Cases that recovery opened and died before it parked the order: the step that moves the order on closes them.

use lambda_queue::Clock as _;
use lambda_queue::memory::{Fault, Operation};
use lambda_queue::ports::store::text_of;
use order::Step;
use ports::{CaseClass, CommitOrder as _, MAX_NUDGES, park};

use crate::an_order_after;
use crate::shop::Shop;

fn statuses(shop: &Shop) -> Vec<String> {
    let cases = shop.platform.backend().store.items("cases");
    cases.iter().map(|case| text_of(case, "status").unwrap().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn whichever_step_comes_next_closes_the_case_of_a_recovery_that_died_before_it_parked_the_order() {
    for (steps, next) in
        [(0, Step::Validate), (1, Step::Payment), (2, Step::Stock), (3, Step::Payment), (4, Step::Shipping)]
    {
        let shop = Shop::open().await;
        let id = an_order_after(&shop, steps).await;
        let row = shop.row(id).await;
        assert_eq!(shop.platform.postpone(&row, shop.platform.now_ms(), MAX_NUDGES).await, Ok(true));
        let store = &shop.platform.backend().store;
        store.set_faults(|call| {
            let orders = call.items.iter().any(|(table, _)| table == "orders");
            if orders && call.operation == Operation::Update { Fault::Throttle } else { Fault::None }
        });
        let row = shop.row(id).await;
        park(&*shop.platform, &row, "recover", CaseClass::Transient, "10 nudges moved nothing").await.unwrap_err();
        store.clear_faults();
        assert_eq!(statuses(&shop), ["open"], "the case is written first");
        assert_eq!(shop.invoke(next).await, 1);
        assert_eq!(statuses(&shop), ["superseded"], "{next:?}");
        let after = shop.row(id).await;
        assert_eq!((after.parked, after.version), (None, row.version + 1));
    }
}
