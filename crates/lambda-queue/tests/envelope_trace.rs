//! W3C trace context by the specification's rules, and X-Ray's header.
#![allow(clippy::unwrap_used)]

use lambda_queue::envelope::{TraceError, TraceParent, TraceState};
use lambda_queue::{Ids, Random};
use proptest::prelude::*;

const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn parse(text: &str) -> Result<TraceParent, TraceError> {
    text.parse()
}

/// The examples of <https://www.w3.org/TR/trace-context/#examples-of-http-traceparent-headers>.
#[test]
fn the_specifications_examples_are_read() {
    let sampled = parse(GOOD).unwrap();
    assert_eq!(sampled.trace_id(), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
    assert_eq!(sampled.parent_id(), 0x00f0_67aa_0ba9_02b7);
    assert!(sampled.is_sampled());
    assert_eq!(sampled.to_string(), GOOD);
    let unsampled = parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00").unwrap();
    assert!(!unsampled.is_sampled());
}

#[test]
fn what_the_specification_forbids_is_refused() {
    for (text, error) in [
        ("", TraceError::Malformed),
        ("00", TraceError::Malformed),
        ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", TraceError::Version),
        ("0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-011", TraceError::Malformed),
        ("0g-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", TraceError::Malformed),
        ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", TraceError::NoTrace),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", TraceError::NoParent),
        ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", TraceError::Malformed),
        ("00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-001", TraceError::Malformed),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0", TraceError::Malformed),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x", TraceError::Malformed),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-", TraceError::Malformed),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", TraceError::Malformed),
        ("00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01", TraceError::Malformed),
        (" 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", TraceError::Malformed),
        ("00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", TraceError::Malformed),
        ("00-é4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01", TraceError::Malformed),
        ("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more", TraceError::Malformed),
    ] {
        assert_eq!(parse(text), Err(error), "{text}");
    }
}

#[test]
fn a_later_version_is_read_by_its_first_four_fields_and_written_as_version_00() {
    for text in [
        "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-will-be-like",
        "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
        "fe-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-fd",
    ] {
        assert_eq!(parse(text).unwrap().to_string(), GOOD, "{text}");
    }
}

