//! Sends again what orders owe that nobody moved in time. Runs on a schedule, emits whatever command each order owes.
//!
//! Two kinds of orders are due and nothing is wrong with them: those whose provider is away (`outage`), and those that stand in a
//! queue which is long (`backlog`). They are put off, and no nudge is counted.

mod backlog;
mod outage;
#[cfg(test)]
mod sample;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use futures::future::{join, join_all};
use lambda_queue::{Clock, Failure, Outgoing};
use order::{Order, OrderId, Step};
use ports::{
    CaseClass, CommitOrder, Dependency, DueRow, FindDue, LoadOrder, MAX_NUDGES, OpenCase, ReadBreakers, ReadLanes,
    SendCommands, SetAside, StoreError, owed, park, tell_opened, tried_to_park, unreadable,
};
use serde::Serialize;

use crate::backlog::Backlog;
use crate::outage::Outages;

pub use crate::backlog::BEHIND_BACKLOG_MS;
pub use crate::outage::BEHIND_BREAKER_MS;

/// What this step may touch: its IAM role grants exactly this.
pub trait Ports:
    FindDue + LoadOrder + CommitOrder + SetAside + OpenCase + ReadBreakers + ReadLanes + SendCommands + Clock
{
}
impl<P: FindDue + LoadOrder + CommitOrder + SetAside + OpenCase + ReadBreakers + ReadLanes + SendCommands + Clock> Ports
    for P
{
}

/// Shards of the index of open orders.
const SHARDS: u16 = 16;
/// Rows of a page: the shards take turns by it.
const PAGE: u32 = 50;
/// Commands sent again for one shard in one run: with the shards and the schedule the global rate, 800 a minute. Rows that
/// send nothing count for nothing: a run pages on past them.
const PER_SHARD: usize = 50;
/// Rows of a page that are looked at together. Each is a read and, where it is put off, a write.
const AT_ONCE: usize = 10;
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
    /// Commands sent again; those too that were put off behind a breaker and not due yet.
    pub sent: u64,
    /// Orders parked with a case.
    pub parked: u64,
    /// Orders whose command would meet a breaker that is not closed, or closed a moment ago: `due_at` is moved, no nudge is
    /// counted.
    pub behind_breaker: u64,
    /// Orders whose command waits in a queue that is long: `due_at` is moved, no nudge is counted.
    pub behind_backlog: u64,
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
    let now_ms = ports.now_ms();
    let (outages, backlog) = join(Outages::read(ports, now_ms), Backlog::read(ports, now_ms)).await;
    let mut run = Run { now_ms, deadline_ms, outages, backlog, done: Recovered::default() };
    // Another shard first each minute, so that a run that is cut off leaves none behind for long.
    let first = u16::try_from(now_ms / 60_000 % u64::from(SHARDS)).unwrap_or(0);
    let shards = (0..SHARDS).map(|at| Shard { id: (first + at) % SHARDS, reach: Reach::Due, after: None, nudged: 0 });
    let shards = run.sweep(ports, shards.collect()).await?;
    // Then what was put off behind a breaker that has closed: it might be due minutes after the next run.
    if !run.due(Reach::PutOff).is_empty() {
        let shards = shards.into_iter().map(|shard| Shard { reach: Reach::PutOff, after: None, ..shard });
        run.sweep(ports, shards.collect()).await?;
    }
    Ok(run.done)
}

/// One run.
struct Run {
    /// When it began, before anything was read.
    now_ms: u64,
    deadline_ms: u64,
    outages: Outages,
    backlog: Backlog,
    done: Recovered,
}

/// Which rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reach {
    /// That are due.
    Due,
    /// That are not, and were put off behind a breaker that has closed since.
    PutOff,
}

/// How far a run has come in one shard.
struct Shard {
    id: u16,
    reach: Reach,
    /// The last row that was looked at.
    after: Option<DueRow>,
    /// Commands sent again.
    nudged: usize,
}

