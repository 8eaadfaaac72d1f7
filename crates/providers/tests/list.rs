//! Stripe's lists: against the sandbox, and what a list may hold that the sandbox has not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use order::PaymentId;
use ports::{ListPayments as _, ListedPayment, ListedRefund, PaymentStatus, Payments as _, ProviderError, Stretch};
use providers::Stripe;
use serde_json::{Value, json};
use support::stub::{Act, Stub};
use support::{ORDER, World, order_id, payment, secret, usd};

/// Everything so far.
const ALL: Stretch = Stretch { from_ms: 0, to_ms: 4_000_000_000_000 };

async fn created(world: &World, key: &str) -> PaymentId {
    world.stripe.create_payment(key, &payment(usd(2_500), "pm_card_visa")).await.unwrap().id().unwrap()
}

/// What somebody does with the API by hand.
async fn by_hand(world: &World, path: &str, form: &[(&str, &str)]) -> Value {
    let url = format!("{}{path}", world.sandbox.url());
    let answer = world.http.post(url).bearer_auth(support::KEY).form(form).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json().await.unwrap()
}

#[tokio::test]
async fn payments_are_listed_with_their_order_their_standing_and_what_went_back() {
    let world = World::new().await;
    let stripe = &world.stripe;
    let unconfirmed = created(&world, "a/create").await;
    let held = created(&world, "b/create").await;
    stripe.confirm_payment("b", &held).await.unwrap();
    let voided = created(&world, "c/create").await;
    stripe.confirm_payment("c", &voided).await.unwrap();
    stripe.cancel_payment("c/void", &voided).await.unwrap();
    let captured = created(&world, "d/create").await;
    stripe.confirm_payment("d", &captured).await.unwrap();
    stripe.capture_payment("d/capture", &captured, usd(2_500)).await.unwrap();
    stripe.refund_payment("d/refund", &captured, order_id(), 0, usd(700)).await.unwrap();
    let stranger = [("amount", "900"), ("currency", "usd"), ("metadata[order_id]", "their-own-kind-of-id")];
    by_hand(&world, "/v1/payment_intents", &stranger).await;

    let page = stripe.list_payments(ALL, None).await.unwrap();
    assert_eq!((page.next, page.unreadable), (None, 0));
    let mine = |payment_id: PaymentId, status, captured_minor, refunded_minor| ListedPayment {
        payment_id,
        order_id: Some(order_id()),
        status,
        amount: usd(2_500),
        captured_minor,
        refunded_minor,
    };
    assert_eq!(page.items[0].order_id, None, "another's metadata is not ours");
    let ours = [
        mine(captured, PaymentStatus::Captured, 2_500, 700),
        // Stripe shows what was let go as refunded; nothing came back.
        mine(voided, PaymentStatus::Cancelled, 0, 0),
        mine(held, PaymentStatus::Held, 0, 0),
        mine(unconfirmed, PaymentStatus::Unconfirmed, 0, 0),
    ];
    assert_eq!(page.items[1..], ours);
}

#[tokio::test]
async fn what_a_partial_capture_let_go_did_not_go_back() {
    let world = World::new().await;
    let id = created(&world, "a/create").await;
    world.stripe.confirm_payment("a", &id).await.unwrap();
    by_hand(&world, &format!("/v1/payment_intents/{}/capture", id.as_str()), &[("amount_to_capture", "2000")]).await;
    by_hand(&world, "/v1/refunds", &[("payment_intent", id.as_str()), ("amount", "300")]).await;
    let listed = world.stripe.list_payments(ALL, None).await.unwrap().items.remove(0);
    assert_eq!((listed.captured_minor, listed.refunded_minor), (2_000, 300));
}

#[tokio::test]
async fn a_refund_made_by_hand_names_the_order_of_its_payment() {
    let world = World::new().await;
    let id = created(&world, "a/create").await;
    world.stripe.confirm_payment("a", &id).await.unwrap();
    world.stripe.capture_payment("a/capture", &id, usd(2_500)).await.unwrap();
    let ours = world.stripe.refund_payment("a/refund", &id, order_id(), 0, usd(700)).await.unwrap();
    let theirs = by_hand(&world, "/v1/refunds", &[("payment_intent", id.as_str()), ("amount", "300")]).await;
    let listed = |refund_id: &str, amount_minor| ListedRefund {
        refund_id: refund_id.to_owned(),
        payment_id: Some(id.clone()),
        order_id: Some(order_id()),
        amount_minor,
        failed: false,
    };
    let page = world.stripe.list_refunds(ALL, None).await.unwrap();
    assert_eq!(page.items, [listed(theirs["id"].as_str().unwrap(), 300), listed(&ours, 700)]);
    assert_eq!(page.next, None);
    let view = world.stripe.read_payment(&id).await.unwrap();
    assert_eq!((view.captured_minor, view.refunds.len()), (2_500, 2));
}

