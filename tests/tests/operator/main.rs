//! What an operator does with the tool itself, on a deployed stack of its own: `orderflow doctor` says what is wrong with it, and
//! `replay-local` runs a case's message here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, ensure};
use aws_sdk_sqs::types::QueueAttributeName;
use orderflow::stack::{self, Options, StackInfo, binaries, project_root};
use serde_json::{Value, json};
use tests::deployed::Deployed;
use tests::guard::{self, Guard, Owned};
use tests::wait::eventually;
use tokio::sync::{Mutex, MutexGuard};
use uuid::Uuid;

/// Within which the stack comes to rest on a busy machine.
const SOON: Duration = Duration::from_secs(90);

static STACK: OnceLock<(StackInfo, Guard, Owned)> = OnceLock::new();
/// The stack's health is everybody's: one test at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

struct Desk {
    d: Deployed,
    dir: std::path::PathBuf,
    _alone: MutexGuard<'static, ()>,
}

/// How a command of the tool ended.
struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn of(output: &std::process::Output) -> anyhow::Result<Self> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().context("it was killed")?;
        Ok(Self { code, stdout: text(&output.stdout), stderr: text(&output.stderr) })
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {} {}", self.stdout, self.stderr))
    }

    /// Whether a finding of this check has this health and says this.
    fn finds(&self, check: &str, health: &str, seen: &str) -> bool {
        let all = self.json();
        all["findings"].as_array().unwrap().iter().any(|finding| {
            finding["check"] == check
                && finding["health"] == health
                && finding["seen"].as_str().unwrap().contains(seen)
                && (health == "ok" || !finding["do"].as_str().unwrap().is_empty())
        })
    }
}

impl Desk {
    async fn open() -> anyhow::Result<Self> {
        let alone = ALONE.lock().await;
        let bring_up = || -> anyhow::Result<(StackInfo, Guard, Owned)> {
            let runtime = tokio::runtime::Runtime::new()?;
            runtime.block_on(async {
                let root = project_root()?;
                let (dir, owned) = guard::own_one_of(&root.join("target/operator-tests"))?;
                let mut options = Options::new(root).in_dir(dir);
                options.progress = Arc::new(|line| eprintln!("{line}"));
                let stack = stack::up(&options).await?;
                let guard = guard::watch(Path::new(env!("CARGO_BIN_EXE_run")), stack.dir())?;
                Ok((stack.detach(), guard, owned))
            })
        };
        let up = STACK.get_or_init(|| std::thread::spawn(bring_up).join().expect("a panic").expect("a stack"));
        // The ledger is in the state folder.
        let dir = up.0.ledger.parent().context("the ledger has no folder")?.to_owned();
        Ok(Self { d: Deployed::new(up.0.clone())?, dir, _alone: alone })
    }

    async fn orderflow(&self, arguments: &[&str]) -> anyhow::Result<Ended> {
        let output = tokio::process::Command::new(binaries(&project_root()?).join("orderflow"))
            .args(arguments)
            .arg("--dir")
            .arg(&self.dir)
            .env_remove("ORDERFLOW_STACK")
            .stdin(Stdio::null())
            .output()
            .await?;
        Ended::of(&output)
    }

