//! Cases of parked orders: at most one is open for an order that is parked, and none for one that is not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use lambda_queue::{Entry, Outgoing};
use order::{CaseId, Fingerprint, Lane, Line, NewOrder, Next, Order, OrderId, Outcome, transition};
use ports::{
    Case, CaseClass, Clock, CommandVersion, Commit, CommitOrder, MAX_NUDGES, OpenCase, Queue, SendCommands, StoreError,
    close_left_over, park, settle, skip,
};

const NOW_MS: u64 = 1_795_426_200_000;

#[derive(Clone, PartialEq, Eq, Debug)]
struct Kept {
    open: bool,
    attempt: String,
    row_version: u64,
}

/// One order's row and the cases, as their tables keep them. `meanwhile` happens just before the next commit.
#[derive(Default)]
struct World {
    row: Mutex<Option<Order>>,
    cases: Mutex<BTreeMap<CaseId, Kept>>,
    meanwhile: Mutex<Option<Meanwhile>>,
    closings: Mutex<u32>,
}

#[derive(Clone, Copy)]
enum Meanwhile {
    CancelRequested,
    Parked,
    Died,
}

impl Clock for World {
    fn now_ms(&self) -> u64 {
        NOW_MS
    }
}

impl Queue for World {
    async fn send(&self, _: &str, _: &[Outgoing]) -> Vec<Result<(), String>> {
        panic!("what is owed is sent by the batch")
    }

    async fn change_visibility(&self, _: &str, _: &[Entry]) -> Vec<Result<(), String>> {
        panic!("what is owed is sent by the batch")
    }
}

impl SendCommands for World {
    fn command_version(&self) -> CommandVersion {
        CommandVersion::default()
    }
}

impl CommitOrder for World {
    async fn commit_order(&self, before: &Order, after: &Order) -> Result<Commit, StoreError> {
        let meanwhile = self.meanwhile.lock().unwrap().take();
        match meanwhile {
            Some(Meanwhile::CancelRequested) => self.move_on(&Outcome::CancelRequested),
            Some(Meanwhile::Parked) => assert!(parks(self, &self.row())),
            Some(Meanwhile::Died) => return Err(StoreError::NotDone("the process died".to_owned())),
            None => {}
        }
        let mut row = self.row.lock().unwrap();
        if row.as_ref().unwrap().version == before.version {
            *row = Some(after.clone());
            Ok(Commit::Done)
        } else {
            Ok(Commit::Lost(Box::new(row.clone().unwrap())))
        }
    }

    async fn postpone(&self, _: &Order, _: u64, _: u32) -> Result<bool, StoreError> {
        Ok(true)
    }
}

impl OpenCase for World {
    async fn open_case(&self, case: &Case) -> Result<(), StoreError> {
        let kept = Kept { open: true, attempt: case.attempt.clone(), row_version: case.row_version };
        self.cases.lock().unwrap().insert(case.case_id.clone(), kept);
        Ok(())
    }

    async fn withdraw_case(&self, case: &Case) -> Result<(), StoreError> {
        if let Some(kept) = self.cases.lock().unwrap().get_mut(&case.case_id) {
            kept.open &= kept.attempt != case.attempt;
        }
        Ok(())
    }

    async fn supersede_case(&self, case_id: &CaseId, version: u64) -> Result<(), StoreError> {
        *self.closings.lock().unwrap() += 1;
        if let Some(kept) = self.cases.lock().unwrap().get_mut(case_id) {
            kept.open &= kept.row_version >= version;
        }
        Ok(())
    }
}

impl World {
    fn new() -> Self {
        let world = Self::default();
        let new = NewOrder {
            order_id: "0b8e6c1e-5d7f-8a2b-9c3d-4e5f60718293".parse::<OrderId>().unwrap(),
            tenant: "acme".parse().unwrap(),
            customer: "ada".parse().unwrap(),
            lane: Lane::Standard,
            fingerprint: Fingerprint::of(b"request"),
            lines: vec![Line { sku: "TEE".parse().unwrap(), quantity: 1, price: None }],
            currency: order::Currency::USD,
            expected_total: None,
            ship_to: serde_json::from_value(serde_json::json!({
                "name": "Ada", "line1": "1 Road", "city": "London", "postal_code": "1", "country": "GB"
            }))
            .unwrap(),
            email: "ada@example.com".parse().unwrap(),
            payment_method: "pm_card_visa".parse().unwrap(),
            traceparent: None,
        };
        *world.row.lock().unwrap() = Some(Order::accept(new, NOW_MS));
        world
    }

    fn meanwhile(&self, what: Meanwhile) {
        *self.meanwhile.lock().unwrap() = Some(what);
    }

    fn row(&self) -> Order {
        self.row.lock().unwrap().clone().unwrap()
    }

    fn move_on(&self, outcome: &Outcome) {
        let Next::Changed(after) = transition(&self.row(), outcome, NOW_MS).unwrap() else { panic!("absorbed") };
        *self.row.lock().unwrap() = Some(*after);
    }