#[tokio::test]
async fn a_list_goes_on_page_by_page_and_takes_only_its_stretch() {
    let world = World::new().await;
    let mut made = Vec::new();
    for at in 0..103 {
        made.push(created(&world, &format!("k{at}/create")).await);
    }
    made.reverse();
    let first = world.stripe.list_payments(ALL, None).await.unwrap();
    let after = first.next.clone().unwrap();
    let second = world.stripe.list_payments(ALL, Some(&after)).await.unwrap();
    assert_eq!((first.items.len(), second.items.len(), second.next), (100, 3, None));
    let listed: Vec<PaymentId> = first.items.into_iter().chain(second.items).map(|one| one.payment_id).collect();
    assert_eq!(listed, made);
    for none in [Stretch { from_ms: 0, to_ms: 1_000 }, Stretch { from_ms: 4_000_000_000_000, ..ALL }] {
        assert_eq!(world.stripe.list_payments(none, None).await.unwrap().items, []);
    }
    let lost = world.stripe.list_payments(ALL, Some("pi_of_nobody")).await;
    assert!(matches!(lost, Err(ProviderError::Refused { .. })), "{lost:?}");
}

fn intent(edit: Value) -> Value {
    let mut intent = json!({
        "id": "pi_1", "status": "succeeded", "amount": 100, "amount_capturable": 0, "amount_received": 100,
        "currency": "usd", "metadata": { "order_id": ORDER },
        "latest_charge": { "id": "ch_1", "amount": 100, "amount_captured": 100, "amount_refunded": 0 },
    });
    for (name, value) in edit.as_object().unwrap() {
        intent[name] = value.clone();
    }
    intent
}

async fn answered(page: &Value) -> (Stub, Stripe) {
    let stub = Stub::new(vec![Act::answer(200, page)]).await;
    let stripe = Stripe::new(&stub.url(), secret()).unwrap();
    (stub, stripe)
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_counted_and_hides_no_other() {
    let data = json!([
        intent(json!({ "id": "pi_good" })),
        intent(json!({ "status": "of_a_later_version" })),
        intent(json!({ "currency": "usdollar" })),
        // Money, and nothing to tell what came back of it.
        intent(json!({ "latest_charge": null })),
        intent(json!({ "latest_charge": "ch_not_expanded" })),
        "nonsense",
    ]);
    let (_stub, stripe) = answered(&json!({ "data": data, "has_more": false })).await;
    let page = stripe.list_payments(ALL, None).await.unwrap();
    let ids: Vec<&str> = page.items.iter().map(|one| one.payment_id.as_str()).collect();
    assert_eq!((ids, page.unreadable), (vec!["pi_good"], 5));
}

#[tokio::test]
async fn a_refund_that_failed_says_so_and_one_without_a_payment_is_nobodys() {
    let owner = json!({ "id": "pi_1", "metadata": { "order_id": ORDER } });
    let refund = |id: &str, status: &str, owner: Value| json!({ "id": id, "amount": 5, "currency": "usd", "status": status, "metadata": {}, "payment_intent": owner });
    let data = json!([
        refund("re_3", "failed", owner.clone()),
        refund("re_2", "pending", owner),
        refund("re_1", "canceled", Value::Null),
    ]);
    let (_stub, stripe) = answered(&json!({ "data": data, "has_more": false })).await;
    let page = stripe.list_refunds(ALL, None).await.unwrap();
    let told: Vec<_> = page.items.iter().map(|one| (one.failed, one.payment_id.is_some(), one.order_id)).collect();
    assert_eq!(told, [(true, true, Some(order_id())), (false, true, Some(order_id())), (true, false, None)]);
}

#[tokio::test]
async fn a_list_is_asked_for_in_seconds_and_one_that_never_ends_is_refused() {
    let (stub, stripe) = answered(&json!({ "data": [], "has_more": true })).await;
    let within = Stretch { from_ms: 1_700_000_000_999, to_ms: 1_700_000_009_999 };
    let endless = stripe.list_refunds(within, Some("re_1")).await;
    assert!(matches!(endless, Err(ProviderError::Unknown { .. })), "{endless:?}");
    let request = stub.requests().remove(0);
    let line = request.lines().next().unwrap().replace("%5B", "[").replace("%5D", "]");
    let wanted = "GET /v1/refunds?created[gte]=1700000000&created[lt]=1700000010&limit=100\
                  &expand[]=data.payment_intent&starting_after=re_1 HTTP/1.1";
    assert_eq!(line, wanted);
}
