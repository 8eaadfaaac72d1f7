use std::sync::Arc;

use lambda_queue::logging::{InvocationIds, RecordIds, current_traceparent, invocation_span, record_span};
use tracing::{field, info, info_span};

use crate::support::{Kept, NOW_MS, env, logged};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const XRAY: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";

#[test]
fn a_line_inside_a_record_carries_its_ids_in_an_order_that_does_not_change() {
    let variables =
        [("SERVICE_NAME", "shop"), ("AWS_LAMBDA_FUNCTION_NAME", "pay"), ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")];
    let kept = logged(&variables, || {
        let ids = InvocationIds { request_id: "r", cold_start: true, xray_trace: Some(XRAY), trigger: "pubsub" };
        invocation_span(&ids).in_scope(|| {
            info!("before");
            let ids = RecordIds {
                message_id: "m",
                receive_count: 3,
                queue: "pay-express",
                subject: Some("o"),
                correlation_id: Some("c"),
                causation_id: Some("b"),
                traceparent: Some(TRACEPARENT),
                aws_trace_header: Some(XRAY),
            };
            record_span(&ids).in_scope(|| info!(amount = 5, "inside"));
        });
    });
    let at = lambda_queue::envelope::rfc3339(NOW_MS);
    assert_eq!(
        kept.lines()[1].trim_end(),
        format!(
            r#"{{"timestamp":"{at}","level":"INFO","message":"inside","service":"shop","function":"pay","function_version":"$LATEST","request_id":"r","cold_start":true,"subject":"o","correlation_id":"c","causation_id":"b","trace_id":"{TRACE}","message_id":"m","receive_count":3,"queue":"pay-express","amount":5}}"#
        )
    );
    let before = &kept.objects()[0];
    assert_eq!(
        before.get("trace_id").unwrap(),
        "5759e988bd862e3fe1be46a994272793",
        "outside a record: the invocation's"
    );
    assert_eq!(before.names().last(), Some(&"trace_id"), "what is not known is not there: {before:?}");
}

#[test]
fn what_a_record_is_about_is_called_as_the_program_calls_it_and_by_no_name_that_a_line_has_already() {
    for (name, called) in [
        ("order_id", "order_id"),
        ("invoice", "invoice"),
        ("subject", "subject"),
        ("", "subject"),
        ("level", "subject"),
        ("queue", "subject"),
        ("messaging.message.id", "subject"),
        ("fields_left_out", "subject"),
    ] {
        let kept = Kept::default();
        let mut settings = env(&[("LOG_REDACT", "invoice")]);
        settings.subject_name = name.to_owned();
        tracing::dispatcher::with_default(&settings.dispatch(Arc::new(kept.clone())), || {
            let ids = RecordIds { message_id: "m", queue: "q", subject: Some("s"), ..RecordIds::default() };
            record_span(&ids).in_scope(|| {
                info!(subject = "a mail's", "inside");
                info!(order_id = "another's", "inside");
            });
        });
        let objects = kept.objects();
        let of = |at: usize, name: &str| objects[at].get(name).cloned();
        let about = if called == "invoice" { "[redacted]" } else { "s" };
        let own = if called == "subject" { "a mail's" } else { about };
        assert_eq!(of(0, called), Some(own.into()), "{name}: a field of the event wins over the record's");
        assert_eq!(of(0, "subject"), Some("a mail's".into()), "{name}");
        let other = if called == "order_id" { "another's" } else { about };
        assert_eq!(of(1, called), Some(other.into()), "{name}");
        assert_eq!(of(1, "order_id"), Some("another's".into()), "{name}");
        let third = objects[1].names().iter().position(|name| *name == called);
        assert_eq!(third, Some(3), "{name}: before the ids of message and queue, {:?}", objects[1].names());
    }
}

#[test]
fn what_is_sent_inside_a_record_continues_its_trace() {
    logged(&[], || {
        assert_eq!(current_traceparent(), None);
        let ids = InvocationIds { request_id: "r", xray_trace: Some(XRAY), ..InvocationIds::default() };
        invocation_span(&ids).in_scope(|| {
            let of_xray = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01";
            assert_eq!(current_traceparent().unwrap(), of_xray);
            let record = |traceparent, aws_trace_header| {
                let ids =
                    RecordIds { message_id: "m", queue: "q", traceparent, aws_trace_header, ..RecordIds::default() };
                record_span(&ids).in_scope(|| info_span!("deeper").in_scope(current_traceparent)).unwrap()
            };
            assert_eq!(record(Some(TRACEPARENT), Some(XRAY)), TRACEPARENT);
            assert_eq!(record(None, Some(XRAY)), of_xray);
            assert_eq!(record(Some("nonsense"), Some(XRAY)), of_xray);
            assert_eq!(record(None, None), of_xray, "the invocation's");
        });
    });
}

#[test]
fn spans_are_there_whatever_the_level_of_lines() {
    let kept = logged(&[("LOG_LEVEL", "error")], || {
        let ids = InvocationIds { request_id: "r", ..InvocationIds::default() };
        invocation_span(&ids).in_scope(|| tracing::error!("bad"));
    });
    assert_eq!(kept.objects()[0].get("request_id").unwrap(), "r");
}

#[test]
fn the_runtimes_own_span_gives_its_ids_too() {
    let kept = logged(&[], || {
        info_span!("Lambda runtime invoke", requestId = "r", xrayTraceId = XRAY).in_scope(|| info!("bare"));
    });
    let object = &kept.objects()[0];
    assert_eq!((object.get("request_id").unwrap(), object.get("xray_trace_id").unwrap()), (&"r".into(), &XRAY.into()));
    assert_eq!(object.names().len(), 5);
}

#[test]
fn a_field_of_the_event_wins_over_one_of_a_span_and_the_inner_span_over_the_outer() {
    let kept = logged(&[], || {
        info_span!("outer", order_id = "outer", shared = "outer", only_outer = 1).in_scope(|| {
            info_span!("inner", order_id = "inner", shared = "inner", both = "span").in_scope(|| {
                info!(both = "event", "one");
                info!(order_id = "event", "two");
            });
        });
    });
    let objects = kept.objects();
    let of = |at: usize, name: &str| objects[at].get(name).unwrap().clone();
    assert_eq!(
        (of(0, "order_id"), of(0, "shared"), of(0, "both"), of(0, "only_outer")),
        ("inner".into(), "inner".into(), "event".into(), 1.into())
    );
    assert_eq!(of(1, "order_id"), "event");
}

#[test]
fn a_value_that_a_span_learns_later_is_on_the_lines_that_follow() {
    let kept = logged(&[], || {
        let span = info_span!("span", order_id = field::Empty, tries = field::Empty);
        span.in_scope(|| {
            info!("unknown");
            span.record("order_id", "o").record("tries", 1);
            span.record("tries", 2);
            info!("known");
        });
    });
    let objects = kept.objects();
    assert_eq!(objects[0].get("order_id"), None);
    assert_eq!((objects[1].get("order_id").unwrap(), objects[1].get("tries").unwrap()), (&"o".into(), &2.into()));
}
