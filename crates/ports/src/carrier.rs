//! The carrier: one shipment an order, idempotent by its reference.

use std::future::Future;

use order::{Address, Line, OrderId, Shipment};

use crate::{ProviderError, Terms};

/// What a shipment is made of. The reference is the order's id.
#[derive(Clone, Debug)]
pub struct ShipmentRequest {
    /// The reference.
    pub order_id: OrderId,
    /// Where to.
    pub ship_to: Address,
    /// What.
    pub lines: Vec<Line>,
    /// How fast: the lane's name.
    pub service: &'static str,
}

/// What asking for a shipment led to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ShipmentAnswer {
    /// The carrier has it: now, or by an earlier request of the same reference.
    Created(Shipment),
    /// The carrier does not go there.
    Undeliverable {
        /// The carrier's words. Holds no address.
        why: String,
    },
}

/// The carrier. Every call ends within 5 s.
pub trait Carrier {
    /// What the carrier promises.
    fn carrier_terms(&self) -> Terms;

    /// Makes the order's shipment, or answers the one that it has.
    fn create_shipment(
        &self,
        request: &ShipmentRequest,
    ) -> impl Future<Output = Result<ShipmentAnswer, ProviderError>> + Send;

    /// The order's shipment, if the carrier has one.
    fn look_up_shipment(
        &self,
        order_id: OrderId,
    ) -> impl Future<Output = Result<Option<Shipment>, ProviderError>> + Send;
}
