//! Takes an order's lines out of the stock, or puts them back. Consumes `stock.reserve.v1` and `stock.release.v1`, emits
//! `payment.capture.v1`, `payment.void.v1` or `payment.refund.v1`.

use std::time::Duration;

use lambda_queue::{Clock, Done, Failure, Record};
use order::{Command, Next, Order, Outcome, Step, transition};
use ports::{
    CommitOrder, CommitStock, Due, LoadOrder, SendCommands, StockCommit, StockMove, StoreError, bug, due, owed,
    parse_command, settle, skip,
};

/// What this step may touch: its IAM role grants exactly this.
pub trait Ports: LoadOrder + CommitOrder + CommitStock + SendCommands + Clock {}
impl<P: LoadOrder + CommitOrder + CommitStock + SendCommands + Clock> Ports for P {}

/// Tries of a transaction that met another one before the queue repeats it. Orders of one popular SKU meet here.
const CONFLICTS: u64 = 5;
/// Pause before the next try, milliseconds, times the try.
const CONFLICT_PAUSE_MS: u64 = 15;

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
            Ok(StockCommit::Done) => return Ok(Moved::Done(Done::now(owed(ports, &after, causation)))),
            Ok(StockCommit::Lost(_)) => return Err(Failure::again("the row changed")),
            Ok(StockCommit::Short(sku)) => return Ok(Moved::Short(sku)),
            Err(StoreError::NotDone(_)) if conflict < CONFLICTS => {
                tokio::time::sleep(Duration::from_millis(CONFLICT_PAUSE_MS * conflict)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::again("every try met another transaction"))
}
