//! The store in memory: what it keeps of DynamoDB's rules where a test can name the rule. What the two answer to the same
//! programs is compared in `memory_store_differential.rs`.

#![cfg(feature = "memory")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use lambda_queue::memory::{Fault, Index, KeyType, MemoryStore, Operation, Projection, Table, World};
use lambda_queue::ports::store::{
    Item, Names, Query, Reason, Store, StoreError, Transacted, Value, Write, Written, number, number_of, text, text_of,
};

const TABLE: &str = "things";

fn store() -> MemoryStore {
    store_in(World::new(1))
}

fn store_in(world: World) -> MemoryStore {
    MemoryStore::new(world).with(
        Table::new(TABLE, "id", KeyType::S)
            .index(
                Index::new("owner", "owner", KeyType::S).sorted("placed", KeyType::N).projecting(Projection::KeysOnly),
            )
            .expiring_by("expires_at"),
    )
}

fn item<const N: usize>(attributes: [(&str, Value); N]) -> Item {
    attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn key(id: &str) -> Item {
    item([("id", text(id))])
}

async fn put(store: &MemoryStore, id: &str, more: Item) {
    let mut item = more;
    item.insert("id".to_owned(), text(id));
    assert_eq!(store.write(Write::put(TABLE, item)).await, Ok(Written::Done(Item::new())));
}

/// Updates the item `a` and answers the item then, or the error's text.
async fn update(store: &MemoryStore, expression: &str, values: Item) -> Result<Item, String> {
    let mut write = Write::update(TABLE, key("a"), expression.to_owned());
    for (name, value) in values {
        write = write.value(name, value);
    }
    match store.write(write).await {
        Ok(Written::Done(item)) => Ok(item),
        Ok(Written::Refused(_)) => Err("refused".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[tokio::test]
async fn an_update_answers_the_item_unless_it_is_not_wanted() {
    let store = store();
    let update = || Write::update(TABLE, key("a"), "SET v = :v").value(":v", number(1));
    let now = item([("id", text("a")), ("v", number(1))]);
    assert_eq!(store.write(update()).await, Ok(Written::Done(now.clone())));
    assert_eq!(store.write(update().without_item()).await, Ok(Written::Done(Item::new())));
    let refused = store.write(update().when("attribute_not_exists(id)").without_item()).await;
    assert_eq!(refused, Ok(Written::Refused(Some(now))), "the item that stands in the way is always wanted");
}

#[test]
fn placeholders_are_equal_in_any_order_and_the_last_of_a_name_counts() {
    let one = Names::from([("#a", "x"), ("#b", "y"), ("#a", "z")]);
    let mut other = Names::from([("#b", "y"), ("#a", "z")]);
    assert_eq!(one, other);
    assert_eq!((one.len(), one.get("#a").map(AsRef::as_ref)), (2, Some("z")));
    assert_eq!(other.insert("#a", "x"), Some("z".into()));
    assert_ne!(one, other);
}

#[tokio::test]
async fn a_refused_write_answers_the_item_that_stands_there() {
    let store = store();
    put(&store, "a", item([("version", number(3))])).await;
    let write = Write::update(TABLE, key("a"), "SET #v = :new")
        .when("#v = :read")
        .name("#v", "version")
        .value(":new", number(3))
        .value(":read", number(2));
    let Ok(Written::Refused(Some(old))) = store.write(write).await else { panic!("not refused") };
    assert_eq!(number_of(&old, "version"), Some(3));
}

#[tokio::test]
async fn an_update_answers_the_whole_item_and_makes_one_that_is_not_there() {
    let store = store();
    let values = item([(":one", number("1.0"))]);
    let new = update(&store, "ADD hits :one", values).await.unwrap();
    assert_eq!(new, item([("id", text("a")), ("hits", number(1))]));
}

#[tokio::test]
async fn numbers_are_exact_to_38_digits() {
    let store = store();
    put(&store, "a", item([("n", number("12345678901234567890123456789012345678"))])).await;
    let new = update(&store, "SET n = n - :x", item([(":x", number(1))])).await.unwrap();
    assert_eq!(new.get("n"), Some(&number("12345678901234567890123456789012345677")));
    for (text, part) in [
        ("1e126", "overflow"),
        ("1e-131", "underflow"),
        ("123456789012345678901234567890123456789", "38 significant"),
        ("NaN", "cannot be converted"),
    ] {
        let error = update(&store, "SET n = :x", item([(":x", number(text))])).await.unwrap_err();
        assert!(error.contains("ValidationException") && error.contains(part), "{text}: {error}");
    }
}

#[tokio::test]
async fn what_the_service_calls_malformed_is_refused_as_malformed() {
    let store = store();
    put(&store, "a", item([("n", number(1)), ("s", text("x"))])).await;
    let cases: [(&str, Item, &str); 16] = [
        ("SET n = :missing", item([]), "is not defined"),
        ("SET #n = :x", item([(":x", number(1))]), "is not defined"),
        ("SET n = :x", item([(":x", number(1)), (":y", number(1))]), "unused in expressions"),
        ("SET status = :x", item([(":x", number(1))]), "reserved keyword"),
        ("SET id = :x", item([(":x", text("b"))]), "part of the key"),
        ("SET n = :x, n = :x", item([(":x", number(1))]), "overlap"),
        ("SET a.b = :x, a[0] = :x", item([(":x", number(1))]), "conflict"),
        ("SET n = :x SET s = :x", item([(":x", number(1))]), "only be used once"),
        ("SET n = n + :x", item([(":x", text("1"))]), "operand type: S"),
        ("SET n = s + :x", item([(":x", number(1))]), "incorrect data type"),
        ("SET n = gone + :x", item([(":x", number(1))]), "does not exist in the item"),
        ("SET gone.deep = :x", item([(":x", number(1))]), "invalid for update"),
        ("ADD s :x", item([(":x", number(1))]), "incorrect data type"),
        ("ADD n :x", item([(":x", text("1"))]), "operand type: S"),
        ("SET n = :x", item([(":x", Value::Ss(vec![]))]), "may not be empty"),
        ("SET n = = :x", item([(":x", number(1))]), "Syntax error"),
    ];
    for (expression, values, part) in cases {
        let error = update(&store, expression, values).await.unwrap_err();
        assert!(error.contains("ValidationException") && error.contains(part), "{expression}: {error}");
    }
    let stored = store.get(TABLE, key("a"), true).await.unwrap().unwrap();
    assert_eq!(stored, item([("id", text("a")), ("n", number(1)), ("s", text("x"))]));
}

#[tokio::test]
async fn an_item_of_more_than_400_kilobytes_is_refused() {
    let store = store();
    let fits = "x".repeat(400 * 1024 - "id".len() - "a".len() - "v".len());
    put(&store, "a", item([("v", text(fits.clone()))])).await;
    let error = store.write(Write::put(TABLE, item([("id", text("a")), ("v", text(fits + "x"))]))).await.unwrap_err();
    assert!(error.to_string().contains("Item size has exceeded"), "{error}");
    let error = update(&store, "SET w = :w", item([(":w", text("x"))])).await.unwrap_err();
    assert!(error.contains("Item size to update has exceeded"), "{error}");
}

#[tokio::test]
async fn a_transaction_writes_all_or_nothing_and_says_why_in_order() {
    let store = store();
    put(&store, "a", item([("n", number(1))])).await;
    let writes = || {
        vec![
            Write::update(TABLE, key("a"), "SET n = :two").value(":two", number(2)),
            Write::put(TABLE, key("b")).when("attribute_not_exists(id)"),
            Write::check(TABLE, key("c")).when("attribute_exists(id)"),
        ]
    };
    let reasons = vec![Reason::None, Reason::None, Reason::ConditionFailed(None)];
    assert_eq!(store.transact(writes()).await, Ok(Transacted::Refused(reasons)));
    assert_eq!(store.items(TABLE).len(), 1);
    put(&store, "c", Item::new()).await;
    assert_eq!(store.transact(writes()).await, Ok(Transacted::Done));
    assert_eq!(store.items(TABLE).len(), 3);
    let old = Some(key("b"));
    let reasons = vec![Reason::None, Reason::ConditionFailed(old), Reason::None];
    assert_eq!(store.transact(writes()).await, Ok(Transacted::Refused(reasons)));
}

#[tokio::test]
async fn a_transaction_has_limits() {
    let store = store();
    let many = |count: usize, bytes: usize| -> Vec<Write> {
        let one = |at| Write::put(TABLE, item([("id", text(format!("{at}"))), ("v", text("x".repeat(bytes)))]));
        (0..count).map(one).collect()
    };
    assert_eq!(store.transact(many(100, 1)).await, Ok(Transacted::Done));
    let twice = vec![Write::delete(TABLE, key("a")), Write::check(TABLE, key("a")).when("attribute_exists(id)")];
    for (writes, part) in [
        (many(101, 1), "less than or equal to 100"),
        (Vec::new(), "greater than or equal to 1"),
        (many(11, 399 * 1024), "4MB"),
        (twice, "multiple operations on one item"),
    ] {
        let error = store.transact(writes).await.unwrap_err().to_string();
        assert!(error.contains("ValidationException") && error.contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_write_that_meets_a_transaction_is_refused_as_a_conflict_and_works_later() {
    let store = store();
    put(&store, "a", Item::new()).await;
    let transaction = store.transact(vec![Write::update(TABLE, key("a"), "SET n = :n").value(":n", number(1))]);
    let mut transaction = std::pin::pin!(transaction);
    assert!(futures::poll!(&mut transaction).is_pending());
    let error = update(&store, "SET n = :n", item([(":n", number(2))])).await.unwrap_err();
    assert!(error.contains("TransactionConflictException"), "{error}");
    let other = store.transact(vec![Write::check(TABLE, key("a")).when("attribute_exists(id)")]).await.unwrap_err();
    assert!(matches!(&other, StoreError::NotDone(why) if why.contains("Conflict")), "{other}");
    assert_eq!(transaction.await, Ok(Transacted::Done));
    let new = update(&store, "SET n = n + :n", item([(":n", number(2))])).await.unwrap();
    assert_eq!(number_of(&new, "n"), Some(3));
}

#[tokio::test]
async fn a_transaction_that_is_dropped_lets_go_of_its_items_and_writes_nothing() {
    let store = store();
    {
        let mut transaction = Box::pin(store.transact(vec![Write::put(TABLE, key("a"))]));
        assert!(futures::poll!(&mut transaction).is_pending());
    }
    assert_eq!(store.items(TABLE), Vec::<Item>::new());
    put(&store, "a", Item::new()).await;
}

#[tokio::test]
async fn a_fault_is_what_it_says() {
    let calls = Arc::new(AtomicU32::new(0));
    for (fault, done, unknown) in [
        (Fault::Throttle, false, false),
        (Fault::Conflict, false, false),
        (Fault::Vanished, false, true),
        (Fault::Lost, true, true),
    ] {
        let store = store();
        let (seen, chosen) = (calls.clone(), fault.clone());
        store.set_faults(move |call| {
            assert_eq!(call.operation, Operation::Put);
            assert_eq!(call.items, vec![(TABLE.to_owned(), key("a"))]);
            seen.fetch_add(1, Ordering::SeqCst);
            chosen.clone()
        });
        let error = store.write(Write::put(TABLE, key("a"))).await.unwrap_err();
        assert_eq!(matches!(error, StoreError::Unknown(_)), unknown, "{fault:?}: {error}");
        store.clear_faults();
        assert_eq!(store.get(TABLE, key("a"), true).await.unwrap().is_some(), done, "{fault:?}");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 4);
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_takes_its_time_and_a_caller_may_give_up() {
    use std::time::Duration;
    let store = store();
    store.set_faults(|_| Fault::Slow(Duration::from_secs(3)));
    let put = || store.write(Write::put(TABLE, key("a")));
    assert!(tokio::time::timeout(Duration::from_secs(2), put()).await.is_err());
    assert_eq!(store.items(TABLE).len(), 0);
    assert!(tokio::time::timeout(Duration::from_secs(4), put()).await.is_ok());
    assert_eq!(store.items(TABLE).len(), 1);
}

fn by_owner(limit: Option<u32>, start: Option<Item>) -> Query {
    Query {
        table: TABLE.to_owned(),
        index: Some("owner".to_owned()),
        key_condition: "#owner = :owner AND placed < :before".to_owned(),
        names: [("#owner", "owner")].into(),
        values: [(":owner", text("ada")), (":before", number(100))].into(),
        descending: true,
        limit,
        start,
        ..Query::default()
    }
}

#[tokio::test]
async fn a_query_pages_through_an_index_and_sees_only_what_is_in_it() {
    let store = store();
    for (id, at) in [("a", 5), ("b", 30), ("c", 10), ("d", 100)] {
        put(&store, id, item([("owner", text("ada")), ("placed", number(at)), ("more", text("x"))])).await;
    }
    put(&store, "e", item([("owner", text("ada"))])).await;
    put(&store, "f", item([("owner", text("bob")), ("placed", number(1))])).await;
    let mut found = Vec::new();
    let mut start = None;
    loop {
        let page = store.query(by_owner(Some(2), start)).await.unwrap();
        assert!(page.items.len() <= 2);
        found.extend(page.items);
        start = page.next;
        if start.is_none() {
            break;
        }
    }
    let ids: Vec<_> = found.iter().map(|item| text_of(item, "id").unwrap()).collect();
    assert_eq!(ids, ["b", "c", "a"]);
    assert!(found.iter().all(|item| item.len() == 3), "keys only: {found:?}");
    update(&store, "REMOVE placed", Item::new()).await.unwrap();
    assert_eq!(store.query(by_owner(None, None)).await.unwrap().items.len(), 2);
}

#[tokio::test]
async fn time_to_live_deletes_when_it_is_asked_to_and_says_so_in_the_stream() {
    let world = World::new(1);
    let store = store_in(world.clone());
    let now_s = lambda_queue::Clock::now_ms(&world) / 1_000;
    put(&store, "a", item([("expires_at", number(now_s + 60))])).await;
    put(&store, "b", Item::new()).await;
    let mut changes = store.changes(TABLE).unwrap();
    world.advance_ms(61_000);
    assert!(store.get(TABLE, key("a"), true).await.unwrap().is_some(), "expired, not deleted yet");
    assert_eq!(store.expire(60_000), 0);
    assert_eq!(store.expire(0), 1);
    assert_eq!(store.get(TABLE, key("a"), true).await.unwrap(), None);
    let seen = changes.take(10);
    assert_eq!(seen.len(), 1);
    assert!(seen[0].expired && seen[0].new.is_none());
    assert_eq!(seen[0].record()["userIdentity"]["type"], "Service");
}

#[tokio::test]
async fn a_stream_has_every_change_once_with_both_images_and_a_lambda_can_read_it() {
    let store = store();
    let mut changes = store.changes(TABLE).unwrap();
    let waiting = tokio::spawn({
        let mut changes = store.changes(TABLE).unwrap();
        async move { changes.next(10).await }
    });
    put(&store, "a", item([("n", number(1))])).await;
    put(&store, "a", item([("n", number(1))])).await;
    update(&store, "SET n = :n", item([(":n", number(2))])).await.unwrap();
    store.write(Write::delete(TABLE, key("a"))).await.unwrap();
    store.write(Write::delete(TABLE, key("a"))).await.unwrap();
    assert!(!waiting.await.unwrap().is_empty());
    let seen = changes.take(10);
    let images: Vec<_> = seen.iter().map(|it| (it.old.is_some(), it.new.is_some())).collect();
    assert_eq!(images, [(false, true), (true, true), (true, false)]);
    assert_eq!(changes.take(10), vec![]);
    changes.rewind(seen[0].sequence);
    assert_eq!(changes.take(1), seen[1..2]);
    let records: Vec<_> = seen.iter().map(|change| change.record()).collect();
    let event: aws_lambda_events::event::dynamodb::Event =
        serde_json::from_value(serde_json::json!({ "Records": records })).unwrap();
    let names: Vec<_> = event.records.iter().map(|record| record.event_name.as_str()).collect();
    assert_eq!(names, ["INSERT", "MODIFY", "REMOVE"]);
    let image: Item = event.records[1].change.new_image.clone().into();
    assert_eq!(number_of(&image, "n"), Some(2));
}

#[test]
fn the_same_seed_makes_the_same_world() {
    use lambda_queue::{Clock, Ids, Random};
    let draw = |seed| {
        let world = World::new(seed);
        world.advance_ms(7);
        (world.below(1_000), world.fresh(), world.chance(0.5), world.below(0), world.now_ms())
    };
    assert_eq!(draw(7), draw(7));
    assert_ne!(draw(7), draw(8));
}

#[tokio::test(start_paused = true)]
async fn a_world_can_follow_tokios_clock() {
    use lambda_queue::Clock;
    let world = World::with_tokio(1);
    let start = world.now_ms();
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    world.advance_ms(1_000);
    assert_eq!(world.now_ms(), start + 6_000);
    world.set_ms(10);
    assert_eq!(world.now_ms(), 10);
}
