//! Hands a paid order to the carrier, once. Consumes `shipment.create.v1`, emits nothing, or `stock.release.v1` where the
//! carrier does not go there.

use lambda_queue::idempotency::EffectKey;
use lambda_queue::{Clock, Done, Failure, Record};
use order::{Command, Order, Outcome, Reason, ReasonCode, Step};
use ports::{
    Carrier, CommitOrder, Due, EffectRun, Effects, Gate, LoadOrder, OpenCase, SendCommands, ShipmentAnswer,
    ShipmentRequest, Stop, TellLanes, due, parse_command, run_effect, time_for_call,
};

/// What this step may touch: its IAM role grants exactly this.
pub trait Ports: LoadOrder + CommitOrder + Effects + OpenCase + SendCommands + TellLanes + Clock {}
impl<P: LoadOrder + CommitOrder + Effects + OpenCase + SendCommands + TellLanes + Clock> Ports for P {}

/// Whom this step calls outside, behind its breaker.
pub trait Provider: Carrier + Gate {}
impl<P: Carrier + Gate> Provider for P {}

/// Takes one message of a shipping queue.
///
/// Idempotent: the effect record `shipment#<order>`, and the carrier's own reference, which is the order's id.
pub async fn handle(ports: &impl Ports, carrier: &impl Provider, record: &Record) -> Result<Done, Failure> {
    let message = parse_command(&record.body, Step::Shipping, record.context.receive_count, ports.now_ms())?;
    if message.command != Command::CreateShipment {
        return Err(Failure::bug(format!("{} is no command of shipping", message.command)));
    }
    let order = match due(ports, &message).await? {
        Due::Now(order) => *order,
        Due::Finished(done) => return Ok(done),
    };
    let run = EffectRun {
        key: EffectKey {
            record: format!("shipment#{}", order.order_id),
            operation: "create#0".to_owned(),
            version: order.version,
        },
        skippable: true,
        settle_ms: carrier.carrier_terms().settle_ms,
        step: Step::Shipping.name(),
        message: &message,
        context: &record.context,
    };
    let (request, cancelled) = (request(&order), order.cancel_requested);
    run_effect(ports, carrier, order, run, async |lease, in_doubt| {
        let request = request.map_err(|why| Stop::Stuck { why })?;
        if in_doubt {
            let found = carrier.look_up_shipment(request.order_id).await.map_err(Stop::still_in_doubt)?;
            if let Some(shipment) = found {
                tracing::info!(order_id = %request.order_id, generation = lease.generation, "shipment adopted");
                return Ok(Outcome::ShipmentCreated(shipment));
            }
            if cancelled {
                // It never happened, and is not wanted any more: given back, and skipped for good next time.
                return Err(Stop::CalledOff { why: "cancelled before it happened".to_owned() });
            }
            // Not there: asking again with the same reference makes it, or answers the one that came late.
        }
        if !time_for_call(ports, &record.context) {
            return Err(Stop::NotRun { retry_after: None, why: "too little time left to call the carrier".to_owned() });
        }
        match carrier.create_shipment(&request).await? {
            ShipmentAnswer::Created(shipment) => Ok(Outcome::ShipmentCreated(shipment)),
            ShipmentAnswer::Undeliverable { why } => {
                Ok(Outcome::Undeliverable(Reason::new(ReasonCode::Undeliverable, why)))
            }
        }
    })
    .await
}

fn request(order: &Order) -> Result<ShipmentRequest, String> {
    let ship_to = order.ship_to.clone().ok_or("the address was erased before the order shipped")?;
    Ok(ShipmentRequest { order_id: order.order_id, ship_to, lines: order.lines.clone(), service: order.lane.name() })
}
