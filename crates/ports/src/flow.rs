//! The skeleton of a command step: is it due, run its effect once, commit the outcome, owe the next command.

use std::future::Future;
use std::time::Duration;

use lambda_queue::idempotency::{Claimed, EffectKey, Ended, LEASE_PAST_DEADLINE_MS, Lease, MAX_ATTEMPTS};
use lambda_queue::{Clock, Done, Failure, Outgoing, RecordContext};
use order::{Bug, CaseId, EventKind, Next, Order, OrderId, Outcome, Parked, transition};
use uuid::Uuid;

use crate::{
    Case, CaseClass, CaseKind, CommandMessage, Commit, CommitOrder, EffectCommit, EffectEnd, Effects, Gate, LoadOrder,
    OpenCase, ProviderError, SendCommands, Skip, StoreError, command_message_in, fingerprint, tell_opened,
};

/// How often a commit follows a row that moves under it, or a table that is busy.
const RACES: u32 = 6;
/// Before the next try of a busy table, milliseconds, times the try.
const RACE_PAUSE_MS: u64 = 20;
/// Nudges without a new version before recovery opens a case and parks the order.
pub const MAX_NUDGES: u32 = 10;
/// Before an effect that was called off is skipped.
const CALLED_OFF: Duration = Duration::from_secs(1);
/// The longest call to a provider, milliseconds.
pub const PROVIDER_CALL_MS: u64 = 5_000;

/// Whether a message still asks for something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Due {
    /// The row owes exactly this command.
    Now(Box<Order>),
    /// It does not: acknowledge, after sending again what the row owes, if this message's own work may have failed to.
    Finished(Done),
}

/// Reads the row and compares it with the message: act on the message's own version; send again what the very next
/// version owes (the send after that commit may have failed); acknowledge everything older.
pub async fn due<P: LoadOrder + SendCommands + Clock>(ports: &P, message: &CommandMessage) -> Result<Due, Failure> {
    let Some(order) = ports.load_order(message.data.order_id).await? else {
        return Err(Failure::Poison { reason: "no such order".to_owned() });
    };
    let version = message.data.version;
    if order.version < version {
        return Err(Failure::bug(format!("message of version {version}, row of version {}", order.version)));
    }
    if order.version == version && order.next_command() == Some(message.command) {
        return Ok(Due::Now(Box::new(order)));
    }
    let next = order.version == version.saturating_add(1);
    let owes = if next { owed(ports, &order, Some(&message.id)) } else { Vec::new() };
    Ok(Due::Finished(if owes.is_empty() { Done::already() } else { Done::resent(owes) }))
}

/// The message that the row owes, if any, in the version that the stack sends.
pub fn owed<P: SendCommands + Clock>(ports: &P, order: &Order, causation: Option<&str>) -> Vec<Outgoing> {
    command_message_in(ports.command_version(), order, causation, ports.now_ms()).into_iter().collect()
}

/// Commits an outcome that needs nothing but the row: whatever version the row has got to, the outcome is applied to it.
/// Closes the case that the order leaves behind, as [`close_left_over`] says; without one that is no call.
pub async fn settle<P: CommitOrder + OpenCase + SendCommands + Clock>(
    ports: &P,
    order: Order,
    outcome: &Outcome,
    causation: Option<&str>,
) -> Result<Done, Failure> {
    let mut before = order;
    for _ in 0..RACES {
        let after = match transition(&before, outcome, ports.now_ms()).map_err(bug)? {
            Next::Changed(after) => *after,
            Next::Absorbed => return Ok(Done::resent(owed(ports, &before, causation))),
        };
        match ports.commit_order(&before, &after).await? {
            Commit::Done => {
                close_left_over(ports, &before, &after, tried_to_park(&before)).await;
                return Ok(Done::now(owed(ports, &after, causation)));
            }
            Commit::Lost(row) => before = *row,
        }
    }
    Err(Failure::again("the row changed under every try"))
}

/// Ends a step that a cancel came before and that has no effect outside: one commit, on the row as it was read. A row
/// that changed meanwhile has to be read again, as the effect may have started.
pub async fn skip<P: CommitOrder + OpenCase + SendCommands + Clock>(
    ports: &P,
    order: &Order,
    causation: Option<&str>,
) -> Result<Done, Failure> {
    let Next::Changed(after) = transition(order, &Outcome::Skipped, ports.now_ms()).map_err(bug)? else {
        return Ok(Done::already());
    };
    match ports.commit_order(order, &after).await? {
        Commit::Done => {
            close_left_over(ports, order, &after, tried_to_park(order)).await;
            Ok(Done::now(owed(ports, &after, causation)))
        }
        Commit::Lost(_) => Err(Failure::again("the row changed")),
    }
}

