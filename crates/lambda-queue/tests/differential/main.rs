//! The store in memory beside DynamoDB Local: the same random programs, the same answers, the same items.
//!
//! `PROPTEST_CASES` says how many programs. A program that told the two apart is kept in `regressions.txt` by its seeds.

#![cfg(all(feature = "memory", feature = "aws"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::wildcard_enum_match_arm)]

mod program;
mod tables;

use dynamodb_local::DynamoDbLocal;
use lambda_queue::aws::Dynamo;
use lambda_queue::memory::{MemoryStore, World};
use lambda_queue::ports::store::{
    Item, Page, Reason, Store, StoreError, Transacted, Value, Write, Written, number, text,
};
use program::{Step, step};
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner};

/// What a step answered, as far as both have to agree: of an error its code, of a set its members.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Answer {
    Found(Option<Item>),
    All(Vec<String>),
    Page(Vec<Item>, Option<Item>),
    Written(Written),
    Transacted(Transacted),
    Failed(String),
}

impl Answer {
    /// Whether both sides said the same. Where an update does not fit the item that is there (a path that leads nowhere, an
    /// attribute that is missing), DynamoDB Local fails the whole transaction; the service, by its documentation, names
    /// the item as a `ValidationError` among the reasons, as the store in memory does.
    fn agrees_with(&self, theirs: &Self) -> bool {
        let misfit = |reason: &Reason| *reason == Reason::Other("ValidationError".to_owned());
        match (self, theirs) {
            (Self::Transacted(Transacted::Refused(reasons)), Self::Failed(code)) if code == "ValidationException" => {
                reasons.iter().any(misfit)
            }
            (ours, theirs) => ours == theirs,
        }
    }
}

fn sorted(value: Value) -> Value {
    match value {
        Value::N(text) => Value::N(plain_number(&text)),
        Value::Ss(mut set) => {
            set.sort();
            Value::Ss(set)
        }
        Value::Ns(set) => {
            let mut set: Vec<String> = set.iter().map(|text| plain_number(text)).collect();
            set.sort();
            Value::Ns(set)
        }
        Value::Bs(mut set) => {
            set.sort();
            Value::Bs(set)
        }
        Value::L(list) => Value::L(list.into_iter().map(sorted).collect()),
        Value::M(map) => Value::M(plain(map)),
        other => other,
    }
}

fn plain(item: Item) -> Item {
    item.into_iter().map(|(name, value)| (name, sorted(value))).collect()
}

/// The service gives back numbers without an exponent; DynamoDB Local as they were given.
fn plain_number(text: &str) -> String {
    text.parse::<bigdecimal::BigDecimal>().unwrap().normalized().to_plain_string()
}

/// An item as a text that is the same for the same item.
fn line(item: &Item) -> String {
    let attributes: std::collections::BTreeMap<_, _> = item.iter().map(|(name, value)| (name, shown(value))).collect();
    format!("{attributes:?}")
}

fn shown(value: &Value) -> String {
    match value {
        Value::M(map) => line(map),
        Value::L(list) => format!("{:?}", list.iter().map(shown).collect::<Vec<_>>()),
        value => format!("{value:?}"),
    }
}

fn failed(error: StoreError) -> Answer {
    let text = match error {
        // Of an item that does not fit its table.
        StoreError::NotDone(text) if text.contains("ValidationError") => "ValidationException".to_owned(),
        StoreError::NotDone(text) if text.starts_with("the transaction") => text,
        StoreError::NotDone(text) => text.split(':').next().unwrap_or_default().to_owned(),
        other => other.to_string(),
    };
    Answer::Failed(text)
}

fn plain_reason(reason: Reason) -> Reason {
    match reason {
        Reason::ConditionFailed(old) => Reason::ConditionFailed(old.map(plain)),
        other => other,
    }
}

async fn answer<S: Store>(store: &S, step: Step) -> Answer {
    match step {
        Step::Get(table, key) => {
            store.get(&table, key, true).await.map_or_else(failed, |found| Answer::Found(found.map(plain)))
        }
        Step::GetAll(table, keys) => store.get_all(&table, keys, true).await.map_or_else(failed, |found| {
            let mut lines: Vec<String> = found.into_iter().map(|item| line(&plain(item))).collect();
            lines.sort();
            Answer::All(lines)
        }),
        Step::Query(query) => match store.query(query).await {
            Ok(Page { items, next }) => Answer::Page(items.into_iter().map(plain).collect(), next),
            Err(error) => failed(error),
        },
        // The order of what an index holds under one place is nobody's promise, so all of it is compared.
        Step::Drain(mut query) => {
            let mut lines = Vec::new();
            loop {
                match store.query(query.clone()).await {
                    Ok(page) => {
                        lines.extend(page.items.into_iter().map(|item| line(&plain(item))));
                        query.start = page.next;
                        if query.start.is_none() {
                            break;
                        }
                    }
                    Err(error) => return failed(error),
                }
            }
            lines.sort();
            Answer::All(lines)
        }
        Step::Write(write) => match store.write(write).await {
            Ok(Written::Done(item)) => Answer::Written(Written::Done(plain(item))),
            Ok(Written::Refused(item)) => Answer::Written(Written::Refused(item.map(plain))),
            Err(error) => failed(error),
        },
        Step::Transact(writes) => match store.transact(writes).await {
            Ok(Transacted::Refused(reasons)) => {
                Answer::Transacted(Transacted::Refused(reasons.into_iter().map(plain_reason).collect()))
            }
            Ok(Transacted::Done) => Answer::Transacted(Transacted::Done),
            Err(error) => failed(error),
        },
    }
}

