//! The walk through the provider's ledger: its payments, then its refunds, page by page, the newest first.

use std::time::Duration;

use lambda_queue::Failure;
use ports::{Listed, ListedPayment, ListedRefund, ProviderError, Stretch};
use serde::{Deserialize, Serialize};

use crate::difference::Difference;
use crate::{Ask, Provider, Reads, judge};

/// How often a page is asked for.
const TRIES: u64 = 3;
/// Before the next try, milliseconds, times the try.
const PAUSE_MS: u64 = 500;

/// Which list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum List {
    /// Payments: captures and holds.
    Payments,
    /// Refunds, those of payments that are older than the walk among them.
    Refunds,
}

/// A place in the ledger, from which a walk goes on. Can be kept and read again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Walk {
    /// Which list.
    pub list: List,
    /// What the walk goes through.
    pub within: Stretch,
    /// Behind which page; `None` at the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// What was looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Counts {
    /// Payments on the lists.
    pub payments: u64,
    /// Refunds on the lists.
    pub refunds: u64,
    /// Payments that were compared with their order's row.
    pub reconciled: u64,
    /// On the lists, and not ours: their metadata names no order.
    pub foreign: u64,
    /// On the lists, and not to be read.
    pub unreadable: u64,
    /// Looked different, and something is at work on the order, or was a moment ago.
    pub unsettled: u64,
    /// Could not be compared: the next run tries again.
    pub left: u64,
}

impl Counts {
    /// Adds what another page came to.
    pub fn add(&mut self, other: Self) {
        let Self { payments, refunds, reconciled, foreign, unreadable, unsettled, left } = other;
        self.payments += payments;
        self.refunds += refunds;
        self.reconciled += reconciled;
        self.foreign += foreign;
        self.unreadable += unreadable;
        self.unsettled += unsettled;
        self.left += left;
    }
}

/// What a page came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// What was looked at.
    pub counts: Counts,
    /// What differs.
    pub found: Vec<Difference>,
    /// Where to go on; `None` at the end.
    pub next: Option<Walk>,
}

impl Walk {
    /// A new walk: what was created in the window, without what is younger than the grace.
    pub fn begin(ask: &Ask, now_ms: u64) -> Self {
        let to_ms = now_ms.saturating_sub(ask.grace_ms);
        let within = Stretch { from_ms: now_ms.saturating_sub(ask.window_ms), to_ms };
        Self { list: List::Payments, within, after: None }
    }

    /// Reads one page and judges it. Changes nothing.
    ///
    /// # Errors
    /// When the page cannot be read. Trouble with one order is counted as `left`.
    pub async fn page(&self, reads: &impl Reads, provider: &impl Provider, ask: &Ask) -> Result<Page, Failure> {
        let (mut judged, unreadable, next) = match self.read(provider).await? {
            Read::Payments(Listed { items, unreadable, next }) => {
                (judge::payments(reads, provider, ask, items).await, unreadable, next)
            }
            Read::Refunds(Listed { items, unreadable, next }) => {
                (judge::refunds(reads, provider, ask, items).await, unreadable, next)
            }
        };
        judged.counts.unreadable += unreadable;
        let next = match (next, self.list) {
            (Some(after), _) => Some(Self { after: Some(after), ..self.clone() }),
            (None, List::Payments) => Some(Self { list: List::Refunds, after: None, ..self.clone() }),
            (None, List::Refunds) => None,
        };
        Ok(Page { counts: judged.counts, found: judged.found, next })
    }

    /// Reads a page of the list. Reading has no effect, so it may be repeated at once.
    async fn read(&self, provider: &impl Provider) -> Result<Read, Failure> {
        let after = self.after.as_deref();
        let mut tries = 1;
        loop {
            let read = match self.list {
                List::Payments => provider.list_payments(self.within, after).await.map(Read::Payments),
                List::Refunds => provider.list_refunds(self.within, after).await.map(Read::Refunds),
            };
            match read {
                Ok(page) => return Ok(page),
                Err(error @ (ProviderError::Refused { .. } | ProviderError::WrongState { .. })) => {
                    return Err(Failure::bug(format!("the provider refuses a list: {error}")));
                }
                Err(error) if tries == TRIES => return Err(Failure::retry(error)),
                Err(error) => {
                    tracing::warn!(%error, tries, "a page was not read: asked for again");
                    tokio::time::sleep(Duration::from_millis(PAUSE_MS * tries)).await;
                    tries += 1;
                }
            }
        }
    }
}

/// A page as it was read.
enum Read {
    Payments(Listed<ListedPayment>),
    Refunds(Listed<ListedRefund>),
}