    /// The same stack as one on AWS: by its name, with credentials of the environment.
    async fn as_on_aws(&self, arguments: &[&str]) -> anyhow::Result<Ended> {
        let output = tokio::process::Command::new(binaries(&project_root()?).join("orderflow"))
            .args(arguments)
            .args(["--stack", "orderflow", "--region", "us-east-1", "--endpoint-url", &self.d.info.endpoint])
            .env_remove("AWS_PROFILE")
            .env("AWS_ACCESS_KEY_ID", stack::ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", "local")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .stdin(Stdio::null())
            .output()
            .await?;
        Ended::of(&output)
    }

    async fn doctor(&self) -> anyhow::Result<Ended> {
        self.orderflow(&["doctor", "--json"]).await
    }

    async fn is_healthy(&self) -> anyhow::Result<()> {
        eventually("the doctor finds nothing", SOON, || async {
            let ended = self.doctor().await?;
            Ok((ended.code == 0 && ended.json()["health"] == "ok").then_some(()))
        })
        .await
    }

    /// The open cases of a step, once there are so many.
    async fn cases(&self, step: &str, count: usize) -> anyhow::Result<Vec<Value>> {
        eventually("the cases are open", SOON, || async {
            let listed = self.orderflow(&["case", "list", "--step", step, "--json"]).await?;
            let cases = listed.json().as_array().cloned().unwrap_or_default();
            Ok((cases.len() >= count).then_some(cases))
        })
        .await
    }

    async fn close(&self, step: &str) -> anyhow::Result<()> {
        let closed = self.orderflow(&["case", "close", "--step", step, "--reason", "a test's", "--yes"]).await?;
        ensure!(closed.code == 0, "{}", closed.stderr);
        Ok(())
    }
}

#[tokio::test]
async fn the_doctor_finds_a_healthy_stack_healthy_and_says_what_is_wrong_with_it_otherwise() -> anyhow::Result<()> {
    let desk = Desk::open().await?;
    desk.is_healthy().await?;
    let healthy = desk.orderflow(&["doctor", "--detect-drift", "--json"]).await?;
    assert_eq!(healthy.code, 0, "{} {}", healthy.stdout, healthy.stderr);
    let all = healthy.json();
    let checks: Vec<&str> =
        all["findings"].as_array().unwrap().iter().map(|finding| finding["check"].as_str().unwrap()).collect();
    let expected = [
        "api",
        "queues",
        "cases",
        "overdue",
        "breakers",
        "mappings",
        "reconciliation",
        "functions",
        "settings",
        "drift",
    ];
    assert_eq!(checks, expected, "one line each: {all}");
    assert!(healthy.finds("settings", "ok", "21 queues, 23 mappings, 12 functions"), "{all}");
    assert!(all["not_looked_at"].to_string().contains("the schedules"), "{all}");

    // As it looks from elsewhere: by name, region and endpoint. The gateway's own address is none on this machine.
    let elsewhere = desk.as_on_aws(&["doctor", "--json"]).await?;
    assert!(elsewhere.finds("settings", "ok", "21 queues") && elsewhere.finds("mappings", "ok", "all 22"), "{all}");

    // A mapping that somebody turned off, and a queue that somebody changed.
    let held = desk.d.mappings.hold("stock-bulk").await?;
    let url = desk.d.queues.url("stock-bulk");
    let visibility = |seconds: &'static str| {
        let set = desk.d.clients.sqs.set_queue_attributes().queue_url(&url);
        set.attributes(QueueAttributeName::VisibilityTimeout, seconds).send()
    };
    visibility("5").await?;
    let ended = desk.doctor().await?;
    assert_eq!(ended.code, 1, "{}", ended.stdout);
    assert!(ended.finds("mappings", "bad", "stock-bulk is off"), "{}", ended.stdout);
    assert!(ended.finds("settings", "bad", "StockBulkQueue: VisibilityTimeout is 5, not 91"), "{}", ended.stdout);
    assert!(ended.finds("breakers", "ok", "closed"), "the rest is looked at all the same: {}", ended.stdout);
    let drift = desk.orderflow(&["doctor", "--detect-drift", "--json"]).await?;
    assert!(drift.finds("drift", "bad", "StockBulkQueue differs in /VisibilityTimeout"), "{}", drift.stdout);
    visibility("91").await?;
    held.release().await?;

    // A dead letter that triage does not take.
    let held = desk.d.mappings.hold("shipping-dlq").await?;
    desk.d.queues.send("shipping-dlq", None, &["this is not JSON {".to_owned()]).await?;
    let ended = desk.doctor().await?;
    assert_eq!(ended.code, 1, "{}", ended.stdout);
    assert!(ended.finds("queues", "warn", "1 dead letter"), "a hint, so soon: {}", ended.stdout);
    assert!(ended.finds("mappings", "bad", "shipping-dlq is off"), "{}", ended.stdout);
    held.release().await?;
    desk.cases("shipping", 1).await?;
    let ended = desk.doctor().await?;
    assert!(ended.finds("cases", "warn", "1 case open of shipping"), "{}", ended.stdout);
    desk.close("shipping").await?;

