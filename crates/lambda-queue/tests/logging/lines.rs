use std::fmt;

use lambda_queue::Redacted;
use proptest::prelude::*;
use serde_json::json;
use tracing::{error, field, info, info_span};

use crate::support::{Object, logged};

#[test]
fn values_keep_their_kinds() {
    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::num::ParseIntError);
    let kept = logged(&[], || {
        let failed = Outer("x".parse::<u8>().unwrap_err());
        info!(
            text = "a", flag = true, less = -1_i64, more = u64::MAX, huge = u128::MAX, part = 0.5, none = f64::NAN,
            tiny = 1e-300, shown = ?Some(1), said = %"b", nothing = None::<u64>,
            failed = &failed as &(dyn std::error::Error + 'static), "kinds"
        );
    });
    let object = &kept.objects()[0];
    for (name, value) in [
        ("text", json!("a")),
        ("flag", json!(true)),
        ("less", json!(-1)),
        ("more", json!(u64::MAX)),
        ("huge", json!(u128::MAX.to_string())),
        ("part", json!(0.5)),
        ("none", json!("NaN")),
        ("tiny", json!(1e-300)),
        ("shown", json!("Some(1)")),
        ("said", json!("b")),
        ("failed", json!("outer: invalid digit found in string")),
    ] {
        assert_eq!(object.get(name), Some(&value), "{name}");
    }
    assert_eq!(object.get("nothing"), None);
}

#[test]
fn a_line_without_a_message_says_where_it_is_from() {
    let kept = logged(&[], || info!(a = 1));
    assert!(kept.messages()[0].starts_with("event "), "{:?}", kept.messages());
}

#[test]
fn a_field_cannot_pass_for_what_the_line_has_of_itself() {
    let kept = logged(&[("SERVICE_NAME", "shop")], || {
        info_span!("span", message = "of the span", timestamp = "1970").in_scope(|| {
            info!(level = "FATAL", field_level = "x", field_field_level = "y", service = "other", "said");
        });
    });
    let object = &kept.objects()[0];
    for (name, value) in [
        ("level", "INFO"),
        ("field_level", "FATAL"),
        ("field_field_level", "x"),
        ("field_field_field_level", "y"),
        ("message", "said"),
        ("field_message", "of the span"),
        ("field_timestamp", "1970"),
        ("service", "shop"),
        ("field_service", "other"),
    ] {
        assert_eq!(object.get(name), Some(&json!(value)), "{name}");
    }
}

#[test]
fn what_a_terminal_would_act_on_is_escaped() {
    let text = "\u{1b}[31m \n \r \0 \u{7f} \u{9b} \u{2028} \u{202e} \u{feff} \" \\ é 漢";
    let kept = logged(&[], || info!(text, "said"));
    let line = &kept.lines()[0];
    assert!(line.contains(r#"\u001b[31m \n \r \u0000 \u007f \u009b \u2028 \u202e \ufeff \" \\ é 漢"#), "{line}");
    assert_eq!(kept.objects()[0].get("text").unwrap(), text, "and reads as what it was");
}

#[test]
fn a_long_value_is_cut_with_a_mark_at_a_whole_character() {
    let kept = logged(&[], || {
        info!(text = "é".repeat(5_000), controls = "\u{1}".repeat(5_000), fits = "x".repeat(8_192), "said");
    });
    let object = &kept.objects()[0];
    let value = |name: &str| object.get(name).unwrap().as_str().unwrap().to_owned();
    assert_eq!(value("text"), "é".repeat(4_096) + "...[cut]");
    assert_eq!(value("controls"), "\u{1}".repeat(8_192 / 6) + "...[cut]", "as it stands in the line");
    assert_eq!(value("fits"), "x".repeat(8_192));
}

#[test]
fn an_endless_debug_is_stopped() {
    struct Endless;
    impl fmt::Debug for Endless {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            loop {
                f.write_str("and on ")?;
            }
        }
    }
    let kept = logged(&[], || info!(text = ?Endless, "said"));
    assert!(kept.lines()[0].len() < 9_000);
}

#[test]
fn a_line_is_bounded_and_says_how_many_fields_it_has_no_room_for() {
    let long = "x".repeat(8_000);
    let (long, kept) = (
        long.as_str(),
        logged(&[], || {
            info!(
                a = long,
                b = long,
                c = long,
                d = long,
                e = long,
                f = long,
                g = long,
                h = long,
                i = long,
                j = long,
                k = 1,
                "said"
            );
        }),
    );
    let object = &kept.objects()[0];
    assert!(kept.lines()[0].len() <= 65_536);
    assert_eq!(object.get("fields_left_out").unwrap(), 2);
    assert_eq!(object.get("k").unwrap(), 1, "what fits is there: {long:.1}");
}

#[test]
fn a_debug_that_logs_does_no_harm() {
    struct Talks;
    impl fmt::Debug for Talks {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            info!("inner");
            f.write_str("talks")
        }
    }
    let kept = logged(&[], || {
        let span = info_span!("span", late = field::Empty);
        span.in_scope(|| {
            span.record("late", field::debug(Talks));
            info!(shown = ?Talks, "outer");
        });
    });
    // Whether `tracing` lets the inner one through depends on how the logger was set.
    let objects = kept.objects();
    let outer = objects.last().unwrap();
    assert_eq!((outer.get("message").unwrap(), outer.get("shown").unwrap()), (&json!("outer"), &json!("talks")));
    assert_eq!(outer.get("late").unwrap(), "talks");
}

