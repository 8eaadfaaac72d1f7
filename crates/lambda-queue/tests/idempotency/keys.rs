use lambda_queue::idempotency::{KEY_BYTES, KeyError, Namespace};
use proptest::prelude::*;
use serde_json::{Value, json};

fn namespace() -> Namespace {
    Namespace::new("f", "e").unwrap()
}

#[test]
fn null_missing_empty_and_blank_parts_are_refused() {
    for (part, expected) in [
        (json!(null), KeyError::Null("1".into())),
        (json!(""), KeyError::Empty("1".into())),
        (json!(" \t\n"), KeyError::Empty("1".into())),
        (json!([]), KeyError::NotScalar("1".into())),
        (json!({"a": 1}), KeyError::NotScalar("1".into())),
    ] {
        assert_eq!(namespace().key([json!("a"), part]), Err(expected));
    }
    assert_eq!(namespace().key([]), Err(KeyError::Parts(0)));
    assert_eq!(namespace().key((0..33).map(Value::from)), Err(KeyError::Parts(33)));
    assert_eq!(namespace().key_at(&json!({"a": null}), &["/a"]), Err(KeyError::Null("/a".into())));
    assert_eq!(namespace().key_at(&json!({}), &["/a"]), Err(KeyError::Null("/a".into())));
    assert_eq!(namespace().key_of(&["a", ""]), Err(KeyError::Empty("1".into())));
    assert_eq!(namespace().key_from(&(), |()| None::<u8>), Err(KeyError::Null("0".into())));
    for (function, effect) in [("", "e"), ("f", ""), (" ", "e")] {
        assert_eq!(Namespace::new(function, effect), Err(KeyError::NoNamespace));
    }
}

#[test]
fn namespaces_and_kinds_keep_keys_apart() {
    let other = Namespace::new("fe", "x").unwrap().key([json!("1")]).unwrap();
    assert_ne!(Namespace::new("f", "ex").unwrap().key([json!("1")]).unwrap(), other);
    assert_ne!(namespace().key([json!("1")]).unwrap(), namespace().key([json!(1)]).unwrap());
    assert_ne!(namespace().key([json!("true")]).unwrap(), namespace().key([json!(true)]).unwrap());
}

#[test]
fn a_key_over_the_tables_limit_is_hashed() {
    let long = |end: &str| namespace().key([json!(format!("{}{end}", "x".repeat(KEY_BYTES)))]).unwrap();
    assert_eq!(long("a").as_str().len(), "sha256:".len() + 64);
    assert_ne!(long("a"), long("b"));
    let whole = namespace().key([json!("x".repeat(KEY_BYTES - 16))]).unwrap();
    assert!(whole.as_str().len() <= KEY_BYTES && whole.as_str().starts_with("f1:f"));
}

fn part() -> impl Strategy<Value = Value> {
    prop_oneof![
        "[a0-9:sn]{1,4}".prop_map(Value::from),
        any::<u16>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]
    #[test]
    fn two_lists_of_parts_have_one_key_only_if_they_are_equal(
        one in prop::collection::vec(part(), 1..4),
        other in prop::collection::vec(part(), 1..4),
    ) {
        let same = namespace().key(one.clone()).unwrap() == namespace().key(other.clone()).unwrap();
        prop_assert_eq!(one == other, same);
    }
}
