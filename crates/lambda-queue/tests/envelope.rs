//! CloudEvents as the specification says, versions, sizes and the claim check.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::wildcard_enum_match_arm)]

use std::collections::BTreeMap;
use std::sync::Mutex;

use lambda_queue::envelope::{
    self, ClaimCheck, ClaimError, Data, Envelope, EnvelopeError, Extension, Oversize, TraceParent, VersionError,
    Versions, newer_version, rfc3339, split_version,
};
use lambda_queue::ports::Objects;
use lambda_queue::ports::store::StoreError;
use lambda_queue::{Failure, Outgoing, Random};
use proptest::prelude::*;
use serde_json::{Value, json};

fn least() -> Value {
    json!({ "specversion": "1.0", "id": "1", "source": "/a", "type": "t.v1" })
}

fn with(name: &str, value: Value) -> String {
    let mut message = least();
    message[name] = value;
    message.to_string()
}

fn read(body: &str) -> Result<Envelope<Data>, EnvelopeError> {
    Envelope::parse(body)
}

/// The examples of <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md#32-examples>.
#[test]
fn the_specifications_examples_are_read_and_written_as_they_were() {
    let attributes = json!({
        "specversion": "1.0", "type": "com.example.someevent", "source": "/mycontext", "subject": null,
        "id": "C234-1234-1234", "time": "2018-04-05T17:31:00Z", "comexampleextension1": "value",
        "comexampleothervalue": 5
    });
    let example = |content: &str, name: &str, data: Value| {
        let mut example = attributes.clone();
        example["datacontenttype"] = content.into();
        example[name] = data;
        example
    };
    for (example, data) in [
        (
            example("application/json", "data", json!({ "appinfoA": "abc", "appinfoB": 123, "appinfoC": true })),
            Data::Json(json!({ "appinfoA": "abc", "appinfoB": 123, "appinfoC": true })),
        ),
        (example("application/xml", "data", json!("<much wow=\"xml\"/>")), Data::Json(json!("<much wow=\"xml\"/>"))),
        (example("application/vnd.apache.thrift.binary", "data_base64", json!("AQID")), Data::Binary(vec![1, 2, 3])),
        (attributes.clone(), Data::None),
    ] {
        let event = read(&example.to_string()).unwrap();
        assert_eq!(event.data, data);
        assert_eq!(event.subject, None);
        assert_eq!(event.extensions["comexampleextension1"], Extension::Text("value".into()));
        assert_eq!(event.extensions["comexampleothervalue"], Extension::Integer(5));
        let mut expected = example;
        expected.as_object_mut().unwrap().remove("subject");
        assert_eq!(serde_json::from_str::<Value>(&event.to_json().unwrap()).unwrap(), expected);
    }
}

#[test]
fn each_rule_of_the_attributes_has_its_error() {
    use EnvelopeError as E;
    for (name, value, error) in [
        ("specversion", json!("0.3"), E::Spec),
        ("specversion", json!(1.0), E::Spec),
        ("id", json!(""), E::Invalid("id")),
        ("id", json!(7), E::Invalid("id")),
        ("id", json!(null), E::Missing("id")),
        ("id", json!("a\u{7}b"), E::Invalid("id")),
        ("id", json!("a\u{fffe}"), E::Invalid("id")),
        ("id", json!("x".repeat(9_000)), E::Invalid("id")),
        ("source", json!(""), E::Invalid("source")),
        ("source", json!("not a uri"), E::Invalid("source")),
        ("type", json!(""), E::Invalid("type")),
        ("subject", json!(""), E::Invalid("subject")),
        ("time", json!("yesterday"), E::Invalid("time")),
        ("time", json!("2018-04-05"), E::Invalid("time")),
        ("time", json!("2018-04-05 17:31:00Z"), E::Invalid("time")),
        ("time", json!("2018-04-05T17:31:00"), E::Invalid("time")),
        ("time", json!("2018-13-05T17:31:00Z"), E::Invalid("time")),
        ("time", json!("2019-02-29T17:31:00Z"), E::Invalid("time")),
        ("time", json!("2018-04-05T17:31:00.Z"), E::Invalid("time")),
        ("time", json!("2018-04-05T17:31:00Z[UTC]"), E::Invalid("time")),
        ("dataschema", json!("no-scheme"), E::Invalid("dataschema")),
        ("datacontenttype", json!("json"), E::Invalid("datacontenttype")),
        ("tenant", json!(["acme"]), E::Invalid("tenant")),
        ("lane", json!({}), E::Invalid("lane")),
        ("traceparent", json!(""), E::Invalid("traceparent")),
        ("data_base64", json!("no base64"), E::Invalid("data_base64")),
        ("Upper", json!("x"), E::ExtensionName),
        ("with_line", json!("x"), E::ExtensionName),
        ("", json!("x"), E::ExtensionName),
        ("list", json!([1]), E::ExtensionValue),
        ("fraction", json!(1.5), E::ExtensionValue),
        ("large", json!(2_147_483_648_u64), E::ExtensionValue),
    ] {
        assert_eq!(read(&with(name, value.clone())), Err(error), "{name}: {value}");
    }
    for required in ["specversion", "id", "source", "type"] {
        let mut message = least();
        message.as_object_mut().unwrap().remove(required);
        assert_eq!(read(&message.to_string()), Err(E::Missing(required)));
    }
    for time in
        ["2018-04-05T17:31:00Z", "2018-04-05t17:31:00.123456789z", "2018-04-05T17:31:00+02:00", "2016-12-31T23:59:60Z"]
    {
        assert!(read(&with("time", json!(time))).is_ok(), "{time}");
    }
}

