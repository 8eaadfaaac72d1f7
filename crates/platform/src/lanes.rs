//! How late lanes are: rows of the table `breakers`, one a lane.

use std::collections::BTreeMap;
use std::sync::Arc;

use lambda_queue::lag::{Place, Row, Teller};
use order::{Lane, Step};
use ports::{ReadLanes, StoreError, TellLanes};

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
    async fn read_lanes(&self) -> Result<BTreeMap<Lane, Row>, StoreError> {
        let keys = Lane::ALL.into_iter().map(|lane| Row::key(lane.name())).collect();
        let items = self.backend.get_all(&self.names.breakers_table, keys, false).await?;
        let lane = |item| Row::lane_of(item).and_then(|lane| lane.parse().ok());
        items
            .iter()
            .filter_map(|item| Some((lane(item)?, item)))
            .map(|(lane, item)| Ok((lane, Row::from_item(item)?)))
            .collect()
    }
}