/// An outcome that cannot have happened, as a failure.
pub fn bug(bug: Bug) -> Failure {
    Failure::bug(bug)
}

/// Why an effect did not come to an outcome.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stop {
    /// This attempt surely did not run. The lease is given back, or, where an earlier attempt is in doubt, ended in doubt:
    /// what is known of this attempt says nothing about that one.
    NotRun {
        /// What the provider asked to wait.
        retry_after: Option<Duration>,
        /// For the log.
        why: String,
    },
    /// It may have run: the record stays in doubt.
    InDoubt {
        /// For the log.
        why: String,
    },
    /// A look-up proved that no attempt had the effect, and it is not wanted any more: the lease is given back, and the next
    /// receive skips the effect for good.
    CalledOff {
        /// For the log.
        why: String,
    },
    /// The request is refused and always will be, until somebody mends program or settings: loud. Given back, unless an
    /// earlier attempt is in doubt: then it stays so.
    Refused {
        /// For the log.
        why: String,
    },
    /// The provider's state fits no outcome: a person has to look.
    Stuck {
        /// For the operator.
        why: String,
    },
    /// The records themselves failed.
    Failed(Failure),
}

impl From<ProviderError> for Stop {
    fn from(error: ProviderError) -> Self {
        match error {
            ProviderError::NotRun { retry_after, why } | ProviderError::Throttled { retry_after, why } => {
                Self::NotRun { retry_after, why }
            }
            ProviderError::Unknown { why } | ProviderError::Failed { why } | ProviderError::WrongState { why } => {
                Self::InDoubt { why }
            }
            ProviderError::Refused { why } => Self::Refused { why },
        }
    }
}

