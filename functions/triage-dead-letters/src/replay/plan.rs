//! What a replay would do, before it does anything.

use std::collections::{BTreeMap, BTreeSet};

use lambda_queue::Failure;
use order::{CaseId, Command, Order, OrderId, Step};
use ports::{CaseKind, CaseStatus, Dependency, StoreError, StoredCase, UnreadableCase};
use serde::Serialize;

use super::provider;
use crate::classify::OF_THE_TOPIC;
use crate::decide::{Operator, Waits, waits};

/// What a replay of a case would do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Let a parked order go, and send what it then owes.
    Resume {
        /// Which.
        order_id: OrderId,
        /// What it will owe.
        command: &'static str,
    },
    /// Send what the order owes now.
    Command {
        /// Which.
        order_id: OrderId,
        /// What it owes.
        command: &'static str,
        /// The version that owes it.
        version: u64,
    },
    /// Send the event again as it was.
    Event {
        /// Where to, by name without the stack's.
        queues: Vec<String>,
        /// Behind how many of its group.
        behind: usize,
    },
    /// Nothing is owed any more: the case would be closed.
    Nothing {
        /// Why.
        why: String,
    },
    /// It cannot be replayed, or not now.
    Refused {
        /// Why, and what to do instead.
        why: String,
    },
}

impl Action {
    /// Who has to be there for it to come to something.
    pub(super) fn needs(&self) -> Option<Dependency> {
        match self {
            Self::Resume { command, .. } | Self::Command { command, .. } => {
                Command::ALL.into_iter().find(|known| known.name() == *command).and_then(|of| Dependency::of(of.step()))
            }
            Self::Event { queues, .. } => queues.iter().any(|queue| queue == NOTIFY).then_some(Dependency::Mail),
            Self::Nothing { .. } | Self::Refused { .. } => None,
        }
    }
}

/// The queue whose consumer sends mail.
const NOTIFY: &str = "notify.fifo";

/// A case and what a replay of it would do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Planned {
    /// As it was read.
    pub case: StoredCase,
    /// What would be done.
    pub action: Action,
    /// What it keeps its place in: events of one order on one queue.
    pub group: Option<String>,
    /// Whether it goes also while the breaker of who has to be there is not closed.
    pub despite_breaker: bool,
}

/// Plans the replay of these cases. `open` are all that are open, or those of their groups ([`group_of`]), and `unreadable`
/// those that cannot be read: an event goes only after the older ones of its group, and one that cannot be read may be.
///
/// Events of one group come in the order in which they were sent first; everything else keeps its place. What a provider is
/// needed for is refused while its breaker is not closed, unless `despite_breaker`.
pub async fn plan(
    ports: &impl Operator,
    cases: Vec<StoredCase>,
    open: &[StoredCase],
    unreadable: &[UnreadableCase],
    despite_breaker: bool,
) -> Result<Vec<Planned>, Failure> {
    let away = provider::away(ports).await;
    let mut planned = Vec::with_capacity(cases.len());
    let oldest = oldest_of_groups(&cases, open);
    for case in cases {
        let group = group_of(&case);
        let older = group.as_ref().and_then(|group| oldest.get(group)).filter(|(at, _)| *at < sent_at(&case));
        let newer_programs = unreadable.iter().find(|one| may_be_of_group(one, &case));
        let action = match (older, newer_programs) {
            (Some((_, older)), _) => {
                refused(format!("case {older} is older and of the same order: replay or close it first"))
            }
            (None, Some(one)) => refused(format!(
                "case {} is of the same order and may be older, and this program cannot read it: replay both with the version \
                 that wrote it",
                one.case_id
            )),
            (None, None) => {
                let action = action_of(ports, &case).await?;
                let why = action.needs().filter(|_| !despite_breaker).and_then(|needed| away.get(&needed));
                why.map_or(action, refused)
            }
        };
        planned.push(Planned { case, action, group, despite_breaker });
    }
    in_group_order(&mut planned);
    Ok(planned)
}

/// When the oldest event of each group was sent that is open and not among these, and its id.
fn oldest_of_groups(cases: &[StoredCase], open: &[StoredCase]) -> BTreeMap<String, ((u64, u64), CaseId)> {
    let chosen: BTreeSet<&str> = cases.iter().map(|case| case.case.case_id.as_str()).collect();
    let mut oldest: BTreeMap<String, ((u64, u64), CaseId)> = BTreeMap::new();
    for other in open.iter().filter(|other| !chosen.contains(other.case.case_id.as_str())) {
        let Some(group) = group_of(other) else { continue };
        let at = sent_at(other);
        if oldest.get(&group).is_none_or(|(before, _)| at < *before) {
            oldest.insert(group, (at, other.case.case_id.clone()));
        }
    }
    oldest
}

