use std::time::Duration;

use lambda_queue::idempotency::{Guard, GuardError, Guarded};
use lambda_queue::memory::Fault;
use lambda_queue::ports::store::{Item, Reason, Store as _, Transacted, Write, number, number_of, text};

use super::{fault_at, setup};

fn row() -> Item {
    [("id".to_owned(), text("o1")), ("tally".to_owned(), number(0))].into()
}

fn id() -> Item {
    [("id".to_owned(), text("o1"))].into()
}

fn add(by: u32) -> Write {
    Write::update("rows", id(), "SET tally = tally + :by").value(":by", number(by))
}

#[tokio::test]
async fn a_guarded_write_holds_against_its_version_only() {
    let (store, world) = setup();
    let create = Guard::new(&world);
    assert_eq!(create.send(&store, create.create(Write::put("rows", row()), "id").unwrap()).await, Ok(Guarded::Done));
    let second = Guard::new(&world);
    let again = second.create(Write::put("rows", row()), "id").unwrap();
    assert!(matches!(second.send(&store, again).await, Ok(Guarded::Lost(Some(_)))));
    let (one, other) = (Guard::new(&world), Guard::new(&world));
    assert_eq!(one.send(&store, one.next(add(1), 1).unwrap()).await, Ok(Guarded::Done));
    let Ok(Guarded::Lost(Some(row))) = other.send(&store, other.next(add(1), 1).unwrap()).await else {
        panic!("written over another version")
    };
    assert_eq!((number_of(&row, "version"), number_of(&row, "tally")), (Some(2), Some(1)));
}

#[tokio::test]
async fn a_lost_answer_neither_doubles_nor_loses_the_write() {
    for fault in [Fault::Lost, Fault::Vanished, Fault::Slow(Duration::from_millis(1))] {
        for at in 0..4 {
            let (store, world) = setup();
            fault_at(&store, at, fault.clone());
            let create = Guard::new(&world);
            let put = create.create(Write::put("rows", row()), "id").unwrap();
            assert_eq!(create.send(&store, put).await, Ok(Guarded::Done), "{fault:?} at {at}");
            for version in 1..4 {
                let guard = Guard::new(&world);
                let write = guard.next(add(1), version).unwrap();
                assert_eq!(guard.send(&store, write).await, Ok(Guarded::Done), "{fault:?} at {at}");
            }
            let row = store.items("rows").remove(0);
            assert_eq!((number_of(&row, "version"), number_of(&row, "tally")), (Some(4), Some(3)));
        }
    }
}

#[tokio::test]
async fn the_callers_own_condition_stays() {
    let (store, world) = setup();
    let create = Guard::new(&world);
    create.send(&store, create.create(Write::put("rows", row()), "id").unwrap()).await.unwrap();
    let guard = Guard::new(&world);
    let write = guard.next(add(1).when("tally > :least OR tally > :by").value(":least", number(5)), 1).unwrap();
    assert!(matches!(guard.send(&store, write).await, Ok(Guarded::Lost(Some(_)))));
}

#[tokio::test]
async fn in_a_transaction_the_reason_is_read_for_its_own_item() {
    let (store, world) = setup();
    let create = Guard::new(&world);
    let put = create.create(Write::put("rows", row()), "id").unwrap();
    assert_eq!(store.transact(vec![put.clone()]).await, Ok(Transacted::Done));
    let Transacted::Refused(mut reasons) = store.transact(vec![put]).await.unwrap() else { panic!("written twice") };
    assert_eq!(create.read_reason(reasons.remove(0)), Some(Guarded::Done));
    assert_eq!(create.read_reason(Reason::None), None);
}

#[test]
fn what_leaves_no_commit_id_cannot_be_guarded() {
    let world = lambda_queue::memory::World::new(1);
    let guard = Guard::new(&world);
    assert_eq!(guard.next(Write::delete("rows", id()), 1), Err(GuardError::NothingWritten));
    assert_eq!(guard.create(Write::update("rows", id(), "SET a = :a"), "id"), Err(GuardError::NotAPut));
}
