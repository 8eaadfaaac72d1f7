//! `orderflow doctor`: is this stack healthy? Each check looks at one thing, and says what it saw and what to do about it. It
//! changes nothing.
//!
//! | module | looks at |
//! | --- | --- |
//! | [`queues`] | what waits in the queues, and dead letters that triage does not take |
//! | [`lanes`] | how late each lane is, and steps at a standstill |
//! | [`work`] | the API, open cases, the reconciliation's last runs |
//! | [`overdue`] | orders that nobody recovers, and those that are sent again in vain |
//! | [`control`] | breakers, and whether the event source mappings are as `control-breakers` wants them |
//! | [`schedules`], [`alarms`] | whether the schedules are on; which alarms have gone off |
//! | [`functions`], [`settings`] | functions; settings of queues, mappings and functions against the stack's own template |
//! | [`drift`] | CloudFormation's own drift detection |
//!
//! [`reads`] asks Lambda, each thing once and slowly; [`signed`] the services that have no client here. Each check has a pure part
//! that judges and a part that reads. They run side by side, and one that fails says so for itself: it hides no other.

mod alarms;
mod control;
mod drift;
mod finding;
mod functions;
mod lanes;
mod overdue;
mod queues;
mod reads;
mod schedules;
mod settings;
mod signed;
mod template;
mod work;

use std::future::Future;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use futures::future::{LocalBoxFuture, join_all};
use platform::Aws;
use serde_json::json;

use finding::{Finding, Health, many, overall};
use reads::Lambda;
use signed::Signed;
use template::Template;
use tokio::sync::OnceCell;

use super::output::{out, table};
use super::target::{Outputs, Target};
use crate::Ended;
use crate::stack::Clients;

/// Longest that one check may take, unless it waits for CloudFormation.
const CHECK: Duration = Duration::from_secs(30);
/// What none of the checks looks at, and where else it is seen: `docs/runbooks/README.md`.
const UNSEEN: [&str; 2] = ["the age of the oldest message of a queue", "how far the consumers of streams are behind"];
/// Exit codes: something is bad; something could not be looked at.
const BAD: u8 = 1;
const NOT_CHECKED: u8 = 2;

#[derive(Debug, Args)]
#[command(
    after_help = "It exits with 0 when all is well or only to be kept in mind (warn), 1 when something is bad, 2 when \
    something could not be looked at. It reads, and changes nothing.\n\n\
    Not looked at, and named in the last line: the age of the oldest message of a queue, and how far the consumers of streams are \
    behind. CloudWatch alone knows them, and its alarms, which are looked at, tell once they are too much; where it judges no \
    alarm, as on a local stack, they are named there too."
)]
pub(super) struct Doctor {
    /// Let CloudFormation compare every resource with the template too: takes minutes on AWS
    #[arg(long)]
    detect_drift: bool,
    /// Look at the queues a minute apart where something waits: what SQS counts is approximate for so long
    #[arg(long)]
    patient: bool,
    #[command(flatten)]
    target: Target,
}

/// Where to look.
struct Ward {
    /// The functions' own adapters.
    aws: Aws,
    /// CloudFormation, SQS.
    clients: Clients,
    lambda: Lambda,
    /// CloudWatch, EventBridge Scheduler.
    signed: Signed,
    outputs: Outputs,
    /// The stack's own template, or why it could not be read.
    template: OnceCell<Result<Template, String>>,
    /// The stack's name.
    stack: String,
    /// Base address of its API.
    api_url: String,
    detect_drift: bool,
    patient: bool,
}

impl Ward {
    async fn template(&self) -> anyhow::Result<&Template> {
        let read = self
            .template
            .get_or_init(|| async { settings::template(self).await.map_err(|error| format!("{error:#}")) });
        read.await.as_ref().map_err(|why| anyhow!("{why}"))
    }
}

pub(super) async fn run(what: Doctor, json: bool) -> anyhow::Result<()> {
    let ward = what.ward().await;
    let ward = ward.map_err(|error| Ended::new(NOT_CHECKED, format!("nothing could be looked at: {error:#}")))?;
    let findings = examine(&ward).await;
    let health = overall(&findings);
    if json {
        let all = json!({
            "stack": ward.stack, "health": health, "findings": findings, "not_looked_at": unseen(&findings),
        });
        writeln!(out(), "{}", serde_json::to_string_pretty(&all)?)?;
    } else {
        let mut rows = table();
        rows.set_header(["", "check", "seen", "do"]);
        for Finding { check, health, seen, advice } in &findings {
            rows.add_row([health.name(), check, seen, advice]);
        }
        writeln!(out(), "{rows}")?;
    }
    let count = |health| findings.iter().filter(|finding| finding.health == health).count();
    let words = format!(
        "{} bad, {}, {} unknown",
        count(Health::Bad),
        many(count(Health::Warn), "warning"),
        count(Health::Unknown)
    );
    let unseen = format!("not looked at: {}", unseen(&findings).join(", "));
    match health {
        Health::Bad => Err(Ended::new(BAD, format!("{} is not healthy: {words}; {unseen}", ward.stack)).into()),
        Health::Unknown => {
            Err(Ended::new(NOT_CHECKED, format!("{} may not be healthy: {words}; {unseen}", ward.stack)).into())
        }
        Health::Ok | Health::Skipped | Health::Warn if json => Ok(()),
        Health::Ok | Health::Skipped => {
            Ok(writeln!(out(), "{} is healthy in all that was looked at; {unseen}", ward.stack)?)
        }
        Health::Warn => Ok(writeln!(out(), "{} works: {words}; {unseen}", ward.stack)?),
    }
}