impl Stop {
    /// A look-up that failed while an effect is in doubt: whatever the reason, the doubt stays.
    pub fn still_in_doubt(error: ProviderError) -> Self {
        Self::InDoubt { why: format!("look-up failed: {error}") }
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// One effect of one order.
#[derive(Clone, Debug)]
pub struct EffectRun<'a> {
    /// Its key.
    pub key: EffectKey,
    /// Whether a cancel that comes before the effect started makes it not start.
    pub skippable: bool,
    /// How long after a lost answer the provider may still be working, milliseconds.
    pub settle_ms: u64,
    /// The step, for a case.
    pub step: &'static str,
    /// The message that asks for it.
    pub message: &'a CommandMessage,
    /// When and how it came.
    pub context: &'a RecordContext,
}

/// Runs an effect once and commits its outcome.
///
/// `effect` gets the lease and whether an earlier attempt is in doubt: then it has to look the effect up before it does
/// anything else. Idempotency: records of the table `idempotency`, see [`lambda_queue::idempotency`].
///
/// Behind an open breaker (`gate`, the provider's) nothing is claimed: a receive that met one is no attempt.
pub async fn run_effect<P, G, F, W>(
    ports: &P,
    gate: &G,
    order: Order,
    run: EffectRun<'_>,
    effect: F,
) -> Result<Done, Failure>
where
    P: Effects + OpenCase + LoadOrder + CommitOrder + SendCommands + Clock,
    G: Gate,
    F: FnOnce(Lease, bool) -> W,
    W: Future<Output = Result<Outcome, Stop>>,
{
    let causation = Some(run.message.id.as_str());
    if run.skippable && order.cancel_requested {
        let Next::Changed(after) = transition(&order, &Outcome::Skipped, ports.now_ms()).map_err(bug)? else {
            return Ok(Done::already());
        };
        match ports.skip_effect(&run.key, &order, &after).await? {
            Skip::Done => {
                close_left_over(ports, &order, &after, tried_to_park(&order)).await;
                return Ok(Done::now(owed(ports, &after, causation)));
            }
            Skip::Lost(_) => return Err(Failure::again("the row changed")),
            Skip::Started => {}
        }
    }
    if !time_for_call(ports, run.context) {
        return Err(Failure::Defer { until_ms: ports.now_ms(), why: "too little time left to call out".into() });
    }
    gate.gate().await?;
    let lease_until_ms = run.context.deadline_ms.saturating_add(LEASE_PAST_DEADLINE_MS);
    let (lease, in_doubt) = match ports.claim(&run.key, lease_until_ms, run.settle_ms).await? {
        Claimed::Fresh(lease) => (lease, false),
        Claimed::InDoubt(lease) => (lease, true),
        Claimed::Held { until_ms, live } => {
            return Err(held(until_ms, live));
        }
        // Ended in one transaction with the row: so the row has moved on since it was read.
        Claimed::Completed | Claimed::Skipped => {
            return Err(Failure::again("the effect is settled: read the row again"));
        }
        Claimed::Busy { operation } => return Err(Failure::retry(format!("the record is busy with {operation}"))),
    };
    let in_vain = format!("{MAX_ATTEMPTS} attempts at {} came to nothing", run.key.operation);
    if lease.attempts > MAX_ATTEMPTS {
        // Whoever made the last one died with it, or it would have said why.
        return park_effect(ports, &lease, &order, &run, EffectEnd::Parked, &Why::of(&order, &in_vain)).await;
    }
    let is_last = lease.attempts == MAX_ATTEMPTS;
    match effect(lease.clone(), in_doubt).await {
        Ok(outcome) => commit(ports, &lease, order, &outcome, causation).await,
        Err(Stop::NotRun { retry_after, why }) if in_doubt => {
            if ports.leave_in_doubt(&lease).await? == Ended::LeaseLost {
                return Err(Failure::again("the lease was taken over"));
            }
            // Nobody may look before that.
            let settle = Duration::from_millis(run.settle_ms);
            Err(Failure::Retry { after: Some(retry_after.unwrap_or_default().max(settle)), why })
        }
        Err(Stop::NotRun { retry_after, why }) => {
            ports.free(&lease, false).await?;
            Err(Failure::Retry { after: retry_after, why })
        }
        Err(Stop::CalledOff { why }) => {
            ports.free(&lease, false).await?;
            Err(Failure::Retry { after: Some(CALLED_OFF), why })
        }
        Err(Stop::InDoubt { why }) if is_last => {
            let words = format!("{in_vain}, the last: {why}");
            park_effect(ports, &lease, &order, &run, EffectEnd::ParkedInDoubt, &Why::of(&order, &words)).await
        }
        Err(Stop::InDoubt { why }) => Err(Failure::Unknown {
            key: lease.provider_key(),
            until_ms: lease.until_ms.saturating_add(run.settle_ms),
            why,
        }),
        Err(Stop::Refused { why }) if is_last => {
            // Whatever is asked of the provider, it is our request that is at fault: one cause over all commands.
            let cause = format!("the provider refuses the request: {why}");
            let words = format!("{in_vain}, the last: {cause}");
            let why = Why { code: "refused", cause: &cause, words: &words };
            park_effect(ports, &lease, &order, &run, EffectEnd::Parked, &why).await
        }
        Err(Stop::Refused { why }) => {
            if !in_doubt {
                ports.free(&lease, true).await?;
            }
            Err(Failure::bug(format!("the provider refuses the request: {why}")))
        }
        Err(Stop::Stuck { why }) => {
            park_effect(ports, &lease, &order, &run, EffectEnd::Parked, &Why::of(&order, &why)).await
        }
        Err(Stop::Failed(failure)) => Err(failure),
    }
}

/// Whether a provider call that takes its longest still ends in the handler's time.
pub fn time_for_call<P: Clock>(ports: &P, context: &RecordContext) -> bool {
    ports.now_ms().saturating_add(PROVIDER_CALL_MS) <= context.handler_deadline_ms
}

/// When a message that met a held lease comes back. A holder at work mostly ends in a fraction of a second, though its
/// lease is for the whole invocation: so soon, and never later than a look-up is allowed. Behind a doubt it waits for that
/// look-up.
fn held(until_ms: u64, live: bool) -> Failure {
    if live {
        Failure::busy(until_ms, "another worker is at it")
    } else {
        Failure::Defer { until_ms, why: "it is in doubt, and too early to look it up".to_owned() }
    }
}

/// Commits an effect's outcome to the row that it finds, and completes the record with it.
async fn commit<P: Effects + OpenCase + SendCommands + Clock>(
    ports: &P,
    lease: &Lease,
    order: Order,
    outcome: &Outcome,
    causation: Option<&str>,
) -> Result<Done, Failure> {
    let mut before = order;
    for race in 1..=RACES {
        let after = match transition(&before, outcome, ports.now_ms()).map_err(bug)? {
            Next::Changed(after) => *after,
            // The row has the receipt: only the record is left to complete.
            Next::Absorbed => before.clone(),
        };
        match ports.commit_effect(lease, EffectEnd::Completed, &before, &after).await {
            Ok(EffectCommit::Done) => {
                // An earlier attempt, or recovery, may have opened a case and died before it parked the order.
                let suspect = lease.attempts > 1 || before.nudges > 0;
                close_left_over(ports, &before, &after, suspect).await;
                return Ok(Done::now(owed(ports, &after, causation)));
            }
            Ok(EffectCommit::Lost(row)) => before = *row,
            Ok(EffectCommit::LeaseLost) => return Err(Failure::again("the lease was taken over")),
            // The effect stands: a busy table is worth another try now, else it would wait to be looked up. So is a doubt: if
            // the commit had landed, the row absorbs the outcome, and the record knows its owner.
            Err(StoreError::NotDone(_) | StoreError::Unknown(_)) if race < RACES => {
                tokio::time::sleep(Duration::from_millis(RACE_PAUSE_MS * u64::from(race))).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::again("the row changed under every try"))
}

/// Why an order is parked.
struct Why<'a> {
    /// What tells its group, with the cause: the command, where it matters which.
    code: &'a str,
    /// What groups it with others.
    cause: &'a str,
    /// What an operator reads.
    words: &'a str,
}

impl<'a> Why<'a> {
    fn of(order: &Order, words: &'a str) -> Self {
        Self { code: order.next_command().map_or("none", order::Command::name), cause: words, words }
    }
}

/// Opens a case and parks the order with its effect.
async fn park_effect<P: Effects + OpenCase + LoadOrder + Clock>(
    ports: &P,
    lease: &Lease,
    order: &Order,
    run: &EffectRun<'_>,
    end: EffectEnd,
    why: &Why<'_>,
) -> Result<Done, Failure> {
    let (case, after) = parked(order, run.step, CaseClass::Transient, why, &lease.owner, ports.now_ms())?;
    open(ports, &case, order).await?;
    let row = match ports.commit_effect(lease, end, order, &after).await? {
        EffectCommit::Done => {
            let why = why.words;
            tracing::error!(order_id = %order.order_id, case_id = %case.case_id, step = run.step, why, "order parked");
            tell_opened(&case, ports.now_ms());
            return Ok(Done::now(Vec::new()));
        }
        EffectCommit::Lost(row) => Some(*row),
        EffectCommit::LeaseLost => ports.load_order(order.order_id).await?,
    };
    withdraw(ports, &case, row.as_ref()).await?;
    Err(Failure::again("the row changed while parking"))
}

/// Opens a case and parks an order that is in no effect. Answers whether the row was still the one given.
pub async fn park<P: CommitOrder + OpenCase + Clock>(
    ports: &P,
    order: &Order,
    step: &str,
    class: CaseClass,
    why: &str,
) -> Result<bool, Failure> {
    let (case, after) = parked(order, step, class, &Why::of(order, why), step, ports.now_ms())?;
    open(ports, &case, order).await?;
    match ports.commit_order(order, &after).await? {
        Commit::Done => {
            tracing::error!(order_id = %order.order_id, case_id = %case.case_id, step, why, "order parked");
            tell_opened(&case, ports.now_ms());
            Ok(true)
        }
        Commit::Lost(row) => {
            withdraw(ports, &case, Some(&row)).await?;
            Ok(false)
        }
    }
}

/// Opens the case of an order's next parking. The one before was closed when the order was let go on; if whoever did that
/// died before it came to it, it is closed now.
async fn open<P: OpenCase>(ports: &P, case: &Case, order: &Order) -> Result<(), Failure> {
    if let Some(last) = parkings(order).checked_sub(1) {
        ports.supersede_case(&parking_case(order, last)?, order.version).await?;
    }
    Ok(ports.open_case(case).await?)
}

/// Closes a case whose parking came to nothing. The row it lost to may be parked with this very case, by another who met
/// the same trouble: then it stands.
async fn withdraw<P: OpenCase>(ports: &P, case: &Case, row: Option<&Order>) -> Result<(), StoreError> {
    let parked = row.and_then(|row| row.parked.as_ref());
    if parked.is_some_and(|parked| parked.case_id == case.case_id) {
        return Ok(());
    }
    ports.withdraw_case(case).await
}

/// After an order has moved on: closes the case it was parked with, or, with `suspect`, the one that an attempt at parking
/// may have left when it died. What cannot be closed is logged, and closed with the next parking or by an operator: the
/// order has moved on, and its message is not to be repeated for this.
pub async fn close_left_over<P: OpenCase>(ports: &P, before: &Order, after: &Order, suspect: bool) {
    let case_id = match (&before.parked, &after.parked) {
        (Some(parked), None) => Ok(parked.case_id.clone()),
        (None, None) if suspect => parking_case(before, parkings(before)),
        (Some(_) | None, _) => return,
    };
    let closed = match case_id {
        Ok(case_id) => ports.supersede_case(&case_id, after.version).await.map_err(Failure::from),
        Err(failure) => Err(failure),
    };
    if let Err(failure) = closed {
        tracing::warn!(order_id = %after.order_id, %failure, "a case that no parked order has may be open");
    }
}

/// Whether recovery may have begun to park the order as this row shows it: it does after so many nudges, which are counted
/// on the row and begin anew with its next version.
pub fn tried_to_park(order: &Order) -> bool {
    order.nudges >= MAX_NUDGES
}

/// The namespace of case ids.
const CASES: Uuid =
    Uuid::from_bytes([0x8f, 0x0c, 0x53, 0x6a, 0x1b, 0x7d, 0x5e, 0x02, 0xa6, 0x44, 0x9d, 0x3c, 0x70, 0xe1, 0x2b, 0x58]);

fn case_id(name: &str) -> Result<CaseId, Failure> {
    Uuid::new_v5(&CASES, name.as_bytes()).to_string().parse().map_err(Failure::bug)
}

/// How often the order was parked.
fn parkings(order: &Order) -> usize {
    order.timeline.iter().filter(|entry| entry.event == EventKind::Parked).count()
}

/// The case of an order's n-th parking, counted from 0: the same one at whatever version and by whomever it is tried, so
/// that however many tries die or lose, there is one case.
fn parking_case(order: &Order, nth: usize) -> Result<CaseId, Failure> {
    case_id(&format!("{}/parking/{nth}", order.order_id))
}

/// The case of a message that was given up, by the dead-letter queue that it came to and the id that it had first. The
/// dead-letter queue stands for those that feed it: it is known where nobody wrote down which of them it was.
pub fn dead_letter_case(dead_letter_queue: &str, message_id: &str) -> Result<CaseId, Failure> {
    case_id(&format!("{dead_letter_queue}/dead/{message_id}"))
}

/// The case of a difference between the provider's ledger and an order's row: by the order, the kind of difference, and the
/// payment or refund that it is about, so that however often it is found there is one case.
pub fn difference_case(order_id: OrderId, kind: &str, about: &str) -> Result<CaseId, Failure> {
    case_id(&format!("{order_id}/difference/{kind}/{about}"))
}

/// The case of a row that cannot be dealt with: one a row.
pub fn unreadable(key: &str, step: &str, class: CaseClass, why: &str, now_ms: u64) -> Result<Case, Failure> {
    Ok(Case {
        case_id: case_id(&format!("{key}/unreadable"))?,
        kind: CaseKind::Unreadable,
        attempt: step.to_owned(),
        row_version: 0,
        fingerprint: fingerprint(step, &format!("unreadable-{}", class.name()), why),
        class,
        step: step.to_owned(),
        order_id: key.to_owned(),
        tenant: None,
        digest: why.to_owned(),
        opened_at_ms: now_ms,
        letter: None,
    })
}

fn parked(
    order: &Order,
    step: &str,
    class: CaseClass,
    why: &Why<'_>,
    who: &str,
    now_ms: u64,
) -> Result<(Case, Order), Failure> {
    let case_id = parking_case(order, parkings(order))?;
    let parked = Parked { case_id: case_id.clone(), reason: why.words.to_owned(), at_ms: now_ms, abandoned: false };
    let Next::Changed(after) = transition(order, &Outcome::Parked(parked), now_ms).map_err(bug)? else {
        return Err(Failure::again("nothing is owed any more: nothing to park"));
    };
    let case = Case {
        case_id,
        kind: CaseKind::Parked,
        attempt: format!("{}/{who}", order.version),
        row_version: order.version,
        fingerprint: fingerprint(step, why.code, why.cause),
        class,
        step: step.to_owned(),
        order_id: order.order_id.to_string(),
        tenant: Some(order.tenant.clone()),
        digest: why.words.to_owned(),
        opened_at_ms: now_ms,
        letter: None,
    };
    Ok((case, *after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_a_worker_a_message_is_busy_and_behind_a_doubt_it_waits_for_the_look_up() {
        assert!(matches!(held(50_000, true), Failure::Busy { until_ms: 50_000, .. }));
        assert!(matches!(held(50_000, false), Failure::Defer { until_ms: 50_000, .. }));
    }
}
