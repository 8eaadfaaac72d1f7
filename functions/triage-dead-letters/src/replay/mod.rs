//! Replay: what a case's trouble kept from happening is asked for again.
//!
//! An order's command is made of its row as it is now, never of the stored message. An event is sent again as it was, in the
//! order of its group. A parked order is let go.
//!
//! One case first; then ten; then the rest, a hundred at a time, at a given rate. After each stage it is watched what became
//! of it, and of what was not known yet before. Where too many of them are not seen done they are looked at again, three times
//! as long in all; where more than one in a hundred failed again, or has not been seen done even then, nothing more is sent.
//! What needs a provider is not sent while that one's breaker is not closed.

mod event;
mod plan;
mod provider;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lambda_queue::Failure;
use order::{CaseId, OrderId};
use ports::{CaseStatus, Decided, Dependency, StoredCase, owed};
use serde::Serialize;

use crate::decide::{By, Operator, Resumed, resume};
use crate::letter::REPLAY_OF;

pub use plan::{Action, Planned, group_of, plan};
pub use watch::Fate;

/// The first stages; each one after them is of [`STAGE`] cases.
const CANARIES: [usize; 2] = [1, 10];
/// Cases of a later stage.
const STAGE: usize = 100;
/// In a hundred: those that failed or are not known yet, after which nothing more is sent.
const MOST_PERCENT: usize = 1;
/// How often a stage is watched at most: again only while too many are not known yet, as they may wait behind others.
const WATCHES: u32 = 3;

/// How fast, and how patiently.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// Between two cases.
    pub between: Duration,
    /// How long a stage is watched; up to three times as long while too many are not known yet.
    pub watch: Duration,
}

/// What became of one case.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Sent again; what became of that is known only for a while.
    Sent(Fate),
    /// Nothing was owed any more: the case is closed.
    NothingOwed,
    /// Somebody else decided, or it came again meanwhile: left alone.
    Changed,
    /// It could not be sent: the case is open as it was.
    NotSent(String),
    /// It is not for replay: says why.
    Refused(String),
    /// Not begun: too many had failed or were not known yet, or one before it in its group.
    Held,
}

/// Why a replay was given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// Too many failed again, or could not be sent: the trouble is not over.
    Failed,
    /// Of too many it is not known yet whether they are done: it may be over, or not.
    NotKnownYet,
}

/// What became of all of them.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Report {
    /// Each case, in the order in which they were taken.
    pub cases: Vec<(String, Outcome)>,
    /// How many were sent.
    pub sent: usize,
    /// How many of these failed again, or could not be sent.
    pub failed: usize,
    /// How many of those that were sent had neither failed again nor been done while they were watched. Events, which nothing
    /// tells done, are not among them.
    pub unknown: usize,
    /// Why it was given up; `None` where it was not.
    pub stopped: Option<Stopped>,
}

/// What was sent for a case, to be watched.
pub(crate) struct Sent {
    /// The order and its version then: a higher one means that it was taken.
    pub(crate) row: Option<(OrderId, u64)>,
    /// The letters that the case had.
    pub(crate) seen: u64,
}

impl Sent {
    /// Its fate as long as nothing is seen of it.
    fn unseen(&self) -> Fate {
        if self.row.is_some() { Fate::NotKnownYet } else { Fate::NotSeenAgain }
    }
}

enum Step {
    Sent(Sent),
    End(Outcome),
}

