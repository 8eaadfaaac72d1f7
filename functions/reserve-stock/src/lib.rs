//! Takes an order's lines out of the stock, or puts them back. Consumes `stock.reserve.v1` and `stock.release.v1`, emits
//! `payment.capture.v1`, `payment.void.v1` or `payment.refund.v1`.

use std::time::Duration;

use lambda_queue::{Clock, Done, Failure, Random, Record};
use order::{Command, Next, Order, Outcome, Step, transition};
use ports::{
    CommitOrder, CommitStock, Due, LoadOrder, OpenCase, SendCommands, StockCommit, StockMove, StoreError, TellLanes,
    bug, close_left_over, due, owed, parse_command, settle, skip, tried_to_park,
};

/// What this step may touch: its IAM role grants exactly this.
pub trait Ports: LoadOrder + CommitOrder + CommitStock + OpenCase + SendCommands + TellLanes + Clock + Random {}
impl<P: LoadOrder + CommitOrder + CommitStock + OpenCase + SendCommands + TellLanes + Clock + Random> Ports for P {}

/// Tries of a transaction that met another one before the queue repeats it. Orders of one popular SKU meet here.
const CONFLICTS: u32 = 5;
/// Longest pause before the second try, milliseconds; it doubles with every try.
const CONFLICT_PAUSE_MS: u64 = 20;

/// Takes one message of a stock queue.
///
/// Idempotent: lines and row change in one transaction on the row's version; a second copy finds the row ahead.
pub async fn handle(ports: &impl Ports, record: &Record) -> Result<Done, Failure> {
    let message = parse_command(&record.body, Step::Stock, record.context.receive_count, ports.now_ms())?;
    let order = match due(ports, &message).await? {
        Due::Now(order) => *order,
        Due::Finished(done) => return Ok(done),
    };
    let causation = Some(message.id.as_str());
    match message.command {
        Command::ReserveStock if order.cancel_requested => skip(ports, &order, causation).await,
        Command::ReserveStock => {
            match move_stock(ports, &order, &Outcome::Reserved, StockMove::Take, causation).await? {
                Moved::Done(done) => Ok(done),
                Moved::Short(sku) => settle(ports, order, &Outcome::OutOfStock(sku), causation).await,
            }
        }
        Command::ReleaseStock => {
            match move_stock(ports, &order, &Outcome::Released, StockMove::Return, causation).await? {
                Moved::Done(done) => Ok(done),
                Moved::Short(sku) => Err(Failure::bug(format!("no room to put {sku} back"))),
            }
        }
        Command::ValidateOrder
        | Command::AuthorizePayment
        | Command::CapturePayment
        | Command::CreateShipment
        | Command::VoidPayment
        | Command::RefundPayment => Err(Failure::bug(format!("{} is no command of stock", message.command))),
    }
}

enum Moved {
    Done(Done),
    Short(order::Sku),
}

async fn move_stock(
    ports: &impl Ports,
    order: &Order,
    outcome: &Outcome,
    way: StockMove,
    causation: Option<&str>,
) -> Result<Moved, Failure> {
    let Next::Changed(after) = transition(order, outcome, ports.now_ms()).map_err(bug)? else {
        return Ok(Moved::Done(Done::already()));
    };
    for conflict in 1..=CONFLICTS {
        match ports.commit_stock(order, &after, way).await {
            Ok(StockCommit::Done) => {
                close_left_over(ports, order, &after, tried_to_park(order)).await;
                return Ok(Moved::Done(Done::now(owed(ports, &after, causation))));
            }
            Ok(StockCommit::Lost(_)) => return Err(Failure::again("the row changed")),
            Ok(StockCommit::Short(sku)) => return Ok(Moved::Short(sku)),
            Err(StoreError::NotDone(_)) if conflict < CONFLICTS => {
                tokio::time::sleep(pause(conflict, ports)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::again("every try met another transaction"))
}

/// Full jitter: those who met once would meet again after equal pauses.
///
/// Source: <https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/>
fn pause(conflict: u32, random: &impl Random) -> Duration {
    let ceiling_ms = CONFLICT_PAUSE_MS << conflict.saturating_sub(1);
    Duration::from_millis(1 + random.below(ceiling_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Draws this share, in percent, of what it is asked for.
    struct Dice(u64);
    impl Random for Dice {
        fn below(&self, bound: u64) -> u64 {
            (bound * self.0 / 100).min(bound.saturating_sub(1))
        }
    }

    #[test]
    fn pauses_are_drawn_from_all_of_a_ceiling_that_doubles() {
        let pauses = |dice| (1..CONFLICTS).map(|conflict| pause(conflict, &dice).as_millis()).collect::<Vec<_>>();
        assert_eq!(pauses(Dice(0)), [1, 1, 1, 1]);
        assert_eq!(pauses(Dice(50)), [11, 21, 41, 81]);
        assert_eq!(pauses(Dice(100)), [20, 40, 80, 160]);
    }
}
