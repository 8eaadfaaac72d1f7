//! Stripe's lists: what was created when, the newest first. Never Search, which lags and leaves out.
//!
//! Sources: <https://docs.stripe.com/api/payment_intents/list>, <https://docs.stripe.com/api/refunds/list>,
//! <https://docs.stripe.com/api/pagination>, <https://docs.stripe.com/expand#lists>

use order::{OrderId, PaymentId};
use ports::{ListPayments, Listed, ListedPayment, ListedRefund, PaymentView, Payments as _, ProviderError, Stretch};
use serde::Deserialize;
use serde_json::Value;

use super::wire::{Intent, Refund, Status};
use super::{PAGE, Stripe, status, unknown};
use crate::http::word;

/// A page whose objects are still to be read.
#[derive(Debug, Deserialize)]
struct PageOfAny {
    data: Vec<Value>,
    has_more: bool,
}

/// A PaymentIntent of a list, with what a list needs more.
#[derive(Debug, Deserialize)]
struct IntentOfList {
    #[serde(flatten)]
    intent: Intent,
    #[serde(default)]
    metadata: Metadata,
    /// Expanded: a charge, or null before there was one.
    #[serde(default)]
    latest_charge: Option<Charge>,
}

/// <https://docs.stripe.com/api/charges/object>
#[derive(Debug, Deserialize)]
struct Charge {
    amount: u64,
    amount_captured: u64,
    amount_refunded: u64,
}

#[derive(Debug, Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    order_id: Option<String>,
}

impl Metadata {
    /// The order that it names; what is no order's id is not ours.
    fn order(&self) -> Option<OrderId> {
        self.order_id.as_deref()?.parse().ok()
    }
}

/// A refund of a list.
#[derive(Debug, Deserialize)]
struct RefundOfList {
    #[serde(flatten)]
    refund: Refund,
    /// Expanded: a PaymentIntent, or null for the refund of a charge that has none.
    #[serde(default)]
    payment_intent: Option<Owner>,
}

#[derive(Debug, Deserialize)]
struct Owner {
    id: String,
    #[serde(default)]
    metadata: Metadata,
}

impl IntentOfList {
    fn listed(self) -> Option<ListedPayment> {
        let captured = match self.intent.status {
            Status::Succeeded => Some(self.intent.captured()?.amount_minor),
            Status::RequiresPaymentMethod
            | Status::RequiresConfirmation
            | Status::RequiresAction
            | Status::Processing
            | Status::RequiresCapture
            | Status::Canceled => None,
        };
        let refunded_minor = match (captured, &self.latest_charge) {
            // A hold that was let go, and what a partial capture left of one, are shown as refunded: no money came back.
            (Some(_), Some(charge)) => {
                let left = charge.amount.saturating_sub(charge.amount_captured);
                self.intent.money(charge.amount_refunded.saturating_sub(left))?.amount_minor
            }
            // Money without a charge.
            (Some(_), None) => return None,
            (None, _) => 0,
        };
        Some(ListedPayment {
            payment_id: word(&self.intent.id)?.parse().ok()?,
            order_id: self.metadata.order(),
            status: status(&self.intent),
            amount: match self.intent.status {
                Status::RequiresCapture => self.intent.held()?,
                Status::RequiresPaymentMethod
                | Status::RequiresConfirmation
                | Status::RequiresAction
                | Status::Processing
                | Status::Succeeded
                | Status::Canceled => self.intent.amount()?,
            },
            captured_minor: captured.unwrap_or(0),
            refunded_minor,
        })
    }
}

impl RefundOfList {
    fn listed(self) -> Option<ListedRefund> {
        let payment_id = match &self.payment_intent {
            Some(owner) => Some(word(&owner.id)?.parse().ok()?),
            None => None,
        };
        Some(ListedRefund {
            refund_id: word(&self.refund.id)?,
            payment_id,
            order_id: self.payment_intent.and_then(|owner| owner.metadata.order()),
            amount_minor: self.refund.amount()?.amount_minor,
            failed: self.refund.failed(),
        })
    }
}

impl Stripe {
    /// One page. Each object is read by itself: one that cannot be read hides no other.
    async fn page<T, O: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        expand: &str,
        within: Stretch,
        after: Option<&str>,
        listed: impl Fn(O) -> Option<T>,
    ) -> Result<Listed<T>, ProviderError> {
        // Seconds: rather one too many than one too few.
        let (from, to) = ((within.from_ms / 1_000).to_string(), within.to_ms.div_ceil(1_000).to_string());
        let limit = PAGE.to_string();
        let mut query = vec![("created[gte]", from.as_str()), ("created[lt]", to.as_str()), ("limit", limit.as_str())];
        query.push(("expand[]", expand));
        query.extend(after.map(|after| ("starting_after", after)));
        let page: PageOfAny = self.get(path, &query, self.api.deadline()).await?;
        let last = page.data.last().and_then(|object| object.get("id")).and_then(Value::as_str).map(str::to_owned);
        let next = match (page.has_more, last) {
            (false, _) => None,
            (true, Some(last)) => Some(last),
            (true, None) => return Err(unknown("a page of a list that is empty and not the last")),
        };
        let count = page.data.len();
        let read = |object| serde_json::from_value::<O>(object).ok().and_then(&listed);
        let items: Vec<T> = page.data.into_iter().filter_map(read).collect();
        let unreadable = count.saturating_sub(items.len()) as u64;
        Ok(Listed { items, unreadable, next })
    }
}

impl ListPayments for Stripe {
    /// `GET /v1/payment_intents?created[gte]=&created[lt]=&expand[]=data.latest_charge`
    async fn list_payments(
        &self,
        within: Stretch,
        after: Option<&str>,
    ) -> Result<Listed<ListedPayment>, ProviderError> {
        self.page("/v1/payment_intents", "data.latest_charge", within, after, IntentOfList::listed).await
    }

    /// `GET /v1/refunds?created[gte]=&created[lt]=&expand[]=data.payment_intent`: a refund that was made by hand has no
    /// metadata of ours, its payment has.
    async fn list_refunds(&self, within: Stretch, after: Option<&str>) -> Result<Listed<ListedRefund>, ProviderError> {
        self.page("/v1/refunds", "data.payment_intent", within, after, RefundOfList::listed).await
    }

    async fn read_payment(&self, id: &PaymentId) -> Result<PaymentView, ProviderError> {
        self.look_up_payment(id).await
    }
}
