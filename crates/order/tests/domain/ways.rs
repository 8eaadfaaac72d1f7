//! The ways of an order: whatever happens, in whatever order, it ends, and money, stock and parcels are right.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet, VecDeque};

use order::{Command, Next, Order, Outcome, State, transition};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use crate::fixtures::{CREATED_AT, OUTCOMES, outcome, placed, refund_requested, refunded};
use crate::world::{Luck, Move, World};

fn luck() -> impl Strategy<Value = Luck> {
    prop_oneof![
        12 => Just(Luck::Good),
        2 => Just(Luck::Bad),
        2 => Just(Luck::GoodLost),
        1 => Just(Luck::BadLost),
        2 => Just(Luck::Crash),
        2 => Just(Luck::Overrun),
        1 => Just(Luck::GiveUp),
    ]
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        8 => prop_oneof![3 => Just(Move::DeliverOwed), 1 => any::<usize>().prop_map(Move::Deliver)],
        16 => (any::<usize>(), luck()).prop_map(|(worker, luck)| Move::Step(worker, luck)),
        1 => Just(Move::Cancel),
        2 => (0_u64..4_000, 0_u8..6).prop_map(|(amount_minor, key)| Move::Refund(amount_minor, key)),
        2 => Just(Move::Resume),
        1 => Just(Move::Abandon),
        1 => Just(Move::Expire),
        4 => any::<usize>().prop_map(Move::Repeat),
    ];
    prop::collection::vec(one, 0..160)
}

fn play(moves: &[Move]) -> Result<World, TestCaseError> {
    let mut world = World::new(true);
    let judge = |(at, told): (usize, Result<(), String>)| {
        told.map_err(|broken| TestCaseError::fail(format!("after {at} moves: {broken}")))
    };
    for (at, next) in moves.iter().enumerate() {
        judge((at, world.act(next)))?;
    }
    judge((moves.len(), world.drain()))?;
    Ok(world)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_races_repeats_or_dies_every_order_ends_with_its_money_stock_and_parcel_right(moves in moves()) {
        play(&moves)?;
    }
}

#[test]
fn the_random_world_goes_every_way_of_the_table() {
    let config = ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let seen = RefCell::new(BTreeSet::new());
    TestRunner::new_with_rng(config, rng)
        .run(&moves(), |moves| {
            seen.borrow_mut().extend(play(&moves)?.seen);
            Ok(())
        })
        .unwrap();
    let seen = seen.into_inner();
    for (from, by, to) in &seen {
        println!("{from} + {by} -> {to}");
    }
    let missing: Vec<_> = [
        (State::Accepted, "valid", State::Validated),
        (State::Accepted, "valid", State::Cancelled),
        (State::Accepted, "invalid", State::Rejected),
        (State::Accepted, "skipped", State::Cancelled),
        (State::Validated, "authorized", State::Authorized),
        (State::Validated, "authorized", State::Voiding),
        (State::Validated, "declined", State::Rejected),
        (State::Validated, "skipped", State::Cancelled),
        (State::Authorized, "reserved", State::Reserved),
        (State::Authorized, "out_of_stock", State::Voiding),
        (State::Authorized, "skipped", State::Voiding),
        (State::Reserved, "captured", State::Paid),
        (State::Reserved, "captured", State::Releasing),
        (State::Reserved, "capture_refused", State::Releasing),
        (State::Reserved, "skipped", State::Releasing),
        (State::Paid, "shipment_created", State::Shipped),
        (State::Paid, "undeliverable", State::Releasing),
        (State::Paid, "skipped", State::Releasing),
        (State::Releasing, "released", State::Refunding),
        (State::Releasing, "released", State::Voiding),
        (State::Voiding, "voided", State::Rejected),
        (State::Voiding, "voided", State::Cancelled),
        (State::Refunding, "refunded", State::Cancelled),
        (State::Shipped, "refund_requested", State::Shipped),
        (State::Shipped, "refunded", State::Shipped),
        (State::Voiding, "parked", State::Voiding),
        (State::Refunding, "parked", State::Refunding),
        (State::Voiding, "abandoned", State::Voiding),
    ]
    .into_iter()
    .filter(|change| !seen.contains(change))
    .collect();
    assert!(missing.is_empty(), "the generator never came by: {missing:?}");
}

/// A copy of the payment step read the order before the customer asked to cancel; another copy reads it afterwards, finds
/// nothing sent and skips; then the first one goes on.
fn a_slow_copy_starts_after_a_skip(fenced: bool) -> Result<World, String> {
    let mut world = World::new(fenced);
    world.deliver_owed();
    for _ in 0..2 {
        world.act(&Move::Step(0, Luck::Good))?;
    }
    assert_eq!(world.row.state, State::Validated);
    world.deliver_owed(); // the slow copy, which sees no wish to cancel
    world.act(&Move::Cancel)?;
    world.deliver_owed(); // the quick one, which does
    for _ in 0..2 {
        world.act(&Move::Step(1, Luck::Good))?;
    }
    assert_eq!(world.row.state, State::Cancelled);
    world.drain()?;
    Ok(world)
}

#[test]
fn a_skip_fences_a_slow_copy_of_its_effect() {
    let world = a_slow_copy_starts_after_a_skip(true).unwrap();
    assert_eq!(world.row.payment, None);
}

