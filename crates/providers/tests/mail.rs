//! The mails, word for word where it matters.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use order::{Capture, EventKind, Order, Payment, Reason, ReasonCode, Refund, RefundStatus, Shipment};
use ports::Mail;
use providers::mail::render;
use support::{order, usd};

const MAILED: [EventKind; 7] = [
    EventKind::Accepted,
    EventKind::Rejected,
    EventKind::Shipped,
    EventKind::CancelRequested,
    EventKind::CancelRefused,
    EventKind::Cancelled,
    EventKind::Refunded,
];

fn refund(amount_minor: u64, status: RefundStatus) -> Refund {
    Refund { amount_minor, status, key_hash: None, fingerprint: None, reason: None, refund_id: None }
}

/// An order with everything on it.
fn full() -> Order {
    let mut order = order();
    order.total = Some(usd(2_500));
    order.payment = Some(Payment { payment_id: "pi_1".parse().unwrap(), amount: usd(2_500) });
    order.capture = Some(Capture { amount: usd(2_500) });
    order.shipment = Some(Shipment {
        shipment_id: "shp_1".to_owned(),
        carrier: "Sandbox Parcel".to_owned(),
        tracking_number: "SBX123".to_owned(),
        tracking_url: "https://parcel.example/track/SBX123?a=1&b=2".to_owned(),
    });
    order.refunds =
        vec![refund(500, RefundStatus::Done), refund(700, RefundStatus::Done), refund(1, RefundStatus::Requested)];
    order.reason = Some(Reason::new(ReasonCode::OutOfStock, "TEE-S-BLK is not in stock"));
    order
}

fn mail(order: &Order, event: EventKind) -> Mail {
    render(order, event).unwrap_or_else(|| panic!("no mail for {event}"))
}

#[test]
fn exactly_the_events_that_matter_to_a_customer_are_mailed() {
    for event in EventKind::ALL {
        assert_eq!(render(&full(), event).is_some(), MAILED.contains(&event), "{event}");
    }
}

#[test]
fn every_mail_has_a_subject_of_one_line_and_says_its_thing_in_both_forms() {
    for (event, subject, words) in [
        (EventKind::Accepted, "We have received your order 0b8e6c1e", "Thank you for your order."),
        (EventKind::Rejected, "We could not complete your order 0b8e6c1e", "sold out before we could set it aside"),
        (EventKind::Shipped, "On its way: your order 0b8e6c1e", "SBX123"),
        (EventKind::CancelRequested, "We are cancelling your order 0b8e6c1e", "You asked us to cancel your order"),
        (EventKind::CancelRefused, "Too late to cancel your order 0b8e6c1e", "the carrier had it already"),
        (EventKind::Cancelled, "Cancelled: your order 0b8e6c1e", "Your order is cancelled."),
        (EventKind::Refunded, "Your refund for order 0b8e6c1e", "12.00 USD"),
    ] {
        let mail = mail(&full(), event);
        assert_eq!(mail.subject, subject);
        for form in [&mail.text, &mail.html] {
            for words in [words, "Hello Ada Lovelace,", "T-shirt, black, S", "25.00 USD", support::ORDER] {
                assert!(form.contains(words), "{event} lacks {words}: {form}");
            }
            assert!(!form.contains("{{") && !form.contains("{%"), "{event}: {form}");
        }
        assert!(mail.html.starts_with("<!doctype html>") && mail.html.trim_end().ends_with("</html>"), "{event}");
    }
}

#[test]
fn the_text_of_an_accepted_order_reads_like_this() {
    let mut order = full();
    order.lines.push(order::Line { sku: "MUG-1".parse().unwrap(), quantity: 1, price: None });
    assert_eq!(
        mail(&order, EventKind::Accepted).text,
        "Hello Ada Lovelace,\n\
         \n\
         Thank you for your order. We have it, and we are looking after it now. We will write again as soon\n\
         as it is on its way.\n\
         \n\
         Your order: 0b8e6c1e-5d7f-8a2b-9c3d-4e5f60718293\n  \
           2 x T-shirt, black, S: 25.00 USD\n  \
           1 x MUG-1\n  \
           Total: 25.00 USD\n\
         \n\
         Thank you, and have a good day."
    );
}

#[test]
fn the_text_of_a_shipped_order_reads_like_this() {
    assert_eq!(
        mail(&full(), EventKind::Shipped).text,
        "Hello Ada Lovelace,\n\
         \n\
         Good news: your order is on its way.\n\
         \n\
         Carrier: Sandbox Parcel\n\
         Tracking number: SBX123\n\
         Follow it here: https://parcel.example/track/SBX123?a=1&b=2\n\
         \n\
         Your order: 0b8e6c1e-5d7f-8a2b-9c3d-4e5f60718293\n  \
           2 x T-shirt, black, S: 25.00 USD\n  \
           Total: 25.00 USD\n\
         \n\
         Thank you, and have a good day."
    );
}

