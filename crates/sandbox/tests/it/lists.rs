//! Lists of payments and refunds, as Stripe serves them.

use serde_json::Value;

use crate::support::{Answer, Caller, sandbox};

fn ids(page: &Answer) -> Vec<String> {
    let data = page.body["data"].as_array().unwrap();
    data.iter().map(|object| object["id"].as_str().unwrap().to_owned()).collect()
}

/// Every id of a list, read in pages of two.
async fn all(call: &Caller, list: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    loop {
        let after = found.last().map(|last| format!("&starting_after={last}")).unwrap_or_default();
        let page = call.get(&format!("{list}limit=2{after}")).await.expect(200);
        let ids = ids(&page);
        assert!(ids.len() <= 2);
        found.extend(ids);
        if page.body["has_more"] == false {
            return found;
        }
    }
}

#[tokio::test]
async fn payments_are_listed_newest_first_page_by_page_also_within_one_second() {
    let world = sandbox().await;
    let call = &world.call;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(call.intent("pm_card_visa").await);
    }
    // What happens to one later does not move it.
    call.pay(&format!("/v1/payment_intents/{}/confirm", made[0]), &[]).await.expect(200);
    made.reverse();
    assert_eq!(all(call, "/v1/payment_intents?").await, made);
    let page = call.get("/v1/payment_intents").await.expect(200);
    assert_eq!((page.text("/object"), page.text("/url")), ("list", "/v1/payment_intents"));
    assert_eq!(ids(&page).len(), 5, "ten at most, unless it is said otherwise");
    // It is all still there after a restart.
    let world = world.restart().await;
    assert_eq!(all(&world.call, "/v1/payment_intents?").await, made);
}

#[tokio::test]
async fn a_list_takes_what_was_created_in_a_stretch_of_time() {
    let world = sandbox().await;
    let call = &world.call;
    let old = call.captured().await;
    let refund = |id: String| async move { call.pay("/v1/refunds", &[("payment_intent", &id)]).await.expect(200).id() };
    let old_refund = refund(old.clone()).await;
    call.admin("/clock", &serde_json::json!({ "advance_ms": 3_600_000 })).await.expect(200);
    let young = call.captured().await;
    let young_refund = refund(young.clone()).await;
    let created = call.get(&format!("/v1/payment_intents/{young}")).await.expect(200).body["created"].as_i64().unwrap();
    let between = created - 1_800;
    for (list, old, young) in [("payment_intents", &old, &young), ("refunds", &old_refund, &young_refund)] {
        let of = async |filter: String| ids(&call.get(&format!("/v1/{list}?{filter}")).await.expect(200));
        assert_eq!(of(format!("created[gte]={between}")).await, [young.as_str()], "{list}");
        assert_eq!(of(format!("created[lt]={between}")).await, [old.as_str()], "{list}");
        assert_eq!(of(format!("created[gt]={}&created[lte]={}", created - 4_000, between)).await, [old.as_str()]);
        assert_eq!(of(format!("created[gte]={}&created[lt]={between}", between - 10)).await, [""; 0]);
        assert_eq!(of("limit=100".to_owned()).await, [young.as_str(), old.as_str()], "{list}");
        let odd = call.get(&format!("/v1/{list}?created[gte]=yesterday")).await.expect(400);
        assert_eq!(odd.text("/error/code"), "parameter_invalid_integer");
        call.get(&format!("/v1/{list}?limit=101")).await.expect(400);
        let lost = call.get(&format!("/v1/{list}?starting_after=none_of_mine")).await.expect(400);
        assert_eq!(lost.text("/error/code"), "resource_missing");
    }
}

#[tokio::test]
async fn a_list_shows_charges_and_payments_in_full_where_they_are_asked_for() {
    let world = sandbox().await;
    let call = &world.call;
    let id = call.captured().await;
    call.pay("/v1/refunds", &[("payment_intent", &id), ("amount", "400")]).await.expect(200);
    let plain = call.get("/v1/payment_intents").await.expect(200);
    assert!(plain.text("/data/0/latest_charge").starts_with("ch_"));
    let full = call.get("/v1/payment_intents?expand[]=data.latest_charge").await.expect(200);
    let charge = &full.body["data"][0]["latest_charge"];
    assert_eq!((&charge["amount_captured"], &charge["amount_refunded"]), (&1_000.into(), &400.into()));
    assert_eq!(full.text("/data/0/metadata/order_id"), "o1");

    let plain = call.get("/v1/refunds").await.expect(200);
    assert_eq!(plain.text("/data/0/payment_intent"), id);
    let full = call.get("/v1/refunds?expand[]=data.payment_intent").await.expect(200);
    assert_eq!(full.text("/data/0/payment_intent/id"), id);
    assert_eq!(full.text("/data/0/payment_intent/metadata/order_id"), "o1");
    assert_eq!(full.body["data"][0]["metadata"], Value::Object(serde_json::Map::new()));
    call.get("/v1/refunds?expand[]=data.charge").await.expect(400);
}

#[tokio::test]
async fn a_hold_that_has_lapsed_is_listed_as_cancelled() {
    let world = sandbox().await;
    let call = &world.call;
    call.held("pm_card_visa").await;
    assert_eq!(call.get("/v1/payment_intents").await.expect(200).text("/data/0/status"), "requires_capture");
    call.admin("/clock", &serde_json::json!({ "advance_ms": 8_i64 * 24 * 3_600_000 })).await.expect(200);
    assert_eq!(call.get("/v1/payment_intents").await.expect(200).text("/data/0/status"), "canceled");
}
