//! How late lanes are: rows of the table `breakers`, one a lane.

use std::sync::Arc;

use lambda_queue::breaker;
use lambda_queue::lag::{Place, Row, Teller};
use order::{Lane, Step};
use ports::{Dependency, LaneRows, ReadLanes, StoreError, TellLanes};

use crate::{Backend, Platform};

/// Who tells how late a step's queues are: for its batch loop.
pub fn lane_teller<B: Backend>(platform: &Arc<Platform<B>>, step: Step) -> Arc<Teller<Platform<B>>> {
    let place = move |queue: &str| {
        let lane: Lane = queue.rsplit('-').next()?.parse().ok()?;
        Some(Place { lane: lane.name().to_owned(), step: step.name().to_owned() })
    };
    Arc::new(Teller::new(Arc::clone(platform), platform.names.breakers_table.clone(), place))
}

impl<B: Backend> TellLanes for Platform<B> {}

impl<B: Backend> ReadLanes for Platform<B> {
    async fn read_lanes(&self) -> Result<LaneRows, StoreError> {
        let lanes = Lane::ALL.into_iter().map(|lane| Row::key(lane.name()));
        let called = Step::ALL.into_iter().filter_map(Dependency::of);
        let keys = lanes.chain(called.map(|dependency| breaker::Row::key(dependency.name()))).collect();
        let mut rows = LaneRows::default();
        for item in self.backend.get_all(&self.names.breakers_table, keys, false).await? {
            let of = breaker::Row::dependency_of(&item).and_then(Dependency::from_name);
            if let Some(dependency) = of {
                rows.breakers.insert(dependency, breaker::Row::from_item(dependency.name(), &item)?);
            } else if let Some(lane) = Row::lane_of(&item).and_then(|lane| lane.parse().ok()) {
                rows.lanes.insert(lane, Row::from_item(&item)?);
            }
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use lambda_queue::memory::World;
    use lambda_queue::ports::store::{Store as _, Write, number, text};

    use super::*;

    #[tokio::test]
    async fn lanes_are_read_with_the_breakers_of_those_whom_their_steps_call() {
        let platform = Platform::in_memory(World::with_tokio(1));
        let rows = [
            (Row::key("bulk"), "lag_payment", number(7)),
            (breaker::Row::key("payment"), "state", text("open")),
            (breaker::Row::key("mail"), "state", text("open")),
        ];
        for (mut item, name, value) in rows {
            item.insert(name.to_owned(), value);
            platform.backend.write(Write::put("breakers", item)).await.unwrap();
        }
        let read = platform.read_lanes().await.unwrap();
        assert_eq!(read.lanes[&Lane::Bulk].steps["payment"].lag_ms, 7);
        assert_eq!(read.breakers.keys().copied().collect::<Vec<_>>(), [Dependency::Payment]);
        assert!(read.is_recovering(Step::Payment, 1) && !read.is_recovering(Step::Shipping, 1));
    }
}
