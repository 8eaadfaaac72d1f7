//! What became of what was sent again.

use std::time::Duration;

use order::{CaseId, EventKind};
use ports::CaseStatus;
use serde::Serialize;

use super::Sent;
use crate::decide::Operator;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// What became of a replay, as far as it can be seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Its order moved on, or owes nothing.
    Done,
    /// An event that did not come again while it was watched: there is no other sign of one.
    NotSeenAgain,
    /// Neither has its order moved on nor did it come again while it was watched: it waits somewhere, or is being worked on.
    NotKnownYet,
    /// It came again as a dead letter, or its order is parked again.
    FailedAgain,
}

/// What is watched: its place, its case, and what was sent for it.
type Watched = (usize, CaseId, Sent);

/// Watches until the fate of all is known, at most for so long. Answers each by its place, and those of which it is not known
/// yet, to be watched again. An event is never among these: nothing but time tells of it.
pub(super) async fn fates(
    ports: &impl Operator,
    watched: Vec<Watched>,
    most: Duration,
) -> (Vec<(usize, Fate)>, Vec<Watched>) {
    let until_ms = ports.now_ms().saturating_add(u64::try_from(most.as_millis()).unwrap_or(u64::MAX));
    let mut known = Vec::with_capacity(watched.len());
    let mut open = watched;
    loop {
        let mut left = Vec::with_capacity(open.len());
        for (at, case_id, sent) in open {
            match look(ports, &case_id, &sent).await {
                Some(fate) => known.push((at, fate)),
                None => left.push((at, case_id, sent)),
            }
        }
        open = left;
        if open.is_empty() || ports.now_ms() >= until_ms {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    let (unknown, unseen): (Vec<_>, Vec<_>) = open.into_iter().partition(|(_, _, sent)| sent.row.is_some());
    known.extend(unseen.into_iter().map(|(at, _, sent)| (at, sent.unseen())));
    (known, unknown)
}

/// What can be told now. What cannot be read is looked at again.
async fn look(ports: &impl Operator, case_id: &CaseId, sent: &Sent) -> Option<Fate> {
    if let Some((order_id, version)) = sent.row
        && let Ok(Some(order)) = ports.load_order(order_id).await
    {
        if order.parked.is_some() {
            return Some(Fate::FailedAgain);
        }
        // One that was let go and owes nothing has nowhere to move to.
        if order.next_command().is_none() {
            return Some(Fate::Done);
        }
        if order.timeline.iter().any(|entry| entry.version > version && !is_wish(entry.event)) {
            return Some(Fate::Done);
        }
    }
    let case = ports.load_case(case_id).await.ok()??;
    (case.status == CaseStatus::Open || case.seen > sent.seen).then_some(Fate::FailedAgain)
}

/// What changes a row though nobody has taken its command.
fn is_wish(event: EventKind) -> bool {
    matches!(event, EventKind::CancelRequested | EventKind::RefundRequested)
}
