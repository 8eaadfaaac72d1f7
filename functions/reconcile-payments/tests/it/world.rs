//! Tables and a provider in memory, with a clock of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use lambda_queue::Clock;
use order::{Order, OrderId, PaymentId};
use ports::{
    Case, CaseKind, CountCases, KeepPlace, ListPayments, Listed, ListedPayment, ListedRefund, LoadOrder, PaymentView,
    ProviderError, ReadEffects, RecordDifference, Stands, StoreError, Stretch, payment_record,
};
use reconcile_payments::Seen;

use crate::story::{PLACED_MS, Story};

/// A day after every order here was placed.
pub const NOW_MS: u64 = PLACED_MS + 86_400_000;

/// When it was made, for which order, and how it stands.
type Entry = (u64, Option<OrderId>, PaymentId, PaymentView);

/// Everything there is.
#[derive(Default)]
pub struct World {
    pub clock_ms: AtomicU64,
    pub rows: Mutex<BTreeMap<OrderId, Order>>,
    /// Rows that cannot be read.
    pub unreadable: Mutex<BTreeSet<OrderId>>,
    /// Effect records that are in progress.
    pub at_work: Mutex<BTreeSet<String>>,
    /// Cases with how often each was new or had changed, and whether a person has decided.
    pub cases: Mutex<BTreeMap<String, (Case, u32, bool)>>,
    pub places: Mutex<BTreeMap<String, String>>,
    /// What the count of cases answers instead.
    pub uncounted: Mutex<Option<StoreError>>,
    pub ledger: Ledger,
}

/// The provider's ledger: payments and refunds with the time of their creation, the newest last.
#[derive(Default)]
pub struct Ledger {
    pub payments: Mutex<Vec<Entry>>,
    pub refunds: Mutex<Vec<(u64, ListedRefund)>>,
    /// Items of a page.
    pub page: usize,
    /// How long a page takes, milliseconds.
    pub page_ms: u64,
    /// What becomes of the next lists; after these they are answered.
    pub failures: Mutex<Vec<ProviderError>>,
    pub lists: AtomicU64,
    pub reads: AtomicU64,
}

impl World {
    pub fn new() -> Self {
        let world = Self { ledger: Ledger { page: 100, ..Ledger::default() }, ..Self::default() };
        world.clock_ms.store(NOW_MS, Ordering::Relaxed);
        world
    }

    /// Puts an order and its payment in, created so many hours ago.
    pub fn put(&self, story: &Story, hours_ago: u64) {
        self.rows.lock().unwrap().insert(story.row.order_id, story.row.clone());
        if let Some(seen) = &story.payment {
            self.pay(seen, hours_ago);
        }
    }

    /// Puts a payment in that names an order.
    pub fn pay(&self, seen: &Seen, hours_ago: u64) {
        let at_ms = NOW_MS - hours_ago * 3_600_000;
        let payment = (at_ms, Some(seen.order_id), seen.payment_id.clone(), seen.view.clone());
        self.ledger.payments.lock().unwrap().push(payment);
        for refund in &seen.view.refunds {
            let listed = ListedRefund {
                refund_id: refund.refund_id.clone(),
                payment_id: Some(seen.payment_id.clone()),
                order_id: Some(seen.order_id),
                amount_minor: refund.amount_minor,
                failed: refund.failed,
            };
            self.ledger.refunds.lock().unwrap().push((NOW_MS - 3_600_000, listed));
        }
    }

    pub fn cases(&self) -> Vec<Case> {
        self.cases.lock().unwrap().values().map(|(case, ..)| case.clone()).collect()
    }

    pub fn decide_all(&self) {
        self.cases.lock().unwrap().values_mut().for_each(|(_, _, decided)| *decided = true);
    }

    pub fn is_at_work(&self, order_id: OrderId) {
        self.at_work.lock().unwrap().insert(payment_record(order_id));
    }
}

impl Clock for World {
    fn now_ms(&self) -> u64 {
        self.clock_ms.load(Ordering::Relaxed) + self.ledger.lists.load(Ordering::Relaxed) * self.ledger.page_ms
    }
}

impl LoadOrder for World {
    async fn load_order(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        if self.unreadable.lock().unwrap().contains(&id) {
            return Err(StoreError::Unreadable("a field is missing".to_owned()));
        }
        Ok(self.rows.lock().unwrap().get(&id).cloned())
    }
}

impl ReadEffects for World {
    async fn effect_in_progress(&self, record: &str) -> Result<bool, StoreError> {
        Ok(self.at_work.lock().unwrap().contains(record))
    }
}