#[test]
fn a_child_is_another_span_of_the_same_trace_with_known_flags_only() {
    struct Highest;
    impl Random for Highest {
        fn below(&self, bound: u64) -> u64 {
            bound.saturating_sub(1)
        }
    }
    struct Zero;
    impl Random for Zero {
        fn below(&self, _: u64) -> u64 {
            0
        }
    }
    let parent = parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff").unwrap();
    assert_eq!(parent.child(&Zero).to_string(), "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000001-03");
    assert_eq!(parent.child(&Highest).to_string(), "00-4bf92f3577b34da6a3ce929d0e0e4736-ffffffffffffffff-03");
    // Fixed for good: a message that is made again by a later program is the same message.
    let child = parse(GOOD).unwrap().child_of("message-1");
    assert_eq!(child.to_string(), "00-4bf92f3577b34da6a3ce929d0e0e4736-8604f6674914a725-01");
    assert_ne!(child, parse(GOOD).unwrap().child_of("message-2"));
    assert_ne!(child, parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b8-01").unwrap().child_of("message-1"));
}

#[test]
fn a_trace_that_begins_here_is_sampled_and_whole() {
    struct Fixed;
    impl Ids for Fixed {
        fn fresh(&self) -> uuid::Uuid {
            uuid::Uuid::from_u128(0x0193_5a00_0000_7000_8000_0000_0000_0001)
        }
    }
    let begun = TraceParent::begin(&Fixed);
    assert_eq!(begun.to_string(), "00-01935a00000070008000000000000001-8000000000000001-01");
    assert_eq!(parse(&begun.to_string()), Ok(begun));
}

#[test]
fn x_rays_header_is_the_same_trace() {
    let header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
    let parent = TraceParent::from_xray(header).unwrap();
    assert_eq!(parent.to_string(), "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01");
    assert_eq!(parent.to_xray(), header);
    let other = "Self=1-0-0;Lineage=a:1; Parent=53995c3f42cd8ad8;Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=?";
    assert_eq!(TraceParent::from_xray(other).unwrap().to_string(), format!("{}00", &parent.to_string()[..53]));
    for (text, error) in [
        ("", TraceError::Malformed),
        ("Root=1-5759e988-bd862e3fe1be46a994272793", TraceError::NoParent),
        ("Root=2-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8", TraceError::Malformed),
        ("Root=1-5759e988-bd862e3fe1be46a994272793-1;Parent=53995c3f42cd8ad8", TraceError::Malformed),
        ("Root=1-5759e98-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8", TraceError::Malformed),
        ("Root=1-00000000-000000000000000000000000;Parent=53995c3f42cd8ad8", TraceError::NoTrace),
        ("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=0000000000000000", TraceError::NoParent),
        ("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995C3F42CD8AD8", TraceError::Malformed),
    ] {
        assert_eq!(TraceParent::from_xray(text), Err(error), "{text}");
    }
}

/// The examples and limits of <https://www.w3.org/TR/trace-context/#tracestate-header>.
#[test]
fn a_trace_state_is_read_by_the_specification() {
    let many = |count: usize| (0..count).map(|at| format!("k{at}=1")).collect::<Vec<_>>().join(",");
    for (text, members) in [
        ("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", Some(2)),
        ("rojo=00f067aa0ba902b7 ,\t congo=t61rcWkgMzE", Some(2)),
        ("", Some(0)),
        (" , ,foo=1,,", Some(1)),
        ("fw529a3039@dt=FfAAAgAAAAA,0tenant@sys=1", Some(2)),
        ("a_-*/z=some value with blanks", Some(1)),
        (many(32).as_str(), Some(32)),
        (many(33).as_str(), None),
        ("foo=1,foo=2", None),
        ("foo", None),
        ("foo=", None),
        ("=1", None),
        ("Foo=1", None),
        ("0foo=1", None),
        ("foo@=1", None),
        ("@foo=1", None),
        ("foo@bar@baz=1", None),
        ("foo@0bar=1", None),
        ("foo=a=b", None),
        ("foo =1", None),
        ("foo=bär", None),
        (format!("{}=1", "k".repeat(256)).as_str(), Some(1)),
        (format!("{}=1", "k".repeat(257)).as_str(), None),
        (format!("{}@{}=1", "t".repeat(241), "s".repeat(14)).as_str(), Some(1)),
        (format!("{}@{}=1", "t".repeat(242), "s".repeat(14)).as_str(), None),
        (format!("{}@{}=1", "t".repeat(241), "s".repeat(15)).as_str(), None),
        (format!("k={}", "v".repeat(256)).as_str(), Some(1)),
        (format!("k={}", "v".repeat(257)).as_str(), None),
    ] {
        assert_eq!(text.parse::<TraceState>().ok().map(|state| state.len()), members, "{text}");
    }
}

#[test]
fn ones_own_member_comes_first_and_the_33rd_is_dropped() {
    let mut state: TraceState = (0..32).map(|at| format!("k{at}=1")).collect::<Vec<_>>().join(",").parse().unwrap();
    state.set("own", "a").unwrap();
    assert_eq!((state.len(), state.get("own"), state.get("k31")), (32, Some("a"), None));
    state.set("k5", "b").unwrap();
    assert!(state.to_string().starts_with("k5=b,own=a,k0=1,"));
    state.remove("own");
    assert_eq!(state.get("own"), None);
    assert_eq!(state.set("Own", "a"), Err(TraceError::Malformed));
    assert_eq!(state.set("own", "a "), Err(TraceError::Malformed));
}

#[test]
fn of_a_trace_state_over_512_characters_the_large_members_go_first() {
    let large = format!("large={}", "v".repeat(200));
    let small: Vec<String> = (0..31).map(|at| format!("k{at:02}={}", "v".repeat(10))).collect();
    let state: TraceState = format!("{large},{}", small.join(",")).parse().unwrap();
    let written = state.to_string();
    assert!(written.len() <= 512, "{}", written.len());
    assert!(!written.contains("large"));
    // 31 members of 14 and 30 commas are 464: all of the small ones stay.
    assert_eq!(written, small.join(","));
    let many: TraceState =
        (0..32).map(|at| format!("k{at:02}={}", "v".repeat(20))).collect::<Vec<_>>().join(",").parse().unwrap();
    let written = many.to_string();
    assert!(written.len() <= 512 && written.len() + 25 > 512, "{}", written.len());
    assert!(written.starts_with("k00=") && !written.contains("k31"));
}

proptest! {
    #[test]
    fn every_trace_parent_is_written_as_it_was_read(trace in 1_u128.., span in 1_u64.., flags in 0_u8..) {
        let text = format!("00-{trace:032x}-{span:016x}-{flags:02x}");
        let read = parse(&text).unwrap();
        prop_assert_eq!(read.to_string(), text);
        let sampled = TraceParent::from_xray(&read.to_xray()).unwrap();
        prop_assert_eq!((sampled.trace_id(), sampled.parent_id()), (trace, span));
        prop_assert_eq!(sampled.is_sampled(), read.is_sampled());
    }

    #[test]
    fn no_text_makes_the_parsers_panic(text in "\\PC{0,80}", hex in "[0-9a-f-]{50,60}") {
        for text in [&text, &hex] {
            if let Ok(read) = parse(text) {
                prop_assert_eq!(parse(&read.to_string()).unwrap().trace_id(), read.trace_id());
            }
            if let Ok(state) = text.parse::<TraceState>() {
                prop_assert_eq!(state.to_string().parse::<TraceState>().unwrap(), state);
            }
            prop_assert!(TraceParent::from_xray(text).is_err());
        }
    }
}
