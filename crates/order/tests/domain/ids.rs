//! Ids: what they accept, that they are one's own, and that they never change.

use order::{
    Command, CustomerId, Email, EventKind, Fingerprint, IdempotencyKey, OrderId, PaymentMethod, Sku, TenantId,
    TimelineEntry,
};
use proptest::prelude::*;
use uuid::Uuid;

use crate::fixtures::placed;

fn derive(tenant: &str, customer: &str, key: &str) -> OrderId {
    OrderId::derive(&tenant.parse().unwrap(), &customer.parse().unwrap(), &key.parse().unwrap())
}

#[test]
fn parts_that_run_together_make_different_orders() {
    let tricks = [
        ("a", "bc", "d"),
        ("ab", "c", "d"),
        ("a", "b", "cd"),
        ("abc", "d", "a"),
        ("a", "bcd", "a"),
        ("d", "bc", "a"),
        ("bc", "a", "d"),
        ("a", "d", "bc"),
        ("a#b", "c", "d"),
        ("a", "b#c", "d"),
        ("a/b", "c", "d"),
        ("a", "b/c", "d"),
        // A part that holds what looks like the length and the text of the next.
        ("a", "b\u{1}c", "d"),
    ];
    let ids: std::collections::BTreeSet<_> = tricks
        .iter()
        .filter(|(_, customer, _)| customer.parse::<CustomerId>().is_ok())
        .map(|(tenant, customer, key)| derive(tenant, customer, key))
        .collect();
    assert_eq!(ids.len(), tricks.len() - 1, "all but the one with a control character, which is no customer");
}

proptest! {
    #[test]
    fn an_order_id_is_as_good_as_its_three_parts(
        one in ("[ab]{1,4}", "[ab]{1,4}", "[ab]{1,4}"),
        other in ("[ab]{1,4}", "[ab]{1,4}", "[ab]{1,4}"),
    ) {
        let [first, second] = [&one, &other].map(|(tenant, customer, key)| derive(tenant, customer, key));
        prop_assert_eq!(first == second, one == other);
    }

    #[test]
    fn cutting_one_text_elsewhere_makes_another_order(text in "[!-~]{3,40}", first: usize, second: usize) {
        let cut = |at: usize| {
            let a = 1 + at % (text.len() - 2);
            let b = a + 1 + at / 7 % (text.len() - a - 1);
            (text[..a].to_owned(), text[a..b].to_owned(), text[b..].to_owned())
        };
        let (one, other) = (cut(first), cut(second));
        let [a, b] = [&one, &other].map(|(tenant, customer, key)| derive(tenant, customer, key));
        prop_assert_eq!(a == b, one == other);
    }

    #[test]
    fn an_order_id_is_a_version_8_uuid_and_survives_text(tenant in "[!-~]{1,128}", customer in "[!-~]{1,255}") {
        let id = derive(&tenant, &customer, "k");
        prop_assert_eq!(id.as_uuid().get_version_num(), 8);
        prop_assert_eq!(id.as_uuid().get_variant(), uuid::Variant::RFC4122);
        prop_assert_eq!(id.to_string().parse::<OrderId>(), Ok(id));
        prop_assert!(id.shard(16) < 16);
        prop_assert_eq!(id.shard(0), 0);
    }

    #[test]
    fn an_event_id_is_a_version_7_uuid_of_its_commit(version: u64, at_ms in 0_u64..1 << 48) {
        let entry = TimelineEntry { version, event: EventKind::Paid, at_ms };
        let id = entry.event_id(placed().order_id);
        prop_assert_eq!(id.get_version_num(), 7);
        prop_assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
        let (seconds, nanos) = id.get_timestamp().unwrap().to_unix();
        prop_assert_eq!(seconds * 1_000 + u64::from(nanos) / 1_000_000, at_ms);
        prop_assert_eq!(entry.event_id(placed().order_id), id);
        let next = TimelineEntry { version: version.wrapping_add(1), ..entry };
        prop_assert_ne!(next.event_id(placed().order_id), id);
        prop_assert_ne!(entry.event_id(derive("other", "customer", "key")), id);
    }

    #[test]
    fn messages_differ_by_order_version_and_command(a in 0_u64..2_000, b in 0_u64..2_000, x in 0_usize..8, y in 0_usize..8) {
        let id = placed().order_id;
        let (one, other) = (Command::ALL[x], Command::ALL[y]);
        prop_assert_eq!(one.message_id(id, a) == other.message_id(id, b), (a, x) == (b, y));
        prop_assert_ne!(one.message_id(id, a), one.message_id(derive("other", "customer", "key"), a));
    }
}

#[test]
fn the_namespace_of_messages_is_the_one_that_is_documented() {
    let namespace = Uuid::new_v5(&Uuid::NAMESPACE_DNS, b"messages.orderflow.invalid");
    let id = derive("shop-1", "customer-7", "attempt 1");
    let by_hand = Uuid::new_v5(&namespace, format!("{id}/3/stock.reserve").as_bytes());
    assert_eq!(Command::ReserveStock.message_id(id, 3), by_hand);
}

