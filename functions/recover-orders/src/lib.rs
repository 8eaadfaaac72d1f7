//! Sends again what orders owe that nobody moved in time. Runs on a schedule, emits whatever command each order owes.

use std::collections::BTreeMap;

use lambda_queue::breaker::State;
use lambda_queue::{Clock, Failure, Outgoing};
use order::{Order, OrderId};
use ports::{
    CaseClass, CommitOrder, Dependency, DueRow, FindDue, LoadOrder, MAX_NUDGES, OpenCase, ReadBreakers, SendCommands,
    SetAside, StoreError, owed, park, tell_opened, tried_to_park, unreadable,
};
use serde::Serialize;

/// What this step may touch: its IAM role grants exactly this.
pub trait Ports: FindDue + LoadOrder + CommitOrder + SetAside + OpenCase + ReadBreakers + SendCommands + Clock {}
impl<P: FindDue + LoadOrder + CommitOrder + SetAside + OpenCase + ReadBreakers + SendCommands + Clock> Ports for P {}

/// Shards of the index of open orders.
const SHARDS: u16 = 16;
/// Rows of a page, and commands sent again for one shard in one run: with the shards and the schedule the global rate,
/// 800 a minute. Rows that send nothing count for nothing: a run pages on past them.
const PER_SHARD: u32 = 50;
/// The first wait after a nudge, milliseconds; it doubles up to [`LONGEST_MS`].
const FIRST_MS: u64 = 60_000;
/// 15 minutes.
const LONGEST_MS: u64 = 15 * 60_000;
/// Entries of one `SendMessageBatch`.
const BATCH: usize = 10;
/// Nothing is started with less than this left, milliseconds.
const KEPT_MS: u64 = 3_000;

/// What a run did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Recovered {
    /// Rows that were due.
    pub due: u64,
    /// Commands sent again.
    pub sent: u64,
    /// Orders parked with a case.
    pub parked: u64,
    /// Orders whose command would meet a breaker that is not closed: `due_at` is moved, no nudge is counted.
    pub behind_breaker: u64,
    /// Rows that this program cannot read, or make sense of: put off, each with a case.
    pub set_aside: u64,
    /// Rows that had moved on, or whose command could not be sent: the next run looks again.
    pub left: u64,
}

/// One run over all shards, until the deadline (UTC milliseconds) is near.
///
/// Idempotent: a command is the same message however often it is sent. `due_at` moves only after the send, so a run that
/// dies in between sends once more.
pub async fn recover(ports: &impl Ports, deadline_ms: u64) -> Result<Recovered, Failure> {
    let mut done = Recovered::default();
    let mut breakers = Breakers::default();
    // Another shard first each minute, so that a run that is cut off leaves none behind for long.
    let first = u16::try_from(ports.now_ms() / 60_000 % u64::from(SHARDS)).unwrap_or(0);
    for shard in (0..SHARDS).map(|at| (first + at) % SHARDS) {
        let now_ms = ports.now_ms();
        if out_of_time(ports, deadline_ms) {
            tracing::warn!(shard, "out of time: the next run goes on");
            break;
        }
        let nudges = look_through(ports, shard, now_ms, deadline_ms, &mut breakers, &mut done).await?;
        let asked = nudges.len() as u64;
        let sent = send(ports, nudges).await;
        done.sent += sent;
        done.left += asked.saturating_sub(sent);
    }
    Ok(done)
}

