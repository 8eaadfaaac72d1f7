//! Breakers, and the event source mappings that obey them. What a mapping should be says `control-breakers` itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use aws_sdk_lambda::operation::get_event_source_mapping::GetEventSourceMappingOutput;
use control_breakers::{Normals, Wanted, Watched, parse, wanted};
use futures::future::join_all;
use lambda_queue::Clock as _;
use lambda_queue::breaker::{Row, State};
use platform::mapping_of;
use ports::{Dependency, Mapping, ReadBreakers as _, StoreError};

use super::Ward;
use super::finding::{Finding, Health};
use super::settings::MAPPING;
use crate::cli::case::show::ago;

const BREAKERS: &str = "breakers";
const MAPPINGS: &str = "mappings";
/// `control-breakers` follows a breaker's row, or puts right what somebody else did, within so long, milliseconds.
const FOLLOWS_MS: u64 = 120_000;

pub(super) async fn breakers(ward: &Ward) -> anyhow::Result<Vec<Finding>> {
    let now_ms = ward.aws.now_ms();
    let rows = join_all(Dependency::ALL.map(|dependency| ward.aws.read_breaker(dependency))).await;
    let rows = rows.into_iter().collect::<Result<Vec<_>, _>>()?;
    let troubles: Vec<Finding> = rows.iter().filter_map(|row| judge_breaker(row, now_ms)).collect();
    if troubles.is_empty() {
        return Ok(vec![Finding::ok(BREAKERS, format!("all {} closed", rows.len()))]);
    }
    Ok(troubles)
}

/// `None` where nothing is to be said.
fn judge_breaker(row: &Row, now_ms: u64) -> Option<Finding> {
    let name = &row.dependency;
    let since = format!("for {}", ago(now_ms, row.changed_at_ms));
    let cause = row.cause.as_deref().map(|cause| format!(": {cause}")).unwrap_or_default();
    let release = format!("`orderflow breaker release {name} --reason ...` once its reason is gone");
    let (health, seen, advice) = match (row.state, row.forced) {
        (State::Closed, false) => return None,
        (State::Closed, true) => {
            (Health::Warn, format!("{name} is kept closed by hand {since}: it does not open whatever fails"), release)
        }
        (State::Open, true) => {
            (Health::Bad, format!("{name} is kept open by hand {since}: its step stands still{cause}"), release)
        }
        (State::Open, false) => (
            Health::Bad,
            format!("{name} is open {since}: its step stands still{cause}"),
            "docs/runbooks/breakers.md; it closes by itself once a probe goes well".to_owned(),
        ),
        (State::HalfOpen, _) => (
            Health::Warn,
            format!("{name} is half open {since}: it waits for a good probe{cause}"),
            format!(
                "`orderflow breaker list` in a minute; `orderflow breaker probe {name} --reason ...` asks for one now"
            ),
        ),
    };
    Some(Finding::new(BREAKERS, health, seen, advice))
}

pub(super) async fn mappings(ward: &Ward) -> anyhow::Result<Vec<Finding>> {
    let function = format!("{}-control-breakers", ward.stack);
    let asked = ward.lambda.function(&function).await;
    let asked = asked.map_err(|why| anyhow!("the function {function} cannot be read: {why}"))?;
    let environment = asked.environment().and_then(|environment| environment.variables()).cloned().unwrap_or_default();
    let normals = Normals::read(|name| environment.get(name).cloned())?;
    let ids = environment.get("MAPPING_IDS").context("control-breakers has no MAPPING_IDS")?;
    let watched = parse(ids, &normals)?;
    let read = Dependency::ALL.map(|dependency| async move { (dependency, ward.aws.read_breaker(dependency).await) });
    let rows: BTreeMap<Dependency, Result<Arc<Row>, StoreError>> = join_all(read).await.into_iter().collect();
    let live = join_all(watched.iter().map(|mapping| async {
        let read = ward.lambda.mapping(&mapping.id).await.map_err(StoreError::NotDone)?;
        mapping_of(&mapping.id, &read)
    }));
    let live = live.await;
    let now_ms = ward.aws.now_ms();
    let mut findings = Vec::new();
    for (mapping, live) in watched.iter().zip(live) {
        let row = mapping.dependency.and_then(|dependency| rows.get(&dependency)).map(Result::as_deref).transpose();
        findings.extend(judge_mapping(mapping, &live, row, now_ms));
    }
    findings.extend(streams(ward, &watched).await?);
    if findings.is_empty() {
        findings.push(Finding::ok(MAPPINGS, format!("all {} as the breakers want them", watched.len())));
    }
    Ok(findings)
}

