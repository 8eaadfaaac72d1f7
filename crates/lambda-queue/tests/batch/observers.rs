use std::sync::{Arc, Mutex};

use lambda_queue::batch::{Failed, Finished, Observer, Summary};
use lambda_queue::{Verdict, meter};

use crate::support::*;

#[derive(Default)]
struct Watcher {
    told: Mutex<Vec<String>>,
    panics: bool,
}

impl Observer for Watcher {
    fn succeeded(&self, of: &Finished<'_>, verdict: Verdict) {
        assert!(!self.panics, "an observer");
        self.told.lock().unwrap().push(format!("{} {} {:?}", of.record.message_id, verdict.name(), of.calls));
    }

    fn failed(&self, of: &Finished<'_>, why: Failed<'_>) {
        assert!(!self.panics, "an observer");
        self.told.lock().unwrap().push(format!("{} {}", of.record.message_id, why.name()));
    }

    fn finished(&self, of: &Summary<'_>) {
        assert!(!self.panics, "an observer");
        self.told.lock().unwrap().push(format!(
            "{} {} of {}, {} deferred, {:?} of {:?} in {}",
            of.function, of.failed, of.records, of.deferred, of.failed_ids, of.received_ids, of.queue
        ));
    }
}

#[tokio::test]
async fn observers_are_told_of_every_end_and_of_the_invocation() {
    let world = World::default();
    let watcher = Arc::new(Watcher::default());
    let records =
        [("1", "fine", "a"), ("2", "poison", "b"), ("3", "busy", "c"), ("4", "fine", "c"), ("5", "panic", "d")];
    let batch = batch(&world).observe(Arc::clone(&watcher) as Arc<dyn Observer>);
    let answer = failed_of(&batch, event(FIFO, &records), |record| async move {
        meter::count("dynamodb");
        obey(record).await
    })
    .await;
    assert_eq!(answer, ["3", "4", "5"]);
    assert_eq!(
        *watcher.told.lock().unwrap(),
        [
            r#"1 done {"dynamodb": 1}"#,
            r#"2 dead_lettered {"dynamodb": 1}"#,
            "3 busy",
            "4 follower",
            "5 bug",
            r#"test 3 of 5, 1 deferred, ["3", "4", "5"] of ["1", "2", "3", "4", "5"] in work.fifo"#,
        ]
    );
}

#[tokio::test]
async fn an_observer_that_panics_changes_no_answer_and_hides_nothing_from_the_next() {
    let world = World::default();
    let watcher = Arc::new(Watcher::default());
    let batch = batch(&world)
        .observe(Arc::new(Watcher { panics: true, ..Watcher::default() }))
        .observe(Arc::clone(&watcher) as Arc<dyn Observer>);
    assert_eq!(failed_of(&batch, event(STANDARD, &[("1", "fine", ""), ("2", "retry", "")]), obey).await, ["2"]);
    assert_eq!(watcher.told.lock().unwrap().len(), 3);
}
