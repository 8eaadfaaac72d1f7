use std::future::{pending, ready};
use std::time::Duration;

use lambda_queue::logging::{InvocationIds, RecordIds, end, fail, invocation, invocation_span, record_span};
use tracing::instrument::WithSubscriber as _;
use tracing::{Instrument as _, Span, debug, info, trace};

use crate::support::{Kept, logged, logger};

fn invocation_of(request_id: &str) -> Span {
    invocation_span(&InvocationIds { request_id, ..InvocationIds::default() })
}

fn record_of(message_id: &str) -> Span {
    record_span(&RecordIds { message_id, receive_count: 1, queue: "work", ..RecordIds::default() })
}

/// An invocation of two records that both log; what fails is up to `failing`.
fn two_records(variables: &[(&str, &str)], failing: impl FnOnce(&Span, &Span)) -> Kept {
    logged(variables, || {
        let of = invocation_of("r");
        of.in_scope(|| {
            debug!("of the invocation");
            let (first, second) = (record_of("1"), record_of("2"));
            first.in_scope(|| debug!("of the first"));
            second.in_scope(|| debug!("of the second"));
            info!("printed");
            failing(&of, &first);
        });
        end(&of);
    })
}

#[test]
fn debug_lines_of_an_invocation_that_succeeds_are_never_printed() {
    assert_eq!(two_records(&[], |_, _| ()).messages(), ["printed"]);
}

#[test]
fn when_the_invocation_fails_all_its_debug_lines_come_out() {
    let kept = two_records(&[], |of, _| {
        fail(of, "unanswerable");
        debug!("after");
    });
    assert_eq!(kept.messages(), ["printed", "of the invocation", "of the first", "of the second", "after"]);
}

#[test]
fn when_a_record_fails_its_own_debug_lines_come_out_and_only_those() {
    let kept = two_records(&[], |_, first| {
        fail(first, "retry");
        first.in_scope(|| debug!("of the first, after"));
        debug!("of the invocation, after");
    });
    assert_eq!(kept.messages(), ["printed", "of the first", "of the first, after"]);
    assert_eq!(kept.objects()[1].get("message_id").unwrap(), "1");
}

#[test]
fn by_policy_a_records_lines_wait_for_the_invocation() {
    let until = [("LOG_HELD_UNTIL", "invocation")];
    assert_eq!(two_records(&until, |_, first| fail(first, "retry")).messages(), ["printed"]);
    let kept = two_records(&until, |of, first| {
        fail(first, "retry");
        fail(of, "retry");
    });
    assert_eq!(kept.messages().len(), 4);
}

#[test]
fn held_lines_keep_their_own_timestamps() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    let (kept, clock) = (Kept::default(), Arc::new(AtomicU64::new(1_000)));
    let mut settings = crate::support::env(&[]);
    let now = Arc::clone(&clock);
    settings.now = Arc::new(move || now.load(Ordering::SeqCst));
    tracing::dispatcher::with_default(&settings.dispatch(Arc::new(kept.clone())), || {
        let of = invocation_of("r");
        of.in_scope(|| debug!("early"));
        clock.store(61_000, Ordering::SeqCst);
        of.in_scope(|| info!("late"));
        fail(&of, "bug");
    });
    assert_eq!(kept.messages(), ["late", "early"]);
    assert_eq!(kept.objects()[1].get("timestamp").unwrap(), "1970-01-01T00:00:01.000Z");
    assert_eq!(kept.objects()[0].get("timestamp").unwrap(), "1970-01-01T00:01:01.000Z");
}

#[test]
fn the_buffer_is_bounded_by_lines_the_oldest_give_way_and_are_counted() {
    let kept = logged(&[("LOG_HELD_LINES", "3")], || {
        let of = invocation_of("r");
        of.in_scope(|| (0..10).for_each(|number| debug!(number, "held")));
        fail(&of, "bug");
    });
    let objects = kept.objects();
    let numbers: Vec<u64> = objects.iter().filter_map(|object| object.get("number")?.as_u64()).collect();
    assert_eq!(numbers, [7, 8, 9]);
    assert_eq!(objects.last().unwrap().get("dropped").unwrap(), 7);
}

#[test]
fn the_buffer_is_bounded_by_bytes() {
    let kept = logged(&[("LOG_HELD_BYTES", "10000")], || {
        let of = invocation_of("r");
        of.in_scope(|| (0..100).for_each(|number| debug!(number, text = "x".repeat(1_000), "held")));
        fail(&of, "bug");
    });
    let held: Vec<String> = kept.lines().into_iter().filter(|line| line.contains("\"held\"")).collect();
    assert!((5..10).contains(&held.len()) && held.iter().map(String::len).sum::<usize>() <= 10_000, "{}", held.len());
    assert_eq!(kept.objects().last().unwrap().get("dropped").unwrap(), 100 - held.len());
    let none = logged(&[("LOG_HELD_BYTES", "100")], || {
        let of = invocation_of("r");
        of.in_scope(|| debug!(text = "x".repeat(1_000), "held"));
        fail(&of, "bug");
    });
    assert_eq!(none.objects()[0].get("dropped").unwrap(), 1, "a line that is larger than the buffer is dropped");
}

