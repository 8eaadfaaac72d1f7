//! The skeleton of a command step: is it due, run its effect once, commit the outcome, owe the next command.

use std::future::Future;
use std::time::Duration;

use lambda_queue::idempotency::{Claimed, EffectKey, LEASE_PAST_DEADLINE_MS, Lease, MAX_ATTEMPTS};
use lambda_queue::{Clock, Done, Failure, Outgoing, RecordContext};
use order::{Bug, CaseId, Next, Order, Outcome, Parked, transition};
use uuid::Uuid;

use crate::{
    Case, CaseClass, CommandMessage, Commit, CommitOrder, EffectCommit, EffectEnd, Effects, LoadOrder, OpenCase,
    ProviderError, Skip, StoreError, command_message,
};

/// How often a commit follows a row that moves under it, or a table that is busy.
const RACES: u32 = 6;
/// Before the next try of a busy table, milliseconds, times the try.
const RACE_PAUSE_MS: u64 = 20;
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
pub async fn due<P: LoadOrder + Clock>(ports: &P, message: &CommandMessage) -> Result<Due, Failure> {
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

/// The message that the row owes, if any.
pub fn owed<P: Clock>(ports: &P, order: &Order, causation: Option<&str>) -> Vec<Outgoing> {
    command_message(order, causation, ports.now_ms()).into_iter().collect()
}

/// Commits an outcome that needs nothing but the row: whatever version the row has got to, the outcome is applied to it.
pub async fn settle<P: CommitOrder + Clock>(
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
            Commit::Done => return Ok(Done::now(owed(ports, &after, causation))),
            Commit::Lost(row) => before = *row,
        }
    }
    Err(Failure::again("the row changed under every try"))
}