/// What an event keeps its place in. Commands have none: the row orders them.
pub fn group_of(case: &StoredCase) -> Option<String> {
    let is_event = case.case.kind == CaseKind::DeadLetter && command_step(&case.case.step).is_none();
    (is_event && !case.case.order_id.is_empty()).then(|| format!("{}/{}", case.case.step, case.case.order_id))
}

/// Whether a case that cannot be read may be of an event's group: it names the order, and the same step or none.
fn may_be_of_group(one: &UnreadableCase, case: &StoredCase) -> bool {
    let same_step = one.step.is_empty() || one.step == case.case.step;
    group_of(case).is_some() && one.order_id == case.case.order_id && same_step
}

fn sent_at(case: &StoredCase) -> (u64, u64) {
    // Versions tell where two were sent in one millisecond.
    (case.case.letter.as_ref().map_or(case.case.opened_at_ms, |letter| letter.sent_at_ms), case.case.row_version)
}

/// Puts the cases of each group into the places that the group has, the oldest first.
fn in_group_order(planned: &mut [Planned]) {
    let mut places: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (at, one) in planned.iter().enumerate() {
        if let Some(group) = &one.group {
            places.entry(group.clone()).or_default().push(at);
        }
    }
    for places in places.into_values() {
        let mut sorted: Vec<Planned> = places.iter().filter_map(|at| planned.get(*at).cloned()).collect();
        sorted.sort_by_key(|one| sent_at(&one.case));
        for (behind, (at, mut one)) in places.into_iter().zip(sorted).enumerate() {
            if let Action::Event { behind: places, .. } = &mut one.action {
                *places = behind;
            }
            if let Some(place) = planned.get_mut(at) {
                *place = one;
            }
        }
    }
}

fn command_step(step: &str) -> Option<Step> {
    Step::ALL.into_iter().find(|known| known.name() == step)
}

fn refused(why: impl Into<String>) -> Action {
    Action::Refused { why: why.into() }
}

async fn action_of(ports: &impl Operator, case: &StoredCase) -> Result<Action, Failure> {
    match case.status {
        CaseStatus::Open => {}
        CaseStatus::Replayed => return Ok(refused("it is replayed already, and has not come again")),
        CaseStatus::Closed | CaseStatus::Abandoned | CaseStatus::Superseded => {
            return Ok(refused(format!("it is {}", case.status.name())));
        }
    }
    match case.case.kind {
        CaseKind::Parked => Ok(match waits(ports, case).await? {
            Waits::Parked(order) => Action::Resume {
                order_id: order.order_id,
                command: Order { parked: None, ..*order }.next_command().map_or("nothing", order::Command::name),
            },
            Waits::MayYet => refused("its order is not parked yet: it goes on by itself, or is parked in a moment"),
            Waits::Not => Action::Nothing { why: "its order is not parked with it any more".to_owned() },
        }),
        CaseKind::Unreadable => owed_now(ports, case).await,
        CaseKind::DeadLetter if command_step(&case.case.step).is_some() => owed_now(ports, case).await,
        CaseKind::DeadLetter => Ok(again(&case.case.step)),
        CaseKind::Difference => Ok(refused(
            "a difference is put right at the provider, by hand: `orderflow reconcile` says how; then close it",
        )),
    }
}

/// An event goes to the queue that it came from. What the topic could not deliver names no subscription: it goes to all, and
/// each bears what it has had already.
fn again(step: &str) -> Action {
    let queues: &[&str] = match step {
        "notify" => &[NOTIFY],
        "archive" => &["archive"],
        OF_THE_TOPIC => &[NOTIFY, "archive"],
        _ => return refused(format!("`{step}` is no step that this program knows")),
    };
    Action::Event { queues: queues.iter().map(|queue| (*queue).to_owned()).collect(), behind: 0 }
}

async fn owed_now(ports: &impl Operator, case: &StoredCase) -> Result<Action, Failure> {
    let Ok(order_id) = case.case.order_id.parse::<OrderId>() else {
        return Ok(refused("it names no order, so nothing can be made of a row: close it"));
    };
    let order = match ports.load_order(order_id).await {
        Ok(Some(order)) => order,
        Ok(None) => return Ok(refused("there is no such order: close it")),
        Err(StoreError::Unreadable(_)) => {
            return Ok(refused("this program cannot read its row: use the version that wrote it"));
        }
        Err(error @ (StoreError::NotDone(_) | StoreError::Unknown(_))) => return Err(error.into()),
    };
    if let Some(parked) = &order.parked {
        return Ok(refused(format!("its order is parked: replay case {}", parked.case_id)));
    }
    Ok(match order.next_command() {
        Some(command) => Action::Command { order_id, command: command.name(), version: order.version },
        None => Action::Nothing { why: format!("its order is {} and owes nothing", order.state) },
    })
}