/// What the store in memory said in full, where it was refused.
async fn explain(store: &MemoryStore, step: Step) -> String {
    match step {
        Step::Write(write) => format!("{:?}", store.write(write).await),
        Step::Query(query) | Step::Drain(query) => format!("{:?}", store.query(query).await),
        Step::Transact(writes) => format!("{:?}", store.transact(writes).await),
        Step::Get(..) | Step::GetAll(..) => String::new(),
    }
}

#[test]
fn random_programs_get_the_same_answers_from_memory_and_from_dynamodb() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = DynamoDbLocal::start().unwrap();
    let dynamo = runtime.block_on(tables::dynamo(&server.endpoint()));
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(150);
    let mut runner = TestRunner::new(Config {
        cases,
        max_shrink_iters: 300,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/differential/regressions.txt"))),
        ..Config::default()
    });
    let seeds = prop::collection::vec(any::<u64>().no_shrink(), 1..40);
    let number = std::cell::Cell::new(0);
    let ran = runner.run(&seeds, |seeds| {
        number.set(number.get() + 1);
        runtime.block_on(compare(&dynamo, &seeds, number.get())).map_err(TestCaseError::fail)
    });
    if let Err(error) = ran {
        panic!("{error}");
    }
}

async fn compare(dynamo: &Dynamo, seeds: &[u64], case: u32) -> Result<(), String> {
    let (things, rows) = (format!("things{case}"), format!("rows{case}"));
    let memory = MemoryStore::new(World::new(1));
    memory.create(tables::things(&things));
    memory.create(tables::rows(&rows));
    tables::create(dynamo, &things, &rows).await;
    let compared = steps(dynamo, &memory, seeds, (&things, &rows)).await;
    tables::delete(dynamo, &things, &rows).await;
    compared
}

async fn steps(dynamo: &Dynamo, memory: &MemoryStore, seeds: &[u64], names: (&str, &str)) -> Result<(), String> {
    for seed in seeds {
        let step = step(*seed, names.0, names.1);
        let (ours, theirs) = (answer(memory, step.clone()).await, answer(dynamo, step.clone()).await);
        if !ours.agrees_with(&theirs) {
            let why = match (&ours, &theirs) {
                (Answer::Failed(_), _) => explain(memory, step.clone()).await,
                (_, Answer::Failed(_)) => tables::explain(dynamo, step.clone()).await,
                (_, _) => String::new(),
            };
            return Err(format!("seed {seed}: {step:#?}\n  memory: {ours:?}\n  dynamo: {theirs:?}\n  {why}"));
        }
    }
    for name in [names.0, names.1] {
        let mut ours: Vec<String> = memory.items(name).into_iter().map(|item| line(&plain(item))).collect();
        let mut theirs: Vec<String> = tables::scan(dynamo, name).await.into_iter().map(|it| line(&plain(it))).collect();
        ours.sort();
        theirs.sort();
        if ours != theirs {
            return Err(format!("{name} differs\n  memory: {ours:#?}\n  dynamo: {theirs:#?}"));
        }
    }
    Ok(())
}

#[test]
fn a_word_is_reserved_in_memory_if_it_is_in_dynamodb() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = DynamoDbLocal::start().unwrap();
    runtime.block_on(async {
        let dynamo = tables::dynamo(&server.endpoint()).await;
        let memory = MemoryStore::new(World::new(1)).with(tables::things("things")).with(tables::rows("rows"));
        tables::create(&dynamo, "things", "rows").await;
        let ours = ["status", "name", "owner", "at", "key", "version", "operation", "attempts", "generation", "note"];
        let attributes =
            ["due_at", "open_shard", "lease_until", "expires_at", "available", "sku", "result", "ttl", "value"];
        for word in ours.into_iter().chain(attributes).chain(["Status", "zone", "abort", "lanes"]) {
            let write = || {
                let key = Item::from([("id".to_owned(), text("a"))]);
                Step::Write(Write::update("things", key, format!("SET {word} = :x")).value(":x", number(1)))
            };
            let (ours, theirs) = (answer(&memory, write()).await, answer(&dynamo, write()).await);
            assert_eq!(ours, theirs, "{word}");
        }
    });
}