impl Run {
    /// Goes through these shards, a page of each in turn: one that is full of what is put off holds up none of the others.
    /// Answers those that it came to the end of.
    async fn sweep(&mut self, ports: &impl Ports, mut shards: VecDeque<Shard>) -> Result<Vec<Shard>, Failure> {
        let mut ended = Vec::new();
        while let Some(mut shard) = shards.pop_front() {
            if self.is_out_of_time(ports) {
                tracing::warn!(shards = shards.len() + 1, "out of time: the next run goes on");
                break;
            }
            if self.page(ports, &mut shard).await? {
                shards.push_back(shard);
            } else {
                ended.push(shard);
            }
        }
        Ok(ended)
    }

    fn is_out_of_time(&self, ports: &impl Ports) -> bool {
        ports.now_ms().saturating_add(KEPT_MS) > self.deadline_ms
    }

    fn due(&self, reach: Reach) -> Range<u64> {
        match reach {
            Reach::Due => 0..self.now_ms,
            Reach::PutOff => {
                self.outages.put_off(self.now_ms, |back, closed_ms| self.backlog.has_told(back, closed_ms))
            }
        }
    }

    /// Until when to wait with an order whose provider has just come back: until its queue is read from again, what it owes
    /// stands there most likely, and nobody can tell by how much that is late. And so many nudges as would give it up say
    /// nothing yet.
    fn settles_until_ms(&self, order: &Order, step: Step, back: Dependency) -> Option<u64> {
        let (closed_ms, until_ms) = self.outages.settles(back, self.now_ms)?;
        let is_read_from = self.backlog.has_told_of(order.lane, step, closed_ms);
        (!is_read_from || tried_to_park(order)).then_some(until_ms)
    }

    /// Looks at the next page of a shard's rows, and sends what they owe. Answers whether there may be more to do.
    async fn page(&mut self, ports: &impl Ports, shard: &mut Shard) -> Result<bool, Failure> {
        let page = ports.find_due(shard.id, self.due(shard.reach), PAGE, shard.after.as_ref()).await?;
        let is_last = page.len() < PAGE as usize;
        let mut nudges = Vec::new();
        let mut rows = page.as_slice();
        while !rows.is_empty() {
            let room = PER_SHARD.saturating_sub(shard.nudged + nudges.len());
            if room == 0 {
                break;
            }
            if self.is_out_of_time(ports) {
                if shard.reach == Reach::Due {
                    self.done.due += rows.len() as u64;
                    self.done.left += rows.len() as u64;
                }
                break;
            }
            let (together, later) = rows.split_at(rows.len().min(AT_ONCE).min(room));
            rows = later;
            if shard.reach == Reach::Due {
                self.done.due += together.len() as u64;
            }
            let looks = join_all(together.iter().map(|row| self.look(ports, row, shard.reach))).await;
            for (row, look) in together.iter().zip(looks) {
                // One order's trouble is that order's: the others are recovered all the same.
                match look {
                    Ok(Look::Nudge(order, message)) => nudges.push((*order, message)),
                    Ok(Look::Parked) => self.done.parked += 1,
                    Ok(Look::BehindBreaker) => self.done.behind_breaker += 1,
                    Ok(Look::BehindBacklog) => self.done.behind_backlog += 1,
                    Ok(Look::MovedOn) => self.done.left += 1,
                    Ok(Look::InItsOwnTime) => {}
                    Ok(Look::Hopeless(class, why)) => match set_aside(ports, row, class, &why).await {
                        Ok(()) => self.done.set_aside += 1,
                        Err(failure) => {
                            tracing::error!(order_id = row.key, %failure, "not set aside: the next run tries again");
                            self.done.left += 1;
                        }
                    },
                    Err(failure) => {
                        tracing::error!(order_id = row.key, %failure, "not recovered");
                        self.done.left += 1;
                    }
                }
            }
        }
        let all_seen = rows.is_empty();
        shard.nudged += nudges.len();
        shard.after = page.last().cloned();
        let asked = nudges.len() as u64;
        let sent = send(ports, nudges).await;
        self.done.sent += sent;
        self.done.left += asked.saturating_sub(sent);
        Ok(all_seen && !is_last && shard.nudged < PER_SHARD)
    }

