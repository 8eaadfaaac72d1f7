//! Mails whose claim, sending or giving back goes wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use lambda_queue::idempotency::{Claim, Ended};
use lambda_queue::{Answer, Clock, Failure, Record, RecordContext, Verdict};
use order::{Email, Line, NewOrder, Order, OrderId};
use ports::{ClaimOnce, Gate, LoadOrder, Mail, ProviderError, Publication, SendMail, StoreError};
use serde_json::json;

const NOW_MS: u64 = 1_795_426_200_000;
/// When the handler has to have ended: ten seconds, of which two are the loop's.
const HANDLER_MS: u64 = 8_000;

#[derive(Default)]
struct World {
    passed_ms: AtomicU64,
    /// How long a claim takes.
    claim_ms: u64,
    /// How many times a claim cannot be given back.
    stuck: AtomicU32,
    refuses: Option<ProviderError>,
    claimed: Mutex<Option<Claim>>,
    mails: AtomicU32,
}

impl Clock for World {
    fn now_ms(&self) -> u64 {
        NOW_MS + self.passed_ms.load(Ordering::Relaxed)
    }
}

impl LoadOrder for World {
    async fn load_order(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        assert_eq!(id, order().order_id);
        Ok(Some(order()))
    }
}

impl ClaimOnce for World {
    async fn claim_once(&self, key: &str) -> Result<Option<Claim>, StoreError> {
        self.passed_ms.fetch_add(self.claim_ms, Ordering::Relaxed);
        let mut claimed = self.claimed.lock().unwrap();
        if claimed.is_some() {
            return Ok(None);
        }
        *claimed = Some(Claim { record: key.to_owned(), owner: "me".to_owned() });
        Ok(claimed.clone())
    }

    async fn unclaim(&self, claim: &Claim) -> Result<Ended, StoreError> {
        if self.stuck.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            return Err(StoreError::NotDone("throttled".to_owned()));
        }
        assert_eq!(self.claimed.lock().unwrap().take().as_ref(), Some(claim));
        Ok(Ended::Done)
    }

    async fn claim_done(&self, _: &Claim, _: &str) -> Result<Ended, StoreError> {
        Ok(Ended::Done)
    }
}

impl SendMail for World {
    async fn send_mail(&self, _: &Email, _: &Mail) -> Result<String, ProviderError> {
        if let Some(error) = &self.refuses {
            return Err(error.clone());
        }
        self.mails.fetch_add(1, Ordering::Relaxed);
        Ok("m-1".to_owned())
    }
}

impl Gate for World {
    async fn gate(&self) -> Result<(), Failure> {
        Ok(())
    }
}

impl World {
    fn is_claimed(&self) -> bool {
        self.claimed.lock().unwrap().is_some()
    }
}

fn order() -> Order {
    let (tenant, customer, key) = ("acme".parse().unwrap(), "ada".parse().unwrap(), "my-key".parse().unwrap());
    let new = NewOrder {
        order_id: OrderId::derive(&tenant, &customer, &key),
        tenant,
        customer,
        lane: order::Lane::Express,
        fingerprint: order::Fingerprint::of(b"body"),
        lines: vec![Line { sku: "MUG".parse().unwrap(), quantity: 2, price: None }],
        currency: "USD".parse().unwrap(),
        expected_total: None,
        ship_to: serde_json::from_value(json!({
            "name": "Ada L", "line1": "1 Main St", "city": "Springfield", "postal_code": "12345", "country": "US"
        }))
        .unwrap(),
        email: "ada@example.test".parse().unwrap(),
        payment_method: "pm_card_visa".parse().unwrap(),
        traceparent: None,
    };
    Order::accept(new, NOW_MS)
}

fn render(_: &Order, _: order::EventKind) -> Option<Mail> {
    Some(Mail { subject: "s".to_owned(), text: "t".to_owned(), html: "h".to_owned() })
}

async fn notify(world: &World, body: String) -> Answer {
    let deadline_ms = world.now_ms() + HANDLER_MS;
    let context = RecordContext {
        receive_count: 1,
        sent_ms: NOW_MS,
        group: None,
        handler_deadline_ms: deadline_ms,
        deadline_ms: deadline_ms + 2_000,
    };
    notify_customer::handle(world, world, render, &Record::new("m", body, context)).await
}

fn event() -> String {
    Publication::of(&order()).body
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_took_the_mails_time_is_given_back_and_the_mail_sent_next_time() {
    let slow = World { claim_ms: 6_000, ..World::default() };
    assert!(matches!(notify(&slow, event()).await, Err(Failure::Defer { .. })));
    assert!(!slow.is_claimed());
    assert_eq!(slow.mails.load(Ordering::Relaxed), 0);

    let quick = World { claim_ms: 1_000, ..World::default() };
    assert_eq!(notify(&quick, event()).await.unwrap().verdict, Verdict::Done);
    assert_eq!(notify(&quick, event()).await.unwrap().verdict, Verdict::Already);
    assert_eq!(quick.mails.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_mail_did_not_leave_is_given_back_though_the_table_is_busy() {
    let not_run = Some(ProviderError::NotRun { retry_after: None, why: "no connection".to_owned() });
    let busy = World { refuses: not_run.clone(), stuck: 2.into(), ..World::default() };
    assert!(matches!(notify(&busy, event()).await, Err(Failure::Retry { .. })));
    assert!(!busy.is_claimed());

    let away = World { refuses: not_run, stuck: 3.into(), ..World::default() };
    assert!(notify(&away, event()).await.is_err());
    assert!(away.is_claimed(), "three times are enough: what stays is said loudly");
}

#[tokio::test(start_paused = true)]
async fn an_event_of_a_newer_version_is_a_case_at_once_and_holds_nobody_up() {
    let world = World::default();
    let newer = event().replace(".v1\"", ".v2\"");
    assert_ne!(newer, event());
    match notify(&world, newer).await {
        Err(Failure::Poison { reason }) => assert!(reason.starts_with("version_newer"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert!(!world.is_claimed());
}