/// Looks at the overdue rows of one shard, page by page, until there is enough to send, nothing more to look at, or no
/// time left.
async fn look_through(
    ports: &impl Ports,
    shard: u16,
    now_ms: u64,
    deadline_ms: u64,
    breakers: &mut Breakers,
    done: &mut Recovered,
) -> Result<Vec<(Order, Outgoing)>, Failure> {
    let mut nudges = Vec::new();
    let mut after: Option<DueRow> = None;
    loop {
        let page = ports.find_due(shard, now_ms, PER_SHARD, after.as_ref()).await?;
        let is_last = page.len() < PER_SHARD as usize;
        after = page.last().cloned();
        for row in page {
            if nudges.len() == PER_SHARD as usize {
                return Ok(nudges);
            }
            done.due += 1;
            if out_of_time(ports, deadline_ms) {
                done.left += 1;
                continue;
            }
            // One order's trouble is that order's: the others are recovered all the same.
            match look(ports, &row, now_ms, breakers).await {
                Ok(Look::Nudge(order, message)) => nudges.push((*order, message)),
                Ok(Look::Parked) => done.parked += 1,
                Ok(Look::BehindBreaker) => done.behind_breaker += 1,
                Ok(Look::MovedOn) => done.left += 1,
                Ok(Look::Hopeless(class, why)) => match set_aside(ports, &row, class, &why).await {
                    Ok(()) => done.set_aside += 1,
                    Err(failure) => {
                        tracing::error!(order_id = row.key, %failure, "not set aside: the next run tries again");
                        done.left += 1;
                    }
                },
                Err(failure) => {
                    tracing::error!(order_id = row.key, %failure, "not recovered");
                    done.left += 1;
                }
            }
        }
        if is_last || out_of_time(ports, deadline_ms) {
            return Ok(nudges);
        }
    }
}

fn out_of_time(ports: &impl Ports, deadline_ms: u64) -> bool {
    ports.now_ms().saturating_add(KEPT_MS) > deadline_ms
}

/// What a due row turned out to be.
enum Look {
    Nudge(Box<Order>, Outgoing),
    Parked,
    /// Put off.
    BehindBreaker,
    MovedOn,
    /// Looking again a minute later would find the same.
    Hopeless(CaseClass, String),
}

/// The breakers as this run found them, each read when it is first asked for.
#[derive(Debug, Default)]
struct Breakers(BTreeMap<Dependency, bool>);

impl Breakers {
    /// Taken for closed if it cannot be read: a command that is sent in vain does no harm.
    async fn is_closed(&mut self, ports: &impl Ports, dependency: Dependency) -> bool {
        if let Some(closed) = self.0.get(&dependency) {
            return *closed;
        }
        let closed = match ports.read_breaker(dependency).await {
            Ok(row) => row.state == State::Closed,
            Err(error) => {
                tracing::warn!(%dependency, %error, "breaker unreadable: taken for closed");
                true
            }
        };
        self.0.insert(dependency, closed);
        closed
    }
}

/// The index lags: only the row says whether it is still due.
async fn look(ports: &impl Ports, row: &DueRow, now_ms: u64, breakers: &mut Breakers) -> Result<Look, Failure> {
    let Ok(id) = row.key.parse::<OrderId>() else {
        return Ok(Look::Hopeless(CaseClass::Bug, "the row's key is no order id".to_owned()));
    };
    let order = match ports.load_order(id).await {
        Ok(Some(order)) => order,
        Ok(None) => return Ok(Look::MovedOn),
        // Written by a newer program, most likely.
        Err(StoreError::Unreadable(why)) => return Ok(Look::Hopeless(CaseClass::Skew, why)),
        Err(error) => return Err(error.into()),
    };
    if order.due_at.is_none_or(|due_at| due_at > now_ms) {
        return Ok(Look::MovedOn);
    }
    // Before anything else: what stands behind an outage is not the order's fault, and nothing sent there would move it.
    let dependency = order.next_command().and_then(|command| Dependency::of(command.step()));
    if let Some(dependency) = dependency
        && !breakers.is_closed(ports, dependency).await
    {
        let still = ports.postpone(&order, ports.now_ms().saturating_add(FIRST_MS), order.nudges).await?;
        return Ok(if still { Look::BehindBreaker } else { Look::MovedOn });
    }
    if tried_to_park(&order) {
        let why = format!("{MAX_NUDGES} nudges moved nothing");
        let parked = park(ports, &order, "recover", CaseClass::Transient, &why).await?;
        return Ok(if parked { Look::Parked } else { Look::MovedOn });
    }
    match owed(ports, &order, None).pop() {
        Some(message) => Ok(Look::Nudge(Box::new(order), message)),
        None => Ok(Look::Hopeless(CaseClass::Bug, "due, and nothing is owed".to_owned())),
    }
}

