//! What a run tells the metrics. The alarms of `template.yaml` watch it, under exactly these dimensions.

use std::collections::BTreeMap;

use lambda_queue::metrics::Document;
use serde_json::json;

use crate::{Ask, Kind, Reconciled};

const FUNCTION: &str = "reconcile-payments";

/// One run, as its lines tell of it.
#[derive(Clone, Debug)]
pub struct Run<'a> {
    /// What it was asked for.
    pub ask: &'a Ask,
    /// What it came to.
    pub done: &'a Reconciled,
    /// Lambda's request id.
    pub request_id: &'a str,
    /// Calls by what was called.
    pub calls: BTreeMap<&'static str, u64>,
    /// How long it took, milliseconds.
    pub duration_ms: u64,
    /// Whether it is the process's first.
    pub cold_start: bool,
}

/// The documents of a run: one by function; one by function and window, where it went through one; and one for each kind of
/// difference that it found.
pub fn told(run: &Run<'_>) -> Vec<Document> {
    let Run { ask, done, .. } = run;
    let counts = done.counts;
    let window_hours = ask.window_ms / 3_600_000;
    let invocation = Document::new("invocation finished")
        .dimension("function", FUNCTION)
        .metric("payments", "Count", counts.payments)
        .metric("refunds", "Count", counts.refunds)
        .metric("reconciled", "Count", counts.reconciled)
        .metric("differences", "Count", done.differences.values().sum::<u64>())
        .metric("decided", "Count", done.decided)
        .metric("foreign", "Count", counts.foreign)
        .metric("unreadable", "Count", counts.unreadable)
        .metric("unsettled", "Count", counts.unsettled)
        .metric("left", "Count", counts.left)
        .metric("unfinished", "Count", u32::from(done.unfinished.is_some()))
        .metric("duration_ms", "Milliseconds", run.duration_ms)
        .property("request_id", run.request_id)
        .property("window_hours", window_hours)
        .property("calls", json!(run.calls))
        .property("cold_start", run.cold_start);
    // Not counted is not none.
    let invocation = match done.open {
        Some(open) => invocation.metric("differences_open", "Count", open),
        None => invocation,
    };
    let mut documents = vec![invocation];
    // A look at a few orders goes through no window.
    if ask.orders.is_none() {
        documents.push(
            Document::new("window compared")
                .dimension("function", FUNCTION)
                .dimension("window_hours", &window_hours.to_string())
                .metric("walks", "Count", done.walks)
                .property("request_id", run.request_id),
        );
    }
    for kind in Kind::ALL {
        if let Some(count) = done.differences.get(kind.name()) {
            documents.push(Document::new("differences").dimension("kind", kind.name()).metric(
                "differences",
                "Count",
                *count,
            ));
        }
    }
    if run.cold_start {
        documents.push(Document::cold_start(FUNCTION));
    }
    documents
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn lines(event: &Value, done: &Reconciled) -> Vec<Value> {
        let ask = Ask::of(event).unwrap();
        let calls = BTreeMap::from([("dynamodb", 3)]);
        let run = Run { ask: &ask, done, request_id: "r-1", calls, duration_ms: 7, cold_start: false };
        let lines = told(&run).into_iter().inspect(|document| assert_eq!(document.refusals(), []));
        lines.flat_map(|document| document.lines(1)).map(|line| serde_json::from_str(&line).unwrap()).collect()
    }

    fn dimensions(line: &Value) -> &Value {
        &line["_aws"]["CloudWatchMetrics"][0]["Dimensions"]
    }

    fn finished(walks: u64) -> Reconciled {
        Reconciled { walks, open: Some(2), ..Reconciled::default() }
    }

    #[test]
    fn each_window_tells_of_its_own_walks_and_one_that_gets_through_hides_no_other() {
        for (hours, walks) in [(48, 1), (384, 0)] {
            let told = lines(&json!({ "window_hours": hours }), &finished(walks));
            let [invocation, window] = &told[..] else { panic!("{told:?}") };
            assert_eq!(dimensions(invocation), &json!([["function"]]));
            assert_eq!(invocation["window_hours"], hours);
            assert_eq!(dimensions(window), &json!([["function", "window_hours"]]));
            assert_eq!((&window["window_hours"], &window["walks"]), (&json!(hours.to_string()), &json!(walks)));
        }
    }

    #[test]
    fn a_look_at_a_few_orders_is_no_walk_through_a_window() {
        let few = json!({ "orders": ["0b8e6c1e-5d7f-8a2b-9c3d-4e5f60718293"] });
        let told = lines(&few, &finished(1));
        assert_eq!(told.len(), 1, "{told:?}");
    }

    #[test]
    fn open_differences_are_told_also_by_a_run_that_found_none_and_not_where_they_were_not_counted() {
        let told = lines(&json!({}), &finished(1));
        assert_eq!((&told[0]["differences"], &told[0]["differences_open"]), (&json!(0), &json!(2)));
        let uncounted = Reconciled { open: None, ..finished(1) };
        assert_eq!(lines(&json!({}), &uncounted)[0].get("differences_open"), None);
    }

    #[test]
    fn what_was_found_is_told_by_kind_too() {
        let found = Reconciled { differences: BTreeMap::from([("orphaned-hold", 3)]), ..finished(1) };
        let told = lines(&json!({}), &found);
        let kinds = told.last().unwrap();
        assert_eq!((dimensions(kinds), &kinds["kind"]), (&json!([["kind"]]), &json!("orphaned-hold")));
        assert_eq!(kinds["differences"], 3);
    }
}
