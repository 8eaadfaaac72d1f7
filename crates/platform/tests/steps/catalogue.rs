//! What an operator does to the catalogue, and what is written down of it.

use std::collections::HashMap;

use lambda_queue::memory::{Fault, Operation};
use lambda_queue::ports::store::{Store as _, Write, text};
use order::Sku;
use platform::{Changed, Expected, ProductChange};
use ports::{Product, ReadCases as _, ReadCatalogue as _, StoreError};

use crate::replays::by;
use crate::shop::{PIECES, PRICE, Shop};

fn change(sku: &str, available: Option<u64>) -> ProductChange {
    ProductChange { sku: sku.parse().unwrap(), name: None, price_minor: None, currency: None, available }
}

async fn product(shop: &Shop, sku: &str) -> Option<Product> {
    shop.platform.read_catalogue(&[sku.parse().unwrap()]).await.unwrap().pop()
}

async fn audits(shop: &Shop, sku: &str) -> Vec<ports::Audit> {
    let sku: Sku = sku.parse().unwrap();
    shop.platform.audits_of(&ProductChange::subject(&sku)).await.unwrap()
}

async fn changed_where(shop: &Shop, change: &ProductChange, expected: Expected) -> Result<Changed, StoreError> {
    let subject = ProductChange::subject(&change.sku);
    let audit = by("counted anew").audit(&*shop.platform, "stock", &subject, change.told());
    shop.platform.change_product(change, expected, &audit).await
}

async fn changed(shop: &Shop, change: &ProductChange) -> Result<Changed, StoreError> {
    changed_where(shop, change, Expected::Anything).await
}

fn cup() -> Product {
    Product {
        sku: "CUP".parse().unwrap(),
        name: "Cup".to_owned(),
        price_minor: 900,
        currency: "USD".parse().unwrap(),
        available: 3,
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_of_a_product_leaves_the_rest_and_is_written_down_with_who_and_why() {
    let shop = Shop::open().await;
    assert_eq!(changed(&shop, &change("MUG", Some(5))).await, Ok(Changed::Done));
    let mug = product(&shop, "MUG").await.unwrap();
    assert_eq!((mug.available, mug.price_minor, mug.name.as_str()), (5, PRICE, "Mug"));
    let audits = audits(&shop, "MUG").await;
    assert_eq!(audits.len(), 1);
    let audit = &audits[0];
    assert_eq!(
        (audit.action.as_str(), audit.reason.as_str(), audit.detail.as_str()),
        ("stock", "counted anew", "available 5")
    );
    assert!(audit.who.ends_with("/ada") && audit.at_ms > 0);
}

#[tokio::test(start_paused = true)]
async fn a_product_that_is_not_there_is_made_only_of_all_that_it_needs() {
    let shop = Shop::open().await;
    assert_eq!(changed(&shop, &change("CUP", Some(5))).await, Ok(Changed::Absent));
    assert_eq!((product(&shop, "CUP").await, audits(&shop, "CUP").await), (None, vec![]));
    assert_eq!(changed(&shop, &ProductChange::to(cup())).await, Ok(Changed::Done));
    assert_eq!(product(&shop, "CUP").await, Some(cup()));
    assert_eq!(audits(&shop, "CUP").await[0].detail, "name Cup, price_minor 900, currency USD, available 3");
    assert!(changed(&shop, &change("MUG", None)).await.is_err(), "nothing is no change");
}

#[tokio::test(start_paused = true)]
async fn a_product_and_its_audit_record_change_together_or_not_at_all() {
    let shop = Shop::open().await;
    let fault = |fault: Fault| {
        move |call: &lambda_queue::memory::Call| {
            if call.operation == Operation::Transact { fault.clone() } else { Fault::None }
        }
    };
    shop.platform.backend().store.set_faults(fault(Fault::Throttle));
    assert!(changed(&shop, &change("MUG", Some(5))).await.is_err());
    shop.platform.backend().store.clear_faults();
    assert_eq!((shop.available().await, audits(&shop, "MUG").await.len()), (PIECES, 0));
}

#[tokio::test(start_paused = true)]
async fn a_change_of_what_was_shown_is_refused_where_it_is_another_by_now() {
    let shop = Shop::open().await;
    let to = |available| change("MUG", Some(available));
    // A piece was sold between the look and the answer.
    assert_eq!(changed(&shop, &to(PIECES - 1)).await, Ok(Changed::Done));
    let refused = changed_where(&shop, &to(500), Expected::Available(PIECES)).await;
    assert_eq!(refused, Ok(Changed::Other(Some(PIECES - 1))));
    assert_eq!((shop.available().await, audits(&shop, "MUG").await.len()), (PIECES - 1, 1), "nothing is written");
    assert_eq!(changed_where(&shop, &to(500), Expected::Available(PIECES - 1)).await, Ok(Changed::Done));
    assert_eq!(shop.available().await, 500);

    // What does not set how many there are bears that some are sold.
    let renamed = ProductChange { name: Some("Large mug".to_owned()), ..change("MUG", None) };
    assert_eq!(changed_where(&shop, &renamed, Expected::Available(PIECES)).await, Ok(Changed::Done));

    // One that was shown as new was made by somebody else; one that was shown is gone.
    let whole = ProductChange::to(cup());
    assert_eq!(changed_where(&shop, &whole, Expected::Available(3)).await, Ok(Changed::Absent));
    assert_eq!(changed_where(&shop, &whole, Expected::Absent).await, Ok(Changed::Done));
    assert_eq!(changed_where(&shop, &whole, Expected::Absent).await, Ok(Changed::Other(Some(3))));
    assert_eq!(audits(&shop, "CUP").await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_product_that_cannot_be_read_hides_no_others_and_is_put_right() {
    let shop = Shop::open().await;
    let broken = HashMap::from([("sku".to_owned(), text("CUP")), ("name".to_owned(), text("Cup"))]);
    shop.platform.write(Write::put("stock", broken)).await.unwrap();
    // More than one read takes; most of them are not there.
    let mut skus: Vec<Sku> = (0..150).map(|at| format!("NONE-{at}").parse().unwrap()).collect();
    skus.extend(["MUG", "CUP"].map(|sku| sku.parse::<Sku>().unwrap()));
    let found = shop.platform.find_products(&skus).await.unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found["MUG"].as_ref().unwrap().available, PIECES);
    assert!(matches!(&found["CUP"], Err(StoreError::Unreadable(why)) if why.contains("CUP")), "{:?}", found["CUP"]);

    assert_eq!(changed(&shop, &ProductChange::to(cup())).await, Ok(Changed::Done));
    assert_eq!(product(&shop, "CUP").await, Some(cup()));
}