    // A function that somebody stopped.
    let concurrency = format!("{}/2017-10-31/functions/orderflow-archive-events/concurrency", desk.d.info.endpoint);
    let http = reqwest::Client::new();
    let stop = json!({ "ReservedConcurrentExecutions": 0 });
    http.put(&concurrency).json(&stop).send().await?.error_for_status()?;
    let ended = desk.doctor().await?;
    http.delete(&concurrency).send().await?.error_for_status()?;
    assert_eq!(ended.code, 1, "{}", ended.stdout);
    assert!(ended.finds("functions", "bad", "archive-events: its reserved concurrency is 0"), "{}", ended.stdout);

    // A breaker that an operator opened.
    let opened = desk.orderflow(&["breaker", "open", "carrier", "--reason", "a test's", "--yes"]).await?;
    assert_eq!(opened.code, 0, "{}", opened.stderr);
    let ended = desk.doctor().await?;
    assert_eq!(ended.code, 1, "{}", ended.stdout);
    assert!(ended.finds("breakers", "bad", "carrier is kept open by hand"), "{}", ended.stdout);
    let table = desk.orderflow(&["doctor"]).await?;
    assert!(table.stderr.contains("is not healthy"), "{}", table.stderr);
    assert!(table.stdout.contains("orderflow breaker release carrier"), "{}", table.stdout);
    let closed = desk.orderflow(&["breaker", "close", "carrier", "--reason", "a test's", "--yes"]).await?;
    assert_eq!(closed.code, 0, "{}", closed.stderr);
    // Detected once, a drift is told until it is looked for again.
    desk.orderflow(&["doctor", "--detect-drift", "--json"]).await?;
    desk.is_healthy().await
}

#[tokio::test]
async fn a_doctor_that_finds_no_stack_says_that_it_could_not_look() -> anyhow::Result<()> {
    let mut desk = Desk::open().await?;
    desk.dir = desk.dir.join("nothing");
    let ended = desk.doctor().await?;
    assert_eq!(ended.code, 2, "{} {}", ended.stdout, ended.stderr);
    assert!(ended.stderr.contains("make up"), "{}", ended.stderr);
    Ok(())
}

/// What the function would have done for its message: the word on its lane is said after any batch.
fn held_back(ran: &Value) -> Vec<&Value> {
    ran["held_back"].as_array().unwrap().iter().filter(|held| held["on"] != "orderflow-breakers").collect()
}