#[test]
fn after_the_end_nothing_is_held_for_what_the_invocation_left_running() {
    let kept = logged(&[], || {
        let of = invocation_of("r");
        of.in_scope(|| debug!("before"));
        end(&of);
        of.in_scope(|| debug!("after"));
        fail(&of, "too late");
    });
    assert!(kept.messages().is_empty());
}

#[test]
fn outside_an_invocation_debug_lines_go_nowhere() {
    assert_eq!(logged(&[], || debug!("start-up")).messages(), Vec::<String>::new());
}

#[test]
fn what_is_held_is_a_filter_and_can_be_turned_off() {
    let all = |variables: &[(&str, &str)]| {
        logged(variables, || {
            let of = invocation_of("r");
            of.in_scope(|| {
                debug!("debug");
                trace!("trace");
                debug!(target: "aws_smithy_runtime::client", "the SDK's");
            });
            fail(&of, "bug");
        })
        .messages()
    };
    assert_eq!(all(&[]), ["debug"]);
    assert_eq!(all(&[("LOG_HELD", "trace")]), ["debug", "trace"]);
    assert_eq!(all(&[("LOG_HELD", "debug,aws_smithy_runtime=debug")]), ["debug", "the SDK's"]);
    assert_eq!(all(&[("LOG_HELD", "off")]), Vec::<String>::new());
    let lambda = [("AWS_LAMBDA_LOG_LEVEL", "INFO")];
    assert_eq!(all(&lambda), Vec::<String>::new(), "Lambda would not let them through");
}

#[test]
fn a_share_of_invocations_prints_its_debug_lines_at_once_and_a_repeat_is_decided_alike() {
    let sampled = |rate: &str| {
        logged(&[("LOG_SAMPLE_RATE", rate)], || {
            for number in 0..1_000 {
                let of = invocation_of(&format!("79104eb9-aaaa-4c17-8ea0-{number:012}"));
                of.in_scope(|| debug!("sampled"));
                end(&of);
            }
        })
    };
    assert_eq!(sampled("0").lines().len(), 0);
    assert_eq!(sampled("1").lines().len(), 1_000);
    let (tenth, again) = (sampled("0.1"), sampled("0.1"));
    assert!((60..150).contains(&tenth.lines().len()), "{} of 1,000", tenth.lines().len());
    assert_eq!(tenth.lines(), again.lines());
    let held_off =
        logged(&[("LOG_SAMPLE_RATE", "1"), ("LOG_HELD", "off")], || invocation_of("r").in_scope(|| debug!("sampled")));
    assert_eq!(held_off.messages(), ["sampled"]);
}

#[tokio::test]
async fn work_that_fails_panics_or_is_cancelled_lets_its_lines_out_and_work_that_succeeds_does_not() {
    let (dispatch, kept) = logger(&[]);
    let left = || Duration::from_secs(10);
    let of = InvocationIds { request_id: "r", ..InvocationIds::default() };
    let is_err = |answer: &Result<(), ()>| answer.is_err().then_some("error");
    async {
        let fine = invocation(&of, async { Ok(debug!("fine")) }, is_err, left).await;
        assert_eq!(fine, Ok(()));
        let failed = invocation(
            &of,
            async {
                debug!("failed");
                Err(())
            },
            is_err,
            left,
        )
        .await;
        assert_eq!(failed, Err(()));
        let cancelled = invocation(
            &of,
            async {
                debug!("cancelled");
                pending::<()>().await
            },
            |()| None,
            left,
        );
        assert!(tokio::time::timeout(Duration::from_millis(1), cancelled).await.is_err());
    }
    .with_subscriber(dispatch.clone())
    .await;
    let panicked = tokio::spawn(
        async move {
            let of = InvocationIds { request_id: "r", ..InvocationIds::default() };
            let work = async {
                debug!("panicked");
                ready(()).await;
                panic!("on purpose")
            };
            invocation(&of, work, |()| None, || Duration::from_secs(10)).await;
        }
        .with_subscriber(dispatch),
    );
    assert!(panicked.await.unwrap_err().is_panic());
    assert_eq!(kept.messages(), ["failed", "cancelled", "panicked"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_invocations_share_a_process_and_no_line() {
    let (dispatch, kept) = logger(&[]);
    let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(40));
    let tasks: Vec<_> = (0..40)
        .map(|number| {
            let barrier = barrier.clone();
            let work = async move {
                let request_id = format!("r{number}");
                let of = InvocationIds { request_id: &request_id, ..InvocationIds::default() };
                let work = async {
                    for step in 0..20 {
                        let message_id = format!("m{number}");
                        async { debug!(number, step, "held") }.instrument(record_of(&message_id)).await;
                        if step == 0 {
                            barrier.wait().await;
                        }
                        tokio::task::yield_now().await;
                    }
                    number % 2 == 0
                };
                invocation(&of, work, |fine| (!fine).then_some("odd"), || Duration::from_secs(10)).await;
            };
            tokio::spawn(work.with_subscriber(dispatch.clone()))
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let objects = kept.objects();
    assert_eq!(objects.len(), 20 * 20, "every line of the 20 that failed, none of the others");
    for object in objects {
        let number = object.get("number").unwrap().as_u64().unwrap();
        assert_eq!(number % 2, 1);
        assert_eq!(object.get("request_id").unwrap(), &format!("r{number}"));
        assert_eq!(object.get("message_id").unwrap(), &format!("m{number}"));
    }
}
