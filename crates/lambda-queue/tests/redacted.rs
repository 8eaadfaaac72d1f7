//! What cannot be printed is not printed, and is still of use.
#![allow(clippy::unwrap_used)]

use lambda_queue::Redacted;
use serde::{Deserialize, Serialize};
use serde_json::json;

const KEY: &str = "sk_live_never_printed";

#[derive(Serialize, Deserialize, Debug)]
struct Settings {
    name: String,
    key: Redacted<String>,
    spare: Option<Redacted<u64>>,
}

#[test]
fn settings_with_a_secret_are_read_as_they_are_and_written_without_it() {
    let settings: Settings = serde_json::from_value(json!({ "name": "n", "key": KEY, "spare": 7 })).unwrap();
    assert_eq!((settings.key.expose().as_str(), settings.spare.map(Redacted::into_exposed)), (KEY, Some(7)));
    assert_eq!(
        serde_json::to_value(&settings).unwrap(),
        json!({ "name": "n", "key": "[redacted]", "spare": "[redacted]" })
    );
    for shown in
        [format!("{settings:?}"), format!("{settings:#?}"), settings.key.to_string(), format!("{:>40}", settings.key)]
    {
        assert!(!shown.contains("never") && !shown.contains('7') && shown.contains("[redacted]"), "{shown}");
    }
}

#[test]
fn an_error_of_reading_one_quotes_nothing_of_it() {
    let error = serde_json::from_value::<Redacted<u64>>(json!(KEY)).unwrap_err().to_string();
    assert!(!error.contains(KEY), "{error}");
}

#[test]
fn it_costs_nothing() {
    assert_eq!(size_of::<Redacted<String>>(), size_of::<String>());
    assert_eq!(size_of::<Option<Redacted<Box<u8>>>>(), size_of::<Box<u8>>());
}

#[test]
fn secrets_are_equal_when_they_are_and_not_when_they_are_not() {
    let of = |text: &str| Redacted::new(text.to_owned());
    assert_eq!(of(KEY), of(KEY));
    for other in ["", "sk_live_never_printee", "sk_live_never_printed ", "tk_live_never_printed"] {
        assert_ne!(of(KEY), of(other));
    }
    assert_eq!(Redacted::new([1_u8, 2]).map(|key| key.to_vec()), Redacted::from(vec![1, 2]));
}