/// Replays cases as planned. `tell` hears of each stage, each time that it was watched: how many are sent, how many failed
/// again, and how many are not known yet.
///
/// Safe to repeat: a case that is not open is left alone, an order that owes nothing is sent nothing, and what is sent twice
/// is borne by its consumer. So what stopped because too little was known is run again later.
pub async fn run(
    ports: &impl Operator,
    planned: Vec<Planned>,
    by: &By,
    pace: Pace,
    mut tell: impl FnMut(&Report),
) -> Report {
    let mut report = Report::default();
    let mut held: BTreeSet<String> = BTreeSet::new();
    let mut groups: BTreeMap<usize, Option<String>> = BTreeMap::new();
    let mut taken_orders: BTreeMap<OrderId, u64> = BTreeMap::new();
    let mut rest = planned.into_iter().peekable();
    let mut stages = CANARIES.into_iter();
    let mut unknown: Vec<(usize, CaseId, Sent)> = Vec::new();
    while rest.peek().is_some() {
        let size = stages.next().unwrap_or(STAGE);
        let mut watched = Vec::new();
        while watched.len() < size {
            let Some(next) = rest.next() else { break };
            let case_id = next.case.case.case_id.clone();
            if next.group.as_ref().is_some_and(|group| held.contains(group)) {
                report.cases.push((case_id.to_string(), Outcome::Held));
                continue;
            }
            let step = match one(ports, &next, by, &mut taken_orders).await {
                Ok(step) => step,
                Err(failure) => Step::End(Outcome::NotSent(failure.to_string())),
            };
            match step {
                Step::Sent(sent) => {
                    report.sent += 1;
                    groups.insert(report.cases.len(), next.group.clone());
                    report.cases.push((case_id.to_string(), Outcome::Sent(sent.unseen())));
                    watched.push((report.cases.len() - 1, case_id.clone(), sent));
                    tokio::time::sleep(pace.between).await;
                }
                Step::End(outcome) => {
                    if matches!(outcome, Outcome::NotSent(_)) {
                        report.failed += 1;
                    }
                    // What did not go holds those behind it in its group.
                    if matches!(outcome, Outcome::NotSent(_) | Outcome::Changed | Outcome::Refused(_)) {
                        held.extend(next.group.clone());
                    }
                    let failed = matches!(outcome, Outcome::NotSent(_));
                    report.cases.push((case_id.to_string(), outcome));
                    if failed {
                        // What cannot be sent now will not be in a moment either.
                        break;
                    }
                }
            }
        }
        watched.append(&mut unknown);
        for _ in 0..WATCHES {
            let (fates, open) = watch::fates(ports, watched, pace.watch).await;
            for (at, fate) in fates {
                if fate == Fate::FailedAgain {
                    report.failed += 1;
                    held.extend(groups.get(&at).cloned().flatten());
                }
                if let Some((_, outcome)) = report.cases.get_mut(at) {
                    *outcome = Outcome::Sent(fate);
                }
            }
            watched = open;
            report.unknown = watched.len();
            tell(&report);
            report.stopped = why_stop(&report);
            if report.stopped != Some(Stopped::NotKnownYet) {
                break;
            }
        }
        if report.stopped.is_some() {
            let left = rest.map(|planned| (planned.case.case.case_id.to_string(), Outcome::Held));
            report.cases.extend(left);
            break;
        }
        unknown = watched;
    }
    report
}

/// Whether nothing more is to be sent, by what is known so far.
fn why_stop(report: &Report) -> Option<Stopped> {
    let most = report.sent.saturating_mul(MOST_PERCENT) / 100;
    if report.failed > most {
        Some(Stopped::Failed)
    } else {
        (report.failed + report.unknown > most).then_some(Stopped::NotKnownYet)
    }
}

