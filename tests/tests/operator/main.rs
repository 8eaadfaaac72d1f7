//! What an operator does with the tool itself, on a deployed stack of its own: `orderflow doctor` says what is wrong with it, and
//! `replay-local` runs a case's message here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod desk;

use anyhow::{Context, ensure};
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::{Value, json};
use tests::clock::now_ms;
use tests::wait::eventually;
use uuid::Uuid;

use desk::{Desk, SOON};

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
        "lanes",
        "cases",
        "overdue",
        "breakers",
        "mappings",
        "schedules",
        "reconciliation",
        "functions",
        "settings",
        "alarms",
        "drift",
    ];
    assert_eq!(checks, expected, "one line each: {all}");
    assert!(healthy.finds("settings", "ok", "21 queues, 23 mappings, 12 functions"), "{all}");
    assert!(healthy.finds("schedules", "ok", "4 schedules"), "{all}");
    assert!(healthy.finds("reconciliation", "ok", "the daily run"), "{all}");
    // The local CloudWatch judges no alarm: that is not said to be fine.
    assert!(healthy.finds("alarms", "skipped", "has been judged"), "{all}");
    let unseen = all["not_looked_at"].as_array().unwrap();
    assert!(unseen.contains(&json!("alarms")) && unseen[0].as_str().unwrap().contains("oldest message"), "{all}");

    // As it looks from elsewhere: by name, region and endpoint. The gateway's own address is none on this machine.
    let elsewhere = desk.as_on_aws(&["doctor", "--json"]).await?;
    assert!(elsewhere.finds("settings", "ok", "21 queues") && elsewhere.finds("mappings", "ok", "all 22"), "{all}");
    assert!(elsewhere.finds("schedules", "ok", "4 schedules"), "{}", elsewhere.stdout);

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

    // A schedule that somebody turned off, and an alarm that has gone off.
    let schedule = format!("{}/schedules/orderflow-recover-orders", desk.d.info.endpoint);
    // The local AWS tells its services apart by the scope of the signature, and does not check it.
    let scope = "AWS4-HMAC-SHA256 Credential=000000000000/20261130/us-east-1/scheduler/aws4_request, \
                 SignedHeaders=host, Signature=0";
    let asked = http.get(&schedule).header("authorization", scope);
    let enabled: Value = asked.send().await?.error_for_status()?.json().await?;
    let mut disabled = enabled.clone();
    disabled["State"] = json!("DISABLED");
    http.put(&schedule).header("authorization", scope).json(&disabled).send().await?.error_for_status()?;
    desk.alarm("orderflow-api-5xx", "ALARM").await?;
    let ended = desk.doctor().await?;
    http.put(&schedule).header("authorization", scope).json(&enabled).send().await?.error_for_status()?;
    desk.alarm("orderflow-api-5xx", "INSUFFICIENT_DATA").await?;
    assert_eq!(ended.code, 1, "{}", ended.stdout);
    assert!(ended.finds("schedules", "bad", "recover-orders is off"), "{}", ended.stdout);
    assert!(ended.finds("alarms", "bad", "api-5xx has gone off: The API answers 5xx"), "{}", ended.stdout);

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

/// What the function would have done for its message. What it says of its lane after any batch is none of that.
fn held_back(ran: &Value) -> &[Value] {
    let held = ran["held_back"].as_array().unwrap();
    assert!(held.iter().all(|held| held["on"] != "orderflow-breakers"), "{ran}");
    held
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
    let asked = desk.orderflow(&["replay-local", id, "--with-effects", "--reason", "a test's"]).await?;
    assert_eq!(asked.code, 1);
    assert!(asked.stderr.contains("ORDERS_TABLE=orderflow-orders"), "{}", asked.stderr);
    assert!(asked.stderr.contains("Nobody is there to ask"), "{}", asked.stderr);
    let let_it = ["replay-local", id, "--with-effects", "--reason", "a test's", "--yes", "--json"];
    let ran = desk.as_on_aws(&let_it).await?.json();
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
    let id = desk.place("refused", "bulk").await?;
    let message = desk.d.tables.order(id).await?.context("no row")?.order;
    let message = ports::command_message(&message, None, now_ms()).context("it owes nothing")?.body;
    desk.d.queues.send("validate-dlq", None, &[message]).await?;
    let case = desk.cases("validate", 1).await?.remove(0);
    let case_id = case["case_id"].as_str().unwrap();
    let ran = desk.orderflow(&["replay-local", case_id, "--json"]).await?.json();
    assert_eq!(ran["function"], "validate-order", "by its dead-letter queue");
    assert_eq!(ran["verdict"], "retry", "{ran}");
    let write = held_back(&ran).iter().find(|held| held["told"] == "refused").unwrap_or_else(|| panic!("{ran}"));
    assert!(write["on"].as_str().unwrap().contains("orderflow-orders"), "{write}");
    assert_eq!(desk.d.tables.order(id).await?.unwrap().order.version, 1, "it is as it was");
    held.release().await?;
    desk.d.ended(id, SOON).await?;
    desk.close("validate").await
}

