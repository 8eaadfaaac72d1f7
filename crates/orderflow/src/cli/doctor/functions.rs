//! Whether the functions can be invoked: their last deployment, and whether somebody has stopped one.

use aws_sdk_lambda::types::{LastUpdateStatus, State};
use futures::future::join_all;

use super::Ward;
use super::finding::{Finding, Health};
use crate::stack::FUNCTIONS;

const CHECK: &str = "functions";

pub(super) async fn functions(ward: &Ward) -> anyhow::Result<Vec<Finding>> {
    let asked = FUNCTIONS.map(|function| async move {
        let name = format!("{}-{function}", ward.stack);
        let (asked, reserved) = futures::join!(ward.lambda.function(&name), ward.lambda.reserved(&name));
        (function, asked, reserved.map(|is| is.reserved_concurrent_executions()))
    });
    let mut findings = Vec::new();
    let mut unread = Vec::new();
    for (function, asked, reserved) in join_all(asked).await {
        match reserved {
            Ok(reserved) => findings.extend(judge_reserved(function, reserved)),
            Err(why) => unread.push((function, why)),
        }
        match asked {
            Ok(is) => findings.extend(judge_function(function, is.state(), is.last_update_status())),
            Err(why) => {
                let health = if why.contains("ResourceNotFound") { Health::Bad } else { Health::Unknown };
                let seen = format!("{function} cannot be read: {why}");
                findings.push(Finding::new(CHECK, health, seen, "is it there? If not, deploy again"));
            }
        }
    }
    findings.extend(judge_unread(&unread));
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, format!("all {} can be invoked", FUNCTIONS.len())));
    }
    Ok(findings)
}

/// Whether somebody has stopped it.
fn judge_reserved(name: &str, reserved: Option<i32>) -> Option<Finding> {
    (reserved == Some(0)).then(|| {
        let advice =
            format!("somebody stopped it: `aws lambda delete-function-concurrency` of {name}, once it may run");
        Finding::new(CHECK, Health::Bad, format!("{name}: its reserved concurrency is 0: it never runs"), advice)
    })
}

/// One line for all whose concurrency could not be read: mostly for the same reason.
fn judge_unread(unread: &[(&str, String)]) -> Option<Finding> {
    let (_, why) = unread.first()?;
    let names: Vec<&str> = unread.iter().map(|(name, _)| *name).collect();
    let seen = format!("whether {} may run at all cannot be read: {why}", names.join(", "));
    Some(Finding::new(CHECK, Health::Unknown, seen, "may you call lambda:GetFunctionConcurrency?"))
}

fn judge_function(name: &str, state: Option<&State>, update: Option<&LastUpdateStatus>) -> Option<Finding> {
    let (health, what) = if state == Some(&State::Failed) || update == Some(&LastUpdateStatus::Failed) {
        (Health::Bad, "its last deployment failed")
    } else if state == Some(&State::Pending) || update == Some(&LastUpdateStatus::InProgress) {
        (Health::Warn, "it is being deployed")
    } else {
        // Inactive: nobody called it for weeks. It comes up with the next call.
        return None;
    };
    let advice = format!("`aws lambda get-function-configuration` of {name} says why; deploy again");
    Some(Finding::new(CHECK, health, format!("{name}: {what}"), advice))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_whose_deployment_failed_is_bad() {
        let health = |state: State, update: LastUpdateStatus| {
            judge_function("ship-order", Some(&state), Some(&update)).map(|found| found.health)
        };
        assert_eq!(health(State::Active, LastUpdateStatus::Successful), None);
        assert_eq!(health(State::Inactive, LastUpdateStatus::Successful), None);
        assert_eq!(health(State::Pending, LastUpdateStatus::Successful), Some(Health::Warn));
        assert_eq!(health(State::Active, LastUpdateStatus::Failed), Some(Health::Bad));
        assert_eq!(health(State::Failed, LastUpdateStatus::Successful), Some(Health::Bad));
        assert_eq!(judge_function("ship-order", None, None), None);
    }

    #[test]
    fn a_function_that_somebody_stopped_is_bad_and_one_that_cannot_be_asked_is_not_fine() {
        assert_eq!(judge_reserved("ship-order", None), None);
        assert_eq!(judge_reserved("ship-order", Some(5)), None);
        assert_eq!(judge_reserved("ship-order", Some(0)).map(|found| found.health), Some(Health::Bad));
        assert_eq!(judge_unread(&[]), None);
        let found = judge_unread(&[("a", "denied".to_owned()), ("b", "denied".to_owned())]).unwrap();
        assert_eq!(found.health, Health::Unknown);
        assert!(found.seen.contains("a, b") && found.seen.contains("denied"), "{}", found.seen);
    }
}
