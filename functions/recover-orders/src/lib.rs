//! Sends again what orders owe that nobody moved in time. Runs on a schedule, emits whatever command each order owes.

use std::collections::{BTreeMap, VecDeque};

use futures::future::join_all;
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
/// Rows of a page: the shards take turns by it.
const PAGE: u32 = 50;
/// Commands sent again for one shard in one run: with the shards and the schedule the global rate, 800 a minute. Rows that
/// send nothing count for nothing: a run pages on past them.
const PER_SHARD: usize = 50;
/// Rows of a page that are looked at together. Each is a read and, behind a breaker, a write.
const AT_ONCE: usize = 10;
/// The first wait after a nudge, milliseconds; it doubles up to [`LONGEST_MS`].
const FIRST_MS: u64 = 60_000;
/// 15 minutes.
const LONGEST_MS: u64 = 15 * 60_000;
/// The longest that an order behind a breaker is put off at a time, milliseconds: so long after it closed the last of them
/// is looked at.
pub const BEHIND_BREAKER_MS: u64 = 5 * 60_000;
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
    let breakers = Breakers::read(ports).await;
    let now_ms = ports.now_ms();
    // Another shard first each minute, so that a run that is cut off leaves none behind for long.
    let first = u16::try_from(now_ms / 60_000 % u64::from(SHARDS)).unwrap_or(0);
    // A page of each in turn: one that is full of what waits behind an outage holds up none of the others.
    let mut shards: VecDeque<Shard> =
        (0..SHARDS).map(|at| Shard { id: (first + at) % SHARDS, after: None, nudged: 0 }).collect();
    while let Some(mut shard) = shards.pop_front() {
        if out_of_time(ports, deadline_ms) {
            tracing::warn!(shards = shards.len() + 1, "out of time: the next run goes on");
            break;
        }
        if shard.page(ports, now_ms, deadline_ms, &breakers, &mut done).await? {
            shards.push_back(shard);
        }
    }
    Ok(done)
}

/// How far a run has come in one shard.
struct Shard {
    id: u16,
    /// The last row that was looked at.
    after: Option<DueRow>,
    /// Commands sent again.
    nudged: usize,
}

impl Shard {
    /// Looks at the next page of its overdue rows, and sends what they owe. Answers whether there may be more to do.
    async fn page(
        &mut self,
        ports: &impl Ports,
        now_ms: u64,
        deadline_ms: u64,
        breakers: &Breakers,
        done: &mut Recovered,
    ) -> Result<bool, Failure> {
        let page = ports.find_due(self.id, now_ms, PAGE, self.after.as_ref()).await?;
        let is_last = page.len() < PAGE as usize;
        let mut nudges = Vec::new();
        let mut rows = page.as_slice();
        while !rows.is_empty() {
            let room = PER_SHARD.saturating_sub(self.nudged + nudges.len());
            if room == 0 {
                break;
            }
            if out_of_time(ports, deadline_ms) {
                done.due += rows.len() as u64;
                done.left += rows.len() as u64;
                break;
            }
            let (together, later) = rows.split_at(rows.len().min(AT_ONCE).min(room));
            rows = later;
            done.due += together.len() as u64;
            let looks = join_all(together.iter().map(|row| look(ports, row, now_ms, breakers))).await;
            for (row, look) in together.iter().zip(looks) {
                // One order's trouble is that order's: the others are recovered all the same.
                match look {
                    Ok(Look::Nudge(order, message)) => nudges.push((*order, message)),
                    Ok(Look::Parked) => done.parked += 1,
                    Ok(Look::BehindBreaker) => done.behind_breaker += 1,
                    Ok(Look::MovedOn) => done.left += 1,
                    Ok(Look::Hopeless(class, why)) => match set_aside(ports, row, class, &why).await {
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
        }
        let all_seen = rows.is_empty();
        self.nudged += nudges.len();
        self.after = page.last().cloned();
        let asked = nudges.len() as u64;
        let sent = send(ports, nudges).await;
        done.sent += sent;
        done.left += asked.saturating_sub(sent);
        Ok(all_seen && !is_last && self.nudged < PER_SHARD)
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

/// Whose breaker is not closed, as this run found it, and since when, UTC milliseconds.
#[derive(Debug, Default)]
struct Breakers(BTreeMap<Dependency, u64>);

impl Breakers {
    /// One that cannot be read is taken for closed: a command that is sent in vain does no harm.
    async fn read(ports: &impl Ports) -> Self {
        let mut away = BTreeMap::new();
        for dependency in [Dependency::Payment, Dependency::Carrier] {
            match ports.read_breaker(dependency).await {
                Ok(row) if row.state == State::Closed => {}
                Ok(row) => {
                    // A program of before did not write down since when.
                    let since_ms = if row.down_since_ms == 0 { row.opened_at_ms } else { row.down_since_ms };
                    away.insert(dependency, since_ms);
                }
                Err(error) => tracing::warn!(%dependency, %error, "breaker unreadable: taken for closed"),
            }
        }
        Self(away)
    }

    /// Until when to put off what this provider is needed for; `None` while it is there. As long again as it has been away:
    /// however many wait, and however long, each costs a write only now and then, and the last of them comes at most
    /// [`BEHIND_BREAKER_MS`] after it is back.
    fn put_off_until_ms(&self, dependency: Dependency, now_ms: u64) -> Option<u64> {
        let since_ms = self.0.get(&dependency)?;
        Some(now_ms.saturating_add(now_ms.saturating_sub(*since_ms).clamp(FIRST_MS, BEHIND_BREAKER_MS)))
    }
}

/// The index lags: only the row says whether it is still due.
async fn look(ports: &impl Ports, row: &DueRow, now_ms: u64, breakers: &Breakers) -> Result<Look, Failure> {
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
    if let Some(until_ms) = dependency.and_then(|needed| breakers.put_off_until_ms(needed, ports.now_ms())) {
        let still = ports.postpone(&order, until_ms, order.nudges).await?;
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
    fn what_waits_for_a_provider_is_put_off_for_as_long_again_as_that_has_been_away() {
        let breakers = Breakers([(Dependency::Payment, 1_000_000)].into());
        for (away_s, for_s) in [(0, 60), (59, 60), (60, 60), (150, 150), (299, 299), (301, 300), (86_400, 300)] {
            let now_ms = 1_000_000 + away_s * 1_000;
            let until_ms = breakers.put_off_until_ms(Dependency::Payment, now_ms);
            assert_eq!(until_ms, Some(now_ms + for_s * 1_000), "{away_s} s");
        }
        assert_eq!(breakers.put_off_until_ms(Dependency::Payment, 0), Some(60_000), "a clock that is behind");
        assert_eq!(breakers.put_off_until_ms(Dependency::Carrier, 2_000_000), None);
    }

    #[test]
    fn waits_double_up_to_a_quarter_of_an_hour() {
        let waits: Vec<u64> = (0..7).map(|nudges| wait_ms(nudges) / 60_000).collect();
        assert_eq!(waits, [1, 2, 4, 8, 15, 15, 15]);
        assert_eq!(wait_ms(u32::MAX), LONGEST_MS);
    }
}
