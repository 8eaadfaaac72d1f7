//! A dependency that answers probes and fails at work: its breaker opens again and again.

use std::sync::Arc;

use lambda_queue::Clock;
use lambda_queue::breaker::{DistributedSettings, Manual, Probes, State};
use lambda_queue::memory::{MemoryStore, World};
use lambda_queue::ports::Store as _;
use lambda_queue::ports::store::{Write, number, text};

use super::support::{Breaker, DEPENDENCY, TABLE, Watched, breaker_with, fail_until_open, memory, row};

fn apart() -> (Arc<Watched<MemoryStore>>, World, Breaker<MemoryStore>) {
    let world = World::new(7);
    let store = Watched::new(memory(&world));
    let probes = Probes::Apart { successes: 1 };
    let breaker = breaker_with(&store, &world, DistributedSettings { probes, ..DistributedSettings::new(TABLE) });
    (store, world, breaker)
}

/// Closes it by a good probe; answers when.
async fn close(breaker: &Breaker<MemoryStore>, world: &World) -> u64 {
    let epoch = breaker.row().await.unwrap().epoch;
    breaker.probe_succeeded(epoch).await.unwrap();
    assert_eq!(breaker.row().await.unwrap().state, State::Closed);
    world.now_ms()
}

#[tokio::test]
async fn each_opening_soon_after_a_closing_waits_longer_and_one_after_a_calm_time_begins_anew() {
    let (store, world, breaker) = apart();
    for wait_ms in [5_000, 10_000, 20_000, 30_000, 30_000] {
        fail_until_open(&breaker, &world).await;
        let open = row(&store).await;
        assert_eq!((open.state, open.wait_ms), (State::Open, wait_ms));
        world.advance_ms(wait_ms);
        let closed_ms = close(&breaker, &world).await;
        let closed = row(&store).await;
        assert_eq!((closed.wait_ms, closed.opened_at_ms, closed.down_since_ms), (wait_ms, 0, 0));
        assert_eq!((closed.probes_from_ms(), closed.changed_at_ms), (0, closed_ms));
        world.advance_ms(280_000);
    }
    world.advance_ms(20_000);
    fail_until_open(&breaker, &world).await;
    assert_eq!(row(&store).await.wait_ms, 5_000);
}

#[tokio::test]
async fn probes_that_fail_within_one_outage_do_not_make_the_next_opening_wait_longer() {
    let (store, world, breaker) = apart();
    for opening_ms in [5_000, 10_000, 20_000] {
        fail_until_open(&breaker, &world).await;
        assert_eq!(row(&store).await.wait_ms, opening_ms);
        for _ in 0..4 {
            world.advance_ms(30_000);
            let epoch = row(&store).await.epoch;
            breaker.probe_failed(epoch).await.unwrap();
        }
        let open = row(&store).await;
        assert_eq!((open.wait_ms, open.opening_wait_ms), (30_000, opening_ms), "they do within it");
        world.advance_ms(30_000);
        close(&breaker, &world).await;
        let closed = row(&store).await;
        assert_eq!((closed.wait_ms, closed.opening_wait_ms), (opening_ms, 0));
    }
}

#[tokio::test]
async fn a_row_that_a_program_of_before_opened_keeps_the_wait_that_it_has() {
    let (store, world, breaker) = apart();
    let item = [
        ("dependency".to_owned(), text(DEPENDENCY)),
        ("state".to_owned(), text("open")),
        ("epoch".to_owned(), number(6)),
        ("opened_at".to_owned(), number(world.now_ms())),
        ("wait".to_owned(), number(20_000)),
    ];
    store.store.write(Write::put(TABLE, item.into())).await.unwrap();
    breaker.row().await.unwrap();
    world.advance_ms(20_000);
    close(&breaker, &world).await;
    assert_eq!(row(&store).await.wait_ms, 20_000);
}

#[tokio::test]
async fn whoever_closes_it_by_hand_means_it_and_the_next_wait_is_the_first() {
    let (store, world, breaker) = apart();
    for _ in 0..3 {
        fail_until_open(&breaker, &world).await;
        assert_eq!(row(&store).await.wait_ms, 5_000);
        breaker.close(&Manual::new("ops", "they are back"), None).await.unwrap();
        assert_eq!(row(&store).await.wait_ms, 0);
    }
}

#[tokio::test]
async fn the_time_since_when_it_is_down_stays_over_probes_that_fail() {
    let (store, world, breaker) = apart();
    fail_until_open(&breaker, &world).await;
    let opened_ms = row(&store).await.opened_at_ms;
    assert_eq!(row(&store).await.down_since_ms, opened_ms);
    for _ in 0..3 {
        world.advance_ms(30_000);
        let epoch = row(&store).await.epoch;
        breaker.probe_failed(epoch).await.unwrap();
    }
    let now = row(&store).await;
    assert_eq!((now.down_since_ms, now.opened_at_ms), (opened_ms, world.now_ms()));
    close(&breaker, &world).await;
    breaker.probe(&Manual::new("ops", "is it?"), None).await.unwrap();
    assert_eq!(row(&store).await.down_since_ms, world.now_ms());
}

#[tokio::test]
async fn a_row_that_a_program_of_before_closed_has_no_wait_to_grow_from() {
    let (store, world, breaker) = apart();
    let item = [
        ("dependency".to_owned(), text(DEPENDENCY)),
        ("state".to_owned(), text("closed")),
        ("epoch".to_owned(), number(6)),
        ("changed_at".to_owned(), number(world.now_ms())),
    ];
    store.store.write(Write::put(TABLE, item.into())).await.unwrap();
    fail_until_open(&breaker, &world).await;
    assert_eq!((row(&store).await.epoch, row(&store).await.wait_ms), (7, 5_000));
}
