//! What an operator does to the catalogue, and what is written down of it.

use lambda_queue::memory::{Fault, Operation};
use order::Sku;
use platform::ProductChange;
use ports::{Product, ReadCases as _, ReadCatalogue as _};

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

async fn changed(shop: &Shop, change: &ProductChange) -> Result<bool, ports::StoreError> {
    let subject = ProductChange::subject(&change.sku);
    let audit = by("counted anew").audit(&*shop.platform, "stock", &subject, change.told());
    shop.platform.change_product(change, &audit).await
}

#[tokio::test(start_paused = true)]
async fn a_change_of_a_product_leaves_the_rest_and_is_written_down_with_who_and_why() {
    let shop = Shop::open().await;
    assert_eq!(changed(&shop, &change("MUG", Some(5))).await, Ok(true));
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
    assert_eq!(changed(&shop, &change("CUP", Some(5))).await, Ok(false));
    assert_eq!((product(&shop, "CUP").await, audits(&shop, "CUP").await), (None, vec![]));
    let cup = Product {
        sku: "CUP".parse().unwrap(),
        name: "Cup".to_owned(),
        price_minor: 900,
        currency: "USD".parse().unwrap(),
        available: 3,
    };
    assert_eq!(changed(&shop, &ProductChange::to(cup.clone())).await, Ok(true));
    assert_eq!(product(&shop, "CUP").await, Some(cup));
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
