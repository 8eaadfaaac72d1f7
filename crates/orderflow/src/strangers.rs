//! Cases in a status that this program does not know. An index lists the cases of one status, by its name, so none leads to these:
//! they are looked for in the whole table, and only where all cases are asked for.

use anyhow::Context as _;
use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use ports::{CaseStatus, UnreadableCase};

/// Finds them in the table of cases, the newest first; `order_id`: only those about this order. Reads the whole table.
pub(crate) async fn strangers(
    config: &SdkConfig,
    table: &str,
    order_id: Option<&str>,
) -> anyhow::Result<Vec<UnreadableCase>> {
    let known: Vec<String> = (0..CaseStatus::ALL.len()).map(|at| format!(":known{at}")).collect();
    // What stands beside the cases: places of walks have no fingerprint, and that of an audit record says what it is.
    let mut filter = format!(
        "attribute_exists(fingerprint) AND NOT begins_with(fingerprint, :audit) AND NOT #status IN ({})",
        known.join(", ")
    );
    let mut scan = Client::new(config)
        .scan()
        .table_name(table)
        .projection_expression("case_id, #status, opened_at, #step, order_id")
        .expression_attribute_names("#status", "status")
        .expression_attribute_names("#step", "step")
        .expression_attribute_values(":audit", AttributeValue::S("audit#".to_owned()));
    for (name, status) in known.iter().zip(CaseStatus::ALL) {
        scan = scan.expression_attribute_values(name, AttributeValue::S(status.name().to_owned()));
    }
    if let Some(order_id) = order_id {
        filter.push_str(" AND order_id = :order");
        scan = scan.expression_attribute_values(":order", AttributeValue::S(order_id.to_owned()));
    }
    let mut items = scan.filter_expression(filter).into_paginator().items().send();
    let mut found = Vec::new();
    while let Some(item) = items.next().await {
        let item = item.context(
            "cases of a status that this program does not know cannot be looked for: may you scan the table?",
        )?;
        let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).cloned().unwrap_or_default();
        let opened_at = item.get("opened_at").and_then(|value| value.as_n().ok()).and_then(|ms| ms.parse().ok());
        found.push(UnreadableCase {
            case_id: text("case_id"),
            unreadable: format!("its status `{}` is none that this program knows", text("status")),
            opened_at_ms: opened_at.unwrap_or(0),
            step: text("step"),
            order_id: text("order_id"),
        });
    }
    found.sort_by_key(|one| std::cmp::Reverse(one.opened_at_ms));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use serde_json::{Value, json};

    use super::*;
    use crate::stack::local_config;

    #[tokio::test]
    async fn what_no_index_leads_to_is_found_and_is_unreadable() {
        let asked = Arc::<Mutex<Vec<Value>>>::default();
        let seen = Arc::clone(&asked);
        let table = Router::new().fallback(move |body: String| {
            seen.lock().unwrap().push(serde_json::from_str(&body).unwrap());
            let item = |id: &str, opened_at: u64| {
                json!({
                    "case_id": { "S": id }, "status": { "S": "escalated" }, "opened_at": { "N": opened_at.to_string() },
                    "step": { "S": "stock" }, "order_id": { "S": "an-order" },
                })
            };
            let answer = json!({ "Items": [item("older", 5), item("newer", 7)], "Count": 2, "ScannedCount": 9 });
            async move { ([("content-type", "application/x-amz-json-1.0")], answer.to_string()) }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = local_config(&format!("http://{}", listener.local_addr().unwrap()));
        let server = tokio::spawn(axum::serve(listener, table).into_future());

        let found = strangers(&config, "shop-cases", Some("an-order")).await.unwrap();
        assert_eq!(found.iter().map(|one| one.case_id.as_str()).collect::<Vec<_>>(), ["newer", "older"]);
        let UnreadableCase { unreadable, opened_at_ms, step, order_id, .. } = &found[0];
        assert_eq!(unreadable, "its status `escalated` is none that this program knows");
        assert_eq!((*opened_at_ms, step.as_str(), order_id.as_str()), (7, "stock", "an-order"));

        let all = strangers(&config, "shop-cases", None).await.unwrap();
        assert_eq!(all.len(), 2);
        let asked = asked.lock().unwrap();
        assert_eq!((&asked[0]["TableName"], &asked[0]["IndexName"]), (&json!("shop-cases"), &Value::Null));
        let values = asked[0]["ExpressionAttributeValues"].as_object().unwrap();
        for status in CaseStatus::ALL {
            assert!(values.values().any(|value| value["S"] == status.name()), "{} is known", status.name());
        }
        assert_eq!(values[":order"]["S"], "an-order");
        assert!(!asked[1]["ExpressionAttributeValues"].as_object().unwrap().contains_key(":order"), "{}", asked[1]);
        server.abort();
    }
}