#[test]
fn a_body_that_is_no_event_is_refused_without_being_quoted() {
    let secret = "ada@example.com";
    let bodies = [
        String::new(),
        "null".into(),
        "[]".into(),
        format!("\"{secret}\""),
        format!("{secret} {{"),
        format!("{{\"id\":\"{secret}\",\"id\":\"{secret}\"}}"),
        format!("{{\"{secret}\":1,\"{secret}\":1}}"),
        with("data", json!({})).replace("{}", &format!("{{\"{secret}\":1,\"{secret}\":2}}")),
        format!("{} {secret}", least()),
        with("time", json!(secret)),
        with(secret, json!(secret)),
        with("extra", json!([secret])),
        "[".repeat(1_000),
        with("both", json!(1)).replace("\"both\":1", &format!("\"data\":\"{secret}\",\"data_base64\":\"AQID\"")),
    ];
    for body in bodies {
        let error = read(&body).unwrap_err();
        assert!(!error.to_string().contains("ada"), "{error}");
        assert!(
            matches!(Failure::from(error.clone()), Failure::Poison { reason } if !reason.contains("ada")),
            "{error}"
        );
    }
    let twice = read("{\"a\":{\"b\":1,\"b\":2}}").unwrap_err();
    assert!(matches!(twice, EnvelopeError::DuplicateKey { line: 1, .. }), "{twice}");
    // A key of our own error's words is no duplicate.
    let words = with("data", json!({ "a key stands twice in one object": 1 }));
    assert!(read(&words).is_ok());
    let typed = Envelope::<u64>::parse(&with("data", json!(secret))).unwrap_err();
    assert!(matches!(typed, EnvelopeError::Data(_)) && typed.to_string().ends_with("invalid type: string"), "{typed}");
    assert_eq!(Envelope::<u64>::parse(&with("data_base64", json!("AQID"))), Err(EnvelopeError::DataForm));
}

#[test]
fn over_one_mebibyte_nothing_is_read_or_written() {
    let body = with("data", json!("x".repeat(envelope::MOST_BYTES)));
    assert!(matches!(read(&body), Err(EnvelopeError::Oversize { most: 1_048_576, .. })));
    let large = Envelope::new("1", "/a", "t.v1", "x".repeat(envelope::MOST_BYTES));
    assert!(matches!(large.to_json(), Err(EnvelopeError::Oversize { most: 1_048_576, .. })));
    assert_eq!(Envelope::new("", "/a", "t.v1", 1).to_json(), Err(EnvelopeError::Invalid("id")));
    let many = (0..65).fold(Envelope::new("1", "/a", "t.v1", 1), |event, at| {
        event.extension(format!("x{at}"), Extension::Bool(true))
    });
    assert_eq!(many.to_json(), Err(EnvelopeError::Extensions));
}

