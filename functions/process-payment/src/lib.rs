//! Holds, captures, gives up and gives back the money of an order, each once. Consumes `payment.authorize.v1`,
//! `payment.capture.v1`, `payment.void.v1` and `payment.refund.v1`; emits `stock.reserve.v1`, `shipment.create.v1` or
//! `stock.release.v1`.

mod authorize;
mod capture;
mod refund;
mod void;

use lambda_queue::idempotency::{EffectKey, Lease};
use lambda_queue::{Clock, Done, Failure, Record};
use order::{Command, Order, OrderId, PaymentId, Step};
use ports::{
    CommitOrder, Due, EffectRun, Effects, Gate, LoadOrder, OpenCase, Payments, ProviderError, SendCommands, Stop,
    TellLanes, due, parse_command, payment_record, run_effect, time_for_call,
};

/// What this step may touch: its IAM role grants exactly this.
pub trait Ports: LoadOrder + CommitOrder + Effects + OpenCase + SendCommands + TellLanes + Clock {}
impl<P: LoadOrder + CommitOrder + Effects + OpenCase + SendCommands + TellLanes + Clock> Ports for P {}

/// Whom this step calls outside, behind its breaker.
pub trait Provider: Payments + Gate {}
impl<P: Payments + Gate> Provider for P {}

/// Takes one message of a payment queue.
///
/// Idempotent: the effect record `payment#<order>` is one for all effects of an order's money, so they never overlap;
/// the provider's key is (order, effect, ordinal, generation).
pub async fn handle(ports: &impl Ports, payments: &impl Provider, record: &Record) -> Result<Done, Failure> {
    let message = parse_command(&record.body, Step::Payment, record.context.receive_count, ports.now_ms())?;
    let order = match due(ports, &message).await? {
        Due::Now(order) => *order,
        Due::Finished(done) => return Ok(done),
    };
    let refund = order.pending_refund().map(|(ordinal, refund)| (ordinal, refund.amount_minor));
    let (effect, ordinal, skippable) = match message.command {
        Command::AuthorizePayment => ("authorize", 0, true),
        Command::CapturePayment => ("capture", 0, true),
        Command::VoidPayment => ("void", 0, false),
        Command::RefundPayment => ("refund", refund.map_or(0, |(ordinal, _)| ordinal), false),
        Command::ValidateOrder | Command::ReserveStock | Command::CreateShipment | Command::ReleaseStock => {
            return Err(Failure::bug(format!("{} is no command of payment", message.command)));
        }
    };
    let run = EffectRun {
        key: EffectKey {
            record: payment_record(order.order_id),
            operation: format!("{effect}#{ordinal}"),
            version: order.version,
        },
        skippable,
        settle_ms: payments.payment_terms().settle_ms,
        step: Step::Payment.name(),
        message: &message,
        context: &record.context,
    };
    let attempt = Attempt { ports, payments, order: order.clone(), context: &record.context };
    run_effect(ports, payments, order, run, async |lease, in_doubt| match message.command {
        Command::AuthorizePayment => authorize::run(&attempt, lease, in_doubt).await,
        Command::CapturePayment => capture::run(&attempt, lease, in_doubt).await,
        Command::VoidPayment => void::run(&attempt, lease, in_doubt).await,
        Command::RefundPayment => refund::run(&attempt, lease, in_doubt, refund).await,
        Command::ValidateOrder | Command::ReserveStock | Command::CreateShipment | Command::ReleaseStock => {
            Err(Stop::Stuck { why: format!("{} is no command of payment", message.command) })
        }
    })
    .await
}

/// One attempt at an effect: the order as it was read, and whom to ask.
struct Attempt<'a, P, Q> {
    ports: &'a P,
    payments: &'a Q,
    order: Order,
    context: &'a lambda_queue::RecordContext,
}

impl<P: Ports, Q: Provider> Attempt<'_, P, Q> {
    fn order_id(&self) -> OrderId {
        self.order.order_id
    }

    /// The payment that the row has a receipt of.
    fn payment_id(&self) -> Result<&PaymentId, Stop> {
        let stuck = || Stop::Stuck { why: "the row has no payment to work on".to_owned() };
        self.order.payment.as_ref().map(|payment| &payment.payment_id).ok_or_else(stuck)
    }

    /// Nothing is started that could outlast the handler's time.
    fn time_left(&self) -> Result<(), Stop> {
        if time_for_call(self.ports, self.context) {
            Ok(())
        } else {
            Err(Stop::NotRun { retry_after: None, why: "too little time left to call the provider".to_owned() })
        }
    }

    /// A look-up proved that the effect never happened, and meanwhile the customer cancelled: it is not begun again. The
    /// lease is given back, and the next receive skips the effect for good.
    fn still_wanted(&self) -> Result<(), Stop> {
        if self.order.cancel_requested {
            return Err(Stop::CalledOff { why: "cancelled before it happened".to_owned() });
        }
        Ok(())
    }

    /// A look-up proved that the present generation had no effect: the next call needs a key of its own.
    async fn next_generation(&self, lease: &Lease) -> Result<Lease, Stop> {
        Ok(self.ports.raise_generation(lease).await?)
    }
}

/// An amount or state at the provider that no outcome of ours fits.
fn stuck(why: impl Into<String>) -> Stop {
    Stop::Stuck { why: why.into() }
}

/// The provider says "wrong state" to a first attempt: only a look-up can tell what happened.
fn is_wrong_state<T>(answer: &Result<T, ProviderError>) -> bool {
    matches!(answer, Err(ProviderError::WrongState { .. }))
}