/// The consumers of streams, which have no queue whose depth could be seen; and what nobody watches.
async fn streams(ward: &Ward, watched: &[Watched]) -> anyhow::Result<Vec<Finding>> {
    let template = ward.template().await?;
    let read =
        template.of_type(MAPPING).map(|(logical, id)| async move { (logical, id, ward.lambda.mapping(id).await) });
    let mut findings = Vec::new();
    for (logical, id, is) in join_all(read).await {
        let name = watched.iter().find(|one| one.id == id).map(|one| one.name.as_str());
        match is {
            Ok(is) => findings.extend(judge_stream(name.unwrap_or(logical), name.is_some(), &is)),
            Err(why) if name.is_none() => {
                let seen = format!("{logical} cannot be read: {why}");
                findings.push(Finding::new(
                    MAPPINGS,
                    Health::Unknown,
                    seen,
                    "may you call lambda:GetEventSourceMapping?",
                ));
            }
            // Told with the others.
            Err(_) => {}
        }
    }
    Ok(findings)
}

/// `None` where nothing is to be said.
fn judge_stream(name: &str, is_watched: bool, is: &GetEventSourceMappingOutput) -> Option<Finding> {
    if !is_watched && matches!(is.state(), Some("Disabled" | "Disabling")) {
        let advice = "nobody turns it on again: `aws lambda update-event-source-mapping --enabled`, or deploy again";
        return Some(Finding::new(MAPPINGS, Health::Bad, format!("{name} is off"), advice));
    }
    let result = is.last_processing_result().unwrap_or_default();
    // A stream waits behind the batch that fails.
    let failed = is.event_source_arn().is_some_and(|arn| arn.contains(":dynamodb:"))
        && (result.starts_with("PROBLEM") || result.starts_with("FAILED"));
    failed.then(|| {
        let seen = format!("{name} has failed its last batch ({result}): the stream waits behind it");
        Finding::new(MAPPINGS, Health::Warn, seen, "the log and errors of its function; it is tried again by itself")
    })
}