#[tokio::test]
async fn an_order_that_is_sent_again_in_vain_is_told_and_whoever_moves_it_is_asked_and_written_down()
-> anyhow::Result<()> {
    let desk = Desk::open().await?;
    let held = desk.d.mappings.hold("validate-standard").await?;
    let order_id = desk.place("in-vain", "standard").await?;
    let id = order_id.to_string();
    // As recovery leaves it after four times: not late, and due in a quarter of an hour.
    let set = desk.d.clients.dynamodb.update_item().table_name(desk.d.info.output("OrdersTable")?);
    let set =
        set.key("order_id", AttributeValue::S(id.clone())).update_expression("SET nudges = :four, due_at = :later");
    let later = AttributeValue::N((now_ms() + 900_000).to_string());
    set.expression_attribute_values(":four", AttributeValue::N("4".to_owned()))
        .expression_attribute_values(":later", later)
        .send()
        .await?;
    let ended = desk.doctor().await?;
    assert_eq!(ended.code, 1, "{}", ended.stdout);
    assert!(
        ended.finds("overdue", "bad", &format!("{id} of standard 4 times, for order.validate, in vain")),
        "{}",
        ended.stdout
    );

    // Nobody is asked whom nobody answers, and nothing is done.
    let asked = desk.orderflow(&["order", "nudge", &id, "--reason", "a test's"]).await?;
    assert_eq!(asked.code, 1);
    assert!(asked.stderr.contains("owes order.validate, sent again 4 times"), "{}", asked.stderr);
    assert!(asked.stderr.contains("give --yes"), "{}", asked.stderr);
    let asked = desk.orderflow(&["order", "republish", &id, "--reason", "a test's"]).await?;
    assert!(asked.code == 1 && asked.stderr.contains("versions 1 to 1"), "{}", asked.stderr);
    let asked = desk.orderflow(&["stock", "set", "op-1", "--available", "7", "--reason", "a test's"]).await?;
    assert!(asked.code == 1 && asked.stderr.contains("available 10 to 7"), "{}", asked.stderr);
    let operators = async || {
        let trace = desk.orderflow(&["trace", &id, "--no-logs", "--json"]).await?.json();
        let entries = trace["entries"].as_array().unwrap().iter();
        anyhow::Ok(entries.filter(|entry| entry["source"] == "operator").cloned().collect::<Vec<_>>())
    };
    assert_eq!(operators().await?, Vec::<Value>::new());
    let sent = desk.orderflow(&["order", "nudge", &id, "--reason", "a test's", "--yes", "--json"]).await?;
    assert_eq!(sent.json()["nudged"], "sent", "{}", sent.stderr);
    let written = operators().await?;
    assert_eq!(written.len(), 1, "{written:?}");
    assert!(written[0]["what"].as_str().unwrap().starts_with("nudge"), "{written:?}");
    assert!(written[0]["more"].as_str().unwrap().ends_with("because: a test's"), "{written:?}");

    // A case of it in a status that a newer program brought in: no index leads to it.
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let cases = desk.d.info.output("CasesTable")?;
    let put = desk.d.clients.dynamodb.put_item().table_name(cases).item("case_id", text("of-tomorrow"));
    let put = put.item("status", text("escalated")).item("fingerprint", text("validate/poison/new"));
    let put = put.item("step", text("validate")).item("order_id", text(&id));
    put.item("opened_at", AttributeValue::N(now_ms().to_string())).send().await?;
    let lists = async |arguments: &[&str]| {
        let listed = desk.orderflow(&[["case", "list", "--json"].as_slice(), arguments].concat()).await?;
        ensure!(listed.code == 0, "{}", listed.stderr);
        let listed = listed.json();
        Ok(listed.as_array().unwrap().iter().find(|case| case["case_id"] == "of-tomorrow").cloned())
    };
    let (all, open) = (lists(&["--status", "all"]).await?, lists(&[]).await?);
    let trace = desk.orderflow(&["trace", &id, "--no-logs", "--json"]).await?.json();
    let key = text("of-tomorrow");
    desk.d.clients.dynamodb.delete_item().table_name(cases).key("case_id", key).send().await?;
    let all = all.context("it is not listed")?;
    assert!(all["unreadable"].as_str().unwrap().contains("escalated"), "{all}");
    assert_eq!(open, None);
    let traced = trace["entries"].as_array().unwrap().iter().find(|entry| entry["source"] == "case");
    let traced = traced.with_context(|| format!("it is not traced: {trace}"))?;
    assert!(traced["what"].as_str().unwrap().contains("of-tomorrow"), "{traced}");

    held.release().await?;
    desk.d.ended(order_id, SOON).await?;
    desk.is_healthy().await
}

#[tokio::test]
async fn a_queue_is_peeked_into_by_its_name_without_the_ending_of_fifo_queues() -> anyhow::Result<()> {
    let desk = Desk::open().await?;
    for name in ["notify-dlq", "notify-dlq.fifo", "orderflow-notify", "events-dlq", "payment-dlq"] {
        let peeked = desk.orderflow(&["queue", "peek", name, "--json"]).await?;
        assert_eq!(peeked.code, 0, "{name}: {}", peeked.stderr);
        assert!(peeked.json().is_array(), "{name}");
    }
    Ok(())
}