/// What the findings say nothing about.
fn unseen(findings: &[Finding]) -> Vec<&'static str> {
    let skipped = findings.iter().filter(|finding| finding.health == Health::Skipped).map(|finding| finding.check);
    UNSEEN.into_iter().chain(skipped).collect()
}

impl Doctor {
    async fn ward(&self) -> anyhow::Result<Ward> {
        let (clients, outputs) = self.target.resolve().await?;
        let api_url = match self.target.info()? {
            // The local one is reached by another address than the stack says.
            Some(info) => info.api_url,
            None => outputs.output("ApiUrl")?.to_owned(),
        };
        let config = self.target.config().await?;
        Ok(Ward {
            aws: self.target.aws().await?,
            clients,
            lambda: Lambda::new(aws_sdk_lambda::Client::new(&config)),
            signed: Signed::new(config)?,
            outputs,
            template: OnceCell::new(),
            stack: self.target.name()?,
            api_url,
            detect_drift: self.detect_drift,
            patient: self.patient,
        })
    }
}

/// Looks at everything, each thing once. In the order in which a person would ask.
async fn examine(ward: &Ward) -> Vec<Finding> {
    let patient = if ward.detect_drift { drift::LONGEST_DETECTION } else { CHECK };
    let looks = CHECK + queues::pause(ward.patient);
    let checks: [LocalBoxFuture<'_, Vec<Finding>>; 13] = [
        Box::pin(check("api", CHECK, work::api(ward))),
        Box::pin(check("queues", looks, queues::look(ward))),
        Box::pin(check("lanes", CHECK, lanes::look(ward))),
        Box::pin(check("cases", CHECK, work::cases(ward))),
        Box::pin(check("overdue", CHECK, overdue::look(ward))),
        Box::pin(check("breakers", CHECK, control::breakers(ward))),
        Box::pin(check("mappings", CHECK, control::mappings(ward))),
        Box::pin(check("schedules", CHECK, schedules::look(ward))),
        Box::pin(check("reconciliation", CHECK, work::reconciliation(ward))),
        Box::pin(check("functions", CHECK, functions::functions(ward))),
        Box::pin(check("settings", CHECK, settings::settings(ward))),
        Box::pin(check("alarms", CHECK, alarms::look(ward))),
        Box::pin(check("drift", patient, drift::detection(ward))),
    ];
    join_all(checks).await.into_iter().flatten().collect()
}

/// One check: an error or too long a wait is a finding of its own.
async fn check(
    name: &'static str,
    limit: Duration,
    look: impl Future<Output = anyhow::Result<Vec<Finding>>>,
) -> Vec<Finding> {
    let looked = tokio::time::timeout(limit, look).await;
    let looked = looked.with_context(|| format!("no answer within {} s", limit.as_secs())).and_then(|looked| looked);
    looked.unwrap_or_else(|error| vec![Finding::unknown(name, &error)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_names_what_nobody_looked_at() {
        let looked = [Finding::ok("drift", "none"), Finding::new("queues", Health::Warn, "", "")];
        assert_eq!(unseen(&looked), UNSEEN);
        let skipped = [Finding::new("drift", Health::Skipped, "", "")];
        assert_eq!(unseen(&skipped).last(), Some(&"drift"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_fails_or_hangs_says_so_for_itself() {
        let failed = check("queues", CHECK, async { Err(anyhow!("access denied")) }).await;
        assert_eq!(failed[0].health, Health::Unknown);
        assert!(failed[0].seen.contains("access denied"), "{}", failed[0].seen);
        let hung = check("cases", CHECK, std::future::pending()).await;
        assert!(hung[0].seen.contains("no answer within 30 s"), "{}", hung[0].seen);
        let fine = check("api", CHECK, async { Ok(vec![Finding::ok("api", "answers")]) }).await;
        assert_eq!(fine[0].health, Health::Ok);
    }
}
