//! Dead letters and parked orders as an operator has them: as cases, with the tool.

use std::path::PathBuf;
use std::process::Output;

use anyhow::{Context as _, ensure};
use lambda_queue::Clock as _;
use order::{Lane, OrderId, State};
use orderflow::stack::{binaries, project_root};
use platform::Aws;
use ports::{CaseClass, CaseIndex, CaseStatus, LoadOrder as _, ReadCases as _, StoredCase, park};
use serde_json::{Value, json};
use tests::clock::now_ms;
use tests::wait::eventually;

use crate::cancels::BULK;
use crate::fences::adapters;
use crate::shop::{SOON, Shop};

/// Every open case.
pub async fn open_cases(aws: &Aws) -> anyhow::Result<Vec<StoredCase>> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = aws.list_cases(&CaseIndex::Status(CaseStatus::Open), 100, after.as_deref()).await?;
        all.extend(page.cases);
        after = page.next;
        if after.is_none() {
            return Ok(all);
        }
    }
}

/// The tool on this stack.
async fn tool(shop: &Shop, args: &[&str]) -> anyhow::Result<Output> {
    let program: PathBuf = binaries(&project_root()?).join("orderflow");
    let dir = shop.d.info.ledger.parent().context("the ledger is in the state folder")?;
    let mut command = tokio::process::Command::new(program);
    command
        .args(args)
        .env("ORDERFLOW_STACK_DIR", dir)
        .env("USER", "ann-the-operator")
        .stdin(std::process::Stdio::null());
    command.output().await.context("the tool does not start")
}

/// What it prints as JSON, of a command that has to go well.
pub async fn told(shop: &Shop, args: &[&str]) -> anyhow::Result<Value> {
    let output = tool(shop, args).await?;
    ensure!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).with_context(|| format!("{args:?} prints no JSON"))
}