/// `None` where it is as it should be, or is being made so. `row`: of the breaker that it obeys, where it obeys one.
fn judge_mapping(
    mapping: &Watched,
    live: &Result<Mapping, StoreError>,
    row: Result<Option<&Row>, &StoreError>,
    now_ms: u64,
) -> Option<Finding> {
    let name = &mapping.name;
    let live = match live {
        Ok(live) => live,
        Err(error) if error.to_string().contains("ResourceNotFound") => {
            let seen = format!("{name} is gone: nothing feeds its function");
            return Some(Finding::new(MAPPINGS, Health::Bad, seen, "deploy the stack again: README.md"));
        }
        Err(error) => {
            let seen = format!("{name} cannot be read: {error}");
            return Some(Finding::new(MAPPINGS, Health::Unknown, seen, "may you call lambda:GetEventSourceMapping?"));
        }
    };
    let row = match row {
        Ok(row) => row,
        // Not as with a closed one: what it should be nobody knows.
        Err(error) => {
            let seen = format!("{name} cannot be judged: the breaker that it obeys cannot be read: {error}");
            return Some(Finding::new(MAPPINGS, Health::Unknown, seen, "may you read the table of the breakers?"));
        }
    };
    let Wanted { enabled, maximum_concurrency } = wanted(row, mapping.normal, now_ms);
    if !live.settled || (live.enabled, live.maximum_concurrency) == (enabled, maximum_concurrency) {
        return None;
    }
    let follows = row.is_some_and(|row| now_ms.saturating_sub(row.changed_at_ms) < FOLLOWS_MS);
    let put_right = "control-breakers puts it right within two minutes; else see its log and its errors";
    let (health, seen) = match (live.enabled, enabled) {
        (false, true) => (Health::Bad, format!("{name} is off and no breaker asks for it: its messages wait")),
        (true, false) => (Health::Bad, format!("{name} is on though its breaker is not closed")),
        (_, _) => {
            let most = |most: Option<u32>| most.map_or_else(|| "none".to_owned(), |most| most.to_string());
            let (is, should) = (most(live.maximum_concurrency), most(maximum_concurrency));
            (Health::Warn, format!("{name} has MaximumConcurrency {is}, not {should}"))
        }
    };
    Some(if follows {
        let seen = format!("{seen} (the breaker changed {} ago)", ago(now_ms, row.map_or(0, |row| row.changed_at_ms)));
        Finding::new(MAPPINGS, Health::Warn, seen, "nothing yet: control-breakers follows within two minutes")
    } else {
        Finding::new(MAPPINGS, health, seen, put_right)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_000_000_000;

    fn row(state: State, forced: bool, changed_at_ms: u64) -> Row {
        let mut row = Row::absent("payment");
        (row.state, row.forced, row.changed_at_ms) = (state, forced, changed_at_ms);
        row
    }

    #[test]
    fn a_breaker_that_is_not_closed_is_told_with_what_to_do() {
        let long_ago_ms = NOW_MS - 7_200_000;
        for (state, forced, expected) in [
            (State::Closed, false, None),
            (State::Closed, true, Some((Health::Warn, "release"))),
            (State::Open, false, Some((Health::Bad, "breakers.md"))),
            (State::Open, true, Some((Health::Bad, "release"))),
            (State::HalfOpen, false, Some((Health::Warn, "probe"))),
        ] {
            let found = judge_breaker(&row(state, forced, long_ago_ms), NOW_MS);
            assert_eq!(found.as_ref().map(|found| found.health), expected.map(|(health, _)| health), "{state:?}");
            if let (Some(found), Some((_, advice))) = (found, expected) {
                assert!(found.seen.contains("payment") && found.seen.contains("2h"), "{}", found.seen);
                assert!(found.advice.contains(advice), "{}", found.advice);
            }
        }
    }

    #[test]
    fn a_stream_whose_batches_fail_or_that_nobody_feeds_is_told() {
        let stream = |state: &str, result: &str, service: &str| {
            let is = GetEventSourceMappingOutput::builder().state(state).last_processing_result(result);
            is.event_source_arn(format!("arn:aws:{service}:us-east-1:1:table/orders/stream/1")).build()
        };
        let health = |watched: bool, is: &GetEventSourceMappingOutput| {
            judge_stream("events", watched, is).map(|found| found.health)
        };
        for fine in ["OK", "No records processed", "OK - 3 records, 1 partial failures"] {
            assert_eq!(health(true, &stream("Enabled", fine, "dynamodb")), None, "{fine}");
        }
        for failed in ["PROBLEM: Function call failed", "FAILED"] {
            assert_eq!(health(true, &stream("Enabled", failed, "dynamodb")), Some(Health::Warn), "{failed}");
            assert_eq!(health(true, &stream("Enabled", failed, "sqs")), None, "its messages come again one by one");
        }
        assert_eq!(health(false, &stream("Disabled", "OK", "dynamodb")), Some(Health::Bad));
        assert_eq!(health(true, &stream("Disabled", "OK", "dynamodb")), None, "judged with the others");
    }

    fn live(enabled: bool, most: u32) -> Result<Mapping, StoreError> {
        Ok(Mapping { enabled, settled: true, maximum_concurrency: Some(most), changed_at_ms: 0 })
    }

    #[test]
    fn a_mapping_is_held_against_what_control_breakers_wants() {
        let mapping = Watched {
            name: "payment-bulk".to_owned(),
            id: "a".to_owned(),
            dependency: Some(Dependency::Payment),
            normal: Some(5),
        };
        let long_ago_ms = NOW_MS - 7_200_000;
        let health = |live: &Result<Mapping, StoreError>, row: Option<&Row>| {
            judge_mapping(&mapping, live, Ok(row), NOW_MS).map(|found| found.health)
        };
        let closed = row(State::Closed, false, long_ago_ms);
        let (open, just_open) = (row(State::Open, false, long_ago_ms), row(State::Open, false, NOW_MS - 1_000));
        assert_eq!(health(&live(true, 5), Some(&closed)), None);
        assert_eq!(health(&live(true, 5), None), None, "no row: as normal");
        assert_eq!(health(&live(false, 2), Some(&open)), None);
        assert_eq!(health(&live(false, 5), Some(&closed)), Some(Health::Bad), "off, and nobody asks for it");
        assert_eq!(health(&live(true, 5), Some(&open)), Some(Health::Bad), "on behind an open breaker");
        assert_eq!(health(&live(true, 5), Some(&just_open)), Some(Health::Warn), "control-breakers has its time");
        assert_eq!(health(&live(true, 9), Some(&closed)), Some(Health::Warn));
        let changing = Ok(Mapping { enabled: false, settled: false, maximum_concurrency: None, changed_at_ms: 0 });
        assert_eq!(health(&changing, Some(&closed)), None, "it is being changed");
        let error = |why: &str| Err(StoreError::NotDone(why.to_owned()));
        assert_eq!(health(&error("ResourceNotFoundException: it does not exist"), None), Some(Health::Bad));
        assert_eq!(health(&error("AccessDeniedException"), None), Some(Health::Unknown));
        let seen = judge_mapping(&mapping, &live(false, 2), Ok(Some(&closed)), NOW_MS).unwrap().seen;
        assert!(seen.contains("payment-bulk is off"), "{seen}");
        let unread = StoreError::NotDone("AccessDeniedException".to_owned());
        for live in [live(true, 5), live(false, 2)] {
            let found = judge_mapping(&mapping, &live, Err(&unread), NOW_MS).map(|found| found.health);
            assert_eq!(found, Some(Health::Unknown), "an unread breaker is no closed one");
        }
    }
}