#[tokio::test]
async fn a_poison_message_is_replayed_here_and_changes_nothing_unless_it_is_let() -> anyhow::Result<()> {
    let desk = Desk::open().await?;
    let nobody = json!({
        "specversion": "1.0",
        "id": Uuid::nil(),
        "source": "orderflow",
        "type": "orderflow.payment.authorize.v1",
        "subject": Uuid::from_u128(42),
        "time": "2026-11-23T09:30:00.000Z",
        "data": { "order_id": Uuid::from_u128(42), "version": 1 },
    });
    let bodies = ["this is not JSON {".to_owned(), nobody.to_string()];
    desk.d.queues.send("payment-bulk", Some("acme"), &bodies).await?;
    let cases = desk.cases("payment", 2).await?;
    let state = |cases: &[Value]| -> Vec<Value> {
        cases.iter().map(|case| json!([case["case_id"], case["status"], case["seen"]])).collect()
    };
    for case in &cases {
        let id = case["case_id"].as_str().unwrap();
        let ended = desk.orderflow(&["replay-local", id, "--json"]).await?;
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let ran = ended.json();
        assert_eq!(ran["function"], "process-payment");
        assert_eq!(ran["verdict"], "dead_lettered", "{ran}");
        assert_eq!(ran["answer"], json!({ "batchItemFailures": [] }));
        // The letter that it would have written says why, as the case does.
        let held = held_back(&ran);
        assert_eq!(held.len(), 1, "{ran}");
        assert_eq!((&held[0]["on"], &held[0]["told"]), (&json!("orderflow-payment-dlq"), &json!("done")));
        let letter = held[0]["letter"].as_str().unwrap();
        assert!(letter.starts_with("poison: "), "{letter}");
        assert!(ran["lines"].as_array().unwrap().iter().any(|line| line["message"] == "record finished"), "{ran}");
    }
    assert_eq!(state(&desk.cases("payment", 2).await?), state(&cases), "no letter came of it");

    // Of a stack on AWS nothing can be held back there.
    let id = cases[0]["case_id"].as_str().unwrap();
    let refused = desk.as_on_aws(&["replay-local", id]).await?;
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("--on-local"), "{}", refused.stderr);
    let dir = desk.dir.to_str().unwrap();
    let ran = desk.as_on_aws(&["replay-local", id, "--json", &format!("--on-local={dir}")]).await?.json();
    assert_eq!((&ran["verdict"], held_back(&ran).len()), (&json!("dead_lettered"), 1), "{ran}");
    assert_eq!(state(&desk.cases("payment", 2).await?), state(&cases), "no letter came of it");

    // With effects it is the real one: it asks first, and its letter comes to the same case.
    let asked = desk.orderflow(&["replay-local", id, "--with-effects"]).await?;
    assert_eq!(asked.code, 1);
    assert!(asked.stderr.contains("ORDERS_TABLE=orderflow-orders"), "{}", asked.stderr);
    assert!(asked.stderr.contains("Nobody is there to ask"), "{}", asked.stderr);
    let ran = desk.as_on_aws(&["replay-local", id, "--with-effects", "--yes", "--json"]).await?.json();
    assert_eq!((&ran["verdict"], &ran["held_back"]), (&json!("dead_lettered"), &json!([])), "{ran}");
    eventually("the letter is counted", SOON, || async {
        let shown = desk.orderflow(&["case", "show", id, "--json"]).await?.json();
        let written = shown["audits"].as_array().unwrap().iter().any(|audit| audit["action"] == "replay-local");
        Ok((shown["seen"] == 2 && written).then_some(()))
    })
    .await?;
    desk.close("payment").await
}

#[tokio::test]
async fn a_write_of_a_message_that_is_replayed_here_is_refused_and_shown() -> anyhow::Result<()> {
    let desk = Desk::open().await?;
    // A letter about an order whose first step was never taken.
    let held = desk.d.mappings.hold("validate-bulk").await?;
    desk.d.tables.put_product("op-1", 1_000, 10).await?;
    let who = tests::api::Who::new("shop-operator".to_owned(), "ann");
    let body = json!({
        "lane": "bulk",
        "lines": [{ "sku": "op-1", "quantity": 1 }],
        "ship_to": {
            "name": "Ann", "line1": "1 Long Road", "city": "Springfield", "postal_code": "12345", "country": "US",
        },
        "email": "ann@op.example.test",
        "payment_method": "pm_card_visa",
    });
    let placed = desk.d.api.place(&who, "key", &body).await?;
    let id = placed.order_id().context("no order id")?;
    let message = desk.d.tables.order(id).await?.context("no row")?.order;
    let message = ports::command_message(&message, None, tests::clock::now_ms()).context("it owes nothing")?.body;
    desk.d.queues.send("validate-dlq", None, &[message]).await?;
    let case = desk.cases("validate", 1).await?.remove(0);
    let case_id = case["case_id"].as_str().unwrap();
    let ran = desk.orderflow(&["replay-local", case_id, "--json"]).await?.json();
    assert_eq!(ran["function"], "validate-order", "by its dead-letter queue");
    assert_eq!(ran["verdict"], "retry", "{ran}");
    let held_back = ran["held_back"].as_array().unwrap();
    let write = held_back.iter().find(|held| held["told"] == "refused").unwrap_or_else(|| panic!("{ran}"));
    assert!(write["on"].as_str().unwrap().contains("orderflow-orders"), "{write}");
    assert_eq!(desk.d.tables.order(id).await?.unwrap().order.version, 1, "it is as it was");
    held.release().await?;
    desk.d.ended(id, SOON).await?;
    desk.close("validate").await
}
