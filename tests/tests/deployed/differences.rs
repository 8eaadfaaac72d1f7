//! The payment provider's ledger and the orders: what somebody did at the provider by hand becomes a case.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use order::{Lane, OrderId, State};
use ports::CaseStatus;
use serde_json::{Value, json};

use crate::cases::{open_cases, told};
use crate::fences::adapters;
use crate::shop::Shop;

/// A call of the payment provider's API by somebody who has a key.
async fn by_hand(shop: &Shop, path: &str, form: &[(&str, &str)]) -> anyhow::Result<Value> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let url = format!("{}{path}", shop.d.info.sandbox_url);
    let answer = http.post(url).bearer_auth("sk_test_by_hand").form(form).send().await?;
    let (status, body) = (answer.status(), answer.json::<Value>().await?);
    ensure!(status.is_success(), "{path}: {status} {body}");
    Ok(body)
}

/// Holds money for an order, beside the order's own payment.
async fn orphaned_hold(shop: &Shop, id: OrderId) -> anyhow::Result<String> {
    let order_id = id.to_string();
    let form = [
        ("amount", "900"),
        ("currency", "usd"),
        ("capture_method", "manual"),
        ("payment_method", "pm_card_visa"),
        ("confirm", "true"),
        ("metadata[order_id]", order_id.as_str()),
    ];
    let made = by_hand(shop, "/v1/payment_intents", &form).await?;
    ensure!(made["status"] == "requires_capture", "{made}");
    made["id"].as_str().map(str::to_owned).context("no id")
}

#[tokio::test]
async fn a_hold_and_a_refund_that_the_orders_know_nothing_of_are_two_cases_however_often_it_is_looked()
-> anyhow::Result<()> {
    let shop = Shop::open("differences").await?;
    let aws = adapters(&shop)?;
    let (one, other) =
        (shop.order("one", &shop.body(Lane::Express)).await?, shop.order("other", &shop.body(Lane::Standard)).await?);
    let row = shop.ended(one).await?.order;
    assert_eq!(row.state, State::Shipped);
    assert_eq!(shop.ended(other).await?.order.state, State::Shipped);
    let asked = json!({ "window_hours": 1, "grace_minutes": 0, "orders": [one, other] });
    let mine = async || -> anyhow::Result<BTreeMap<String, String>> {
        let ids = [one.to_string(), other.to_string()];
        let cases = open_cases(&aws).await?.into_iter().filter(|case| ids.contains(&case.case.order_id));
        Ok(cases.map(|case| (case.case.case_id.to_string(), case.case.fingerprint)).collect())
    };

    // Nothing differs where nothing was done by hand.
    let clean: Value = serde_json::from_str(&shop.d.invoke("reconcile-payments", &asked).await?)?;
    assert_eq!(
        (&clean["reconciled"], &clean["differences"], &clean["unfinished"]),
        (&json!(2), &json!({}), &Value::Null)
    );
    assert_eq!(mine().await?, BTreeMap::new());

    let hold = orphaned_hold(&shop, one).await?;
    let payment = row.payment.context("it has a payment")?.payment_id;
    let refund = by_hand(&shop, "/v1/refunds", &[("payment_intent", payment.as_str()), ("amount", "300")]).await?;
    let refund = refund["id"].as_str().context("no id")?.to_owned();

    let found: Value = serde_json::from_str(&shop.d.invoke("reconcile-payments", &asked).await?)?;
    let both = json!({ "orphaned-hold": 1, "refund-not-on-row": 1 });
    assert_eq!((&found["differences"], &found["opened"]), (&both, &json!(2)));
    let cases = mine().await?;
    let mut prints: Vec<&str> = cases.values().map(String::as_str).collect();
    prints.sort_unstable();
    assert_eq!(prints.len(), 2, "{cases:?}");
    assert!(prints[0].starts_with("reconcile/orphaned-hold/") && prints[1].starts_with("reconcile/refund-not-on-row/"));

    let again: Value = serde_json::from_str(&shop.d.invoke("reconcile-payments", &asked).await?)?;
    assert_eq!((&again["differences"], &again["opened"]), (&both, &json!(0)));
    assert_eq!(mine().await?, cases);

    // The tool finds the same, knows that they have cases, and says what to do.
    let (one_id, other_id) = (one.to_string(), other.to_string());
    let look = ["--json", "reconcile", "--since", "1h", "--grace", "0s", "--order", &one_id, "--order", &other_id];
    let seen = told(&shop, &look).await?;
    let seen = seen["differences"].as_array().context("no differences")?;
    let about: Vec<_> =
        seen.iter().map(|one| (one["kind"].clone(), one["case"].clone(), one["case_id"].clone())).collect();
    assert_eq!(about.len(), 2, "{seen:?}");
    for (_, case, case_id) in &about {
        assert_eq!(*case, CaseStatus::Open.name());
        assert!(cases.contains_key(case_id.as_str().unwrap()), "{case_id}");
    }
    assert!(seen.iter().any(|one| one["payment_id"] == hold.as_str() && one["refund_id"].is_null()));
    assert!(seen.iter().any(|one| one["refund_id"] == refund.as_str()));
    assert!(seen.iter().all(|one| one["do"].as_str().is_some_and(|advice| !advice.is_empty())));

    // Put right and decided: the hold is let go, the refund was the shop's own doing.
    by_hand(&shop, &format!("/v1/payment_intents/{hold}/cancel"), &[]).await?;
    for case_id in cases.keys() {
        told(&shop, &["--json", "case", "close", case_id, "--reason", "a test", "--yes"]).await?;
    }
    let last: Value = serde_json::from_str(&shop.d.invoke("reconcile-payments", &asked).await?)?;
    assert_eq!((&last["differences"], &last["decided"], &last["opened"]), (&json!({}), &json!(1), &json!(0)));
    assert_eq!(mine().await?, BTreeMap::new());
    // The books of this shop do not add up, as they were meant not to.
    let books = shop.close().await.expect_err("a refund that nobody asked for").to_string();
    assert!(books.contains("I3"), "{books}");
    Ok(())
}