#[test]
fn without_the_fence_the_world_finds_the_orphaned_hold() {
    let broken = a_slow_copy_starts_after_a_skip(false).err().unwrap();
    assert!(broken.contains("cannot be that it was authorized"), "{broken}");
}

#[test]
fn a_skip_that_lost_to_the_shipment_is_no_bug() {
    let mut world = World::new(true);
    while world.row.state != State::Paid {
        world.deliver_owed();
        while world.has_workers() {
            world.act(&Move::Step(0, Luck::Good)).unwrap();
        }
    }
    world.deliver_owed();
    world.act(&Move::Cancel).unwrap();
    world.deliver_owed();
    // The second copy sees the wish and no record; then the first begins, ships and commits.
    world.act(&Move::Step(1, Luck::Good)).unwrap();
    for _ in 0..4 {
        world.act(&Move::Step(0, Luck::Good)).unwrap();
    }
    world.drain().unwrap();
    assert_eq!(world.row.state, State::Shipped);
    let skipped_late = transition(&world.row, &Outcome::Skipped, CREATED_AT).unwrap();
    assert_eq!(skipped_late, Next::Absorbed);
}

/// What going well makes of a command.
fn good(row: &Order, command: Command) -> Outcome {
    match command {
        Command::ValidateOrder => outcome("valid"),
        Command::AuthorizePayment => outcome("authorized"),
        Command::ReserveStock => outcome("reserved"),
        Command::CapturePayment => outcome("captured"),
        Command::CreateShipment => outcome("shipment_created"),
        Command::ReleaseStock => outcome("released"),
        Command::VoidPayment => outcome("voided"),
        Command::RefundPayment => refunded(row.pending_refund().unwrap().0),
    }
}

/// Two rows of one key have the same future.
fn key(row: &Order) -> String {
    let refunds: Vec<_> = row.refunds.iter().map(|refund| (refund.amount_minor, refund.status)).collect();
    let receipts = (row.payment.is_some(), row.capture.is_some(), row.shipment.is_some());
    let reason = row.reason.as_ref().map(|reason| reason.code);
    let parked = row.parked.as_ref().map(|parked| parked.abandoned);
    let refused = row.timeline.iter().any(|entry| entry.event == order::EventKind::CancelRefused);
    format!("{:?}", (row.state, row.cancel_requested, receipts, refunds, reason, parked, refused))
}

/// Every row that any sequence of the outcomes of the matrix leads to, with at most two refunds.
fn reachable() -> Vec<Order> {
    let (mut found, mut queue, mut keys) = (Vec::new(), VecDeque::from([placed()]), HashSet::new());
    while let Some(row) = queue.pop_front() {
        if !keys.insert(key(&row)) {
            continue;
        }
        let more = [refund_requested(500, "refund 2"), refunded(1)];
        for happens in OUTCOMES.into_iter().map(outcome).chain(more) {
            if let Ok(Next::Changed(next)) = transition(&row, &happens, CREATED_AT) {
                queue.push_back(*next);
            }
        }
        found.push(row);
    }
    found
}

#[test]
fn every_reachable_row_has_a_way_to_its_end() {
    let rows = reachable();
    let states: HashSet<_> = rows.iter().map(|row| row.state).collect();
    assert_eq!(states.len(), State::ALL.len());
    for start in &rows {
        let mut row = start.clone();
        let mut steps = 0;
        loop {
            let happens = match row.next_command() {
                Some(command) => good(&row, command),
                None if row.parked.is_some() => Outcome::Resumed,
                None => break,
            };
            let Ok(Next::Changed(next)) = transition(&row, &happens, CREATED_AT) else {
                panic!("{} + {happens:?} leads nowhere: {start:?}", row.state)
            };
            row = *next;
            steps += 1;
            assert!(steps <= 8, "{start:?} goes round");
        }
        assert!(row.state.is_terminal(), "{start:?} stops at {}", row.state);
    }
    println!("{} rows, each with a way to its end", rows.len());
}

#[test]
fn every_reachable_row_holds_the_receipts_of_its_state() {
    for row in reachable() {
        let (held, captured, shipped) = (row.payment.is_some(), row.capture.is_some(), row.shipment.is_some());
        let fits = match row.state {
            State::Accepted | State::Validated => (held, captured, shipped) == (false, false, false),
            State::Authorized | State::Reserved | State::Voiding => (held, captured, shipped) == (true, false, false),
            State::Paid | State::Refunding => (held, captured, shipped) == (true, true, false),
            State::Releasing => (held, shipped) == (true, false),
            State::Shipped => (held, captured, shipped) == (true, true, true),
            State::Rejected => (captured, shipped) == (false, false),
            State::Cancelled => {
                !shipped && (!captured || row.refundable_minor() == 0 && row.pending_refund().is_none())
            }
        };
        assert!(fits, "{row:?}");
        let undone = matches!(
            row.state,
            State::Releasing | State::Voiding | State::Refunding | State::Rejected | State::Cancelled
        );
        assert_eq!(row.reason.is_some(), undone, "{row:?}");
        assert_eq!(row.due_at.is_some(), row.next_command().is_some(), "{row:?}");
        assert_eq!(row.version, row.timeline.len() as u64, "{row:?}");
        assert!(row.timeline.iter().zip(1..).all(|(entry, version)| entry.version == version), "{row:?}");
    }
}