/// What it says of a command that has to fail.
async fn refused(shop: &Shop, args: &[&str]) -> anyhow::Result<String> {
    let output = tool(shop, args).await?;
    ensure!(!output.status.success(), "{args:?} went well");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The open case whose raw message holds this text.
async fn case_of(aws: &Aws, text: &str) -> anyhow::Result<StoredCase> {
    eventually("the letter is a case", SOON, || async {
        for case in open_cases(aws).await? {
            let Some(letter) = &case.case.letter else { continue };
            let raw = aws.load_raw(&letter.raw).await?.unwrap_or_default();
            if String::from_utf8_lossy(&raw).contains(text) {
                return Ok(Some(case));
            }
        }
        Ok(None)
    })
    .await
}

#[tokio::test]
async fn a_poison_message_is_found_shown_and_closed_with_a_reason() -> anyhow::Result<()> {
    let shop = Shop::open("case-poison").await?;
    let aws = adapters(&shop)?;
    let body = "not JSON: the one of a_poison_message_is_found_shown_and_closed";
    shop.d.queues.send("stock-express", Some(&shop.who.tenant), &[body.to_owned()]).await?;
    let case = case_of(&aws, body).await?;
    let id = case.case.case_id.as_str();

    let listed =
        told(&shop, &["--json", "case", "list", "--step", "stock", "--class", "poison", "--limit", "1000"]).await?;
    assert!(listed.as_array().unwrap().iter().any(|listed| listed["case_id"] == id), "{listed}");
    let groups = told(&shop, &["--json", "case", "groups", "--step", "stock"]).await?;
    let prints: Vec<&Value> = groups.as_array().unwrap().iter().map(|group| &group["fingerprint"]).collect();
    assert!(prints.contains(&&json!(case.case.fingerprint)), "{groups}");
    let shown = told(&shop, &["--json", "case", "show", id, "--raw"]).await?;
    assert_eq!(shown["raw_message"]["message"]["body"], body);
    assert_eq!(shown["audits"], json!([]));

    // It names no order, so there is nothing to send.
    let why = refused(&shop, &["case", "replay", id, "--yes", "--reason", "mended"]).await?;
    assert!(why.contains("none of these can be replayed"), "{why}");
    let why = refused(&shop, &["case", "close", id, "--reason", "a test"]).await?;
    assert!(why.contains("--yes"), "nobody is there to be asked: {why}");
    let why = refused(&shop, &["case", "close", "--yes", "--reason", "a test"]).await?;
    assert!(why.contains("which cases"), "nothing is not everything: {why}");

    let closed = told(&shop, &["--json", "case", "close", id, "--reason", "sent by a test", "--yes"]).await?;
    assert_eq!(closed, json!([{ "case_id": id, "became": "closed" }]));
    let again = told(&shop, &["--json", "case", "close", id, "--reason", "once more", "--yes"]).await?;
    assert_eq!(again, json!([{ "case_id": id, "became": "already" }]));
    let shown = told(&shop, &["--json", "case", "show", id]).await?;
    assert_eq!(shown["status"], "closed");
    let audits = shown["audits"].as_array().unwrap();
    assert_eq!(audits.len(), 1, "{shown}");
    assert_eq!(
        (&audits[0]["who"], &audits[0]["reason"]),
        (&json!("local user ann-the-operator"), &json!("sent by a test"))
    );
    let exported = tool(&shop, &["case", "export", "--status", "closed", "--step", "stock"]).await?;
    let lines = String::from_utf8_lossy(&exported.stdout).into_owned();
    assert!(
        lines.lines().any(|line| serde_json::from_str::<Value>(line).is_ok_and(|case| case["case_id"] == id)),
        "{lines}"
    );
    shop.close().await
}

#[tokio::test]
async fn a_case_is_told_to_the_alarms_by_step_and_by_class() -> anyhow::Result<()> {
    let shop = Shop::open("case-metric").await?;
    let aws = adapters(&shop)?;
    let body = "not JSON: the one of a_case_is_told_to_the_alarms";
    shop.d.queues.send("shipping-standard", Some(&shop.who.tenant), &[body.to_owned()]).await?;
    let case = case_of(&aws, body).await?;
    let id = case.case.case_id.as_str();
    let line = eventually("the metric is logged", SOON, || async {
        let lines = shop.d.logs.messages("triage-dead-letters", "cases_opened", 0).await?;
        let lines = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(lines.into_iter().find(|line| line["case_id"] == id))
    })
    .await?;
    // As the alarms of the template name them; a metric under other dimensions is another metric.
    let directive = &line["_aws"]["CloudWatchMetrics"][0];
    assert_eq!(directive["Namespace"], format!("Orderflow/{}", shop.d.info.stack_name));
    let sets = directive["Dimensions"].as_array().unwrap();
    assert!(sets.contains(&json!(["step"])) && sets.contains(&json!(["class"])), "{line}");
    assert_eq!(
        (&line["step"], &line["class"], &line["cases_opened"]),
        (&json!("shipping"), &json!("poison"), &json!(1))
    );
    assert!(!line.to_string().contains(body), "{line}");
    shop.close().await
}

#[tokio::test]
async fn an_order_is_traced_through_row_logs_provider_and_operators() -> anyhow::Result<()> {
    let shop = Shop::open("case-trace").await?;
    let order_id = shop.order("key", &shop.body(Lane::Express)).await?;
    shop.ended(order_id).await?;
    let id = order_id.to_string();
    eventually("both mails are out", SOON, || async {
        Ok((shop.d.mail.to(&shop.email).await?.len() == 2).then_some(()))
    })
    .await?;

    let timeline = told(&shop, &["--json", "order", "timeline", &id]).await?;
    assert_eq!((&timeline["state"], &timeline["owes"]), (&json!("shipped"), &Value::Null));
    assert_eq!(timeline["timeline"].as_array().unwrap().len(), 6);

    let why = refused(&shop, &["order", "resend-mail", &id, "--event", "refunded", "--reason", "x", "--yes"]).await?;
    assert!(why.contains("has no event refunded"), "{why}");
    let why = refused(&shop, &["order", "resend-mail", &id, "--event", "paid", "--reason", "x", "--yes"]).await?;
    assert!(why.contains("nobody is written to"), "{why}");
    let args = ["--json", "order", "resend-mail", &id, "--event", "shipped", "--reason", "it was not read", "--yes"];
    assert!(told(&shop, &args).await?["mail_id"].as_str().is_some_and(|id| !id.is_empty()));
    assert_eq!(shop.d.mail.to(&shop.email).await?.len(), 3, "this is the one way to be written to twice");

    // A function's lines reach the log just after its answer.
    let trace = eventually("all is logged", SOON, || async {
        let trace = told(&shop, &["--json", "trace", &id]).await?;
        let says = |words: &str| {
            trace["entries"]
                .as_array()
                .unwrap()
                .iter()
                .any(|entry| entry["what"].as_str().is_some_and(|what| what.contains(words)))
        };
        let all =
            ["ship-order record finished done", "publish-events", "notify-customer", "accept-order request finished"];
        Ok(all.into_iter().all(says).then_some(trace))
    })
    .await?;
    let entries = trace["entries"].as_array().unwrap();
    assert!(entries.windows(2).all(|two| two[0]["at_ms"].as_u64() <= two[1]["at_ms"].as_u64()), "in time order");
    let from = |source: &str| entries.iter().filter(|entry| entry["source"] == source).count();
    assert_eq!((from("row"), from("provider"), from("operator")), (6, 4, 1), "{trace}");
    assert_eq!(trace["missing"], json!([]));
    let records: Vec<&str> =
        trace["effects"].as_array().unwrap().iter().map(|effect| effect["record"].as_str().unwrap()).collect();
    assert_eq!(
        records,
        [&format!("payment#{id}"), &format!("shipment#{id}"), &format!("mail#{id}#1"), &format!("mail#{id}#6")]
    );
    assert!(!trace.to_string().contains(&shop.email), "a trace shows no customer");

    let queues = told(&shop, &["--json", "queue", "list"]).await?;
    assert_eq!(queues.as_array().unwrap().len(), 21);
    let why = refused(&shop, &["queue", "peek", "no-such-queue"]).await?;
    assert!(why.contains("queue list"), "{why}");
    shop.close().await
}

#[tokio::test]
async fn a_peek_shows_what_waits_and_leaves_it_there() -> anyhow::Result<()> {
    let _bulk = BULK.lock().await;
    let shop = Shop::open("case-peek").await?;
    let held = shop.d.mappings.hold("shipping-bulk").await?;
    let body = json!({ "waits": "for a_peek_shows_what_waits" }).to_string();
    shop.d.queues.send("shipping-bulk", Some(&shop.who.tenant), std::slice::from_ref(&body)).await?;
    for _ in 0..2 {
        let seen = told(&shop, &["--json", "queue", "peek", "shipping-bulk", "--limit", "10"]).await?;
        let own = seen.as_array().unwrap().iter().find(|message| message["body"] == body.as_str());
        assert_eq!(own.expect("it is there")["group"], shop.who.tenant.as_str());
    }
    held.release().await?;
    // It is nothing that ship-order could work with.
    let case = case_of(&adapters(&shop)?, "for a_peek_shows_what_waits").await?;
    assert_eq!(case.case.step, "shipping");
    shop.close().await
}

/// An order that is parked before anything was done for it.
async fn a_parked_order(shop: &Shop, aws: &Aws, key: &str) -> anyhow::Result<(OrderId, String)> {
    let order = shop.accept_without_message(key, Lane::Express, now_ms() + 3_600_000).await?;
    ensure!(park(aws, &order, "recover", CaseClass::Transient, "a test parks it").await?, "somebody was at it");
    let row = aws.load_order(order.order_id).await?.context("its row")?;
    Ok((order.order_id, row.parked.context("it is parked")?.case_id.to_string()))
}

#[tokio::test]
async fn a_parked_order_is_let_go_by_replaying_its_case_and_ships() -> anyhow::Result<()> {
    let shop = Shop::open("case-parked").await?;
    let aws = adapters(&shop)?;
    let (order_id, id) = a_parked_order(&shop, &aws, "key").await?;
    let why = refused(&shop, &["case", "close", &id, "--reason", "tired of it", "--yes"]).await?;
    assert!(why.contains("are not closed"), "{why}");
    let planned = told(&shop, &["--json", "case", "replay", &id, "--dry-run"]).await?;
    assert_eq!(planned[0]["action"]["resume"], json!({ "order_id": order_id, "command": "order.validate" }));
    assert!(aws.load_order(order_id).await?.context("its row")?.parked.is_some(), "a dry run does nothing");

    let report =
        told(&shop, &["--json", "case", "replay", &id, "--yes", "--reason", "mended", "--watch", "30"]).await?;
    assert_eq!(report["cases"], json!([[id, { "sent": "done" }]]));
    assert_eq!(shop.ended(order_id).await?.order.state, State::Shipped);
    let shown = told(&shop, &["--json", "case", "show", &id]).await?;
    assert_eq!((&shown["status"], &shown["replays"]), (&json!("replayed"), &json!(1)));
    // Again: nothing is left to do.
    let why = refused(&shop, &["case", "replay", &id, "--yes", "--reason", "mended"]).await?;
    assert!(why.contains("none of these can be replayed"), "{why}");
    shop.close().await
}

#[tokio::test]
async fn a_parked_order_that_is_abandoned_is_cancelled() -> anyhow::Result<()> {
    let shop = Shop::open("case-abandoned").await?;
    let aws = adapters(&shop)?;
    let (order_id, id) = a_parked_order(&shop, &aws, "key").await?;
    let args = ["--json", "case", "close", &id, "--abandon", "--reason", "the customer called", "--yes"];
    assert_eq!(told(&shop, &args).await?, json!([{ "case_id": id, "became": "cancelling" }]));
    assert_eq!(shop.ended(order_id).await?.order.state, State::Cancelled);
    shop.close().await
}

#[tokio::test]
async fn a_dead_notice_is_sent_again_as_it_was_and_nobody_is_written_to_twice() -> anyhow::Result<()> {
    let shop = Shop::open("case-notice").await?;
    let aws = adapters(&shop)?;
    let order_id = shop.order("key", &shop.body(Lane::Express)).await?;
    let order = shop.ended(order_id).await?.order;
    let mails = eventually("both mails are out", SOON, || async {
        let mails = shop.d.mail.to(&shop.email).await?;
        Ok((mails.len() == 2).then_some(mails))
    })
    .await?;
    // As SQS would have moved it: the event of its last version, in its group.
    let event = ports::Publication::of(&order);
    let sqs = &shop.d.clients.sqs;
    sqs.send_message()
        .queue_url(shop.d.queues.url("notify-dlq.fifo"))
        .message_body(&event.body)
        .message_group_id(order_id.to_string())
        .message_deduplication_id(format!("dead-{order_id}"))
        .send()
        .await?;
    let case = case_of(&aws, &order_id.to_string()).await?;
    assert_eq!((case.case.step.as_str(), case.case.class), ("notify", CaseClass::Transient));
    let since_ms = aws.now_ms();
    let id = case.case.case_id.to_string();
    let args = ["--json", "case", "replay", &id, "--yes", "--reason", "mended", "--watch", "2"];
    let report = told(&shop, &args).await?;
    assert_eq!(report["cases"], json!([[id, { "sent": "not_seen_again" }]]));
    eventually("notify-customer has taken it", SOON, || async {
        let lines = shop.d.logs.since(since_ms).await?;
        let took = |line: &tests::logs::RecordLine| {
            line.function == "notify-customer" && line.order_id.as_ref() == Some(&order_id.to_string())
        };
        Ok(lines.records.iter().any(took).then_some(()))
    })
    .await?;
    assert_eq!(shop.d.mail.to(&shop.email).await?.len(), mails.len(), "the mail was out already");
    shop.close().await
}