#[test]
fn size_is_counted_as_sqs_counts_it() {
    let message = |body: usize, attributes: usize| Outgoing {
        queue: "q".into(),
        body: "é".repeat(body),
        group: Some("not counted".into()),
        dedup: Some("not counted".into()),
        attributes: (0..attributes).map(|at| (format!("n{at}"), "väl".to_owned())).collect(),
    };
    assert_eq!(envelope::size(&message(3, 0)), 6);
    assert_eq!(envelope::size(&message(3, 2)), 6 + 2 * ("n0".len() + "String".len() + "väl".len()));
    assert_eq!(envelope::check(&message(524_288, 0)), Ok(()));
    let oversize = envelope::check(&message(524_288, 1));
    assert_eq!(oversize, Err(Oversize::Bytes { bytes: 1_048_588, most: 1_048_576 }));
    assert_eq!(envelope::check(&message(1, 11)), Err(Oversize::Attributes { count: 11 }));
}

#[test]
fn what_follows_keeps_the_story_and_names_its_cause() {
    struct One;
    impl Random for One {
        fn below(&self, _: u64) -> u64 {
            41
        }
    }
    let trace: TraceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
    let mut cause =
        Envelope::new("c-1", "/a", "t.v1", 1).trace(trace).lane("express").tenant("acme").correlation("story");
    cause.tracestate = Some("rojo=1".into());
    let effect = Envelope::new("e-1", "/b", "u.v1", 2).caused_by(&cause);
    assert_eq!(effect.correlationid.as_deref(), Some("story"));
    assert_eq!(effect.causationid.as_deref(), Some("c-1"));
    assert_eq!((effect.lane.as_deref(), effect.tenant.as_deref()), (Some("express"), Some("acme")));
    assert_eq!(effect.tracestate.as_deref(), Some("rojo=1"));
    assert_eq!(effect.trace_parent(), Some(trace.child_of("e-1")));
    let again = Envelope::new("e-1", "/b", "u.v1", 2).caused_by(&cause);
    assert_eq!(effect, again);

    let reply = cause.reply("r-1", "/b", "u.v1", 3, &One);
    assert_eq!(reply.trace_parent().unwrap().parent_id(), 42);
    assert_eq!((reply.correlationid.as_deref(), reply.causationid.as_deref()), (Some("story"), Some("c-1")));

    // Without a story, the cause's id is it; a trace that cannot be read is left out with its state.
    cause.correlationid = None;
    cause.traceparent = Some("00-nonsense".into());
    let effect = Envelope::new("e-1", "/b", "u.v1", 2).caused_by(&cause);
    assert_eq!((effect.correlationid.as_deref(), effect.traceparent, effect.tracestate), (Some("c-1"), None, None));
}

fn versions() -> Versions {
    let rename = |from: &'static str, to: &'static str| {
        move |mut data: Value| -> Result<Value, String> {
            let value = data.as_object_mut().and_then(|map| map.remove(from)).ok_or(format!("no {from}"))?;
            data[to] = value;
            Ok(data)
        }
    };
    Versions::new()
        .takes("chained", 3)
        .upcast("chained", 1, rename("a", "b"))
        .upcast("chained", 2, rename("b", "c"))
        .takes("plain", 3)
}

#[test]
fn the_current_and_the_previous_version_are_taken_and_older_ones_only_over_upcasters() {
    let up = |kind: &str, data: Value| {
        let message = Envelope::new("1", "/a", kind, Data::Json(data)).schema("urn:x");
        versions().bring_up(message).map(|message| (message.kind, message.data, message.dataschema))
    };
    let schema = Some("urn:x".to_owned());
    assert_eq!(up("chained.v1", json!({ "a": 7 })), Ok(("chained.v3".into(), Data::Json(json!({ "c": 7 })), None)));
    assert_eq!(up("chained.v2", json!({ "b": 7 })), Ok(("chained.v3".into(), Data::Json(json!({ "c": 7 })), None)));
    assert_eq!(up("chained.v3", json!(1)), Ok(("chained.v3".into(), Data::Json(json!(1)), schema.clone())));
    assert_eq!(up("plain.v2", json!(1)), Ok(("plain.v2".into(), Data::Json(json!(1)), schema)));
    assert_eq!(up("plain.v1", json!(1)), Err(VersionError::Older { version: 1, current: 3 }));
    assert_eq!(up("plain.v4", json!(1)), Err(VersionError::Newer { version: 4, current: 3 }));
    assert_eq!(up("other.v1", json!(1)), Err(VersionError::Unknown));
    assert_eq!(up("plain", json!(1)), Err(VersionError::None));
    assert_eq!(up("chained.v1", json!({})), Err(VersionError::Upcast { from: 1, why: "no a".into() }));
    let none = versions().bring_up(Envelope::new("1", "/a", "chained.v1", Data::None));
    assert_eq!(none, Err(VersionError::NoJson));
}

