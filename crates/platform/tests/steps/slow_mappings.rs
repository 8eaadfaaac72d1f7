//! Mappings that take their time to change, as Lambda's do: up to a minute, and no other change meanwhile.

use std::sync::atomic::Ordering;
use std::time::Duration;

use control_breakers::{Asked, Report};
use lambda_queue::Clock as _;
use ports::MappingSet;

use crate::control::{Stage, by_hand};

/// Runs as the schedule has them, each minute, for so long; all that they did.
async fn runs_for(stage: &Stage, seconds: u64) -> Vec<Report> {
    let until_ms = stage.platform.now_ms() + seconds * 1_000;
    let mut reports = Vec::new();
    while stage.platform.now_ms() < until_ms {
        let began_ms = stage.platform.now_ms();
        reports.push(stage.run(Asked::Watch).await);
        let took_ms = stage.platform.now_ms() - began_ms;
        tokio::time::sleep(Duration::from_millis(60_000_u64.saturating_sub(took_ms))).await;
    }
    reports
}

fn asked_of(stage: &Stage, id: &str) -> Vec<(bool, Option<u32>, MappingSet)> {
    let asked = stage.lambda.asked.lock().unwrap();
    asked.iter().filter(|(of, ..)| of == id).map(|(_, enabled, most, set)| (*enabled, *most, *set)).collect()
}

#[tokio::test(start_paused = true)]
async fn each_step_up_is_written_when_the_one_before_has_settled_and_none_leads_down() {
    let mut stage = Stage::new();
    stage.lambda.takes_ms = 55_000;
    stage.down();
    stage.breaker().open(&by_hand(), None).await.unwrap();
    let (reports, ()) = tokio::join!(runs_for(&stage, 480), async {
        tokio::time::sleep(Duration::from_secs(70)).await;
        stage.up();
    });
    assert_eq!([stage.live("p"), stage.live("q")], [(true, Some(20)), (true, Some(5))]);
    for id in ["p", "q"] {
        let asked = asked_of(&stage, id);
        assert!(
            asked.iter().all(|(.., set)| *set == MappingSet::Taken),
            "{id}: asked while it was changing: {asked:?}"
        );
        assert_eq!(asked.first().map(|(enabled, ..)| *enabled), Some(false), "{id}");
        let ups: Vec<u32> = asked.iter().filter(|(enabled, ..)| *enabled).filter_map(|(_, most, _)| *most).collect();
        assert!(ups.is_sorted() && ups.len() <= 4, "{id}: {ups:?}");
    }
    assert!(reports.iter().all(|report| (report.failed, report.turned_on) == (0, 0)), "{reports:?}");
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_closes_before_its_mapping_was_turned_off_takes_nothing_from_it() {
    let stage = Stage::new();
    stage.breaker().open(&by_hand(), None).await.unwrap();
    stage.breaker().close(&by_hand(), None).await.unwrap();
    runs_for(&stage, 120).await;
    assert_eq!(*stage.lambda.asked.lock().unwrap(), []);
    assert_eq!(stage.live("p"), (true, Some(20)));
}

#[tokio::test(start_paused = true)]
async fn a_change_that_meets_another_one_is_no_failure_and_is_made_once_that_is_done() {
    let mut stage = Stage::new();
    stage.lambda.takes_ms = 20_000;
    stage.lambda.lags.store(true, Ordering::SeqCst);
    stage.breaker().open(&by_hand(), None).await.unwrap();
    stage.run(Asked::Changed { start: false }).await;
    assert!(!stage.live("p").0);
    // It closes while Lambda is still at the change before, which a look does not show.
    stage.breaker().close(&by_hand(), None).await.unwrap();
    let reports = runs_for(&stage, 120).await;
    let asked = asked_of(&stage, "p");
    assert!(asked.iter().any(|(.., set)| *set == MappingSet::Busy), "the test meets what it is about: {asked:?}");
    assert!(reports.iter().all(|report| (report.failed, report.turned_on) == (0, 0)), "{reports:?}");
    assert_eq!(stage.live("p"), (true, Some(20)));
}