    fn open(&self) -> Vec<CaseId> {
        let cases = self.cases.lock().unwrap();
        cases.iter().filter(|(_, kept)| kept.open).map(|(case_id, _)| case_id.clone()).collect()
    }

    /// The one rule.
    fn holds(&self) {
        let parked = self.row().parked.map(|parked| parked.case_id);
        assert_eq!(self.open(), parked.into_iter().collect::<Vec<_>>());
    }
}

/// Nothing in here waits for anything.
fn now<T>(work: impl Future<Output = T>) -> T {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("it waits"),
    }
}

fn parks(world: &World, order: &Order) -> bool {
    now(park(world, order, "recover", CaseClass::Transient, "it does not move")).unwrap()
}

#[test]
fn a_parked_order_has_one_open_case() {
    let world = World::new();
    assert!(parks(&world, &world.row()));
    assert_eq!(world.open().len(), 1);
    world.holds();
}

#[test]
fn a_parking_that_loses_to_another_version_leaves_no_case_and_the_next_try_one() {
    let world = World::new();
    world.meanwhile(Meanwhile::CancelRequested);
    assert!(!parks(&world, &world.row()));
    assert_eq!(world.open(), []);
    world.holds();
    assert!(parks(&world, &world.row()));
    world.holds();
    assert_eq!(world.cases.lock().unwrap().len(), 1, "it is the same case at another version");
}

#[test]
fn a_parking_that_loses_to_another_of_the_same_order_leaves_that_ones_case_open() {
    let world = World::new();
    world.meanwhile(Meanwhile::Parked);
    assert!(!parks(&world, &world.row()));
    assert_eq!(world.open().len(), 1);
    world.holds();
}

#[test]
fn what_died_between_case_and_row_is_mended_by_the_next_parking_or_the_next_step() {
    for moves_on in [false, true] {
        let world = World::new();
        world.meanwhile(Meanwhile::Died);
        let before = world.row();
        now(park(&world, &before, "recover", CaseClass::Transient, "it does not move")).unwrap_err();
        assert_eq!(world.open().len(), 1, "the case is written first");
        if moves_on {
            world.move_on(&Outcome::CancelRequested);
            now(close_left_over(&world, &before, &world.row(), true));
            world.holds();
        }
        assert!(parks(&world, &world.row()));
        assert_eq!(world.cases.lock().unwrap().len(), 1);
        world.holds();
    }
}

#[test]
fn a_step_that_moves_on_leaves_the_case_of_a_later_parking_alone() {
    let world = World::new();
    let before = world.row();
    world.move_on(&Outcome::CancelRequested);
    let after = world.row();
    assert!(parks(&world, &after));
    now(close_left_over(&world, &before, &after, true));
    world.holds();
}

#[test]
fn an_order_that_is_let_go_on_has_no_open_case_and_a_new_one_when_it_is_parked_again() {
    // Whoever lets it go on closes the case; if that one dies before, the next parking does.
    for dies in [false, true] {
        let world = World::new();
        assert!(parks(&world, &world.row()));
        let parked = world.row();
        now(settle(&world, parked.clone(), &Outcome::Resumed, None)).unwrap();
        if !dies {
            now(close_left_over(&world, &parked, &world.row(), false));
            world.holds();
        }
        assert!(parks(&world, &world.row()));
        world.holds();
        assert_eq!(world.cases.lock().unwrap().len(), 2);
    }
}

#[test]
fn whoever_comes_late_reopens_nothing() {
    let world = World::new();
    let old = world.row();
    assert!(parks(&world, &old));
    let parked = world.row();
    now(settle(&world, parked.clone(), &Outcome::Resumed, None)).unwrap();
    now(close_left_over(&world, &parked, &world.row(), false));
    assert!(!parks(&world, &old), "the row is far ahead of it");
    world.holds();
}

#[test]
fn whatever_moves_an_order_on_closes_the_case_of_a_recovery_that_died_and_asks_for_none_where_none_can_be() {
    for skips in [false, true] {
        for nudges in [0, MAX_NUDGES - 1, MAX_NUDGES] {
            let world = World::new();
            if skips {
                world.move_on(&Outcome::CancelRequested);
            }
            world.row.lock().unwrap().as_mut().unwrap().nudges = nudges;
            let before = world.row();
            if nudges == MAX_NUDGES {
                world.meanwhile(Meanwhile::Died);
                now(park(&world, &before, "recover", CaseClass::Transient, "it does not move")).unwrap_err();
                assert_eq!(world.open().len(), 1, "the case is written first");
            }
            if skips {
                now(skip(&world, &before, None)).unwrap();
            } else {
                now(settle(&world, before.clone(), &Outcome::CancelRequested, None)).unwrap();
            }
            assert!(world.row().version > before.version);
            world.holds();
            assert_eq!(*world.closings.lock().unwrap(), u32::from(nudges == MAX_NUDGES), "calls, {nudges} nudges");
        }
    }
}