impl RecordDifference for World {
    async fn record_difference(&self, case: &Case) -> Result<Stands, StoreError> {
        let mut cases = self.cases.lock().unwrap();
        let old = cases.get(case.case_id.as_str()).cloned();
        Ok(match old {
            Some((old, _, decided)) if old.digest == case.digest => {
                if decided {
                    Stands::Decided
                } else {
                    Stands::Open
                }
            }
            old => {
                let times = old.map_or(1, |(_, times, _)| times + 1);
                cases.insert(case.case_id.to_string(), (case.clone(), times, false));
                Stands::Opened
            }
        })
    }
}

impl CountCases for World {
    async fn open_cases(&self, kind: CaseKind) -> Result<u64, StoreError> {
        if let Some(error) = self.uncounted.lock().unwrap().clone() {
            return Err(error);
        }
        let cases = self.cases.lock().unwrap();
        Ok(cases.values().filter(|(case, _, decided)| case.kind == kind && !decided).count() as u64)
    }
}

impl KeepPlace for World {
    async fn kept_place(&self, walk: &str) -> Result<Option<String>, StoreError> {
        Ok(self.places.lock().unwrap().get(walk).cloned())
    }

    async fn keep_place(&self, walk: &str, place: Option<&str>) -> Result<(), StoreError> {
        let mut places = self.places.lock().unwrap();
        match place {
            Some(place) => places.insert(walk.to_owned(), place.to_owned()),
            None => places.remove(walk),
        };
        Ok(())
    }
}

impl Ledger {
    fn next_failure(&self) -> Option<ProviderError> {
        self.lists.fetch_add(1, Ordering::Relaxed);
        self.failures.lock().unwrap().pop()
    }

    fn page_of<T: Clone>(
        &self,
        all: Vec<(u64, String, T)>,
        within: Stretch,
        after: Option<&str>,
    ) -> Result<Listed<T>, ProviderError> {
        if let Some(failure) = self.next_failure() {
            return Err(failure);
        }
        let mut found = all;
        found.retain(|(at_ms, ..)| (within.from_ms..within.to_ms).contains(at_ms));
        found.sort_by_key(|(at_ms, ..)| std::cmp::Reverse(*at_ms));
        let start = match after {
            None => 0,
            Some(after) => match found.iter().position(|(_, id, _)| id == after) {
                Some(at) => at + 1,
                None => return Err(ProviderError::Refused { why: "400 resource_missing starting_after".to_owned() }),
            },
        };
        let page: Vec<_> = found.iter().skip(start).take(self.page).cloned().collect();
        let more = found.len() > start + page.len();
        let next = page.last().filter(|_| more).map(|(_, id, _)| id.clone());
        Ok(Listed { items: page.into_iter().map(|(_, _, item)| item).collect(), unreadable: 0, next })
    }
}

impl ListPayments for Ledger {
    async fn list_payments(
        &self,
        within: Stretch,
        after: Option<&str>,
    ) -> Result<Listed<ListedPayment>, ProviderError> {
        let listed = |(at_ms, order_id, payment_id, view): &(u64, Option<OrderId>, PaymentId, PaymentView)| {
            let back = view.refunds.iter().filter(|refund| !refund.failed).map(|refund| refund.amount_minor).sum();
            let payment = ListedPayment {
                payment_id: payment_id.clone(),
                order_id: *order_id,
                status: view.status.clone(),
                amount: view.amount,
                captured_minor: view.captured_minor,
                refunded_minor: back,
            };
            (*at_ms, payment_id.to_string(), payment)
        };
        let all = self.payments.lock().unwrap().iter().map(listed).collect();
        self.page_of(all, within, after)
    }

    async fn list_refunds(&self, within: Stretch, after: Option<&str>) -> Result<Listed<ListedRefund>, ProviderError> {
        let refunds = self.refunds.lock().unwrap().clone();
        let all = refunds.into_iter().map(|(at_ms, one)| (at_ms, one.refund_id.clone(), one));
        self.page_of(all.collect(), within, after)
    }

    async fn read_payment(&self, id: &PaymentId) -> Result<PaymentView, ProviderError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let payments = self.payments.lock().unwrap();
        let found = payments.iter().find(|(_, _, payment_id, _)| payment_id == id);
        found.map(|(.., view)| view.clone()).ok_or_else(|| ProviderError::Refused { why: "404".to_owned() })
    }
}
