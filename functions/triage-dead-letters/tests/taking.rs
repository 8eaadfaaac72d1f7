//! The order in which a letter is taken: raw message, case, acknowledgement; whatever fails leaves it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Mutex;

use lambda_queue::dead_letter::{ATTRIBUTE, DeadLetter};
use lambda_queue::{Clock, Failure, Record, RecordContext, Verdict};
use order::{Order, OrderId};
use ports::{Case, CaseClass, KeepDeadLetters, LoadOrder, Recorded, StoreError};
use serde_json::{Value, json};
use triage_dead_letters::take;

/// A bucket and a table that do as they are told, and what was asked of them.
struct World {
    bucket: Result<(), StoreError>,
    table: Result<Recorded, StoreError>,
    row: Result<Option<Order>, StoreError>,
    asked: Mutex<Vec<&'static str>>,
    raw: Mutex<Value>,
    case: Mutex<Option<Case>>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            bucket: Ok(()),
            table: Ok(Recorded::Opened),
            row: Ok(None),
            asked: Mutex::default(),
            raw: Mutex::default(),
            case: Mutex::default(),
        }
    }
}

impl Clock for World {
    fn now_ms(&self) -> u64 {
        1_800_000_000_000
    }
}

impl LoadOrder for World {
    async fn load_order(&self, _: OrderId) -> Result<Option<Order>, StoreError> {
        self.asked.lock().unwrap().push("row");
        self.row.clone()
    }
}

impl KeepDeadLetters for World {
    async fn keep_raw(&self, _: &str, raw: Vec<u8>) -> Result<(), StoreError> {
        self.asked.lock().unwrap().push("raw");
        *self.raw.lock().unwrap() = serde_json::from_slice(&raw).unwrap();
        self.bucket.clone()
    }

    async fn record_letter(&self, case: &Case) -> Result<Recorded, StoreError> {
        self.asked.lock().unwrap().push("case");
        *self.case.lock().unwrap() = Some(case.clone());
        self.table.clone()
    }
}

fn lost() -> StoreError {
    StoreError::Unknown("the answer was lost".to_owned())
}

fn record(body: &str) -> Record {
    let context =
        RecordContext { receive_count: 3, sent_ms: 1_000, group: None, handler_deadline_ms: 0, deadline_ms: 0 };
    Record::new("letter-1", body, context)
}

fn given_up(body: &str) -> Record {
    let letter = DeadLetter {
        reason: "no such order".to_owned(),
        code: "poison".to_owned(),
        attempts: 2,
        source_queue: "shop-payment-bulk".to_owned(),
        message_id: "message-1".to_owned(),
        first_seen_ms: 500,
        ..DeadLetter::default()
    };
    let mut record = record(body);
    record.attributes.push(lambda_queue::batch::Attribute {
        name: ATTRIBUTE.to_owned(),
        data_type: "String".to_owned(),
        value: letter.to_attribute(),
    });
    record
}

const COMMAND: &str = r#"{"specversion":"1.0","id":"1","source":"orderflow","type":"orderflow.payment.authorize.v1",
    "subject":"0b8e6c1e-5d7f-8a2b-9c3d-4e5f60718293","tenant":"acme",
    "data":{"order_id":"0b8e6c1e-5d7f-8a2b-9c3d-4e5f60718293","version":2}}"#;

#[tokio::test]
async fn the_raw_message_is_kept_before_its_case_is_written() {
    let world = World::default();
    let raw = json!({ "messageId": "letter-1", "body": COMMAND });
    let done = take(&world, "shop-payment-dlq", Some(&raw), &given_up(COMMAND)).await.unwrap();
    assert_eq!(done.verdict, Verdict::Done);
    assert_eq!(*world.asked.lock().unwrap(), ["raw", "case"], "a reason was given: nobody looks at the row");
    assert_eq!(*world.raw.lock().unwrap(), json!({ "queue": "shop-payment-dlq", "message": raw }));
    let case = world.case.lock().unwrap().clone().unwrap();
    assert_eq!((case.class, case.fingerprint.as_str()), (CaseClass::Poison, "payment/poison/no-such-order"));
    let letter = case.letter.unwrap();
    assert_eq!(
        (
            letter.queue.as_str(),
            letter.message_id.as_str(),
            letter.letter_id.as_str(),
            letter.attempts,
            letter.sent_at_ms
        ),
        ("shop-payment-bulk", "message-1", "letter-1", 2, 500)
    );
    assert_eq!(letter.raw, format!("dead-letters/{}.json", case.case_id));
}