const SECRET: &str = "hunter2";

#[test]
fn values_of_denied_fields_are_redacted_on_events_spans_and_later_records() {
    let kept = logged(&[("LOG_REDACT", "Loyalty-Number, nickname")], || {
        let span = info_span!("span", email = SECRET, access_token = SECRET, phone = field::Empty);
        span.in_scope(|| {
            span.record("phone", SECRET);
            error!(
                authorization = SECRET, payment_method = ?SECRET, customer_email = %SECRET, Password = SECRET,
                "x-api-key" = SECRET, ship_to.line1 = SECRET, loyalty_number = 7, nickname = SECRET, order_id = "o",
                company = "kept", emailed = true, "said"
            );
        });
    });
    let line = &kept.lines()[0];
    assert!(!line.contains(SECRET), "{line}");
    let object = &kept.objects()[0];
    for name in [
        "email",
        "access_token",
        "phone",
        "authorization",
        "payment_method",
        "customer_email",
        "Password",
        "x-api-key",
        "ship_to.line1",
        "loyalty_number",
        "nickname",
    ] {
        assert_eq!(object.get(name).unwrap(), "[redacted]", "{name}");
    }
    assert_eq!((object.get("company").unwrap(), object.get("emailed").unwrap()), (&json!("kept"), &json!(true)));
}

#[test]
fn a_redacted_value_is_redacted_however_it_is_logged() {
    let secret = Redacted::new(SECRET.to_owned());
    let kept = logged(&[("LOG_LEVEL", "trace")], || {
        info_span!("span", plain = %secret, in_debug = ?secret).in_scope(|| {
            info!(shown = ?Some(&secret), said = %secret, "it is {secret}, {secret:?}, {:#?}", [&secret]);
        });
    });
    assert!(!kept.lines()[0].contains(SECRET) && kept.lines()[0].contains("it is [redacted]"), "{:?}", kept.lines());
}

/// Text with a taste for what breaks lines.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[\"\\\\\u{0}-\u{20}\u{7f}-\u{9f}\u{2028}\u{2029}{}:,a]{0,40}",
        proptest::collection::vec(any::<char>(), 0..6_000).prop_map(String::from_iter),
    ]
}

proptest! {
    #[test]
    fn any_values_make_one_line_of_valid_json_without_a_key_twice(
        texts in proptest::collection::vec(text(), 8), number in any::<f64>(), whole in any::<i128>(), flag in any::<bool>(),
    ) {
        let [a, b, c, d, e, f, g, h] = texts.each_str();
        let kept = logged(&[("SERVICE_NAME", d), ("AWS_LAMBDA_FUNCTION_NAME", e)], || {
            info_span!("outer", order_id = a, level = b, shared = c, "odd \"name\n" = d, email = e, number).in_scope(|| {
                info_span!("inner", order_id = f, shared = g, message = h, whole, requestId = a).in_scope(|| {
                    info!(shared = a, shared = b, timestamp = c, field_timestamp = d, service = e, flag, email = ?f,
                        fields_left_out = g, number, request_id = h, "{a}{b}");
                });
            });
        });
        let lines = kept.lines();
        prop_assert_eq!(lines.len(), 1);
        prop_assert!(lines[0].len() <= 65_536);
        let object = Object::read(&lines[0]);
        prop_assert_eq!(object.names()[..3].to_vec(), ["timestamp", "level", "message"]);
        if let Some(email) = object.get("email") {
            prop_assert_eq!(email, "[redacted]");
        }
    }
}

/// Eight texts, borrowed.
trait EachStr {
    fn each_str(&self) -> [&str; 8];
}

impl EachStr for Vec<String> {
    fn each_str(&self) -> [&str; 8] {
        std::array::from_fn(|at| self[at].as_str())
    }
}
