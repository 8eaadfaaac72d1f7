//! A new order of the standard lane. Of the unit tests, and by its path of those beside `src`.

use order::{Address, Currency, Fingerprint, Lane, Line, NewOrder, Order, OrderId};

/// The id of the order of this number.
pub fn id(at: u64) -> OrderId {
    format!("0b8e6c1e-5d7f-8a2b-9c3d-{at:012}").parse().unwrap()
}

/// The order of this number, accepted then.
pub fn order(at: u64, accepted_ms: u64) -> Order {
    let new = NewOrder {
        order_id: id(at),
        tenant: "acme".parse().unwrap(),
        customer: "ada".parse().unwrap(),
        lane: Lane::Standard,
        fingerprint: Fingerprint::of(b"request"),
        lines: vec![Line { sku: "TEE".parse().unwrap(), quantity: 1, price: None }],
        currency: Currency::USD,
        expected_total: None,
        ship_to: Address {
            name: "Ada".to_owned(),
            line1: "1 Road".to_owned(),
            line2: None,
            city: "London".to_owned(),
            postal_code: "1".to_owned(),
            country: "GB".to_owned(),
        },
        email: "ada@example.com".parse().unwrap(),
        payment_method: "pm_card_visa".parse().unwrap(),
        traceparent: None,
    };
    Order::accept(new, accepted_ms)
}