#[tokio::test]
async fn the_tool_changes_nothing_unless_it_is_told_to_and_then_writes_down_who_did_it() -> anyhow::Result<()> {
    let shop = Shop::open("differences-tool").await?;
    let aws = adapters(&shop)?;
    let id = shop.order("one", &shop.body(Lane::Standard)).await?;
    shop.ended(id).await?;
    let hold = orphaned_hold(&shop, id).await?;
    let id = id.to_string();
    let look = ["--json", "reconcile", "--since", "1h", "--grace", "0s", "--order", &id];
    let seen = told(&shop, &look).await?;
    assert_eq!(
        (&seen["differences"][0]["kind"], &seen["differences"][0]["case"]),
        (&json!("orphaned-hold"), &Value::Null)
    );
    let case_id = seen["differences"][0]["case_id"].as_str().context("no case id")?.to_owned();
    assert!(open_cases(&aws).await?.iter().all(|case| case.case.case_id.as_str() != case_id), "only looked at");

    let opened = told(&shop, &[&look[..], &["--open-cases", "--yes", "--reason", "a look by hand"]].concat()).await?;
    assert_eq!(opened["differences"][0]["case"], "open");
    let shown = told(&shop, &["--json", "case", "show", &case_id]).await?;
    assert_eq!((&shown["status"], &shown["kind"]), (&json!("open"), &json!("difference")));
    assert_eq!(shown["audits"][0]["who"], "local user ann-the-operator");
    assert_eq!(shown["audits"][0]["reason"], "a look by hand");
    let planned = told(&shop, &["--json", "case", "replay", &case_id, "--dry-run"]).await?;
    assert!(planned[0]["action"]["refused"]["why"].as_str().is_some_and(|why| why.contains("by hand")), "{planned}");

    by_hand(&shop, &format!("/v1/payment_intents/{hold}/cancel"), &[]).await?;
    told(&shop, &["--json", "case", "close", &case_id, "--reason", "let go at the provider", "--yes"]).await?;
    shop.close().await
}