#[test]
fn a_newer_version_waits_ten_times_sixty_seconds_and_is_poison_then() {
    for receive_count in 1..10 {
        let failure = VersionError::Newer { version: 2, current: 1 }.into_failure(receive_count, 5_000);
        assert!(matches!(failure, Failure::Defer { until_ms: 65_000, .. }), "{failure:?}");
    }
    assert!(matches!(newer_version(10, 5_000, 10), Failure::Poison { .. }));
    assert!(matches!(newer_version(u32::MAX, u64::MAX, 10), Failure::Poison { .. }));
    let older = VersionError::Older { version: 1, current: 3 }.into_failure(1, 0);
    assert!(matches!(older, Failure::Poison { reason } if reason.starts_with("version_older")));
}

#[test]
fn the_version_is_the_last_part_of_the_type() {
    assert_eq!(split_version("orderflow.payment.authorize.v1"), Some(("orderflow.payment.authorize", 1)));
    assert_eq!(split_version("a.v12"), Some(("a", 12)));
    for none in ["a", "a.v", "a.v0", "a.v01", "a.vx", "a.v+1", ".v1", "", "a.v4294967296"] {
        assert_eq!(split_version(none), None, "{none}");
    }
}

#[test]
fn times_are_rfc_3339_in_utc() {
    for (at_ms, text) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_399_999, "2000-02-28T23:59:59.999Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (1_795_426_200_123, "2026-11-23T09:30:00.123Z"),
        (u64::MAX, "1970-01-01T00:00:00.000Z"),
    ] {
        assert_eq!(rfc3339(at_ms), text);
    }
}

/// A bucket in memory that can fail.
#[derive(Default)]
struct Bucket {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    fails: Mutex<Option<StoreError>>,
    puts: Mutex<u32>,
}

impl Objects for Bucket {
    async fn put_object(&self, bucket: &str, key: &str, body: Vec<u8>, _: &str) -> Result<(), StoreError> {
        if let Some(error) = self.fails.lock().unwrap().clone() {
            return Err(error);
        }
        *self.puts.lock().unwrap() += 1;
        self.objects.lock().unwrap().insert(format!("{bucket}/{key}"), body);
        Ok(())
    }

    async fn get_object(&self, bucket: &str, key: &str, most_bytes: usize) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(error) = self.fails.lock().unwrap().clone() {
            return Err(error);
        }
        let found = self.objects.lock().unwrap().get(&format!("{bucket}/{key}")).cloned();
        match found {
            Some(body) if body.len() > most_bytes => Err(StoreError::Unreadable("too large".into())),
            found => Ok(found),
        }
    }
}

fn large() -> Envelope<Value> {
    Envelope::new("a/../b 1", "/a", "t.v1", json!({ "text": "x".repeat(5_000) })).at(1_795_426_200_123)
}

#[tokio::test]
async fn large_data_goes_by_way_of_the_bucket_and_a_repeat_is_the_same_object() {
    let bucket = Bucket::default();
    let claim = ClaimCheck::new(&bucket, "b", "claims").threshold(2_000);
    let small = Envelope::new("1", "/a", "t.v1", json!(1));
    assert_eq!(claim.check_in(&small).await.unwrap(), small.to_json().unwrap());
    assert_eq!(*bucket.puts.lock().unwrap(), 0);

    let body = claim.check_in(&large()).await.unwrap();
    assert_eq!(claim.check_in(&large()).await.unwrap(), body);
    let keys: Vec<String> = bucket.objects.lock().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["b/claims/2026-11-23/a!2F!2E!2E!2Fb!201"]);
    let message: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(message["dataref"], format!("s3://{}", keys[0]));
    assert_eq!(message["datarefsize"], large().data.to_string().len());
    assert!(message.get("data").is_none() && body.len() < 2_000);

    let fetched = claim.check_out(read(&body).unwrap()).await.unwrap().typed::<Value>().unwrap();
    assert_eq!(fetched.data, large().data);
    let binary = large().map(|_| Data::Binary(vec![7; 3_000]));
    let wrong = claim.check_in(&binary).await;
    assert!(matches!(wrong, Err(ClaimError::Form(_))), "{wrong:?}");
    let mut binary = binary;
    binary.datacontenttype = Some("image/png".into());
    let body = claim.check_in(&binary).await.unwrap();
    assert_eq!(claim.check_out(read(&body).unwrap()).await.unwrap().data, Data::Binary(vec![7; 3_000]));
    let without = read(&small.to_json().unwrap()).unwrap();
    assert_eq!(claim.check_out(without.clone()).await, Ok(without));
}

