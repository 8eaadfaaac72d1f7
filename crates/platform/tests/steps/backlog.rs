//! What recovery does with orders that stand in a queue which is long.

use std::time::Duration;

use lambda_queue::Clock as _;
use lambda_queue::lag::Row;
use lambda_queue::ports::store::{Store as _, Write, number};
use order::State;
use ports::{CommitOrder as _, MAX_NUDGES};
use recover_orders::{Recovered, recover};

use crate::an_order_after;
use crate::shop::{LANE, Shop};

/// What a payment consumer of the lane tells.
async fn told(shop: &Shop, lag_ms: u64) {
    let mut item = Row::key(LANE.name());
    item.insert("lag_payment".to_owned(), number(lag_ms));
    item.insert("at_payment".to_owned(), number(shop.platform.now_ms()));
    shop.platform.backend().write(Write::put("breakers", item)).await.unwrap();
}

async fn run(shop: &Shop) -> Recovered {
    recover(&*shop.platform, shop.platform.now_ms() + 50_000).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_order_in_a_long_queue_is_neither_sent_again_nor_given_up_and_one_that_nothing_moves_is() {
    let shop = Shop::open().await;
    let id = an_order_after(&shop, 1).await;
    let waiting = shop.platform.backend().queues.counts("payment-express");
    // Ten times already, before anybody told that the lane is late.
    for nudges in [0, MAX_NUDGES] {
        tokio::time::advance(Duration::from_secs(100)).await;
        told(&shop, 3_600_000).await;
        let row = shop.row(id).await;
        assert_eq!(shop.platform.postpone(&row, shop.platform.now_ms() - 1_000, nudges).await, Ok(true));
        assert_eq!(run(&shop).await, Recovered { due: 1, behind_backlog: 1, ..Recovered::default() });
        let after = shop.row(id).await;
        assert_eq!((after.version, after.nudges, after.parked), (row.version, nudges, None));
        assert_eq!(after.due_at, Some(shop.platform.now_ms() + 300_000));
    }
    assert_eq!(shop.platform.backend().queues.counts("payment-express"), waiting);
    // The lane keeps up again, and nothing has come of it.
    tokio::time::advance(Duration::from_secs(301)).await;
    told(&shop, 100).await;
    assert_eq!(run(&shop).await, Recovered { due: 1, parked: 1, ..Recovered::default() });
    let row = shop.row(id).await;
    assert_eq!((row.state, row.parked.is_some()), (State::Validated, true));
}
