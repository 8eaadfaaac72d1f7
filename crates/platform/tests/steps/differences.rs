//! The payment provider's ledger beside the rows, the effect records and the cases as the platform keeps them.

use std::time::Duration;

use lambda_queue::Clock as _;
use order::{CaseId, OrderId, PaymentId, State, Step};
use ports::{
    Case, CaseIndex, CaseKind, CaseStatus, CountCases as _, DecideCases as _, Decided, KeepPlace as _, ListPayments,
    Listed, ListedPayment, ListedRefund, OpenCase as _, PaymentView, Payments as _, ProviderError, ReadCases as _,
    RecordDifference as _, RefundView, Stands, Stretch,
};
use reconcile_payments::{Ask, Kind, Reconciled, reconcile};
use serde_json::json;
use triage_dead_letters::decide::{By, Closed, close};

use crate::an_order_after;
use crate::shop::{Giving, Shop, Till};

/// The till's ledger: the payment of the shop's one order.
struct Ledger<'a> {
    till: &'a Till,
    order_id: OrderId,
}

impl Ledger<'_> {
    async fn view(&self) -> Option<PaymentView> {
        let any = !self.till.asked.lock().unwrap().is_empty();
        if any { self.till.look_up_payment(&payment_id()).await.ok() } else { None }
    }
}

fn payment_id() -> PaymentId {
    "pi_1".parse().unwrap()
}

fn page<T>(items: Vec<T>) -> Listed<T> {
    Listed { items, unreadable: 0, next: None }
}

impl ListPayments for Ledger<'_> {
    async fn list_payments(&self, _: Stretch, _: Option<&str>) -> Result<Listed<ListedPayment>, ProviderError> {
        let Some(view) = self.view().await else { return Ok(page(Vec::new())) };
        Ok(page(vec![ListedPayment {
            payment_id: payment_id(),
            order_id: Some(self.order_id),
            status: view.status,
            amount: view.amount,
            captured_minor: view.captured_minor,
            refunded_minor: view.refunds.iter().filter(|one| !one.failed).map(|one| one.amount_minor).sum(),
        }]))
    }

    async fn list_refunds(&self, _: Stretch, _: Option<&str>) -> Result<Listed<ListedRefund>, ProviderError> {
        let refunds = self.view().await.map(|view| view.refunds).unwrap_or_default();
        let listed = |refund: RefundView| ListedRefund {
            refund_id: refund.refund_id,
            payment_id: Some(payment_id()),
            order_id: Some(self.order_id),
            amount_minor: refund.amount_minor,
            failed: refund.failed,
        };
        Ok(page(refunds.into_iter().map(listed).collect()))
    }

    async fn read_payment(&self, id: &PaymentId) -> Result<PaymentView, ProviderError> {
        self.till.look_up_payment(id).await
    }
}

/// A comparison without any grace: nothing but the effect's record keeps it from judging.
async fn compared(shop: &Shop, order_id: OrderId) -> Reconciled {
    let ask = Ask::of(&json!({ "grace_minutes": 0 })).unwrap();
    let ledger = Ledger { till: &shop.till, order_id };
    reconcile(&*shop.platform, &ledger, &ask, shop.platform.now_ms() + 900_000).await.unwrap()
}

async fn cases(shop: &Shop, status: CaseStatus) -> Vec<ports::StoredCase> {
    shop.platform.list_cases(&CaseIndex::Status(status), 100, None).await.unwrap().cases
}

