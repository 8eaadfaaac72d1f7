//! CloudFormation's own comparison of every resource with the template: what it last came to, or a new one on demand, as it
//! takes minutes on AWS. What [`super::settings`] compares itself is in it too.

use std::time::Duration;

use anyhow::Context as _;
use aws_sdk_cloudformation::types::{
    StackDriftDetectionStatus, StackDriftStatus, StackResourceDrift, StackResourceDriftStatus,
};

use super::Ward;
use super::finding::{Finding, Health};
use super::settings::{DEPLOY, MAPPING};

/// Longest that CloudFormation is waited for.
pub(super) const LONGEST_DETECTION: Duration = Duration::from_secs(600);
/// Between two looks whether it is through.
const LOOK_EVERY: Duration = Duration::from_secs(3);

const DRIFT: &str = "drift";

/// CloudFormation's own comparison: what it last came to, or a new one where that is asked for.
pub(super) async fn detection(ward: &Ward) -> anyhow::Result<Vec<Finding>> {
    let cloudformation = &ward.clients.cloudformation;
    if !ward.detect_drift {
        let described = cloudformation.describe_stacks().stack_name(&ward.stack).send().await;
        let described = described.context("the stack cannot be described")?;
        let information = described.stacks().first().and_then(|stack| stack.drift_information());
        return Ok(vec![judge_last(information.and_then(|information| information.stack_drift_status()))]);
    }
    let asked = cloudformation.detect_stack_drift().stack_name(&ward.stack).send().await;
    let asked = asked.context("CloudFormation does not begin a drift detection")?;
    let id = asked.stack_drift_detection_id().context("CloudFormation names no detection")?.to_owned();
    loop {
        let status = cloudformation.describe_stack_drift_detection_status().stack_drift_detection_id(&id).send().await;
        let status = status.context("the drift detection cannot be followed")?;
        match status.detection_status() {
            Some(StackDriftDetectionStatus::DetectionInProgress) => tokio::time::sleep(LOOK_EVERY).await,
            Some(StackDriftDetectionStatus::DetectionComplete) => break,
            _ => anyhow::bail!("it failed: {}", status.detection_status_reason().unwrap_or("nobody says why")),
        }
    }
    let mut drifts = Vec::new();
    let mut next = None;
    loop {
        let page = cloudformation
            .describe_stack_resource_drifts()
            .stack_name(&ward.stack)
            .stack_resource_drift_status_filters(StackResourceDriftStatus::Modified)
            .stack_resource_drift_status_filters(StackResourceDriftStatus::Deleted)
            .set_next_token(next)
            .send()
            .await
            .context("what drifted cannot be listed")?;
        next = page.next_token;
        drifts.extend(page.stack_resource_drifts.unwrap_or_default());
        if next.is_none() {
            break;
        }
    }
    Ok(judge_detection(&drifts))
}

fn judge_last(status: Option<&StackDriftStatus>) -> Finding {
    match status {
        Some(StackDriftStatus::Drifted) => Finding::new(
            DRIFT,
            Health::Warn,
            "CloudFormation's last detection found drift",
            "`orderflow doctor --detect-drift` tells what; whether a mapping is on does not count",
        ),
        Some(StackDriftStatus::InSync) => Finding::ok(DRIFT, "CloudFormation's last detection found none"),
        Some(_) | None => {
            Finding::new(DRIFT, Health::Skipped, "CloudFormation was not asked", "--detect-drift asks it")
        }
    }
}

fn judge_detection(drifts: &[StackResourceDrift]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for drift in drifts {
        let name = drift.logical_resource_id().unwrap_or_default();
        if drift.stack_resource_drift_status() == Some(&StackResourceDriftStatus::Deleted) {
            findings.push(Finding::new(DRIFT, Health::Bad, format!("{name} was deleted"), DEPLOY));
            continue;
        }
        let paths: Vec<&str> = drift.property_differences().iter().filter_map(|one| one.property_path()).collect();
        // What control-breakers sets is no drift.
        let ours = |path: &str| path == "/Enabled" || path.starts_with("/ScalingConfig");
        let others: Vec<&str> =
            paths.iter().copied().filter(|path| drift.resource_type() != Some(MAPPING) || !ours(path)).collect();
        if !others.is_empty() || paths.is_empty() {
            findings.push(Finding::new(DRIFT, Health::Bad, format!("{name} differs in {}", others.join(", ")), DEPLOY));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(DRIFT, "CloudFormation finds none"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use aws_sdk_cloudformation::types::{DifferenceType, PropertyDifference};

    use super::*;

    fn modified(kind: &str, paths: &[&str]) -> StackResourceDrift {
        let difference = |path: &&str| {
            let difference = PropertyDifference::builder().property_path(*path).expected_value("1").actual_value("2");
            difference.difference_type(DifferenceType::NotEqual).build()
        };
        StackResourceDrift::builder()
            .logical_resource_id("It")
            .resource_type(kind)
            .stack_resource_drift_status(StackResourceDriftStatus::Modified)
            .set_property_differences(Some(paths.iter().map(difference).collect()))
            .build()
    }

    #[test]
    fn what_control_breakers_sets_is_no_drift_and_everything_else_is() {
        let found =
            |drift| judge_detection(&[drift]).into_iter().map(|found| (found.health, found.seen)).next().unwrap();
        assert_eq!(found(modified(MAPPING, &["/Enabled", "/ScalingConfig/MaximumConcurrency"])).0, Health::Ok);
        let expected = (Health::Bad, "It differs in /BatchSize".to_owned());
        assert_eq!(found(modified(MAPPING, &["/Enabled", "/BatchSize"])), expected);
        assert_eq!(found(modified("AWS::IAM::Role", &["/Enabled"])).0, Health::Bad);
        assert_eq!(judge_detection(&[])[0].health, Health::Ok);
        let deleted = StackResourceDrift::builder().stack_resource_drift_status(StackResourceDriftStatus::Deleted);
        assert_eq!(found(deleted.logical_resource_id("It").build()), (Health::Bad, "It was deleted".to_owned()));
    }

    #[test]
    fn the_last_detection_is_told_where_nobody_asks_for_another() {
        assert_eq!(judge_last(Some(&StackDriftStatus::Drifted)).health, Health::Warn);
        assert_eq!(judge_last(Some(&StackDriftStatus::InSync)).health, Health::Ok);
        assert_eq!(judge_last(None).health, Health::Skipped, "not looked at is not ok");
    }
}