#[tokio::test]
async fn what_is_not_what_was_sent_is_poison_and_an_unreachable_bucket_is_tried_again() {
    let bucket = Bucket::default();
    let claim = ClaimCheck::new(&bucket, "b", "claims").threshold(2_000).most_bytes(10_000);
    let body = claim.check_in(&large()).await.unwrap();
    let message = || read(&body).unwrap();
    let key = "b/claims/2026-11-23/a!2F!2E!2E!2Fb!201".to_owned();
    let whole = bucket.objects.lock().unwrap().get(&key).cloned().unwrap();
    let mut flipped = whole.clone();
    flipped[100] ^= 1;
    let mut longer = whole.clone();
    longer.push(b' ');
    for (stored, error) in [
        (Some(flipped), ClaimError::Corrupt),
        (Some(longer), ClaimError::Corrupt),
        (Some(whole[1..].to_vec()), ClaimError::Corrupt),
        (None, ClaimError::Missing),
    ] {
        match stored {
            Some(stored) => bucket.objects.lock().unwrap().insert(key.clone(), stored),
            None => bucket.objects.lock().unwrap().remove(&key),
        };
        assert_eq!(claim.check_out(message()).await, Err(error.clone()));
        assert!(matches!(Failure::from(error), Failure::Poison { reason } if reason.starts_with("claim_")));
    }
    for (name, value) in [
        ("dataref", Extension::Text("s3://other/claims/x".into())),
        ("dataref", Extension::Text("s3://b/claims-of-others/x".into())),
        ("dataref", Extension::Text("https://example.com/x".into())),
        ("dataref", Extension::Integer(1)),
        ("datarefsize", Extension::Integer(-1)),
        ("datarefsize", Extension::Text("5".into())),
        ("datarefsha256", Extension::Bool(true)),
    ] {
        let forged = message().extension(name, value.clone());
        assert_eq!(claim.check_out(forged).await, Err(ClaimError::Reference), "{name} {value:?}");
    }
    let huge = message().extension("datarefsize", Extension::Integer(10_001));
    assert_eq!(claim.check_out(huge).await, Err(ClaimError::TooLarge { bytes: 10_001, most: 10_000 }));
    let mut timeless = large();
    timeless.time = None;
    assert!(matches!(claim.check_in(&timeless).await, Err(ClaimError::Form(_))));

    for error in [StoreError::NotDone("throttled".into()), StoreError::Unknown("reset".into())] {
        *bucket.fails.lock().unwrap() = Some(error.clone());
        for failed in [claim.check_out(message()).await.map(|_| ()), claim.check_in(&large()).await.map(|_| ())] {
            assert_eq!(failed, Err(ClaimError::Store(error.clone())));
            assert!(matches!(Failure::from(failed.unwrap_err()), Failure::Retry { .. }));
        }
    }
}

fn extension() -> impl Strategy<Value = Extension> {
    prop_oneof![
        any::<bool>().prop_map(Extension::Bool),
        any::<i32>().prop_map(Extension::Integer),
        "[ -~à-ÿ]{0,20}".prop_map(Extension::Text),
    ]
}

proptest! {
    #[test]
    fn every_valid_event_is_read_as_it_was_written(
        id in "[ -~à-ÿ]{1,30}",
        source in "[a-z/:.?#0-9-]{1,30}",
        kind in "[a-z.]{1,20}\\.v[1-9]",
        subject in proptest::option::of("[ -~]{1,30}"),
        at in 0_u64..4_000_000_000_000,
        extensions in proptest::collection::btree_map("x[a-z0-9]{1,19}", extension(), 0..5),
        bytes in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..50)),
    ) {
        let data = bytes.map_or(Data::Json(json!({ "a": [1, null, "b"] })), Data::Binary);
        let mut event = Envelope::new(id, source, kind, data).at(at);
        event.subject = subject;
        event.extensions = extensions;
        let written = event.to_json().unwrap();
        prop_assert_eq!(read(&written).unwrap(), event);
    }

    #[test]
    fn no_body_makes_the_reader_panic(body in "\\PC{0,60}", cut in 0_usize..200) {
        read(&body).unwrap_err();
        let whole = with("data", json!({ "a": 1 }));
        let cut = cut.min(whole.len() - 1);
        prop_assert!(read(&whole[..cut]).is_err());
    }
}