    /// The index lags: only the row says whether it is still due.
    async fn look(&self, ports: &impl Ports, row: &DueRow, reach: Reach) -> Result<Look, Failure> {
        let order = match load(ports, row).await? {
            Found::Order(order) => order,
            // Of what is not due nothing has to be made sense of.
            Found::Gone | Found::Hopeless(..) if reach == Reach::PutOff => return Ok(Look::InItsOwnTime),
            Found::Gone => return Ok(Look::MovedOn),
            Found::Hopeless(class, why) => return Ok(Look::Hopeless(class, why)),
        };
        let step = order.next_command().map(order::Command::step);
        let dependency = step.and_then(Dependency::of);
        match reach {
            Reach::Due if order.due_at.is_none_or(|due_at| due_at > self.now_ms) => return Ok(Look::MovedOn),
            Reach::Due => {}
            Reach::PutOff => {
                // By the time now, not the run's: what this very run has sent again is not sent once more.
                let now_ms = ports.now_ms();
                let is_back = |needed| self.outages.is_back_for(needed, &order, now_ms);
                if order.due_at != Some(row.due_at_ms) || !dependency.is_some_and(is_back) {
                    return Ok(Look::InItsOwnTime);
                }
            }
        }
        // Before anything else: what stands behind an outage is not the order's fault, and nothing sent there would move it.
        let away = |needed| self.outages.put_off_until_ms(needed, order.nudges, self.now_ms);
        let settles = |(step, needed)| self.settles_until_ms(&order, step, needed);
        // Nor is what stands in a long queue: a second message would make it longer. Right after an outage for a minute at a
        // time, so that the look past what is due does not lose it.
        let is_back = dependency.is_some_and(|needed| self.outages.is_back(needed));
        let most_ms = if is_back { FIRST_MS } else { BEHIND_BACKLOG_MS };
        let stands = |step| self.backlog.put_off_until_ms(&order, step, self.now_ms, most_ms);
        let behind_breaker = dependency.and_then(away).or_else(|| step.zip(dependency).and_then(settles));
        let waits = behind_breaker
            .map(|until_ms| (until_ms, Look::BehindBreaker))
            .or_else(|| step.and_then(stands).map(|until_ms| (until_ms, Look::BehindBacklog)));
        if let Some((until_ms, behind)) = waits {
            if reach == Reach::PutOff {
                return Ok(Look::InItsOwnTime);
            }
            let still = ports.postpone(&order, until_ms, order.nudges).await?;
            return Ok(if still { behind } else { Look::MovedOn });
        }
        if tried_to_park(&order) {
            // Nobody is given up before his time.
            if reach == Reach::PutOff {
                return Ok(Look::InItsOwnTime);
            }
            let why = format!("{MAX_NUDGES} nudges moved nothing");
            let parked = park(ports, &order, "recover", CaseClass::Transient, &why).await?;
            return Ok(if parked { Look::Parked } else { Look::MovedOn });
        }
        match owed(ports, &order, None).pop() {
            Some(message) => Ok(Look::Nudge(order, message)),
            None => Ok(Look::Hopeless(CaseClass::Bug, "due, and nothing is owed".to_owned())),
        }
    }
}

/// What a row turned out to be.
enum Look {
    Nudge(Box<Order>, Outgoing),
    Parked,
    /// Put off.
    BehindBreaker,
    /// Put off.
    BehindBacklog,
    MovedOn,
    /// It is not due, and nobody put it off behind a breaker that has closed; or it has to wait all the same.
    InItsOwnTime,
    /// Looking again a minute later would find the same.
    Hopeless(CaseClass, String),
}

/// What stands behind a row of the index.
enum Found {
    Order(Box<Order>),
    Gone,
    /// No order that this program can read.
    Hopeless(CaseClass, String),
}

async fn load(ports: &impl LoadOrder, row: &DueRow) -> Result<Found, Failure> {
    let Ok(id) = row.key.parse::<OrderId>() else {
        return Ok(Found::Hopeless(CaseClass::Bug, "the row's key is no order id".to_owned()));
    };
    match ports.load_order(id).await {
        Ok(Some(order)) => Ok(Found::Order(Box::new(order))),
        Ok(None) => Ok(Found::Gone),
        // Written by a newer program, most likely.
        Err(StoreError::Unreadable(why)) => Ok(Found::Hopeless(CaseClass::Skew, why)),
        Err(error) => Err(error.into()),
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