/// Ends a step that a cancel came before and that has no effect outside: one commit, on the row as it was read. A row
/// that changed meanwhile has to be read again, as the effect may have started.
pub async fn skip<P: CommitOrder + Clock>(ports: &P, order: &Order, causation: Option<&str>) -> Result<Done, Failure> {
    let Next::Changed(after) = transition(order, &Outcome::Skipped, ports.now_ms()).map_err(bug)? else {
        return Ok(Done::already());
    };
    match ports.commit_order(order, &after).await? {
        Commit::Done => Ok(Done::now(owed(ports, &after, causation))),
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
    /// It surely did not run: the lease is given back.
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
    /// The request is refused and always will be, until somebody mends program or settings: given back, loudly.
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
            ProviderError::NotRun { retry_after, why } => Self::NotRun { retry_after, why },
            ProviderError::Unknown { why } | ProviderError::WrongState { why } => Self::InDoubt { why },
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
pub async fn run_effect<P, F, W>(ports: &P, order: Order, run: EffectRun<'_>, effect: F) -> Result<Done, Failure>
where
    P: Effects + OpenCase + CommitOrder + Clock,
    F: FnOnce(Lease, bool) -> W,
    W: Future<Output = Result<Outcome, Stop>>,
{
    let causation = Some(run.message.id.as_str());
    if run.skippable && order.cancel_requested {
        let Next::Changed(after) = transition(&order, &Outcome::Skipped, ports.now_ms()).map_err(bug)? else {
            return Ok(Done::already());
        };
        match ports.skip_effect(&run.key, &order, &after).await? {
            Skip::Done => return Ok(Done::now(owed(ports, &after, causation))),
            Skip::Lost(_) => return Err(Failure::again("the row changed")),
            Skip::Started => {}
        }
    }
    if !time_for_call(ports, run.context) {
        return Err(Failure::Defer { until_ms: ports.now_ms(), why: "too little time left to call out".into() });
    }
    let lease_until_ms = run.context.deadline_ms.saturating_add(LEASE_PAST_DEADLINE_MS);
    let (lease, in_doubt) = match ports.claim(&run.key, lease_until_ms, run.settle_ms).await? {
        Claimed::Fresh(lease) => (lease, false),
        Claimed::InDoubt(lease) => (lease, true),
        Claimed::Held { until_ms } => {
            return Err(Failure::Defer { until_ms, why: "another worker has it, or it is in doubt".into() });
        }
        // Ended in one transaction with the row: so the row has moved on since it was read.
        Claimed::Completed | Claimed::Skipped => {
            return Err(Failure::again("the effect is settled: read the row again"));
        }
        Claimed::Busy { operation } => return Err(Failure::retry(format!("the record is busy with {operation}"))),
    };
    if lease.attempts > MAX_ATTEMPTS {
        let why = format!("{} attempts at {} came to nothing", MAX_ATTEMPTS, run.key.operation);
        return park_effect(ports, &lease, order, &run, &why).await;
    }
    match effect(lease.clone(), in_doubt).await {
        Ok(outcome) => commit(ports, &lease, order, &outcome, causation).await,
        Err(Stop::NotRun { retry_after, why }) => {
            ports.free(&lease, false).await?;
            Err(Failure::Retry { after: retry_after, why })
        }
        Err(Stop::InDoubt { why }) => Err(Failure::Unknown {
            key: lease.provider_key(),
            until_ms: lease.until_ms.saturating_add(run.settle_ms),
            why,
        }),
        Err(Stop::Refused { why }) => {
            ports.free(&lease, true).await?;
            Err(Failure::bug(format!("the provider refuses the request: {why}")))
        }
        Err(Stop::Stuck { why }) => park_effect(ports, &lease, order, &run, &why).await,
        Err(Stop::Failed(failure)) => Err(failure),
    }
}

/// Whether a provider call that takes its longest still ends in the handler's time.
pub fn time_for_call<P: Clock>(ports: &P, context: &RecordContext) -> bool {
    ports.now_ms().saturating_add(PROVIDER_CALL_MS) <= context.handler_deadline_ms
}

/// Commits an effect's outcome to the row that it finds, and completes the record with it.
async fn commit<P: Effects + Clock>(
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
            Ok(EffectCommit::Done) => return Ok(Done::now(owed(ports, &after, causation))),
            Ok(EffectCommit::Lost(row)) => before = *row,
            Ok(EffectCommit::LeaseLost) => return Err(Failure::again("the lease was taken over")),
            // The effect stands: a busy table is worth another try now, else it would wait to be looked up.
            Err(StoreError::NotDone(_)) if race < RACES => {
                tokio::time::sleep(Duration::from_millis(RACE_PAUSE_MS * u64::from(race))).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::again("the row changed under every try"))
}

/// Opens a case and parks the order with its effect.
async fn park_effect<P: Effects + OpenCase + Clock>(
    ports: &P,
    lease: &Lease,
    order: Order,
    run: &EffectRun<'_>,
    why: &str,
) -> Result<Done, Failure> {
    let (case, after) = parked(&order, run.step, CaseClass::Transient, why, ports.now_ms())?;
    ports.open_case(&case).await?;
    tracing::error!(order_id = %order.order_id, case_id = %case.case_id, step = run.step, why, "order parked");
    match ports.commit_effect(lease, EffectEnd::Parked, &order, &after).await? {
        EffectCommit::Done => Ok(Done::now(Vec::new())),
        EffectCommit::Lost(_) | EffectCommit::LeaseLost => Err(Failure::again("the row changed while parking")),
    }
}

/// Opens a case and parks an order that is in no effect. Answers whether the row was still the one given.
pub async fn park<P: CommitOrder + OpenCase + Clock>(
    ports: &P,
    order: &Order,
    step: &str,
    class: CaseClass,
    why: &str,
) -> Result<bool, Failure> {
    let (case, after) = parked(order, step, class, why, ports.now_ms())?;
    ports.open_case(&case).await?;
    tracing::error!(order_id = %order.order_id, case_id = %case.case_id, step, why, "order parked");
    Ok(ports.commit_order(order, &after).await? == Commit::Done)
}

/// The namespace of case ids of parked orders.
const CASES: Uuid =
    Uuid::from_bytes([0x8f, 0x0c, 0x53, 0x6a, 0x1b, 0x7d, 0x5e, 0x02, 0xa6, 0x44, 0x9d, 0x3c, 0x70, 0xe1, 0x2b, 0x58]);

fn parked(order: &Order, step: &str, class: CaseClass, why: &str, now_ms: u64) -> Result<(Case, Order), Failure> {
    let id = Uuid::new_v5(&CASES, format!("{}/{}", order.order_id, order.version).as_bytes());
    let case_id: CaseId = id.to_string().parse().map_err(Failure::bug)?;
    let parked = Parked { case_id: case_id.clone(), reason: why.to_owned(), at_ms: now_ms };
    let Next::Changed(after) = transition(order, &Outcome::Parked(parked), now_ms).map_err(bug)? else {
        return Err(Failure::again("nothing is owed any more: nothing to park"));
    };
    let command = order.next_command().map_or("none", order::Command::name);
    let case = Case {
        case_id,
        fingerprint: format!("{step}/{command}/{}", class.name()),
        class,
        step: step.to_owned(),
        order_id: order.order_id,
        tenant: order.tenant.clone(),
        digest: why.to_owned(),
        opened_at_ms: now_ms,
    };
    Ok((case, *after))
}
