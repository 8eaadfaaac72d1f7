//! Holding the payments back: their breaker is opened by hand, as `orderflow breaker open payment` does it. A mapping that is turned
//! off alone would be turned on again by `control-breakers`, and the commands that are to wait would be consumed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use lambda_queue::breaker::{Manual, Moved, Row, State};
use order::Lane;
use orderflow::stack::{StackInfo, local_config};
use platform::{Aws, Breaker, Cloud, Names, breaker};
use ports::Dependency;

use crate::mappings::Mappings;
use crate::wait::eventually;

/// Within which the mappings follow the breaker, also where what makes them do so was just replaced: then it is the
/// schedule's next run.
const FOLLOW: Duration = Duration::from_secs(90);

/// The payment step's breaker.
pub(super) struct Payments {
    breaker: Breaker<Cloud>,
}

impl Payments {
    /// Of a running stack.
    pub(super) fn of(info: &StackInfo) -> anyhow::Result<Self> {
        let names = Names { breakers_table: info.output("BreakersTable")?.to_owned(), ..Names::default() };
        let aws = Arc::new(Aws::with(local_config(&info.endpoint), names));
        Ok(Self { breaker: breaker(&aws, Dependency::Payment).context("no breaker of payment")? })
    }

    /// Until they are released: no step begins an effect from then on, and its mappings are off when this answers.
    pub(super) async fn hold(&self, mappings: &Mappings) -> anyhow::Result<()> {
        let act = Manual::forced("make skew", "commands have to wait in the queues");
        is_now(self.breaker.open(&act, None).await.context("the breaker is not opened")?, State::Open)?;
        follow(mappings, false).await
    }

    /// Its mappings are on when this answers, and come up little by little.
    pub(super) async fn release(&self, mappings: &Mappings) -> anyhow::Result<()> {
        let act = Manual::new("make skew", "they have waited");
        is_now(self.breaker.close(&act, None).await.context("the breaker is not closed")?, State::Closed)?;
        follow(mappings, true).await
    }
}

fn is_now(moved: Moved, wanted: State) -> anyhow::Result<()> {
    let (Moved::Moved(row) | Moved::Unmoved(row)) = moved;
    let Row { state, epoch, .. } = &*row;
    ensure!(*state == wanted, "the breaker of payment is {} in epoch {epoch}", state.name());
    Ok(())
}

async fn follow(mappings: &Mappings, on: bool) -> anyhow::Result<()> {
    let how = if on { "on" } else { "off" };
    for queue in queues() {
        eventually(&format!("what feeds from {queue} is {how}"), FOLLOW, || async {
            Ok((mappings.is(&queue).await?.0 == on).then_some(()))
        })
        .await?;
    }
    Ok(())
}

/// The queues of payment commands.
pub(super) fn queues() -> impl Iterator<Item = String> {
    Lane::ALL.into_iter().map(|lane| format!("payment-{lane}"))
}