/// Computed by another program from what the documents say. These are in queues, tables and archives: whoever changes one makes a second order, message or event of an old one.
#[test]
fn ids_are_what_they_were() {
    let id = derive("shop-1", "customer-7", "attempt 1");
    assert_eq!(id.to_string(), "85d2a6bf-a083-8d0c-bb3e-bb25bc233c03");
    let messages = Command::ALL.map(|command| format!("{command} {}", command.message_id(id, 1)));
    assert_eq!(
        messages,
        [
            "order.validate ad11f1e2-5fbe-5c92-86cf-53d084a986da",
            "payment.authorize b7deb6d8-948e-51c8-94f8-280d9e23fd88",
            "stock.reserve 2c1435c1-50f2-524c-a7ea-c3eba9b57208",
            "payment.capture f128b63e-a578-5778-871b-fb88ceb60ffc",
            "shipment.create 2582eda4-b340-5ce1-a2ec-a2d887c3ecc9",
            "stock.release cb0302c7-5c90-568b-b0e0-4861a99d93d8",
            "payment.void 442621f8-963f-56ff-b7ef-5f9730cde78e",
            "payment.refund b3e57f2a-2404-5556-8b50-5052de0bca19",
        ]
    );
    let entry = TimelineEntry { version: 2, event: EventKind::Validated, at_ms: 1_760_000_000_123 };
    assert_eq!(entry.event_id(id).to_string(), "0199c82c-c07b-7d26-a2a8-45fdcf9ee012");
    let key: IdempotencyKey = "attempt 1".parse().unwrap();
    assert_eq!(key.hash().as_str(), "b16dffffbd7fa32a2dde5d722d63054201afb2a33031ee19cab4b02978de8620");
    assert_eq!(id.shard(16), 3);
}

/// Whether a text is one.
fn is<T: std::str::FromStr>(text: &str) -> bool {
    text.parse::<T>().is_ok()
}

#[test]
fn a_text_is_an_id_only_within_its_rule() {
    let (long, longer) = ("x".repeat(128), "x".repeat(129));
    let (most, over) = ("x".repeat(255), "x".repeat(256));
    for good in ["a", "shop#1", long.as_str()] {
        assert!(is::<TenantId>(good), "{good}");
    }
    for bad in ["", " ", "a b", "a\n", "ä", "\u{202e}a", longer.as_str()] {
        assert!(!is::<TenantId>(bad), "{bad:?}");
    }
    assert!(is::<CustomerId>(&most) && !is::<CustomerId>(&over) && !is::<CustomerId>(""));
    for good in ["attempt 1", "!", most.as_str()] {
        assert!(is::<IdempotencyKey>(good), "{good}");
    }
    for bad in ["", " ", "   ", "a\tb", "a\u{7f}", "ä", "\u{0}", over.as_str()] {
        assert!(!is::<IdempotencyKey>(bad), "{bad:?}");
    }
    for good in ["TEE-S-BLK", "a.b_c-1", &"s".repeat(64)] {
        assert!(is::<Sku>(good), "{good}");
    }
    for bad in ["", "a b", "a/b", "a#b", "ä", &"s".repeat(65)] {
        assert!(!is::<Sku>(bad), "{bad:?}");
    }
    for good in ["a@b.co", "ada.private+tag@example.com"] {
        assert!(is::<Email>(good), "{good}");
    }
    for bad in [
        "",
        "@",
        "a@",
        "@b.co",
        "a@b",
        "a@.co",
        "a@b.co.",
        "a@b..co",
        "a b@c.de",
        "a@b@c.de",
        "Ada <a@b.co>",
        "a@b.co\n",
        "a@b.co,c@d.ef",
        "a\r\nBcc: x@b.co",
        "ä@b.co",
    ] {
        assert!(!is::<Email>(bad), "{bad:?}");
    }
    assert!(is::<PaymentMethod>("pm_card_visa") && !is::<PaymentMethod>("") && !is::<PaymentMethod>("pm/../1"));
    assert!(is::<Fingerprint>(Fingerprint::of(b"").as_str()) && !is::<Fingerprint>("abc"));
    assert!(!is::<OrderId>("") && !is::<OrderId>("order-1"));
}

#[test]
fn a_stored_text_is_checked_like_a_new_one() {
    assert!(serde_json::from_str::<TenantId>(r#""a b""#).is_err());
    assert!(serde_json::from_str::<Email>(r#""nobody""#).is_err());
    assert!(serde_json::from_str::<OrderId>(r#""order-1""#).is_err());
    assert!(serde_json::from_str::<IdempotencyKey>("null").is_err());
}

#[test]
fn every_name_of_a_command_is_found_again() {
    for command in Command::ALL {
        assert_eq!(command.name().parse(), Ok(command));
        assert_eq!(command.to_string(), command.name());
    }
    assert!("order.cancel".parse::<Command>().is_err());
    let steps: std::collections::BTreeSet<_> = Command::ALL.map(Command::step).into();
    assert_eq!(steps.into_iter().collect::<Vec<_>>(), order::Step::ALL);
}

#[test]
fn a_refused_text_is_not_repeated_in_the_error() {
    let error = "someone private".parse::<Email>().unwrap_err();
    assert!(!format!("{error} {error:?}").contains("private"));
}