#[tokio::test]
async fn a_raw_message_that_is_not_kept_leaves_the_letter_and_no_case() {
    for error in [lost(), StoreError::NotDone("AccessDenied".to_owned())] {
        let world = World { bucket: Err(error), ..World::default() };
        let failure = take(&world, "shop-payment-dlq", None, &given_up(COMMAND)).await.unwrap_err();
        assert!(matches!(failure, Failure::Retry { .. }), "{failure:?}");
        assert_eq!(*world.asked.lock().unwrap(), ["raw"]);
    }
}

#[tokio::test]
async fn a_case_that_is_not_written_leaves_the_letter() {
    let world = World { table: Err(lost()), ..World::default() };
    let failure = take(&world, "shop-payment-dlq", None, &given_up(COMMAND)).await.unwrap_err();
    assert!(matches!(failure, Failure::Retry { .. }), "{failure:?}");
}

#[tokio::test]
async fn a_letter_that_is_counted_already_is_acknowledged_again() {
    for (recorded, verdict) in
        [(Recorded::Known, Verdict::Already), (Recorded::Again, Verdict::Done), (Recorded::Opened, Verdict::Done)]
    {
        let world = World { table: Ok(recorded), ..World::default() };
        assert_eq!(take(&world, "shop-payment-dlq", None, &given_up(COMMAND)).await.unwrap().verdict, verdict);
    }
}

/// Whoever recorded a letter may have been killed before it told: the letter comes again, is known, and is told then.
#[test]
fn the_alarms_are_told_of_a_case_each_time_a_letter_of_it_is_taken() {
    // The metrics are lines of the process's own output: of one that runs the test above, in which three letters are taken.
    let this = std::env::current_exe().unwrap();
    let above = "a_letter_that_is_counted_already_is_acknowledged_again";
    // Two threads: with one the harness begins a line that the test's output then goes on with.
    let ran = std::process::Command::new(this).args(["--exact", above, "--nocapture", "--test-threads=2"]).output();
    let ran = ran.unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let told: Vec<Value> = String::from_utf8(ran.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["cases_opened"] == 1)
        .collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(
        told.iter().all(|line| (&line["step"], &line["class"]) == (&json!("payment"), &json!("poison"))),
        "{told:?}"
    );
}

#[tokio::test]
async fn what_sqs_moved_is_looked_up_and_a_table_that_does_not_answer_is_no_reason_to_leave_it() {
    let world = World::default();
    take(&world, "shop-payment-dlq", None, &record(COMMAND)).await.unwrap();
    assert_eq!(*world.asked.lock().unwrap(), ["row", "raw", "case"]);
    assert_eq!(world.case.lock().unwrap().clone().unwrap().class, CaseClass::Poison, "there is no such order");

    for (row, class) in [
        (Err(lost()), CaseClass::Transient),
        (Err(StoreError::Unreadable("field `x` is new".to_owned())), CaseClass::Skew),
    ] {
        let world = World { row, ..World::default() };
        take(&world, "shop-payment-dlq", None, &record(COMMAND)).await.unwrap();
        assert_eq!(world.case.lock().unwrap().clone().unwrap().class, class);
    }
}

#[tokio::test]
async fn a_case_holds_nothing_of_what_the_body_says_but_ids() {
    let body = r#"{"specversion":"1.0","id":"1","source":"Ada","type":"com.ada.v1","subject":"Ada Lovelace",
        "tenant":"ada lovelace","data":{"order_id":"1 Main St","card":"4242"}}"#;
    let world = World::default();
    take(&world, "shop-payment-dlq", None, &record(body)).await.unwrap();
    let shown = format!("{:?}", world.case.lock().unwrap()).to_lowercase();
    for told in ["ada", "lovelace", "main st", "4242"] {
        assert!(!shown.contains(told), "{told}: {shown}");
    }
}
