//! The row as it is stored, and as it is seen in a log.

use order::{Email, IdempotencyKey, Order, PaymentMethod};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::arbitrary;
use crate::fixtures::{changed, new_order, outcome, parked, placed, story};

/// A row with everything on it.
fn full() -> Order {
    let row = story("valid authorized reserved captured cancel_requested shipment_created refund_requested");
    changed(&row, &parked(), 30)
}

const SECRETS: [&str; 10] = [
    "Ada",
    "Secretname",
    "Hidden",
    "Concealed",
    "Veiledton",
    "90210",
    "private",
    "example.com",
    "pm_card",
    "Words-of-the-customer",
];

#[test]
fn a_whole_row_comes_back_as_it_was_stored() {
    let row = full();
    let stored = serde_json::to_string(&row).unwrap();
    assert_eq!(serde_json::from_str::<Order>(&stored).unwrap(), row);
}

proptest! {
    #[test]
    fn any_row_comes_back_as_it_was_stored(row in arbitrary::row()) {
        let stored = serde_json::to_string(&row).unwrap();
        prop_assert_eq!(serde_json::from_str::<Order>(&stored).unwrap(), row);
    }
}

#[test]
fn a_row_without_what_may_be_absent_is_read() {
    let mut stored = serde_json::to_value(placed()).unwrap();
    let fields = stored.as_object_mut().unwrap();
    for absent in [
        "expected_total",
        "total",
        "ship_to",
        "email",
        "payment_method",
        "cancel_requested",
        "refunds",
        "due_at",
        "nudges",
        "traceparent",
        "parked",
        "reason",
    ] {
        fields.remove(absent);
    }
    let row: Order = serde_json::from_value(stored).unwrap();
    assert_eq!((row.ship_to, row.email, row.payment_method), (None, None, None));
    assert_eq!((row.cancel_requested, row.nudges, row.refunds.len()), (false, 0, 0));
}

/// Adds a field that no version knows to every object of a document.
fn with_the_unknown(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(with_the_unknown);
            fields.insert("of_a_later_version".into(), json!({"x": [1]}));
        }
        Value::Array(items) => items.iter_mut().for_each(with_the_unknown),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn a_row_of_a_later_version_is_read_anywhere_it_grew() {
    let row = full();
    let mut stored = serde_json::to_value(&row).unwrap();
    with_the_unknown(&mut stored);
    assert_eq!(serde_json::from_value::<Order>(stored).unwrap(), row);
}

#[test]
fn nothing_of_a_person_shows_in_a_debugged_row() {
    for row in [placed(), full(), story("valid declined")] {
        for printed in [format!("{row:?}"), format!("{row:#?}")] {
            for secret in SECRETS {
                assert!(!printed.contains(secret), "{secret} in {printed}");
            }
        }
    }
    let printed = format!("{:?}", new_order());
    assert!(SECRETS.iter().all(|secret| !printed.contains(secret)), "{printed}");
    assert!(format!("{:?}", full()).contains("tenant: shop-1"), "what helps is still there");
}

#[test]
fn nothing_of_a_person_shows_in_a_debugged_part() {
    let (email, method, key): (Email, PaymentMethod, IdempotencyKey) = (
        "ada.private@example.com".parse().unwrap(),
        "pm_card_visa".parse().unwrap(),
        "my private key".parse().unwrap(),
    );
    let address = new_order().ship_to;
    assert_eq!(format!("{email:?}"), "Email(redacted)");
    assert_eq!(format!("{method:?}"), "PaymentMethod(redacted)");
    assert_eq!(format!("{key:?}"), "IdempotencyKey(redacted)");
    assert_eq!(format!("{address:?} {:#?}", Some(&address)), "Address(redacted) Some(\n    Address(redacted),\n)");
}

#[test]
fn nothing_of_a_person_shows_in_a_bug() {
    let bug = order::transition(&full(), &outcome("declined"), 0).unwrap_err();
    assert!(SECRETS.iter().all(|secret| !format!("{bug} {bug:?}").contains(secret)), "{bug:?}");
    assert!(
        bug.to_string().ends_with("is shipped at version 9, so it cannot be that its payment was declined"),
        "{bug}"
    );
}

#[test]
fn an_amount_or_an_address_is_stored_under_the_names_of_the_api() {
    let stored = serde_json::to_value(full()).unwrap();
    assert_eq!(stored["total"], json!({"amount_minor": 3500, "currency": "USD"}));
    assert_eq!(stored["ship_to"]["postal_code"], "90210");
    assert_eq!((&stored["state"], &stored["lane"]), (&json!("shipped"), &json!("standard")));
    assert_eq!(
        stored["timeline"][5],
        json!({"version": 6, "event": "cancel_requested", "at_ms": 1_760_000_005_000_u64})
    );
}