async fn one(
    ports: &impl Operator,
    planned: &Planned,
    by: &By,
    taken_orders: &mut BTreeMap<OrderId, u64>,
) -> Result<Step, Failure> {
    let case = &planned.case;
    let case_id = case.case.case_id.as_str();
    let seen = case.seen;
    if !matches!(planned.action, Action::Refused { .. }) {
        // The plan may be a while ago, or an old one that is run once more.
        let now = ports.load_case(&case.case.case_id).await?;
        let same = |now: &StoredCase| {
            let of = |case: &StoredCase| (case.status, case.seen, case.case.row_version, case.case.attempt.clone());
            of(now) == of(case)
        };
        if !now.as_ref().is_some_and(same) {
            return Ok(Step::End(Outcome::Changed));
        }
    }
    // The breaker may have opened since this was planned, or in the middle of it. Of a command the row says whom it needs now.
    let needed = if matches!(planned.action, Action::Command { .. }) { None } else { planned.action.needs() };
    if let Some(why) = away(ports, planned, needed).await {
        return Ok(Step::End(Outcome::Refused(why)));
    }
    match &planned.action {
        Action::Refused { why } => Ok(Step::End(Outcome::Refused(why.clone()))),
        Action::Nothing { why } => {
            let audit = by.audit(ports, "close", case_id, why.clone());
            Ok(Step::End(match ports.decide_case(case, CaseStatus::Closed, &audit).await? {
                Decided::Done => Outcome::NothingOwed,
                Decided::Changed => Outcome::Changed,
            }))
        }
        Action::Resume { order_id, .. } => Ok(match resume(ports, *order_id, by, CaseStatus::Replayed).await? {
            Resumed::Gone(row) => Step::Sent(Sent { row: Some((*order_id, row.version)), seen }),
            Resumed::NotParked | Resumed::Unknown => Step::End(Outcome::Changed),
        }),
        Action::Command { order_id, .. } => {
            // The row as it is now, too.
            let Some(order) = ports.load_order(*order_id).await? else {
                return Ok(Step::End(Outcome::Refused("there is no such order any more".to_owned())));
            };
            let Some(mut message) = owed(ports, &order, None).pop() else {
                let audit = by.audit(ports, "close", case_id, "the order owes nothing any more");
                return Ok(Step::End(match ports.decide_case(case, CaseStatus::Closed, &audit).await? {
                    Decided::Done => Outcome::NothingOwed,
                    Decided::Changed => Outcome::Changed,
                }));
            };
            // Several letters of one order ask for the same.
            if let Some(version) = taken_orders.get(order_id) {
                let audit = by.audit(ports, "replay", case_id, "sent with another case of its order");
                return written(ports, case, &audit, Sent { row: Some((*order_id, *version)), seen }).await;
            }
            let needed = order.next_command().and_then(|command| Dependency::of(command.step()));
            if let Some(why) = away(ports, planned, needed).await {
                return Ok(Step::End(Outcome::Refused(why)));
            }
            if planned.case.case.letter.is_some() {
                message.attributes.push((REPLAY_OF.to_owned(), case_id.to_owned()));
            }
            send(ports, &message).await?;
            taken_orders.insert(*order_id, order.version);
            let detail = format!("{} of version {} to {}", message_name(&order), order.version, message.queue);
            let audit = by.audit(ports, "replay", case_id, detail);
            written(ports, case, &audit, Sent { row: Some((*order_id, order.version)), seen }).await
        }
        Action::Event { queues, .. } => {
            let Some(messages) = event::messages(ports, case, queues).await? else {
                return Ok(Step::End(Outcome::Refused("its raw message has expired".to_owned())));
            };
            for message in &messages {
                send(ports, message).await?;
            }
            let audit = by.audit(ports, "replay", case_id, format!("as it was, to {}", queues.join(" and ")));
            written(ports, case, &audit, Sent { row: None, seen }).await
        }
    }
}

/// Why it is not to be sent now, as who it needs is away; `None` where that is so by force.
async fn away(ports: &impl Operator, planned: &Planned, needed: Option<Dependency>) -> Option<String> {
    provider::why_not(ports, needed.filter(|_| !planned.despite_breaker)?).await
}

fn message_name(order: &order::Order) -> &'static str {
    order.next_command().map_or("nothing", order::Command::name)
}

/// Writes down what was sent, unless the case has changed since it was read: then it has come again already, and is open.
async fn written(
    ports: &impl Operator,
    case: &ports::StoredCase,
    audit: &ports::Audit,
    sent: Sent,
) -> Result<Step, Failure> {
    Ok(match ports.decide_case(case, CaseStatus::Replayed, audit).await? {
        Decided::Done | Decided::Changed => Step::Sent(sent),
    })
}

async fn send(ports: &impl Operator, message: &lambda_queue::Outgoing) -> Result<(), Failure> {
    for result in ports.send(&message.queue, std::slice::from_ref(message)).await {
        result.map_err(Failure::retry)?;
    }
    Ok(())
}
