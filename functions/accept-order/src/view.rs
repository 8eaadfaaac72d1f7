//! An order as the API shows it. What names or pays for a person stays inside.

use lambda_queue::envelope::rfc3339;
use order::{Lane, Money, Order, OrderId, Reason, Refund, RefundStatus, Shipment, State};
use serde::Serialize;

/// The representation of an order.
#[derive(Serialize)]
pub struct OrderView<'a> {
    order_id: OrderId,
    status: State,
    lane: Lane,
    version: u64,
    created_at: String,
    currency: &'static str,
    lines: Vec<LineView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<Money>,
    cancel_requested: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parked: Option<ParkedView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shipment: Option<&'a Shipment>,
    refunds: Vec<RefundView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refund: Option<RefundView<'a>>,
    timeline: Vec<TimelineView>,
    links: Links,
}

#[derive(Serialize)]
struct LineView<'a> {
    sku: &'a str,
    quantity: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit_price_minor: Option<u64>,
}

#[derive(Serialize)]
struct ParkedView<'a> {
    case_id: &'a str,
    reason: &'a str,
    at: String,
    abandoned: bool,
}

/// One refund of an order.
#[derive(Clone, Serialize)]
struct RefundView<'a> {
    ordinal: usize,
    amount_minor: u64,
    status: RefundStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    refund_id: Option<&'a str>,
}

#[derive(Serialize)]
struct TimelineView {
    version: u64,
    event: &'static str,
    at: String,
}

#[derive(Serialize)]
struct Links {
    #[serde(rename = "self")]
    this: String,
    cancel: String,
    refunds: String,
}

impl OrderView<'_> {
    /// With the one refund that a request asked for.
    pub fn with_refund(mut self, ordinal: usize) -> Self {
        self.refund = self.refunds.get(ordinal).cloned();
        self
    }
}

/// Where an order is, below the API's root.
pub fn location(id: OrderId) -> String {
    format!("/orders/{id}")
}

impl<'a> From<&'a Order> for OrderView<'a> {
    fn from(order: &'a Order) -> Self {
        let this = location(order.order_id);
        let lines = order.lines.iter().map(|line| LineView {
            sku: line.sku.as_str(),
            quantity: line.quantity,
            name: line.price.as_ref().map(|price| price.name.as_str()),
            unit_price_minor: line.price.as_ref().map(|price| price.unit_price_minor),
        });
        let refunds = order.refunds.iter().enumerate().map(|(ordinal, refund)| refund_view(ordinal, refund));
        let timeline = order.timeline.iter().map(|entry| TimelineView {
            version: entry.version,
            event: entry.event.name(),
            at: rfc3339(entry.at_ms),
        });
        Self {
            order_id: order.order_id,
            status: order.state,
            lane: order.lane,
            version: order.version,
            created_at: rfc3339(order.created_at),
            currency: order.currency.code(),
            lines: lines.collect(),
            total: order.total,
            cancel_requested: order.cancel_requested,
            reason: order.reason.as_ref(),
            parked: order.parked.as_ref().map(|parked| ParkedView {
                case_id: parked.case_id.as_str(),
                reason: &parked.reason,
                at: rfc3339(parked.at_ms),
                abandoned: parked.abandoned,
            }),
            shipment: order.shipment.as_ref(),
            refunds: refunds.collect(),
            refund: None,
            timeline: timeline.collect(),
            links: Links { cancel: format!("{this}/cancel"), refunds: format!("{this}/refunds"), this },
        }
    }
}

fn refund_view(ordinal: usize, refund: &Refund) -> RefundView<'_> {
    let Refund { amount_minor, status, refund_id, .. } = refund;
    RefundView { ordinal, amount_minor: *amount_minor, status: *status, refund_id: refund_id.as_deref() }
}