/// Opens a case for a row that cannot be dealt with, and puts it off, so that it does not hide the rows behind it. The case
/// comes first: a row that is out of sight is never without one.
async fn set_aside(ports: &impl Ports, row: &DueRow, class: CaseClass, why: &str) -> Result<(), Failure> {
    let case = unreadable(&row.key, "recover", class, why, ports.now_ms())?;
    ports.open_case(&case).await?;
    tell_opened(&case, ports.now_ms());
    let still = ports.set_aside(row, ports.now_ms().saturating_add(LONGEST_MS)).await?;
    tracing::error!(order_id = row.key, case_id = %case.case_id, why, still, "a row that cannot be recovered is set aside");
    Ok(())
}

/// Sends commands, grouped by queue, and moves the `due_at` of each that was taken. Answers how many were.
async fn send(ports: &impl Ports, nudges: Vec<(Order, Outgoing)>) -> u64 {
    let mut by_queue: BTreeMap<String, Vec<(Order, Outgoing)>> = BTreeMap::new();
    for (order, message) in nudges {
        by_queue.entry(message.queue.clone()).or_default().push((order, message));
    }
    let mut sent = 0;
    for (queue, nudges) in by_queue {
        for chunk in nudges.chunks(BATCH) {
            let messages: Vec<Outgoing> = chunk.iter().map(|(_, message)| message.clone()).collect();
            let results = ports.send(&queue, &messages).await;
            for ((order, _), result) in chunk.iter().zip(results) {
                // A command that was not taken is postponed too, so that it does not hide the rows behind it.
                let (wait_ms, nudges) = match result {
                    Ok(()) => {
                        sent += 1;
                        (wait_ms(order.nudges), order.nudges.saturating_add(1))
                    }
                    Err(why) => {
                        tracing::warn!(order_id = %order.order_id, why, "not sent: tried again in a minute");
                        (FIRST_MS, order.nudges)
                    }
                };
                match ports.postpone(order, ports.now_ms().saturating_add(wait_ms), nudges).await {
                    // Not ours any more if the version changed: then it moved, which was the purpose.
                    Ok(still) => {
                        tracing::info!(order_id = %order.order_id, version = order.version, nudges, still, "nudged")
                    }
                    Err(error) => {
                        tracing::warn!(order_id = %order.order_id, %error, "not postponed: sent once more next time")
                    }
                }
            }
        }
    }
    sent
}

fn wait_ms(nudges: u32) -> u64 {
    (FIRST_MS << nudges.min(10)).min(LONGEST_MS)
}

/// What a nudge by hand led to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Nudged {
    /// What it owes is sent.
    Sent,
    /// It owes nothing.
    NothingOwed,
    /// There is no such order.
    Unknown,
}

/// Sends what one order owes, now. A parked order is let go on first. For operators.
pub async fn nudge(ports: &impl Ports, id: OrderId) -> Result<Nudged, Failure> {
    let Some(order) = ports.load_order(id).await? else { return Ok(Nudged::Unknown) };
    let messages = if order.parked.is_some() {
        ports::settle(ports, order, &order::Outcome::Resumed, None).await?.owes
    } else {
        owed(ports, &order, None)
    };
    let Some(message) = messages.first() else { return Ok(Nudged::NothingOwed) };
    for result in ports.send(&message.queue, &messages).await {
        result.map_err(Failure::retry)?;
    }
    Ok(Nudged::Sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_quarter_of_an_hour() {
        let waits: Vec<u64> = (0..7).map(|nudges| wait_ms(nudges) / 60_000).collect();
        assert_eq!(waits, [1, 2, 4, 8, 15, 15, 15]);
        assert_eq!(wait_ms(u32::MAX), LONGEST_MS);
    }
}
