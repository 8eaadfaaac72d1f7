//! Bulk orders that try the API while their deadline is less than the backlog takes.

use std::time::Duration;

use anyhow::bail;
use serde::Serialize;
use tokio::sync::watch;

use super::super::PlannedOrder;
use super::place_one;
use crate::check::Placed;
use crate::clock::now_ms;
use crate::deployed::Deployed;

/// Between two bulk orders that try the door.
const TRY_EVERY: Duration = Duration::from_secs(2);
/// Longest wait for the lane to open again once its backlog is gone; and for it to shut at all once express is placed.
const OPENS_WITHIN: Duration = Duration::from_secs(60);

/// What became of the bulk orders that came while its deadline was tight.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Door {
    /// Taken.
    pub taken: usize,
    /// Turned away with 503 and `lane_overloaded`.
    pub shed: usize,
    /// From the tight deadline to the first that was turned away, milliseconds.
    pub first_shed_after_ms: Option<u64>,
    /// From there to the first that was taken again, milliseconds.
    pub open_again_after_ms: Option<u64>,
    /// `Retry-After` of those turned away, seconds.
    pub retry_after_s: Vec<u64>,
}

/// Places a bulk order every two seconds, until express orders have been placed and one was taken after others were turned away.
/// What is taken keeps the stack from draining, so it goes on no longer than it has to.
pub(super) async fn try_it(
    deployed: &Deployed,
    orders: &[PlannedOrder],
    placing: Duration,
    drained: watch::Receiver<bool>,
) -> anyhow::Result<(Door, Vec<Placed>)> {
    let (mut door, mut tried) = (Door::default(), Vec::new());
    let (from_ms, mut first_shed_ms, mut gone_ms) = (now_ms(), None, None);
    let mut turn = tokio::time::interval(TRY_EVERY);
    for order in orders {
        turn.tick().await;
        let (placed, answer) = place_one(deployed, order).await?;
        let now_ms = now_ms();
        match (placed.status, answer.code()) {
            (202, _) => {
                door.taken += 1;
                if let (Some(shed_ms), None) = (first_shed_ms, door.open_again_after_ms) {
                    door.open_again_after_ms = Some(now_ms.saturating_sub(shed_ms));
                }
            }
            (503, "lane_overloaded") => {
                door.shed += 1;
                door.retry_after_s.extend(answer.header("retry-after").parse::<u64>());
                door.open_again_after_ms = None;
                first_shed_ms.get_or_insert(now_ms);
                door.first_shed_after_ms.get_or_insert(now_ms.saturating_sub(from_ms));
            }
            (status, _) => bail!("a bulk order was answered {status} {}", answer.text),
        }
        tried.push(placed);
        if *drained.borrow() {
            gone_ms.get_or_insert(now_ms);
        }
        let since = |ms: u64| Duration::from_millis(now_ms.saturating_sub(ms));
        if door.was_tried(since(from_ms).checked_sub(placing), gone_ms.map(since)) {
            break;
        }
    }
    Ok((door, tried))
}

impl Door {
    /// Whether there is no more to see: so long after the last express order was placed (`None`: before), and after the backlog
    /// was gone.
    fn was_tried(&self, placed: Option<Duration>, gone: Option<Duration>) -> bool {
        let Some(placed) = placed else { return false };
        match (self.shed, self.open_again_after_ms) {
            (0, _) => placed > OPENS_WITHIN || gone.is_some(),
            (_, Some(_)) => true,
            (_, None) => gone.is_some_and(|gone| gone > OPENS_WITHIN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_door_is_tried_until_express_is_placed_and_the_lane_is_open_again_and_no_longer() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let door = |shed, open_again_after_ms| Door { shed, open_again_after_ms, ..Door::default() };
        let open_again = door(3, Some(9_000));
        assert!(!open_again.was_tried(None, None), "express orders still come");
        assert!(open_again.was_tried(seconds(0), None), "however long the backlog lasts");
        // Shut: until it opens, or a minute after the backlog.
        assert!(!door(3, None).was_tried(seconds(300), None) && !door(3, None).was_tried(seconds(300), seconds(60)));
        assert!(door(3, None).was_tried(seconds(300), seconds(61)));
        // Never shut: what is taken every two seconds would keep the backlog alive.
        assert!(!door(0, None).was_tried(seconds(60), None) && door(0, None).was_tried(seconds(61), None));
        assert!(door(0, None).was_tried(seconds(1), seconds(0)));
    }
}