#[tokio::test(start_paused = true)]
async fn an_order_on_its_way_is_no_difference_after_any_step() {
    for steps in 0..=5 {
        let shop = Shop::open().await;
        let id = an_order_after(&shop, steps).await;
        let done = compared(&shop, id).await;
        assert!(done.differences.is_empty() && done.counts.unsettled == 0, "after {steps}: {done:?}");
        assert_eq!(done.counts.reconciled, u64::from(steps >= 2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refund_whose_answer_was_lost_is_unsettled_until_its_step_has_looked_it_up() {
    let shop = Shop::open().await;
    let id = crate::refunds::a_refund_of(&shop, &[Giving::Late]).await;
    shop.invoke(Step::Payment).await;
    // It came, and nobody knows it yet but the provider.
    let late = RefundView { refund_id: "re_1".to_owned(), ordinal: Some(0), amount_minor: 700, failed: false };
    shop.till.refunds.lock().unwrap().push(late);
    let done = compared(&shop, id).await;
    assert!(done.differences.is_empty() && done.counts.unsettled > 0, "{done:?}");
    for _ in 0..200 {
        tokio::time::advance(Duration::from_secs(1)).await;
        shop.invoke(Step::Payment).await;
    }
    let done = compared(&shop, id).await;
    assert!(done.differences.is_empty() && done.counts.unsettled == 0, "{done:?}");
    assert_eq!(cases(&shop, CaseStatus::Open).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_refund_made_by_hand_is_a_case_that_stays_closed_once_it_is_closed_until_it_changes() {
    let shop = Shop::open().await;
    let id = an_order_after(&shop, 5).await;
    assert_eq!(shop.row(id).await.state, State::Shipped);
    let by_hand = RefundView { refund_id: "re_hand".to_owned(), ordinal: None, amount_minor: 7, failed: false };
    shop.till.refunds.lock().unwrap().push(by_hand);
    let kind = Kind::RefundNotOnRow.name();
    let done = compared(&shop, id).await;
    assert_eq!((done.differences.get(kind), done.opened), (Some(&1), 1));
    tokio::time::advance(Duration::from_secs(60)).await;
    let again = compared(&shop, id).await;
    assert_eq!((again.differences.get(kind), again.opened), (Some(&1), 0));
    let [case] = &cases(&shop, CaseStatus::Open).await[..] else { panic!("not one case") };
    assert_eq!((case.case.kind, case.seen, case.case.step.as_str()), (CaseKind::Difference, 1, "reconcile"));
    assert_eq!(case.case.order_id, id.to_string());
    assert!(case.last_seen_ms > case.case.opened_at_ms, "seen again");

    let by = By { who: "ann".to_owned(), reason: "the shop's own decision".to_owned() };
    assert_eq!(close(&*shop.platform, case, &by, None).await, Ok(Closed::Closed));
    let done = compared(&shop, id).await;
    assert_eq!((done.differences.get(kind), done.opened, done.decided), (None, 0, 1));
    assert_eq!(cases(&shop, CaseStatus::Open).await, []);

    shop.till.refunds.lock().unwrap()[0].amount_minor = 9;
    assert_eq!(compared(&shop, id).await.opened, 1);
    let [case] = &cases(&shop, CaseStatus::Open).await[..] else { panic!("not open again") };
    assert_eq!((case.seen, case.closed_at_ms), (2, None));
    assert!(case.case.digest.starts_with("0.09 USD"), "{}", case.case.digest);
}

#[tokio::test(start_paused = true)]
async fn a_decision_about_what_was_read_does_not_close_a_difference_that_has_changed_since() {
    let shop = Shop::open().await;
    let case = |digest: &str| -> Case { Case { digest: digest.to_owned(), kind: CaseKind::Difference, ..unread() } };
    assert_eq!(shop.platform.record_difference(&case("7 went back")).await, Ok(Stands::Opened));
    let read = shop.platform.load_case(&case("").case_id).await.unwrap().unwrap();
    assert_eq!(shop.platform.record_difference(&case("9 went back")).await, Ok(Stands::Opened));
    let by = By { who: "ann".to_owned(), reason: "seen".to_owned() };
    let audit = by.audit(&*shop.platform, "close", read.case.case_id.as_str(), "");
    assert_eq!(shop.platform.decide_case(&read, CaseStatus::Closed, &audit).await, Ok(Decided::Changed));
    assert_eq!(shop.platform.record_difference(&case("9 went back")).await, Ok(Stands::Open));
}

fn unread() -> Case {
    let case_id: CaseId = "0b8e6c1e-5d7f-8a2b-9c3d-4e5f60718293".parse().unwrap();
    let why = "a test";
    Case { case_id, ..ports::unreadable("of-nobody", "reconcile", ports::CaseClass::Bug, why, 1).unwrap() }
}

#[tokio::test(start_paused = true)]
async fn open_cases_are_counted_by_kind_and_a_closed_one_is_none() {
    let shop = Shop::open().await;
    let counted = async |kind| shop.platform.open_cases(kind).await;
    assert_eq!(counted(CaseKind::Difference).await, Ok(0));
    let mut difference = Case { kind: CaseKind::Difference, ..unread() };
    shop.platform.record_difference(&difference).await.unwrap();
    difference.case_id = "0b8e6c1e-5d7f-8a2b-9c3d-4e5f60718294".parse().unwrap();
    shop.platform.record_difference(&difference).await.unwrap();
    let other = Case { case_id: "0b8e6c1e-5d7f-8a2b-9c3d-4e5f60718295".parse().unwrap(), ..unread() };
    shop.platform.open_case(&other).await.unwrap();
    assert_eq!((counted(CaseKind::Difference).await, counted(CaseKind::Unreadable).await), (Ok(2), Ok(1)));
    let read = shop.platform.load_case(&difference.case_id).await.unwrap().unwrap();
    let by = By { who: "ann".to_owned(), reason: "decided".to_owned() };
    assert_eq!(close(&*shop.platform, &read, &by, None).await, Ok(Closed::Closed));
    assert_eq!((counted(CaseKind::Difference).await, counted(CaseKind::Unreadable).await), (Ok(1), Ok(1)));
}

#[tokio::test(start_paused = true)]
async fn a_place_is_kept_under_its_walks_name_and_is_no_case() {
    let shop = Shop::open().await;
    let ports = &*shop.platform;
    assert_eq!(ports.kept_place("one").await, Ok(None));
    ports.keep_place("one", Some("here")).await.unwrap();
    ports.keep_place("other", Some("there")).await.unwrap();
    ports.keep_place("one", Some("further")).await.unwrap();
    assert_eq!(ports.kept_place("one").await, Ok(Some("further".to_owned())));
    let underway = ports.walked("one").await.unwrap();
    assert!(underway.kept_ms.is_some() && underway.ended_ms.is_none(), "no page is the end: {underway:?}");
    ports.keep_place("one", None).await.unwrap();
    assert_eq!(ports.kept_place("one").await, Ok(None));
    let ended = ports.walked("one").await.unwrap();
    assert!(ended.ended_ms.is_some() && ended.ended_ms == ended.kept_ms, "{ended:?}");
    ports.keep_place("one", Some("anew")).await.unwrap();
    assert_eq!(
        ports.walked("one").await.unwrap().ended_ms,
        ended.ended_ms,
        "the next walk takes the end away from none"
    );
    ports.keep_place("one", None).await.unwrap();
    assert_eq!(ports.kept_place("other").await, Ok(Some("there".to_owned())));
    for status in CaseStatus::ALL {
        assert_eq!(cases(&shop, status).await, []);
    }
}
