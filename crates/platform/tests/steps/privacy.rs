//! I15: no line that the steps write, at whatever level, holds customer data or a secret.

use std::sync::{Arc, Mutex};

use lambda_queue::logging::{Levels, Settings, Sink};
use order::{State, Step};
use tracing::instrument::WithSubscriber as _;
use tracing::level_filters::LevelFilter;

use crate::shop::{Shop, cancel};
use crate::{WAY, an_order_after};

/// What the order of the shop has that is nobody's business: name, address, mail, payment method, key.
const PRIVATE: [&str; 6] = ["Ada L", "1 Main St", "12345", "ada@example.test", "pm_card_visa", "my-key"];

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<String>>);

impl Sink for Kept {
    fn line(&self, line: &[u8]) {
        self.0.lock().unwrap().push_str(std::str::from_utf8(line).unwrap());
    }
}

/// The lines of `work`, all of them.
async fn lines_of(work: impl Future<Output = ()>) -> String {
    let kept = Kept::default();
    let everything = || Settings { print: Levels::all(LevelFilter::TRACE), ..Settings::default() };
    // With a single subscriber in the process, `tracing` asks only the thread that meets a line first whether it is wanted,
    // and another test's thread says no for all. So there are two.
    let _second = everything().dispatch(Arc::new(Kept::default()));
    let settings = everything();
    work.with_subscriber(settings.dispatch(Arc::new(kept.clone()))).await;
    kept.0.lock().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn no_line_of_any_level_holds_customer_data_or_a_secret() {
    let lines = lines_of(async {
        let shop = Shop::open().await;
        let id = an_order_after(&shop, WAY.len()).await;
        // What is printed of a row, and of what a failure says of it, counts too.
        tracing::trace!(row = ?shop.row(id).await, "the row as it prints itself");
        let deferred = Shop::open().await;
        let id = an_order_after(&deferred, 1).await;
        deferred.invoke_for(Step::Payment, 6_000).await;
        cancel(&deferred.platform, id).await;
        tokio::time::advance(std::time::Duration::from_secs(60)).await;
        deferred.invoke(Step::Payment).await;
        assert_ne!(deferred.row(id).await.state, State::Shipped);
        // A message of somebody who does not know what belongs in one, on its way to its case.
        crate::dead_letters::put(&shop, "validate-express", "not JSON: pm_card_visa of Ada L, 1 Main St").await;
        assert_eq!(shop.invoke(Step::Validate).await, 1);
        assert_eq!(crate::dead_letters::triage(&shop, "validate-dlq").await, 1);
    })
    .await;
    assert!(lines.contains("a dead letter is a case"), "{lines}");
    assert!(lines.contains("record deferred") && lines.contains("the row as it prints itself"), "{lines}");
    for line in lines.lines() {
        for private in PRIVATE {
            assert!(!line.contains(private), "{private} in {line}");
        }
    }
}