#[test]
fn the_tracking_link_is_escaped_in_html() {
    let html = mail(&full(), EventKind::Shipped).html;
    assert!(html.contains(r#"<a href="https://parcel.example/track/SBX123?a=1&#38;b=2">"#), "{html}");
    let mut order = full();
    order.shipment.as_mut().unwrap().tracking_url = "javascript:alert(1)".to_owned();
    let mail = mail(&order, EventKind::Shipped);
    assert!(!mail.html.contains("javascript") && !mail.text.contains("javascript"));
    assert!(mail.html.contains("SBX123"));
}

#[test]
fn a_mail_is_sent_of_a_row_that_knows_little() {
    let mut order = order();
    order.ship_to = None;
    order.lines[0].price = None;
    for event in MAILED {
        let mail = mail(&order, event);
        assert!(mail.text.starts_with("Hello,\n\n"), "{}", mail.text);
        assert!(mail.text.contains("2 x TEE-S-BLK\n"), "{}", mail.text);
        assert!(!mail.text.contains("Total"), "{}", mail.text);
    }
}

#[test]
fn an_ended_order_tells_what_became_of_the_money() {
    let text = |change: fn(&mut Order)| {
        let mut order = full();
        order.refunds.clear();
        change(&mut order);
        mail(&order, EventKind::Cancelled).text
    };
    let nothing = text(|order| (order.payment, order.capture) = (None, None));
    assert!(nothing.contains("You have not been charged.\n"), "{nothing}");
    let released = text(|order| order.capture = None);
    assert!(released.contains("You have not been charged. The 25.00 USD that was set aside"), "{released}");
    let under_way = text(|_| {});
    assert!(under_way.contains("Your 25.00 USD is on its way back to you."), "{under_way}");
    let back = text(|order| order.refunds = vec![refund(2_500, RefundStatus::Done)]);
    assert!(back.contains("The full 25.00 USD has gone back to you."), "{back}");
}

#[test]
fn a_refund_lists_what_went_back_and_only_that() {
    let mut order = full();
    let several = mail(&order, EventKind::Refunded).text;
    assert!(several.contains("back to you:\n  5.00 USD\n  7.00 USD\n  Together: 12.00 USD\n"), "{several}");
    order.refunds.truncate(1);
    let one = mail(&order, EventKind::Refunded).text;
    assert!(one.contains("back to you:\n  5.00 USD\n") && !one.contains("Together"), "{one}");
}

#[test]
fn every_reason_has_words_of_its_own_and_none_of_the_rows() {
    use std::collections::HashSet;
    let codes = [
        ReasonCode::UnknownSku,
        ReasonCode::TotalDiffers,
        ReasonCode::CurrencyDiffers,
        ReasonCode::AmountOverflow,
        ReasonCode::AmountZero,
        ReasonCode::AmountTooSmall,
        ReasonCode::PaymentDeclined,
        ReasonCode::AuthenticationRequired,
        ReasonCode::OutOfStock,
        ReasonCode::CaptureRefused,
        ReasonCode::Undeliverable,
        ReasonCode::CustomerCancelled,
    ];
    let mut texts = HashSet::new();
    for code in codes {
        let mut order = full();
        order.reason = Some(Reason::new(code, "internal words"));
        let mail = mail(&order, EventKind::Rejected);
        assert!(!mail.text.contains("internal words") && !mail.html.contains("internal words"));
        assert!(texts.insert(mail.text), "{code:?}");
    }
}

#[test]
fn whatever_a_customer_or_a_catalogue_wrote_is_text_and_nothing_else() {
    let mut order = full();
    order.ship_to.as_mut().unwrap().name =
        "Ada\r\nBcc: all <script>alert(\"1\")</script> & 'co'\u{202e}\u{0}\u{2028}{{ view }}".to_owned();
    order.lines[0].price.as_mut().unwrap().name = "<img src=x onerror=alert(1)>\n\nTotal: 0.01 USD".to_owned();
    for event in MAILED {
        let mail = mail(&order, event);
        for tag in ["<script", "<img", "onerror=alert(1)>"] {
            assert!(!mail.html.contains(tag), "{event}: {}", mail.html);
        }
        assert!(
            mail.html.contains("&#60;script&#62;alert(&#34;1&#34;)&#60;/script&#62; &#38; &#39;co&#39;"),
            "{}",
            mail.html
        );
        assert!(mail.html.contains("&#60;img src=x"), "{}", mail.html);
        // The name stays on its line, and so does the piece: nobody writes lines of their own into a mail.
        let greeting = "Hello Ada Bcc: all <script>alert(\"1\")</script> & 'co' {{ view }},";
        assert_eq!(mail.text.lines().next(), Some(greeting));
        assert_eq!(
            mail.text.lines().filter(|line| line.trim_start().starts_with("Total:")).count(),
            1,
            "{}",
            mail.text
        );
        for form in [&mail.text, &mail.html] {
            let odd =
                |letter: char| (letter.is_control() && letter != '\n') || matches!(letter, '\u{202e}' | '\u{2028}');
            assert!(!form.contains(odd), "{event}: {form:?}");
        }
        assert!(mail.subject.chars().all(|letter| letter.is_ascii_graphic() || letter == ' '), "{}", mail.subject);
        assert!(!mail.subject.contains("Ada"), "{}", mail.subject);
    }
}

#[test]
fn a_name_that_plants_a_link_is_not_greeted() {
    for name in ["Win at prizes.example", "https://prizes", "call@me", "www.prizes.example"] {
        let mut order = full();
        order.ship_to.as_mut().unwrap().name = name.to_owned();
        let mail = mail(&order, EventKind::Accepted);
        assert!(mail.text.starts_with("Hello,\n"), "{}", mail.text);
        assert!(!mail.html.contains(name), "{}", mail.html);
    }
}

#[test]
fn amounts_are_printed_with_the_decimals_of_their_currency() {
    let mut order = full();
    order.currency = "JPY".parse().unwrap();
    order.total = Some(order::Money::new(980, order.currency));
    let text = mail(&order, EventKind::Accepted).text;
    assert!(text.contains("Total: 980 JPY") && text.contains(": 2500 JPY"), "{text}");
}
